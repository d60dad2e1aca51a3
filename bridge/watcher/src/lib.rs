//! The validator's part of the bridge: follows gateways in final blocks, signs what it saw and what the ledger says, and
//! collects what others sign.
//!
//! [`Follower`] keeps how far a gateway was read, [`due`] says what is to be signed, [`SignGuard`] keeps a key from ever
//! saying two things of one subject, and [`VoteBook`] holds everybody's signatures. No clocks and no sockets here: the node
//! drives these.
#![forbid(unsafe_code)]

mod book;
mod due;
mod follower;
mod guard;

pub use book::{Contradiction, Inserted, VoteBook};
pub use due::{LedgerGateway, LedgerView, boundaries, due};
pub use follower::Follower;
pub use guard::SignGuard;

/// What can go wrong with the watcher's files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The key has said something else of it before.
    #[error("this key has signed another value for {0:?}: it will not sign a second one")]
    Signed(bttc_bridge_types::Subject),
}

impl Error {
    pub(crate) fn file(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::File { path: path.display().to_string(), reason: reason.to_string() }
    }
}
