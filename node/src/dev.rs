//! `bttc dev`: a chain of one validator for developers.

use crate::cli::DevArgs;
use crate::config::Config;
use crate::home::Home;
use crate::node::{self, Setup};
use bttc_engine::FileGuard;
use bttc_genesis::{ChainSpec, DEV_KEYS, GenesisValidator, Preset};
use bttc_types::SecretKey;
use eyre::Context;
use std::path::Path;

/// Key of the only validator. It is as public as the accounts' keys: a development chain has nothing to protect.
const VALIDATOR_KEY: [u8; 32] = [0x0d; 32];

/// Runs the chain until it is interrupted.
pub(crate) fn run(args: &DevArgs) -> eyre::Result<()> {
    let temporary = tempfile::tempdir()?;
    let path: &Path = args.home.as_deref().unwrap_or(temporary.path());
    let home = Home::new(path);
    std::fs::create_dir_all(home.data())?;
    std::fs::create_dir_all(home.keys())?;
    let key = SecretKey::from_bytes(&VALIDATOR_KEY)?;
    let spec = spec(args, &home, &key)?;
    if !home.guard().exists() {
        FileGuard::create(&home.guard(), key.address())?;
    }
    let mut config = Config::default();
    config.rpc.listen = args.rpc.clone();
    config.rpc.cors = vec!["*".into()];
    config.ops.listen = "127.0.0.1:0".into();
    config.consensus = crate::config::ConsensusSection::local();
    config.log.level = "warn".into();
    crate::logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async move {
        let beneficiary = key.address();
        let setup = Setup {
            config,
            home,
            spec,
            consensus_key: Some(key),
            reporting_key: None,
            bridge_key: None,
            identity: None,
            beneficiary,
        };
        let mut node = node::start(setup).await?;
        if let Some(rpc) = node.rpc {
            println!("bttc dev: chain id 1337, RPC http://{rpc} and ws://{rpc}");
        }
        println!("accounts with 100,000,000 BTT each (public development keys, never use them elsewhere):");
        for (address, key) in DEV_KEYS {
            println!("  {address}  {key}");
        }
        let result = node.run().await;
        node.stop().await;
        result
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(3));
    result
}

/// The chain's specification: as written before, or a new one.
fn spec(args: &DevArgs, home: &Home, key: &SecretKey) -> eyre::Result<ChainSpec> {
    if home.genesis().exists() {
        let text = std::fs::read_to_string(home.genesis())?;
        return ChainSpec::from_json(&text).wrap_err("the genesis file of the development chain");
    }
    let validator = GenesisValidator { address: key.address(), owner: key.address(), power: 1_000, bridge: None };
    let timestamp = crate::clock::now().wall_ms / 1_000;
    let mut spec = ChainSpec::new(Preset::Local, timestamp.saturating_sub(1), vec![validator])?;
    let params = &mut spec.bttc.params;
    match args.block_time_ms {
        Some(interval) => {
            params.target_block_time_ms = params.target_block_time_ms.min(interval.max(10));
            params.empty_block_interval_ms = interval;
        }
        // On demand: the longest interval there is.
        None => {
            params.target_block_time_ms = 10;
            params.empty_block_interval_ms = 600_000;
        }
    }
    spec.validate()?;
    std::fs::write(home.genesis(), spec.to_json()?)?;
    Ok(spec)
}
