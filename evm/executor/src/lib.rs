//! What a block does: builds, validates and executes blocks on revm, and answers calls.
//!
//! - [`Executor`] builds blocks for the proposer, validates other proposers' blocks and keeps the result by block
//!   hash until the block is committed; so a decided block is executed once.
//! - [`initialize_genesis`] builds the genesis block.
//! - `modules.rs` is where native modules meet the EVM.
//! - [`simulate`] runs calls, gas estimates and access lists on any kept state.
//! - [`ethereum`] runs transactions and blocks under Ethereum's rules for other people's test suites.
//!
//! The differences between this chain's rules and Ethereum's are in `bttc.rs` and `ethereum.rs`; everything else is
//! shared.
#![forbid(unsafe_code)]

mod block_state;
mod bttc;
mod build;
mod code_hash;
mod cpu;
mod environment;
mod error;
pub mod ethereum;
mod executor;
mod genesis;
mod import;
#[cfg(test)]
mod module_tests;
mod modules;
mod receipts;
pub mod replay;
mod run;
mod search;
mod set_changes;
pub mod simulate;
pub mod simulate_blocks;
mod validate;
pub mod watchdog;

pub use block_state::{BlockState, CodeCache};
pub use build::{BuildInput, TransactionSource, Verdict};
pub use cpu::{StageTimes, thread_time};
pub use environment::{EvmInput, spec_id};
pub use error::{Error, Invalid};
pub use executor::{ExecutedBlock, Executor};
pub use genesis::{genesis_block, genesis_header, initialize_genesis};
pub use import::EthereumBody;
pub use modules::ReadHost;
pub use receipts::{StoredReceipt, decode_receipts, encode_receipts, receipts_root};
pub use search::{SearchIndexer, search_names};
