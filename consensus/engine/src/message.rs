//! What validators tell each other, and its encoding.

use crate::Error;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bttc_types::{
    Certificate, Evidence, Height, MAX_VALIDATORS, Mutant, Part, Round, Signature, SignedProposal, SignedVote,
    VoteKind, decode_choice, encode_choice,
};

/// A signature in a polka or round certificate, with what it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateVote {
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// The block voted for; `None` is a vote for nil.
    pub block_hash: Option<B256>,
    /// Who voted.
    pub validator: Address,
    /// The signature.
    pub signature: Signature,
}

/// Wire form of [`CertificateVote`]: nil travels as an empty string.
#[derive(RlpEncodable, RlpDecodable)]
struct CertificateVoteWire {
    kind: VoteKind,
    block_hash: Bytes,
    validator: Address,
    signature: Signature,
}

impl CertificateVote {
    fn wire(&self) -> CertificateVoteWire {
        // With the mutant, nil is the zero hash, as if no vote could name that.
        let choice =
            if Mutant::ZeroHashTaken.active() { Some(self.block_hash.unwrap_or_default()) } else { self.block_hash };
        let (kind, validator, signature) = (self.kind, self.validator, self.signature);
        CertificateVoteWire { kind, block_hash: encode_choice(choice), validator, signature }
    }
}

impl Encodable for CertificateVote {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.wire().encode(out);
    }

    fn length(&self) -> usize {
        self.wire().length()
    }
}

impl Decodable for CertificateVote {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let wire = CertificateVoteWire::decode(buf)?;
        let choice = decode_choice(&wire.block_hash)?;
        let block_hash = choice.filter(|hash| !hash.is_zero());
        Ok(Self { kind: wire.kind, block_hash, validator: wire.validator, signature: wire.signature })
    }
}

/// Votes of one round that let a node that missed them move on.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct RoundVotes {
    /// Height.
    pub height: Height,
    /// Round.
    pub round: Round,
    /// 0: prevotes of two thirds for one block (polka); 1: precommits of two thirds; 2: any votes of one third
    /// (skip).
    pub kind: u8,
    /// The votes.
    pub votes: Vec<CertificateVote>,
}

/// [`RoundVotes::kind`] of a polka.
pub(crate) const POLKA: u8 = 0;
/// [`RoundVotes::kind`] of a precommit round certificate.
pub(crate) const PRECOMMITS: u8 = 1;
/// [`RoundVotes::kind`] of a skip round certificate.
pub(crate) const SKIP: u8 = 2;

/// A message between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A vote.
    Vote(SignedVote),
    /// A proposal and how its block is cut.
    Proposal(SignedProposal),
    /// A piece of a proposed block.
    Part(Box<Part>),
    /// Votes of a round.
    RoundVotes(RoundVotes),
    /// Proof of misbehaviour.
    Evidence(Box<Evidence>),
}

/// A block with the certificate that made it final, as sync delivers it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct CertifiedBlock {
    /// The encoded block.
    pub block: Bytes,
    /// Its certificate.
    pub certificate: Certificate,
}

impl Message {
    /// The height it is about.
    pub fn height(&self) -> Height {
        match self {
            Self::Vote(vote) => vote.vote.height,
            Self::Proposal(proposal) => proposal.proposal.height,
            Self::Part(part) => part.height,
            Self::RoundVotes(votes) => votes.height,
            Self::Evidence(evidence) => evidence.height(),
        }
    }

    /// One byte for the kind, then RLP.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Vote(vote) => {
                out.push(1);
                vote.encode(&mut out);
            }
            Self::Proposal(proposal) => {
                out.push(2);
                proposal.encode(&mut out);
            }
            Self::Part(part) => {
                out.push(3);
                part.encode(&mut out);
            }
            Self::RoundVotes(votes) => {
                out.push(4);
                votes.encode(&mut out);
            }
            Self::Evidence(evidence) => {
                out.push(5);
                evidence.encode(&mut out);
            }
        }
        out
    }

    /// Decodes a message that fills `bytes` exactly. Signatures are not checked here.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { what: "consensus message", reason };
        let (kind, mut rest) = bytes.split_first().ok_or_else(|| malformed("it is empty".into()))?;
        let rlp = |error: alloy_rlp::Error| malformed(error.to_string());
        let message = match kind {
            1 => Self::Vote(SignedVote::decode(&mut rest).map_err(rlp)?),
            2 => Self::Proposal(SignedProposal::decode(&mut rest).map_err(rlp)?),
            3 => Self::Part(Box::new(Part::decode(&mut rest).map_err(rlp)?)),
            4 => {
                let votes = RoundVotes::decode(&mut rest).map_err(rlp)?;
                // Two votes of each validator are the most that a certificate can hold.
                if votes.votes.len() > 2 * MAX_VALIDATORS || votes.kind > SKIP {
                    return Err(malformed("a round certificate of unknown kind or with too many votes".into()));
                }
                Self::RoundVotes(votes)
            }
            5 => Self::Evidence(Box::new(Evidence::decode(&mut rest).map_err(rlp)?)),
            other => return Err(malformed(format!("unknown kind {other}"))),
        };
        if rest.is_empty() { Ok(message) } else { Err(malformed("trailing bytes".into())) }
    }
}

/// A request for certified blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct BlocksRequest {
    /// First height.
    pub from: Height,
    /// How many, at most [`crate::SYNC_BATCH`].
    pub count: u64,
}

impl BlocksRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode_exact(mut bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { what: "block request", reason };
        let request = Self::decode(&mut bytes).map_err(|error| malformed(error.to_string()))?;
        if !bytes.is_empty() || request.count == 0 || request.count > crate::SYNC_BATCH {
            return Err(malformed("trailing bytes or a count out of range".into()));
        }
        Ok(request)
    }
}

/// Encodes the answer to a [`BlocksRequest`].
pub fn encode_blocks(blocks: &[CertifiedBlock]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::encode_list::<CertifiedBlock, CertifiedBlock>(blocks, &mut out);
    out
}

/// Reads the answer to a [`BlocksRequest`].
///
/// # Errors
/// [`Error::Malformed`].
pub fn decode_blocks(mut bytes: &[u8]) -> Result<Vec<CertifiedBlock>, Error> {
    let malformed = |reason: String| Error::Malformed { what: "answer to a block request", reason };
    let blocks = Vec::<CertifiedBlock>::decode(&mut bytes).map_err(|error| malformed(error.to_string()))?;
    if bytes.is_empty() { Ok(blocks) } else { Err(malformed("trailing bytes".into())) }
}
