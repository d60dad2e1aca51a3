//! What a liar sends in place of its own votes, or along with them.

use super::{Audience, Byzantine, Lie, Means, values, wire};
use crate::fault::Fault;
use alloy_primitives::B256;
use bttc_engine::Message;
use bttc_types::{SignedVote, Vote, VoteKind};
use rand::Rng;
use rand::seq::IndexedRandom;

/// Round of the early vote for nil: as far ahead as a message of the next height may be.
const EARLY_ROUND: u32 = 10;

impl Byzantine {
    pub(super) fn lies_with_vote(&mut self, vote: &SignedVote, kind: Fault, means: &mut Means<'_>) -> Option<Vec<Lie>> {
        let original = (Audience::All, 0, Message::Vote(vote.clone()));
        let lies = match kind {
            Fault::DoubleVote | Fault::DoubleProposal => return Some(self.double_vote(vote, means)),
            Fault::Amnesia if vote.vote.block_hash.is_none() => {
                let hash = self.proposed_in(vote.vote.height, vote.vote.round)?;
                let vote = means.signed(Vote { block_hash: Some(hash), ..vote.vote.clone() });
                return Some(vec![(Audience::All, 0, Message::Vote(vote))]);
            }
            Fault::LateVotes => {
                let later = means.rng.random_range(300_000..10_000_000);
                return Some(vec![(Audience::All, later, Message::Vote(vote.clone()))]);
            }
            Fault::ZeroHash => {
                let vote = means.signed(Vote { block_hash: Some(B256::ZERO), ..vote.vote.clone() });
                return Some(vec![(Audience::All, 0, Message::Vote(vote))]);
            }
            Fault::VoteFlood => self.vote_flood(&vote.vote, means),
            Fault::HeightFlood => self.height_flood(&vote.vote, means),
            Fault::StaleReplay if !self.heard.is_empty() => self.replay(means)?,
            Fault::ForgedEvidence => {
                let evidence = self.forged_evidence(means)?;
                vec![(Audience::All, 0, Message::Evidence(Box::new(evidence)))]
            }
            Fault::SelfEvidence => self.self_evidence(vote.vote.height, means),
            Fault::ReSignedVote
            | Fault::ReSignedProposal
            | Fault::ReSignedPart
            | Fault::ReSignedCertificate
            | Fault::ReSignedEvidence => self.re_signed(vote, kind, means),
            _ => return None,
        };
        Some(std::iter::once(original).chain(lies).collect())
    }

    fn double_vote(&self, vote: &SignedVote, means: &mut Means<'_>) -> Vec<Lie> {
        let plain = &vote.vote;
        // All liars know of each other's second blocks, and back each block where it is heard first.
        if let Some((low, high)) = self.two_proposed_in(plain.height, plain.round) {
            let vote = |hash| Message::Vote(means.signed(Vote { block_hash: Some(hash), ..plain.clone() }));
            return vec![(Audience::Half(false), 0, vote(low)), (Audience::Half(true), 0, vote(high))];
        }
        let other = match plain.block_hash {
            Some(_) if means.rng.random_bool(0.5) => None,
            Some(hash) => {
                let found = self.proposed.iter().rev().find(|entry| entry.0 == plain.height && entry.2 != hash);
                Some(found.map_or_else(|| means.random_hash(), |entry| entry.2))
            }
            None => Some(self.proposed_in(plain.height, plain.round).unwrap_or_else(|| means.random_hash())),
        };
        let second = means.signed(Vote { block_hash: other, ..plain.clone() });
        vec![(Audience::Half(false), 0, Message::Vote(vote.clone())), (Audience::Half(true), 0, Message::Vote(second))]
    }

    fn vote_flood(&self, plain: &Vote, means: &mut Means<'_>) -> Vec<Lie> {
        let votes = (0..20).map(|_| {
            let round = plain.round.saturating_add(means.rng.random_range(0..40));
            let kind = if means.rng.random() { VoteKind::Prevote } else { VoteKind::Precommit };
            let block_hash = Some(means.random_hash());
            (Audience::All, 0, Message::Vote(means.signed(Vote { kind, round, block_hash, ..plain.clone() })))
        });
        votes.collect()
    }

    fn height_flood(&self, plain: &Vote, means: &mut Means<'_>) -> Vec<Lie> {
        let votes = (0..12).map(|_| {
            let height = values::number(plain.height, means.rng);
            let block_hash = Some(means.random_hash());
            (Audience::All, 0, Message::Vote(means.signed(Vote { height, block_hash, ..plain.clone() })))
        });
        votes.collect()
    }

    fn replay(&self, means: &mut Means<'_>) -> Option<Vec<Lie>> {
        let mut lies = Vec::new();
        for _ in 0..10 {
            let message = self.heard.get(means.rng.random_range(0..self.heard.len()))?.clone();
            lies.push((Audience::One, means.rng.random_range(0..1_000_000), message));
        }
        Some(lies)
    }

    /// Messages of one kind, its own and those it heard, each with one field changed.
    fn re_signed(&mut self, own: &SignedVote, kind: Fault, means: &mut Means<'_>) -> Vec<Lie> {
        let known: Vec<B256> = self.proposed.iter().map(|entry| entry.2).collect();
        let mut lies = Vec::new();
        for _ in 0..3 {
            let message = match kind {
                Fault::ReSignedVote => {
                    let heard = self.votes().choose(means.rng).map(|vote| (*vote).clone());
                    let base = heard.filter(|_| means.rng.random()).unwrap_or_else(|| own.clone());
                    Some(Message::Vote(wire::vote(base, &known, means)))
                }
                Fault::ReSignedProposal => {
                    let heard = self.heard.iter().rev().find_map(|message| match message {
                        Message::Proposal(proposal) => Some(proposal.clone()),
                        _ => None,
                    });
                    heard.map(|heard| Message::Proposal(wire::proposal(heard, &known, means)))
                }
                Fault::ReSignedPart => {
                    let heard = self.parts.back().cloned();
                    heard.map(|heard| Message::Part(Box::new(wire::part(heard, &known, means))))
                }
                Fault::ReSignedCertificate => {
                    let gathered = wire::gathered(&self.votes(), means.rng);
                    gathered.map(|votes| Message::RoundVotes(wire::round_votes(votes, means)))
                }
                _ => {
                    lies.push(self.re_signed_evidence(own.vote.height, &known, means));
                    None
                }
            };
            lies.extend(message.map(|message| (Audience::draw(means.rng), 0, message)));
        }
        lies
    }

    /// A vote for nil of the next height, in a round that commits it to nothing.
    pub fn early_vote(height: u64, means: &Means<'_>) -> Message {
        let validator = means.key.address();
        let height = height.saturating_add(1);
        let vote = Vote { kind: VoteKind::Prevote, height, round: EARLY_ROUND, block_hash: None, validator };
        Message::Vote(means.signed(vote))
    }
}
