//! What can be wrong with bytes from outside.

/// Why something is no valid bridge data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A set breaks its rules.
    #[error("not a bridge set: {0}")]
    BadSet(&'static str),
    /// Packed signatures break their rules.
    #[error("bad signatures: {0}")]
    BadSignatures(&'static str),
    /// The signers' power is not more than two thirds.
    #[error("signers hold {got} of {total} units of power; more than two thirds are needed")]
    TooLittlePower {
        /// Power of the signers.
        got: u64,
        /// Power of the set.
        total: u64,
    },
    /// Fewer signers than the network asks for.
    #[error("{got} signers, at least {least} are needed")]
    TooFewSigners {
        /// How many signed.
        got: usize,
        /// How many must sign.
        least: usize,
    },
    /// A leaf beyond the tree.
    #[error("there is no leaf {index}: the tree has {count}")]
    NoLeaf {
        /// Its index.
        index: u64,
        /// Leaves of the tree.
        count: u64,
    },
    /// The tree is full.
    #[error("the tree is full")]
    TreeFull,
}
