//! Transactions that wait for a block.
//!
//! Per sender a queue by nonce, gaps allowed. *Pending* are transactions without a gap before them that the balance
//! pays for all together, the others are *queued*. Everything is bounded: per sender by number and bytes, globally by
//! number and bytes, in time by a lifetime; and queued ones, which may never be executed, by a small share of it. What
//! is accepted and later dropped leaves its reason behind (see [`Pool::dropped`]).
//!
//! The pool reads accounts through [`AccountLookup`] and gets the time as an input. It does no I/O; [`Journal`] keeps
//! local transactions on disk for whoever wants that.
#![forbid(unsafe_code)]

mod admission;
mod best;
mod config;
mod delegation;
mod error;
mod heads;
mod index;
mod intrinsic;
mod journal;
#[cfg(test)]
mod model;
mod pool;
mod queue;
mod room;
mod types;

pub use best::BestTransactions;
pub use config::PoolConfig;
pub use error::Error;
pub use intrinsic::intrinsic_gas;
pub use journal::Journal;
pub use pool::Pool;
pub use types::{AccountLookup, AccountState, Added, ChainLimits, DropReason, PoolEntry, PoolStatus};
