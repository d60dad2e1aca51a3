//! What a run is made of.

use crate::fault::FaultSet;

/// CPU time that a node is charged, in nanoseconds: each node has one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Handling anything at all.
    pub item: u64,
    /// Recovering one signature.
    pub recovery: u64,
    /// Reading and hashing one byte of a message.
    pub byte: u64,
    /// Executing one transaction.
    pub transaction: u64,
    /// Building, judging or committing a block, beside its transactions.
    pub block: u64,
    /// One sync of a disk.
    pub sync: u64,
}

impl Default for Costs {
    fn default() -> Self {
        Self { item: 2_000, recovery: 30_000, byte: 3, transaction: 40_000, block: 500_000, sync: 3_000_000 }
    }
}

/// How nodes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Everybody with everybody.
    Mesh,
    /// Each with at least this many random others.
    Random(usize),
}

/// A run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The only source of randomness.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: usize,
    /// The run ends when every honest node has committed this height.
    pub heights: u64,
    /// Which faults are on.
    pub faults: FaultSet,
    /// A node that is honest and in no validator set: it only follows.
    pub follower: Option<usize>,
    /// Share of the voting power that breaks the protocol, in per cent; `None`: drawn, always below a third.
    pub byzantine_percent: Option<u64>,
    /// CPU costs.
    pub costs: Costs,
    /// Connections.
    pub topology: Topology,
    /// Transactions that the clients send each second.
    pub transactions_per_second: f64,
    /// Calldata bytes of each transaction.
    pub transaction_bytes: usize,
    /// Whether transactions reach every node at once instead of one node and then by gossip.
    pub transactions_everywhere: bool,
    /// Smallest distance between heights, milliseconds.
    pub target_block_time_ms: u64,
    /// Most transactions in a block.
    pub block_transactions: usize,
}

impl Config {
    /// The usual run.
    pub fn new(seed: u64, nodes: usize, heights: u64, faults: FaultSet) -> Self {
        Self {
            seed,
            nodes,
            heights,
            faults,
            follower: None,
            byzantine_percent: None,
            costs: Costs::default(),
            topology: if nodes <= 10 { Topology::Mesh } else { Topology::Random(6) },
            transactions_per_second: 4.0,
            transaction_bytes: 0,
            transactions_everywhere: false,
            target_block_time_ms: 100,
            block_transactions: 1_000,
        }
    }
}
