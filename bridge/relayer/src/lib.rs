//! The relayer: carries certificates from validators to the ledger and to the gateways, and claims withdrawals. Whoever pays
//! the gas can run it; nobody trusts it, and several of them harm nothing.
//!
//! `plan.rs` finds what is to be done by looking at both sides, `store.rs` keeps each intent on disk, `sender.rs` brings an
//! intent into a block (`evm.rs`, `tron.rs` by kind of chain), `run.rs` drives it, `ops.rs` shows it.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod abi;
mod evm;
mod node;
mod ops;
mod plan;
mod reserves;
mod run;
mod sender;
mod store;
mod tron;

pub use node::NodeClient;
pub use ops::{Overview, OverviewLane, ask_running};
pub use run::{ChainConfig, RelayerConfig, run};
pub use sender::Lane;
pub use store::{Attempt, Intent, IntentState, Store, WithdrawalRecord};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of intents.
    #[error("{path}: {reason}")]
    Store {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A chain.
    #[error(transparent)]
    Chain(#[from] bttc_root_chains::Error),
    /// The node says something that cannot be.
    #[error("the node's answer makes no sense: {0}")]
    Node(String),
    /// The address of the operations port.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
}
