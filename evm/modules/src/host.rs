//! What a module may ask of its surroundings, and how it can fail.

use alloy_primitives::{Address, Bytes, LogData, U256};
use alloy_sol_types::{Revert, SolError};
use bttc_genesis::Preset;
use bttc_types::SigningDomain;
use std::sync::Arc;

/// What is known of the block in which a module runs, and of its network.
#[derive(Clone, Debug)]
pub struct Env {
    /// Kind of network.
    pub preset: Preset,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// What validators' signatures are bound to.
    pub domain: Arc<SigningDomain>,
    /// What names the network's bridge; zero when it has none.
    pub bridge_id: alloy_primitives::B256,
    /// Blocks in an epoch.
    pub epoch_blocks: u64,
    /// Stake of one unit of power, wei.
    pub power_unit: u128,
    /// Height of the block.
    pub height: u64,
    /// Time of the block, milliseconds.
    pub time_ms: u64,
    /// Time of its parent, milliseconds.
    pub parent_time_ms: u64,
    /// Hash of its parent; known in hooks only.
    pub parent_hash: alloy_primitives::B256,
}

impl Env {
    /// Epoch of a height: blocks 1 to `epoch_blocks` are epoch 0.
    pub fn epoch_of(&self, height: u64) -> u64 {
        height.saturating_sub(1).checked_div(self.epoch_blocks).unwrap_or(0)
    }

    /// Epoch of the block.
    pub fn epoch(&self) -> u64 {
        self.epoch_of(self.height)
    }

    /// Whether the block is the first of its epoch.
    pub fn begins_epoch(&self) -> bool {
        self.height.saturating_sub(1).checked_rem(self.epoch_blocks) == Some(0)
    }

    /// Whether the block is the last of its epoch.
    pub fn ends_epoch(&self) -> bool {
        self.height > 0 && self.height.checked_rem(self.epoch_blocks) == Some(0)
    }
}

/// Why a module stopped. A transaction's call is undone then; a hook that stops halts the node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The caller's mistake: reverts with this data.
    #[error("reverted with {0}")]
    Revert(Bytes),
    /// The gas is used up.
    #[error("out of gas")]
    OutOfGas,
    /// The store failed.
    #[error("{0}")]
    Fatal(String),
    /// Something holds no longer that must always hold.
    #[error("broken invariant: {0}")]
    Broken(&'static str),
}

impl Fault {
    /// A revert with one of the interface's errors.
    pub fn revert(error: impl SolError) -> Self {
        Self::Revert(error.abi_encode().into())
    }

    /// A revert with Solidity's `Error(string)`.
    pub fn reason(text: &str) -> Self {
        Self::revert(Revert::from(text))
    }

    /// What Solidity does when a number overflows: `Panic(0x11)`.
    pub fn overflow() -> Self {
        Self::revert(alloy_sol_types::Panic { code: U256::from(0x11) })
    }
}

/// What a block's hooks did, for `bttc_events`: hooks emit no logs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "type")]
pub enum Event {
    /// An epoch began with this set.
    EpochStarted {
        /// Number.
        epoch: u64,
        /// Members of its set.
        validators: u64,
        /// Power of its set.
        power: u64,
    },
    /// A set was computed.
    SetComputed {
        /// Epoch in which it is in force.
        epoch: u64,
        /// Its hash.
        hash: alloy_primitives::B256,
    },
    /// Rewards of an epoch were allocated.
    Rewarded {
        /// Epoch.
        epoch: u64,
        /// Reward by the yearly rate, wei.
        reward: U256,
        /// Fees, wei.
        fees: U256,
        /// What validators got of both, wei; the rest stays in the pool.
        allocated: U256,
    },
    /// A validator missed too many blocks.
    Downtime {
        /// Number of the validator.
        validator: u32,
        /// What it cost, wei.
        slashed: U256,
        /// Whether it is jailed.
        jailed: bool,
    },
    /// Voting on a proposal opened.
    VotingOpened {
        /// Number of the proposal.
        proposal: u64,
    },
    /// A proposal's votes were counted.
    Tallied {
        /// Number of the proposal.
        proposal: u64,
        /// Its status afterwards.
        status: u8,
    },
    /// The bridge made a checkpoint.
    Checkpoint {
        /// Its number.
        seq: u64,
        /// What members sign.
        digest: alloy_primitives::B256,
    },
    /// A wrong bridge signature was punished.
    BridgeSlashed {
        /// Number of the validator.
        validator: u32,
        /// What it cost, wei.
        slashed: U256,
        /// Who reported it.
        reporter: Address,
    },
    /// A validator did not attest deposits.
    NotAttesting {
        /// Number of the validator.
        validator: u32,
        /// Whether it is jailed.
        jailed: bool,
    },
    /// A proposal was carried out, or failed.
    Executed {
        /// Number of the proposal.
        proposal: u64,
        /// Whether it worked.
        success: bool,
    },
}

/// State, coins and logs, as a module sees them. Every method may fail with [`Fault::OutOfGas`] or [`Fault::Fatal`]; those
/// that write revert in a static call.
pub trait Host {
    /// The block.
    fn env(&self) -> &Env;
    /// Reads a slot of a module's account.
    ///
    /// # Errors
    /// [`Fault`].
    fn load(&mut self, account: Address, slot: U256) -> Result<U256, Fault>;
    /// Writes a slot.
    ///
    /// # Errors
    /// [`Fault`].
    fn store(&mut self, account: Address, slot: U256, value: U256) -> Result<(), Fault>;
    /// An account's coins, wei.
    ///
    /// # Errors
    /// [`Fault`].
    fn balance(&mut self, account: Address) -> Result<U256, Fault>;
    /// Moves coins without running any code; false when there are not enough.
    ///
    /// # Errors
    /// [`Fault`].
    fn transfer(&mut self, from: Address, to: Address, amount: U256) -> Result<bool, Fault>;
    /// Takes coins out of one of the counters into an account.
    ///
    /// # Errors
    /// [`Fault`].
    fn mint(&mut self, to: Address, amount: U256) -> Result<(), Fault>;
    /// Takes coins out of an account into one of the counters.
    ///
    /// # Errors
    /// [`Fault`]; [`Fault::Broken`] when they are not there.
    fn burn(&mut self, from: Address, amount: U256) -> Result<(), Fault>;
    /// Whether an account has neither nonce nor code.
    ///
    /// # Errors
    /// [`Fault`].
    fn is_vacant(&mut self, account: Address) -> Result<bool, Fault>;
    /// Makes an account that runs native code: nonce 1 and the stub; false when it is not vacant.
    ///
    /// # Errors
    /// [`Fault`].
    fn create(&mut self, account: Address) -> Result<bool, Fault>;
    /// Emits a log.
    ///
    /// # Errors
    /// [`Fault`].
    fn log(&mut self, account: Address, data: LogData) -> Result<(), Fault>;
    /// Charges gas for something that is not an access to state.
    ///
    /// # Errors
    /// [`Fault::OutOfGas`].
    fn charge(&mut self, gas: u64) -> Result<(), Fault>;
    /// Whether slots have their own price. Work whose cost depends on what others did before is charged at once and
    /// then done unmetered: an estimate of its gas holds whatever happens until the transaction runs.
    fn set_metered(&mut self, _: bool) {}
    /// Notes what a hook did.
    fn note(&mut self, event: Event);
}
