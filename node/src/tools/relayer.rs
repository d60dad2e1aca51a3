//! `relayer`.

use super::args::{RelayerArgs, RelayerCommand};
use crate::bridge::{chain_settings, node_address};
use crate::failure::BadSetup;
use crate::home::Home;
use bttc_relayer::{ChainConfig, RelayerConfig, Store};
use bttc_root_chains::QuorumConfig;
use eyre::{Context, eyre};
use std::time::Duration;

/// Runs a relayer command.
pub(crate) fn run(command: &RelayerCommand) -> eyre::Result<()> {
    match command {
        RelayerCommand::Start(args) => start(args),
        RelayerCommand::Status(home) => ask(&Home::new(&home.home), "/status", false),
        RelayerCommand::Pending(home) => {
            let home = Home::new(&home.home);
            ask(&home, "/pending", false).or_else(|_| stopped(&home))
        }
        RelayerCommand::Retry { id, home } => ask(&Home::new(&home.home), &format!("/retry/{id}"), true),
        RelayerCommand::Rescan(home) => ask(&Home::new(&home.home), "/rescan", true),
    }
}

/// Asks the relayer that runs on a home.
fn ask(home: &Home, path: &str, change: bool) -> eyre::Result<()> {
    let file = home.relayer_ops();
    let address = std::fs::read_to_string(&file).wrap_err_with(|| {
        format!("{} is not there: has a relayer been started on {}?", file.display(), home.path().display())
    })?;
    let answer = super::runtime()?.block_on(bttc_relayer::ask_running(address.trim(), path, change));
    println!("{}", answer.map_err(|error| eyre!("the relayer at {} does not do it: {error}", address.trim()))?);
    Ok(())
}

/// What a stopped relayer has left.
fn stopped(home: &Home) -> eyre::Result<()> {
    let store = Store::open(&home.relayer())?;
    println!("{}", serde_json::to_string_pretty(&store.open_intents()?)?);
    Ok(())
}

fn start(args: &RelayerArgs) -> eyre::Result<()> {
    crate::logging::start(&crate::config::LogSection::default())?;
    let config = set_up(args).wrap_err(BadSetup)?;
    let runtime = super::runtime()?;
    let result = runtime.block_on(async move {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = bttc_relayer::run(config) => result.wrap_err("the relayer had to stop"),
            result = tokio::signal::ctrl_c() => Ok(result?),
            _ = terminate.recv() => Ok(()),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(3));
    result
}

/// Reads and checks everything that the relayer is started with.
fn set_up(args: &RelayerArgs) -> eyre::Result<RelayerConfig> {
    let home = Home::new(&args.home.home);
    std::fs::create_dir_all(home.data())?;
    let chains = args.chains.iter().map(|line| chain(line)).collect::<eyre::Result<_>>()?;
    let node = node_address(&args.rpc).wrap_err("--rpc")?;
    let key = if args.watch_only { None } else { Some(super::root_key(home.path(), None, &args.password)?) };
    Ok(RelayerConfig {
        node,
        chains,
        store: home.relayer(),
        key,
        poll: Duration::from_millis(args.poll_ms.max(50)),
        timeout: Duration::from_secs(10),
        min_fee_bps: args.min_fee_bps,
        ops: args.ops,
        ops_file: home.relayer_ops(),
    })
}

fn chain(line: &str) -> eyre::Result<ChainConfig> {
    let QuorumConfig { name, kind, chain_id, endpoints, .. } = chain_settings(line).wrap_err("--chain")?.quorum;
    let [endpoint] = <[_; 1]>::try_from(endpoints).map_err(|all| {
        eyre!("--chain: the relayer takes one endpoint of each chain, and {name:?} has {}", all.len())
    })?;
    Ok(ChainConfig { name, kind, chain_id, endpoint })
}
