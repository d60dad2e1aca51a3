//! Joining by a snapshot: fills a new database from peers before the node starts on it.
//!
//! The database grows in a directory of its own, and takes its place when it is complete. A node that dies meanwhile
//! goes on where it was.

use crate::config::{Config, SyncMode};
use crate::home::Home;
use crate::metrics::Metrics;
use crate::node::{network_config, rocks_options};
use crate::ops::{self, Ops};
use crate::snapshots::no_answer;
use crate::spool::Spool;
use bttc_executor::genesis_block;
use bttc_genesis::{ChainSpec, LightClient};
use bttc_network::{Incoming, Keypair, NetworkHandle, Verdict};
use bttc_node::{PeerRequest, SetWalk, StateSync, SyncAction, finish_import};
use bttc_rpc::{NodeApi, NodeStatus};
use bttc_state::RocksStore;
use bttc_state::snapshot::Import;
use bttc_types::{Block, SecretKey, SigningDomain, Transaction};
use eyre::{Context, eyre};
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often requests are looked at when nothing comes.
const TICK: Duration = Duration::from_millis(100);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(5);

/// Fills a new database from a snapshot of the peers, if the configuration wants that and there is no database yet.
/// Returns without having done anything when no peer offers a snapshot for `sync.offers_seconds`: blocks are synced then.
pub(crate) async fn join(
    config: &Config,
    home: &Home,
    spec: &ChainSpec,
    identity: &Keypair,
    consensus_key: Option<&SecretKey>,
) -> eyre::Result<()> {
    let begun = home.joining().exists();
    if home.database().join("CURRENT").exists() || (config.sync.mode == SyncMode::Blocks && !begun) {
        return Ok(());
    }
    std::fs::create_dir_all(home.data())
        .wrap_err_with(|| format!("cannot create the data directory {}", home.data().display()))?;
    if begun && is_finished(&home.joining(), config) {
        return put_in_place(home);
    }
    let genesis = genesis_block(spec)?;
    let domain = SigningDomain::new(spec.chain_id(), genesis.hash());
    let status = Arc::new(RwLock::new(NodeStatus { syncing: true, ..NodeStatus::default() }));
    let (stop, stop_receiver) = tokio::sync::watch::channel(false);
    let address =
        config.ops.listen.parse().wrap_err_with(|| format!("ops.listen {:?} is no address", config.ops.listen))?;
    let ops = Ops {
        metrics: Arc::new(Metrics::new()?),
        node: Arc::new(Joining(Arc::clone(&status))),
        head: Arc::new(|| 0),
        alive: Arc::new(|| true),
    };
    let (_, served) = ops::start(address, ops, stop_receiver).await?;
    let (network, mut incoming, transactions) = bttc_network::start(
        network_config(config)?,
        identity.clone(),
        consensus_key,
        domain,
        spec.chain_id(),
        genesis.hash(),
        (0, genesis.hash()),
        &crate::version(),
    )?;
    drop(transactions);
    let result = run(config, home, spec, &genesis, &network, &mut incoming, &status).await;
    // The ports must be free before the node takes them.
    drop(network);
    while incoming.recv().await.is_some() {}
    let _ = stop.send(true);
    let _ = tokio::time::timeout(Duration::from_secs(5), served).await;
    result
}

#[allow(clippy::too_many_arguments)]
async fn run(
    config: &Config,
    home: &Home,
    spec: &ChainSpec,
    genesis: &Block,
    network: &NetworkHandle,
    incoming: &mut tokio::sync::mpsc::Receiver<Incoming>,
    status: &RwLock<NodeStatus>,
) -> eyre::Result<()> {
    std::fs::create_dir_all(home.data())?;
    let changes = Arc::new(Mutex::new(Spool::create(&home.joining_sets())));
    let keep = Arc::clone(&changes);
    let walk = SetWalk::new(
        LightClient::new(spec, genesis.hash())?,
        Box::new(move |change| keep.lock().push(&alloy_rlp::encode(change))),
    );
    let resume = resumable(&home.joining(), config);
    if let Some(pivot) = resume {
        let folder = home.joining();
        tracing::info!(
            height = pivot.height,
            folder = %folder.display(),
            "going on with the snapshot that was begun; remove the folder to sync blocks from the beginning instead"
        );
    } else {
        tracing::info!("looking for a snapshot to join by");
    }
    let mut sync = StateSync::new(Box::new(walk), resume);
    let start = Instant::now();
    let mut told = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    loop {
        let mut actions = Vec::new();
        let now = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tokio::select! {
            _ = tick.tick() => {}
            event = incoming.recv() => match event.ok_or_else(|| eyre!("the network ended"))? {
                Incoming::Connected { info, .. } => {
                    status.write().peers += 1;
                    sync.connected(info.peer);
                }
                Incoming::Disconnected(peer) => {
                    let mut status = status.write();
                    status.peers = status.peers.saturating_sub(1);
                    sync.gone(peer);
                }
                Incoming::Response { peer, tag, result } => {
                    let bytes = result.as_ref().map(Vec::len);
                    tracing::debug!(peer, tag, ?bytes, "an answer");
                    actions = tokio::task::block_in_place(|| sync.answered(tag, result, now))?;
                }
                Incoming::Message { peer, lane, number, bytes } => {
                    network.verdict(peer, lane, number, bytes, Verdict::Ignore);
                }
                Incoming::Request { peer, id, bytes, .. } => match PeerRequest::decode(&bytes) {
                    Ok(request) => network.respond(id, no_answer(&request)),
                    Err(error) => network.fault(peer, error.to_string()),
                },
                Incoming::Status { .. } => {}
            },
        }
        actions.extend(sync.tick(now));
        for action in actions {
            match action {
                SyncAction::Ask { peer, tag, request } => {
                    let pieces = if let PeerRequest::Pieces(_, pieces) = &request { pieces.len() } else { 0 };
                    tracing::debug!(peer, tag, pieces, "a request");
                    network.request(peer, tag, request.encode());
                }
                SyncAction::Blame { peer, reason } => {
                    tracing::warn!(peer, reason, "a source of the snapshot lied");
                    network.fault(peer, reason);
                }
                SyncAction::Open(pivot) => {
                    tracing::info!(height = pivot.height, hash = %pivot.hash, "joining by a snapshot");
                    sync.opened(open(&home.joining(), config, pivot)?);
                }
                SyncAction::Finish(finished) => {
                    let height = finished.offer.header.number;
                    // Before the import counts as finished: this node must be able to show the way to others.
                    keep_set_changes(&finished.import, &mut changes.lock())?;
                    finish_import(finished.import, &finished.offer.certificate, &finished.tail, genesis)?;
                    put_in_place(home)?;
                    tracing::info!(height, seconds = start.elapsed().as_secs(), "the snapshot is complete");
                    return Ok(());
                }
            }
        }
        if !sync.is_offered() && resume.is_none() && start.elapsed().as_secs() >= config.sync.offers_seconds {
            tracing::warn!("no peer offers a snapshot: blocks are synced from the beginning");
            return Ok(());
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            tell(&sync, start, status);
        }
    }
}

fn tell(sync: &StateSync, start: Instant, status: &RwLock<NodeStatus>) {
    let Some((height, progress)) = sync.progress() else {
        tracing::info!(peers = status.read().peers, "waiting for peers that offer a snapshot");
        return;
    };
    status.write().best_peer_height = height;
    let spent = start.elapsed().as_secs_f64();
    let left = if progress.share > 0.0 { spent / progress.share * (1.0 - progress.share) } else { f64::INFINITY };
    tracing::info!(
        height,
        percent = (progress.share * 100.0).round(),
        accounts = progress.accounts,
        slots = progress.slots,
        seconds_left = if left.is_finite() { Some(left.round()) } else { None },
        "loading the snapshot"
    );
}

/// The way along the validator sets goes into the database.
fn keep_set_changes(import: &Import, changes: &mut Spool) -> eyre::Result<()> {
    // The first change is the one to epoch 2: epochs 0 and 1 have the genesis set.
    let mut epoch = 2u64;
    changes.read(|record| {
        import.put_set_change(epoch, record)?;
        epoch = epoch.saturating_add(1);
        Ok(())
    })
}

/// The complete database takes its place.
fn put_in_place(home: &Home) -> eyre::Result<()> {
    std::fs::rename(home.joining(), home.database())
        .wrap_err_with(|| format!("cannot rename {} to {}", home.joining().display(), home.database().display()))?;
    Ok(std::fs::File::open(home.data())?.sync_all()?)
}

/// Whether the process died between the last write and the renaming.
fn is_finished(path: &Path, config: &Config) -> bool {
    RocksStore::open(path, &rocks_options(config)).is_ok_and(|kv| Import::is_finished(&kv).unwrap_or(false))
}

/// The pivot of an import that was begun; nothing when its database is damaged, which is then begun anew.
fn resumable(path: &Path, config: &Config) -> Option<bttc_state::Head> {
    if !path.exists() {
        return None;
    }
    let kv = RocksStore::open(path, &rocks_options(config));
    match kv.and_then(|kv| Import::pivot_in(&kv)) {
        Ok(pivot) => pivot,
        Err(error) => {
            tracing::warn!(%error, "what was loaded of a snapshot is damaged, it is loaded again");
            None
        }
    }
}

/// Opens the growing database; whatever is there of another snapshot is removed.
fn open(path: &Path, config: &Config, pivot: bttc_state::Head) -> eyre::Result<Import> {
    if path.exists() && resumable(path, config) != Some(pivot) {
        std::fs::remove_dir_all(path).wrap_err_with(|| format!("cannot remove {}", path.display()))?;
    }
    let kv = RocksStore::open(path, &rocks_options(config))
        .wrap_err_with(|| format!("cannot open the database {}", path.display()))?;
    Ok(Import::open(Arc::new(kv), pivot)?)
}

/// The node as the operations port sees it meanwhile.
struct Joining(Arc<RwLock<NodeStatus>>);

impl NodeApi for Joining {
    fn submit(&self, _: Transaction) -> Result<alloy_primitives::B256, String> {
        Err("the node is joining by a snapshot".into())
    }

    fn status(&self) -> NodeStatus {
        NodeStatus { signing: "no: joining by a snapshot".into(), ..self.0.read().clone() }
    }

    fn peers(&self) -> BoxFuture<'static, serde_json::Value> {
        Box::pin(async { serde_json::json!([]) })
    }
}
