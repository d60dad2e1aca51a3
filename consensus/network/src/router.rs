//! The pure part: deduplication, forwarding, quotas, scores and bans. Time and randomness are inputs.

use crate::lane::{LANES, Lane};
use libp2p::PeerId;
use lru::LruCache;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::num::NonZeroUsize;

/// A peer's number in this process.
pub type PeerId64 = u64;

/// Limits of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Messages remembered, so that each is delivered once. 64 Ki entries of about 64 bytes.
    pub remembered: usize,
    /// How long a ban lasts, milliseconds.
    pub ban_ms: u64,
    /// Score at which a peer is banned.
    pub ban_score: i64,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self { remembered: 65_536, ban_ms: 600_000, ban_score: -100 }
    }
}

/// What the node thinks of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// Do not pass it on; should it come again, it is delivered again.
    Ignore,
    /// Do not pass it on, and do not deliver it again.
    Drop,
    /// Its sender is at fault.
    Reject(String),
}

/// A peer's standing: 0 is good, faults lower it, time heals one point a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    points: i64,
    at_ms: u64,
}

impl Score {
    /// The points now.
    pub fn at(&self, now_ms: u64) -> i64 {
        let healed = i64::try_from(now_ms.saturating_sub(self.at_ms) / 1_000).unwrap_or(i64::MAX);
        self.points.saturating_add(healed).min(0)
    }

    fn lower(&mut self, points: i64, now_ms: u64) -> i64 {
        self.points = self.at(now_ms).saturating_sub(points);
        self.at_ms = now_ms;
        self.points
    }
}

/// A token bucket for bytes and messages.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    bytes: u64,
    messages: u64,
    at_ms: u64,
}

/// Seconds of quota that can be saved up.
const BURST_SECONDS: u64 = 4;

impl Quota {
    fn new(lane: Lane, now_ms: u64) -> Self {
        Self {
            bytes: lane.quota_bytes() * BURST_SECONDS,
            messages: lane.quota_messages() * BURST_SECONDS,
            at_ms: now_ms,
        }
    }

    /// Takes one message out of the bucket; false when there is not enough in it.
    pub fn take(&mut self, lane: Lane, bytes: usize, now_ms: u64) -> bool {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        if elapsed > 0 {
            let refill = |have: u64, rate: u64| {
                have.saturating_add(rate.saturating_mul(elapsed) / 1_000).min(rate.saturating_mul(BURST_SECONDS))
            };
            self.bytes = refill(self.bytes, lane.quota_bytes());
            self.messages = refill(self.messages, lane.quota_messages());
            self.at_ms = now_ms;
        }
        let bytes = bytes as u64;
        if self.messages == 0 || self.bytes < bytes {
            return false;
        }
        self.messages -= 1;
        self.bytes -= bytes;
        true
    }
}

#[derive(Debug)]
struct Peer {
    id: PeerId,
    protected: bool,
    score: Score,
    quotas: [Quota; LANES],
}

#[derive(Debug)]
struct Seen {
    from: Vec<PeerId64>,
    accepted: bool,
}

/// What to do with bytes that came from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Deliver them, under this number.
    Deliver(u64),
    /// They were delivered before.
    Duplicate,
    /// The peer sends too much: drop them.
    OverQuota,
}

/// What follows from a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Nothing.
    Nothing,
    /// Pass the message on to these peers.
    Forward(Vec<PeerId64>),
    /// Disconnect its sender.
    Disconnect,
}

/// What to do with a peer after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing yet.
    Keep,
    /// Disconnect it.
    Disconnect,
}

/// Peers and messages. `S` hashes messages; it is keyed at random in a node, so that nobody can make two messages
/// collide, and fixed in the simulation.
#[derive(Debug)]
pub struct Router<S> {
    config: RouterConfig,
    hasher: S,
    peers: BTreeMap<PeerId64, Peer>,
    seen: LruCache<u64, Seen>,
    bans: HashMap<PeerId, u64>,
}

/// Faults' prices.
const REJECTED_MESSAGE: i64 = 25;
const OVER_QUOTA: i64 = 2;

/// Bans remembered at once.
const MAX_BANS: usize = 10_000;

impl<S: BuildHasher> Router<S> {
    /// No peers yet.
    pub fn new(config: RouterConfig, hasher: S) -> Self {
        let remembered = NonZeroUsize::new(config.remembered).unwrap_or(NonZeroUsize::MIN);
        Self { config, hasher, peers: BTreeMap::new(), seen: LruCache::new(remembered), bans: HashMap::new() }
    }

    /// A peer's session began. Protected peers (persistent ones) are never banned.
    pub fn add_peer(&mut self, peer: PeerId64, id: PeerId, protected: bool, now_ms: u64) {
        let quotas = Lane::ALL.map(|lane| Quota::new(lane, now_ms));
        self.peers.insert(peer, Peer { id, protected, score: Score::default(), quotas });
    }

    /// A peer's session ended.
    pub fn remove_peer(&mut self, peer: PeerId64) {
        self.peers.remove(&peer);
    }

    /// Whether a peer may connect.
    pub fn is_banned(&mut self, id: &PeerId, now_ms: u64) -> bool {
        match self.bans.get(id) {
            Some(until) if *until > now_ms => true,
            Some(_) => {
                self.bans.remove(id);
                false
            }
            None => false,
        }
    }

    /// Bytes arrived.
    pub fn arrived(&mut self, peer: PeerId64, lane: Lane, bytes: &[u8], now_ms: u64) -> Arrival {
        let Some(entry) = self.peers.get_mut(&peer) else { return Arrival::Duplicate };
        if let Some(quota) = entry.quotas.get_mut(lane as usize)
            && !quota.take(lane, bytes.len(), now_ms)
        {
            return Arrival::OverQuota;
        }
        let number = self.hasher.hash_one((lane as u8, bytes));
        if let Some(seen) = self.seen.get_mut(&number) {
            // Remember who has it; beyond a few it does not pay.
            if seen.from.len() < 64 && !seen.from.contains(&peer) {
                seen.from.push(peer);
            }
            return Arrival::Duplicate;
        }
        self.seen.put(number, Seen { from: vec![peer], accepted: false });
        Arrival::Deliver(number)
    }

    /// Our own message goes out; it need not be delivered to us again.
    pub fn published(&mut self, lane: Lane, bytes: &[u8]) {
        let number = self.hasher.hash_one((lane as u8, bytes));
        self.seen.put(number, Seen { from: Vec::new(), accepted: true });
    }

    /// The peers to pass an accepted message on to: all that are not known to have it.
    pub fn forward(&mut self, number: u64) -> Vec<PeerId64> {
        let Some(seen) = self.seen.get_mut(&number) else { return Vec::new() };
        if std::mem::replace(&mut seen.accepted, true) {
            return Vec::new();
        }
        self.peers.keys().filter(|peer| !seen.from.contains(peer)).copied().collect()
    }

    /// Draws the consequences of what the node thinks of a message that `peer` sent.
    pub fn judged(&mut self, peer: PeerId64, number: u64, verdict: &Verdict, now_ms: u64) -> Judged {
        match verdict {
            Verdict::Accept => Judged::Forward(self.forward(number)),
            Verdict::Ignore => {
                self.forget(number);
                Judged::Nothing
            }
            Verdict::Drop => Judged::Nothing,
            Verdict::Reject(_) => match self.rejected(peer, now_ms) {
                Consequence::Keep => Judged::Nothing,
                Consequence::Disconnect => Judged::Disconnect,
            },
        }
    }

    /// A message was of no use now (too early, or there was no room): should it come again, it is delivered again.
    pub fn forget(&mut self, number: u64) {
        self.seen.pop(&number);
    }

    /// A peer sent a message that was rejected.
    pub fn rejected(&mut self, peer: PeerId64, now_ms: u64) -> Consequence {
        self.fault(peer, REJECTED_MESSAGE, now_ms)
    }

    /// A peer exceeded a quota. Whoever passes on others' transactions cannot know our limits: dropping them is enough.
    pub fn over_quota(&mut self, peer: PeerId64, lane: Lane, now_ms: u64) -> Consequence {
        if lane == Lane::Transactions {
            return Consequence::Keep;
        }
        self.fault(peer, OVER_QUOTA, now_ms)
    }

    /// A peer broke the protocol itself.
    pub fn protocol_fault(&mut self, peer: PeerId64, now_ms: u64) -> Consequence {
        self.fault(peer, self.config.ban_score.saturating_neg(), now_ms)
    }

    fn fault(&mut self, peer: PeerId64, points: i64, now_ms: u64) -> Consequence {
        let Some(entry) = self.peers.get_mut(&peer) else { return Consequence::Keep };
        if entry.score.lower(points, now_ms) > self.config.ban_score {
            return Consequence::Keep;
        }
        if !entry.protected {
            if self.bans.len() >= MAX_BANS {
                self.bans.retain(|_, until| *until > now_ms);
            }
            if self.bans.len() < MAX_BANS {
                self.bans.insert(entry.id, now_ms.saturating_add(self.config.ban_ms));
            }
        }
        Consequence::Disconnect
    }

    /// A peer's points.
    pub fn score(&self, peer: PeerId64, now_ms: u64) -> i64 {
        self.peers.get(&peer).map_or(0, |entry| entry.score.at(now_ms))
    }

    /// All peers.
    pub fn peers(&self) -> impl Iterator<Item = PeerId64> + '_ {
        self.peers.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasherDefault, DefaultHasher};

    fn router(peers: u64) -> Router<BuildHasherDefault<DefaultHasher>> {
        let mut router = Router::new(RouterConfig::default(), BuildHasherDefault::default());
        for peer in 0..peers {
            router.add_peer(peer, PeerId::random(), false, 0);
        }
        router
    }

    #[test]
    fn a_message_is_delivered_once_and_passed_on_to_those_who_lack_it() {
        let mut router = router(4);
        let Arrival::Deliver(number) = router.arrived(0, Lane::Votes, b"vote", 0) else { panic!() };
        assert_eq!(router.arrived(1, Lane::Votes, b"vote", 0), Arrival::Duplicate);
        assert_eq!(router.forward(number), [2, 3]);
        assert!(router.forward(number).is_empty());
        assert!(matches!(router.arrived(0, Lane::Evidence, b"vote", 0), Arrival::Deliver(_)), "lanes are apart");
    }

    #[test]
    fn a_message_that_came_too_early_is_delivered_when_it_comes_again() {
        let mut router = router(2);
        let Arrival::Deliver(number) = router.arrived(0, Lane::Votes, b"vote", 0) else { panic!() };
        router.forget(number);
        assert_eq!(router.arrived(0, Lane::Votes, b"vote", 1), Arrival::Deliver(number));
    }

    #[test]
    fn our_own_message_does_not_come_back() {
        let mut router = router(2);
        router.published(Lane::Votes, b"mine");
        assert_eq!(router.arrived(1, Lane::Votes, b"mine", 0), Arrival::Duplicate);
    }

    #[test]
    fn quotas_are_per_peer_and_lane_and_refill() {
        let mut router = router(2);
        let message = |index: u32| index.to_be_bytes();
        let mut index = 0;
        while router.arrived(0, Lane::Evidence, &message(index), 0) != Arrival::OverQuota {
            index += 1;
        }
        assert_eq!(u64::from(index), Lane::Evidence.quota_messages() * 4);
        assert!(matches!(router.arrived(0, Lane::Votes, b"x", 0), Arrival::Deliver(_)));
        assert!(matches!(router.arrived(1, Lane::Evidence, b"x", 0), Arrival::Deliver(_)));
        assert!(matches!(router.arrived(0, Lane::Evidence, b"later", 1_000), Arrival::Deliver(_)));
    }

    #[test]
    fn faults_lead_to_a_ban_that_expires() {
        let mut router = router(1);
        let id = PeerId::random();
        router.add_peer(7, id, false, 0);
        for _ in 0..3 {
            assert_eq!(router.rejected(7, 0), Consequence::Keep);
        }
        assert_eq!(router.rejected(7, 0), Consequence::Disconnect);
        assert!(router.is_banned(&id, 599_999));
        assert!(!router.is_banned(&id, 600_000));
        router.add_peer(8, PeerId::random(), true, 0);
        assert_eq!(router.protocol_fault(8, 0), Consequence::Disconnect);
        assert_eq!(router.bans.len(), 0, "protected peers are not banned");
    }

    #[test]
    fn the_oldest_messages_are_forgotten() {
        let remembered = RouterConfig::default().remembered as u64;
        let mut router = router(2);
        for index in 0..=remembered {
            // Slow enough for the quota.
            let arrival = router.arrived(0, Lane::Votes, &index.to_be_bytes(), index);
            assert!(matches!(arrival, Arrival::Deliver(_)));
        }
        let last = remembered.to_be_bytes();
        assert_eq!(router.arrived(1, Lane::Votes, &last, remembered), Arrival::Duplicate);
        let first = 0u64.to_be_bytes();
        assert!(matches!(router.arrived(1, Lane::Votes, &first, remembered), Arrival::Deliver(_)));
    }

    #[test]
    fn bans_are_bounded_and_old_ones_make_room() {
        let mut router = router(0);
        for index in 0..MAX_BANS as u64 + 5 {
            router.add_peer(index, PeerId::random(), false, 0);
            assert_eq!(router.protocol_fault(index, 0), Consequence::Disconnect, "it goes, whether banned or not");
        }
        assert_eq!(router.bans.len(), MAX_BANS);
        let id = PeerId::random();
        router.add_peer(1_000_000, id, false, 600_000);
        router.protocol_fault(1_000_000, 600_001);
        assert!(router.is_banned(&id, 600_002), "expired bans have made room");
    }

    #[test]
    fn faults_heal_with_time() {
        let mut router = router(1);
        for step in 0..20 {
            assert_eq!(router.rejected(0, step * 30_000), Consequence::Keep);
        }
    }
}
