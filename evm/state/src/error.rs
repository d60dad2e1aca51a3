//! The one error type of this crate.

use alloy_primitives::B256;

/// What can go wrong in the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The disk or RocksDB said no.
    #[error("database {operation} failed: {reason}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// RocksDB's own words.
        reason: String,
    },
    /// A record does not decode: damage, or a foreign database.
    #[error("table {table} holds a damaged record at key {key}: {reason}")]
    Corrupt {
        /// Table's name.
        table: &'static str,
        /// The key in hex.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The database was written by another version of this program.
    #[error(
        "the database has schema version {found}, this program needs {expected}: use the program version that wrote \
         it, or sync again into an empty data directory"
    )]
    Schema {
        /// Version found.
        found: u32,
        /// Version needed.
        expected: u32,
    },
    /// The database belongs to another network.
    #[error("the database belongs to the chain with genesis {found}, the configured genesis is {expected}")]
    Genesis {
        /// Genesis hash found.
        found: B256,
        /// Genesis hash configured.
        expected: B256,
    },
    /// State at this height is not kept (any more).
    #[error("state at height {height} is not available, kept are heights {lowest} to {head}")]
    StateUnavailable {
        /// What was asked for.
        height: u64,
        /// Lowest height that is kept.
        lowest: u64,
        /// The head.
        head: u64,
    },
    /// A proof older than the proof window was asked for.
    #[error("proofs are available for heights {lowest} to {head}, not for {height}")]
    ProofUnavailable {
        /// What was asked for.
        height: u64,
        /// Lowest height with proofs.
        lowest: u64,
        /// The head.
        head: u64,
    },
    /// The store holds part of another snapshot.
    #[error("the store is being brought to the snapshot at height {found}")]
    OtherPivot {
        /// That snapshot's height.
        found: u64,
    },
    /// A block was committed out of order or on another parent.
    #[error("block {height} does not follow the head {head}")]
    NotNext {
        /// The block's height.
        height: u64,
        /// The head's height.
        head: u64,
    },
}

impl Error {
    pub(crate) fn corrupt(table: crate::Table, key: &[u8], reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { table: table.name(), key: alloy_primitives::hex::encode(key), reason: reason.to_string() }
    }
}
