//! Proposals of the current height. One is held until its block is judged and may count in the proposal's round: the core takes a
//! proposal together with a valid block of the same hash, from whatever round that came.

use super::blocks::MAX_BLOCKS_PER_ROUND;
use super::{Engine, Event, Output};
use crate::context::{CoreAddress, CoreProposal};
use alloy_primitives::B256;
use bttc_types::{Mutant, Proposal, Round, Signature, SignedProposal};
use malachitebft_core_consensus::Input as CoreInput;
use malachitebft_core_types::SignedMessage;
use std::collections::HashMap;

#[derive(Clone, Debug)]
struct Held {
    proposal: Proposal,
    signature: Signature,
    /// As it came, unless it was read from the log.
    signed: Option<SignedProposal>,
    /// Whether the core has it.
    fed: bool,
}

/// The proposals.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    held: HashMap<(Round, B256), Held>,
    /// When the proposal or the first part of a block came, wall clock milliseconds.
    seen_ms: HashMap<(Round, B256), u64>,
    /// Proposals whose time is off, for as long as their round waits for one.
    withheld: Vec<(Round, B256)>,
}

impl Proposals {
    /// Something of a block came; when the first of it did.
    pub(super) fn seen(&mut self, round: Round, hash: B256, now_ms: u64) -> u64 {
        *self.seen_ms.entry((round, hash)).or_insert(now_ms)
    }

    /// The proposal of a block in a round, as it came.
    pub(super) fn signed(&self, round: Round, hash: &B256) -> Option<&SignedProposal> {
        self.held.get(&(round, *hash))?.signed.as_ref()
    }

    /// Rounds in which a block is proposed, ascending.
    pub(super) fn rounds_of(&self, hash: &B256) -> Vec<Round> {
        let mut rounds: Vec<Round> = self.held.keys().filter(|(_, of)| of == hash).map(|(round, _)| *round).collect();
        rounds.sort_unstable();
        rounds
    }

    /// Whether this proposal was handled before, or its round has as many as are kept (the core keeps no more either).
    pub(super) fn ignores(&self, proposal: &Proposal) -> bool {
        self.held.get(&(proposal.round, proposal.block_hash)).is_some_and(|held| held.proposal == *proposal)
            || self.held.keys().filter(|(of, _)| *of == proposal.round).count() >= MAX_BLOCKS_PER_ROUND
    }

    /// Another proposal of the same round.
    pub(super) fn contradicted(&self, proposal: &Proposal) -> Option<(Proposal, Signature)> {
        let mut others: Vec<_> = self
            .held
            .values()
            .filter(|held| held.proposal.round == proposal.round && held.proposal != *proposal)
            .collect();
        others.sort_unstable_by_key(|held| held.proposal.block_hash);
        others.first().map(|held| (held.proposal.clone(), held.signature))
    }

    /// Lets go of rounds before this one, but for proposals of blocks in `kept`.
    pub(super) fn forget_before(&mut self, round: Round, kept: &[B256]) {
        self.held.retain(|(of, hash), _| *of >= round || kept.contains(hash));
        self.seen_ms.retain(|(of, _), _| *of >= round);
        self.withheld.retain(|(of, _)| *of >= round);
    }

    fn hold(&mut self, proposal: Proposal, signature: Signature, signed: Option<SignedProposal>, fed: bool) {
        let key = (proposal.round, proposal.block_hash);
        self.held.entry(key).or_insert(Held { proposal, signature, signed, fed });
    }
}

impl Engine {
    /// A verified proposal of the current height.
    pub(super) fn note_proposal(&mut self, signed: SignedProposal) {
        let (round, hash) = (signed.proposal.round, signed.proposal.block_hash);
        self.blocks.proposals.seen(round, hash, self.env.now.wall_ms);
        self.blocks.proposals.hold(signed.proposal.clone(), signed.signature, Some(signed), false);
        if Mutant::TimeOncePerBlock.active() {
            self.feed_proposal(round, hash);
        }
        self.offer(round, hash);
    }

    /// A proposal from the log. The core has it, and so its time was judged.
    pub(super) fn restore_proposal(&mut self, proposal: Proposal, signature: Signature) {
        let (round, hash, proposer) = (proposal.round, proposal.block_hash, proposal.proposer);
        self.blocks.proposals.hold(proposal, signature, None, true);
        self.feed_value(round, hash, proposer);
    }

    /// Hands a proposal and its judged block to the core, unless the block may not count in that round, or not yet.
    pub(super) fn offer(&mut self, round: Round, hash: B256) {
        let Some(held) = self.blocks.proposals.held.get(&(round, hash)) else { return };
        let Some(known) = self.blocks.known(&hash) else { return };
        let mutant = Mutant::TimeOncePerBlock.active();
        if held.fed && (!mutant || self.blocks.is_fed(&hash)) {
            return;
        }
        if known.valid
            && !mutant
            && !Mutant::RoundUnchecked.active()
            && !is_of_its_round(&held.proposal, known.origin.round)
        {
            return;
        }
        // A proof of lock says that more than two thirds found the time good. Whoever has prevoted in a round does not do so again, but
        // may need the block for what others have decided of it.
        let first = held.proposal.pol_round.is_none();
        if known.valid && first && self.may_prevote_in(round) && !self.is_timely(round, hash, known.origin.time_ms) {
            return;
        }
        self.feed_offer(round, hash);
    }

    /// Whether this node's prevote of a round is still open.
    fn may_prevote_in(&self, round: Round) -> bool {
        round > self.env.round || (round == self.env.round && self.core.driver.step_is_propose())
    }

    /// The core begins the height anew: it gets everything that it had.
    pub(super) fn offer_again(&mut self) {
        self.blocks.forget_fed();
        let mut keys: Vec<_> = self.blocks.proposals.held.keys().copied().collect();
        keys.sort_unstable();
        for (round, hash) in keys {
            if let Some(held) = self.blocks.proposals.held.get_mut(&(round, hash)) {
                held.fed = false;
            }
            self.offer(round, hash);
        }
    }

    /// The core gets a proposal, then its block.
    fn feed_offer(&mut self, round: Round, hash: B256) {
        let Some(held) = self.blocks.proposals.held.get(&(round, hash)) else { return };
        let proposer = held.proposal.proposer;
        if self.blocks.known(&hash).is_some() {
            self.feed_proposal(round, hash);
            self.feed_value(round, hash, proposer);
        }
    }

    fn feed_proposal(&mut self, round: Round, hash: B256) {
        let Some(held) = self.blocks.proposals.held.get_mut(&(round, hash)) else { return };
        if std::mem::replace(&mut held.fed, true) {
            return;
        }
        let mut core = CoreProposal::from_proposal(&held.proposal);
        let signature = held.signature;
        if Mutant::ProposerUnchecked.active() {
            core.proposer = CoreAddress(self.env.set.proposer(round));
        }
        self.feed(CoreInput::Proposal(SignedMessage::new(core, signature)));
    }

    /// Proposer-based time: a first proposal must not be from the future nor too old. Judged by the time at which the proposal
    /// or its first part came. One that is off is withheld, and an operator hears of it.
    fn is_timely(&mut self, round: Round, hash: B256, block_ms: u64) -> bool {
        let received_ms = self.blocks.proposals.seen(round, hash, self.env.now.wall_ms);
        let config = &self.env.config;
        let growth = config.message_delay_ms.saturating_mul(u64::from(round.min(1_000))) / 10;
        let delay = config.message_delay_ms.saturating_add(growth);
        let earliest = block_ms.saturating_sub(config.precision_ms);
        let latest = block_ms.saturating_add(delay).saturating_add(config.precision_ms);
        if (earliest..=latest).contains(&received_ms) {
            return true;
        }
        let withheld = &mut self.blocks.proposals.withheld;
        if !withheld.contains(&(round, hash)) {
            withheld.push((round, hash));
            let height = self.env.height;
            self.env.outputs.push(Output::Event(Event::Untimely { height, round, block_ms, received_ms }));
        }
        false
    }

    /// Hands over what was withheld in rounds whose propose timeout has run out: nobody votes for it there any more, but others
    /// may have.
    pub(super) fn release_withheld(&mut self, up_to: Round) {
        let withheld = std::mem::take(&mut self.blocks.proposals.withheld);
        let (due, rest): (Vec<_>, Vec<_>) = withheld.into_iter().partition(|(round, _)| *round <= up_to);
        self.blocks.proposals.withheld = rest;
        for (round, hash) in due {
            self.feed_offer(round, hash);
        }
    }
}

/// Whether a block that says that it was built in round `built` may be proposed so: first in that very round, and again only with
/// a proof of lock of that round or a later one.
fn is_of_its_round(proposal: &Proposal, built: Round) -> bool {
    match proposal.pol_round {
        None => built == proposal.round,
        Some(pol_round) => built <= pol_round,
    }
}
