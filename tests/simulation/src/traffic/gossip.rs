//! Messages, transactions, block requests and peers: what the network's part of a node does.

use crate::byzantine::Audience;
use crate::node::{Item, Payload, peer_id};
use crate::world::World;
use alloy_primitives::{B256, keccak256};
use bttc_engine::{BlocksRequest, Input, Message, Output, Verdict, encode_blocks};
use bttc_network::{Arrival, Consequence, Judged, Lane, Verdict as NetworkVerdict};
use bttc_node::{HeadAccounts, certified_blocks, judge_transaction, lane_of, wasted};
use bttc_pool::Error as PoolError;
use bttc_types::RecoveredTransaction;
use rand::seq::IndexedRandom;
use std::sync::Arc;
use std::time::Instant;

impl World {
    /// A peer opens its stream unasked: it may do so now and then.
    pub(super) fn on_opened(&mut self, index: usize, peer: usize, height: u64, time: u64) -> Vec<Output> {
        let Some(running) = &mut self.nodes[index].running else { return Vec::new() };
        let now_ms = time / 1_000;
        if running.router.is_banned(&peer_id(peer), now_ms) {
            return Vec::new();
        }
        if !running.may_open(peer, now_ms) {
            if running.router.opened_too_often(peer as u64, now_ms) == Consequence::Disconnect {
                self.disconnect(index, peer, time, "it opens streams all the time");
            }
            return Vec::new();
        }
        self.on_connected(index, peer, height, time)
    }

    /// A peer's session begins.
    pub(super) fn on_connected(&mut self, index: usize, peer: usize, height: u64, time: u64) -> Vec<Output> {
        let Some(running) = &mut self.nodes[index].running else { return Vec::new() };
        if running.router.is_banned(&peer_id(peer), time / 1_000) {
            self.connect_later(index, peer, 2_100_000);
            return Vec::new();
        }
        if peer >= self.nodes.len() && !self.strangers.enter(index, peer) {
            return Vec::new();
        }
        let Some(running) = &mut self.nodes[index].running else { return Vec::new() };
        running.router.add_peer(peer as u64, peer_id(peer), false, time / 1_000);
        // Simulated nodes are no neighbours.
        running.useless.connected(peer as u64, peer as u64);
        let greet = running.router.may_greet(peer as u64, time / 1_000);
        let validator = self.nodes.get(peer).map(|node| node.key.address());
        let connected = Input::PeerConnected { peer: peer as u64, validator, greet };
        let mut outputs = self.input(index, connected, time);
        outputs.extend(self.input(index, Input::PeerStatus { peer: peer as u64, height }, time));
        outputs
    }

    pub(super) fn on_gossip(&mut self, index: usize, from: usize, payload: &Arc<Payload>, time: u64) -> Vec<Output> {
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
            (self.take_in(index, from, &payload.bytes, time), Vec::new())
        } else {
            match Message::decode(&payload.bytes) {
                Ok(message) if lane_of(&message) == payload.lane => {
                    if let Some(byzantine) = &mut self.nodes[index].byzantine {
                        byzantine.hear(&message);
                    }
                    let Some(running) = &mut self.nodes[index].running else { return Vec::new() };
                    let since = Instant::now();
                    let (verdict, outputs) = running.engine.handle_message(message, clock);
                    self.took(index, "engine", since);
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
        if let NetworkVerdict::Reject(reason) = verdict {
            let what = payload.lane.name();
            self.blamed(index, from, time, || format!("node {index} rejects {what} of node {from}: {reason}"));
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

    /// A node blames a peer. Nobody honest may be blamed, and nobody else again and again without a ban.
    pub(super) fn blamed(&mut self, index: usize, from: usize, time: u64, detail: impl FnOnce() -> String) {
        if self.is_liar(index) {
            return;
        }
        if !self.is_liar(from) {
            self.checker.violated("no honest blamed", detail());
        } else if let Some(problem) = self.standing.blamed(index, from, time) {
            self.checker.violated("standing", problem);
        }
    }

    pub(super) fn disconnect(&mut self, index: usize, peer: usize, time: u64, reason: &str) {
        if !self.is_liar(peer) && !self.is_liar(index) {
            self.checker.violated("no honest blamed", format!("node {index} bans node {peer}: {reason}"));
        }
        if let Some(running) = &mut self.nodes[index].running {
            running.router.remove_peer(peer as u64);
        }
        self.nodes[index].inbox.push_back(Item::Gone(peer));
        self.send_item(index, peer, time, Item::Gone(index));
        self.connect_later(index, peer, 2_100_000);
    }

    fn take_in(&mut self, index: usize, from: usize, bytes: &[u8], time: u64) -> NetworkVerdict {
        let now_ms = time / 1_000;
        let Some(running) = &self.nodes[index].running else { return NetworkVerdict::Ignore };
        if !running.useless.allows(from as u64, now_ms) {
            return NetworkVerdict::Ignore;
        }
        let transaction = match judge_transaction(&running.application.pool, bytes) {
            Ok(transaction) => Arc::new(transaction),
            Err(verdict) => return verdict,
        };
        match self.add_to_pool(index, &transaction, false, time) {
            Ok(()) => NetworkVerdict::Accept,
            Err(error) => {
                if let Some(running) = &mut self.nodes[index].running {
                    (0..wasted(&error, &transaction)).for_each(|_| running.useless.charge(from as u64, now_ms));
                }
                NetworkVerdict::Ignore
            }
        }
    }

    /// Adds a transaction to a node's pool and tells its engine, once a height.
    fn add_to_pool(
        &mut self,
        index: usize,
        transaction: &Arc<RecoveredTransaction>,
        local: bool,
        time: u64,
    ) -> Result<(), PoolError> {
        let clock = self.nodes[index].clock(time);
        let Some(running) = &mut self.nodes[index].running else { return Ok(()) };
        let accounts = HeadAccounts(Arc::clone(&running.application.executor));
        let added = running.application.pool.add(Arc::clone(transaction), local, clock.wall_ms, &accounts)?;
        if (added.pending || !added.promoted.is_empty()) && !std::mem::replace(&mut running.told_waiting, true) {
            let outputs = self.input(index, Input::TransactionsWaiting, time);
            self.perform(index, outputs, time);
        }
        Ok(())
    }

    pub(super) fn on_submitted(&mut self, index: usize, transaction: &Arc<RecoveredTransaction>, time: u64) {
        let known = self.add_to_pool(index, transaction, true, time).is_ok();
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

    pub(super) fn on_asked(&mut self, index: usize, peer: usize, tag: u64, bytes: &[u8], time: u64) {
        let Some(running) = &self.nodes[index].running else { return };
        let Ok(request) = BlocksRequest::decode_exact(bytes) else { return };
        let mut blocks = certified_blocks(&running.application.executor, request);
        self.lie_about_blocks(index, &mut blocks);
        let answer: Arc<[u8]> = encode_blocks(&blocks).into();
        self.send_item(index, peer, time, Item::Answered(index, tag, answer));
    }

    /// Publishes bytes of this node's own.
    pub(crate) fn gossip(&mut self, index: usize, lane: Lane, bytes: Arc<[u8]>, audience: Audience, time: u64) {
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

/// Bytes for a lane, hashed.
pub(crate) fn payload(lane: Lane, bytes: Arc<[u8]>) -> Arc<Payload> {
    let hash = keccak256(&bytes);
    Arc::new(Payload { lane, bytes, hash })
}
