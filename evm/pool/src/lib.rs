//! Transactions that wait for a block.
//!
//! Per sender a queue by nonce, gaps allowed; transactions without a gap before them are *pending*, the others
//! *queued*. Everything is bounded: per sender by number and bytes, globally by number and bytes, in time by a
//! lifetime. What is accepted and later dropped leaves its reason behind (see [`Pool::dropped`]).
//!
//! The pool reads accounts through [`AccountLookup`] and gets the time as an input. It does no I/O; [`Journal`] keeps
//! local transactions on disk for whoever wants that.
#![forbid(unsafe_code)]

mod best;
mod config;
mod error;
mod intrinsic;
mod journal;
mod pool;
mod queue;

pub use best::BestTransactions;
pub use config::PoolConfig;
pub use error::Error;
pub use intrinsic::intrinsic_gas;
pub use journal::Journal;
pub use pool::{AccountLookup, AccountState, Added, ChainLimits, DropReason, Pool, PoolEntry, PoolStatus};
