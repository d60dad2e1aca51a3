//! Between the network and the rest: messages to the engine, transactions to the pool, blocks to peers that ask.

use crate::bridge::BridgeEvent;
use crate::clock;
use crate::metrics::Metrics;
use crate::shell::EngineEvent;
use crate::snapshots::{Snapshots, answer};
use bttc_engine::{Input, decode_blocks};
use bttc_executor::Executor;
use bttc_network::{Incoming, Lane, NetworkHandle, TransactionReceiver, Verdict};
use bttc_node::{HeadAccounts, PeerRequest, UselessBudget, authorizations, judge_transaction, wasted};
use bttc_pool::{Added, Error as PoolError, Journal, Pool};
use bttc_types::RecoveredTransaction;
use parking_lot::Mutex;
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{broadcast, mpsc};

/// Transactions taken from the network at once: enough to keep all cores recovering, few enough to stay responsive.
const BATCH: usize = 256;

/// Transactions sent again at once: to a new peer, and every few seconds those of our own users.
const MAX_REPEATED: usize = 2_000;

/// Takes transactions in, wherever they come from.
pub(crate) struct Intake {
    pub(crate) executor: Arc<Executor>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) network: Option<NetworkHandle>,
    pub(crate) journal: Mutex<Option<Journal>>,
    pub(crate) engine: mpsc::Sender<EngineEvent>,
    pub(crate) pending: broadcast::Sender<Arc<RecoveredTransaction>>,
    pub(crate) told_waiting: Arc<AtomicBool>,
    pub(crate) metrics: Arc<Metrics>,
    /// What useless transactions peers have sent.
    pub(crate) useless: Mutex<UselessBudget>,
    /// Number of the last local transaction that was sent again.
    pub(crate) repeated: AtomicU64,
}

impl Intake {
    /// A transaction of our own user: pool, journal, gossip.
    pub(crate) fn local(&self, transaction: RecoveredTransaction) -> Result<alloy_primitives::B256, PoolError> {
        let transaction = Arc::new(transaction);
        let accounts = HeadAccounts(Arc::clone(&self.executor));
        let added = self.pool.add(Arc::clone(&transaction), true, clock::now().mono_ms, &accounts)?;
        if let Some(journal) = self.journal.lock().as_mut() {
            // The user was told nothing yet: a transaction that cannot be journalled is still gossiped.
            if let Err(error) = journal.append(&transaction) {
                tracing::warn!(%error, "a transaction was accepted but not journalled");
            }
        }
        if let Some(network) = &self.network {
            network.broadcast(Lane::Transactions, transaction.encoded().to_vec());
        }
        self.accepted(&transaction, &added);
        Ok(added.hash)
    }

    fn accepted(&self, transaction: &Arc<RecoveredTransaction>, added: &Added) {
        for transaction in Some(transaction).filter(|_| added.pending).into_iter().chain(&added.promoted) {
            let _ = self.pending.send(Arc::clone(transaction));
        }
        if (added.pending || !added.promoted.is_empty())
            && !self.told_waiting.swap(true, Ordering::AcqRel)
            && self.engine.try_send(EngineEvent::Input(Input::TransactionsWaiting)).is_err()
        {
            self.told_waiting.store(false, Ordering::Release);
        }
    }

    /// A new peer gets the best of what waits here: it may have none of it.
    fn greet(&self, peer: u64) {
        if let Some(network) = &self.network {
            for transaction in self.pool.best_pending(MAX_REPEATED) {
                network.send(peer, Lane::Transactions, transaction.encoded().to_vec());
            }
        }
    }

    /// Takes back what the journal holds.
    pub(crate) fn restore(&self, transactions: Vec<RecoveredTransaction>) {
        let accounts = HeadAccounts(Arc::clone(&self.executor));
        let mut restored = 0usize;
        for transaction in transactions {
            if self.pool.add(Arc::new(transaction), true, clock::now().mono_ms, &accounts).is_ok() {
                restored += 1;
            }
        }
        if restored > 0 {
            let _ = self.engine.try_send(EngineEvent::Input(Input::TransactionsWaiting));
            tracing::info!(restored, "transactions taken from the journal");
        }
        self.rewrite_journal();
    }

    fn rewrite_journal(&self) {
        // The lock first: a transaction appended between a look at the pool and the lock would be erased.
        let mut journal = self.journal.lock();
        let local = self.pool.local();
        if let Some(journal) = journal.as_mut()
            && let Err(error) = journal.rewrite(&local)
        {
            tracing::warn!(%error, "cannot rewrite the transaction journal");
        }
    }

    /// Work for every few seconds.
    pub(crate) fn maintain(&self) {
        self.pool.expire(clock::now().mono_ms);
        self.repeat();
        let grown = self.journal.lock().as_ref().is_some_and(Journal::wants_rewrite);
        if grown {
            self.rewrite_journal();
        }
        self.metrics.pool_transactions.set(i64::try_from(self.pool.len()).unwrap_or(i64::MAX));
    }

    /// What our users sent may have been lost on the way, or have had nobody to go to. All have their turn.
    fn repeat(&self) {
        let Some(network) = &self.network else { return };
        let local = self.pool.local_after(self.repeated.load(Ordering::Relaxed), MAX_REPEATED);
        let last = local.last().filter(|_| local.len() == MAX_REPEATED).map_or(0, |(number, _)| *number);
        self.repeated.store(last, Ordering::Relaxed);
        for (_, transaction) in local {
            network.broadcast(Lane::Transactions, transaction.encoded().to_vec());
        }
    }

    /// Transactions from peers, in batches on all cores.
    pub(crate) async fn run(self: Arc<Self>, mut incoming: TransactionReceiver) {
        let mut batch = Vec::with_capacity(BATCH);
        while incoming.recv_many(&mut batch, BATCH).await > 0 {
            let work = std::mem::take(&mut batch);
            let intake = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || intake.take(work)).await.is_err() {
                tracing::error!("taking in transactions failed");
            }
        }
    }

    fn take(&self, batch: Vec<Incoming>) {
        let now_ms = clock::now().mono_ms;
        let judged: Vec<_> = batch
            .into_par_iter()
            .filter_map(|incoming| match incoming {
                Incoming::Message { peer, number, bytes, .. } if !number.is_void() => {
                    let result = if self.useless.lock().allows(peer, now_ms) {
                        self.metrics.recovery(|| judge_transaction(&self.pool, &bytes))
                    } else {
                        Err(Verdict::Ignore)
                    };
                    Some((peer, number, bytes, result))
                }
                _ => None,
            })
            .collect();
        let accounts = HeadAccounts(Arc::clone(&self.executor));
        for (peer, number, bytes, result) in judged {
            let verdict = match result {
                Err(verdict) => verdict,
                // Its authorizations are yet to be recovered, and what came before it may have used the budget up.
                Ok(transaction) if authorizations(&transaction) > 0 && !self.useless.lock().allows(peer, now_ms) => {
                    Verdict::Ignore
                }
                Ok(transaction) => {
                    let transaction = Arc::new(transaction);
                    match self.pool.add(Arc::clone(&transaction), false, now_ms, &accounts) {
                        Ok(added) => {
                            self.accepted(&transaction, &added);
                            Verdict::Accept
                        }
                        Err(error) => {
                            let mut budget = self.useless.lock();
                            (0..wasted(&error, &transaction)).for_each(|_| budget.charge(peer, now_ms));
                            Verdict::Ignore
                        }
                    }
                }
            };
            let label = match &verdict {
                Verdict::Accept => "accept",
                Verdict::Ignore => "ignore",
                Verdict::Drop => "drop",
                Verdict::Reject(_) => "reject",
            };
            self.metrics.messages.with_label_values(&["transactions", label]).inc();
            if let Some(network) = &self.network {
                network.verdict(peer, Lane::Transactions, number, bytes, verdict);
            }
        }
    }
}

/// Requests for blocks in work.
const MAX_BLOCK_ANSWERS: usize = 4;
/// Requests of nodes that join in work: an answer may read a MiB, and must leave the other cores to the engine and the application.
const MAX_SNAPSHOT_ANSWERS: usize = 1;

/// Where messages go.
pub(crate) struct Destinations {
    /// Consensus.
    pub(crate) engine: mpsc::Sender<EngineEvent>,
    /// Bridge votes.
    pub(crate) bridge: mpsc::Sender<BridgeEvent>,
    /// What those may cost.
    pub(crate) useless_votes: Arc<Mutex<UselessBudget>>,
}

/// Passes what comes from the network on to the engine and answers requests.
pub(crate) async fn route(
    network: NetworkHandle,
    executor: Arc<Executor>,
    snapshots: Arc<Snapshots>,
    destinations: Destinations,
    mut incoming: mpsc::Receiver<Incoming>,
    peers: Arc<AtomicUsize>,
    intake: Arc<Intake>,
) {
    let Destinations { engine, bridge, useless_votes } = destinations;
    let metrics = Arc::clone(&intake.metrics);
    let block_answers = Arc::new(tokio::sync::Semaphore::new(MAX_BLOCK_ANSWERS));
    let snapshot_answers = Arc::new(tokio::sync::Semaphore::new(MAX_SNAPSHOT_ANSWERS));
    while let Some(event) = incoming.recv().await {
        let for_engine = match event {
            Incoming::Message { peer, lane: Lane::Attestations, number, bytes } => {
                if !useless_votes.lock().allows(peer, clock::now().mono_ms) {
                    network.verdict(peer, Lane::Attestations, number, bytes, Verdict::Ignore);
                    continue;
                }
                // A full queue loses a vote, which is told again; it must not hold up consensus.
                if let Err(error) = bridge.try_send(BridgeEvent::Vote { peer, number, bytes })
                    && let BridgeEvent::Vote { peer, number, bytes } = error.into_inner()
                {
                    network.verdict(peer, Lane::Attestations, number, bytes, Verdict::Ignore);
                }
                continue;
            }
            Incoming::Message { peer, lane, number, bytes } => EngineEvent::Message { peer, lane, number, bytes },
            Incoming::Connected { info, greet } => {
                metrics.peers.set(i64::try_from(peers.fetch_add(1, Ordering::AcqRel) + 1).unwrap_or(i64::MAX));
                intake.useless.lock().connected(info.peer, info.neighbourhood);
                useless_votes.lock().connected(info.peer, info.neighbourhood);
                // Who comes again a moment later was told everything; its height follows anyway.
                if greet {
                    let (intake, peer) = (Arc::clone(&intake), info.peer);
                    tokio::task::spawn_blocking(move || intake.greet(peer));
                    let _ = bridge.try_send(BridgeEvent::Connected(peer));
                }
                EngineEvent::Input(Input::PeerConnected { peer: info.peer, validator: info.validator, greet })
            }
            Incoming::Disconnected(peer) => {
                metrics.peers.set(i64::try_from(peers.fetch_sub(1, Ordering::AcqRel) - 1).unwrap_or(0));
                intake.useless.lock().gone(peer);
                useless_votes.lock().gone(peer);
                EngineEvent::Input(Input::PeerGone(peer))
            }
            Incoming::Status { peer, height } => EngineEvent::Input(Input::PeerStatus { peer, height }),
            Incoming::Request { peer, id, bytes, asker } => {
                let request = match PeerRequest::decode(&bytes) {
                    Ok(request) => request,
                    Err(error) => {
                        network.fault(peer, error.to_string());
                        continue;
                    }
                };
                // They are answered in the order in which they came. How many requests one peer may have until it has read the answers,
                // the network sees to: so whoever asks all the time has no more than its share, and everybody has a turn.
                let is_block = matches!(request, PeerRequest::Blocks(_));
                let queue = Arc::clone(if is_block { &block_answers } else { &snapshot_answers });
                let (network, executor, snapshots) = (network.clone(), Arc::clone(&executor), Arc::clone(&snapshots));
                tokio::spawn(async move {
                    let place = queue.acquire_owned().await;
                    // Whoever asks and hangs up has others wait for nothing.
                    if asker.strong_count() == 0 {
                        return;
                    }
                    let work = move || network.respond(id, answer(&executor, &snapshots, &request));
                    if let Err(error) = tokio::task::spawn_blocking(work).await {
                        tracing::error!(%error, "answering a peer failed");
                    }
                    drop(place);
                });
                continue;
            }
            Incoming::Response { peer, tag, result } => {
                let decoded = result.and_then(|bytes| decode_blocks(&bytes).map_err(|error| error.to_string()));
                EngineEvent::Input(match decoded {
                    Ok(blocks) => Input::Blocks { peer, from: tag, blocks },
                    Err(_) => Input::BlocksFailed { peer, from: tag },
                })
            }
        };
        if engine.send(for_engine).await.is_err() {
            return;
        }
    }
}
