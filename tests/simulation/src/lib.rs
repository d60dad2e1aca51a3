//! Whole nodes under virtual time: engine, executor, store, pool and network logic in one thread, on simulated disks and
//! links, with crashes, partitions and validators that lie. One seed gives one run, to the last byte.
//!
//! The parts are the ones that the node's process runs; what is simulated is what surrounds them: [`disk`], [`links`],
//! clocks, clients. [`check`] watches from outside and uses none of the nodes' own verification.

pub mod byzantine;
pub mod check;
pub mod client;
pub mod config;
pub mod disk;
pub mod fault;
pub mod flood;
pub mod links;
pub mod node;
pub mod performance;
pub mod stakes;
pub mod trace;
mod traffic;
pub mod weather;
pub mod world;

pub use config::{Config, Costs, Topology};
pub use fault::{Fault, FaultCounts, FaultSet};
pub use flood::Flood;
pub use world::{Report, World};
