//! Native contracts: staking, rewards, slashing, governance, the bridge and tokens, written in Rust and executed inside the
//! EVM at fixed addresses.
//!
//! A module is a set of functions over a [`Host`]: the EVM's journal during a transaction, a block's state during the hooks
//! at its start and end, a reader for RPC, or memory in tests. Its variables are declared with [`storage!`] and lie where
//! Solidity would put them; its interface is the Solidity file under `interfaces/`. `docs/modules.md` is the tour.
//!
//! Nothing here reads a clock, draws a random number or does I/O.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod bridge;
pub mod btt;
mod call;
pub mod genesis;
pub mod governance;
pub mod hooks;
mod host;
pub mod interfaces;
mod invariants;
mod memory;
mod numbers;
mod permit;
pub mod rewards;
pub mod slashing;
pub mod staking;
pub mod storage;
pub mod wrapped;

pub use call::{Call, call, explain};
pub use host::{Env, Event, Fault, Host};
pub use invariants::{Totals, check_invariants};
pub use memory::MemoryHost;
