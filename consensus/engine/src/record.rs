//! What the write-ahead log holds, and its encoding.

use crate::Error;
use crate::context::{BlockId, CoreAddress, CoreHeight, CoreProposal, CoreVote, Ctx};
use crate::message::{CertificateVote, POLKA, RoundVotes};
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bttc_types::{Proposal, Signature, SignedVote, VoteKind};
use malachitebft_core_consensus::{Input, ProposedValue};
use malachitebft_core_types::{
    PolkaCertificate, PolkaSignature, Round, SignedMessage, Timeout, TimeoutKind, Validity, ValueOrigin,
};

/// A block that was found valid or not.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ValueRecord {
    /// Height.
    pub height: u64,
    /// Round of the proposal with which it came.
    pub round: u32,
    /// Its proposer.
    pub proposer: Address,
    /// Its hash.
    pub block_hash: B256,
    /// The application's judgement.
    pub valid: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
struct ProposalRecord {
    proposal: Proposal,
    signature: Signature,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalRecord {
    /// A verified vote, ours or another's.
    Vote(SignedVote),
    /// A verified proposal.
    Proposal(Proposal, Signature),
    /// A timeout of a round elapsed: 0 propose, 1 prevote, 2 precommit.
    Timeout {
        /// Which.
        kind: u8,
        /// Its round.
        round: u32,
    },
    /// A block was judged.
    Value(ValueRecord),
    /// Two thirds of prevotes for a block.
    Polka(RoundVotes),
    /// The bytes of a valid block.
    Block(Bytes),
    /// This key is about to sign a message with this digest: what the guard says next. A log without the last one has
    /// lost its end.
    Intent(B256),
}

/// First byte of an encoded [`WalRecord::Block`].
const BLOCK: u8 = 6;

impl WalRecord {
    /// One byte for the kind, then RLP.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Vote(vote) => {
                out.push(1);
                vote.encode(&mut out);
            }
            Self::Proposal(proposal, signature) => {
                out.push(2);
                ProposalRecord { proposal: proposal.clone(), signature: *signature }.encode(&mut out);
            }
            Self::Timeout { kind, round } => {
                out.extend_from_slice(&[3, *kind]);
                round.encode(&mut out);
            }
            Self::Value(value) => {
                out.push(4);
                value.encode(&mut out);
            }
            Self::Polka(votes) => {
                out.push(5);
                votes.encode(&mut out);
            }
            Self::Block(bytes) => {
                out.push(BLOCK);
                out.extend_from_slice(bytes);
            }
            Self::Intent(digest) => {
                out.push(7);
                out.extend_from_slice(digest.as_slice());
            }
        }
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { what: "write-ahead log record", reason };
        let rlp = |error: alloy_rlp::Error| malformed(error.to_string());
        let (kind, mut rest) = bytes.split_first().ok_or_else(|| malformed("it is empty".into()))?;
        let record = match *kind {
            1 => Self::Vote(SignedVote::decode(&mut rest).map_err(rlp)?),
            2 => {
                let record = ProposalRecord::decode(&mut rest).map_err(rlp)?;
                Self::Proposal(record.proposal, record.signature)
            }
            3 => {
                let (kind, tail) = rest.split_first().ok_or_else(|| malformed("a timeout without kind".into()))?;
                rest = tail;
                Self::Timeout { kind: *kind, round: u32::decode(&mut rest).map_err(rlp)? }
            }
            4 => Self::Value(ValueRecord::decode(&mut rest).map_err(rlp)?),
            5 => Self::Polka(RoundVotes::decode(&mut rest).map_err(rlp)?),
            BLOCK => return Ok(Self::Block(Bytes::copy_from_slice(rest))),
            7 => {
                let digest = B256::try_from(rest).map_err(|_| malformed("a digest has 32 bytes".into()))?;
                return Ok(Self::Intent(digest));
            }
            other => return Err(malformed(format!("unknown kind {other}"))),
        };
        if rest.is_empty() { Ok(record) } else { Err(malformed("trailing bytes".into())) }
    }

    /// The hash of the block that an encoded record holds; `None` when it holds something else.
    pub(crate) fn block_hash(bytes: &[u8]) -> Option<B256> {
        let (kind, block) = bytes.split_first()?;
        if *kind == BLOCK { bttc_types::block_hash_of(block).ok() } else { None }
    }

    /// The signature, if it is a vote or a proposal of this validator.
    pub(crate) fn signature_of(&self, validator: Address) -> Option<Signature> {
        match self {
            Self::Vote(vote) if vote.vote.validator == validator => Some(vote.signature),
            Self::Proposal(proposal, signature) if proposal.proposer == validator => Some(*signature),
            Self::Vote(_)
            | Self::Proposal(..)
            | Self::Timeout { .. }
            | Self::Value(_)
            | Self::Polka(_)
            | Self::Intent(_)
            | Self::Block(_) => None,
        }
    }

    /// The record for an input that the core wants logged; `None` for one that it never logs.
    pub(crate) fn from_input(input: &Input<Ctx>) -> Option<Self> {
        match input {
            Input::Vote(vote) => {
                Some(Self::Vote(SignedVote { vote: vote.message.to_vote()?, signature: vote.signature }))
            }
            Input::Proposal(proposal) => Some(Self::Proposal(proposal.message.to_proposal()?, proposal.signature)),
            Input::TimeoutElapsed(timeout) => Some(Self::Timeout {
                kind: match timeout.kind {
                    TimeoutKind::Propose => 0,
                    TimeoutKind::Prevote => 1,
                    TimeoutKind::Precommit => 2,
                    TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
                },
                round: timeout.round.as_u32()?,
            }),
            Input::ProposedValue(value, _) => Some(Self::Value(ValueRecord {
                height: value.height.0,
                round: value.round.as_u32()?,
                proposer: value.proposer.0,
                block_hash: value.value.0,
                valid: value.validity.is_valid(),
            })),
            Input::PolkaCertificate(certificate) => Some(Self::Polka(polka_votes(certificate)?)),
            Input::StartHeight(..) | Input::RoundCertificate(_) | Input::Propose(_) | Input::SyncValueResponse(_) => {
                None
            }
        }
    }

    /// The input to replay; `None` for records that are not the core's.
    pub(crate) fn into_input(self) -> Option<Input<Ctx>> {
        match self {
            Self::Vote(vote) => Some(Input::Vote(SignedMessage::new(CoreVote::from_vote(&vote.vote), vote.signature))),
            Self::Proposal(proposal, signature) => {
                Some(Input::Proposal(SignedMessage::new(CoreProposal::from_proposal(&proposal), signature)))
            }
            Self::Timeout { kind, round } => {
                let kind = match kind {
                    0 => TimeoutKind::Propose,
                    1 => TimeoutKind::Prevote,
                    2 => TimeoutKind::Precommit,
                    _ => return None,
                };
                Some(Input::TimeoutElapsed(Timeout::new(Round::new(round), kind)))
            }
            Self::Value(value) => Some(Input::ProposedValue(
                ProposedValue {
                    height: CoreHeight(value.height),
                    round: Round::new(value.round),
                    valid_round: Round::Nil,
                    proposer: CoreAddress(value.proposer),
                    value: BlockId(value.block_hash),
                    validity: if value.valid { Validity::Valid } else { Validity::Invalid },
                },
                ValueOrigin::Consensus,
            )),
            Self::Polka(votes) => polka_certificate(&votes).map(Input::PolkaCertificate),
            Self::Block(_) | Self::Intent(_) => None,
        }
    }
}

/// A polka certificate in our form.
pub(crate) fn polka_votes(certificate: &PolkaCertificate<Ctx>) -> Option<RoundVotes> {
    Some(RoundVotes {
        height: certificate.height.0,
        round: certificate.round.as_u32()?,
        kind: POLKA,
        votes: certificate
            .polka_signatures
            .iter()
            .map(|entry| CertificateVote {
                kind: VoteKind::Prevote,
                block_hash: Some(certificate.value_id.0),
                validator: entry.address.0,
                signature: entry.signature,
            })
            .collect(),
    })
}

/// A polka certificate in the core's form; `None` when the votes are not prevotes for one block.
pub(crate) fn polka_certificate(votes: &RoundVotes) -> Option<PolkaCertificate<Ctx>> {
    let block_hash = votes.votes.first()?.block_hash?;
    let uniform = votes.votes.iter().all(|vote| vote.kind == VoteKind::Prevote && vote.block_hash == Some(block_hash));
    if votes.kind != POLKA || !uniform {
        return None;
    }
    Some(PolkaCertificate {
        height: CoreHeight(votes.height),
        round: Round::new(votes.round),
        value_id: BlockId(block_hash),
        polka_signatures: votes
            .votes
            .iter()
            .map(|vote| PolkaSignature { address: CoreAddress(vote.validator), signature: vote.signature })
            .collect(),
    })
}
