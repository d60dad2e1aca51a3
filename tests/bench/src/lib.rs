//! Load for networks of real nodes, and what becomes of it: transfers that are signed before the clock starts, sent at a rate that
//! does not wait for answers, and watched until each is final. Used by `scripts/bench` and by tests of networks under attack.
#![forbid(unsafe_code)]

pub mod load;
pub mod network;
pub mod process;
pub mod report;
pub mod tally;
pub mod watch;
