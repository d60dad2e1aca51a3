//! What can go wrong with a root chain.

/// An error, with the endpoint's name (its credentials masked).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an address that can be asked. What it is not is not repeated: it may hold a key.
    #[error("an endpoint is written `https://host`, or `https://host|Header: value`: {0}")]
    BadAddress(&'static str),
    /// No answer, or not in time.
    #[error("{endpoint} does not answer: {reason}")]
    Unreachable {
        /// Which.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// It asks us to come back later.
    #[error("{endpoint} is busy: {reason}")]
    Busy {
        /// Which.
        endpoint: String,
        /// Its words.
        reason: String,
    },
    /// An error answer.
    #[error("{endpoint} refuses: {message} ({code})")]
    Refused {
        /// Which.
        endpoint: String,
        /// JSON-RPC's number, or 0.
        code: i64,
        /// Its words.
        message: String,
        /// Revert data, where there is some.
        data: Option<alloy_primitives::Bytes>,
    },
    /// A range of blocks, or an answer, larger than it gives.
    #[error("{endpoint} does not give so much at once: {message}")]
    TooMuch {
        /// Which.
        endpoint: String,
        /// Its words.
        message: String,
    },
    /// An answer that is none.
    #[error("{endpoint} gave a malformed answer: {reason}")]
    Malformed {
        /// Which.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// Another chain than it should be.
    #[error("{endpoint} serves chain {got}, not {expected}")]
    WrongChain {
        /// Which.
        endpoint: String,
        /// What it should serve.
        expected: u64,
        /// What it serves.
        got: u64,
    },
    /// Too few endpoints answered alike.
    #[error("{alike} endpoints agree, {needed} are needed: {reasons}")]
    NoQuorum {
        /// How many agree.
        alike: usize,
        /// How many must.
        needed: usize,
        /// What the others said.
        reasons: String,
    },
    /// Endpoints say different things of what is final.
    #[error("endpoints disagree on {what}")]
    Disagree {
        /// What about.
        what: String,
    },
    /// A finalized block is another one now.
    #[error(
        "the finalized block {height} was {before} and is now {now}: this chain is not attested until an operator decides"
    )]
    FinalityChanged {
        /// Its height.
        height: u64,
        /// Its hash before.
        before: alloy_primitives::B256,
        /// Its hash now.
        now: alloy_primitives::B256,
    },
    /// The deposits do not give the gateway's running hash.
    #[error("deposits of {gateway} do not add up: {reason}")]
    Accumulator {
        /// The gateway.
        gateway: alloy_primitives::Address,
        /// How.
        reason: String,
    },
    /// Not an address of this kind of chain.
    #[error("{0:?} is no address of this chain")]
    BadAccount(String),
}

impl Error {
    /// Whether a person must look: not a fault that passes by itself.
    pub fn is_alarm(&self) -> bool {
        matches!(
            self,
            Self::Disagree { .. } | Self::FinalityChanged { .. } | Self::Accumulator { .. } | Self::WrongChain { .. }
        )
    }
}
