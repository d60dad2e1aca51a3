//! The application thread: builds, judges and commits blocks for the engine, one request after the other. It is the only
//! writer of the store.

use crate::clock;
use crate::metrics::Metrics;
use crate::shell::EngineEvent;
use alloy_primitives::{Address, B256};
use bttc_engine::{HeadInfo, Input};
use bttc_executor::{BuildInput, Error, ExecutedBlock, Executor, TransactionSource, Verdict};
use bttc_pool::{AccountLookup, AccountState, BestTransactions, Pool};
use bttc_rpc::HeadEvent;
use bttc_state::{EMPTY_CODE_HASH, StateRead};
use bttc_types::{Certificate, RecoveredTransaction, block_time_ms};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc};

/// What the engine wants done.
#[derive(Debug)]
pub(crate) enum Request {
    Propose { height: u64, round: u32, last_commit: Certificate, time_ms: u64 },
    Validate { height: u64, hash: B256, bytes: Arc<[u8]> },
    Commit { hash: B256, bytes: Arc<[u8]>, certificate: Certificate, durable: bool, synced: bool },
    BetterCertificate(Certificate),
}

/// The pool as the builder's source of transactions.
struct PoolSource<'a>(BestTransactions<'a>, HeadAccounts);

impl TransactionSource for PoolSource<'_> {
    fn next(&mut self) -> Option<Arc<RecoveredTransaction>> {
        self.0.next_best()
    }

    fn refuse(&mut self, transaction: &Arc<RecoveredTransaction>, verdict: Verdict) {
        self.0.skip_sender(transaction.sender());
        if let Verdict::Never(reason) = verdict
            && let Err(error) = self.0.pool().drop_invalid(transaction, reason, &self.1)
        {
            tracing::warn!(%error, "an invalid transaction stays in the pool");
        }
    }
}

/// Accounts at the head, for the pool.
pub(crate) struct HeadAccounts(pub(crate) Arc<Executor>);

impl AccountLookup for HeadAccounts {
    fn account(&self, address: Address) -> Result<AccountState, String> {
        let read = self.0.store().view(None, |view| {
            let Some(account) = view.account(address)? else { return Ok(AccountState::default()) };
            let contract = account.code_hash != EMPTY_CODE_HASH
                && !view.code(account.code_hash)?.is_some_and(|code| code.starts_with(&[0xef, 0x01, 0x00]));
            Ok(AccountState { nonce: account.nonce, balance: account.balance, contract })
        });
        read.and_then(|result: Result<AccountState, bttc_state::Error>| result).map_err(|error| error.to_string())
    }
}

/// The application.
pub(crate) struct Application {
    pub(crate) executor: Arc<Executor>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heads: broadcast::Sender<HeadEvent>,
    pub(crate) engine: mpsc::Sender<EngineEvent>,
    pub(crate) beneficiary: Address,
    pub(crate) build_budget: Duration,
}

impl Application {
    /// Serves requests until the engine is gone.
    pub(crate) fn run(self, mut requests: mpsc::UnboundedReceiver<(Request, Instant)>) {
        while let Some((request, since)) = requests.blocking_recv() {
            self.metrics.lock_wait.inc_by(since.elapsed().as_secs_f64());
            if let Some(reason) = self.unknown_fork() {
                let _ = self.engine.blocking_send(EngineEvent::Halt(reason));
                return;
            }
            let outcome = match request {
                Request::Propose { height, round, last_commit, time_ms } => {
                    self.propose(height, round, last_commit, time_ms)
                }
                Request::Validate { height, hash, bytes } => self.validate(height, hash, &bytes),
                Request::Commit { hash, bytes, certificate, durable, synced } => {
                    self.commit(hash, &bytes, &certificate, durable, synced)
                }
                Request::BetterCertificate(certificate) => {
                    self.better_certificate(&certificate);
                    None
                }
            };
            if let Some(event) = outcome
                && self.engine.blocking_send(event).is_err()
            {
                return;
            }
        }
    }

    /// Why this program cannot go on: the next block is under rules that it does not know. Asked before anything is
    /// built, judged or voted for at that height.
    fn unknown_fork(&self) -> Option<String> {
        let next = self.executor.head_header().ok()?.number + 1;
        let (name, at) = self.executor.spec().unknown_fork()?;
        (next >= at).then(|| {
            format!(
                "fork {name:?} begins at height {at} and this program does not know it: install a version that does"
            )
        })
    }

    fn propose(&self, height: u64, round: u32, last_commit: Certificate, time_ms: u64) -> Option<EngineEvent> {
        let base_fee = self.next_base_fee()?;
        let mut source = PoolSource(self.pool.best(base_fee), HeadAccounts(Arc::clone(&self.executor)));
        let start = Instant::now();
        let budget = self.build_budget;
        let input = BuildInput {
            round,
            time_ms,
            beneficiary: self.beneficiary,
            last_commit,
            out_of_time: &mut || start.elapsed() >= budget,
            source: &mut source,
        };
        match self.executor.build(input) {
            Ok(executed) if executed.block.header.number == height => {
                let (hash, bytes) = (executed.hash, Arc::clone(&executed.encoded));
                Some(EngineEvent::Input(Input::Proposed { height, round, hash, bytes }))
            }
            // The head moved on while the request waited.
            Ok(_) => None,
            Err(error) => {
                // Without a proposal the round times out and the next proposer takes over.
                tracing::error!(height, round, %error, "cannot build a block");
                None
            }
        }
    }

    /// Base fee of the next block.
    fn next_base_fee(&self) -> Option<u64> {
        match self.executor.next_base_fee() {
            Ok(fee) => Some(fee),
            Err(error) => {
                tracing::error!(%error, "cannot read the head");
                None
            }
        }
    }

    fn execute(&self, bytes: &[u8]) -> Result<Arc<ExecutedBlock>, Error> {
        self.executor.validate(bytes.to_vec(), &|hash| self.pool.get(hash))
    }

    fn validate(&self, height: u64, hash: B256, bytes: &[u8]) -> Option<EngineEvent> {
        let verdict = match self.execute(bytes) {
            Ok(executed) => Ok(block_time_ms(&executed.block.header)),
            Err(Error::Invalid(reason)) => Err(reason.to_string()),
            Err(error) => {
                // This node could not tell: it does not vote, and others decide.
                tracing::error!(height, %hash, %error, "cannot judge a block");
                return None;
            }
        };
        Some(EngineEvent::Input(Input::Validated { height, hash, verdict }))
    }

    fn commit(
        &self,
        hash: B256,
        bytes: &[u8],
        certificate: &Certificate,
        durable: bool,
        synced: bool,
    ) -> Option<EngineEvent> {
        let height = certificate.height;
        let parent_ms = self.executor.head_header().map_or(0, |parent| block_time_ms(&parent));
        let executed = match self.executor.executed(&hash) {
            Some(executed) => executed,
            None => match self.execute(bytes) {
                Ok(executed) => executed,
                Err(Error::Invalid(reason)) if synced => {
                    let reason = reason.to_string();
                    return Some(EngineEvent::Input(Input::SyncRefused { height, reason }));
                }
                Err(error) => {
                    return Some(EngineEvent::Halt(format!("cannot execute decided block {height}: {error}")));
                }
            },
        };
        let times = match self.executor.commit(&executed, certificate, durable) {
            Ok(times) => times,
            Err(error) => {
                return Some(EngineEvent::Halt(format!(
                    "cannot commit decided block {height} ({hash}): {error}; its certificate is in the write-ahead \
                     log, and the next start commits it again"
                )));
            }
        };
        let since_parent = block_time_ms(&executed.block.header).saturating_sub(parent_ms);
        self.metrics.committed(&executed, &times, Duration::from_millis(since_parent));
        if let Err(error) = self.pool.on_block(&executed.transactions, &HeadAccounts(Arc::clone(&self.executor))) {
            tracing::error!(%error, "the pool could not take over the new head");
        }
        self.metrics.pool_transactions.set(i64::try_from(self.pool.len()).unwrap_or(i64::MAX));
        let header = &executed.block.header;
        tracing::info!(
            height,
            round = certificate.round,
            transactions = executed.transactions.len(),
            gas = header.gas_used,
            %hash,
            behind_ms = clock::now().wall_ms.saturating_sub(block_time_ms(header)),
            "block"
        );
        // Nobody may listen.
        let _ = self.heads.send(Arc::clone(&executed));
        let sets = self
            .executor
            .validator_set(height + 1)
            .and_then(|next| self.executor.validator_set(height + 2).map(|following| (next, following)));
        let (next_set, following_set) = match sets {
            Ok(sets) => sets,
            Err(error) => return Some(EngineEvent::Halt(format!("no validator set after block {height}: {error}"))),
        };
        let head = HeadInfo { height, hash };
        // The shell looks into the pool at the moment when it hands this over.
        Some(EngineEvent::Input(Input::Committed { head, next_set, following_set, transactions_waiting: false }))
    }

    fn better_certificate(&self, certificate: &Certificate) {
        let encoded = alloy_rlp::encode(certificate);
        if let Err(error) = self.executor.store().put_certificate(certificate.height, &encoded) {
            tracing::warn!(%error, "cannot keep a better certificate");
        }
    }
}
