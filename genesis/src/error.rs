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
    /// A value contradicts another or is out of its range.
    #[error("genesis field {field}: {reason}")]
    Invalid {
        /// Path of the field.
        field: &'static str,
        /// Why it is refused and what would be accepted.
        reason: String,
    },
}

impl Error {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}
