//! The pure part: deduplication, forwarding, quotas, scores and bans. Time and randomness are inputs.

use crate::identities::{GREETINGS, Identities, STREAMS};
use crate::lane::Lane;
use bttc_types::Mutant;
use libp2p::PeerId;
use lru::LruCache;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::num::NonZeroUsize;

/// A peer's number in this process: that of its identity, so that what is known of a peer survives its sessions.
pub type PeerId64 = u64;

/// Limits of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Messages remembered, so that each is delivered once. 64 Ki entries of about 64 bytes.
    pub remembered: usize,
    /// Identities remembered that are not connected. 16 Ki entries of about 500 bytes.
    pub identities: usize,
    /// How long a ban lasts, milliseconds.
    pub ban_ms: u64,
    /// Score at which a peer is banned.
    pub ban_score: i64,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self { remembered: 65_536, identities: 16_384, ban_ms: 600_000, ban_score: -100 }
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
    identities: Identities,
    connected: BTreeSet<PeerId64>,
    seen: LruCache<u64, Seen>,
    bans: HashMap<PeerId, u64>,
}

/// Faults' prices.
const REJECTED_MESSAGE: i64 = 25;
const TOO_MUCH: i64 = 2;

/// Bans remembered at once.
const MAX_BANS: usize = 10_000;

impl<S: BuildHasher> Router<S> {
    /// No peers yet.
    pub fn new(config: RouterConfig, hasher: S) -> Self {
        let remembered = NonZeroUsize::new(config.remembered).unwrap_or(NonZeroUsize::MIN);
        Self {
            config,
            hasher,
            identities: Identities::new(config.identities),
            connected: BTreeSet::new(),
            seen: LruCache::new(remembered),
            bans: HashMap::new(),
        }
    }

    /// The number of an identity, to be given to [`Self::add_peer`]. It stays the same as long as the identity is
    /// remembered, and is never given to another one.
    pub fn number_of(&mut self, id: &PeerId, now_ms: u64) -> PeerId64 {
        self.identities.number_of(id, now_ms)
    }

    /// Whose number this is; none when it has been forgotten.
    pub fn id_of(&self, peer: PeerId64) -> Option<PeerId> {
        self.identities.get(peer).map(|standing| standing.id)
    }

    /// An identity is never banned and never forgotten.
    pub fn protect(&mut self, id: &PeerId, now_ms: u64) {
        self.identities.protect(id, now_ms);
    }

    /// A peer's session began. It has the standing that it had when its last one ended. Protected peers are
    /// never banned.
    pub fn add_peer(&mut self, peer: PeerId64, id: PeerId, protected: bool, now_ms: u64) {
        self.identities.enter(peer, id, protected, now_ms);
        self.connected.insert(peer);
        if Mutant::StandingPerSession.active() {
            self.identities.forgive(peer, now_ms);
        }
    }

    /// A peer's session ended.
    pub fn remove_peer(&mut self, peer: PeerId64) {
        if self.connected.remove(&peer) {
            self.identities.leave(peer);
        }
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

    /// Whether a gossip stream between us and an identity may be opened now; if so, it counts.
    pub fn may_open(&mut self, peer: PeerId64, now_ms: u64) -> bool {
        self.identities.get_mut(peer).is_some_and(|standing| standing.streams.take(STREAMS, now_ms))
    }

    /// Whether a peer may be sent now what it has missed; if so, it counts.
    pub fn may_greet(&mut self, peer: PeerId64, now_ms: u64) -> bool {
        self.identities.get_mut(peer).is_some_and(|standing| standing.greetings.take(GREETINGS, now_ms))
    }

    /// Bytes arrived. What is known already costs a peer nothing but its bytes, which are counted as a few hundred at least.
    pub fn arrived(&mut self, peer: PeerId64, lane: Lane, bytes: &[u8], now_ms: u64) -> Arrival {
        if !self.connected.contains(&peer) {
            return Arrival::Duplicate;
        }
        let Some(standing) = self.identities.get_mut(peer) else { return Arrival::Duplicate };
        let Some(quota) = standing.quotas.get_mut(lane as usize) else { return Arrival::Duplicate };
        let quota_first = Mutant::FloodsPassedOn.active();
        if !quota.receive(lane, bytes.len(), now_ms) || (quota_first && !quota.take(lane, bytes.len(), now_ms)) {
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
        if !quota_first && !quota.take(lane, bytes.len(), now_ms) {
            return Arrival::OverQuota;
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
        self.connected.iter().filter(|peer| !seen.from.contains(peer)).copied().collect()
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

    /// A peer exceeded a quota. Whoever passes on what others make cannot know our limits: dropping it is enough. What a
    /// peer says of itself is its own act.
    pub fn over_quota(&mut self, peer: PeerId64, lane: Lane, now_ms: u64) -> Consequence {
        let own_act = match lane {
            Lane::Control => true,
            Lane::Transactions => false,
            Lane::Votes | Lane::Proposals | Lane::Certificates | Lane::Evidence | Lane::Attestations => {
                Mutant::FloodsPassedOn.active()
            }
        };
        if own_act { self.fault(peer, TOO_MUCH, now_ms) } else { Consequence::Keep }
    }

    /// A peer opened the gossip stream sooner than it may.
    pub fn opened_too_often(&mut self, peer: PeerId64, now_ms: u64) -> Consequence {
        self.fault(peer, TOO_MUCH, now_ms)
    }

    /// A peer broke the protocol itself: no further byte of it can be understood. Even a protected one is disconnected.
    pub fn protocol_fault(&mut self, peer: PeerId64, now_ms: u64) -> Consequence {
        let _ = self.fault(peer, self.config.ban_score.saturating_neg(), now_ms);
        Consequence::Disconnect
    }

    fn fault(&mut self, peer: PeerId64, points: i64, now_ms: u64) -> Consequence {
        let Some(standing) = self.identities.get_mut(peer) else { return Consequence::Keep };
        let left = standing.score.lower(points, self.config.ban_score, now_ms);
        if left > self.config.ban_score || standing.protected {
            return Consequence::Keep;
        }
        let id = standing.id;
        if self.bans.len() >= MAX_BANS {
            self.bans.retain(|_, until| *until > now_ms);
        }
        if self.bans.len() < MAX_BANS {
            self.bans.insert(id, now_ms.saturating_add(self.config.ban_ms));
        }
        Consequence::Disconnect
    }

    /// A peer's points.
    pub fn score(&self, peer: PeerId64, now_ms: u64) -> i64 {
        self.identities.get(peer).map_or(0, |standing| standing.score.at(now_ms))
    }

    /// The connected peers.
    pub fn peers(&self) -> impl Iterator<Item = PeerId64> + '_ {
        self.connected.iter().copied()
    }
}

#[cfg(test)]
mod tests;
