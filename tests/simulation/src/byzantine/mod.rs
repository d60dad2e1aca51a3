//! Validators that break the protocol: what they send instead of what their engine wants sent.
//!
//! A liar runs the node's own engine; what it would publish passes through [`Byzantine::instead`], and blocks that it
//! builds or serves pass through [`block`] and [`sync`]. All liars know of each other's blocks and plans.

pub mod block;
mod cuts;
mod evidence;
mod proposals;
pub mod sync;
pub mod values;
mod votes;
mod wire;

use crate::fault::Fault;
use alloy_primitives::{Address, B256};
use bttc_engine::Message;
use bttc_types::{Part, Round, SecretKey, SignedVote, SigningDomain, Vote};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages of others that are remembered.
const REMEMBERED: usize = 200;

/// Block parts of others that are remembered.
const REMEMBERED_PARTS: usize = 4;

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
    pub bytes: Arc<[u8]>,
}

/// What liars agreed on: a block that whoever of them proposes next proposes again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The block, with the height and round in which it was proposed first.
    pub block: OtherBlock,
    /// The height at which it is proposed again.
    pub again: u64,
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
    /// Block parts heard.
    pub parts: VecDeque<Part>,
    /// Makes what it signs differ each time.
    pub serial: u64,
}

/// What a liar signs with and draws from.
#[derive(Debug)]
pub struct Means<'a> {
    /// Its key.
    pub key: &'a SecretKey,
    /// The network's signing domain.
    pub domain: &'a SigningDomain,
    /// Everybody's keys.
    pub members: &'a [Address],
    /// The run's randomness.
    pub rng: &'a mut ChaCha8Rng,
}

impl Means<'_> {
    /// A vote, signed with this key.
    pub fn signed(&self, vote: Vote) -> SignedVote {
        let signature = self.key.sign(self.domain.vote_digest(&vote));
        SignedVote { vote, signature }
    }

    /// A hash of nothing known.
    pub fn random_hash(&mut self) -> B256 {
        B256::from(self.rng.random::<[u8; 32]>())
    }
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

impl Audience {
    /// One of them.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..4) {
            0 => Self::One,
            1 => Self::Half(rng.random()),
            _ => Self::All,
        }
    }
}

/// A message to be sent, to whom, and how much later (microseconds).
pub type Lie = (Audience, u64, Message);

impl Byzantine {
    /// Remembers a message that was heard or sent.
    pub fn hear(&mut self, message: &Message) {
        match message {
            Message::Part(part) => {
                self.parts.push_back((**part).clone());
                if self.parts.len() > REMEMBERED_PARTS {
                    self.parts.pop_front();
                }
                return;
            }
            Message::Proposal(proposal) => {
                let plain = &proposal.proposal;
                self.proposed.push((plain.height, plain.round, plain.block_hash));
                if self.proposed.len() > 50 {
                    self.proposed.remove(0);
                }
            }
            Message::Vote(_) | Message::RoundVotes(_) | Message::Evidence(_) => {}
        }
        self.heard.push_back(message.clone());
        if self.heard.len() > REMEMBERED {
            self.heard.pop_front();
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

    fn has_other(&self, height: u64, round: Round) -> bool {
        self.other.as_ref().is_some_and(|other| (other.height, other.round) == (height, round))
    }

    /// The votes that were heard.
    fn votes(&self) -> Vec<&SignedVote> {
        let votes = self.heard.iter().filter_map(|message| match message {
            Message::Vote(vote) => Some(vote),
            _ => None,
        });
        votes.collect()
    }

    /// What is sent instead of a message of its own engine; and whether a lie was told.
    pub fn instead(&mut self, message: Message, means: &mut Means<'_>) -> (Vec<Lie>, bool) {
        let Some(kind) = self.kind else { return (vec![(Audience::All, 0, message)], false) };
        let lies = match &message {
            Message::Vote(vote) if vote.vote.validator == means.key.address() => self.lies_with_vote(vote, kind, means),
            Message::Proposal(proposal) => self.lies_with_proposal(proposal, kind, means),
            Message::Part(part) => self.lies_with_part(part, kind, means),
            Message::RoundVotes(votes) if kind == Fault::ReSignedCertificate => {
                Some(vec![(Audience::draw(means.rng), 0, Message::RoundVotes(wire::round_votes(votes.clone(), means)))])
            }
            Message::Vote(_) | Message::RoundVotes(_) | Message::Evidence(_) => None,
        };
        match lies {
            Some(lies) => (lies, true),
            None => (vec![(Audience::All, 0, message)], false),
        }
    }
}
