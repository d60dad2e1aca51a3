//! `bttc dev`: a chain of one validator for developers.

mod chain;
mod import;
mod methods;

use crate::cli::DevArgs;
use crate::clock;
use crate::config::Config;
use crate::home::Home;
use crate::node::{free_places, pool_of, rocks_options, rpc_config, store_options};
use bttc_executor::Executor;
use bttc_genesis::{ChainSpec, DEV_KEYS, GenesisValidator, Preset};
use bttc_pool::Pool;
use bttc_rpc::{BlockCache, HeadEvent, NodeApi, RpcContext, RpcServer};
use bttc_state::{Kv, MemoryStore, RocksStore, StateStore};
use bttc_types::{RecoveredTransaction, SecretKey};
use chain::DevChain;
use eyre::Context;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// Key of the only validator. It is as public as the accounts' keys: a development chain has nothing to protect.
const VALIDATOR_KEY: [u8; 32] = [0x0d; 32];

/// Heads that a subscriber may lag behind.
const SUBSCRIBER_LAG: usize = 1_024;

/// Runs the chain until it is interrupted.
pub(crate) fn run(args: &DevArgs) -> eyre::Result<()> {
    let mut config = Config::default();
    config.rpc.listen = args.rpc.clone();
    config.rpc.cors = vec!["*".into()];
    config.log.level = "warn".into();
    crate::logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = match args.import_chain.as_deref() {
        Some([genesis, blocks]) => {
            import::open(&config, genesis, blocks).and_then(|chain| runtime.block_on(import::serve(&config, chain)))
        }
        Some(_) | None => open(&config, args).and_then(|(executor, memory, key)| {
            runtime.block_on(serve(
                &config,
                executor,
                memory,
                key,
                args.block_time_ms.unwrap_or(0),
                args.client_version.clone(),
            ))
        }),
    };
    runtime.shutdown_timeout(Duration::from_secs(3));
    result
}

type Opened = (Arc<Executor>, Option<Arc<MemoryStore>>, SecretKey);

/// Opens the chain of a home, or a new one in memory.
fn open(config: &Config, args: &DevArgs) -> eyre::Result<Opened> {
    let key = SecretKey::from_bytes(&VALIDATOR_KEY)?;
    let (kv, memory, spec): (Arc<dyn Kv>, _, _) = match &args.home {
        Some(path) => {
            let home = Home::new(path);
            std::fs::create_dir_all(home.data())?;
            let rocks = RocksStore::open(&home.database(), &rocks_options(config))
                .wrap_err_with(|| format!("cannot open the database {}", home.database().display()))?;
            (Arc::new(rocks), None, kept_spec(&home.genesis(), &key)?)
        }
        None => {
            let memory = Arc::new(MemoryStore::new());
            (Arc::clone(&memory) as Arc<dyn Kv>, Some(memory), new_spec(&key)?)
        }
    };
    let store = Arc::new(StateStore::open(kv, store_options(config))?);
    let mut executor = Executor::open(store, Arc::new(spec))?;
    executor.allow_contract_senders();
    Ok((Arc::new(executor), memory, key))
}

async fn serve(
    config: &Config,
    executor: Arc<Executor>,
    memory: Option<Arc<MemoryStore>>,
    key: SecretKey,
    interval_ms: u64,
    client_version: Option<String>,
) -> eyre::Result<()> {
    let pool = Arc::new(pool_of(config, &executor)?);
    let (heads, _) = broadcast::channel(SUBSCRIBER_LAG);
    let (pending, _) = broadcast::channel(SUBSCRIBER_LAG);
    let chain = Arc::new(DevChain::new(
        Arc::clone(&executor),
        Arc::clone(&pool),
        memory,
        key,
        heads.clone(),
        pending.clone(),
        interval_ms,
    ));
    let node = Arc::clone(&chain) as _;
    let mut context = context(config, executor, pool, node, Arc::clone(&chain.blocks), heads, pending)?;
    context.filters = Arc::clone(&chain.filters);
    if let Some(version) = client_version {
        context.version = version;
    }
    let methods = methods::methods(Arc::clone(&chain))?;
    let server = bttc_rpc::start_with(context, methods.into()).await?;
    tell(&accounts(chain.executor.spec().chain_id(), server.address()));
    until_stopped(server, by_time(chain)).await
}

/// What the RPC server works on.
fn context(
    config: &Config,
    executor: Arc<Executor>,
    pool: Arc<Pool>,
    node: Arc<dyn NodeApi>,
    blocks: Arc<BlockCache>,
    heads: broadcast::Sender<HeadEvent>,
    pending: broadcast::Sender<Arc<RecoveredTransaction>>,
) -> eyre::Result<RpcContext> {
    let config = rpc_config(config)?;
    let (heavy, slow) = free_places(&config);
    Ok(RpcContext {
        executor,
        pool,
        node,
        bridge: None,
        config,
        heads,
        pending,
        version: crate::version(),
        blocks,
        filters: Arc::default(),
        heavy,
        slow,
    })
}

/// Serves until the user ends it, or the work fails.
async fn until_stopped(server: RpcServer, work: impl Future<Output = eyre::Result<()>>) -> eyre::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }?;
    // A subscriber that does not close must not keep the node.
    let _ = tokio::time::timeout(Duration::from_secs(3), server.stop()).await;
    Ok(())
}

/// Says something to whoever started the chain. They may have stopped to listen (`bttc dev | head -1`): the chain goes on.
fn tell(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Where the chain is, and its accounts.
fn accounts(chain_id: u64, rpc: SocketAddr) -> String {
    let mut text = format!("bttc dev: chain id {chain_id}, RPC http://{rpc} and ws://{rpc}\n");
    text += "accounts with 100,000,000 BTT each (public development keys, never use them elsewhere):\n";
    for (address, key) in DEV_KEYS {
        text += &format!("  {address}  {key}\n");
    }
    text
}

/// Mines at intervals, as long as there is one.
async fn by_time(chain: Arc<DevChain>) -> eyre::Result<()> {
    let mut interval = chain.interval.subscribe();
    loop {
        let wait = *interval.borrow_and_update();
        if wait == 0 {
            interval.changed().await?;
            continue;
        }
        tokio::select! {
            changed = interval.changed() => changed?,
            () = tokio::time::sleep(Duration::from_millis(wait)) => {
                let chain = Arc::clone(&chain);
                tokio::task::spawn_blocking(move || chain.mine(1, None, None)).await??;
            }
        }
    }
}

fn new_spec(key: &SecretKey) -> eyre::Result<ChainSpec> {
    let validator = GenesisValidator { address: key.address(), owner: key.address(), power: 1_000, bridge: None };
    let timestamp = clock::now().wall_ms / 1_000;
    Ok(ChainSpec::new(Preset::Local, timestamp.saturating_sub(1), vec![validator])?)
}

/// The specification of a chain in a home: as written before, or a new one.
fn kept_spec(file: &Path, key: &SecretKey) -> eyre::Result<ChainSpec> {
    if file.exists() {
        let text = std::fs::read_to_string(file)?;
        return ChainSpec::from_json(&text).wrap_err("the genesis file of the development chain");
    }
    let spec = new_spec(key)?;
    std::fs::write(file, spec.to_json()?)?;
    Ok(spec)
}
