//! A node's work: items from its inbox through network logic, engine and application, and what comes out of them. This
//! is what the process does with threads and sockets, in one thread and in virtual time.

use crate::byzantine::{Audience, OtherBlock};
use crate::fault::Fault;
use crate::node::{Item, Payload, peer_id};
use crate::stakes::EPOCH_BLOCKS;
use crate::trace::Record;
use crate::world::World;
use alloy_primitives::{B256, keccak256};
use bttc_engine::{BlocksRequest, Event, Input, Message, Output, Verdict, decode_blocks, encode_blocks};
use bttc_executor::ReadHost;
use bttc_modules::staking;
use bttc_network::{Arrival, Consequence, Judged, Lane, Verdict as NetworkVerdict};
use bttc_node::{Answer, HeadAccounts, Request, certified_blocks, judge_transaction, lane_of};
use bttc_types::{Certificate, RecoveredTransaction, recoveries};
use rand::Rng;
use rand::seq::IndexedRandom;
use std::sync::Arc;

/// Longest wait between two looks at an engine.
const LONGEST_SLEEP_US: u64 = 1_000_000;

impl World {
    /// A node's core works through its inbox.
    pub(crate) fn work(&mut self, index: usize) {
        let mut time = self.now.max(self.nodes[index].busy_until);
        let mut idle = true;
        while let Some(item) = self.nodes[index].inbox.pop_front() {
            idle = false;
            time = self.handle(index, item, time);
            if !self.survives(index) {
                return;
            }
        }
        if idle || self.due(index, time) {
            let clock = self.nodes[index].clock(time);
            let Some(running) = &mut self.nodes[index].running else { return };
            let outputs = running.engine.handle(Input::Tick, clock);
            time = self.perform_charged(index, outputs, time, 0);
            if !self.survives(index) {
                return;
            }
        }
        self.rest(index, time);
    }

    fn due(&self, index: usize, time: u64) -> bool {
        let now = self.nodes[index].clock(time).mono_ms;
        let deadline = self.nodes[index].running.as_ref().and_then(|running| running.engine.next_deadline());
        deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether a node goes on; one that died at a crash point or was halted is buried.
    fn survives(&mut self, index: usize) -> bool {
        if self.nodes[index].disk.is_dead() || self.nodes[index].halted {
            self.kill(index);
            return false;
        }
        self.nodes[index].running.is_some()
    }

    /// Nothing to do until a message or a deadline.
    pub(crate) fn rest(&mut self, index: usize, time: u64) {
        self.nodes[index].busy_until = time;
        if !self.nodes[index].inbox.is_empty() {
            self.wake(index, time);
            return;
        }
        let Some(running) = &self.nodes[index].running else { return };
        let longest = time + LONGEST_SLEEP_US;
        // The clock shows 1 ms at time 0.
        let deadline = running.engine.next_deadline().map_or(longest, |ms| ms.saturating_sub(1) * 1_000);
        // A deadline that has passed and is still there waits for something else.
        let next = if deadline <= time { time + 50_000 } else { deadline.min(longest) };
        self.wake(index, next);
    }

    /// Handles one item that begins at `time`; when its core is free again.
    fn handle(&mut self, index: usize, item: Item, time: u64) -> u64 {
        let (recovered, synced) = (recoveries(), self.nodes[index].disk.counts().syncs);
        let costs = self.config.costs;
        let mut nanoseconds = costs.item;
        let outputs = match item {
            Item::Gossip(from, payload) => {
                nanoseconds += costs.byte * payload.bytes.len() as u64;
                self.on_gossip(index, from, &payload, time)
            }
            Item::Status(peer, height) => self.input(index, Input::PeerStatus { peer: peer as u64, height }, time),
            Item::Connected(peer, height) => self.on_connected(index, peer, height, time),
            Item::Gone(peer) => {
                if let Some(running) = &mut self.nodes[index].running {
                    running.router.remove_peer(peer as u64);
                }
                self.input(index, Input::PeerGone(peer as u64), time)
            }
            Item::Asked(peer, tag, bytes) => {
                self.on_asked(index, peer, tag, &bytes, time);
                Vec::new()
            }
            Item::Answered(peer, tag, bytes) => {
                nanoseconds += costs.byte * bytes.len() as u64;
                let input = match decode_blocks(&bytes) {
                    Ok(blocks) => Input::Blocks { peer: peer as u64, from: tag, blocks },
                    Err(_) => Input::BlocksFailed { peer: peer as u64, from: tag },
                };
                self.input(index, input, time)
            }
            Item::Work(request) => {
                let (outputs, spent) = self.on_work(index, request, time);
                nanoseconds += spent;
                outputs
            }
            Item::Submitted(transaction) => {
                self.on_submitted(index, &transaction, time);
                // Its sender was recovered before.
                nanoseconds += costs.recovery;
                Vec::new()
            }
        };
        nanoseconds += (recoveries() - recovered) * costs.recovery;
        nanoseconds += (self.nodes[index].disk.counts().syncs - synced) * costs.sync;
        let done = time + nanoseconds.div_ceil(1_000);
        self.perform(index, outputs, done);
        done
    }

    fn perform_charged(&mut self, index: usize, outputs: Vec<Output>, time: u64, nanoseconds: u64) -> u64 {
        let done = time + (nanoseconds + self.config.costs.item).div_ceil(1_000);
        self.perform(index, outputs, done);
        done
    }

    fn input(&mut self, index: usize, input: Input, time: u64) -> Vec<Output> {
        let clock = self.nodes[index].clock(time);
        match &mut self.nodes[index].running {
            Some(running) => running.engine.handle(input, clock),
            None => Vec::new(),
        }
    }

    fn on_connected(&mut self, index: usize, peer: usize, height: u64, time: u64) -> Vec<Output> {
        let Some(running) = &mut self.nodes[index].running else { return Vec::new() };
        if running.router.is_banned(&peer_id(peer), time / 1_000) {
            self.connect_later(index, peer, 2_100_000);
            return Vec::new();
        }
        running.router.add_peer(peer as u64, peer_id(peer), false, time / 1_000);
        let validator = Some(self.nodes[peer].key.address());
        let connected = Input::PeerConnected { peer: peer as u64, validator, greet: true };
        let mut outputs = self.input(index, connected, time);
        outputs.extend(self.input(index, Input::PeerStatus { peer: peer as u64, height }, time));
        outputs
    }

    fn on_gossip(&mut self, index: usize, from: usize, payload: &Arc<Payload>, time: u64) -> Vec<Output> {
        let clock = self.nodes[index].clock(time);
        let Some(running) = &mut self.nodes[index].running else { return Vec::new() };
        let number = match running.router.arrived(from as u64, payload.lane, &payload.bytes, time / 1_000) {
            Arrival::Duplicate => return Vec::new(),
            Arrival::OverQuota => {
                if running.router.over_quota(from as u64, payload.lane, time / 1_000) == Consequence::Disconnect {
                    self.disconnect(index, from, time, "it sends too much");
                }
                return Vec::new();
            }
            Arrival::Deliver(number) => number,
        };
        let (verdict, outputs) = if payload.lane == Lane::Transactions {
            (self.take_in(index, &payload.bytes, time), Vec::new())
        } else {
            match Message::decode(&payload.bytes) {
                Ok(message) if lane_of(&message) == payload.lane => {
                    if let Some(byzantine) = &mut self.nodes[index].byzantine {
                        byzantine.hear(&message);
                    }
                    let Some(running) = &mut self.nodes[index].running else { return Vec::new() };
                    let (verdict, outputs) = running.engine.handle_message(message, clock);
                    let verdict = match verdict {
                        Verdict::Accept => NetworkVerdict::Accept,
                        Verdict::Ignore => NetworkVerdict::Ignore,
                        Verdict::Drop => NetworkVerdict::Drop,
                        Verdict::Reject(reason) => NetworkVerdict::Reject(reason),
                    };
                    (verdict, outputs)
                }
                Ok(_) => (NetworkVerdict::Reject("a message in the wrong lane".into()), Vec::new()),
                Err(error) => (NetworkVerdict::Reject(error.to_string()), Vec::new()),
            }
        };
        self.judge(index, from, number, payload, &verdict, time);
        outputs
    }

    /// The network's part of a verdict.
    fn judge(
        &mut self,
        index: usize,
        from: usize,
        number: u64,
        payload: &Arc<Payload>,
        verdict: &NetworkVerdict,
        time: u64,
    ) {
        if let NetworkVerdict::Reject(reason) = verdict
            && !self.nodes[from].liar
            && !self.nodes[index].liar
        {
            let what = payload.lane.name();
            self.checker.violated("no honest blamed", format!("node {index} rejects {what} of node {from}: {reason}"));
        }
        tracing::trace!(us = time, node = index, from, lane = payload.lane.name(), ?verdict);
        let Some(running) = &mut self.nodes[index].running else { return };
        match running.router.judged(from as u64, number, verdict, time / 1_000) {
            Judged::Nothing => {}
            Judged::Forward(peers) => {
                for peer in peers {
                    self.send(index, peer as usize, time, payload);
                }
            }
            Judged::Disconnect => self.disconnect(index, from, time, "its messages are not valid"),
        }
    }

    fn disconnect(&mut self, index: usize, peer: usize, time: u64, reason: &str) {
        if !self.nodes[peer].liar && !self.nodes[index].liar {
            self.checker.violated("no honest blamed", format!("node {index} bans node {peer}: {reason}"));
        }
        if let Some(running) = &mut self.nodes[index].running {
            running.router.remove_peer(peer as u64);
        }
        self.nodes[index].inbox.push_back(Item::Gone(peer));
        self.send_item(index, peer, time, Item::Gone(index));
        self.connect_later(index, peer, 2_100_000);
    }

    fn take_in(&mut self, index: usize, bytes: &[u8], time: u64) -> NetworkVerdict {
        let Some(running) = &self.nodes[index].running else { return NetworkVerdict::Ignore };
        match judge_transaction(&running.application.pool, bytes) {
            Err(verdict) => verdict,
            Ok(transaction) => {
                if self.add_to_pool(index, &Arc::new(transaction), false, time) {
                    NetworkVerdict::Accept
                } else {
                    NetworkVerdict::Ignore
                }
            }
        }
    }

    /// Adds a transaction to a node's pool and tells its engine, once a height. False: the pool did not take it.
    fn add_to_pool(&mut self, index: usize, transaction: &Arc<RecoveredTransaction>, local: bool, time: u64) -> bool {
        let clock = self.nodes[index].clock(time);
        let Some(running) = &mut self.nodes[index].running else { return false };
        let accounts = HeadAccounts(Arc::clone(&running.application.executor));
        match running.application.pool.add(Arc::clone(transaction), local, clock.wall_ms, &accounts) {
            Ok(added) => {
                if added.pending && !std::mem::replace(&mut running.told_waiting, true) {
                    let outputs = running.engine.handle(Input::TransactionsWaiting, clock);
                    self.perform(index, outputs, time);
                }
                true
            }
            Err(_) => false,
        }
    }

    fn on_submitted(&mut self, index: usize, transaction: &Arc<RecoveredTransaction>, time: u64) {
        let known = self.add_to_pool(index, transaction, true, time);
        if self.config.transactions_everywhere {
            return;
        }
        // What the pool holds already is sent again, as the node does with its users' transactions every few seconds.
        if known || self.holds(index, &transaction.hash()) {
            let bytes: Arc<[u8]> = transaction.encoded().to_vec().into();
            self.gossip(index, Lane::Transactions, bytes, Audience::All, time);
        }
    }

    fn holds(&self, index: usize, hash: &B256) -> bool {
        self.nodes[index].running.as_ref().is_some_and(|running| running.application.pool.get(hash).is_some())
    }

    fn on_asked(&mut self, index: usize, peer: usize, tag: u64, bytes: &[u8], time: u64) {
        let Some(running) = &self.nodes[index].running else { return };
        let Ok(request) = BlocksRequest::decode_exact(bytes) else { return };
        let mut blocks = certified_blocks(&running.application.executor, request);
        if let Some(byzantine) = &self.nodes[index].byzantine
            && byzantine.kind == Some(Fault::LyingSync)
        {
            self.faults.count(Fault::LyingSync);
            byzantine.lie_about_blocks(&mut blocks, &mut self.rng);
        }
        let answer: Arc<[u8]> = encode_blocks(&blocks).into();
        self.send_item(index, peer, time, Item::Answered(index, tag, answer));
    }

    /// The application works; what it cost beside signatures and syncs, in nanoseconds.
    fn on_work(&mut self, index: usize, request: Request, time: u64) -> (Vec<Output>, u64) {
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
        let served = application.serve(request, &mut filled(limit));
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
        self.checker.on_commit(index, &executed.block, executed.hash, certificate, durable);
        if let Some(since) = self.proposed_at.get(&executed.hash) {
            self.finality.push(time.saturating_sub(*since));
        }
        let mut claimed = height;
        if let Some(byzantine) = &self.nodes[index].byzantine
            && byzantine.kind == Some(Fault::LyingSync)
            && self.rng.random_bool(0.3)
        {
            self.faults.count(Fault::LyingSync);
            claimed = height.saturating_add(self.rng.random_range(1..2_000));
        }
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

    fn on_halt(&mut self, index: usize, reason: &str) {
        let node = &mut self.nodes[index];
        node.halted = true;
        if !node.disk.is_hurt() && !node.disk.is_dead() && !node.liar {
            self.checker.violated("goes on", format!("node {index} halted without a fault of its disk: {reason}"));
        }
    }

    /// Whoever reports sends the evidence in a transaction.
    fn report(&mut self, evidence: &bttc_types::Evidence) {
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

    /// Carries out what the engine wants, at `time`.
    pub(crate) fn perform(&mut self, index: usize, outputs: Vec<Output>, time: u64) {
        for output in outputs {
            // A process can die between any two of these.
            if !self.nodes[index].disk.send_point() || self.nodes[index].halted {
                return;
            }
            tracing::debug!(us = time, node = index, output = %brief(&output));
            match output {
                Output::Broadcast(message) => self.broadcast(index, message, time),
                Output::Send(peer, message) => {
                    let bytes: Arc<[u8]> = message.encode().into();
                    let payload = payload(lane_of(&message), bytes);
                    self.send(index, peer as usize, time, &payload);
                }
                Output::Propose { height, round, last_commit, time_ms } => {
                    let time_ms = self.proposed_time(index, time_ms);
                    let request = Request::Propose { height, round, last_commit, time_ms };
                    self.nodes[index].inbox.push_back(Item::Work(request));
                }
                Output::Validate { height, hash, bytes } => {
                    self.nodes[index].inbox.push_back(Item::Work(Request::Validate { height, hash, bytes }));
                }
                Output::Commit { hash, bytes, certificate, durable, synced } => {
                    let request = Request::Commit { hash, bytes, certificate, durable, synced };
                    self.nodes[index].inbox.push_back(Item::Work(request));
                }
                Output::BetterCertificate(certificate) => {
                    self.nodes[index].inbox.push_back(Item::Work(Request::BetterCertificate(certificate)));
                }
                Output::RequestBlocks { peer, from, count } => {
                    let bytes: Arc<[u8]> = alloy_rlp::encode(BlocksRequest { from, count }).into();
                    self.send_item(index, peer as usize, time, Item::Asked(index, from, bytes));
                }
                Output::Misbehaved { peer, reason } => {
                    let peer = peer as usize;
                    if !self.nodes[peer].liar && !self.nodes[index].liar {
                        let detail = format!("node {index} blames node {peer}: {reason}");
                        self.checker.violated("no honest blamed", detail);
                    }
                    let Some(running) = &mut self.nodes[index].running else { return };
                    if running.router.rejected(peer as u64, time / 1_000) == Consequence::Disconnect {
                        self.disconnect(index, peer, time, &reason);
                    }
                }
                Output::Evidence { evidence, found_here } => {
                    if !self.nodes[index].liar {
                        self.checker.on_evidence(index, &evidence);
                    }
                    if self.accused.insert((evidence.validator(), evidence.height())) {
                        self.report(&evidence);
                    }
                    if found_here || bttc_types::Mutant::FloodsPassedOn.active() {
                        let message = Message::Evidence(Box::new(evidence));
                        self.gossip(index, lane_of(&message), message.encode().into(), Audience::All, time);
                    }
                }
                Output::Halt(reason) => {
                    self.on_halt(index, &reason);
                    return;
                }
                Output::Event(Event::RoundStarted { height, round, proposer }) => {
                    self.usurp(index, height, round, proposer, time);
                }
                Output::Event(_) => {}
            }
        }
    }

    fn proposed_time(&mut self, index: usize, time_ms: u64) -> u64 {
        match &self.nodes[index].byzantine {
            Some(byzantine) if byzantine.kind == Some(Fault::UntimelyProposal) => {
                self.faults.count(Fault::UntimelyProposal);
                let far = self.rng.random_range(2_000..100_000);
                if self.rng.random() { time_ms + far } else { time_ms.saturating_sub(far) }
            }
            _ => time_ms,
        }
    }

    fn usurp(&mut self, index: usize, height: u64, round: u32, proposer: alloy_primitives::Address, time: u64) {
        let node = &self.nodes[index];
        let Some(byzantine) = &node.byzantine else { return };
        let Some(running) = &node.running else { return };
        if byzantine.kind != Some(Fault::Usurpation) || proposer == node.key.address() {
            return;
        }
        let executor = &running.application.executor;
        let Some(head) = executor.store().head().filter(|head| head.height + 1 == height) else { return };
        let last_commit = match head.height {
            0 => Certificate::genesis(head.hash),
            height => match executor.store().certificate(height) {
                Ok(Some(certificate)) => certificate,
                Ok(None) | Err(_) => return,
            },
        };
        let time_ms = node.clock(time).wall_ms;
        let request = Request::Propose { height, round, last_commit, time_ms };
        let Some(block) = proposed(&running.application.serve(request, &mut || true).answer) else { return };
        let name = if self.rng.random_bool(0.7) { node.key.address() } else { proposer };
        let messages = byzantine.usurp(&block, name, &node.key, executor.domain());
        self.faults.count(Fault::Usurpation);
        for message in messages {
            self.gossip(index, lane_of(&message), message.encode().into(), Audience::All, time);
        }
    }

    fn broadcast(&mut self, index: usize, message: Message, time: u64) {
        let node = &mut self.nodes[index];
        let own = node.key.address();
        if node.twin && matches!(message, Message::Vote(_) | Message::Proposal(_)) {
            self.faults.count(Fault::Twin);
        }
        match &message {
            Message::Vote(vote) if vote.vote.validator == own => self.checker.on_vote(vote),
            Message::Proposal(proposal) if proposal.proposal.proposer == own => self.checker.on_proposal(proposal),
            _ => {}
        }
        let (Some(byzantine), Some(running)) = (&mut node.byzantine, &node.running) else {
            let bytes = message.encode().into();
            self.gossip(index, lane_of(&message), bytes, Audience::All, time);
            return;
        };
        byzantine.hear(&message);
        let kind = byzantine.kind;
        let domain = running.application.executor.domain().clone();
        let (lies, lied) = byzantine.instead(message, &node.key, &domain, &mut self.rng);
        if let (true, Some(kind)) = (lied, kind) {
            self.faults.count(kind);
        }
        for (audience, later, message) in lies {
            let bytes = message.encode().into();
            self.gossip(index, lane_of(&message), bytes, audience, time + later);
        }
    }

    /// Publishes bytes of this node's own.
    fn gossip(&mut self, index: usize, lane: Lane, bytes: Arc<[u8]>, audience: Audience, time: u64) {
        let payload = payload(lane, bytes);
        if let Some(running) = &mut self.nodes[index].running {
            running.router.published(lane, &payload.bytes);
        }
        let mut peers = self.links.peers[index].clone();
        match audience {
            Audience::All => {}
            Audience::Half(odd) => peers.retain(|peer| (peer % 2 == 1) == odd),
            Audience::One => peers = peers.choose(&mut self.rng).copied().into_iter().collect(),
        }
        for peer in peers {
            self.send(index, peer, time, &payload);
        }
    }
}

/// An output in a line of a log.
fn brief(output: &Output) -> String {
    let text = format!("{output:?}");
    text.chars().take(300).collect()
}

fn payload(lane: Lane, bytes: Arc<[u8]>) -> Arc<Payload> {
    let hash = keccak256(&bytes);
    Arc::new(Payload { lane, bytes, hash })
}

/// The block in an answer to a request for one.
fn proposed(answer: &Option<Answer>) -> Option<OtherBlock> {
    match answer {
        Some(Answer::Input(Input::Proposed { height, round, hash, bytes })) => {
            Some(OtherBlock { height: *height, round: *round, hash: *hash, bytes: Arc::clone(bytes) })
        }
        _ => None,
    }
}
