//! Messages of the next height that came before it started.

use crate::message::Message;
use alloy_primitives::Address;
use bttc_types::{Height, MAX_PARTS, MAX_VALIDATORS, Round};
use std::collections::{BTreeMap, BTreeSet};

/// Messages that are kept. Each was verified, so a peer alone cannot fill this; the bounds are for a faulty validator.
pub(super) const MAX_EARLY_MESSAGES: usize = 8 * MAX_VALIDATORS + 2 * MAX_PARTS as usize;

/// Of these, of rounds after the first: whoever fills them keeps nobody's messages of round 0 out.
const MAX_OF_LATER_ROUNDS: usize = MAX_EARLY_MESSAGES / 4;

/// Messages of one signer, kind and round that are kept.
const SHARE: usize = 2;

/// Height, round, what it is, who signed it or which piece it is. Proposals come before parts, and parts before votes.
type Key = (Height, Round, u8, Address);

/// The messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Early {
    messages: BTreeMap<Key, Vec<Message>>,
    count: usize,
    /// Of these, of rounds after the first.
    later: usize,
    /// Who has voted, by height.
    voters: BTreeMap<Height, BTreeSet<Address>>,
    /// Heights of which a validly signed proposal of round 0 is here.
    proposed: BTreeSet<Height>,
}

fn key(message: &Message) -> Option<Key> {
    match message {
        Message::Proposal(signed) => Some((signed.proposal.height, signed.proposal.round, 0, Address::ZERO)),
        Message::Part(part) => {
            Some((part.height, part.round, 1, Address::left_padding_from(&part.index.to_be_bytes())))
        }
        Message::Vote(signed) => Some((
            signed.vote.height,
            signed.vote.round,
            signed.vote.kind.code().saturating_add(1),
            signed.vote.validator,
        )),
        Message::RoundVotes(_) | Message::Evidence(_) => None,
    }
}

impl Early {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether there is room for a message: it is not here yet, and its signer has not used up its share. Round certificates
    /// and evidence have no place here.
    pub(super) fn has_room(&self, message: &Message) -> bool {
        let Some(key) = key(message) else { return false };
        let share = self.messages.get(&key);
        let (_, round, ..) = key;
        let has_place = round == 0 || self.later < MAX_OF_LATER_ROUNDS;
        has_place
            && self.count < MAX_EARLY_MESSAGES
            && share.is_none_or(|share| share.len() < SHARE && !share.contains(message))
    }

    /// Keeps a verified message.
    pub(super) fn insert(&mut self, message: Message) {
        let Some(key) = key(&message) else { return };
        match &message {
            Message::Vote(signed) => {
                self.voters.entry(signed.vote.height).or_default().insert(signed.vote.validator);
            }
            Message::Proposal(signed) if signed.proposal.round == 0 => {
                self.proposed.insert(signed.proposal.height);
            }
            Message::Proposal(_) | Message::Part(_) | Message::RoundVotes(_) | Message::Evidence(_) => {}
        }
        let (_, round, ..) = key;
        self.messages.entry(key).or_default().push(message);
        self.count = self.count.saturating_add(1);
        self.later = self.later.saturating_add(usize::from(round > 0));
    }

    /// Whether anything of a height is here.
    pub(super) fn has_any(&self, height: Height) -> bool {
        self.proposed.contains(&height) || self.messages.keys().any(|(of, ..)| *of == height)
    }

    /// Whether the proposal of a height's round 0 is here.
    pub(super) fn is_proposed(&self, height: Height) -> bool {
        self.proposed.contains(&height)
    }

    /// Who has voted in a height.
    pub(super) fn voters(&self, height: Height) -> impl Iterator<Item = &Address> {
        self.voters.get(&height).into_iter().flatten()
    }

    /// Takes the messages of a height out, by round.
    pub(super) fn take(&mut self, height: Height) -> Vec<Message> {
        let all = std::mem::take(&mut self.messages);
        let (taken, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = all.into_iter().partition(|((of, ..), _)| *of == height);
        self.messages = kept;
        self.forget_to(height);
        taken.into_values().flatten().collect()
    }

    /// Forgets heights up to this one.
    pub(super) fn forget_to(&mut self, height: Height) {
        self.messages.retain(|(of, ..), _| *of > height);
        self.voters.retain(|of, _| *of > height);
        self.proposed.retain(|of| *of > height);
        self.count = self.messages.values().map(Vec::len).sum();
        self.later = self.messages.iter().filter(|((_, round, ..), _)| *round > 0).map(|(_, share)| share.len()).sum();
    }
}
