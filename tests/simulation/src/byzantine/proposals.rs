//! What a liar sends in place of its own proposals and block parts.

use super::{Audience, Byzantine, Lie, Means, OtherBlock, cuts, wire};
use crate::fault::Fault;
use alloy_primitives::{Address, B256};
use bttc_engine::Message;
use bttc_types::{Part, PartsHeader, Proposal, ProvenBytes, SignedProposal, split_into_parts};
use rand::Rng;

impl Byzantine {
    pub(super) fn lies_with_proposal(
        &mut self,
        proposal: &SignedProposal,
        kind: Fault,
        means: &mut Means<'_>,
    ) -> Option<Vec<Lie>> {
        match kind {
            Fault::DoubleProposal => self.second_proposal(proposal, means),
            Fault::GarbageParts => Some(garbage(proposal, means)),
            Fault::TwoCuts => self.second_cut(proposal, means),
            // Its round fails, so that the others tell each other how it went.
            Fault::ZeroHash => Some(match means.rng.random_bool(0.3) {
                true => {
                    proposal_messages(&Proposal { block_hash: B256::ZERO, ..proposal.proposal.clone() }, &[], means)
                        .into_iter()
                        .map(|message| (Audience::All, 0, message))
                        .collect()
                }
                false => Vec::new(),
            }),
            Fault::ReSignedProposal => {
                let known: Vec<B256> = self.proposed.iter().map(|entry| entry.2).collect();
                let changed = wire::proposal(proposal.clone(), &known, means);
                let audience = Audience::draw(means.rng);
                let mut lies = vec![(audience, 0, Message::Proposal(changed))];
                if means.rng.random() {
                    lies.push((Audience::All, 0, Message::Proposal(proposal.clone())));
                }
                Some(lies)
            }
            _ => None,
        }
    }

    pub(super) fn lies_with_part(&mut self, part: &Part, kind: Fault, means: &mut Means<'_>) -> Option<Vec<Lie>> {
        let message = || Message::Part(Box::new(part.clone()));
        match kind {
            Fault::WithheldParts => Some(match means.rng.random_range(0..3) {
                0 => Vec::new(),
                1 => vec![(Audience::One, 0, message())],
                _ => vec![(Audience::Half(means.rng.random()), 0, message())],
            }),
            // The odd half gets the other block.
            Fault::DoubleProposal if self.has_other(part.height, part.round) => {
                let half = self.half_of(part.height, part.round, part.block_hash);
                Some(vec![(Audience::Half(half), 0, message())])
            }
            // The odd half gets the other cut.
            Fault::TwoCuts if self.has_other(part.height, part.round) => {
                Some(vec![(Audience::Half(false), 0, message())])
            }
            Fault::GarbageParts => Some(vec![(Audience::Half(false), 0, message())]),
            Fault::ZeroHash => Some(Vec::new()),
            Fault::ReSignedPart => {
                let changed = wire::part(part.clone(), &[], means);
                Some(vec![
                    (Audience::draw(means.rng), 0, Message::Part(Box::new(changed))),
                    (Audience::All, 0, message()),
                ])
            }
            _ => None,
        }
    }

    fn second_proposal(&mut self, proposal: &SignedProposal, means: &mut Means<'_>) -> Option<Vec<Lie>> {
        let plain = &proposal.proposal;
        let other = self.other.clone().filter(|other| (other.height, other.round) == (plain.height, plain.round))?;
        let half = self.half_of(plain.height, plain.round, plain.block_hash);
        let mut lies = vec![(Audience::Half(half), 0, Message::Proposal(proposal.clone()))];
        let mine = Proposal { block_hash: other.hash, ..plain.clone() };
        lies.extend(proposal_messages(&mine, &other.bytes, means).into_iter().map(|m| (Audience::Half(!half), 0, m)));
        Some(lies)
    }

    /// The odd half gets the same block in smaller parts.
    fn second_cut(&mut self, proposal: &SignedProposal, means: &mut Means<'_>) -> Option<Vec<Lie>> {
        let plain = &proposal.proposal;
        let block = self
            .other
            .clone()
            .filter(|other| (other.height, other.round, other.hash) == (plain.height, plain.round, plain.block_hash))?;
        let mut lies = vec![(Audience::Half(false), 0, Message::Proposal(proposal.clone()))];
        let messages = announced(plain, cuts::cut_smaller(&block.bytes), means);
        lies.extend(messages.into_iter().map(|message| (Audience::Half(true), 0, message)));
        Some(lies)
    }

    /// A proposal of its own block although it is not its turn, under its own name or the proposer's.
    pub fn usurp(other: &OtherBlock, proposer: Address, means: &Means<'_>) -> Vec<Message> {
        let proposal =
            Proposal { height: other.height, round: other.round, pol_round: None, block_hash: other.hash, proposer };
        proposal_messages(&proposal, &other.bytes, means)
    }
}

/// A proposal with its parts, signed.
fn proposal_messages(proposal: &Proposal, bytes: &[u8], means: &Means<'_>) -> Vec<Message> {
    split_into_parts(bytes).map_or_else(|_| Vec::new(), |cut| announced(proposal, cut, means))
}

fn announced(proposal: &Proposal, (header, parts): (PartsHeader, Vec<ProvenBytes>), means: &Means<'_>) -> Vec<Message> {
    let (height, round, block_hash) = (proposal.height, proposal.round, proposal.block_hash);
    let signature = means.key.sign(means.domain.parts_digest(height, round, block_hash, &header));
    let mut messages = vec![Message::Proposal(SignedProposal {
        proposal: proposal.clone(),
        signature: means.key.sign(means.domain.proposal_digest(proposal)),
        parts: header,
        parts_signature: signature,
    })];
    for (index, (bytes, proof)) in (0u32..).zip(parts) {
        let part = Part { height, round, block_hash, header, signature, index, bytes, proof };
        messages.push(Message::Part(Box::new(part)));
    }
    messages
}

/// The odd half gets an announcement of parts that are no block.
fn garbage(proposal: &SignedProposal, means: &mut Means<'_>) -> Vec<Lie> {
    let mut bytes = vec![0u8; means.rng.random_range(1..150_000)];
    means.rng.fill(bytes.as_mut_slice());
    let mut lies = vec![(Audience::Half(false), 0, Message::Proposal(proposal.clone()))];
    let messages = proposal_messages(&proposal.proposal, &bytes, means);
    lies.extend(messages.into_iter().map(|message| (Audience::Half(true), 0, message)));
    lies
}
