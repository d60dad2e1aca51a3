//! One simulated node: the parts that run in the process too, on a simulated disk, with one core.

use crate::byzantine::Byzantine;
use crate::disk::Disk;
use alloy_primitives::B256;
use bttc_engine::{Engine, EngineConfig, Now, Output, Wal};
use bttc_executor::Executor;
use bttc_genesis::ChainSpec;
use bttc_network::{Lane, PeerId, Router, RouterConfig};
use bttc_node::{Application, Request, UselessBudget, start_info};
use bttc_pool::{ChainLimits, Pool, PoolConfig};
use bttc_state::{StateStore, StoreOptions};
use bttc_types::{RecoveredTransaction, SecretKey};
use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

/// Bytes between nodes, hashed once.
#[derive(Debug)]
pub struct Payload {
    /// Lane.
    pub lane: Lane,
    /// The bytes.
    pub bytes: Arc<[u8]>,
    /// Their hash, for the trace.
    pub hash: B256,
}

/// What waits for a node's core.
#[derive(Clone, Debug)]
pub enum Item {
    /// A gossiped message.
    Gossip(usize, Arc<Payload>),
    /// A peer's head.
    Status(usize, u64),
    /// A peer is there, with its head; both agreed to the connection.
    Connected(usize, u64),
    /// A peer opens its stream, with its head, whether it is wanted or not.
    Opened(usize, u64),
    /// A peer is gone.
    Gone(usize),
    /// A peer asks for blocks: tag, request.
    Asked(usize, u64, Arc<[u8]>),
    /// An answer to a request for blocks: tag, blocks.
    Answered(usize, u64, Arc<[u8]>),
    /// Work of the application.
    Work(Request),
    /// A transaction of a client.
    Submitted(Arc<RecoveredTransaction>),
}

impl Item {
    /// What it takes on a link, bytes.
    pub fn bytes(&self) -> usize {
        /// Frame, height, and what else a short message has.
        const SHORT: usize = 64;
        match self {
            Self::Gossip(_, payload) => payload.bytes.len() + SHORT,
            Self::Asked(_, _, bytes) | Self::Answered(_, _, bytes) => bytes.len() + SHORT,
            Self::Status(..)
            | Self::Connected(..)
            | Self::Opened(..)
            | Self::Gone(_)
            | Self::Work(_)
            | Self::Submitted(_) => SHORT,
        }
    }
}

/// Hashes messages with fixed keys, so that a run repeats.
pub type FixedHasher = BuildHasherDefault<DefaultHasher>;

/// The parts of a node that runs.
pub struct Running {
    /// The engine.
    pub engine: Engine,
    /// Builds, judges, commits.
    pub application: Application,
    /// Deduplication, quotas, scores, bans.
    pub router: Router<FixedHasher>,
    /// Whether the engine knows that transactions wait.
    pub told_waiting: bool,
    /// When signing was first seen off, with the height of that moment.
    pub off_since: Option<u64>,
    /// What useless transactions peers have sent.
    pub useless: UselessBudget,
}

impl Running {
    /// Whether a peer may open its stream to this node now; if so, it counts.
    pub fn may_open(&mut self, peer: usize, now_ms: u64) -> bool {
        let number = self.router.number_of(&peer_id(peer), now_ms);
        self.router.may_open(number, now_ms)
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub index: usize,
    /// Its consensus key.
    pub key: SecretKey,
    /// Its disk.
    pub disk: Disk,
    /// How far its wall clock is ahead, milliseconds.
    pub skew_ms: i64,
    /// Counts its starts.
    pub incarnation: u32,
    /// While it runs.
    pub running: Option<Running>,
    /// When it breaks the protocol.
    pub byzantine: Option<Byzantine>,
    /// Whether its key may be seen breaking rules: byzantine or a twin.
    pub liar: bool,
    /// Whether another node has its key. Both run honest code.
    pub twin: bool,
    /// What waits for its core.
    pub inbox: VecDeque<Item>,
    /// Until when its core is busy, microseconds.
    pub busy_until: u64,
    /// When it is to be looked at next.
    pub wake_at: Option<u64>,
    /// Whether it was halted by a fault of its disk, or why it cannot run.
    pub halted: bool,
    /// Most transactions in its pool.
    pub pool_transactions: usize,
}

/// Bans are short, so that liars come back and go on lying.
const BAN_MS: u64 = 2_000;

impl Node {
    /// A node that has never run.
    pub fn new(index: usize, key: SecretKey, liar: bool) -> Self {
        Self {
            index,
            key,
            disk: Disk::default(),
            skew_ms: 0,
            incarnation: 0,
            running: None,
            byzantine: None,
            liar,
            twin: false,
            inbox: VecDeque::new(),
            busy_until: 0,
            wake_at: None,
            halted: false,
            pool_transactions: PoolConfig::default().max_transactions,
        }
    }

    /// Time as this node sees it.
    pub fn clock(&self, now_us: u64) -> Now {
        /// Wall time of the start of a run.
        const EPOCH_MS: i64 = 1_700_000_000_000;
        let ms = now_us / 1_000;
        Now { mono_ms: ms + 1, wall_ms: (EPOCH_MS + ms as i64 + self.skew_ms) as u64 }
    }

    /// Opens the disk and starts the parts; the engine's first outputs.
    ///
    /// # Errors
    /// Why the node cannot start, in words.
    pub fn start(&mut self, spec: &Arc<ChainSpec>, config: EngineConfig, now_us: u64) -> Result<Vec<Output>, String> {
        let options = StoreOptions {
            state_history: Some(64),
            account_cache: 256,
            slot_cache: 256,
            trie_nodes: 4_096,
            storage_tries: 16,
            ..StoreOptions::default()
        };
        let store = Arc::new(StateStore::open(self.disk.tables(), options).map_err(|error| error.to_string())?);
        let executor = Arc::new(Executor::open(store, Arc::clone(spec)).map_err(|error| error.to_string())?);
        let guard = self.disk.signer();
        let signer = (self.key.address(), guard.last().map_or(0, |last| last.height));
        let start = start_info(&executor, Some(signer)).map_err(|error| error.to_string())?;
        let limits = ChainLimits {
            chain_id: spec.chain_id(),
            gas_cap: spec.bttc.params.gas_limit,
            gas_limit: spec.bttc.params.gas_limit,
            min_base_fee: spec.bttc.params.min_base_fee,
        };
        let pool = PoolConfig { max_transactions: self.pool_transactions, ..PoolConfig::default() };
        let pool = Arc::new(Pool::new(pool, limits));
        let domain = executor.domain().clone();
        let now = self.clock(now_us);
        let key = Some((self.key.clone(), guard));
        let mut engine = Engine::new(config, domain, key, Wal::new(self.disk.log()), start, now);
        let outputs = engine.start(now);
        let router = RouterConfig { ban_ms: BAN_MS, remembered: 16_384, ..RouterConfig::default() };
        self.running = Some(Running {
            engine,
            application: Application { executor, pool, beneficiary: self.key.address() },
            router: Router::new(router, FixedHasher::default()),
            told_waiting: false,
            off_since: None,
            useless: UselessBudget::default(),
        });
        Ok(outputs)
    }

    /// Height of the head, if it runs.
    pub fn head(&self) -> Option<u64> {
        let running = self.running.as_ref()?;
        running.application.executor.store().head().map(|head| head.height)
    }
}

/// A fixed identity for a node's number.
pub fn peer_id(index: usize) -> PeerId {
    let number = (index as u32).to_be_bytes();
    // A multihash of the identity code with four bytes.
    let bytes = [&[0u8, 4][..], &number].concat();
    PeerId::from_bytes(&bytes).unwrap_or_else(|_| PeerId::random())
}
