//! What the bridge's ledger stores.

use crate::staking::records::Member;
use crate::storage::{List, Mapping, Place, Slot, Text, Variable};
use alloy_primitives::{Address, B256, U256};
use bttc_genesis::BRIDGE_ADDRESS;

crate::storage! {
    /// The account's variables.
    pub struct Bridge {
        /// BTT that back deposits from TRON, wei.
        reserve: Slot<U256>,
        /// Checkpoints made so far; numbers begin with 1.
        checkpoint_count: Slot<u64>,
        /// Number of the set in force.
        set_id: Slot<u64>,
        /// Number of the set that waits for its hand-over; 0 when none does.
        next_set_id: Slot<u64>,
        /// When the latest set was taken, milliseconds.
        set_taken_ms: Slot<u64>,
        /// There are withdrawals or a set that no checkpoint holds.
        unsaid: Slot<bool>,
        /// More than a third of the power stands accused: nothing is applied or withdrawn until governance decides.
        halted: Slot<bool>,
        /// Checkpoints by number, for ever.
        checkpoints: Mapping<u64, CheckpointRecord>,
        /// Sets by number, as long as evidence counts.
        sets: Mapping<u64, BridgeSetRecord>,
        /// Lowest number of a set that is kept.
        lowest_set: Slot<u64>,
        /// The gateways.
        gateways: List<Gateway>,
        /// One more than the place in `gateways`, by the hash of chain and contract.
        places: Mapping<B256, Slot<u32>>,
        /// One more than the place of the gateway of TRON's BTT.
        native_place: Slot<u32>,
        /// TRON's BTT.
        native_root: Slot<Address>,
        /// Open accusations by validator.
        accusations: Mapping<u32, Accusation>,
        /// Validators that stand accused.
        accused: List<Slot<u32>>,
        /// Applied certificates whose signatures are still to be counted.
        uncounted: Mapping<u64, Applied>,
        /// First and one more than the last number in `uncounted`.
        uncounted_first: Slot<u64>,
        /// See `uncounted_first`.
        uncounted_end: Slot<u64>,
        /// How validators attest.
        attesting: Mapping<u32, Attesting>,
        /// Number of the set that handed over to the one in force.
        previous_set_id: Slot<u64>,
    }
}

/// The bridge ledger's variables.
pub fn bridge() -> Bridge {
    Bridge::at(Place::root(BRIDGE_ADDRESS))
}

crate::storage! {
    /// A bridge set.
    pub struct BridgeSetRecord {
        /// Its hash.
        hash: Slot<B256>,
        /// When it came into force, milliseconds.
        since_ms: Slot<u64>,
        /// By ascending key.
        members: List<Slot<Member>>,
    }
}

crate::storage! {
    /// A gateway.
    pub struct Gateway {
        /// Its contract.
        gateway: Slot<Address>,
        /// Its root chain.
        root_chain_id: Slot<u64>,
        /// Governance has stopped it.
        paused: Slot<bool>,
        /// Tree to which withdrawals go; numbers begin with 1.
        tree_id: Slot<u32>,
        /// Number of the last applied deposit.
        deposit_nonce: Slot<u64>,
        /// Commands so far.
        command_count: Slot<u64>,
        /// Running hash after the last applied deposit.
        deposit_acc: Slot<B256>,
        /// Name for people.
        name: Text,
        /// Tokens by their address there.
        tokens: Mapping<Address, Token>,
        /// Their addresses.
        token_list: List<Slot<Address>>,
        /// Trees of withdrawals by number.
        trees: Mapping<u32, TreeRecord>,
        /// Applied certificates by the number of their last deposit.
        boundaries: Mapping<u64, Boundary>,
        /// Credits that could not be made, by deposit.
        parked: Mapping<u64, Parked>,
        /// Commands by number.
        commands: Mapping<u64, CommandRecord>,
    }
}

crate::storage! {
    /// A token of a gateway.
    pub struct Token {
        /// Its address here; the BTT token's for TRON's BTT.
        wrapped: Slot<Address>,
        /// Deposits are credited.
        mapped: Slot<bool>,
        /// In the gateway by what was applied and withdrawn.
        locked: Slot<u128>,
        /// Of it in circulation here.
        minted: Slot<u128>,
        /// Of it parked.
        parked: Slot<u128>,
        /// What the bucket held when it was touched last.
        level: Slot<u128>,
        /// When that was, milliseconds.
        level_ms: Slot<u64>,
        /// Smallest withdrawal.
        minimum: Slot<u128>,
        /// What the bucket holds whatever is locked.
        floor: Slot<u128>,
    }
}

crate::storage! {
    /// A tree of withdrawals with every full subtree, so that any leaf can be proved from state alone, for ever.
    pub struct TreeRecord {
        /// Its leaves.
        count: Slot<u64>,
        /// Its root.
        root: Slot<B256>,
        /// Full subtrees by height (upper bits) and place at that height (lower 40 bits).
        nodes: Mapping<u64, Slot<B256>>,
    }
}

crate::storage! {
    /// An applied certificate.
    pub struct Boundary {
        /// Running hash after its last deposit.
        acc: Slot<B256>,
        /// When it was applied, milliseconds.
        applied_ms: Slot<u64>,
        /// The set that was in force.
        set_id: Slot<u64>,
        /// Members of that set who signed, by place.
        signers: Slot<U256>,
    }
}

crate::storage! {
    /// A credit that could not be made.
    pub struct Parked {
        /// On the root chain.
        token: Slot<Address>,
        /// Who deposited.
        sender: Slot<Address>,
        /// Who is to be credited.
        recipient: Slot<Address>,
        /// What is left of it.
        amount: Slot<u128>,
    }
}

crate::storage! {
    /// A command for a gateway.
    pub struct CommandRecord {
        /// Its kind.
        kind: Slot<u8>,
        /// Its arguments.
        payload: Text,
    }
}

crate::storage! {
    /// A checkpoint.
    pub struct CheckpointRecord {
        /// What members sign.
        digest: Slot<B256>,
        /// Hash of the last block.
        last_block_hash: Slot<B256>,
        /// Height of the last block.
        last_block: Slot<u64>,
        /// Its time, seconds.
        timestamp: Slot<u64>,
        /// Number of the set that signs.
        set_id: Slot<u64>,
        /// Number of the set that follows; 0 when none does.
        next_set_id: Slot<u64>,
        /// Hash of the set that signs.
        set_hash: Slot<B256>,
        /// Hash of the set that follows, or the same.
        next_set_hash: Slot<B256>,
        /// Withdrawals by gateway.
        dests: List<DestRecord>,
    }
}

crate::storage! {
    /// A gateway's withdrawals in a checkpoint.
    pub struct DestRecord {
        /// The contract.
        gateway: Slot<Address>,
        /// Its chain.
        root_chain_id: Slot<u64>,
        /// The tree.
        tree_id: Slot<u32>,
        /// Its leaves.
        count: Slot<u64>,
        /// Its root.
        root: Slot<B256>,
    }
}

crate::storage! {
    /// An open accusation.
    pub struct Accusation {
        /// When it is carried out, milliseconds; 0 when none is open.
        due_ms: Slot<u64>,
        /// When it was made.
        opened_ms: Slot<u64>,
        /// When it was carried out.
        punished_ms: Slot<u64>,
        /// Who gets the reporter's reward.
        reporter: Slot<Address>,
    }
}

crate::storage! {
    /// A certificate that waits to be counted.
    pub struct Applied {
        /// Place of its gateway.
        place: Slot<u32>,
        /// Number of its last deposit.
        to_nonce: Slot<u64>,
    }
}

crate::storage! {
    /// How a validator attests.
    pub struct Attesting {
        /// Certificates counted since its window began.
        counted: Slot<u64>,
        /// Of the last window, missed.
        missed: Slot<u32>,
        /// Length of the window; another one begins anew.
        window: Slot<u64>,
        /// The window, a bit each.
        bits: Mapping<u64, Slot<U256>>,
    }
}
