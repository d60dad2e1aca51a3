//! What the governance module stores.

use crate::storage::{List, Mapping, Place, Slot, Text, Value, Variable};
use alloy_primitives::{Address, U256};
use bttc_genesis::GOVERNANCE_ADDRESS;

crate::storage! {
    /// The account's variables.
    pub struct Governance {
        /// Values of the chain's parameters by number.
        params: List<Slot<u64>>,
        /// Proposals that there ever were; numbers begin with 1.
        proposal_count: Slot<u64>,
        /// Deposits that the account holds, wei.
        deposits: Slot<u128>,
        /// By number.
        proposals: Mapping<u64, Proposal>,
        /// Proposals whose deposit is complete and that wait for a place in voting.
        waiting: List<Slot<u64>>,
        /// Proposals in voting.
        voting: List<Slot<u64>>,
        /// Proposals that passed and wait for their time.
        passed: List<Slot<u64>>,
        /// Upgrades that were decided.
        upgrades: List<Upgrade>,
    }
}

/// The governance module's variables.
pub fn governance() -> Governance {
    Governance::at(Place::root(GOVERNANCE_ADDRESS))
}

crate::storage! {
    /// A proposal.
    pub struct Proposal {
        /// Who made it.
        proposer: Slot<Address>,
        /// One of the kinds.
        kind: Slot<u8>,
        /// One of the statuses.
        status: Slot<u8>,
        /// Whether it is to be carried out without waiting, if two thirds of the power agree.
        expedited: Slot<bool>,
        /// Until when the deposit must be complete.
        deposit_end_ms: Slot<u64>,
        /// When voting opened.
        voting_start_ms: Slot<u64>,
        /// When it ends.
        voting_end_ms: Slot<u64>,
        /// When it is carried out.
        execute_at_ms: Slot<u64>,
        /// Deposit so far, wei.
        deposit: Slot<u128>,
        /// Stake of the set's validators when voting opened, wei.
        bonded: Slot<u128>,
        /// Weight of delegators' votes, and at the end of all: wei.
        yes: Slot<u128>,
        /// As `yes`.
        no: Slot<u128>,
        /// As `yes`.
        abstain: Slot<u128>,
        /// As `yes`.
        veto: Slot<u128>,
        /// For people.
        title: Text,
        /// What it does, ABI-encoded by kind.
        payload: Text,
        /// Deposits by depositor, wei.
        depositors: Mapping<Address, Slot<u128>>,
        /// Validators of the set when voting opened.
        electors: List<Slot<u32>>,
        /// Their pools at that time.
        pools: Mapping<u32, Pool>,
        /// Delegators' votes, by voter and validator.
        votes: Mapping<Address, Mapping<u32, Vote>>,
    }
}

crate::storage! {
    /// A validator's pool when voting opened, and its vote.
    pub struct Pool {
        /// Wei.
        tokens: Slot<u128>,
        /// Shares.
        shares: Slot<u128>,
        /// Weight of its delegators who voted themselves, wei.
        overridden: Slot<u128>,
        /// The validator's vote.
        split: Slot<Split>,
        /// When it voted; 0 when it did not.
        voted_ms: Slot<u64>,
    }
}

crate::storage! {
    /// A delegator's vote with its stake at one validator.
    pub struct Vote {
        /// Wei.
        weight: Slot<u128>,
        /// How it is divided.
        split: Slot<Split>,
    }
}

crate::storage! {
    /// An upgrade: from this height on a program must know it.
    pub struct Upgrade {
        /// Height of the first block under the new rules.
        height: Slot<u64>,
        /// Its name.
        name: Text,
    }
}

/// How a vote is divided, in 1/10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// For it.
    pub yes: u16,
    /// Against it.
    pub no: u16,
    /// Neither, but counted for the quorum.
    pub abstain: u16,
    /// Against it, and the deposit is to be burned.
    pub veto: u16,
}

impl Value for Split {
    const BYTES: u8 = 8;
    const SOLIDITY: &'static str = "bytes8";
    fn to_word(self) -> U256 {
        let [a, b] = self.yes.to_be_bytes();
        let [c, d] = self.no.to_be_bytes();
        let [e, f] = self.abstain.to_be_bytes();
        let [g, h] = self.veto.to_be_bytes();
        U256::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
    fn from_word(word: U256) -> Self {
        let word: u64 = word.wrapping_to();
        let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
        Self {
            yes: u16::from_be_bytes([a, b]),
            no: u16::from_be_bytes([c, d]),
            abstain: u16::from_be_bytes([e, f]),
            veto: u16::from_be_bytes([g, h]),
        }
    }
}

/// Kinds of proposals.
pub mod kind {
    /// A text.
    pub const TEXT: u8 = 1;
    /// New values of parameters.
    pub const PARAMETERS: u8 = 2;
    /// A software upgrade.
    pub const UPGRADE: u8 = 3;
    /// A payment from the reward pool.
    pub const PAYMENT: u8 = 4;
    /// An operation on the bridge.
    pub const BRIDGE: u8 = 5;
}

/// What has become of a proposal.
pub mod status {
    /// It collects its deposit.
    pub const DEPOSIT: u8 = 1;
    /// It waits for a place in voting.
    pub const WAITING: u8 = 2;
    /// It is voted on.
    pub const VOTING: u8 = 3;
    /// Too few said yes.
    pub const REJECTED: u8 = 4;
    /// Too many said veto; the deposit is burned.
    pub const VETOED: u8 = 5;
    /// Too few took part; the deposit is burned.
    pub const NO_QUORUM: u8 = 6;
    /// It waits for its time.
    pub const PASSED: u8 = 7;
    /// It was carried out.
    pub const EXECUTED: u8 = 8;
    /// It could not be carried out.
    pub const FAILED: u8 = 9;
}
