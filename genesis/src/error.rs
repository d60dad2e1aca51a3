//! The one error type of this crate.

/// What can be wrong with a genesis file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON of the expected shape.
    #[error("the genesis file does not parse: {0}")]
    Json(String),
    /// The section `bttc` is missing.
    #[error("the genesis file has no section \"bttc\": create one with `bttc genesis new`")]
    NoBttcSection,
    /// The record of a set change proves nothing.
    #[error("the change to the validator set of epoch {epoch}: {reason}")]
    SetChange {
        /// The epoch of the set.
        epoch: u64,
        /// What does not hold.
        reason: String,
    },
    /// A value contradicts another or is out of its range.
    #[error("genesis field {field}: {reason}")]
    Invalid {
        /// Path of the field.
        field: String,
        /// Why it is refused and what would be accepted.
        reason: String,
    },
}

impl Error {
    pub(crate) fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), reason: reason.into() }
    }
}
