//! Votes and proposals, signed and unsigned, as they travel and as the WAL keeps them.

use crate::{Error, Height, Mutant, PartsHeader, Round, Signature, SigningDomain};
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};

/// The two kinds of votes of the Tendermint algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoteKind {
    /// First phase: "this block is valid and I may vote for it".
    Prevote,
    /// Second phase: "two thirds said so".
    Precommit,
}

impl VoteKind {
    /// The number that stands for the kind in sign bytes and encodings (as in `SignedMsgType`).
    pub const fn code(self) -> u8 {
        match self {
            Self::Prevote => 1,
            Self::Precommit => 2,
        }
    }
}

impl Encodable for VoteKind {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.code().encode(out);
    }

    fn length(&self) -> usize {
        self.code().length()
    }
}

impl Decodable for VoteKind {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        match u8::decode(buf)? {
            1 => Ok(Self::Prevote),
            2 => Ok(Self::Precommit),
            _ => Err(alloy_rlp::Error::Custom("unknown vote kind")),
        }
    }
}

/// A vote for a block, or for none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// Height voted in.
    pub height: Height,
    /// Round voted in.
    pub round: Round,
    /// Hash of the block; `None` is a vote for nil.
    pub block_hash: Option<B256>,
    /// Address of the voter's consensus key.
    pub validator: Address,
}

/// How a choice travels: the 32 bytes of a block's hash, or an empty string for nil.
pub fn encode_choice(choice: Option<B256>) -> Bytes {
    choice.map(|hash| hash.0.into()).unwrap_or_default()
}

/// Reads what [`encode_choice`] wrote. No block hashes to zero, so a choice of zero is malformed: it must not pass for nil, nor
/// for a block.
///
/// # Errors
/// Another length, or zero.
pub fn decode_choice(bytes: &[u8]) -> alloy_rlp::Result<Option<B256>> {
    match bytes.len() {
        0 => Ok(None),
        32 => named_hash(B256::from_slice(bytes)).map(Some),
        _ => Err(alloy_rlp::Error::Custom("a vote's block hash has 0 or 32 bytes")),
    }
}

/// A hash that names a block.
fn named_hash(hash: B256) -> alloy_rlp::Result<B256> {
    if hash.is_zero() && !Mutant::ZeroHashTaken.active() {
        return Err(alloy_rlp::Error::Custom("no block hashes to zero"));
    }
    Ok(hash)
}

/// Wire form of [`Vote`]: nil travels as an empty string.
#[derive(RlpEncodable, RlpDecodable)]
struct VoteWire {
    kind: VoteKind,
    height: u64,
    round: u32,
    block_hash: Bytes,
    validator: Address,
}

impl Encodable for Vote {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.wire().encode(out);
    }

    fn length(&self) -> usize {
        self.wire().length()
    }
}

impl Vote {
    fn wire(&self) -> VoteWire {
        VoteWire {
            kind: self.kind,
            height: self.height,
            round: self.round,
            block_hash: encode_choice(self.block_hash),
            validator: self.validator,
        }
    }
}

impl Decodable for Vote {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let wire = VoteWire::decode(buf)?;
        let block_hash = decode_choice(&wire.block_hash)?;
        Ok(Self { kind: wire.kind, height: wire.height, round: wire.round, block_hash, validator: wire.validator })
    }
}

/// A vote with its signature over [`SigningDomain::vote_digest`].
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SignedVote {
    /// What was voted.
    pub vote: Vote,
    /// Who can prove it.
    pub signature: Signature,
}

impl SignedVote {
    /// Checks the signature against the vote's own validator address.
    ///
    /// # Errors
    /// As [`Signature::verify`].
    pub fn verify(&self, domain: &SigningDomain) -> Result<(), Error> {
        self.signature.verify(domain.vote_digest(&self.vote), self.vote.validator)
    }
}

/// The proposer's claim that a block should be decided in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Height proposed for.
    pub height: Height,
    /// Round proposed in.
    pub round: Round,
    /// Round in which two thirds prevoted this block before, if it is proposed again. Before `round`: another is malformed.
    pub pol_round: Option<Round>,
    /// Hash of the block.
    pub block_hash: B256,
    /// Address of the proposer's consensus key.
    pub proposer: Address,
}

#[derive(RlpEncodable, RlpDecodable)]
struct ProposalWire {
    height: u64,
    round: u32,
    /// `pol_round + 1`, 0 for none: RLP has no negative numbers.
    pol_round_plus_one: u64,
    block_hash: B256,
    proposer: Address,
}

impl Proposal {
    fn wire(&self) -> ProposalWire {
        ProposalWire {
            height: self.height,
            round: self.round,
            pol_round_plus_one: self.pol_round.map_or(0, |round| u64::from(round).saturating_add(1)),
            block_hash: self.block_hash,
            proposer: self.proposer,
        }
    }
}

impl Encodable for Proposal {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.wire().encode(out);
    }

    fn length(&self) -> usize {
        self.wire().length()
    }
}

impl Decodable for Proposal {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let wire = ProposalWire::decode(buf)?;
        let pol_round = match wire.pol_round_plus_one.checked_sub(1) {
            None => None,
            Some(round) => Some(
                Round::try_from(round).map_err(|_| alloy_rlp::Error::Custom("the proof-of-lock round overflows"))?,
            ),
        };
        // No node may find a proposal good that another finds malformed: whoever passes it on would be blamed.
        if pol_round.is_some_and(|pol_round| pol_round >= wire.round) {
            return Err(alloy_rlp::Error::Custom("the proof-of-lock round is not before the proposal's"));
        }
        Ok(Self {
            height: wire.height,
            round: wire.round,
            pol_round,
            block_hash: named_hash(wire.block_hash)?,
            proposer: wire.proposer,
        })
    }
}

/// A proposal with its signature over [`SigningDomain::proposal_digest`], and the signed announcement of the
/// parts in which the block travels.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SignedProposal {
    /// What is proposed.
    pub proposal: Proposal,
    /// The proposer's signature over the proposal.
    pub signature: Signature,
    /// How the block is cut into parts.
    pub parts: PartsHeader,
    /// The proposer's signature over [`SigningDomain::parts_digest`].
    pub parts_signature: Signature,
}

impl SignedProposal {
    /// Checks both signatures against the proposal's own proposer address.
    ///
    /// # Errors
    /// As [`Signature::verify`].
    pub fn verify(&self, domain: &SigningDomain) -> Result<(), Error> {
        let proposal = &self.proposal;
        self.signature.verify(domain.proposal_digest(proposal), proposal.proposer)?;
        let digest = domain.parts_digest(proposal.height, proposal.round, proposal.block_hash, &self.parts);
        self.parts_signature.verify(digest, proposal.proposer)
    }
}
