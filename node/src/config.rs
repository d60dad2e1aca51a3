//! Configuration: what there is to configure. `load.rs` reads it.

mod load;

pub(crate) use load::{add_flags, load};

use crate::bridge::{ChainSettings, chain_settings, shown_chain};
use bttc_network::Role;
use eyre::Context;
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The node.
    pub(crate) node: NodeSection,
    /// Other nodes.
    pub(crate) p2p: P2pSection,
    /// JSON-RPC.
    pub(crate) rpc: RpcSection,
    /// Metrics and health.
    pub(crate) ops: OpsSection,
    /// Consensus.
    pub(crate) consensus: ConsensusSection,
    /// How a new node gets what others have.
    pub(crate) sync: SyncSection,
    /// What is kept.
    pub(crate) state: StateSection,
    /// Waiting transactions.
    pub(crate) pool: PoolSection,
    /// Logs.
    pub(crate) log: LogSection,
    /// The bridge.
    pub(crate) bridge: BridgeConfig,
    /// Keys.
    pub(crate) keys: KeysSection,
}

/// The node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodeSection {
    /// validator, sentry, full or seed.
    pub(crate) role: Role,
    /// Bytes that must stay free on the disk; below that the node stops before the disk is full.
    pub(crate) min_free_disk_bytes: u64,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self { role: Role::Full, min_free_disk_bytes: 256 << 20 }
    }
}

/// Other nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct P2pSection {
    /// Multiaddresses to listen on. One of QUIC (`/udp/30303/quic-v1`) may be added; whoever makes up where a datagram comes from
    /// costs a node a handshake that listens there.
    pub(crate) listen: Vec<String>,
    /// Multiaddresses under which others reach this node.
    pub(crate) external: Vec<String>,
    /// Peers that are always kept connected, with `/p2p/<id>`.
    pub(crate) persistent_peers: Vec<String>,
    /// Peers asked for addresses.
    pub(crate) seeds: Vec<String>,
    /// Peer ids whose addresses are told to nobody.
    pub(crate) private_peers: Vec<String>,
    /// Most peers that connect to this node; persistent and private ones do not count.
    pub(crate) max_peers: usize,
    /// Most peers from one subnet; persistent and private ones do not count.
    pub(crate) max_peers_per_subnet: usize,
    /// How many peers a node that is no validator connects to itself; those that connect to it do not count.
    pub(crate) target_peers: usize,
    /// Whether a validator that has persistent peers takes others, too. For networks on one machine.
    pub(crate) accept_strangers: bool,
    /// How long a ban lasts, seconds.
    pub(crate) ban_seconds: u64,
}

impl Default for P2pSection {
    fn default() -> Self {
        Self {
            listen: vec!["/ip4/0.0.0.0/tcp/30303".into()],
            external: Vec::new(),
            persistent_peers: Vec::new(),
            seeds: Vec::new(),
            private_peers: Vec::new(),
            max_peers: 64,
            max_peers_per_subnet: 8,
            target_peers: 16,
            accept_strangers: false,
            ban_seconds: 600,
        }
    }
}

/// JSON-RPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RpcSection {
    /// Whether it is served.
    pub(crate) enabled: bool,
    /// For everybody: without `debug`, `trace`, `ots` and `txpool`, and with limits that one client cannot hurt others within. Lower
    /// limits than those stay.
    pub(crate) public: bool,
    /// Address for HTTP and WebSocket.
    pub(crate) listen: String,
    /// Origins that browsers may call from; `*` for all.
    pub(crate) cors: Vec<String>,
    /// `Host` values that are answered; empty for any.
    pub(crate) hosts: Vec<String>,
    /// Namespaces that are served.
    pub(crate) namespaces: Vec<String>,
    /// Largest request.
    pub(crate) max_request_bytes: u32,
    /// Largest response.
    pub(crate) max_response_bytes: u32,
    /// Connections.
    pub(crate) max_connections: u32,
    /// Connections of one client; 0 for any number.
    pub(crate) max_connections_per_client: u32,
    /// Calls in a batch.
    pub(crate) max_batch: u32,
    /// Subscriptions of a connection.
    pub(crate) max_subscriptions: u32,
    /// Gas of a call.
    pub(crate) gas_cap: u64,
    /// Blocks of a log query.
    pub(crate) max_log_blocks: u64,
    /// Blocks that one log query may read: those that the search index names.
    pub(crate) max_log_reads: u64,
    /// Logs of a log query.
    pub(crate) max_logs: usize,
    /// Traces and simulations at a time.
    pub(crate) trace_requests: usize,
    /// EVM instructions of a trace that records each.
    pub(crate) max_trace_steps: u64,
    /// Longest run of a trace, milliseconds.
    pub(crate) trace_timeout_ms: u64,
    /// Blocks of a trace filter.
    pub(crate) max_trace_blocks: u64,
    /// Calls, proofs and log searches at a time.
    pub(crate) heavy_requests: usize,
    /// Units a second that a client may use; 0 for any number. See `docs/rpc.md` for what methods take.
    pub(crate) client_units_per_second: u32,
    /// Header in which a proxy says who its client is; empty when clients connect to the node itself.
    pub(crate) client_header: String,
}

impl Default for RpcSection {
    fn default() -> Self {
        let limits = bttc_rpc::RpcConfig::default();
        Self {
            public: false,
            enabled: true,
            listen: limits.listen.to_string(),
            cors: Vec::new(),
            hosts: Vec::new(),
            namespaces: limits.namespaces,
            max_request_bytes: limits.max_request_bytes,
            max_response_bytes: limits.max_response_bytes,
            max_connections: limits.max_connections,
            max_connections_per_client: limits.max_connections_per_client,
            max_batch: limits.max_batch,
            max_subscriptions: limits.max_subscriptions,
            gas_cap: limits.gas_cap,
            max_log_blocks: limits.max_log_blocks,
            max_log_reads: limits.max_log_reads,
            max_logs: limits.max_logs,
            trace_requests: limits.trace_requests,
            max_trace_steps: limits.max_trace_steps,
            trace_timeout_ms: limits.trace_timeout_ms,
            max_trace_blocks: limits.max_trace_blocks,
            heavy_requests: limits.heavy_requests,
            client_units_per_second: limits.client_units_per_second,
            client_header: limits.client_header.unwrap_or_default(),
        }
    }
}

/// Metrics and health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OpsSection {
    /// Address for `/metrics`, `/health`, `/ready` and `/status`.
    pub(crate) listen: String,
}

impl Default for OpsSection {
    fn default() -> Self {
        Self { listen: "127.0.0.1:6060".into() }
    }
}

/// Consensus. Nodes of one network should agree on the timeouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConsensusSection {
    /// Wait for a proposal in round 0, milliseconds.
    pub(crate) propose_timeout_ms: u64,
    /// Wait for votes, milliseconds.
    pub(crate) vote_timeout_ms: u64,
    /// What each round adds, milliseconds.
    pub(crate) timeout_delta_ms: u64,
    /// How often votes are sent again, milliseconds.
    pub(crate) rebroadcast_ms: u64,
    /// How long a node with an old guard listens before it signs, milliseconds.
    pub(crate) listen_ms: u64,
    /// How long a block may be built, milliseconds.
    pub(crate) build_ms: u64,
    /// Address that receives tips; the owner key's when empty.
    pub(crate) beneficiary: String,
}

impl Default for ConsensusSection {
    fn default() -> Self {
        let engine = bttc_engine::EngineConfig::default();
        Self {
            propose_timeout_ms: engine.propose_timeout_ms,
            vote_timeout_ms: engine.vote_timeout_ms,
            timeout_delta_ms: engine.timeout_delta_ms,
            rebroadcast_ms: engine.rebroadcast_ms,
            listen_ms: engine.listen_ms,
            build_ms: 250,
            beneficiary: String::new(),
        }
    }
}

impl ConsensusSection {
    /// Times for a network on one machine.
    pub(crate) fn local() -> Self {
        Self {
            propose_timeout_ms: 1_000,
            vote_timeout_ms: 500,
            timeout_delta_ms: 250,
            rebroadcast_ms: 1_000,
            listen_ms: 3_000,
            ..Self::default()
        }
    }
}

/// How a new node gets what others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyncMode {
    /// Every block from the beginning: the whole history.
    #[default]
    Blocks,
    /// A snapshot of the state, then the blocks after it.
    Snapshot,
}

/// How a new node gets what others have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SyncSection {
    /// blocks or snapshot; only a node without a database heeds it.
    pub(crate) mode: SyncMode,
    /// How long snapshots are looked for before blocks are synced instead, seconds.
    pub(crate) offers_seconds: u64,
}

impl Default for SyncSection {
    fn default() -> Self {
        Self { mode: SyncMode::Blocks, offers_seconds: 60 }
    }
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StateSection {
    /// Heights of state history; 0 keeps all.
    pub(crate) state_history: u64,
    /// Blocks, receipts and certificates; 0 keeps all.
    pub(crate) block_history: u64,
    /// How many heights back proofs are given.
    pub(crate) proof_window: u64,
    /// Bytes of RocksDB's block cache.
    pub(crate) block_cache_bytes: usize,
    /// Bytes of a table's write buffer.
    pub(crate) write_buffer_bytes: usize,
    /// Accounts in the read cache.
    pub(crate) account_cache: usize,
    /// Slots in the read cache.
    pub(crate) slot_cache: usize,
    /// Trie nodes in memory.
    pub(crate) trie_nodes: usize,
    /// Blocks between two snapshots for nodes that join; 0 takes none. Nodes of a network should agree on it, so that
    /// several offer the same snapshot.
    pub(crate) snapshot_interval: u64,
    /// Snapshots kept. Each holds what the database has dropped or rewritten since.
    pub(crate) snapshots_kept: usize,
}

impl Default for StateSection {
    fn default() -> Self {
        let store = bttc_state::StoreOptions::default();
        let rocks = bttc_state::RocksOptions::default();
        Self {
            state_history: store.state_history.unwrap_or(0),
            block_history: store.block_history.unwrap_or(0),
            proof_window: store.proof_window,
            block_cache_bytes: rocks.block_cache_bytes,
            write_buffer_bytes: rocks.write_buffer_bytes,
            account_cache: store.account_cache,
            slot_cache: store.slot_cache,
            trie_nodes: store.trie_nodes,
            snapshot_interval: 10_000,
            snapshots_kept: 2,
        }
    }
}

impl StateSection {
    /// Sets the windows of a preset.
    pub(crate) fn keep(&mut self, history: crate::cli::History) {
        use crate::cli::History;
        let full = Self::default();
        (self.state_history, self.block_history) = match history {
            History::Archive => (0, 0),
            History::Full => (full.state_history, full.block_history),
            // Proofs of the whole window, and blocks for peers that were away for a while.
            History::Minimal => (full.proof_window, 50_000),
        };
    }
}

/// Waiting transactions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PoolSection {
    /// Transactions of one sender.
    pub(crate) max_per_sender: usize,
    /// Bytes of one sender.
    pub(crate) max_bytes_per_sender: usize,
    /// Transactions.
    pub(crate) max_transactions: usize,
    /// Bytes.
    pub(crate) max_bytes: usize,
    /// How long a pending transaction waits, seconds.
    pub(crate) pending_lifetime_seconds: u64,
    /// How long a transaction waits behind a gap, seconds.
    pub(crate) queued_lifetime_seconds: u64,
}

impl Default for PoolSection {
    fn default() -> Self {
        let pool = bttc_pool::PoolConfig::default();
        Self {
            max_per_sender: pool.max_per_sender,
            max_bytes_per_sender: pool.max_bytes_per_sender,
            max_transactions: pool.max_transactions,
            max_bytes: pool.max_bytes,
            pending_lifetime_seconds: pool.pending_lifetime_ms / 1_000,
            queued_lifetime_seconds: pool.queued_lifetime_ms / 1_000,
        }
    }
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSection {
    /// Level, or a filter such as `info,bttc_engine=debug`.
    pub(crate) level: String,
    /// `text` or `json`.
    pub(crate) format: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
}

/// The bridge.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BridgeConfig {
    /// Root chains that this node follows: `NAME evm|tron CHAIN_ID ENDPOINT [ENDPOINT ...] [quorum=N] [depth=BLOCKS] [poll=MS]` each
    /// (`docs/bridge.md`). A validator needs all of them; its own nodes are the best endpoints.
    pub(crate) chains: Vec<String>,
}

impl BridgeConfig {
    /// What the lines say.
    ///
    /// # Errors
    /// With what is wrong, without what may be secret.
    pub(crate) fn settings(&self) -> eyre::Result<Vec<ChainSettings>> {
        (1..)
            .zip(&self.chains)
            .map(|(entry, line)| chain_settings(line).wrap_err_with(|| format!("bridge.chains, entry {entry}")))
            .collect()
    }
}

impl Config {
    /// As text for people, without what gives access to endpoints.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub(crate) fn shown(&self) -> eyre::Result<String> {
        let mut shown = self.clone();
        shown.bridge.chains = self.bridge.chains.iter().map(|line| shown_chain(line)).collect();
        Ok(toml::to_string(&shown)?)
    }
}

/// Keys.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KeysSection {
    /// File whose first line is the password of the keys; asked for when empty.
    pub(crate) password_file: String,
}
