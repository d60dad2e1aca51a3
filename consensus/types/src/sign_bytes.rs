//! What validators sign: the layout of Tendermint's canonical messages, bound to one network.

use crate::{Height, PartsHeader, Proposal, Round, Vote};
use alloy_primitives::{B256, hex, keccak256};
use prost::Message as _;
use tendermint_proto::v0_38::types::{CanonicalBlockId, CanonicalProposal, CanonicalVote};

/// Names one network in everything that is signed: `bttc-<chain id>-<first 32 hex digits of the genesis hash>`.
///
/// The genesis hash is part of it so that the votes of an abandoned network are not slashable on the one that
/// replaced it under the same chain id. 128 bits of it, so that nobody can grind a second network with the same name. For chain ids of
/// up to 12 digits the name has at most the 50 characters that Tendermint allows a chain id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningDomain {
    name: String,
}

impl SigningDomain {
    /// The domain of the network with this chain id and genesis block.
    pub fn new(chain_id: u64, genesis_hash: B256) -> Self {
        let digits = hex::encode(genesis_hash);
        let short: String = digits.chars().take(GENESIS_DIGITS).collect();
        Self { name: format!("bttc-{chain_id}-{short}") }
    }

    /// The name as it stands in the sign bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length-delimited `tendermint.types.CanonicalVote` without `part_set_header` and `timestamp`: all votes
    /// for one block sign the same bytes.
    pub fn vote_bytes(&self, vote: &Vote) -> Vec<u8> {
        CanonicalVote {
            r#type: i32::from(vote.kind.code()),
            height: signed(vote.height),
            round: i64::from(vote.round),
            block_id: vote.block_hash.map(block_id),
            timestamp: None,
            chain_id: self.name.clone(),
        }
        .encode_length_delimited_to_vec()
    }

    /// Keccak-256 of [`Self::vote_bytes`].
    pub fn vote_digest(&self, vote: &Vote) -> B256 {
        keccak256(self.vote_bytes(vote))
    }

    /// Length-delimited `tendermint.types.CanonicalProposal` without `part_set_header` and `timestamp`.
    pub fn proposal_bytes(&self, proposal: &Proposal) -> Vec<u8> {
        CanonicalProposal {
            r#type: PROPOSAL_TYPE,
            height: signed(proposal.height),
            round: i64::from(proposal.round),
            pol_round: proposal.pol_round.map_or(-1, i64::from),
            block_id: Some(block_id(proposal.block_hash)),
            timestamp: None,
            chain_id: self.name.clone(),
        }
        .encode_length_delimited_to_vec()
    }

    /// Keccak-256 of [`Self::proposal_bytes`].
    pub fn proposal_digest(&self, proposal: &Proposal) -> B256 {
        keccak256(self.proposal_bytes(proposal))
    }

    /// Keccak-256 of `name || height || round || block hash || number of parts || Merkle root of the parts`,
    /// numbers big endian: lets a part be checked before the proposal has arrived.
    pub fn parts_digest(&self, height: Height, round: Round, block_hash: B256, parts: &PartsHeader) -> B256 {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(b"bttc-parts:");
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&height.to_be_bytes());
        bytes.extend_from_slice(&round.to_be_bytes());
        bytes.extend_from_slice(block_hash.as_slice());
        bytes.extend_from_slice(&parts.total.to_be_bytes());
        bytes.extend_from_slice(parts.root.as_slice());
        keccak256(bytes)
    }

    /// What a validator signs to prove to a peer that it holds its consensus key: keccak of
    /// `"bttc-peer:" || name || 0 || peer id`.
    pub fn peer_digest(&self, peer_id: &[u8]) -> B256 {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(b"bttc-peer:");
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(peer_id);
        keccak256(bytes)
    }
}

/// Hex digits of the genesis hash in the name.
const GENESIS_DIGITS: usize = 32;

/// `SIGNED_MSG_TYPE_PROPOSAL`.
const PROPOSAL_TYPE: i32 = 32;

/// Heights are positive and far below 2^63 in every chain that can exist; the encoding's type is signed.
fn signed(height: Height) -> i64 {
    i64::try_from(height).unwrap_or(i64::MAX)
}

fn block_id(hash: B256) -> CanonicalBlockId {
    CanonicalBlockId { hash: hash.to_vec(), part_set_header: None }
}
