//! Proof that a validator signed two different things for one height, round and step.

use crate::{Error, Proposal, Signature, SignedVote, SigningDomain};
use alloy_primitives::{Address, B256, keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable, RlpDecodable, RlpEncodable};

/// Two conflicting messages of one validator. The pair is kept in the order of its digests, so that the same
/// offence has one encoding and one hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Two votes of one kind for one height and round.
    Votes(Box<[SignedVote; 2]>),
    /// Two proposals for one height and round.
    Proposals(Box<[(Proposal, Signature); 2]>),
}

#[derive(RlpEncodable, RlpDecodable)]
struct SignedProposalWire {
    proposal: Proposal,
    signature: Signature,
}

impl Evidence {
    /// Evidence from two votes, in canonical order.
    pub fn from_votes(a: SignedVote, b: SignedVote, domain: &SigningDomain) -> Self {
        let ordered = domain.vote_digest(&a.vote) <= domain.vote_digest(&b.vote);
        Self::Votes(Box::new(if ordered { [a, b] } else { [b, a] }))
    }

    /// Evidence from two proposals, in canonical order.
    pub fn from_proposals(a: (Proposal, Signature), b: (Proposal, Signature), domain: &SigningDomain) -> Self {
        let ordered = domain.proposal_digest(&a.0) <= domain.proposal_digest(&b.0);
        Self::Proposals(Box::new(if ordered { [a, b] } else { [b, a] }))
    }

    /// Height of the offence.
    pub fn height(&self) -> u64 {
        match self {
            Self::Votes(pair) => {
                let [first, _] = pair.as_ref();
                first.vote.height
            }
            Self::Proposals(pair) => {
                let [(first, _), _] = pair.as_ref();
                first.height
            }
        }
    }

    /// Address that the messages claim as their signer.
    pub fn validator(&self) -> Address {
        match self {
            Self::Votes(pair) => {
                let [first, _] = pair.as_ref();
                first.vote.validator
            }
            Self::Proposals(pair) => {
                let [(first, _), _] = pair.as_ref();
                first.proposer
            }
        }
    }

    /// Checks that the two messages conflict, are in canonical order and were signed by one key. Whether that key
    /// was a validator at that height is for the caller, who knows the set.
    ///
    /// # Errors
    /// [`Error::NoEvidence`] or a signature error.
    pub fn verify(&self, domain: &SigningDomain) -> Result<(), Error> {
        let (digests, signatures, signer, same_slot) = match self {
            Self::Votes(pair) => {
                let [a, b] = pair.as_ref();
                let same = (a.vote.kind, a.vote.height, a.vote.round, a.vote.validator)
                    == (b.vote.kind, b.vote.height, b.vote.round, b.vote.validator);
                let digests = [domain.vote_digest(&a.vote), domain.vote_digest(&b.vote)];
                (digests, [a.signature, b.signature], a.vote.validator, same)
            }
            Self::Proposals(pair) => {
                let [(a, a_signature), (b, b_signature)] = pair.as_ref();
                let same = (a.height, a.round, a.proposer) == (b.height, b.round, b.proposer);
                let digests = [domain.proposal_digest(a), domain.proposal_digest(b)];
                (digests, [*a_signature, *b_signature], a.proposer, same)
            }
        };
        if !same_slot {
            return Err(Error::NoEvidence("they are for different heights, rounds, steps or validators"));
        }
        let [first, second] = &digests;
        match first.cmp(second) {
            std::cmp::Ordering::Equal => return Err(Error::NoEvidence("they say the same")),
            std::cmp::Ordering::Greater => return Err(Error::NoEvidence("they are not in canonical order")),
            std::cmp::Ordering::Less => {}
        }
        for (digest, signature) in digests.into_iter().zip(signatures) {
            signature.verify(digest, signer)?;
        }
        Ok(())
    }

    /// Identity of the offence, for deduplication.
    pub fn hash(&self) -> B256 {
        keccak256(alloy_rlp::encode(self))
    }
}

impl Encodable for Evidence {
    fn encode(&self, out: &mut dyn BufMut) {
        let mut payload = Vec::new();
        match self {
            Self::Votes(pair) => {
                1u8.encode(&mut payload);
                for vote in pair.iter() {
                    vote.encode(&mut payload);
                }
            }
            Self::Proposals(pair) => {
                2u8.encode(&mut payload);
                for (proposal, signature) in pair.iter() {
                    SignedProposalWire { proposal: proposal.clone(), signature: *signature }.encode(&mut payload);
                }
            }
        }
        alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(out);
        out.put_slice(&payload);
    }
}

impl Decodable for Evidence {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let mut payload = alloy_rlp::Header::decode_bytes(buf, true)?;
        let evidence = match u8::decode(&mut payload)? {
            1 => Self::Votes(Box::new([SignedVote::decode(&mut payload)?, SignedVote::decode(&mut payload)?])),
            2 => {
                let mut next = || SignedProposalWire::decode(&mut payload).map(|wire| (wire.proposal, wire.signature));
                Self::Proposals(Box::new([next()?, next()?]))
            }
            _ => return Err(alloy_rlp::Error::Custom("unknown kind of evidence")),
        };
        if payload.is_empty() {
            Ok(evidence)
        } else {
            Err(alloy_rlp::Error::ListLengthMismatch { expected: 0, got: payload.len() })
        }
    }
}
