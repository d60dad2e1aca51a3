//! What a node does between its parts: builds, judges and commits blocks for the engine, takes transactions in, serves
//! blocks, and finds out where to start. No thread, clock or socket is in here: the process and the simulation run the
//! same code.
#![forbid(unsafe_code)]

mod application;
mod error;
mod serve;
mod start;
mod transactions;

pub use application::{Answer, Application, Committed, Request, Served};
pub use error::Error;
pub use serve::{certified_blocks, lane_of};
pub use start::{own_signature_above, start_info};
pub use transactions::{HeadAccounts, judge_transaction};
