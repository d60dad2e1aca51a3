//! A local TRON node for development and tests: revm with TRON's rules behind java-tron's HTTP and JSON-RPC shapes.
//!
//! `vm.rs` executes, `precompiles.rs` has the contracts that TRON has in place of Ethereum's, `chain.rs` keeps blocks and
//! what is solid, `journal.rs` keeps them on disk, `json.rs` shapes answers, `http.rs` and `jsonrpc.rs` serve. Permissions,
//! votes, TRC-10, bandwidth that is free and energy that is staked are not modelled: what a transaction needs is burned.
#![forbid(unsafe_code)]

mod chain;
mod http;
mod journal;
mod json;
mod jsonrpc;
mod precompiles;
mod vm;

pub use chain::{Chain, Refusal, SimConfig};
pub use http::{Server, serve};

/// What can go wrong when a simulator is started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state file.
    #[error("{path}: {reason}")]
    State {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
}
