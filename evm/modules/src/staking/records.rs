//! What the staking module stores.

use crate::storage::{List, Mapping, Place, Slot, Text, Value, Variable};
use alloy_primitives::{Address, B256, U256};
use bttc_genesis::STAKING_ADDRESS;

crate::storage! {
    /// The account's variables.
    pub struct Staking {
        /// Hash of the set that was computed last. Slot 0: proofs of set changes are proofs of this slot.
        next_set_hash: Slot<B256>,
        /// Validators that there ever were; numbers begin with 1.
        validator_count: Slot<u32>,
        /// Lowest epoch whose set is kept.
        lowest_set: Slot<u64>,
        /// Latest epoch that began a day ago or earlier.
        day_ago_epoch: Slot<u64>,
        /// Stake of all pools, wei.
        delegated: Slot<u128>,
        /// Stake on its way out, before slashes, wei.
        unbonding: Slot<u128>,
        /// Validators that may be in a set: neither gone nor below the minimum self-stake.
        candidates: List<Slot<u32>>,
        /// By number.
        validators: Mapping<u32, Validator>,
        /// Numbers by owner.
        owners: Mapping<Address, Slot<u32>>,
        /// Numbers by consensus or bridge key, old ones included: no key is registered twice.
        keys: Mapping<Address, Slot<u32>>,
        /// Sets by epoch, as long as evidence counts.
        sets: Mapping<u64, SetRecord>,
        /// Delegations by validator and delegator.
        delegations: Mapping<u32, Mapping<Address, Delegation>>,
        /// Validators to which an account delegates.
        delegators: Mapping<Address, List<Slot<u32>>>,
        /// Stake on its way out by delegator.
        unbondings: Mapping<Address, List<Unbonding>>,
    }
}

/// The staking module's variables.
pub fn staking() -> Staking {
    Staking::at(Place::root(STAKING_ADDRESS))
}

crate::storage! {
    /// A validator.
    pub struct Validator {
        /// Who owns it.
        owner: Slot<Address>,
        /// Its share of its delegators' rewards, 1/10,000.
        commission_bps: Slot<u16>,
        /// One of [`FREE`], [`JAILED`], [`TOMBSTONED`].
        jail: Slot<u8>,
        /// It leaves, or left.
        exiting: Slot<bool>,
        /// It is in the list of candidates.
        candidate: Slot<bool>,
        /// Key that signs votes.
        consensus: Slot<Address>,
        /// When the commission was changed last.
        commission_changed_ms: Slot<u64>,
        /// Key that signs for the bridge.
        bridge: Slot<Address>,
        /// When jail ends; 0 while the power is in force.
        jailed_until_ms: Slot<u64>,
        /// The pool, wei.
        tokens: Slot<u128>,
        /// Shares of the pool.
        shares: Slot<u128>,
        /// Epoch in which it was jailed last.
        jailed_epoch: Slot<u64>,
        /// For how long.
        jail_seconds: Slot<u64>,
        /// When it was jailed last.
        jailed_at_ms: Slot<u64>,
        /// One more than the latest epoch whose set it is in.
        last_set: Slot<u64>,
        /// One more than the first epoch with undelegations whose clock does not run.
        unbond_first: Slot<u64>,
        /// Latest epoch with undelegations.
        unbond_last: Slot<u64>,
        /// Latest epoch in whose set a loss of power had to be taken in steps.
        stepped_epoch: Slot<u64>,
        /// The one before it: when an epoch begins, the set of the next one is computed already.
        stepped_earlier: Slot<u64>,
        /// Commission that waits for the owner, wei.
        commission_due: Slot<u128>,
        /// Rewards of one share since the beginning, wei times 2^96.
        reward_per_share: Slot<U256>,
        /// What did not divide, carried to the next reward.
        reward_remainder: Slot<U256>,
        /// The slash log.
        slashes: List<Slot<SlashPoint>>,
        /// When clocks of undelegations started.
        clock: List<Slot<ClockStart>>,
        /// Name for people.
        name: Text,
    }
}

/// Not jailed.
pub const FREE: u8 = 0;
/// Jailed for a time.
pub const JAILED: u8 = 1;
/// Jailed for ever.
pub const TOMBSTONED: u8 = 2;

crate::storage! {
    /// A delegation.
    pub struct Delegation {
        /// Shares of the pool.
        shares: Slot<u128>,
        /// Rewards that were settled and wait, wei.
        accrued: Slot<u128>,
        /// The validator's `reward_per_share` when they were settled.
        settled_at: Slot<U256>,
        /// First checkpoint that is kept.
        first_checkpoint: Slot<u64>,
        /// Shares by time, for votes.
        checkpoints: List<Slot<Checkpoint>>,
    }
}

crate::storage! {
    /// Stake on its way out.
    pub struct Unbonding {
        /// From which validator.
        validator: Slot<u32>,
        /// To which it goes; 0 to pay it out.
        target: Slot<u32>,
        /// Length of the validator's slash log when it was made.
        slashes: Slot<u32>,
        /// Length of the validator's clock log when it was made.
        clocks: Slot<u32>,
        /// Epoch in which it was made.
        epoch: Slot<u64>,
        /// When it is paid out, if the validator had no power when it was made; 0 otherwise.
        maturity_ms: Slot<u64>,
        /// Wei, before slashes.
        amount: Slot<u128>,
    }
}

crate::storage! {
    /// The set of an epoch.
    pub struct SetRecord {
        /// Time of the epoch's first block; 0 before.
        start_ms: Slot<u64>,
        /// Sum of the powers.
        power: Slot<u64>,
        /// By descending power, then ascending key.
        members: List<Slot<Member>>,
    }
}

/// A member of a set: key, number and power in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its key in the set's role.
    pub key: Address,
    /// Number of the validator.
    pub id: u32,
    /// Voting power.
    pub power: u64,
}

impl Value for Member {
    const BYTES: u8 = 32;
    const SOLIDITY: &'static str = "bytes32";
    fn to_word(self) -> U256 {
        let low = U256::from(self.id).wrapping_shl(64) | U256::from(self.power);
        self.key.to_word().wrapping_shl(96) | low
    }
    fn from_word(word: U256) -> Self {
        Self {
            key: <Address as Value>::from_word(word.wrapping_shr(96)),
            id: word.wrapping_shr(64).wrapping_to(),
            power: word.wrapping_to(),
        }
    }
}

/// Fixed-point one of the slash log.
pub const FACTOR_ONE: u128 = 1_000_000_000_000_000_000_000_000_000_000;

/// An entry of the slash log: what one wei from the beginning is worth from that time on, times [`FACTOR_ONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlashPoint {
    /// When.
    pub time_ms: u64,
    /// The factor.
    pub factor: u128,
}

/// An entry of the clock log: undelegations of earlier epochs count from this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStart {
    /// Epoch that began then; it covers undelegations made at least two epochs before.
    pub epoch: u64,
    /// When what it covers is paid out.
    pub maturity_ms: u64,
}

/// Shares from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// When.
    pub time_ms: u64,
    /// Shares.
    pub shares: u128,
}

/// A pair of numbers in a part of a slot: the first one at the low end.
macro_rules! packed_pair {
    ($kind:ident, $first:ident: u64, $second:ident: $type:ty, $bytes:literal) => {
        impl Value for $kind {
            const BYTES: u8 = $bytes;
            const SOLIDITY: &'static str = concat!("bytes", stringify!($bytes));
            fn to_word(self) -> U256 {
                U256::from(self.$second).wrapping_shl(64) | U256::from(self.$first)
            }
            fn from_word(word: U256) -> Self {
                Self { $first: word.wrapping_to(), $second: word.wrapping_shr(64).wrapping_to() }
            }
        }
    };
}

packed_pair!(SlashPoint, time_ms: u64, factor: u128, 24);
packed_pair!(ClockStart, epoch: u64, maturity_ms: u64, 16);
packed_pair!(Checkpoint, time_ms: u64, shares: u128, 24);
