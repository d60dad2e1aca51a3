//! Wiring: opens everything, starts everything, stops everything.

use crate::application::ApplicationThread;
use crate::bridge::{Bridge, BridgeEvent, Carrier, ChainSettings};
use crate::clock;
use crate::config::Config;
use crate::failure::BadSetup;
use crate::gossip::{Destinations, Intake, route};
use crate::home::Home;
use crate::metrics::Metrics;
use crate::ops::{self, Ops};
use crate::reporter::Reporter;
use crate::shell::{ENGINE_QUEUE, EngineEvent, EngineView, Shell};
use crate::snapshots::Snapshots;
use alloy_primitives::{Address, B256};
use bttc_engine::{Engine, EngineConfig, FileGuard, Guard, Wal};
use bttc_executor::Executor;
use bttc_genesis::ChainSpec;
use bttc_network::{Keypair, NetworkConfig, NetworkHandle};
use bttc_node::{Application, Request, start_info, unknown_rules};
use bttc_pool::{ChainLimits, Journal, Pool, PoolConfig};
use bttc_rpc::{HeadEvent, NodeApi, NodeStatus, RpcConfig, RpcContext};
use bttc_state::{RocksOptions, RocksStore, StateStore, StoreOptions};
use bttc_types::{RecoveredTransaction, SecretKey, Transaction};
use eyre::{Context, eyre};
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

/// Heads and pending transactions that a subscriber may lag behind before it loses its subscription.
const SUBSCRIBER_LAG: usize = 64;

/// What a node is started with.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) home: Home,
    pub(crate) spec: ChainSpec,
    /// Root chains that are followed.
    pub(crate) chains: Vec<ChainSettings>,
    pub(crate) consensus_key: Option<SecretKey>,
    /// Pays for sending evidence. None: evidence is only passed on.
    pub(crate) reporting_key: Option<SecretKey>,
    /// Signs for the bridge.
    pub(crate) bridge_key: Option<SecretKey>,
    /// None: no network.
    pub(crate) identity: Option<Keypair>,
    pub(crate) beneficiary: Address,
}

/// A running node.
pub(crate) struct Node {
    halt: mpsc::Receiver<String>,
    stop: watch::Sender<bool>,
    server: Option<bttc_rpc::RpcServer>,
    engine: Option<std::thread::JoinHandle<()>>,
    application: Option<std::thread::JoinHandle<()>>,
    events: mpsc::Sender<EngineEvent>,
    network: Option<NetworkHandle>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// The node as RPC and the operations port see it.
struct Api {
    intake: Arc<Intake>,
    view: Arc<RwLock<EngineView>>,
    peers: Arc<AtomicUsize>,
    network: Option<NetworkHandle>,
    validator: Option<Address>,
    start_height: u64,
}

impl NodeApi for Api {
    fn submit(&self, transaction: Transaction) -> Result<B256, String> {
        let recovered = self
            .intake
            .metrics
            .recovery(|| RecoveredTransaction::recover(transaction))
            .map_err(|_| "invalid sender: bad signature".to_owned())?;
        self.intake.local(recovered).map_err(|error| error.to_string())
    }

    fn status(&self) -> NodeStatus {
        let view = self.view.read();
        NodeStatus {
            height: view.height,
            round: view.round,
            syncing: view.syncing,
            best_peer_height: view.best_peer_height,
            start_height: self.start_height,
            peers: self.peers.load(Ordering::Acquire),
            validator: self.validator,
            signing: view.signing.clone(),
        }
    }

    fn peers(&self) -> BoxFuture<'static, serde_json::Value> {
        let network = self.network.clone();
        Box::pin(async move {
            let Some(network) = network else { return serde_json::json!([]) };
            let peers = network.peers().await;
            peers
                .into_iter()
                .map(|peer| {
                    serde_json::json!({
                        "id": peer.id.to_string(),
                        "address": peer.address,
                        "agent": peer.agent,
                        "role": peer.role,
                        "height": format!("0x{:x}", peer.height),
                        "validator": peer.validator,
                        "direction": if peer.outbound { "outbound" } else { "inbound" },
                        "score": peer.score,
                        "droppedMessages": peer.dropped,
                    })
                })
                .collect()
        })
    }
}

/// Bridge votes that wait to be judged.
const BRIDGE_QUEUE: usize = 1_024;

/// Starts the tasks of the bridge.
fn start_bridge(
    bridge: &Arc<Bridge>,
    chains: Vec<ChainSettings>,
    incoming: mpsc::Receiver<BridgeEvent>,
    heads: broadcast::Receiver<HeadEvent>,
    halt: &mpsc::Sender<String>,
    tasks: &mut Vec<tokio::task::JoinHandle<()>>,
) {
    tasks.push(watched("bridge votes", halt.clone(), Arc::clone(bridge).listen(incoming)));
    tasks.push(watched("bridge signing", halt.clone(), Arc::clone(bridge).sign_on(heads)));
    for chain in chains {
        tasks.push(watched("following of a root chain", halt.clone(), Arc::clone(bridge).follow(chain)));
    }
}

/// Starts a node.
pub(crate) async fn start(setup: Setup) -> eyre::Result<Node> {
    let Setup { config, home, spec, chains, consensus_key, reporting_key, bridge_key, identity, beneficiary } = setup;
    let metrics = Arc::new(Metrics::new()?);
    if let Some(identity) = &identity {
        crate::join::join(&config, &home, &spec, identity, consensus_key.as_ref()).await?;
    }
    let rocks = open_database(&config, &home)?;
    let executor = Arc::new(open_executor(&config, Arc::clone(&rocks), spec)?);
    let spec = Arc::clone(executor.spec());
    let genesis_hash = executor.store().genesis_hash()?.ok_or_else(|| eyre!("the store has no genesis block"))?;
    let (interval, kept) = (config.state.snapshot_interval, config.state.snapshots_kept);
    let snapshots = Arc::new(Snapshots::new(home.snapshots(), interval, kept, rocks, genesis_hash)?);
    let head = executor.store().head().ok_or_else(|| eyre!("the store has no head"))?;
    if let Some(reason) = unknown_rules(&executor) {
        return Err(eyre!(reason)).wrap_err(BadSetup);
    }
    tracing::info!(
        version = crate::version(),
        chain_id = spec.chain_id(),
        genesis = %genesis_hash,
        height = head.height,
        home = %home.path().display(),
        "starting"
    );

    let pool = Arc::new(pool_of(&config, &executor)?);
    let (events, event_receiver) = mpsc::channel(ENGINE_QUEUE);
    let (requests, request_receiver) = mpsc::unbounded_channel::<(Request, Instant)>();
    let (heads, _) = broadcast::channel(SUBSCRIBER_LAG);
    let (pending, _) = broadcast::channel(64 * SUBSCRIBER_LAG);
    let (halt_sender, halt) = mpsc::channel(4);
    let (stop, stop_receiver) = watch::channel(false);
    let told_waiting = Arc::new(AtomicBool::new(false));
    let peers = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();

    let domain = executor.domain().clone();
    let mut network = None;
    let mut transactions_in = None;
    let mut incoming_messages = None;
    if let Some(identity) = identity {
        let (handle, incoming, transactions) = bttc_network::start(
            network_config(&config)?,
            identity,
            consensus_key.as_ref(),
            domain.clone(),
            spec.chain_id(),
            genesis_hash,
            (head.height, head.hash),
            &crate::version(),
        )?;
        incoming_messages = Some(incoming);
        transactions_in = Some(transactions);
        network = Some(handle);
    }

    let (journal, journalled) = Journal::open(&home.journal())?;
    let intake = Arc::new(Intake {
        executor: Arc::clone(&executor),
        pool: Arc::clone(&pool),
        network: network.clone(),
        journal: Mutex::new(Some(journal)),
        engine: events.clone(),
        pending: pending.clone(),
        told_waiting: Arc::clone(&told_waiting),
        metrics: Arc::clone(&metrics),
        useless: Mutex::default(),
        repeated: AtomicU64::default(),
    });
    intake.restore(journalled);
    let followed = chains.iter().map(|chain| (chain.quorum.chain_id, chain.quorum.name.clone())).collect();
    let bridge =
        Bridge::open(&home, Arc::clone(&executor), network.clone(), Arc::clone(&metrics), bridge_key, followed)?;
    let (bridge_events, bridge_incoming) = mpsc::channel(BRIDGE_QUEUE);
    start_bridge(&bridge, chains, bridge_incoming, heads.subscribe(), &halt_sender, &mut tasks);
    if let (Some(handle), Some(incoming)) = (network.clone(), incoming_messages) {
        let task = route(
            handle,
            Arc::clone(&executor),
            Arc::clone(&snapshots),
            Destinations { engine: events.clone(), bridge: bridge_events, useless_votes: Arc::clone(&bridge.useless) },
            incoming,
            Arc::clone(&peers),
            Arc::clone(&intake),
        );
        tasks.push(watched("routing of messages", halt_sender.clone(), task));
    }
    if let Some(transactions) = transactions_in {
        tasks.push(watched("intake of transactions", halt_sender.clone(), Arc::clone(&intake).run(transactions)));
    }
    let upkeep = {
        let (intake, metrics, halt) = (Arc::clone(&intake), Arc::clone(&metrics), halt_sender.clone());
        let snapshots = Arc::clone(&snapshots);
        let (data, least) = (home.data(), config.node.min_free_disk_bytes);
        async move {
            let mut tick = tokio::time::interval(Duration::from_secs(10));
            loop {
                tick.tick().await;
                crate::failure::point("task");
                let intake = Arc::clone(&intake);
                let maintain = move || {
                    crate::failure::point("blocking");
                    intake.maintain();
                };
                if tokio::task::spawn_blocking(maintain).await.is_err_and(|error| error.is_cancelled()) {
                    return;
                }
                let Some(free) = free_bytes(&data) else { continue };
                metrics.free_disk.set(free as f64);
                if free < least.saturating_mul(2) {
                    snapshots.drop_all();
                }
                if free < least {
                    let reason = format!(
                        "{free} bytes are free where {} is, less than node.min_free_disk_bytes {least}: make room, then \
                         start again",
                        data.display()
                    );
                    let _ = halt.send(reason).await;
                }
            }
        }
    };
    tasks.push(watched("upkeep", halt_sender.clone(), upkeep));

    let validator = consensus_key.as_ref().map(SecretKey::address);
    let engine = open_engine(&config, &home, &executor, consensus_key)?;
    let view = Arc::new(RwLock::new(EngineView { head_moved_ms: clock::now().mono_ms, ..EngineView::default() }));
    let application = ApplicationThread {
        application: Application { executor: Arc::clone(&executor), pool: Arc::clone(&pool), beneficiary },
        metrics: Arc::clone(&metrics),
        heads: heads.clone(),
        pending: pending.clone(),
        engine: events.clone(),
        build_budget: Duration::from_millis(config.consensus.build_ms),
        snapshots,
    };
    let application = thread("application", halt_sender.clone(), move || application.run(request_receiver))?;

    if let Some(key) = reporting_key {
        let carrier = Carrier { key: key.clone(), bridge: Arc::clone(&bridge), intake: Arc::clone(&intake) };
        tasks.push(watched("carrying for the bridge", halt_sender.clone(), carrier.run()));
        let reporter = Reporter {
            key,
            own: validator,
            executor: Arc::clone(&executor),
            intake: Arc::clone(&intake),
            view: Arc::clone(&view),
            metrics: Arc::clone(&metrics),
        };
        tasks.push(watched("reporting of evidence", halt_sender.clone(), reporter.run()));
    }
    let api: Arc<dyn NodeApi> = Arc::new(Api {
        intake,
        view: Arc::clone(&view),
        peers,
        network: network.clone(),
        validator,
        start_height: head.height,
    });
    let ops = start_ops(&config, &executor, &metrics, &api, &view, stop_receiver).await?;
    let transactions_waiting: Box<dyn Fn() -> bool + Send> = Box::new({
        let (executor, pool) = (Arc::clone(&executor), Arc::clone(&pool));
        move || executor.next_base_fee().is_ok_and(|fee| pool.has_executable(fee))
    });
    let server = if config.rpc.enabled {
        let follow = crate::search::follow(Arc::clone(executor.store()), heads.subscribe());
        tasks.push(watched("search index", halt_sender.clone(), follow));
        let rpc_config = rpc_config(&config)?;
        let (heavy, slow) = free_places(&rpc_config);
        let context = RpcContext {
            executor,
            pool,
            node: api,
            bridge: Some(bridge),
            config: rpc_config,
            heads,
            pending,
            version: crate::version(),
            blocks: Arc::default(),
            filters: Arc::default(),
            heavy,
            slow,
        };
        Some(bttc_rpc::start(context).await?)
    } else {
        None
    };
    let rpc = server.as_ref().map(bttc_rpc::RpcServer::address);
    tracing::info!(rpc = ?rpc, ops = %ops, "serving");

    let shell = Shell {
        engine,
        network: network.clone(),
        application: requests,
        view,
        metrics,
        told_waiting,
        transactions_waiting,
        halt: halt_sender.clone(),
        untold_head: None,
        told_head_ms: 0,
        clock_watch: clock::ClockWatch::default(),
    };
    shell.show_signing(shell.engine.signing());
    let runtime = tokio::runtime::Handle::current();
    let engine = thread("engine", halt_sender, move || shell.run(&runtime, event_receiver))?;
    Ok(Node { halt, stop, server, engine: Some(engine), application: Some(application), events, network, tasks })
}

impl Node {
    /// Waits until the node must stop: a signal (`Ok`), or a failure (the reason).
    pub(crate) async fn run(&mut self) -> eyre::Result<()> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            reason = self.halt.recv() => {
                Err(eyre!(reason.unwrap_or_else(|| "the consensus engine ended".into()))).wrap_err("the node had to stop")
            }
            _ = tokio::signal::ctrl_c() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    }

    /// Stops in order: no new requests, then no new votes, then the writer.
    pub(crate) async fn stop(mut self) {
        tracing::info!("stopping");
        let _ = self.stop.send(true);
        if let Some(server) = self.server.take() {
            // A subscriber that does not close must not keep the node.
            let _ = tokio::time::timeout(Duration::from_secs(3), server.stop()).await;
        }
        for task in &self.tasks {
            task.abort();
        }
        drop(self.network.take());
        // An engine that hangs behind a full queue must not keep the node either.
        let halt = self.events.send(EngineEvent::Halt("stopping".into()));
        let _ = tokio::time::timeout(Duration::from_secs(3), halt).await;
        let (engine, application) = (self.engine.take(), self.application.take());
        let joined = tokio::task::spawn_blocking(move || {
            for thread in [engine, application].into_iter().flatten() {
                let _ = thread.join();
            }
        });
        let _ = tokio::time::timeout(Duration::from_secs(10), joined).await;
        tracing::info!("stopped");
    }
}

/// Runs a thread that must not end before the node does; if it ends, the node stops and says so. A panic ends the process by itself.
fn thread(
    name: &'static str,
    halt: mpsc::Sender<String>,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(move || {
        run();
        // While the node stops nobody listens any more; a reason that was given before is the better one.
        let _ = halt.try_send(format!("the {name} thread ended unexpectedly"));
    })
}

/// Runs a task that must not end before the node does; if it ends or panics, the node stops and says so.
fn watched(
    name: &'static str,
    halt: mpsc::Sender<String>,
    task: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let inner = tokio::spawn(task);
    let abort = inner.abort_handle();
    tokio::spawn(async move {
        /// Ends the inner task with the outer one.
        struct Guard(tokio::task::AbortHandle);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.abort();
            }
        }
        let _guard = Guard(abort);
        let result = inner.await;
        if !result.as_ref().is_err_and(tokio::task::JoinError::is_cancelled) {
            let _ = halt.send(format!("{name} ended unexpectedly")).await;
        }
    })
}

/// Bytes free for us on the disk of a directory.
fn free_bytes(path: &std::path::Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The database's sizes.
pub(crate) fn rocks_options(config: &Config) -> RocksOptions {
    RocksOptions {
        block_cache_bytes: config.state.block_cache_bytes,
        write_buffer_bytes: config.state.write_buffer_bytes,
        ..RocksOptions::default()
    }
}

fn open_database(config: &Config, home: &Home) -> eyre::Result<Arc<RocksStore>> {
    std::fs::create_dir_all(home.data())
        .wrap_err_with(|| format!("cannot create the data directory {}", home.data().display()))?;
    let kv = RocksStore::open(&home.database(), &rocks_options(config)).wrap_err_with(|| {
        format!(
            "cannot open the database {0}: if another process has it open, stop that one; if it is damaged, move {0} away \
             and start again, and the node fetches the chain from its peers (leave the keys folder as it is: its guard \
             keeps the key from signing twice)",
            home.database().display()
        )
    })?;
    Ok(Arc::new(kv))
}

/// What the store keeps.
pub(crate) fn store_options(config: &Config) -> StoreOptions {
    let state = &config.state;
    let keep = |heights: u64| (heights > 0).then_some(heights);
    StoreOptions {
        state_history: keep(state.state_history),
        block_history: keep(state.block_history),
        proof_window: state.proof_window,
        account_cache: state.account_cache,
        slot_cache: state.slot_cache,
        trie_nodes: state.trie_nodes,
        ..StoreOptions::default()
    }
}

/// Opens the chain in a database.
fn open_executor(config: &Config, kv: Arc<RocksStore>, spec: ChainSpec) -> eyre::Result<Executor> {
    let options = store_options(config);
    let store = Arc::new(StateStore::open(kv, options)?);
    Ok(Executor::open(store, Arc::new(spec))?)
}

fn open_engine(config: &Config, home: &Home, executor: &Arc<Executor>, key: Option<SecretKey>) -> eyre::Result<Engine> {
    let key = match key {
        None => None,
        Some(key) => {
            let guard = FileGuard::open(&home.guard(), key.address());
            match guard {
                Ok(guard) => Some((key, Box::new(guard) as Box<dyn Guard>)),
                Err(error @ bttc_engine::Error::GuardMissing { .. }) => {
                    tracing::error!(%error, "this node follows the chain without signing");
                    None
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let signer = key.as_ref().map(|(key, guard)| (key.address(), guard.last().map_or(0, |last| last.height)));
    let start = start_info(executor, signer)?;
    let params = executor.head_params()?;
    let times = &config.consensus;
    let engine_config = EngineConfig {
        target_block_time_ms: params.target_block_time_ms,
        empty_block_interval_ms: params.empty_block_interval_ms,
        precision_ms: params.precision_ms,
        message_delay_ms: params.message_delay_ms,
        propose_timeout_ms: times.propose_timeout_ms,
        vote_timeout_ms: times.vote_timeout_ms,
        timeout_delta_ms: times.timeout_delta_ms,
        rebroadcast_ms: times.rebroadcast_ms,
        listen_ms: times.listen_ms,
        ..EngineConfig::default()
    };
    let wal = Wal::file(&home.wal());
    Ok(Engine::new(engine_config, executor.domain().clone(), key, wal, start, clock::now()))
}

async fn start_ops(
    config: &Config,
    executor: &Arc<Executor>,
    metrics: &Arc<Metrics>,
    api: &Arc<dyn NodeApi>,
    view: &Arc<RwLock<EngineView>>,
    stop: watch::Receiver<bool>,
) -> eyre::Result<SocketAddr> {
    let address: SocketAddr =
        config.ops.listen.parse().wrap_err_with(|| format!("ops.listen {:?} is no address", config.ops.listen))?;
    // An idle chain makes a block every empty interval; several missed ones are a stall.
    let patience = executor.spec().bttc.params.empty_block_interval_ms.saturating_mul(5).max(30_000);
    let ops = Ops {
        metrics: Arc::clone(metrics),
        node: Arc::clone(api),
        head: Arc::new({
            let executor = Arc::clone(executor);
            move || executor.store().head().map_or(0, |head| head.height)
        }),
        alive: Arc::new({
            let view = Arc::clone(view);
            move || clock::now().mono_ms.saturating_sub(view.read().head_moved_ms) < patience
        }),
    };
    Ok(ops::start(address, ops, stop).await?.0)
}

/// An empty pool for a chain.
pub(crate) fn pool_of(config: &Config, executor: &Executor) -> eyre::Result<Pool> {
    let params = executor.head_params()?;
    let limits = ChainLimits {
        chain_id: executor.spec().chain_id(),
        gas_cap: bttc_executor::simulate::TRANSACTION_GAS_CAP,
        gas_limit: params.gas_limit,
        min_base_fee: params.min_base_fee,
    };
    Ok(Pool::new(pool_config(config), limits))
}

/// Places for heavy calls and for traces.
pub(crate) fn free_places(config: &RpcConfig) -> (Arc<Semaphore>, Arc<Semaphore>) {
    let places = |count: usize| Arc::new(Semaphore::new(count.max(1)));
    (places(config.heavy_requests), places(config.trace_requests))
}

fn pool_config(config: &Config) -> PoolConfig {
    let section = &config.pool;
    PoolConfig {
        max_per_sender: section.max_per_sender,
        max_bytes_per_sender: section.max_bytes_per_sender,
        max_transactions: section.max_transactions,
        max_bytes: section.max_bytes,
        pending_lifetime_ms: section.pending_lifetime_seconds.saturating_mul(1_000),
        queued_lifetime_ms: section.queued_lifetime_seconds.saturating_mul(1_000),
        ..PoolConfig::default()
    }
}

pub(crate) fn rpc_config(config: &Config) -> eyre::Result<RpcConfig> {
    let section = &config.rpc;
    let config = RpcConfig {
        listen: section.listen.parse().wrap_err_with(|| format!("rpc.listen {:?} is no address", section.listen))?,
        cors: section.cors.clone(),
        hosts: section.hosts.clone(),
        namespaces: section.namespaces.clone(),
        max_request_bytes: section.max_request_bytes,
        max_response_bytes: section.max_response_bytes,
        max_connections: section.max_connections,
        max_connections_per_client: section.max_connections_per_client,
        max_batch: section.max_batch,
        max_subscriptions: section.max_subscriptions,
        gas_cap: section.gas_cap,
        max_log_blocks: section.max_log_blocks,
        max_log_reads: section.max_log_reads,
        max_logs: section.max_logs,
        trace_requests: section.trace_requests,
        max_trace_steps: section.max_trace_steps,
        trace_timeout_ms: section.trace_timeout_ms,
        max_trace_blocks: section.max_trace_blocks,
        heavy_requests: section.heavy_requests,
        client_units_per_second: section.client_units_per_second,
        client_header: Some(section.client_header.clone()).filter(|name| !name.is_empty()),
        ..RpcConfig::default()
    };
    Ok(if section.public { config.public() } else { config })
}

pub(crate) fn network_config(config: &Config) -> eyre::Result<NetworkConfig> {
    let section = &config.p2p;
    let addresses = |list: &[String]| {
        list.iter()
            .map(|text| text.parse().wrap_err_with(|| format!("{text:?} is no multiaddress")))
            .collect::<eyre::Result<Vec<_>>>()
    };
    Ok(NetworkConfig {
        listen: addresses(&section.listen)?,
        external: addresses(&section.external)?,
        persistent_peers: addresses(&section.persistent_peers)?,
        seeds: addresses(&section.seeds)?,
        private_peers: section
            .private_peers
            .iter()
            .map(|text| text.parse().wrap_err_with(|| format!("{text:?} is no peer id")))
            .collect::<eyre::Result<Vec<_>>>()?,
        role: config.node.role,
        max_peers: section.max_peers,
        max_peers_per_subnet: section.max_peers_per_subnet,
        target_peers: section.target_peers,
        accept_strangers: section.accept_strangers,
        ban_ms: section.ban_seconds.saturating_mul(1_000),
    })
}
