//! Ground floor of the house: what consensus agrees on and what it signs.
//!
//! This crate holds blocks, certificates, validator sets, votes, proposals, block parts and evidence together
//! with their byte encodings. It knows nothing of networks, disks, clocks or the EVM, so a light client can
//! depend on it alone: [`Certificate::verify`] checks finality against a [`ValidatorSet`].
//!
//! ```
//! use bttc_types::{Certificate, SecretKey, SigningDomain, Validator, ValidatorSet, Vote, VoteKind};
//! use alloy_primitives::B256;
//!
//! let key = SecretKey::from_bytes(&[7; 32])?;
//! let set = ValidatorSet::new(vec![Validator { address: key.address(), owner: key.address(), power: 10 }])?;
//! let domain = SigningDomain::new(1337, B256::repeat_byte(1));
//! let block_hash = B256::repeat_byte(2);
//! let vote = Vote { kind: VoteKind::Precommit, height: 5, round: 0, block_hash: Some(block_hash), validator: key.address() };
//! let certificate = Certificate {
//!     height: 5,
//!     round: 0,
//!     block_hash,
//!     signatures: vec![(0, key.sign(domain.vote_digest(&vote))).into()],
//! };
//! assert!(certificate.verify(&set, &domain).is_ok());
//! # Ok::<(), bttc_types::Error>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod block;
mod certificate;
mod crypto;
mod error;
mod evidence;
mod header;
mod mutants;
mod parts;
mod recovery;
mod sign_bytes;
mod transaction;
mod validators;
mod vote;

pub use block::{Block, MAX_BLOCK_BYTES, Transaction, authentic_block_hash, block_hash_of, header_of};
pub use certificate::{Certificate, CommitSignature};
pub use crypto::{SecretKey, Signature, recover};
pub use error::Error;
pub use evidence::Evidence;
pub use header::{ExtraData, block_time_ms, mix_hash, set_block_time};
pub use mutants::Mutant;
#[cfg(feature = "mutants")]
pub use mutants::set_mutant;
pub use parts::{MAX_PARTS, PART_BYTES, Part, PartSetBuilder, PartsHeader, ProvenBytes, split_into_parts};
pub use recovery::{recoveries, remember_recoveries};
pub use sign_bytes::SigningDomain;
pub use transaction::{MAX_TRANSACTION_BYTES, RecoveredTransaction, decode_transaction};
pub use validators::{MAX_VALIDATORS, Turns, Validator, ValidatorSet, rotation_steps};
pub use vote::{Proposal, SignedProposal, SignedVote, Vote, VoteKind, decode_choice, encode_choice};

/// Number of a block; the genesis block has height 0.
pub type Height = u64;
/// Round of voting within a height, from 0.
pub type Round = u32;

/// Last round that a block can be built in. Its proposer is found by one pass over the set for each round, so this bounds
/// what a number in somebody's block costs; a height gets there after more than two months without a decision.
pub const MAX_ROUND: Round = 100_000;
/// Weight of a validator, in power units of stake.
pub type VotingPower = u64;
