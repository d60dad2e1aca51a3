//! What the chain remembers: blocks, flat state, the state trie and the history of both, in one key-value store.
//!
//! Accounts and storage are flat records keyed by hash (one read each); the Merkle Patricia trie over them is kept
//! as branch and extension nodes keyed by path, with its upper part resident in memory, and its root is computed
//! incrementally. Every block writes one batch. Old values go to a history table, so that state can be read at any
//! kept height.
//!
//! This crate does not execute anything and does not know what a valid block is.
//!
//! - [`Kv`]: the seam to the disk, with a RocksDB (`RocksStore`) and an in-memory ([`MemoryStore`]) implementation.
//! - [`StateStore`]: the head of the chain; prepares and commits blocks.
//! - [`StateView`]: state at a height, on a consistent snapshot.
#![forbid(unsafe_code)]

mod account;
mod amend;
mod blocks;
mod check;
mod error;
mod history;
mod kv;
mod looked;
mod prepare;
mod range;
mod search;
mod simulated;
pub mod snapshot;
mod store;
mod trie;
mod view;

pub use account::{Account, AccountChange, EMPTY_CODE_HASH, StateDiff};
pub use blocks::{BlockRecord, TransactionLocation};
pub use check::{CheckReport, check_full};
pub use error::Error;
pub use kv::{Batch, Entry, Kv, KvRead, MemoryFaults, MemorySnapshot, MemoryStore, Table, Visitor};
#[cfg(feature = "rocksdb")]
pub use kv::{RocksOptions, RocksStore};
pub use looked::LookedThrough;
pub use prepare::PreparedState;
pub use range::StateRange;
pub use search::{SECTION_BLOCKS, SearchKind, search_name};
pub use store::{Head, SCHEMA_VERSION, StateStore, StoreOptions};
pub use trie::{EMPTY_ROOT_HASH, Proof, verify_account_proof};
pub use view::{StateRead, StateView};
