//! Validators that break the protocol: what they send instead of what their engine wants sent.

use crate::fault::Fault;
use alloy_primitives::{B256, Bytes};
use bttc_engine::{CertifiedBlock, Message};
use bttc_types::{
    Certificate, Evidence, Part, Proposal, Round, SecretKey, SignedProposal, SignedVote, SigningDomain, Vote, VoteKind,
    split_into_parts,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;

/// Messages of others that are remembered.
const REMEMBERED: usize = 200;

/// A second block that was built for a round.
#[derive(Clone, Debug)]
pub struct OtherBlock {
    /// Height.
    pub height: u64,
    /// Round.
    pub round: Round,
    /// Hash.
    pub hash: B256,
    /// Encoded.
    pub bytes: std::sync::Arc<[u8]>,
}

/// A liar's state.
#[derive(Debug, Default)]
pub struct Byzantine {
    /// What it does at the moment.
    pub kind: Option<Fault>,
    /// Its second block.
    pub other: Option<OtherBlock>,
    /// Blocks proposed at this height and round, as heard.
    pub proposed: Vec<(u64, Round, B256)>,
    /// Messages heard.
    pub heard: VecDeque<Message>,
}

/// Who gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All peers.
    All,
    /// Peers with even numbers, or with odd ones.
    Half(bool),
    /// One peer at random.
    One,
}

/// A message to be sent, to whom, and how much later (microseconds).
pub type Lie = (Audience, u64, Message);

impl Byzantine {
    /// Remembers a message that was heard or sent.
    pub fn hear(&mut self, message: &Message) {
        if let Message::Proposal(proposal) = message {
            let plain = &proposal.proposal;
            self.proposed.push((plain.height, plain.round, plain.block_hash));
            if self.proposed.len() > 50 {
                self.proposed.remove(0);
            }
        }
        if !matches!(message, Message::Part(_)) {
            self.heard.push_back(message.clone());
            if self.heard.len() > REMEMBERED {
                self.heard.pop_front();
            }
        }
    }

    fn proposed_in(&self, height: u64, round: Round) -> Option<B256> {
        let mut found = self.proposed.iter().rev().filter(|(of, _, _)| *of == height);
        found.clone().find(|(_, of, _)| *of == round).or_else(|| found.next()).map(|(_, _, hash)| *hash)
    }

    /// The two blocks proposed in a round, the one with the lower hash first.
    fn two_proposed_in(&self, height: u64, round: Round) -> Option<(B256, B256)> {
        let found = self.proposed.iter().filter(|entry| (entry.0, entry.1) == (height, round)).map(|entry| entry.2);
        let mut hashes: Vec<B256> = found.collect();
        hashes.sort_unstable();
        hashes.dedup();
        match hashes.as_slice() {
            [low, .., high] => Some((*low, *high)),
            _ => None,
        }
    }

    /// Whose half hears first of a block of ours: the lower hash goes to the even half.
    fn half_of(&self, height: u64, round: Round, hash: B256) -> bool {
        self.two_proposed_in(height, round).is_some_and(|(low, _)| low != hash)
    }

    /// What is sent instead of a message of its own engine; and whether a lie was told.
    pub fn instead(
        &mut self,
        message: Message,
        key: &SecretKey,
        domain: &SigningDomain,
        rng: &mut ChaCha8Rng,
    ) -> (Vec<Lie>, bool) {
        let honest = |message: Message| (vec![(Audience::All, 0, message)], false);
        let Some(kind) = self.kind else { return honest(message) };
        let own_vote = matches!(&message, Message::Vote(vote) if vote.vote.validator == key.address());
        let lies = match (&message, kind) {
            (Message::Vote(vote), _) if own_vote => self.lies_with_vote(vote, kind, key, domain, rng),
            (Message::Proposal(proposal), Fault::DoubleProposal) => self.second_proposal(proposal, key, domain),
            (Message::Proposal(proposal), Fault::GarbageParts) => Some(garbage(proposal, key, domain, rng)),
            (Message::Part(_), Fault::WithheldParts) => match rng.random_range(0..3) {
                0 => Some(Vec::new()),
                1 => Some(vec![(Audience::One, 0, message.clone())]),
                _ => Some(vec![(Audience::Half(rng.random()), 0, message.clone())]),
            },
            // The odd half gets the other block.
            (Message::Part(part), Fault::DoubleProposal) if self.has_other(part.height, part.round) => {
                let half = self.half_of(part.height, part.round, part.block_hash);
                Some(vec![(Audience::Half(half), 0, message.clone())])
            }
            (Message::Part(_), Fault::GarbageParts) => Some(vec![(Audience::Half(false), 0, message.clone())]),
            _ => None,
        };
        match lies {
            Some(lies) => (lies, true),
            None => honest(message),
        }
    }

    fn has_other(&self, height: u64, round: Round) -> bool {
        self.other.as_ref().is_some_and(|other| (other.height, other.round) == (height, round))
    }

    fn lies_with_vote(
        &mut self,
        vote: &SignedVote,
        kind: Fault,
        key: &SecretKey,
        domain: &SigningDomain,
        rng: &mut ChaCha8Rng,
    ) -> Option<Vec<Lie>> {
        let plain = &vote.vote;
        let original = Message::Vote(vote.clone());
        let signed = |vote: Vote| {
            let signature = key.sign(domain.vote_digest(&vote));
            Message::Vote(SignedVote { vote, signature })
        };
        let random_hash = |rng: &mut ChaCha8Rng| Some(B256::from(rng.random::<[u8; 32]>()));
        match kind {
            Fault::DoubleVote | Fault::DoubleProposal => {
                // All liars know of each other's second blocks, and back each block where it is heard first.
                if let Some((low, high)) = self.two_proposed_in(plain.height, plain.round) {
                    let vote = |hash| signed(Vote { block_hash: Some(hash), ..plain.clone() });
                    return Some(vec![(Audience::Half(false), 0, vote(low)), (Audience::Half(true), 0, vote(high))]);
                }
                let other = match plain.block_hash {
                    Some(_) if rng.random_bool(0.5) => None,
                    Some(hash) => {
                        let found = self.proposed.iter().rev().find(|entry| entry.0 == plain.height && entry.2 != hash);
                        found.map(|entry| entry.2).or_else(|| random_hash(rng))
                    }
                    None => self.proposed_in(plain.height, plain.round).or_else(|| random_hash(rng)),
                };
                let second = signed(Vote { block_hash: other, ..plain.clone() });
                Some(vec![(Audience::Half(false), 0, original), (Audience::Half(true), 0, second)])
            }
            Fault::Amnesia if plain.block_hash.is_none() => {
                let hash = self.proposed_in(plain.height, plain.round)?;
                Some(vec![(Audience::All, 0, signed(Vote { block_hash: Some(hash), ..plain.clone() }))])
            }
            Fault::LateVotes => Some(vec![(Audience::All, rng.random_range(300_000..10_000_000), original)]),
            Fault::VoteFlood => {
                let mut lies = vec![(Audience::All, 0, original)];
                for _ in 0..20 {
                    let round = plain.round.saturating_add(rng.random_range(0..40));
                    let kind = if rng.random() { VoteKind::Prevote } else { VoteKind::Precommit };
                    let block_hash = random_hash(rng);
                    lies.push((Audience::All, 0, signed(Vote { kind, round, block_hash, ..plain.clone() })));
                }
                Some(lies)
            }
            Fault::HeightFlood => {
                let mut lies = vec![(Audience::All, 0, original)];
                for _ in 0..12 {
                    let height = match rng.random_range(0..6) {
                        0 => 0,
                        1 => u64::MAX,
                        2 => plain.height.saturating_add(1),
                        3 => plain.height.saturating_sub(1),
                        _ => rng.random(),
                    };
                    let block_hash = random_hash(rng);
                    lies.push((Audience::All, 0, signed(Vote { height, block_hash, ..plain.clone() })));
                }
                Some(lies)
            }
            Fault::StaleReplay if !self.heard.is_empty() => {
                let mut lies = vec![(Audience::All, 0, original)];
                for _ in 0..10 {
                    let message = self.heard.get(rng.random_range(0..self.heard.len()))?.clone();
                    lies.push((Audience::One, rng.random_range(0..1_000_000), message));
                }
                Some(lies)
            }
            Fault::ForgedEvidence => {
                let victims = self.heard.iter().filter_map(|message| match message {
                    Message::Vote(heard) if heard.vote.validator != key.address() => Some(heard.clone()),
                    _ => None,
                });
                let victims: Vec<SignedVote> = victims.collect();
                let victim = victims.get(rng.random_range(0..victims.len().max(1)))?.clone();
                // Our own signature, or the victim's from elsewhere, under a vote that it never cast.
                let vote = Vote { block_hash: random_hash(rng), ..victim.vote.clone() };
                let signature = if rng.random() { key.sign(domain.vote_digest(&vote)) } else { victim.signature };
                let forged = SignedVote { vote, signature };
                let evidence = Evidence::from_votes(victim, forged, domain);
                Some(vec![(Audience::All, 0, original), (Audience::All, 0, Message::Evidence(Box::new(evidence)))])
            }
            _ => None,
        }
    }

    fn second_proposal(
        &mut self,
        proposal: &SignedProposal,
        key: &SecretKey,
        domain: &SigningDomain,
    ) -> Option<Vec<Lie>> {
        let plain = &proposal.proposal;
        let other = self.other.clone().filter(|other| (other.height, other.round) == (plain.height, plain.round))?;
        let half = self.half_of(plain.height, plain.round, plain.block_hash);
        let mut lies = vec![(Audience::Half(half), 0, Message::Proposal(proposal.clone()))];
        let mine = Proposal { block_hash: other.hash, ..plain.clone() };
        lies.extend(
            proposal_messages(&mine, &other.bytes, key, domain).into_iter().map(|m| (Audience::Half(!half), 0, m)),
        );
        Some(lies)
    }

    /// A proposal of its own block although it is not its turn, under its own name or the proposer's.
    pub fn usurp(
        &self,
        other: &OtherBlock,
        proposer: alloy_primitives::Address,
        key: &SecretKey,
        domain: &SigningDomain,
    ) -> Vec<Message> {
        let proposal =
            Proposal { height: other.height, round: other.round, pol_round: None, block_hash: other.hash, proposer };
        proposal_messages(&proposal, &other.bytes, key, domain)
    }

    /// What a request for blocks is answered with instead of these.
    pub fn lie_about_blocks(&self, blocks: &mut Vec<CertifiedBlock>, rng: &mut ChaCha8Rng) {
        match rng.random_range(0..9) {
            // Too few signatures.
            0 => {
                for block in blocks.iter_mut() {
                    block.certificate.signatures.truncate(1);
                }
            }
            // Another block under a good certificate.
            1 => {
                for block in blocks.iter_mut() {
                    let mut bytes = block.block.to_vec();
                    if let Some(byte) = bytes.last_mut() {
                        *byte ^= 1;
                    }
                    block.block = bytes.into();
                }
            }
            // A hole.
            2..=5 if blocks.len() > 1 => {
                blocks.remove(rng.random_range(0..blocks.len() - 1));
            }
            6 => blocks.reverse(),
            7 => blocks.clear(),
            // A certificate of its own making.
            _ => {
                for block in blocks.iter_mut() {
                    let certificate = &block.certificate;
                    block.certificate =
                        Certificate { block_hash: B256::from(rng.random::<[u8; 32]>()), ..certificate.clone() };
                }
            }
        }
    }
}

/// A proposal with its parts, signed.
fn proposal_messages(proposal: &Proposal, bytes: &[u8], key: &SecretKey, domain: &SigningDomain) -> Vec<Message> {
    let Ok((header, parts)) = split_into_parts(bytes) else { return Vec::new() };
    let (height, round, block_hash) = (proposal.height, proposal.round, proposal.block_hash);
    let signature = key.sign(domain.parts_digest(height, round, block_hash, &header));
    let mut messages = vec![Message::Proposal(SignedProposal {
        proposal: proposal.clone(),
        signature: key.sign(domain.proposal_digest(proposal)),
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
fn garbage(proposal: &SignedProposal, key: &SecretKey, domain: &SigningDomain, rng: &mut ChaCha8Rng) -> Vec<Lie> {
    let mut bytes = vec![0u8; rng.random_range(1..150_000)];
    rng.fill(bytes.as_mut_slice());
    let bytes = Bytes::from(bytes);
    let mut lies = vec![(Audience::Half(false), 0, Message::Proposal(proposal.clone()))];
    let messages = proposal_messages(&proposal.proposal, &bytes, key, domain);
    lies.extend(messages.into_iter().map(|message| (Audience::Half(true), 0, message)));
    lies
}
