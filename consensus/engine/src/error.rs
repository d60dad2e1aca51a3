//! The one error type of this crate.

/// What can go wrong in the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes from outside do not decode.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Which kind of object.
        what: &'static str,
        /// Why it was refused.
        reason: String,
    },
    /// The write-ahead log failed.
    #[error("write-ahead log {path}: {reason}")]
    Wal {
        /// Its path.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The write-ahead log is damaged before its end.
    #[error(
        "write-ahead log {path} is damaged at byte {offset}, before its end: this node does not sign at height \
         {height}. Keep the file for analysis, let the node follow the chain past that height, then restart it"
    )]
    WalDamaged {
        /// Its path.
        path: String,
        /// Where.
        offset: u64,
        /// Height that it was for.
        height: u64,
    },
    /// The last-signed guard failed.
    #[error("signer guard {path}: {reason}")]
    Guard {
        /// Its path.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The guard of a key does not exist.
    #[error(
        "signer guard {path} is missing for key {address}: this node does not sign, because it cannot know what the \
         key has signed before. Bring the guard from where the key signed last with `bttc signer export` there and \
         `bttc signer import` here. If the key has never signed on this network, create it with `bttc keys guard`"
    )]
    GuardMissing {
        /// Its path.
        path: String,
        /// Address of the key.
        address: String,
    },
    /// A signature was refused because it could be a second one for the same step.
    #[error("refused to sign {what} at height {height}, round {round}: the guard stands at {guard}")]
    WouldDoubleSign {
        /// What was to be signed.
        what: &'static str,
        /// Its height.
        height: u64,
        /// Its round.
        round: u32,
        /// Where the guard stands.
        guard: String,
    },
    /// The core reported an inconsistency; the node must stop.
    #[error("consensus core: {0}")]
    Core(String),
}
