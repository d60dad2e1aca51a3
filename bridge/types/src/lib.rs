//! What the bridge hashes, signs and proves: deposits, attestations, checkpoints, gateway commands, bridge sets and the
//! withdrawal tree, byte for byte as the gateway contracts compute them (`bridge/contracts/src/Digests.sol`).
//!
//! Every digest and leaf names the bridge, the root chain and the gateway, so that nothing counts anywhere else.
//! `vectors.json` beside this crate holds examples; Rust and Solidity both check them.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod attest;
mod checkpoint;
mod command;
mod deposit;
mod domain;
mod error;
mod set;
mod tree;
mod vote;
mod withdrawal;

pub use attest::Attest;
pub use checkpoint::{Checkpoint, Dest};
pub use command::{Command, GatewayCommand};
pub use deposit::{Deposit, accumulate, first_accumulator};
pub use domain::{BridgeId, GatewayId, digest};
pub use error::Error;
pub use set::{BridgeMember, BridgeSet, MAX_MEMBERS, SIGNATURE_BYTES, pack_signatures, unpack_signatures};
pub use tree::{MAX_LEAVES, TREE_DEPTH, Tree, fold_proof, join};
pub use vote::{BridgeVote, Subject};
pub use withdrawal::Withdrawal;

use alloy_primitives::{Address, U256, address};

/// Token id of a root chain's own coin (ETH, BNB, TRX). No contract can have this address.
pub const NATIVE_COIN: Address = address!("EeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE");

/// Deposits between two boundaries at which validators attest, at most.
pub const BOUNDARY: u64 = 64;

/// Largest sum of one token that a gateway may hold: its counters have 112 bits.
pub const MAX_LOCKED: U256 = U256::from_limbs([u64::MAX, 0xffff_ffff_ffff, 0, 0]);
