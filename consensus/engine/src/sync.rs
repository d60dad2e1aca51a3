//! Block sync, pure: which blocks to ask whom for, and in which order they are applied.
//!
//! Ranges are requested from several peers at once and applied strictly in order. A range that fails (no answer in
//! time, a gap, a bad certificate) is thrown away whole and asked for again from another peer; a peer that failed
//! rests for a while, longer each time, and what it said about its height does not count meanwhile, so that a liar cannot
//! keep a node out of consensus. It is not forgotten: a peer says its height once, and may be the only one that has the
//! block without which nobody goes on.

use crate::machine::PeerKey;
use crate::message::CertifiedBlock;
use bttc_types::Mutant;
use std::collections::{BTreeMap, VecDeque};

/// Blocks in one request. 16 blocks share one synced write.
pub const SYNC_BATCH: u64 = 16;

/// Ranges in flight or waiting to be applied. Memory: at most 4 responses of the network's response limit.
const WINDOW: usize = 4;

/// How long a peer rests after its first failure; doubled with each further one.
const REST_MS: u64 = 1_000;

/// How long the range that everything waits for may take before another peer is asked for it, too: a part of the time that a request
/// may take.
const SECOND_ASK_SHARE: u64 = 5;

/// Peers that are not connected whose standing is remembered.
const REMEMBERED: usize = 1_024;

/// What is known of a peer. It belongs to the peer's identity and outlives its sessions: opening a new one wipes nothing out.
#[derive(Clone, Debug, Default)]
struct Peer {
    height: u64,
    connected: bool,
    busy: bool,
    /// Whether it has delivered a block with a good certificate.
    proven: bool,
    failures: u32,
    rests_until: u64,
    /// How often it was asked: the load is spread over all peers.
    asked: u64,
}

impl Peer {
    /// Whether it can be asked for blocks from `from` on.
    fn can_serve(&self, from: u64, now: u64) -> bool {
        self.connected && !self.busy && self.rests_until <= now && self.height >= from
    }
}

/// A peer that was asked, and until when it may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    peer: PeerKey,
    deadline: u64,
}

#[derive(Debug)]
enum Range {
    /// Asked for, of one peer or two.
    Requested {
        count: u64,
        second_ask: u64,
        asked: Vec<Asked>,
    },
    Arrived {
        peer: PeerKey,
        blocks: VecDeque<CertifiedBlock>,
    },
}

/// The state of block sync.
#[derive(Debug, Default)]
pub(crate) struct BlockSync {
    peers: BTreeMap<PeerKey, Peer>,
    /// Ranges by their first height.
    ranges: BTreeMap<u64, Range>,
    /// Blocks of the range being applied, with the peer they came from.
    applying: VecDeque<CertifiedBlock>,
    applying_from: Option<PeerKey>,
    /// Peers whose range another one has delivered, and until when they may answer.
    overtaken: BTreeMap<PeerKey, u64>,
}

/// A request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) peer: PeerKey,
    pub(crate) from: u64,
    pub(crate) count: u64,
}

impl BlockSync {
    /// A peer says how far it is.
    pub(crate) fn peer_status(&mut self, peer: PeerKey, height: u64) {
        let entry = self.peers.entry(peer).or_default();
        entry.height = height;
        entry.connected = true;
    }

    /// How far a connected peer says that it is.
    pub(crate) fn height_of(&self, peer: PeerKey) -> Option<u64> {
        self.peers.get(&peer).filter(|peer| peer.connected).map(|peer| peer.height)
    }

    /// A peer is gone; its requests will not be answered.
    pub(crate) fn peer_gone(&mut self, peer: PeerKey, now: u64) {
        if Mutant::StandingPerSession.active() {
            self.peers.remove(&peer);
        }
        let mut owed = self.overtaken.remove(&peer).is_some();
        for range in self.ranges.values_mut() {
            if let Range::Requested { asked, .. } = range {
                let before = asked.len();
                asked.retain(|entry| entry.peer != peer);
                owed |= asked.len() < before;
            }
        }
        self.drop_unasked();
        if owed {
            self.failed(peer, now);
        }
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.connected = false;
            entry.busy = false;
        }
        self.forget_some(now);
    }

    /// Keeps the number of peers that are not connected bounded; who has failed least is forgotten first.
    fn forget_some(&mut self, now: u64) {
        self.peers.retain(|_, peer| peer.connected || peer.proven || peer.failures > 0);
        let gone = self.peers.values().filter(|peer| !peer.connected).count();
        if gone > REMEMBERED
            && let Some(key) = self
                .peers
                .iter()
                .filter(|(_, peer)| !peer.connected)
                .min_by_key(|(key, peer)| (peer.rests_until > now, peer.failures, **key))
                .map(|(key, _)| *key)
        {
            self.peers.remove(&key);
        }
    }

    /// Ranges of which nobody is asked any more are asked for anew.
    fn drop_unasked(&mut self) {
        self.ranges.retain(|_, range| !matches!(range, Range::Requested { asked, .. } if asked.is_empty()));
    }

    /// The greatest height that a peer claims, of those that do not rest.
    pub(crate) fn best_height(&self, now: u64) -> u64 {
        let awake = self.peers.values().filter(|peer| peer.connected && peer.rests_until <= now);
        awake.map(|peer| peer.height).max().unwrap_or(0)
    }

    /// Whether anything is under way.
    pub(crate) fn active(&self) -> bool {
        !self.ranges.is_empty() || !self.applying.is_empty()
    }

    /// Whether the block after `head` is here, waiting to be applied.
    pub(crate) fn has_next(&self, head: u64) -> bool {
        let wanted = head.saturating_add(1);
        self.applying.front().is_some_and(|block| block.certificate.height == wanted)
            || matches!(self.ranges.get(&wanted), Some(Range::Arrived { .. }))
    }

    /// Forgets what is at or below the head, after it moved on by other means.
    pub(crate) fn advanced(&mut self, head: u64) {
        while self.applying.front().is_some_and(|block| block.certificate.height <= head) {
            self.applying.pop_front();
        }
        let stale: Vec<u64> = self
            .ranges
            .iter()
            .filter(|(from, range)| **from <= head && matches!(range, Range::Arrived { .. }))
            .map(|(from, _)| *from)
            .collect();
        for from in stale {
            if let Some(Range::Arrived { peer, blocks }) = self.ranges.remove(&from) {
                self.keep(peer, blocks, head);
            }
        }
    }

    /// Keeps what is above the head of blocks that have arrived.
    fn keep(&mut self, peer: PeerKey, mut blocks: VecDeque<CertifiedBlock>, head: u64) {
        blocks.retain(|block| block.certificate.height > head);
        if let Some(first) = blocks.front().map(|block| block.certificate.height) {
            self.ranges.insert(first, Range::Arrived { peer, blocks });
        }
    }

    /// Gives up requests whose time is over.
    pub(crate) fn expire(&mut self, now: u64) {
        let mut late: Vec<PeerKey> = Vec::new();
        for range in self.ranges.values_mut() {
            if let Range::Requested { asked, .. } = range {
                late.extend(asked.iter().filter(|entry| entry.deadline <= now).map(|entry| entry.peer));
                asked.retain(|entry| entry.deadline > now);
            }
        }
        late.extend(self.overtaken.iter().filter(|(_, deadline)| **deadline <= now).map(|(peer, _)| *peer));
        self.overtaken.retain(|_, deadline| *deadline > now);
        self.drop_unasked();
        for peer in late {
            self.failed(peer, now);
        }
    }

    /// Whom to ask for blocks from `from` on: who has failed least, has delivered before, and was asked least. Identities cost
    /// nothing, so once somebody has delivered, only one peer that has not is tried at a time.
    fn candidate(&self, from: u64, now: u64) -> Option<PeerKey> {
        let is_proven = |key: &PeerKey| self.peers.get(key).is_some_and(|peer| peer.proven);
        let trying = self
            .ranges
            .values()
            .filter_map(|range| match range {
                Range::Requested { asked, .. } => Some(asked),
                Range::Arrived { .. } => None,
            })
            .flatten()
            .map(|entry| entry.peer)
            .chain(self.overtaken.keys().copied())
            .any(|peer| !is_proven(&peer));
        let picky = trying
            && self.peers.values().any(|peer| peer.connected && peer.proven)
            && !Mutant::StandingPerSession.active();
        self.peers
            .iter()
            .filter(|(_, peer)| peer.can_serve(from, now) && (peer.proven || !picky))
            .min_by_key(|(key, peer)| (peer.failures, !peer.proven, peer.asked, **key))
            .map(|(key, _)| *key)
    }

    fn ask(&mut self, peer: PeerKey, now: u64, timeout: u64) -> Asked {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.busy = true;
            entry.asked = entry.asked.saturating_add(1);
        }
        Asked { peer, deadline: now.saturating_add(timeout) }
    }

    /// Requests that should be sent now, to get from `head` to `target`.
    pub(crate) fn requests(&mut self, head: u64, target: u64, now: u64, timeout: u64) -> Vec<Request> {
        self.expire(now);
        let mut requests = Vec::new();
        let mut from = self.applying.back().map_or(head, |block| block.certificate.height).saturating_add(1);
        requests.extend(self.ask_again(from, now, timeout));
        while from <= target && self.ranges.len() < WINDOW {
            if let Some(range) = self.ranges.get(&from) {
                from = match range {
                    Range::Requested { count, .. } => from.saturating_add(*count),
                    // A peer may answer with fewer blocks than asked for.
                    Range::Arrived { blocks, .. } => {
                        blocks.back().map_or(from, |block| block.certificate.height).saturating_add(1)
                    }
                };
                continue;
            }
            // The next range that we have bounds this one.
            let bound = self.ranges.range(from..).next().map_or(target.saturating_add(1), |(next, _)| *next);
            let count = SYNC_BATCH.min(bound.saturating_sub(from)).min(target.saturating_sub(from).saturating_add(1));
            let Some(peer) = self.candidate(from, now) else { break };
            let asked = vec![self.ask(peer, now, timeout)];
            let second_ask = now.saturating_add(timeout / SECOND_ASK_SHARE);
            self.ranges.insert(from, Range::Requested { count, second_ask, asked });
            requests.push(Request { peer, from, count });
            from = from.saturating_add(count);
        }
        requests
    }

    /// Asks a second peer for the range that everything waits for when the first one takes long: it may answer nothing at all.
    fn ask_again(&mut self, from: u64, now: u64, timeout: u64) -> Option<Request> {
        let Some(Range::Requested { count, second_ask, asked }) = self.ranges.get(&from) else { return None };
        if asked.len() > 1 || *second_ask > now || Mutant::StandingPerSession.active() {
            return None;
        }
        let count = *count;
        let peer = self.candidate(from, now)?;
        let entry = self.ask(peer, now, timeout);
        if let Some(Range::Requested { asked, .. }) = self.ranges.get_mut(&from) {
            asked.push(entry);
        }
        Some(Request { peer, from, count })
    }

    /// When something must be done even if nothing happens.
    pub(crate) fn deadline(&self, head: u64, now: u64) -> Option<u64> {
        let waits = self.ranges.values().filter_map(|range| match range {
            Range::Requested { second_ask, asked, .. } => {
                let late = asked.iter().map(|entry| entry.deadline).min();
                let second = Some(*second_ask).filter(|at| asked.len() < 2 && *at > now);
                late.into_iter().chain(second).min()
            }
            Range::Arrived { .. } => None,
        });
        let rested = self.peers.values().filter(|peer| peer.connected && peer.height > head && peer.rests_until > now);
        waits.chain(self.overtaken.values().copied()).chain(rested.map(|peer| peer.rests_until)).min()
    }

    /// An answer. Returns false when the peer is to blame: its blocks do not follow one another. An answer that comes
    /// too late or is empty is useless, but honest nodes give such answers too.
    pub(crate) fn arrived(
        &mut self,
        peer: PeerKey,
        from: u64,
        blocks: Vec<CertifiedBlock>,
        head: u64,
        now: u64,
    ) -> bool {
        if self.overtaken.remove(&peer).is_some() {
            self.set_idle(peer);
        }
        let Some(Range::Requested { asked, .. }) = self.ranges.get_mut(&from) else { return true };
        let before = asked.len();
        asked.retain(|entry| entry.peer != peer);
        if asked.len() == before {
            return true;
        }
        let others = asked.clone();
        let contiguous = blocks.iter().zip(from..).all(|(block, height)| block.certificate.height == height)
            && blocks.len() as u64 <= SYNC_BATCH;
        let ascending = blocks.windows(2).all(
            |pair| matches!(pair, [a, b] if a.certificate.height < b.certificate.height && a.certificate.height >= from),
        );
        let contiguous = contiguous || (Mutant::SyncContiguity.active() && ascending);
        if blocks.is_empty() || !contiguous {
            self.drop_unasked();
            self.failed(peer, now);
            return contiguous;
        }
        self.set_idle(peer);
        self.overtaken.extend(others.into_iter().map(|entry| (entry.peer, entry.deadline)));
        self.ranges.remove(&from);
        self.keep(peer, blocks.into(), head);
        true
    }

    /// A request failed.
    pub(crate) fn request_failed(&mut self, peer: PeerKey, from: u64, now: u64) {
        self.overtaken.remove(&peer);
        if let Some(Range::Requested { asked, .. }) = self.ranges.get_mut(&from) {
            asked.retain(|entry| entry.peer != peer);
        }
        self.drop_unasked();
        self.failed(peer, now);
    }

    fn set_idle(&mut self, peer: PeerKey) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.busy = false;
        }
    }

    fn failed(&mut self, peer: PeerKey, now: u64) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.busy = false;
            entry.rests_until = now.saturating_add(REST_MS.saturating_mul(1 << entry.failures.min(6)));
            entry.failures = entry.failures.saturating_add(1);
        }
    }

    /// The next block to apply after `head`, if it has arrived; and whether it is the last of its batch, so that it
    /// must be written durably.
    pub(crate) fn next(&mut self, head: u64) -> Option<(CertifiedBlock, PeerKey, bool)> {
        let wanted = head.saturating_add(1);
        if self.applying.is_empty()
            && let Some(Range::Arrived { .. }) = self.ranges.get(&wanted)
            && let Some(Range::Arrived { peer, blocks }) = self.ranges.remove(&wanted)
        {
            self.applying = blocks;
            self.applying_from = Some(peer);
        }
        let follows = |block: &CertifiedBlock| block.certificate.height == wanted || Mutant::SyncContiguity.active();
        if !self.applying.front().is_some_and(follows) {
            return None;
        }
        let block = self.applying.pop_front()?;
        Some((block, self.applying_from?, self.applying.is_empty()))
    }

    /// A block of this peer had a good certificate.
    pub(crate) fn verified(&mut self, peer: PeerKey) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.failures = 0;
            entry.proven = true;
        }
    }

    /// The block last taken was bad: throws its range away and blames its peer.
    pub(crate) fn reject_current(&mut self, now: u64) -> Option<PeerKey> {
        self.applying.clear();
        let peer = self.applying_from.take()?;
        self.failed(peer, now);
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use bttc_types::Certificate;

    fn blocks(from: u64, count: u64) -> Vec<CertifiedBlock> {
        (from..from + count)
            .map(|height| CertifiedBlock {
                block: vec![].into(),
                certificate: Certificate { height, round: 0, block_hash: B256::ZERO, signatures: vec![] },
            })
            .collect()
    }

    fn apply_all(sync: &mut BlockSync, mut head: u64) -> u64 {
        while let Some((block, ..)) = sync.next(head) {
            head = block.certificate.height;
        }
        head
    }

    #[test]
    fn ranges_go_to_several_peers_and_are_applied_in_order() {
        let mut sync = BlockSync::default();
        sync.peer_status(1, 100);
        sync.peer_status(2, 100);
        let requests = sync.requests(0, 100, 0, 1_000);
        assert_eq!(requests, [Request { peer: 1, from: 1, count: 16 }, Request { peer: 2, from: 17, count: 16 }]);
        assert!(sync.arrived(2, 17, blocks(17, 16), 0, 1));
        assert_eq!(apply_all(&mut sync, 0), 0, "nothing is applied before its turn");
        assert!(sync.arrived(1, 1, blocks(1, 16), 0, 2));
        assert_eq!(apply_all(&mut sync, 0), 32);
    }

    #[test]
    fn a_silent_peer_rests_and_its_range_goes_to_another() {
        let mut sync = BlockSync::default();
        sync.peer_status(1, 16);
        assert_eq!(sync.requests(0, 16, 0, 1_000).len(), 1);
        assert!(sync.requests(0, 16, 500, 1_000).is_empty(), "there is nobody else");
        assert_eq!(sync.deadline(0, 500), Some(1_000));
        sync.peer_status(2, 16);
        assert_eq!(sync.requests(0, 16, 1_000, 1_000), [Request { peer: 2, from: 1, count: 16 }]);
        assert!(sync.arrived(1, 1, blocks(1, 16), 0, 1_100), "a late answer is no fault");
        assert_eq!(apply_all(&mut sync, 0), 0, "but it does not count");
        assert_eq!(sync.best_height(1_100), 16);
    }

    #[test]
    fn the_range_that_everything_waits_for_is_asked_for_twice() {
        let mut sync = BlockSync::default();
        sync.peer_status(1, 64);
        sync.requests(0, 16, 0, 10_000);
        sync.peer_status(2, 64);
        assert!(sync.requests(0, 16, 1_999, 10_000).is_empty());
        assert_eq!(sync.deadline(0, 1_000), Some(2_000));
        assert_eq!(sync.requests(0, 16, 2_000, 10_000), [Request { peer: 2, from: 1, count: 16 }]);
        assert!(sync.requests(0, 16, 9_000, 10_000).is_empty(), "of two, not of all");
        assert!(sync.arrived(2, 1, blocks(1, 16), 0, 9_000));
        assert_eq!(apply_all(&mut sync, 0), 16);
        sync.verified(2);
        sync.expire(10_000);
        assert_eq!(sync.best_height(10_500), 64);
        assert_eq!(sync.peers[&1].failures, 1, "who never answered has failed, although another one did");
        assert_eq!(sync.requests(16, 64, 10_500, 10_000), [Request { peer: 2, from: 17, count: 16 }]);
    }

    /// Liars with a great height who never answer, and open a session whenever they can, against one honest peer.
    #[test]
    fn silent_peers_that_come_again_and_again_hold_nobody_up() {
        let mut sync = BlockSync::default();
        let (honest, target, step) = (100, 2_000, 100);
        sync.peer_status(honest, target);
        let (mut head, mut now) = (0, 0);
        while head < target && now < 600_000 {
            for liar in 1..=4 {
                if now % 1_000 == 0 {
                    sync.peer_gone(liar, now);
                }
                sync.peer_status(liar, 1_000_000);
            }
            // Others come with a new identity each time.
            let stranger = 1_000 + now;
            sync.peer_status(stranger, 1_000_000);
            for request in sync.requests(head, target, now, 10_000) {
                if request.peer == honest {
                    assert!(sync.arrived(honest, request.from, blocks(request.from, request.count), head, now));
                }
            }
            while let Some((block, peer, _)) = sync.next(head) {
                sync.verified(peer);
                head = block.certificate.height;
            }
            now += step;
        }
        assert_eq!(head, target, "after {now} ms");
        assert!(now <= 300_000, "{now} ms for {target} blocks");
    }

    #[test]
    fn the_standing_of_a_peer_outlives_its_session_and_is_bounded() {
        let mut sync = BlockSync::default();
        sync.peer_status(1, 16);
        sync.requests(0, 16, 0, 1_000);
        sync.peer_gone(1, 10);
        sync.peer_status(1, 16);
        assert!(sync.requests(0, 16, 20, 1_000).is_empty(), "it rests: it was asked, and left");
        for peer in 10..5_000 {
            sync.peer_status(peer, 16);
            sync.failed(peer, 0);
            sync.peer_gone(peer, 0);
        }
        assert!(sync.peers.len() <= REMEMBERED + 1, "{}", sync.peers.len());
    }

    #[test]
    fn blocks_that_were_decided_meanwhile_do_not_stay_in_the_way() {
        let mut sync = BlockSync::default();
        sync.peer_status(1, 20);
        assert_eq!(sync.requests(9, 20, 0, 1_000), [Request { peer: 1, from: 10, count: 11 }]);
        sync.advanced(12);
        assert!(sync.arrived(1, 10, blocks(10, 4), 12, 5));
        assert!(sync.has_next(12));
        sync.advanced(13);
        assert!(!sync.active(), "all of it was decided here");
    }

    #[test]
    fn gaps_empty_answers_and_short_answers() {
        let mut sync = BlockSync::default();
        sync.peer_status(1, 40);
        sync.requests(0, 40, 0, 1_000);
        let mut holey = blocks(1, 5);
        holey.remove(2);
        assert!(!sync.arrived(1, 1, holey, 0, 0));
        assert_eq!(sync.best_height(0), 0, "what a failing peer said does not count");
        assert!(sync.requests(0, 40, 500, 1_000).is_empty(), "it rests");
        assert_eq!(sync.deadline(0, 500), Some(1_000));
        assert_eq!(sync.best_height(1_000), 40, "it need not say it again");
        sync.requests(0, 40, 1_000, 1_000);
        assert!(sync.arrived(1, 1, blocks(1, 5), 0, 1_000));
        assert_eq!(apply_all(&mut sync, 0), 5);
        assert_eq!(sync.requests(5, 40, 1_001, 1_000), [Request { peer: 1, from: 6, count: 16 }]);
    }

    #[test]
    fn requests_and_answers_that_wait_are_bounded() {
        let mut sync = BlockSync::default();
        for peer in 0..50 {
            sync.peer_status(peer, 10_000);
        }
        assert_eq!(sync.requests(0, 10_000, 0, 1_000).len(), WINDOW);
        // The first range does not come: nothing further is asked for, however much else has come.
        for (peer, from) in [(1, 17), (2, 33), (3, 49)] {
            assert!(sync.arrived(peer, from, blocks(from, 16), 0, 1));
        }
        assert!(sync.requests(0, 10_000, 2, 1_000).is_empty());
        assert_eq!(sync.ranges.len(), WINDOW);
        // More blocks than were asked for are a fault.
        assert!(!sync.arrived(0, 1, blocks(1, 17), 0, 3));
    }
}
