//! Answers under way: what peers asked for and have not read yet is memory, and bounded.

use crate::subnet::Subnet;
use libp2p::PeerId;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests of one peer from their arrival until their answers are sent: a node that joins has two for pieces of a
/// snapshot and one for offers on its way.
pub(crate) const REQUESTS_EACH: usize = 3;
/// Bytes of answers to one peer that are not sent yet, to the peers of one subnet, and to all.
pub(crate) const BYTES_EACH: usize = 32 << 20;
const BYTES_IN_SUBNET: usize = 64 << 20;
const BYTES: usize = 256 << 20;

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    requests: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    peer: PeerId,
    subnet: Option<Subnet>,
    bytes: usize,
}

/// The places of requests. `R` names a request.
#[derive(Debug)]
pub(crate) struct Answers<R> {
    places: HashMap<R, Place>,
    peers: HashMap<PeerId, Share>,
    subnets: HashMap<Subnet, Share>,
    total: Arc<AtomicUsize>,
}

impl<R: Hash + Eq + Copy> Answers<R> {
    /// Nobody asks; `total` is kept at the bytes that are under way.
    pub(crate) fn new(total: Arc<AtomicUsize>) -> Self {
        Self { places: HashMap::new(), peers: HashMap::new(), subnets: HashMap::new(), total }
    }

    /// Takes a place for a request; false when the peer has its share, or when so much is under way that there may be no
    /// room for an answer: nothing is read from the disk then.
    pub(crate) fn enter(&mut self, request: R, peer: PeerId, subnet: Option<Subnet>) -> bool {
        let share = self.peers.get(&peer).copied().unwrap_or_default();
        if share.requests >= REQUESTS_EACH || !self.has_room(&peer, subnet, 1) {
            return false;
        }
        self.places.insert(request, Place { peer, subnet, bytes: 0 });
        self.peers.entry(peer).or_default().requests += 1;
        if let Some(subnet) = subnet {
            self.subnets.entry(subnet).or_default().requests += 1;
        }
        true
    }

    fn has_room(&self, peer: &PeerId, subnet: Option<Subnet>, bytes: usize) -> bool {
        let held = |share: Option<&Share>| share.map_or(0, |share| share.bytes);
        held(self.peers.get(peer)).saturating_add(bytes) <= BYTES_EACH
            && subnet.is_none_or(|subnet| held(self.subnets.get(&subnet)).saturating_add(bytes) <= BYTES_IN_SUBNET)
            && self.total.load(Ordering::Relaxed).saturating_add(bytes) <= BYTES
    }

    /// An answer is about to be sent; false when there is no room for it.
    pub(crate) fn send(&mut self, request: &R, bytes: usize) -> bool {
        let Some(place) = self.places.get(request).copied() else { return false };
        if !self.has_room(&place.peer, place.subnet, bytes) {
            return false;
        }
        if let Some(place) = self.places.get_mut(request) {
            place.bytes = place.bytes.saturating_add(bytes);
        }
        if let Some(share) = self.peers.get_mut(&place.peer) {
            share.bytes = share.bytes.saturating_add(bytes);
        }
        if let Some(share) = place.subnet.and_then(|subnet| self.subnets.get_mut(&subnet)) {
            share.bytes = share.bytes.saturating_add(bytes);
        }
        self.total.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// A request is over: its answer is sent, or can be sent no more.
    pub(crate) fn leave(&mut self, request: &R) {
        let Some(place) = self.places.remove(request) else { return };
        give_back(&mut self.peers, &place.peer, place.bytes);
        if let Some(subnet) = place.subnet {
            give_back(&mut self.subnets, &subnet, place.bytes);
        }
        self.total.fetch_sub(place.bytes, Ordering::Relaxed);
    }
}

fn give_back<K: Hash + Eq>(shares: &mut HashMap<K, Share>, key: &K, bytes: usize) {
    if let Some(share) = shares.get_mut(key) {
        share.requests = share.requests.saturating_sub(1);
        share.bytes = share.bytes.saturating_sub(bytes);
        if share.requests == 0 {
            shares.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 8 << 20;

    fn answers() -> Answers<u64> {
        Answers::new(Arc::default())
    }

    #[test]
    fn one_peer_does_not_take_all_places_and_gives_them_back() {
        let mut answers = answers();
        let (asker, other) = (PeerId::random(), PeerId::random());
        let taken: Vec<u64> = (0..10).filter(|request| answers.enter(*request, asker, None)).collect();
        assert_eq!(taken.len(), REQUESTS_EACH);
        assert!(answers.enter(100, other, None), "another peer has its own");
        for request in taken {
            assert!(answers.send(&request, LARGE));
            answers.leave(&request);
            answers.leave(&request);
        }
        assert!(answers.enter(200, asker, None));
        answers.leave(&200);
        answers.leave(&100);
        assert!(answers.peers.is_empty() && answers.places.is_empty(), "nothing is kept of who does not wait");
        assert_eq!(answers.total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_are_bounded_for_a_peer_a_subnet_and_in_all() {
        let mut answers = answers();
        let peer = PeerId::random();
        assert!(answers.enter(0, peer, None) && answers.enter(1, peer, None));
        assert!(answers.send(&0, BYTES_EACH));
        assert!(!answers.send(&1, 1), "the peer's share");
        assert!(!answers.enter(2, peer, None), "and nothing is read for it");
        let mut next = 10;
        let mut fill = |answers: &mut Answers<u64>, subnet: Option<Subnet>| {
            let before = answers.total.load(Ordering::Relaxed);
            for _ in 0..40 {
                next += 1;
                let _ = answers.enter(next, PeerId::random(), subnet) && answers.send(&next, LARGE);
            }
            answers.total.load(Ordering::Relaxed) - before
        };
        assert_eq!(fill(&mut answers, Some(Subnet::of_ip([10, 0, 0, 1].into()))), BYTES_IN_SUBNET);
        for subnet in 1..10 {
            fill(&mut answers, Some(Subnet::of_ip([10, 0, subnet, 1].into())));
        }
        assert_eq!(answers.total.load(Ordering::Relaxed), BYTES);
    }
}
