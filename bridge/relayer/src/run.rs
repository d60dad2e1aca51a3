//! Drives the relayer: a task for BTTC and one for each root chain; one that is down does not hold up the others.

use crate::Error;
use crate::evm::EvmLane;
use crate::node::NodeClient;
use crate::ops::{self, Overview, OverviewLane, Shared};
use crate::plan::{self, Checkpoints, ClaimPolicy, GatewayWork};
use crate::reserves::Reserves;
use crate::sender::{Lane, now_ms};
use crate::store::Store;
use crate::tron::TronLane;
use bttc_root_chains::contracts::EvmGateway;
use bttc_root_chains::{ChainKind, Endpoint, EndpointAddress, EvmClient, RootChain, TronClient};
use bttc_types::SecretKey;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A root chain of the relayer.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub kind: ChainKind,
    /// Its id.
    pub chain_id: u64,
    /// Its endpoint.
    pub endpoint: EndpointAddress,
}

/// How the relayer runs.
#[derive(Clone, Debug)]
pub struct RelayerConfig {
    /// A BTTC node that follows the root chains.
    pub node: EndpointAddress,
    /// The root chains.
    pub chains: Vec<ChainConfig>,
    /// The file of intents.
    pub store: PathBuf,
    /// Who pays; nothing to watch only.
    pub key: Option<SecretKey>,
    /// Between two rounds.
    pub poll: Duration,
    /// Budget of one request.
    pub timeout: Duration,
    /// Least fee of a claim that is made for others, in ten-thousandths of the amount; nothing to claim everything.
    pub min_fee_bps: Option<u64>,
    /// Address of the operations port.
    pub ops: SocketAddr,
    /// Where the address is written once it is known.
    pub ops_file: PathBuf,
}

/// Sets are renewed daily; so long without a renewal at a gateway is an alarm, seconds.
const RENEWAL_ALARM: u64 = 3 * 86_400;

/// The time left of a set from which on a missing renewal is an alarm; local sets live for minutes.
const fn least_left(expiry: u64) -> u64 {
    if expiry > 2 * RENEWAL_ALARM { expiry - RENEWAL_ALARM } else { expiry / 3 }
}

fn lane(config: &RelayerConfig, chain: &ChainConfig, key: &SecretKey) -> Result<Lane, Error> {
    let endpoint = Endpoint::new(&chain.endpoint, config.timeout)?;
    Ok(match chain.kind {
        ChainKind::Evm => Lane::Evm(EvmLane {
            name: chain.name.clone(),
            client: EvmClient::new(endpoint, 0),
            chain_id: chain.chain_id,
            key: key.clone(),
            least_tip: 50_000_000,
            fee_cap: 500_000_000_000,
            // EIP-7825.
            gas_cap: 1 << 24,
            bump_ms: 15_000,
            next_nonce: None,
        }),
        ChainKind::Tron => Lane::Tron(TronLane {
            name: chain.name.clone(),
            client: TronClient::new(endpoint),
            key: key.clone(),
            fee_cap: 5_000_000_000,
            lifetime_ms: 60_000,
            repeat_ms: 6_000,
        }),
    })
}

fn reader(config: &RelayerConfig, chain: &ChainConfig) -> Result<RootChain, Error> {
    let endpoint = Endpoint::new(&chain.endpoint, config.timeout)?;
    Ok(match chain.kind {
        ChainKind::Evm => RootChain::Evm(EvmClient::new(endpoint, 0)),
        ChainKind::Tron => RootChain::Tron(TronClient::new(endpoint)),
    })
}

/// Runs until it is stopped.
///
/// # Errors
/// When the store fails, or the operations port cannot be opened. What goes wrong on a chain is shown and tried again.
pub async fn run(config: RelayerConfig) -> Result<(), Error> {
    let store = Arc::new(Store::open(&config.store)?);
    let shared = Arc::new(Shared { store: Arc::clone(&store), overview: Mutex::new(Overview::default()) });
    let ops = ops::serve(config.ops, &config.ops_file, Arc::clone(&shared)).await?;
    let config = Arc::new(config);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(side(Arc::clone(&config), Arc::clone(&shared)));
    for chain in config.chains.clone() {
        tasks.spawn(root(Arc::clone(&config), chain, Arc::clone(&shared)));
    }
    tracing::info!(node = %config.node, chains = config.chains.len(), %ops, "relaying");
    // Only a store that fails ends a task.
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(Error::Node(format!("a task of the relayer failed: {error}"))),
        None => Ok(()),
    }
}

/// Notes how a round went; only the store's failures are passed on.
fn note(shared: &Shared, name: &str, result: Result<OverviewLane, Error>) -> Result<(), Error> {
    let mut overview = shared.overview.lock();
    let before = overview.lanes.get(name).cloned().unwrap_or_default();
    let now = match result {
        Ok(lane) => OverviewLane { well_ms: now_ms(), ..lane },
        Err(error @ Error::Store { .. }) => return Err(error),
        Err(error) => {
            let words = error.to_string();
            if before.error.as_ref() != Some(&words) {
                tracing::warn!(chain = name, error = %words, "a round failed");
            }
            OverviewLane { error: Some(words), ..before }
        }
    };
    overview.lanes.insert(name.to_owned(), now);
    Ok(())
}

/// BTTC's side: logs of withdrawals are read, and deposits applied.
async fn side(config: Arc<RelayerConfig>, shared: Arc<Shared>) -> Result<(), Error> {
    let node = NodeClient::new(&config.node, config.timeout)?;
    let mut lane = None;
    loop {
        let result = side_round(&config, &node, &mut lane, &shared).await;
        note(&shared, "bttc", result)?;
        tokio::time::sleep(config.poll).await;
    }
}

async fn side_round(
    config: &RelayerConfig,
    node: &NodeClient,
    lane: &mut Option<Lane>,
    shared: &Shared,
) -> Result<OverviewLane, Error> {
    let store = &shared.store;
    store.bind(node.state().await?.bridge_id)?;
    if lane.is_none()
        && let Some(key) = &config.key
    {
        *lane = Some(Lane::Evm(EvmLane {
            name: "bttc".into(),
            client: EvmClient::new(Endpoint::new(&config.node, config.timeout)?, 0),
            chain_id: node.evm.chain_id().await?,
            key: key.clone(),
            least_tip: 1_000_000_000,
            fee_cap: u128::MAX,
            gas_cap: 1 << 24,
            bump_ms: 10_000,
            next_nonce: None,
        }));
    }
    loop {
        let cursor = store.cursor()?;
        let (found, read) = node.withdrawals(cursor).await?;
        if read == cursor {
            break;
        }
        store.put_withdrawals(&found, read)?;
    }
    store.tidy()?;
    let state = node.state().await?;
    let mut alarms = Vec::new();
    if state.halted {
        alarms.push("more than a third of the power stands accused: the ledger is halted".to_owned());
    }
    for view in node.gateways().await? {
        if let Some(alarm) = view.watched.get("alarm").and_then(|alarm| alarm.as_str()) {
            alarms.push(format!("{}: {alarm}", view.name));
        }
        if config.key.is_some() {
            plan::deposits(node, view.at(), store).await?;
        }
    }
    let mut shown = OverviewLane { alarms, ..OverviewLane::default() };
    if let Some(lane) = lane {
        lane.advance(store).await?;
        shown.account = Some(lane.account().to_string());
        shown.balance = Some(crate::store::shown(lane.balance().await?));
    }
    Ok(shown)
}

/// What is remembered of a root chain between two rounds.
#[derive(Default)]
struct Known {
    checkpoints: Checkpoints,
    reserves: Reserves,
}

/// A root chain's side: commands, checkpoints and claims.
async fn root(config: Arc<RelayerConfig>, chain: ChainConfig, shared: Arc<Shared>) -> Result<(), Error> {
    let node = NodeClient::new(&config.node, config.timeout)?;
    let reader = reader(&config, &chain)?;
    let mut lane = match &config.key {
        Some(key) => Some(lane(&config, &chain, key)?),
        None => None,
    };
    let mut known = Known::default();
    loop {
        let result = root_round(&config, &chain, &node, &reader, &mut lane, &mut known, &shared).await;
        note(&shared, &chain.name, result)?;
        tokio::time::sleep(config.poll).await;
    }
}

async fn root_round(
    config: &RelayerConfig,
    chain: &ChainConfig,
    node: &NodeClient,
    reader: &RootChain,
    lane: &mut Option<Lane>,
    known: &mut Known,
    shared: &Shared,
) -> Result<OverviewLane, Error> {
    let store = &shared.store;
    let mut shown = OverviewLane::default();
    let served = reader.chain_id().await?;
    if served != chain.chain_id {
        let endpoint = reader.name().to_owned();
        return Err(bttc_root_chains::Error::WrongChain { endpoint, expected: chain.chain_id, got: served }.into());
    }
    let state = node.state().await?;
    store.bind(state.bridge_id)?;
    let last: u64 = state.checkpoints.to();
    let policy = config.min_fee_bps.map_or(ClaimPolicy::All, ClaimPolicy::Paid);
    for view in node.gateways().await? {
        if view.root_chain_id.to::<u64>() != chain.chain_id {
            continue;
        }
        let work = GatewayWork { node, chain: reader, lane: &chain.name, policy, store };
        let state = if lane.is_some() {
            work.find(&view, last, &mut known.checkpoints).await?
        } else {
            reader.gateway(view.gateway).await?
        };
        if state.frozen {
            shown.alarms.push("the gateway is frozen".into());
        }
        let expiry = u64::from(reader.view(view.gateway, &EvmGateway::EXPIRYCall {}).await?);
        if state.expires_at < now_ms() / 1_000 + least_left(expiry) {
            shown
                .alarms
                .push(format!("no renewal has reached the gateway for long: its set expires at {}", state.expires_at));
        }
        shown.alarms.extend(known.reserves.alarms(node, reader, view.at()).await);
        shown.deposits = state.deposits;
        shown.applied = view.deposit_nonce.to();
        shown.withdrawals = view.withdrawals.to();
        shown.last_seq = state.last_seq;
        shown.checkpoints = last;
    }
    if let Some(lane) = lane {
        lane.advance(store).await?;
        shown.account = Some(lane.account().to_string());
        shown.balance = Some(crate::store::shown(lane.balance().await?));
    }
    Ok(shown)
}
