//! A node's application: builds, judges and commits, and what the checker is told of it.

use crate::byzantine::OtherBlock;
use crate::fault::Fault;
use crate::node::Item;
use crate::stakes::EPOCH_BLOCKS;
use crate::trace::Record;
use crate::world::World;
use bttc_engine::{Input, Output};
use bttc_executor::ReadHost;
use bttc_modules::staking;
use bttc_node::{Answer, Request};
use bttc_types::Certificate;
use std::sync::Arc;
use std::time::Instant;

impl World {
    /// The application works; what it cost beside signatures and syncs, in nanoseconds.
    pub(super) fn on_work(&mut self, index: usize, request: Request, time: u64) -> (Vec<Output>, u64) {
        let costs = self.config.costs;
        let limit = self.config.block_transactions;
        let Some(running) = &self.nodes[index].running else { return (Vec::new(), 0) };
        let application = running.application.clone();
        let filled = |limit: usize| {
            let mut asked = 0usize;
            move || {
                asked += 1;
                asked > limit
            }
        };
        if let Request::Propose { height, round, last_commit, time_ms } = &request
            && self.nodes[index].byzantine.as_ref().is_some_and(|liar| liar.kind == Some(Fault::DoubleProposal))
        {
            let second = Request::Propose {
                height: *height,
                round: *round,
                last_commit: last_commit.clone(),
                time_ms: time_ms + 1,
            };
            let blocks = [second, request.clone()]
                .map(|request| proposed(&application.serve(request, &mut filled(limit)).answer));
            for known in blocks.iter().flatten() {
                for liar in self.nodes.iter_mut().filter_map(|node| node.byzantine.as_mut()) {
                    liar.proposed.push((known.height, known.round, known.hash));
                }
            }
            let [other, _] = blocks;
            if let Some(byzantine) = &mut self.nodes[index].byzantine {
                byzantine.other = other;
            }
        }
        let asked = request.clone();
        let commit = match &request {
            Request::Commit { certificate, durable, .. } => Some((certificate.clone(), *durable)),
            Request::Propose { .. } | Request::Validate { .. } | Request::BetterCertificate(_) => None,
        };
        // What was judged before its commit is not executed again.
        let block = match &request {
            Request::Validate { hash, .. } => Some(*hash),
            Request::Commit { hash, .. } if application.executor.executed(hash).is_none() => Some(*hash),
            Request::Commit { .. } | Request::Propose { .. } | Request::BetterCertificate(_) => None,
        };
        let since = Instant::now();
        let mut served = application.serve(request, &mut filled(limit));
        self.took(index, "application", since);
        if let Request::Propose { .. } = &asked
            && self.nodes[index].byzantine.is_some()
        {
            served.answer = self.lie_about_built(index, &application, asked, served.answer);
        }
        let block = block.or_else(|| proposed(&served.answer).map(|block| block.hash));
        let executed = match (&served.committed, block) {
            (_, None) => 0,
            (Some(committed), Some(_)) => committed.executed.transactions.len(),
            (None, Some(hash)) => {
                application.executor.executed(&hash).map_or(0, |executed| executed.transactions.len())
            }
        } as u64;
        let spent = costs.block + executed * costs.transaction;
        if let Some(other) = proposed(&served.answer) {
            self.proposed_at.entry(other.hash).or_insert(time);
        }
        if let (Some(committed), Some((certificate, durable))) = (&served.committed, commit) {
            let done = time + (spent + costs.sync).div_ceil(1_000);
            self.on_committed(index, &committed.executed, &certificate, durable, done);
        }
        let outputs = match served.answer {
            None => Vec::new(),
            Some(Answer::Halt(reason)) => {
                self.on_halt(index, &reason);
                Vec::new()
            }
            Some(Answer::Input(mut input)) => {
                if let Input::Committed { transactions_waiting, .. } = &mut input
                    && let Some(running) = &mut self.nodes[index].running
                {
                    running.told_waiting = false;
                    *transactions_waiting =
                        application.executor.next_base_fee().is_ok_and(|fee| application.pool.has_executable(fee));
                }
                self.input(index, input, time)
            }
        };
        (outputs, spent)
    }

    fn on_committed(
        &mut self,
        index: usize,
        executed: &bttc_executor::ExecutedBlock,
        certificate: &Certificate,
        durable: bool,
        time: u64,
    ) {
        let height = executed.block.header.number;
        self.trace.record(Record::Decision, time, index, executed.hash.as_slice());
        if height > self.checker.height() {
            self.extra_rounds += u64::from(certificate.round);
            if self.checker.changes_at(height) {
                self.faults.count(Fault::SetChange);
            }
            self.look_at_stakes(index, height);
        }
        self.note_clocks(time);
        self.checker.on_commit(index, &executed.block, executed.hash, certificate, durable);
        self.watch_pace(time);
        if let Some(since) = self.proposed_at.get(&executed.hash) {
            self.finality.push(time.saturating_sub(*since));
        }
        let claimed = self.claimed_height(index, height);
        for peer in self.links.peers[index].clone() {
            self.send_item(index, peer, time, Item::Status(index, claimed));
        }
    }

    /// At the first commit of a height: the set that it fixed, who is jailed, and the modules' invariants.
    fn look_at_stakes(&mut self, index: usize, height: u64) {
        let Some(running) = &self.nodes[index].running else { return };
        let executor = Arc::clone(&running.application.executor);
        let ends_epoch = height.is_multiple_of(EPOCH_BLOCKS);
        if !ends_epoch && !height.is_multiple_of(3) {
            return;
        }
        let delegators = self.stakes.delegators();
        let found = executor.store().view(Some(height), |view| {
            let header = view.header(height).ok().flatten().unwrap_or_default();
            let mut host = ReadHost::new(executor.env_of(&header, 0), view);
            let broken = bttc_modules::check_invariants(&mut host, &delegators).err();
            let epoch = (height - 1) / EPOCH_BLOCKS + 2;
            let set = if ends_epoch { staking::validator_set(&mut host, epoch).ok().flatten() } else { None };
            let mut jailed = std::collections::BTreeMap::new();
            let mut tombstoned = Vec::new();
            for id in 1..=delegators.len() as u32 {
                if let Ok(info) = staking::views::validator(&mut host, id) {
                    jailed.insert(info.owner, info.jailed && !info.tombstoned);
                    if info.tombstoned {
                        tombstoned.push(info.owner);
                    }
                }
            }
            (broken, set.map(|set| (epoch, set)), jailed, tombstoned)
        });
        match found {
            // A node that is far ahead of its disk's view commits again later.
            Err(_) => {}
            Ok((broken, set, jailed, tombstoned)) => {
                if let Some(broken) = broken {
                    self.checker.violated("module invariants", format!("height {height}: {broken}"));
                }
                if let Some((epoch, set)) = set {
                    self.checker.on_set(epoch, set);
                }
                let newly = |owner: &alloy_primitives::Address| !self.jailed.get(owner).copied().unwrap_or(false);
                self.jailings += jailed.iter().filter(|(owner, jailed)| **jailed && newly(owner)).count() as u64;
                self.jailed = jailed;
                self.tombstoned.extend(tombstoned);
            }
        }
    }

    /// A node cannot go on.
    pub(super) fn on_halt(&mut self, index: usize, reason: &str) {
        let node = &mut self.nodes[index];
        node.halted = true;
        if !node.disk.is_hurt() && !node.disk.is_dead() && !node.liar {
            self.checker.violated("goes on", format!("node {index} halted without a fault of its disk: {reason}"));
        }
    }

    /// Whoever reports sends the evidence in a transaction.
    pub(super) fn report(&mut self, evidence: &bttc_types::Evidence) {
        let (clients, now) = (&mut self.clients, self.now);
        let report =
            self.stakes.report(evidence, &mut |sender, to, value, input| clients.call(sender, to, value, input, now));
        if let Some(transaction) = report {
            for to in 0..self.nodes.len() {
                let incarnation = self.nodes[to].incarnation;
                let item = Item::Submitted(Arc::clone(&transaction));
                self.at(self.now + 1_000, crate::world::Event::Arrive { to, incarnation, item });
            }
        }
    }
}

/// The block in an answer to a request for one.
pub(super) fn proposed(answer: &Option<Answer>) -> Option<OtherBlock> {
    match answer {
        Some(Answer::Input(Input::Proposed { height, round, hash, bytes })) => {
            Some(OtherBlock { height: *height, round: *round, hash: *hash, bytes: Arc::clone(bytes) })
        }
        _ => None,
    }
}
