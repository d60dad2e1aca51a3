//! The one error type of this crate.

/// What can go wrong in the network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on or does not parse.
    #[error("network address {address}: {reason}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// libp2p could not be set up.
    #[error("network set-up failed: {0}")]
    Setup(String),
    /// A peer is of another network or speaks another protocol.
    #[error("peer refused: {what} is {got}, ours is {ours}")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// The peer's.
        got: String,
        /// Ours.
        ours: String,
    },
    /// A peer's bytes break the protocol.
    #[error("peer broke the protocol: {0}")]
    Protocol(String),
    /// The connection broke.
    #[error("connection: {0}")]
    Connection(String),
    /// Two limits contradict each other.
    #[error("network limits contradict each other: {0}")]
    Limits(String),
}
