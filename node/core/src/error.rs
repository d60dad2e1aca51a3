//! The one error type of this crate.

use alloy_primitives::B256;

/// What can go wrong when a node starts on its store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The executor or the store failed.
    #[error(transparent)]
    Executor(#[from] bttc_executor::Error),
    /// The store failed.
    #[error(transparent)]
    State(#[from] bttc_state::Error),
    /// A peer's request does not decode.
    #[error("malformed request: {reason}")]
    Request {
        /// What is wrong.
        reason: String,
    },
    /// The store holds no chain.
    #[error("the store has no head")]
    NoHead,
    /// The head's certificate is gone.
    #[error("the certificate of the head {height} ({hash}) is missing from the store")]
    NoCertificate {
        /// Height of the head.
        height: u64,
        /// Its hash.
        hash: B256,
    },
}
