//! The application: builds, judges and commits blocks for the engine, one request after the other. It is the only writer
//! of the store.

use crate::HeadAccounts;
use alloy_primitives::{Address, B256};
use bttc_engine::{BlockVerdict, HeadInfo, Input, Timing};
use bttc_executor::{BuildInput, Error, ExecutedBlock, Executor, StageTimes, TransactionSource, Verdict};
use bttc_genesis::{ChainParams, KNOWN_FORKS};
use bttc_pool::{BestTransactions, Pool};
use bttc_types::{Certificate, RecoveredTransaction, authentic_block_hash, block_time_ms};
use std::sync::Arc;

/// What the engine wants done.
#[derive(Clone, Debug)]
pub enum Request {
    /// Build a block.
    Propose {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
        /// Certificate of the parent.
        last_commit: Certificate,
        /// Time for the header, milliseconds.
        time_ms: u64,
    },
    /// Judge a block.
    Validate {
        /// Height.
        height: u64,
        /// Hash.
        hash: B256,
        /// The encoded block.
        bytes: Arc<[u8]>,
    },
    /// Commit a decided block.
    Commit {
        /// Hash.
        hash: B256,
        /// The encoded block.
        bytes: Arc<[u8]>,
        /// What decided it.
        certificate: Certificate,
        /// Whether it must have reached the disk.
        durable: bool,
        /// Whether it came by sync and may be refused.
        synced: bool,
    },
    /// Keep a better certificate of the head.
    BetterCertificate(Certificate),
}

/// What the engine gets back.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An input.
    Input(Input),
    /// The node must stop.
    Halt(String),
}

/// A block that was committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The block and what executing it gave.
    pub executed: Arc<ExecutedBlock>,
    /// CPU time by stage.
    pub times: StageTimes,
    /// Header time since its parent, milliseconds.
    pub since_parent_ms: u64,
    /// Round in which it was decided.
    pub round: u32,
    /// Transactions of the pool that can be executed only now.
    pub promoted: Vec<Arc<RecoveredTransaction>>,
}

/// What serving a request gave.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// For the engine.
    pub answer: Option<Answer>,
    /// A block that was committed.
    pub committed: Option<Committed>,
}

impl From<Option<Input>> for Served {
    fn from(input: Option<Input>) -> Self {
        Self { answer: input.map(Answer::Input), committed: None }
    }
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

/// The chain's times as the engine wants them.
pub fn timing(params: &ChainParams) -> Timing {
    Timing {
        target_block_time_ms: params.target_block_time_ms,
        empty_block_interval_ms: params.empty_block_interval_ms,
        message_delay_ms: params.message_delay_ms,
    }
}

/// The application.
#[derive(Clone, Debug)]
pub struct Application {
    /// Chain and state.
    pub executor: Arc<Executor>,
    /// Transactions that wait.
    pub pool: Arc<Pool>,
    /// Fee address of the blocks that it builds.
    pub beneficiary: Address,
}

/// Why this program cannot go on: the next block is under rules that it does not know, by the genesis file or by a
/// decision of governance. Asked when a node starts, and
/// before anything is built, judged or voted for at that height.
pub fn unknown_rules(executor: &Executor) -> Option<String> {
    let next = executor.head_header().ok()?.number + 1;
    if let Some((name, at)) = executor.spec().unknown_fork().filter(|(_, at)| next >= *at) {
        return Some(format!(
            "fork {name:?} begins at height {at} and this program does not know it: install a version that does"
        ));
    }
    let upgrades = executor.upgrades().ok()?;
    let (name, at) = upgrades.iter().find(|(name, at)| next >= *at && !KNOWN_FORKS.contains(&name.as_str()))?;
    Some(format!(
        "governance decided the upgrade {name:?} from height {at} on and this program does not know it: install a \
         version that does, and start it on the same home"
    ))
}

impl Application {
    /// Serves a request. `out_of_time` ends the filling of a block.
    pub fn serve(&self, request: Request, out_of_time: &mut dyn FnMut() -> bool) -> Served {
        if let Some(reason) = unknown_rules(&self.executor) {
            return Served { answer: Some(Answer::Halt(reason)), committed: None };
        }
        match request {
            Request::Propose { height, round, last_commit, time_ms } => {
                self.propose(height, round, last_commit, time_ms, out_of_time).into()
            }
            Request::Validate { height, hash, bytes } => Some(self.validate(height, hash, &bytes)).into(),
            Request::Commit { hash, bytes, certificate, durable, synced } => {
                self.commit(hash, &bytes, &certificate, durable, synced)
            }
            Request::BetterCertificate(certificate) => {
                self.better_certificate(&certificate);
                Served::default()
            }
        }
    }

    fn propose(
        &self,
        height: u64,
        round: u32,
        last_commit: Certificate,
        time_ms: u64,
        out_of_time: &mut dyn FnMut() -> bool,
    ) -> Option<Input> {
        let built = self.executor.next_base_fee().and_then(|base_fee| {
            let mut source = PoolSource(self.pool.best(base_fee), HeadAccounts(Arc::clone(&self.executor)));
            self.executor.build(BuildInput {
                round,
                time_ms,
                beneficiary: self.beneficiary,
                last_commit,
                out_of_time,
                source: &mut source,
            })
        });
        match built {
            Ok(executed) if executed.block.header.number == height => {
                let (hash, bytes) = (executed.hash, Arc::clone(&executed.encoded));
                Some(Input::Proposed { height, round, hash, bytes })
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

    fn execute(&self, bytes: &[u8]) -> Result<Arc<ExecutedBlock>, Error> {
        self.executor.validate(bytes.to_vec(), &|hash| self.pool.get(hash))
    }

    fn validate(&self, height: u64, hash: B256, bytes: &[u8]) -> Input {
        Input::Validated { height, hash, verdict: self.judge(height, hash, bytes) }
    }

    fn judge(&self, height: u64, hash: B256, bytes: &[u8]) -> BlockVerdict {
        if authentic_block_hash(bytes) != Ok(hash) {
            return BlockVerdict::Forged("its body is not the one that its header commits to".into());
        }
        match self.execute(bytes) {
            Ok(_) => BlockVerdict::Valid,
            Err(Error::Invalid(reason)) => BlockVerdict::Invalid(reason.to_string()),
            Err(error) => {
                // This node could not tell: it does not vote, and others decide.
                tracing::error!(height, %hash, %error, "cannot judge a block");
                BlockVerdict::Unknown
            }
        }
    }

    fn commit(&self, hash: B256, bytes: &[u8], certificate: &Certificate, durable: bool, synced: bool) -> Served {
        let height = certificate.height;
        let halt = |reason: String| Served { answer: Some(Answer::Halt(reason)), committed: None };
        let parent_ms = self.executor.head_header().map_or(0, |parent| block_time_ms(&parent));
        let executed = match self.executor.executed(&hash) {
            Some(executed) => executed,
            None => match self.execute(bytes) {
                Ok(executed) => executed,
                Err(Error::Invalid(reason)) if synced => {
                    let reason = reason.to_string();
                    return Some(Input::SyncRefused { height, reason }).into();
                }
                Err(error) => return halt(format!("cannot execute decided block {height}: {error}")),
            },
        };
        let changed = executed.changed_accounts();
        let times = match self.executor.commit(&executed, certificate, durable) {
            Ok(times) => times,
            Err(error) => {
                return halt(format!(
                    "cannot commit decided block {height} ({hash}): {error}; its certificate is in the write-ahead \
                     log, and the next start commits it again"
                ));
            }
        };
        let accounts = HeadAccounts(Arc::clone(&self.executor));
        let promoted = self.pool.on_block(&executed.transactions, changed, &accounts).unwrap_or_else(|error| {
            tracing::error!(%error, "the pool could not take over the new head");
            Vec::new()
        });
        let sets = self
            .executor
            .validator_set(height + 1)
            .and_then(|next| self.executor.validator_set(height + 2).map(|following| (next, following)));
        let (next_set, following_set) = match sets {
            Ok(sets) => sets,
            Err(error) => return halt(format!("no validator set after block {height}: {error}")),
        };
        let since_parent_ms = block_time_ms(&executed.block.header).saturating_sub(parent_ms);
        let head = HeadInfo { height, hash };
        // Whoever hands this over looks into the pool at that moment.
        let next = &executed.end.next_params;
        self.pool.set_limits(next.gas_limit, next.min_base_fee);
        let timing = timing(next);
        let input = Input::Committed { head, next_set, following_set, timing, transactions_waiting: false };
        Served {
            answer: Some(Answer::Input(input)),
            committed: Some(Committed { executed, times, since_parent_ms, round: certificate.round, promoted }),
        }
    }

    fn better_certificate(&self, certificate: &Certificate) {
        let encoded = alloy_rlp::encode(certificate);
        if let Err(error) = self.executor.store().put_certificate(certificate.height, &encoded) {
            tracing::warn!(%error, "cannot keep a better certificate");
        }
    }
}
