//! What a node does between its parts: builds, judges and commits blocks for the engine, takes transactions in, serves
//! blocks, finds out where to start, and joins by a snapshot. No thread, clock or socket is in here: the process and the simulation run the
//! same code.
#![forbid(unsafe_code)]

mod application;
mod error;
mod requests;
mod serve;
mod set_walk;
mod snapshots;
mod start;
mod state_sync;
mod transactions;
mod useless;

pub use application::{Answer, Application, Committed, Request, Served, timing, unknown_rules};
pub use error::Error;
pub use requests::{
    Offer, PeerRequest, Tail, decode_contents, decode_offers, decode_set_changes, decode_tail, encode_answer,
    set_changes,
};
pub use serve::{certified_blocks, lane_of};
pub use set_walk::SetWalk;
pub use snapshots::{CheckedTail, check_tail, finish_import, offers, pieces, tail};
pub use start::{own_signature_above, start_info};
pub use state_sync::{Finished, StateSync, SyncAction, Trust};
pub use transactions::{HeadAccounts, authorizations, judge_transaction, wasted};
pub use useless::{UselessBudget, UselessRate};
