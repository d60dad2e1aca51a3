//! The one error type of this crate.

use alloy_primitives::{Address, B256};

/// What can be wrong with consensus data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes do not decode, or decode to something that encodes differently.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Which kind of object was being decoded.
        what: &'static str,
        /// Why it was refused.
        reason: String,
    },
    /// An object exceeds a limit of the protocol.
    #[error("{what} has {got}, the limit is {limit}")]
    TooLarge {
        /// Which quantity.
        what: &'static str,
        /// What was found.
        got: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A private key is zero or not below the group order.
    #[error("the secret key is not a valid secp256k1 scalar")]
    InvalidSecretKey,
    /// A signature is not 65 bytes of `r || s || v` with a low `s`, or recovers to no key.
    #[error("the signature is malformed")]
    InvalidSignature,
    /// A signature belongs to somebody else.
    #[error("the signature was made by {got}, not by {expected}")]
    WrongSigner {
        /// Who should have signed.
        expected: Address,
        /// Who did.
        got: Address,
    },
    /// Certificate signatures must have strictly ascending validator indices below the size of the set.
    #[error("certificate signer index {0} is out of order or out of range")]
    SignerIndex(u16),
    /// The signers do not hold more than two thirds of the power.
    #[error("the signers hold {signed} of {total} voting power, which is not more than two thirds")]
    NoQuorum {
        /// Power of the signers.
        signed: u64,
        /// Power of the whole set.
        total: u64,
    },
    /// A validator set is empty, too large, has a zero power, a repeated address or an overflowing total.
    #[error("invalid validator set: {0}")]
    InvalidValidatorSet(&'static str),
    /// A block part does not belong to the block that was announced.
    #[error("block part {index} does not match the parts root {root}")]
    InvalidPart {
        /// Index of the part.
        index: u32,
        /// Root that it was checked against.
        root: B256,
    },
    /// The extra data of a header does not have this protocol's layout.
    #[error("the header's extra data is not version 1 of this protocol")]
    InvalidExtraData,
    /// Two messages are no evidence: not in conflict, or not of one validator.
    #[error("the two messages are no evidence: {0}")]
    NoEvidence(&'static str),
}

impl Error {
    /// A decoding error of `what` with the decoder's own words.
    pub(crate) fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }
}
