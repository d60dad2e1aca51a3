//! What a run is made of.

use crate::fault::{Fault, FaultSet};
use crate::flood::Flood;

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
    /// One step of the proposer rotation.
    pub rotation_step: u64,
    /// One byte written to a disk.
    pub written_byte: u64,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            item: 2_000,
            recovery: 30_000,
            byte: 3,
            transaction: 40_000,
            block: 500_000,
            sync: 3_000_000,
            rotation_step: 500,
            written_byte: 2,
        }
    }
}

/// Bits a second of a fast link.
pub const GIGABIT: u64 = 1_000_000_000;

/// Two honest clocks differ by at most this much, milliseconds.
pub const PRECISION_MS: u64 = 500;

/// A target time in which the slowest validator's precommits come in time for the next block.
pub const STEADY_TARGET_MS: u64 = 1_000;

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
    /// Bits a second that each node can send; `None`: no limit.
    pub bandwidth: Option<u64>,
    /// How long the first round's proposer has, milliseconds.
    pub propose_timeout_ms: u64,
    /// What the network is flooded with.
    pub flood: Option<Flood>,
    /// How long a flood lasts, virtual seconds; the run ends with it.
    pub flood_seconds: u64,
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
            // Every third run has heights long enough that their pace and their signers can be judged.
            target_block_time_ms: if seed.is_multiple_of(3) { STEADY_TARGET_MS } else { 100 },
            block_transactions: 1_000,
            bandwidth: None,
            propose_timeout_ms: 1_000,
            flood: None,
            flood_seconds: 0,
        }
    }

    /// A network that is flooded for so many virtual seconds; every second seed has slow links.
    pub fn flooded(seed: u64, nodes: usize, flood: Flood, seconds: u64) -> Self {
        Self {
            target_block_time_ms: STEADY_TARGET_MS,
            transactions_per_second: 20.0,
            bandwidth: Some(if seed.is_multiple_of(2) { GIGABIT } else { GIGABIT / 10 }),
            flood: Some(flood),
            flood_seconds: seconds,
            ..Self::new(seed, nodes, u64::MAX, FaultSet::none())
        }
    }

    /// When a run that is not over by its heights ends, microseconds.
    pub fn ends_at_us(&self) -> Option<u64> {
        self.flood.map(|_| crate::flood::BEGINS_US + self.flood_seconds * 1_000_000)
    }

    /// Smallest distance between heights when there are no transactions, milliseconds.
    pub fn empty_block_interval_ms(&self) -> u64 {
        self.target_block_time_ms.max(1_000)
    }

    /// Whether nothing in the run keeps an honest validator from signing every block: nothing goes wrong but votes that
    /// come early, and there is time enough for all.
    pub fn is_steady(&self) -> bool {
        self.target_block_time_ms >= STEADY_TARGET_MS && self.faults == FaultSet::only(Fault::EarlyVotes)
    }
}
