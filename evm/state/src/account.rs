//! Accounts as the state keeps them, and what a block changes.

use alloy_primitives::{Address, B256, Bytes, U256, b256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use std::collections::BTreeMap;

/// Keccak-256 of no bytes: the code hash of an account without code.
pub const EMPTY_CODE_HASH: B256 = b256!("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");

/// An account. Its RLP is the value of its leaf in the state trie and of its flat record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Account {
    /// Number of transactions sent (contracts: of contracts created, plus one).
    pub nonce: u64,
    /// Wei of BTT.
    pub balance: U256,
    /// Root of the account's storage trie.
    pub storage_root: B256,
    /// Keccak-256 of the account's code.
    pub code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, storage_root: crate::EMPTY_ROOT_HASH, code_hash: EMPTY_CODE_HASH }
    }
}

/// What happened to one account in a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// Nonce, balance and code hash after the block; `None`: the account does not exist. The storage root in it is
    /// ignored, the store computes it.
    pub account: Option<Account>,
    /// All storage that was there before the block is gone; `storage` applies after that.
    pub wiped: bool,
    /// Slots with their values after the block; zero removes a slot.
    pub storage: BTreeMap<U256, U256>,
}

/// Everything a block changes in the state, in an order that does not depend on hash maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDiff {
    /// Changed accounts.
    pub accounts: BTreeMap<Address, AccountChange>,
    /// New code by its hash.
    pub code: BTreeMap<B256, Bytes>,
}
