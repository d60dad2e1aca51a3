//! Blocks of the current height: from parts to a value that the core may vote for.

use super::{Engine, Event, Output, Phase, Verdict};
use crate::context::{BlockId, CoreAddress, CoreHeight, CoreVote};
use crate::message::Message;
use crate::record::WalRecord;
use alloy_primitives::{Address, B256, Bytes};
use bttc_types::{
    Height, Mutant, Part, PartSetBuilder, PartsHeader, ProvenBytes, Round, Signature, SignedProposal,
    authentic_block_hash, split_into_parts,
};
use malachitebft_core_consensus::{Input as CoreInput, LocallyProposedValue, ProposedValue};
use malachitebft_core_types::{NilOrVal, Round as CoreRound, Validity, ValueOrigin, VoteType};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Blocks that the proposer of one round can announce. An honest one announces one; two are kept so that a double
/// proposal is seen. With the window of rounds this bounds what faulty proposers pin: 2 x 6 x 8 MiB.
const MAX_BLOCKS_PER_ROUND: usize = 2;

/// Rounds behind ours for which parts are collected.
const PART_ROUNDS_BEHIND: Round = 3;

/// Rounds ahead of ours for which parts are collected.
const PART_ROUNDS_AHEAD: Round = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Judgement {
    /// With the application.
    Pending,
    /// Good; with the time in its header, unless it was judged before a restart or built here.
    Valid { time_ms: Option<u64> },
    /// Bad.
    Invalid,
}

#[derive(Clone, Debug)]
struct Announcement {
    round: Round,
    signature: Signature,
    proposal: Option<SignedProposal>,
}

#[derive(Clone, Debug)]
struct Known {
    bytes: Arc<[u8]>,
    judgement: Judgement,
    announcement: Option<Announcement>,
}

#[derive(Clone, Debug)]
struct Building {
    builder: PartSetBuilder,
    signature: Signature,
}

#[derive(Clone, Debug)]
struct Proposed {
    proposer: Address,
    reproposal: bool,
    received_ms: u64,
}

/// Blocks, parts and proposals of one height.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    known: HashMap<B256, Known>,
    building: HashMap<(Round, B256), Building>,
    proposals: HashMap<(Round, B256), Proposed>,
    first_seen: HashMap<(Round, B256), u64>,
    fed: HashSet<B256>,
    /// Blocks announced in a round.
    announced: HashMap<Round, Vec<B256>>,
    /// Announcements whose parts were no block of that hash.
    forged: HashSet<(Round, B256)>,
    withheld: Vec<(Round, B256)>,
}

impl Blocks {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Blocks whose parts have not all come.
    #[cfg(test)]
    pub(super) fn in_the_making(&self) -> usize {
        self.building.len()
    }

    /// The encoded block.
    pub(super) fn bytes(&self, hash: &B256) -> Option<Arc<[u8]>> {
        self.known.get(hash).map(|known| Arc::clone(&known.bytes))
    }

    /// The block cut into parts.
    pub(super) fn cut(&self, hash: &B256) -> Option<(PartsHeader, Vec<ProvenBytes>)> {
        split_into_parts(&self.known.get(hash)?.bytes).ok()
    }

    /// A block that another validator proposed, as its proposer announced it.
    pub(super) fn announced(&self, hash: &B256) -> Vec<Message> {
        let Some(known) = self.known.get(hash) else { return Vec::new() };
        let Some(announcement) = &known.announcement else { return Vec::new() };
        let Some(proposal) = &announcement.proposal else { return Vec::new() };
        let Ok((header, parts)) = split_into_parts(&known.bytes) else { return Vec::new() };
        let height = proposal.proposal.height;
        let mut messages = vec![Message::Proposal(proposal.clone())];
        messages.extend((0u32..).zip(parts).map(|(index, (bytes, proof))| {
            Message::Part(Box::new(Part {
                height,
                round: announcement.round,
                block_hash: *hash,
                header,
                signature: announcement.signature,
                index,
                bytes,
                proof,
            }))
        }));
        messages
    }

    /// The mutant [`Mutant::LockRule`]: a prevote for nil becomes one for a good block of the round, whatever the voter is
    /// locked on.
    pub(super) fn break_lock(&self, vote: CoreVote, round: Round) -> CoreVote {
        if !Mutant::LockRule.active() || vote.kind != VoteType::Prevote || vote.value != NilOrVal::Nil {
            return vote;
        }
        let good =
            self.announced.get(&round).into_iter().flatten().find(|hash| {
                self.known.get(*hash).is_some_and(|known| matches!(known.judgement, Judgement::Valid { .. }))
            });
        CoreVote { value: good.map_or(NilOrVal::Nil, |hash| NilOrVal::Val(BlockId(*hash))), ..vote }
    }

    /// A block from the log: it was valid before the crash. `fed`: the core was told, so the log holds that too.
    pub(super) fn restore(&mut self, hash: B256, bytes: Arc<[u8]>, fed: bool) {
        let known = Known { bytes, judgement: Judgement::Valid { time_ms: None }, announcement: None };
        self.known.insert(hash, known);
        if fed {
            self.fed.insert(hash);
        }
    }

    /// Takes one of a round's places for announced blocks.
    fn announce(&mut self, round: Round, hash: B256) -> bool {
        let announced = self.announced.entry(round).or_default();
        if announced.contains(&hash) {
            return true;
        }
        if announced.len() >= MAX_BLOCKS_PER_ROUND {
            return false;
        }
        announced.push(hash);
        true
    }
}

impl Engine {
    /// The application built the block that the core wants.
    pub(super) fn on_proposed(&mut self, height: Height, round: Round, hash: B256, bytes: Arc<[u8]>) {
        let current = self.phase == Phase::Running && height == self.env.height && round == self.env.round;
        if !current || !self.core.driver.step_is_propose() {
            return;
        }
        self.env.log(&WalRecord::Block(Bytes::copy_from_slice(&bytes)));
        let known = Known { bytes, judgement: Judgement::Valid { time_ms: None }, announcement: None };
        self.blocks.known.insert(hash, known);
        self.blocks.fed.insert(hash);
        self.feed(CoreInput::Propose(LocallyProposedValue::new(
            CoreHeight(height),
            CoreRound::new(round),
            BlockId(hash),
        )));
    }

    /// A verified proposal of the current height.
    pub(super) fn note_proposal(&mut self, proposal: &SignedProposal) {
        let key = (proposal.proposal.round, proposal.proposal.block_hash);
        let received_ms = *self.blocks.first_seen.entry(key).or_insert(self.env.now.wall_ms);
        self.blocks.proposals.insert(
            key,
            Proposed {
                proposer: proposal.proposal.proposer,
                reproposal: proposal.proposal.pol_round.is_some(),
                received_ms,
            },
        );
        if let Some(known) = self.blocks.known.get_mut(&key.1) {
            let announcement = known.announcement.get_or_insert(Announcement {
                round: proposal.proposal.round,
                signature: proposal.parts_signature,
                proposal: None,
            });
            if announcement.round == proposal.proposal.round {
                announcement.proposal = Some(proposal.clone());
            }
        }
        self.offer_value(key.0, key.1);
    }

    /// Whether this proposal was handled before, or its round has as many as are kept (the core keeps no more either).
    pub(super) fn ignores_proposal(&self, proposal: &SignedProposal) -> bool {
        let round = proposal.proposal.round;
        self.blocks.proposals.contains_key(&(round, proposal.proposal.block_hash))
            || self.blocks.proposals.keys().filter(|(of, _)| *of == round).count() >= MAX_BLOCKS_PER_ROUND
    }

    /// A proposal from the log, which the core has taken already.
    pub(super) fn restore_proposal(&mut self, proposal: &bttc_types::Proposal) {
        self.blocks.proposals.insert(
            (proposal.round, proposal.block_hash),
            Proposed {
                proposer: proposal.proposer,
                reproposal: proposal.pol_round.is_some(),
                received_ms: self.env.now.wall_ms,
            },
        );
        self.offer_value(proposal.round, proposal.block_hash);
    }

    /// A part of a block of the current height. `proposer` is the round's.
    pub(super) fn on_part(&mut self, part: Part, proposer: Address) -> Verdict {
        let window =
            self.env.round.saturating_sub(PART_ROUNDS_BEHIND)..=self.env.round.saturating_add(PART_ROUNDS_AHEAD);
        let key = (part.round, part.block_hash);
        if !window.contains(&part.round) || self.blocks.forged.contains(&key) {
            return Verdict::Ignore;
        }
        if self.blocks.known.contains_key(&part.block_hash)
            || self.blocks.building.get(&key).is_some_and(|building| building.builder.contains(part.index))
        {
            return Verdict::Ignore;
        }
        if let Err(error) = part.verify_inclusion() {
            return Verdict::Reject(error.to_string());
        }
        let digest = self.env.domain.parts_digest(part.height, part.round, part.block_hash, &part.header);
        if !self.env.verify(digest, &part.signature, proposer) {
            return Verdict::Reject("a block part is not signed by the round's proposer".into());
        }
        if !self.blocks.announce(part.round, part.block_hash) {
            return Verdict::Ignore;
        }
        self.blocks.first_seen.entry(key).or_insert(self.env.now.wall_ms);
        if !self.blocks.building.contains_key(&key) {
            self.blocks.building.retain(|(round, _), _| window.contains(round));
            match PartSetBuilder::new(part.header) {
                Ok(builder) => {
                    self.blocks.building.insert(key, Building { builder, signature: part.signature });
                }
                Err(error) => return Verdict::Reject(error.to_string()),
            }
        }
        let Some(building) = self.blocks.building.get_mut(&key) else { return Verdict::Ignore };
        if *building.builder.header() != part.header {
            // The proposer announced two cuts of one block; the first one counts.
            return Verdict::Ignore;
        }
        building.builder.insert(part.index, part.bytes);
        if let Some(bytes) = building.builder.assemble() {
            let announcement = Announcement { round: part.round, signature: building.signature, proposal: None };
            self.blocks.building.remove(&key);
            self.on_block(part.block_hash, bytes, announcement);
        }
        Verdict::Accept
    }

    fn on_block(&mut self, hash: B256, bytes: Vec<u8>, announcement: Announcement) {
        // Other bytes under this hash say nothing about the block that has it: only the announcement is bad.
        if authentic_block_hash(&bytes) != Ok(hash) {
            self.blocks.forged.insert((announcement.round, hash));
            return;
        }
        let bytes: Arc<[u8]> = bytes.into();
        let known =
            Known { bytes: Arc::clone(&bytes), judgement: Judgement::Pending, announcement: Some(announcement) };
        self.blocks.known.insert(hash, known);
        self.env.outputs.push(Output::Validate { height: self.env.height, hash, bytes });
    }

    /// The application's judgement.
    pub(super) fn on_validated(&mut self, height: Height, hash: B256, verdict: Result<u64, String>) {
        if height != self.env.height || self.phase != Phase::Running {
            return;
        }
        let Some(known) = self.blocks.known.get_mut(&hash) else { return };
        match verdict {
            Ok(time_ms) => {
                known.judgement = Judgement::Valid { time_ms: Some(time_ms) };
                let bytes = Bytes::copy_from_slice(&known.bytes);
                self.env.log(&WalRecord::Block(bytes));
            }
            Err(reason) => {
                known.judgement = Judgement::Invalid;
                self.env.outputs.push(Output::Event(Event::InvalidBlock { height, hash, reason }));
            }
        }
        let mut rounds: Vec<Round> =
            self.blocks.proposals.keys().filter(|(_, of)| *of == hash).map(|(round, _)| *round).collect();
        rounds.sort_unstable();
        for round in rounds {
            self.offer_value(round, hash);
        }
    }

    /// Hands a judged block to the core, once its proposal is known, unless its time forbids it for now.
    fn offer_value(&mut self, round: Round, hash: B256) {
        let Some(proposed) = self.blocks.proposals.get(&(round, hash)) else { return };
        let Some(known) = self.blocks.known.get(&hash) else { return };
        if self.blocks.fed.contains(&hash) {
            return;
        }
        match known.judgement {
            Judgement::Pending => return,
            Judgement::Valid { time_ms } => {
                let late_round = round < self.env.round;
                if let Some(time_ms) = time_ms
                    && !proposed.reproposal
                    && !late_round
                    && !self.is_timely(round, time_ms, proposed.received_ms)
                {
                    if !self.blocks.withheld.contains(&(round, hash)) {
                        let received_ms = proposed.received_ms;
                        self.blocks.withheld.push((round, hash));
                        self.env.outputs.push(Output::Event(Event::Untimely {
                            height: self.env.height,
                            round,
                            block_ms: time_ms,
                            received_ms,
                        }));
                    }
                    return;
                }
            }
            Judgement::Invalid => {}
        }
        self.feed_value(round, hash);
    }

    fn feed_value(&mut self, round: Round, hash: B256) {
        let Some(proposed) = self.blocks.proposals.get(&(round, hash)) else { return };
        let Some(known) = self.blocks.known.get(&hash) else { return };
        let validity = match known.judgement {
            Judgement::Pending => return,
            Judgement::Valid { .. } => Validity::Valid,
            Judgement::Invalid => Validity::Invalid,
        };
        let proposer = proposed.proposer;
        if !self.blocks.fed.insert(hash) {
            return;
        }
        self.feed(CoreInput::ProposedValue(
            ProposedValue {
                height: CoreHeight(self.env.height),
                round: CoreRound::new(round),
                valid_round: CoreRound::Nil,
                proposer: CoreAddress(proposer),
                value: BlockId(hash),
                validity,
            },
            ValueOrigin::Consensus,
        ));
    }

    /// Proposer-based time: a first proposal must not be from the future nor too old. Judged by the time at which the
    /// proposal or its first part came.
    fn is_timely(&self, round: Round, block_ms: u64, received_ms: u64) -> bool {
        let config = &self.env.config;
        let growth = config.message_delay_ms.saturating_mul(u64::from(round.min(1_000))) / 10;
        let delay = config.message_delay_ms.saturating_add(growth);
        let earliest = block_ms.saturating_sub(config.precision_ms);
        let latest = block_ms.saturating_add(delay).saturating_add(config.precision_ms);
        (earliest..=latest).contains(&received_ms)
    }

    /// Hands over what was withheld in rounds whose propose timeout has run out.
    pub(super) fn release_withheld(&mut self, up_to: Round) {
        let (due, rest): (Vec<_>, Vec<_>) = self.blocks.withheld.drain(..).partition(|(round, _)| *round <= up_to);
        self.blocks.withheld = rest;
        for (round, hash) in due {
            self.feed_value(round, hash);
        }
    }
}
