//! Limits of the RPC server, each with what it bounds.

use std::net::SocketAddr;

/// All namespaces. A server for everybody does well without `debug`, `trace` and `txpool`.
pub const NAMESPACES: [&str; 9] = ["eth", "net", "web3", "rpc", "txpool", "debug", "trace", "ots", "bttc"];

/// Units a second of a client of a server for everybody: a hundred calls, or a wallet's work many times over.
const PUBLIC_UNITS_PER_SECOND: u32 = 1_000;

/// Connections of a client of a server for everybody: browsers open six a page.
const PUBLIC_CONNECTIONS: u32 = 64;

/// Configuration.
#[derive(Clone, Debug)]
pub struct RpcConfig {
    /// Address for HTTP and WebSocket.
    pub listen: SocketAddr,
    /// Origins that browsers may call from; `*` for all, empty for none.
    pub cors: Vec<String>,
    /// Names under which browsers may reach this server (`Host` of a request, with `:*` for any port); empty for any. Against pages
    /// that point their own name at this machine.
    pub hosts: Vec<String>,
    /// Namespaces that are served, as [`NAMESPACES`].
    pub namespaces: Vec<String>,
    /// Largest request.
    pub max_request_bytes: u32,
    /// Largest response.
    pub max_response_bytes: u32,
    /// HTTP requests in flight plus WebSocket connections.
    pub max_connections: u32,
    /// Connections of one client at the same time; 0 for any number, and always where a proxy connects (`client_header`).
    pub max_connections_per_client: u32,
    /// Calls in a batch.
    pub max_batch: u32,
    /// Subscriptions of one connection.
    pub max_subscriptions: u32,
    /// Gas of a call or estimate.
    pub gas_cap: u64,
    /// Blocks that one log query may span.
    pub max_log_blocks: u64,
    /// Blocks that one log query may read: those that the index or the headers' blooms name.
    pub max_log_reads: u64,
    /// Logs that one query may return.
    pub max_logs: usize,
    /// Traces and simulations at the same time; more wait. They do not take the places of calls.
    pub trace_requests: usize,
    /// EVM instructions of one trace that records each: they are held in memory.
    pub max_trace_steps: u64,
    /// Longest run of a trace, milliseconds.
    pub trace_timeout_ms: u64,
    /// Blocks that one trace filter may span.
    pub max_trace_blocks: u64,
    /// Blocks of one fee history.
    pub max_fee_history: u64,
    /// Calls, proofs and log searches at the same time; more wait.
    pub heavy_requests: usize,
    /// Longest wait of `eth_sendRawTransactionSync`, milliseconds.
    pub max_sync_wait_ms: u64,
    /// Units a second that a client may use, 0 for any number: a cheap method takes one, a call ten, a trace hundreds. What is not used
    /// is kept for ten seconds.
    pub client_units_per_second: u32,
    /// Name of the header in which a proxy before this server says who its client is (`x-forwarded-for`); none when clients connect
    /// to this server, for then they would write it.
    pub client_header: Option<String>,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8545)),
            cors: Vec::new(),
            hosts: Vec::new(),
            namespaces: NAMESPACES.iter().map(ToString::to_string).collect(),
            max_request_bytes: 10 << 20,
            max_response_bytes: 64 << 20,
            max_connections: 1_000,
            max_connections_per_client: 0,
            max_batch: 1_000,
            max_subscriptions: 128,
            gas_cap: 50_000_000,
            max_log_blocks: 1_000_000,
            max_log_reads: 10_000,
            max_logs: 20_000,
            trace_requests: 1,
            max_trace_steps: 400_000,
            trace_timeout_ms: 10_000,
            max_trace_blocks: 100,
            max_fee_history: 1_024,
            heavy_requests: 2,
            max_sync_wait_ms: 60_000,
            client_units_per_second: 0,
            client_header: None,
        }
    }
}

impl RpcConfig {
    /// The same for everybody: without the namespaces that cost most or tell about other users, and limits that one client cannot
    /// hurt others within. Lower limits stay.
    pub fn public(mut self) -> Self {
        self.namespaces.retain(|name| !["debug", "trace", "ots", "txpool"].contains(&name.as_str()));
        self.max_request_bytes = self.max_request_bytes.min(1 << 20);
        self.max_response_bytes = self.max_response_bytes.min(16 << 20);
        self.max_batch = self.max_batch.min(100);
        self.max_subscriptions = self.max_subscriptions.min(16);
        self.gas_cap = self.gas_cap.min(25_000_000);
        self.max_log_reads = self.max_log_reads.min(2_000);
        self.max_logs = self.max_logs.min(10_000);
        self.max_fee_history = self.max_fee_history.min(256);
        self.trace_timeout_ms = self.trace_timeout_ms.min(2_000);
        self.max_sync_wait_ms = self.max_sync_wait_ms.min(10_000);
        if self.max_connections_per_client == 0 && self.client_header.is_none() {
            self.max_connections_per_client = PUBLIC_CONNECTIONS;
        }
        if self.client_units_per_second == 0 {
            self.client_units_per_second = PUBLIC_UNITS_PER_SECOND;
        }
        self
    }
}
