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

#[derive(Clone, Debug, Default)]
struct Peer {
    height: u64,
    busy: bool,
    failures: u32,
    rests_until: u64,
    /// How often it was asked: the load is spread over all peers.
    asked: u64,
}

#[derive(Debug)]
enum Range {
    Requested { peer: PeerKey, deadline: u64 },
    Arrived { peer: PeerKey, blocks: VecDeque<CertifiedBlock> },
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
        self.peers.entry(peer).or_default().height = height;
    }

    /// A peer is gone; its requests will not be answered.
    pub(crate) fn peer_gone(&mut self, peer: PeerKey) {
        self.peers.remove(&peer);
        self.ranges.retain(|_, range| !matches!(range, Range::Requested { peer: from, .. } if *from == peer));
    }

    /// The greatest height that a peer claims, of those that do not rest.
    pub(crate) fn best_height(&self, now: u64) -> u64 {
        self.peers.values().filter(|peer| peer.rests_until <= now).map(|peer| peer.height).max().unwrap_or(0)
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
        let late: Vec<(u64, PeerKey)> = self
            .ranges
            .iter()
            .filter_map(|(from, range)| match range {
                Range::Requested { peer, deadline } if *deadline <= now => Some((*from, *peer)),
                Range::Requested { .. } | Range::Arrived { .. } => None,
            })
            .collect();
        for (from, peer) in late {
            self.ranges.remove(&from);
            self.failed(peer, now);
        }
    }

    /// Requests that should be sent now, to get from `head` to `target`.
    pub(crate) fn requests(&mut self, head: u64, target: u64, now: u64, timeout: u64) -> Vec<Request> {
        self.expire(now);
        let mut requests = Vec::new();
        let mut from = self.applying.back().map_or(head, |block| block.certificate.height).saturating_add(1);
        while from <= target && self.ranges.len() < WINDOW {
            if let Some(range) = self.ranges.get(&from) {
                from = match range {
                    Range::Requested { .. } => from.saturating_add(SYNC_BATCH),
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
            let candidate = self
                .peers
                .iter()
                .filter(|(_, peer)| !peer.busy && peer.rests_until <= now && peer.height >= from)
                .min_by_key(|(key, peer)| (peer.failures, peer.asked, **key))
                .map(|(key, _)| *key);
            let Some(peer) = candidate else { break };
            if let Some(entry) = self.peers.get_mut(&peer) {
                entry.busy = true;
                entry.asked = entry.asked.saturating_add(1);
            }
            self.ranges.insert(from, Range::Requested { peer, deadline: now.saturating_add(timeout) });
            requests.push(Request { peer, from, count });
            from = from.saturating_add(count);
        }
        requests
    }

    /// When something must be done even if nothing happens.
    pub(crate) fn deadline(&self, head: u64, now: u64) -> Option<u64> {
        let late = self.ranges.values().filter_map(|range| match range {
            Range::Requested { deadline, .. } => Some(*deadline),
            Range::Arrived { .. } => None,
        });
        let rested = self.peers.values().filter(|peer| peer.height > head && peer.rests_until > now);
        late.chain(rested.map(|peer| peer.rests_until)).min()
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
        let asked = matches!(self.ranges.get(&from), Some(Range::Requested { peer: of, .. }) if *of == peer);
        if !asked {
            return true;
        }
        let contiguous = blocks.iter().zip(from..).all(|(block, height)| block.certificate.height == height)
            && blocks.len() as u64 <= SYNC_BATCH;
        let ascending = blocks.windows(2).all(
            |pair| matches!(pair, [a, b] if a.certificate.height < b.certificate.height && a.certificate.height >= from),
        );
        let contiguous = contiguous || (Mutant::SyncContiguity.active() && ascending);
        if blocks.is_empty() || !contiguous {
            self.ranges.remove(&from);
            self.failed(peer, now);
            return contiguous;
        }
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.busy = false;
        }
        self.ranges.remove(&from);
        self.keep(peer, blocks.into(), head);
        true
    }

    /// A request failed.
    pub(crate) fn request_failed(&mut self, peer: PeerKey, from: u64, now: u64) {
        if matches!(self.ranges.get(&from), Some(Range::Requested { peer: of, .. }) if *of == peer) {
            self.ranges.remove(&from);
        }
        self.failed(peer, now);
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
        sync.peer_status(2, 16);
        assert!(sync.requests(0, 16, 500, 1_000).is_empty());
        assert_eq!(sync.deadline(0, 500), Some(1_000));
        assert_eq!(sync.requests(0, 16, 1_000, 1_000), [Request { peer: 2, from: 1, count: 16 }]);
        assert!(sync.arrived(1, 1, blocks(1, 16), 0, 1_100), "a late answer is no fault");
        assert_eq!(apply_all(&mut sync, 0), 0, "but it does not count");
        assert_eq!(sync.best_height(1_100), 16);
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
