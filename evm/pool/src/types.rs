//! What goes into the pool and what comes out of it.

use alloy_primitives::{Address, B256, U256};
use bttc_types::RecoveredTransaction;
use std::sync::Arc;

/// A sender's account as far as the pool needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Next nonce.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Whether it has code that is no EIP-7702 delegation.
    pub contract: bool,
    /// Whether its code is an EIP-7702 delegation: anybody's call may then move its balance, and with it end all its
    /// transactions at once. So it may have one in the pool at a time.
    pub delegated: bool,
}

/// Reads accounts at the head.
pub trait AccountLookup {
    /// The account, or its default when it does not exist.
    ///
    /// # Errors
    /// In words, when the store fails.
    fn account(&self, address: Address) -> Result<AccountState, String>;
}

/// What the chain demands of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct ChainLimits {
    /// The chain's id.
    pub chain_id: u64,
    /// Most gas of one transaction, whatever a block holds.
    pub gas_cap: u64,
    /// Gas limit of a block.
    pub gas_limit: u64,
    /// Lowest base fee there can be.
    pub min_base_fee: u64,
}

/// What became of an accepted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its hash.
    pub hash: B256,
    /// Whether it can be executed after those before it.
    pub pending: bool,
    /// The transaction that it replaced.
    pub replaced: Option<B256>,
    /// Others that can be executed only now: later ones of its sender that waited for it alone, and those that a
    /// changed account made executable since this was last told, of whatever sender.
    pub promoted: Vec<Arc<RecoveredTransaction>>,
}

/// Why a transaction left the pool without being in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Another one with the same nonce came and paid more.
    Replaced(B256),
    /// Another transaction with this nonce is in a block.
    NonceUsed,
    /// Others needed the room: better paying ones, or executable ones while it was queued.
    Evicted,
    /// It cannot be executed before an earlier one of its sender, and too many such transactions wait.
    TooManyQueued,
    /// Its sender's code is delegated, or is about to be, and such may have one transaction in the pool at a time.
    Delegated,
    /// It waited too long.
    Expired,
    /// It turned out invalid when it was to be executed.
    Invalid(String),
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Replaced(by) => write!(f, "replaced by {by}"),
            Self::NonceUsed => f.write_str("another transaction with this nonce was included"),
            Self::Evicted => f.write_str("evicted: the pool was full of better paying transactions"),
            Self::TooManyQueued => {
                f.write_str("evicted: too many transactions waited for earlier ones of their senders")
            }
            Self::Delegated => {
                f.write_str("dropped: a delegated account may have one transaction in the pool at a time")
            }
            Self::Expired => f.write_str("expired: it waited longer than the pool's lifetime"),
            Self::Invalid(reason) => write!(f, "invalid when it was to be executed: {reason}"),
        }
    }
}

/// A transaction as `txpool_content` shows it.
#[derive(Clone, Debug)]
pub struct PoolEntry {
    /// The transaction.
    pub transaction: Arc<RecoveredTransaction>,
    /// Whether it can be executed after those before it.
    pub pending: bool,
}

/// Sizes of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Transactions that can be executed, each after those before it.
    pub pending: usize,
    /// The others.
    pub queued: usize,
    /// Bytes of all.
    pub bytes: usize,
}
