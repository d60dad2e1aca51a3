//! Errors as Ethereum's tools expect them.

use alloy_primitives::{Bytes, hex};
use bttc_executor::simulate::{CallError, revert_reason};
use jsonrpsee::types::ErrorObjectOwned;

/// What can go wrong when the server starts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("RPC cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A configuration value is unusable.
    #[error("RPC configuration: {0}")]
    Config(String),
}

/// geth's code for every error without a code of its own.
const SERVER: i32 = -32_000;
/// EIP-1474: resource not found.
const NOT_FOUND: i32 = -32_001;
/// EIP-1474: limit exceeded.
const LIMIT: i32 = -32_005;

pub(crate) fn server(message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(SERVER, message, None::<()>)
}

pub(crate) fn invalid_params(message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(-32_602, message, None::<()>)
}

pub(crate) fn not_found(message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(NOT_FOUND, message, None::<()>)
}

/// A limit was exceeded: the message says what, the data what would work.
pub(crate) fn limit(message: impl Into<String>, data: serde_json::Value) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(LIMIT, message, Some(data))
}

/// Something below the lowest height that is kept was asked for.
pub(crate) fn pruned(message: impl Into<String>, lowest: u64) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(4444, message, Some(serde_json::json!({ "lowest": format!("0x{lowest:x}") })))
}

pub(crate) fn internal(error: impl std::fmt::Display) -> ErrorObjectOwned {
    tracing::error!(%error, "request failed");
    ErrorObjectOwned::owned(-32_603, error.to_string(), None::<()>)
}

/// The store's errors: heights that are not kept are the caller's business, the rest is ours.
pub(crate) fn store(error: bttc_state::Error) -> ErrorObjectOwned {
    match &error {
        bttc_state::Error::StateUnavailable { lowest, head, .. }
        | bttc_state::Error::ProofUnavailable { lowest, head, .. } => {
            let data = serde_json::json!({ "lowest": format!("0x{lowest:x}"), "highest": format!("0x{head:x}") });
            ErrorObjectOwned::owned(4444, error.to_string(), Some(data))
        }
        bttc_state::Error::Database { .. }
        | bttc_state::Error::Corrupt { .. }
        | bttc_state::Error::Schema { .. }
        | bttc_state::Error::Genesis { .. }
        | bttc_state::Error::NotNext { .. }
        | bttc_state::Error::OtherPivot { .. } => internal(error),
    }
}

/// The executor's errors.
pub(crate) fn executor(error: bttc_executor::Error) -> ErrorObjectOwned {
    match error {
        bttc_executor::Error::Store(error) => store(error),
        other => internal(other),
    }
}

/// A call's failure; a revert carries its data under code 3.
pub fn call(error: CallError) -> ErrorObjectOwned {
    match error {
        CallError::Reverted(output) => revert(&output),
        CallError::Node(error) => internal(error),
        CallError::Halted(reason) => server(reason),
        error @ (CallError::Invalid(_) | CallError::Refused { .. } | CallError::GasExceedsAllowance(_)) => {
            server(error.to_string())
        }
    }
}

fn revert(output: &Bytes) -> ErrorObjectOwned {
    let message = match revert_reason(output) {
        Some(reason) => format!("execution reverted: {reason}"),
        None => "execution reverted".to_owned(),
    };
    ErrorObjectOwned::owned(3, message, Some(hex::encode_prefixed(output)))
}
