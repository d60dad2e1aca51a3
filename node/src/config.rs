//! Configuration: defaults, then the file, then the environment, then flags. Every key of the file is also a flag
//! (`--rpc.listen`) and an environment variable (`BTTC_RPC_LISTEN`); unknown keys are refused.

use bttc_network::Role;
use clap::parser::ValueSource;
use eyre::{Context, bail, eyre};
use serde::{Deserialize, Serialize};
use std::path::Path;

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
    /// Multiaddresses to listen on.
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
            listen: vec!["/ip4/0.0.0.0/tcp/30303".into(), "/ip4/0.0.0.0/udp/30303/quic-v1".into()],
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
    /// Root chains that this node follows: `NAME evm|tron CHAIN_ID URL [URL ...] [quorum=N] [depth=BLOCKS] [poll=MS]` each.
    /// A validator needs all of them; its own nodes are the best endpoints.
    pub(crate) chains: Vec<String>,
}

/// Keys.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KeysSection {
    /// File whose first line is the password of the keys; asked for when empty.
    pub(crate) password_file: String,
}

/// All keys with their default values, as `section.key`.
fn leaves() -> Vec<(String, toml::Value)> {
    let mut leaves = Vec::new();
    if let Ok(toml::Value::Table(sections)) = toml::Value::try_from(Config::default()) {
        for (section, values) in sections {
            if let toml::Value::Table(values) = values {
                leaves.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
        }
    }
    leaves
}

fn variable(key: &str) -> String {
    format!("BTTC_{}", key.replace('.', "_").to_uppercase())
}

/// Adds a flag and an environment variable for each key.
pub(crate) fn add_flags(command: clap::Command) -> clap::Command {
    leaves().into_iter().fold(command, |command, (key, value)| {
        let shown = match &value {
            toml::Value::Array(_) => "LIST".to_owned(),
            toml::Value::Integer(_) => "NUMBER".to_owned(),
            toml::Value::Boolean(_) => "BOOL".to_owned(),
            _ => "TEXT".to_owned(),
        };
        let help = format!("Configuration key {key} (default {value})");
        command.arg(
            clap::Arg::new(key.clone())
                .long(key.clone())
                .env(variable(&key))
                .value_name(shown)
                .help(help)
                .help_heading("Configuration"),
        )
    })
}

/// Puts the configuration together.
pub(crate) fn load(file: &Path, matches: Option<&clap::ArgMatches>) -> eyre::Result<Config> {
    let mut root = if file.exists() {
        let text = std::fs::read_to_string(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
        toml::from_str::<toml::Table>(&text).wrap_err_with(|| format!("{} does not parse", file.display()))?
    } else {
        toml::Table::new()
    };
    if let Some(matches) = matches {
        for (key, default) in leaves() {
            let given = matches!(matches.value_source(&key), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
            let Some(text) = matches.get_one::<String>(&key).filter(|_| given) else { continue };
            let value = parse(&default, text).wrap_err_with(|| format!("--{key} {text:?}"))?;
            let (section, name) = key.split_once('.').ok_or_else(|| eyre!("{key} has no section"))?;
            let table = root.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let Some(table) = table.as_table_mut() else { bail!("{section} is not a section") };
            table.insert(name.to_owned(), value);
        }
    }
    toml::Value::Table(root)
        .try_into()
        .wrap_err_with(|| format!("the configuration ({} with environment and flags) is wrong", file.display()))
}

/// A value of the same type as the default.
fn parse(default: &toml::Value, text: &str) -> eyre::Result<toml::Value> {
    Ok(match default {
        toml::Value::Integer(_) => toml::Value::Integer(text.replace('_', "").parse()?),
        toml::Value::Boolean(_) => toml::Value::Boolean(text.parse()?),
        toml::Value::Array(_) => toml::Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| toml::Value::String(item.to_owned()))
                .collect(),
        ),
        _ => toml::Value::String(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(arguments: &[&str]) -> clap::ArgMatches {
        add_flags(clap::Command::new("test")).get_matches_from([&["test"], arguments].concat())
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "[rpc]\nlisten = \"127.0.0.1:1\"\nmax_batch = 7\n").unwrap();
        let config = load(&file, Some(&matches(&["--rpc.listen", "127.0.0.1:2", "--rpc.cors", "a, b"]))).unwrap();
        assert_eq!((config.rpc.listen.as_str(), config.rpc.max_batch), ("127.0.0.1:2", 7));
        assert_eq!(config.rpc.cors, ["a", "b"]);
        std::fs::write(&file, "[rpc]\nlisten_on = \"127.0.0.1:1\"\n").unwrap();
        let error = format!("{:?}", load(&file, None).unwrap_err());
        assert!(error.contains("listen_on"), "{error}");
        assert!(load(&file, Some(&matches(&["--rpc.max_batch", "many"]))).is_err());
    }

    #[test]
    fn the_default_configuration_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }
}
