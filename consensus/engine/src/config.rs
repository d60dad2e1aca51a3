//! Times of the engine.

use malachitebft_core_types::LinearTimeouts;
use std::time::Duration;

/// Times that are parameters of the chain: governance may change them from one block to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Smallest distance between heights, milliseconds.
    pub target_block_time_ms: u64,
    /// Longest wait for a transaction before an empty block, milliseconds.
    pub empty_block_interval_ms: u64,
    /// How long a proposal may travel in round 0, milliseconds.
    pub message_delay_ms: u64,
}

/// Times, all in milliseconds. What the chain's parameters fix comes from the genesis file; the round timeouts are a
/// node's own, but nodes of one network should agree on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Smallest distance between heights.
    pub target_block_time_ms: u64,
    /// Longest wait for a transaction before an empty block.
    pub empty_block_interval_ms: u64,
    /// Proposer-based time: how far clocks may differ.
    pub precision_ms: u64,
    /// Proposer-based time: how long a proposal may travel in round 0; 10 % more each round.
    pub message_delay_ms: u64,
    /// Wait for a proposal in round 0.
    pub propose_timeout_ms: u64,
    /// Wait for prevotes, and for precommits, once two thirds have voted differently.
    pub vote_timeout_ms: u64,
    /// What each round adds to the timeouts.
    pub timeout_delta_ms: u64,
    /// How often an unfinished round's votes are sent again.
    pub rebroadcast_ms: u64,
    /// How long a node listens before it signs, when its guard is older than the chain.
    pub listen_ms: u64,
    /// How long a sync request may take.
    pub sync_timeout_ms: u64,
}

impl EngineConfig {
    /// Takes over the chain's parameters.
    pub fn set_timing(&mut self, timing: Timing) {
        self.target_block_time_ms = timing.target_block_time_ms;
        self.empty_block_interval_ms = timing.empty_block_interval_ms;
        self.message_delay_ms = timing.message_delay_ms;
    }

    /// The chain's parameters among these times.
    pub fn timing(&self) -> Timing {
        Timing {
            target_block_time_ms: self.target_block_time_ms,
            empty_block_interval_ms: self.empty_block_interval_ms,
            message_delay_ms: self.message_delay_ms,
        }
    }

    pub(crate) fn timeouts(&self) -> LinearTimeouts {
        let ms = Duration::from_millis;
        LinearTimeouts {
            propose: ms(self.propose_timeout_ms),
            propose_delta: ms(self.timeout_delta_ms),
            prevote: ms(self.vote_timeout_ms),
            prevote_delta: ms(self.timeout_delta_ms),
            precommit: ms(self.vote_timeout_ms),
            precommit_delta: ms(self.timeout_delta_ms),
            rebroadcast: ms(self.rebroadcast_ms),
            max_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            target_block_time_ms: 500,
            empty_block_interval_ms: 5_000,
            precision_ms: 500,
            message_delay_ms: 3_000,
            propose_timeout_ms: 3_000,
            vote_timeout_ms: 1_000,
            timeout_delta_ms: 500,
            rebroadcast_ms: 2_000,
            listen_ms: 10_000,
            sync_timeout_ms: 10_000,
        }
    }
}
