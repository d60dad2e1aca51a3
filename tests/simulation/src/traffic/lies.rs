//! Where liars act on more than their own engine's messages: what they build, serve, claim, and send unasked.

use super::application::proposed;
use super::gossip::payload;
use crate::byzantine::{Audience, Byzantine, Lie, Means, OtherBlock, Plan, block, sync, values};
use crate::fault::Fault;
use crate::node::Item;
use crate::world::World;
use alloy_primitives::Address;
use bttc_engine::{CertifiedBlock, Input, Message};
use bttc_network::Lane;
use bttc_node::{Answer, Application, Request, lane_of};
use bttc_types::Certificate;
use rand::Rng;

/// How far ahead of the clock the block of two liars is.
const AHEAD_MS: u64 = 3_600_000;

/// The greatest round that a liar makes its own node count up to when it builds.
const COUNTED: u32 = 5_000_000;

impl World {
    /// A liar with what it signs with; nothing for the honest.
    fn liar(&mut self, index: usize) -> Option<(&mut Byzantine, Means<'_>)> {
        let node = self.nodes.get_mut(index)?;
        let means = Means { key: &node.key, domain: &self.domain, members: &self.members, rng: &mut self.rng };
        Some((node.byzantine.as_mut()?, means))
    }

    fn kind_of(&self, index: usize) -> Option<Fault> {
        self.nodes[index].byzantine.as_ref().and_then(|liar| liar.kind)
    }

    /// What a liar sends in place of a message of its engine, and the kind of lie that this is.
    pub(super) fn lies_instead(&mut self, index: usize, message: &Message) -> Option<(Vec<Lie>, Option<Fault>)> {
        let (liar, mut means) = self.liar(index)?;
        liar.hear(message);
        let kind = liar.kind;
        let (lies, lied) = liar.instead(message.clone(), &mut means);
        Some((lies, kind.filter(|_| lied)))
    }

    /// The time that a liar puts into its block.
    pub(super) fn proposed_time(&mut self, index: usize, time_ms: u64) -> u64 {
        if self.kind_of(index) != Some(Fault::UntimelyProposal) {
            return time_ms;
        }
        self.faults.count(Fault::UntimelyProposal);
        let far = self.rng.random_range(2_000..100_000);
        if self.rng.random() { time_ms + far } else { time_ms.saturating_sub(far) }
    }

    /// The block that a liar proposes instead of the one that its application has built.
    pub(super) fn lie_about_built(
        &mut self,
        index: usize,
        application: &Application,
        asked: Request,
        answer: Option<Answer>,
    ) -> Option<Answer> {
        let Some(block) = proposed(&answer) else { return answer };
        if let Some(again) = self.planned(&block) {
            self.faults.count(Fault::OneHashTwoRounds);
            return Some(again);
        }
        let kind = self.kind_of(index);
        let other = match kind {
            Some(Fault::OneHashTwoRounds) => self.make_plan(application, &asked, &block),
            Some(Fault::HugeRound) => self.far_round(application, &asked, &block),
            Some(Fault::ReSignedBlock) => {
                let changed = block::changed(&block.bytes, &mut self.rng);
                changed.map(|(hash, bytes)| OtherBlock { hash, bytes, ..block.clone() })
            }
            Some(Fault::TwoCuts) => {
                if let Some(liar) = &mut self.nodes[index].byzantine {
                    liar.other = Some(block);
                }
                None
            }
            _ => None,
        };
        match (kind, other) {
            (Some(kind), Some(other)) => {
                self.faults.count(kind);
                let OtherBlock { height, round, hash, bytes } = other;
                Some(Answer::Input(Input::Proposed { height, round, hash, bytes }))
            }
            _ => answer,
        }
    }

    /// The block that liars agreed to propose again, if this is the moment.
    fn planned(&mut self, own: &OtherBlock) -> Option<Answer> {
        let plan = self.plan.as_ref().filter(|plan| {
            plan.again == own.height && (plan.block.height, plan.block.round) < (own.height, own.round)
        })?;
        let (hash, bytes) = (plan.block.hash, plan.block.bytes.clone());
        Some(Answer::Input(Input::Proposed { height: own.height, round: own.round, hash, bytes }))
    }

    /// Agrees with the other liars on a block: one that is an hour ahead, for the next round in which a liar proposes, or
    /// this one again at the next height.
    fn make_plan(&mut self, application: &Application, asked: &Request, own: &OtherBlock) -> Option<OtherBlock> {
        let Request::Propose { height, round, last_commit, time_ms } = asked else { return None };
        if self.rng.random_bool(0.2) {
            self.plan = Some(Plan { block: own.clone(), again: height + 1 });
            return None;
        }
        let set = self.checker.set_at(*height);
        let liars: Vec<Address> = self.nodes.iter().filter(|node| node.liar).map(|node| node.key.address()).collect();
        let next = (round + 1..round + 8).find(|round| liars.contains(&set.proposer(*round).address))?;
        let named = if self.rng.random() { next } else { *round };
        let request = Request::Propose {
            height: *height,
            round: named,
            last_commit: last_commit.clone(),
            time_ms: time_ms + AHEAD_MS,
        };
        let built = proposed(&application.serve(request, &mut || false).answer)?;
        let block = OtherBlock { round: *round, ..built };
        self.plan = Some(Plan { block: block.clone(), again: *height });
        Some(block)
    }

    /// The block built for a round that is far away; where the node does not build such a one, only its name is changed.
    fn far_round(&mut self, application: &Application, asked: &Request, own: &OtherBlock) -> Option<OtherBlock> {
        let Request::Propose { height, round, last_commit, time_ms } = asked else { return None };
        let named = block::huge_round(*round, &mut self.rng);
        if named <= COUNTED {
            let (last_commit, time_ms) = (last_commit.clone(), *time_ms);
            let request = Request::Propose { height: *height, round: named, last_commit, time_ms };
            if let Some(built) = proposed(&application.serve(request, &mut || false).answer) {
                return Some(OtherBlock { round: *round, ..built });
            }
        }
        let (hash, bytes) = block::with_round(&own.bytes, named)?;
        Some(OtherBlock { hash, bytes, ..own.clone() })
    }

    /// What a liar answers a request for blocks with.
    pub(super) fn lie_about_blocks(&mut self, index: usize, blocks: &mut Vec<CertifiedBlock>) {
        let Some((liar, mut means)) = self.liar(index) else { return };
        let kind = match liar.kind {
            Some(Fault::LyingSync) => {
                sync::lie_about_blocks(blocks, means.rng);
                Fault::LyingSync
            }
            Some(Fault::ReSignedSync) => {
                sync::re_sign_blocks(blocks, &mut means);
                Fault::ReSignedSync
            }
            _ => return,
        };
        self.faults.count(kind);
    }

    /// The height that a node says it has.
    pub(crate) fn claimed_height(&mut self, index: usize, height: u64) -> u64 {
        match self.kind_of(index) {
            Some(Fault::LyingSync) if self.rng.random_bool(0.3) => {
                self.faults.count(Fault::LyingSync);
                height.saturating_add(self.rng.random_range(1..2_000))
            }
            Some(Fault::LyingStatus) => {
                self.faults.count(Fault::LyingStatus);
                values::number(height, &mut self.rng)
            }
            _ => height,
        }
    }

    /// A liar's vote of the next height, as soon as a height begins.
    pub(super) fn vote_early(&mut self, index: usize, height: u64, time: u64) {
        if self.kind_of(index) != Some(Fault::EarlyVotes) {
            return;
        }
        let Some((_, means)) = self.liar(index) else { return };
        let message = Byzantine::early_vote(height, &means);
        self.faults.count(Fault::EarlyVotes);
        self.gossip(index, lane_of(&message), message.encode().into(), Audience::All, time);
    }

    /// A block that a liar's engine did not ask for, built on the liar's head.
    fn unasked_block(&self, index: usize, height: u64, round: u32, time_ms: u64) -> Option<OtherBlock> {
        let application = &self.nodes[index].running.as_ref()?.application;
        let store = application.executor.store();
        let head = store.head().filter(|head| head.height + 1 == height)?;
        let last_commit = match head.height {
            0 => Certificate::genesis(head.hash),
            height => store.certificate(height).ok().flatten()?,
        };
        let request = Request::Propose { height, round, last_commit, time_ms };
        let limit = self.config.block_transactions;
        let mut asked = 0usize;
        let mut filled = || {
            asked += 1;
            asked > limit
        };
        proposed(&application.serve(request, &mut filled).answer)
    }

    fn publish_unasked(&mut self, index: usize, block: &OtherBlock, name: Address, time: u64) {
        let Some((_, means)) = self.liar(index) else { return };
        for message in Byzantine::usurp(block, name, &means) {
            self.gossip(index, lane_of(&message), message.encode().into(), Audience::All, time);
        }
    }

    /// A proposal although it is not this node's turn.
    pub(super) fn usurp(&mut self, index: usize, height: u64, round: u32, proposer: Address, time: u64) {
        let own = self.nodes[index].key.address();
        if self.kind_of(index) != Some(Fault::Usurpation) || proposer == own {
            return;
        }
        let time_ms = self.nodes[index].clock(time).wall_ms;
        let Some(block) = self.unasked_block(index, height, round, time_ms) else { return };
        let name = if self.rng.random_bool(0.7) { own } else { proposer };
        self.faults.count(Fault::Usurpation);
        self.publish_unasked(index, &block, name, time);
    }

    /// Two blocks for each of the next two rounds that are this node's, before they begin.
    pub(super) fn propose_ahead(&mut self, index: usize, height: u64, round: u32, time: u64) {
        if self.kind_of(index) != Some(Fault::FutureRounds) {
            return;
        }
        let own = self.nodes[index].key.address();
        let time_ms = self.nodes[index].clock(time).wall_ms;
        let set = self.checker.set_at(height);
        for next in (round + 1..=round + 2).filter(|next| set.proposer(*next).address == own) {
            for later in 0..2 {
                let Some(block) = self.unasked_block(index, height, next, time_ms + later) else { return };
                self.faults.count(Fault::FutureRounds);
                self.publish_unasked(index, &block, own, time);
            }
        }
    }

    /// Liars that send rubbish three times, which is not enough for a ban, and open their stream again, five times.
    pub(crate) fn reopen_streams(&mut self) {
        for index in 0..self.nodes.len() {
            if self.kind_of(index) != Some(Fault::ReopenedStreams) || self.nodes[index].running.is_none() {
                continue;
            }
            self.faults.count(Fault::ReopenedStreams);
            let head = self.nodes[index].head().unwrap_or(0);
            for peer in self.links.peers[index].clone() {
                for opening in 0..5u64 {
                    let time = self.now + opening * 20_000;
                    for _ in 0..3 {
                        let rubbish = payload(Lane::Votes, self.rng.random::<[u8; 32]>().to_vec().into());
                        self.send(index, peer, time, &rubbish);
                    }
                    self.send_item(index, peer, time, Item::Gone(index));
                    self.send_item(index, peer, time, Item::Opened(index, head));
                }
            }
        }
    }
}
