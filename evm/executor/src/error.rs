//! The error types of this crate: failures of ours, and reasons why a block is invalid.

use alloy_primitives::B256;

/// Why a block is invalid. A proposer that sends one is faulty; nothing is wrong with this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A header field is not what it must be.
    #[error("header field {field} is {got}, expected {expected}")]
    Header {
        /// Name of the field.
        field: &'static str,
        /// What the block says.
        got: String,
        /// What it must be.
        expected: String,
    },
    /// A transaction cannot be executed where it stands.
    #[error("transaction {index} ({hash}) is invalid: {reason}")]
    Transaction {
        /// Index in the block.
        index: usize,
        /// Hash of the transaction.
        hash: B256,
        /// Why.
        reason: String,
    },
    /// The certificate of the parent does not hold.
    #[error("last_commit is invalid: {0}")]
    LastCommit(#[from] bttc_types::Error),
    /// The block is larger than allowed.
    #[error("the block has {got} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes found.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Something that a system call had to do did not work (Ethereum's rules only).
    #[error("system call failed: {0}")]
    SystemCall(String),
}

/// What can go wrong in the executor.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The block is invalid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed; the node cannot go on with this block.
    #[error(transparent)]
    Store(#[from] bttc_state::Error),
    /// revm reported something that valid input cannot cause.
    #[error("the EVM failed on block {height}: {reason}")]
    Evm {
        /// Height being executed.
        height: u64,
        /// revm's own words.
        reason: String,
    },
    /// A native module found something broken at the start or the end of a block.
    #[error("native modules failed at block {height}: {reason}")]
    Module {
        /// Height being executed.
        height: u64,
        /// The module's own words.
        reason: String,
    },
    /// The database was created from another genesis file.
    #[error("the database was created with genesis {found}, the genesis file gives {expected}")]
    OtherGenesis {
        /// In the database.
        found: B256,
        /// From the file.
        expected: B256,
    },
    /// Nobody knows who signs that epoch.
    #[error("the validator set of epoch {epoch} is not computed yet, or not known any more")]
    NoSet {
        /// The epoch.
        epoch: u64,
    },
    /// A call's own input is unusable.
    #[error("{0}")]
    Call(String),
    /// The genesis specification is unusable.
    #[error(transparent)]
    Genesis(#[from] bttc_genesis::Error),
}
