//! Ethereum JSON-RPC over HTTP and WebSocket on one port.
//!
//! The crate reads the store, the pool and the executor, and reaches the rest of the node through [`NodeApi`]. Cheap
//! reads run where they arrive; calls, proofs and log searches run on blocking threads behind a bound.
#![forbid(unsafe_code)]

mod blocks;
mod bridge;
mod bttc;
mod budget;
mod chain;
mod config;
mod context;
mod convert;
mod debug;
pub mod discover;
mod errors;
mod ethereum;
mod fees;
mod filters;
mod gate;
mod geth_traces;
mod listen;
mod logs;
mod otterscan;
mod params;
mod ranges;
mod replays;
mod search;
mod send;
mod server;
mod simulate;
mod staking;
mod state;
mod subscriptions;
mod trace;
mod txpool;
mod watching;

pub use bridge::{BridgeApi, DepositCertificate, deposit_json};
pub use config::RpcConfig;
pub use context::{HeadEvent, NodeApi, NodeStatus, RpcContext};
pub use convert::BlockCache;
pub use errors::{Error, call as call_error};
pub use filters::Filters;
pub use server::{RpcServer, methods, start, start_with};
pub use watching::VoteEvent;
