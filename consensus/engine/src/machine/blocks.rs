//! Blocks of the current height: from parts to a value that the core may vote for.

use super::proposals::Proposals;
use super::{BlockVerdict, Engine, Event, Output, Phase, Verdict};
use crate::context::{BlockId, CoreAddress, CoreHeight, CoreVote};
use crate::message::Message;
use crate::record::WalRecord;
use alloy_primitives::{Address, B256, Bytes};
use bttc_types::{
    ExtraData, Height, Mutant, Part, PartSetBuilder, PartsHeader, ProvenBytes, Round, Signature, block_time_ms,
    header_of, split_into_parts,
};
use malachitebft_core_consensus::{Input as CoreInput, LocallyProposedValue, ProposedValue};
use malachitebft_core_types::{NilOrVal, Round as CoreRound, Validity, ValueOrigin, VoteType};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Blocks that the proposer of one round can announce. An honest one announces one; two are kept so that a double
/// proposal is seen. With the window of rounds this bounds what faulty proposers pin: 2 x 6 x 8 MiB.
pub(super) const MAX_BLOCKS_PER_ROUND: usize = 2;

/// Rounds behind ours for which parts are collected and blocks are kept.
const PART_ROUNDS_BEHIND: Round = 3;

/// Rounds ahead of ours for which parts are collected.
const PART_ROUNDS_AHEAD: Round = 2;

/// Bytes of blocks that are not kept any more for which the log is written anew.
const COMPACT_BYTES: u64 = 1 << 20;

/// What a block's header says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Round in which it was built.
    pub(super) round: Round,
    /// When, milliseconds.
    pub(super) time_ms: u64,
}

impl Origin {
    /// Reads the header of an encoded block that must have this hash. Whether the body belongs to it is the application's
    /// to say.
    fn read(hash: B256, bytes: &[u8]) -> Option<Self> {
        let (found, header) = header_of(bytes).ok()?;
        let extra = ExtraData::decode(&header.extra_data).ok()?;
        (found == hash).then(|| Self { round: extra.round, time_ms: block_time_ms(&header) })
    }
}

/// A block that was judged.
#[derive(Clone, Debug)]
pub(super) struct Known {
    bytes: Arc<[u8]>,
    pub(super) valid: bool,
    pub(super) origin: Origin,
    announcement: Option<Announcement>,
}

/// Who announced a block's parts, for which round.
#[derive(Clone, Copy, Debug)]
struct Announcement {
    round: Round,
    signature: Signature,
}

/// An announced block: round, hash, root of its parts. A proposer may cut one block in two ways, and one cut may be of something
/// else.
type Cut = (Round, B256, B256);

/// A block whose parts are all here and that waits to be judged, or is being judged.
#[derive(Clone, Debug)]
struct Candidate {
    cut: Cut,
    bytes: Arc<[u8]>,
    origin: Origin,
    signature: Signature,
}

#[derive(Clone, Debug)]
struct Building {
    builder: PartSetBuilder,
    signature: Signature,
}

/// Blocks, parts and proposals of one height.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    known: HashMap<B256, Known>,
    building: HashMap<Cut, Building>,
    /// Blocks that wait to be judged, in the order in which they were complete.
    waiting: Vec<Candidate>,
    /// The one that the application has.
    judging: Option<Candidate>,
    pub(super) proposals: Proposals,
    /// Blocks whose validity the core was told.
    fed: HashSet<B256>,
    /// Blocks announced in a round.
    announced: HashMap<Round, Vec<(B256, B256)>>,
    /// Announcements whose parts were no block of that hash that can be proposed in that round.
    forged: HashSet<Cut>,
    /// Bytes of blocks that were logged in this height and are not kept any more.
    pub(super) let_go_bytes: u64,
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

    /// Blocks held whole.
    pub(super) fn held(&self) -> usize {
        self.known.len().saturating_add(self.waiting.len()).saturating_add(usize::from(self.judging.is_some()))
    }

    /// The encoded block.
    pub(super) fn bytes(&self, hash: &B256) -> Option<Arc<[u8]>> {
        self.known.get(hash).map(|known| Arc::clone(&known.bytes))
    }

    /// A block that was judged.
    pub(super) fn known(&self, hash: &B256) -> Option<&Known> {
        self.known.get(hash)
    }

    /// Whether the core was told of a block's validity.
    pub(super) fn is_fed(&self, hash: &B256) -> bool {
        self.fed.contains(hash)
    }

    /// The core was told nothing yet.
    pub(super) fn forget_fed(&mut self) {
        self.fed.clear();
    }

    /// The block cut into parts.
    pub(super) fn cut(&self, hash: &B256) -> Option<(PartsHeader, Vec<ProvenBytes>)> {
        split_into_parts(&self.known.get(hash)?.bytes).ok()
    }

    /// A block that another validator proposed, as its proposer announced it.
    pub(super) fn announced(&self, hash: &B256) -> Vec<Message> {
        let Some(known) = self.known.get(hash) else { return Vec::new() };
        let Some(announcement) = &known.announcement else { return Vec::new() };
        let Some(proposal) = self.proposals.signed(announcement.round, hash) else { return Vec::new() };
        let Ok((header, parts)) = split_into_parts(&known.bytes) else { return Vec::new() };
        let (height, round, block_hash) = (proposal.proposal.height, announcement.round, *hash);
        let signature = announcement.signature;
        let mut messages = vec![Message::Proposal(proposal.clone())];
        messages.extend((0u32..).zip(parts).map(|(index, (bytes, proof))| {
            Message::Part(Box::new(Part { height, round, block_hash, header, signature, index, bytes, proof }))
        }));
        messages
    }

    /// The mutant [`Mutant::LockRule`]: a prevote for nil becomes one for a good block of the round, whatever the voter is
    /// locked on.
    pub(super) fn break_lock(&self, vote: CoreVote, round: Round) -> CoreVote {
        if !Mutant::LockRule.active() || vote.kind != VoteType::Prevote || vote.value != NilOrVal::Nil {
            return vote;
        }
        let announced = self.announced.get(&round).into_iter().flatten();
        let good = announced.map(|(hash, _)| hash).find(|hash| self.known.get(*hash).is_some_and(|known| known.valid));
        CoreVote { value: good.map_or(NilOrVal::Nil, |hash| NilOrVal::Val(BlockId(*hash))), ..vote }
    }

    /// A block from the log: it was valid before the crash. `fed`: the core was told, so the log holds that too.
    pub(super) fn restore(&mut self, hash: B256, bytes: Arc<[u8]>, fed: bool) {
        self.know_valid(hash, bytes);
        if fed {
            self.fed.insert(hash);
        }
    }

    fn know_valid(&mut self, hash: B256, bytes: Arc<[u8]>) {
        if let Some(origin) = Origin::read(hash, &bytes) {
            self.known.insert(hash, Known { bytes, valid: true, origin, announcement: None });
        }
    }

    /// Takes one of a round's places for announced blocks.
    fn announce(&mut self, (round, hash, root): Cut) -> bool {
        let announced = self.announced.entry(round).or_default();
        if announced.contains(&(hash, root)) {
            return true;
        }
        if announced.len() >= MAX_BLOCKS_PER_ROUND {
            return false;
        }
        announced.push((hash, root));
        true
    }

    /// Whether all parts of a cut are here.
    fn is_complete(&self, cut: &Cut) -> bool {
        self.judging.iter().chain(&self.waiting).any(|candidate| candidate.cut == *cut)
    }

    /// The next block to be judged: one of this round before those of earlier ones, the later of those first. Blocks of later
    /// rounds wait until their round begins, so that they keep nobody from this one's.
    fn next_to_judge(&mut self, round: Round) -> Option<Candidate> {
        if self.judging.is_some() {
            return None;
        }
        let known = &self.known;
        self.waiting.retain(|candidate| !known.contains_key(&candidate.cut.1));
        let due = self.waiting.iter().enumerate().filter(|(_, candidate)| candidate.cut.0 <= round);
        let (place, _) = due.max_by_key(|(place, candidate)| (candidate.cut.0, std::cmp::Reverse(*place)))?;
        let candidate = self.waiting.remove(place);
        self.judging = Some(candidate.clone());
        Some(candidate)
    }

    /// Lets go of blocks, parts and proposals of rounds too far behind, but for the blocks in `kept`.
    fn forget_before(&mut self, round: Round, kept: &[B256]) {
        let first = round.saturating_sub(PART_ROUNDS_BEHIND);
        self.announced.retain(|of, _| *of >= first);
        self.forged.retain(|(of, ..)| *of >= first);
        self.building.retain(|(of, ..), _| *of >= first);
        self.waiting.retain(|candidate| candidate.cut.0 >= first);
        let recent: HashSet<B256> = self.announced.values().flatten().map(|(hash, _)| *hash).collect();
        let mut gone = 0u64;
        self.known.retain(|hash, known| {
            let keep = recent.contains(hash) || kept.contains(hash) || known.origin.round >= first;
            if !keep && known.valid {
                gone = gone.saturating_add(known.bytes.len() as u64);
            }
            keep
        });
        self.proposals.forget_before(first, kept);
        self.let_go_bytes = self.let_go_bytes.saturating_add(gone);
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
        self.blocks.know_valid(hash, bytes);
        self.blocks.fed.insert(hash);
        self.feed(CoreInput::Propose(LocallyProposedValue::new(
            CoreHeight(height),
            CoreRound::new(round),
            BlockId(hash),
        )));
    }

    /// A part of a block of the current height. `proposer` is the round's.
    pub(super) fn on_part(&mut self, part: Part, proposer: Address) -> Verdict {
        let window =
            self.env.round.saturating_sub(PART_ROUNDS_BEHIND)..=self.env.round.saturating_add(PART_ROUNDS_AHEAD);
        let cut = (part.round, part.block_hash, part.header.root);
        if !window.contains(&part.round) || self.blocks.forged.contains(&cut) {
            return Verdict::Ignore;
        }
        if self.blocks.known.contains_key(&part.block_hash)
            || self.blocks.is_complete(&cut)
            || self.blocks.building.get(&cut).is_some_and(|building| building.builder.contains(part.index))
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
        if !self.blocks.announce(cut) {
            return Verdict::Drop;
        }
        self.blocks.proposals.seen(part.round, part.block_hash, self.env.now.wall_ms);
        let building = match self.blocks.building.entry(cut) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(place) => match PartSetBuilder::new(part.header) {
                Ok(builder) => place.insert(Building { builder, signature: part.signature }),
                Err(error) => return Verdict::Reject(error.to_string()),
            },
        };
        if *building.builder.header() != part.header {
            return Verdict::Drop;
        }
        building.builder.insert(part.index, part.bytes);
        if let Some(bytes) = building.builder.assemble() {
            let signature = building.signature;
            self.blocks.building.remove(&cut);
            self.on_block(cut, bytes, signature);
        }
        Verdict::Accept
    }

    /// All parts of a block are here. A header that says that the block was built in a later round than the one it is announced
    /// in, or another hash than the announced one, spoils the announcement and says nothing about the block that has the hash.
    fn on_block(&mut self, cut: Cut, bytes: Vec<u8>, signature: Signature) {
        let bytes: Arc<[u8]> = bytes.into();
        match Origin::read(cut.1, &bytes) {
            Some(origin) if origin.round <= cut.0 || Mutant::RoundUnchecked.active() => {
                self.blocks.waiting.push(Candidate { cut, bytes, origin, signature });
                self.judge_next();
            }
            Some(_) | None => {
                self.blocks.forged.insert(cut);
            }
        }
    }

    /// Hands the application the next block to judge, one at a time.
    pub(super) fn judge_next(&mut self) {
        if self.phase != Phase::Running || self.env.replaying {
            return;
        }
        let round = if Mutant::RoundUnchecked.active() { Round::MAX } else { self.env.round };
        if let Some(candidate) = self.blocks.next_to_judge(round) {
            let (_, hash, _) = candidate.cut;
            self.env.outputs.push(Output::Validate { height: self.env.height, hash, bytes: candidate.bytes });
        }
    }

    /// The application's judgement.
    pub(super) fn on_validated(&mut self, height: Height, hash: B256, verdict: BlockVerdict) {
        if height != self.env.height {
            return;
        }
        let Some(candidate) = self.blocks.judging.take_if(|candidate| candidate.cut.1 == hash) else { return };
        if self.phase != Phase::Running {
            return;
        }
        let valid = match verdict {
            BlockVerdict::Valid => {
                self.env.log(&WalRecord::Block(Bytes::copy_from_slice(&candidate.bytes)));
                Some(true)
            }
            BlockVerdict::Invalid(reason) => {
                self.env.outputs.push(Output::Event(Event::InvalidBlock { height, hash, reason }));
                Some(false)
            }
            // Other bytes under this hash say nothing about the block that has it: only the announcement is bad.
            BlockVerdict::Forged(reason) => {
                self.env.outputs.push(Output::Event(Event::InvalidBlock { height, hash, reason }));
                self.blocks.forged.insert(candidate.cut);
                None
            }
            BlockVerdict::Unknown => None,
        };
        if let Some(valid) = valid {
            let announcement = Announcement { round: candidate.cut.0, signature: candidate.signature };
            let (bytes, origin) = (candidate.bytes, candidate.origin);
            self.blocks.known.insert(hash, Known { bytes, valid, origin, announcement: Some(announcement) });
            for round in self.blocks.proposals.rounds_of(&hash) {
                self.offer(round, hash);
            }
        }
        self.judge_next();
    }

    /// Tells the core whether a block is valid, once.
    pub(super) fn feed_value(&mut self, round: Round, hash: B256, proposer: Address) {
        let Some(known) = self.blocks.known.get(&hash) else { return };
        let validity = if known.valid { Validity::Valid } else { Validity::Invalid };
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

    /// A round began: what is too far behind goes, and the blocks of this one are judged. A height that does not end must not
    /// fill the memory, nor the disk.
    pub(super) fn enter_round(&mut self) {
        if self.seen_round == (self.env.height, self.env.round) || self.env.replaying {
            return;
        }
        self.seen_round = (self.env.height, self.env.round);
        let state = self.core.driver.round_state();
        let values = [&state.locked, &state.valid, &state.decision];
        let mut kept: Vec<B256> = values.into_iter().flatten().map(|value| value.value.0).collect();
        kept.extend(self.env.decided.as_ref().map(|decided| decided.block_hash));
        self.env.ballots.forget_before(self.env.round);
        self.blocks.forget_before(self.env.round, &kept);
        // Writing the log anew costs no more than what was written in vain.
        let in_vain = self.blocks.let_go_bytes;
        if in_vain >= COMPACT_BYTES && in_vain >= self.env.wal.bytes() / 2 {
            self.blocks.let_go_bytes = 0;
            let known = &self.blocks.known;
            self.env.compact_wal(|hash| known.contains_key(hash));
        }
        self.judge_next();
    }
}
