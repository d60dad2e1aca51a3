//! The address book: where peers may be reached, who said so, and whether it was true.

mod shares;

use crate::subnet::Subnet;
use alloy_primitives::Bytes;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use shares::{MAX_ADDRESSES, Shares};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Addresses in one message.
pub(crate) const MAX_TOLD: usize = 32;
/// Bytes of one address.
const MAX_ADDRESS_BYTES: usize = 256;
const _: () = assert!(MAX_TOLD * (MAX_ADDRESS_BYTES + 4) + 16 <= crate::Lane::Control.max_message());

/// An address that was never answered is forgotten after so many attempts, about ten minutes.
const MAX_FAILURES: u32 = 8;

/// An address that was answered once and is not for so long may be replaced.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Pause between two dials of one address: it doubles with each, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE_PERSISTENT: Duration = Duration::from_secs(5);
const LONGEST_PAUSE_SEED: Duration = Duration::from_secs(10);
const LONGEST_PAUSE_TOLD: Duration = Duration::from_secs(300);

/// Who told an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Teller {
    pub(crate) id: PeerId,
    pub(crate) subnet: Option<Subnet>,
}

/// Why an address is in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The operator: always dialled, never forgotten.
    Persistent,
    /// The operator: a seed, never forgotten.
    Seed,
    /// A peer.
    Told(Teller),
}

#[derive(Debug)]
struct Known {
    address: Multiaddr,
    origin: Origin,
    /// Whether it is said to others: its hello said that it is no validator.
    public: bool,
    /// Whether this peer ever was where the address says: it said so itself in a session, or we went there.
    met: bool,
    /// Whether we went there.
    reached: bool,
    failures: u32,
    /// Since when nobody has answered.
    failing_since: Option<Instant>,
    pause: Duration,
    next: Instant,
    since: Instant,
}

/// The book.
#[derive(Debug)]
pub(crate) struct AddressBook {
    entries: HashMap<PeerId, Known>,
    shares: Shares,
}

impl AddressBook {
    /// Nothing in it.
    pub(crate) fn new() -> Self {
        Self { entries: HashMap::new(), shares: Shares::new() }
    }

    /// A persistent peer's address.
    pub(crate) fn add_persistent(&mut self, id: PeerId, address: Multiaddr, now: Instant) {
        self.entries.entry(id).or_insert_with(|| Known::new(address, Origin::Persistent, now));
    }

    /// A seed's address; what is known of a persistent peer stays.
    pub(crate) fn add_seed(&mut self, id: PeerId, address: Multiaddr, now: Instant) {
        self.entries.entry(id).or_insert_with(|| Known { public: true, ..Known::new(address, Origin::Seed, now) });
    }

    /// A peer says where it is. Of several addresses the first one is taken for which there is room, unless it is known
    /// already by another one.
    pub(crate) fn introduce(&mut self, addresses: &[Bytes], teller: Teller, local: &PeerId, now: Instant) {
        let own: Vec<Multiaddr> = addresses
            .iter()
            .filter_map(|bytes| parse(bytes))
            .filter(|address| id_of(address) == Some(teller.id))
            .collect();
        let known = self.entries.get(&teller.id);
        if known.is_some_and(|known| known.is_own_word(&teller.id) && own.contains(&known.address)) {
            return;
        }
        let _ = own.into_iter().find(|address| self.enter(address.clone(), teller, local, now));
    }

    /// Remembers an address that ends with a peer id, if there is room for one that this peer tells. What somebody says of
    /// itself counts more than what others said of it.
    pub(crate) fn learn(&mut self, bytes: &[u8], teller: Teller, local: &PeerId, now: Instant) {
        if let Some(address) = parse(bytes) {
            self.enter(address, teller, local, now);
        }
    }

    /// Whether the address is in the book now.
    fn enter(&mut self, address: Multiaddr, teller: Teller, local: &PeerId, now: Instant) -> bool {
        let Some(id) = id_of(&address).filter(|id| id != local) else { return false };
        if self.entries.get(&id).is_some_and(|known| !known.gives_way(&address, &id, &teller, now)) {
            return false;
        }
        let before = self.forget(&id);
        let room =
            self.shares.have_room(&address, &teller) && (self.shares.told < MAX_ADDRESSES || self.make_room(now));
        match (room, before) {
            (true, _) => self.insert(id, Known::new(address, Origin::Told(teller), now)),
            (false, Some(before)) => self.insert(id, before),
            (false, None) => {}
        }
        room
    }

    /// Forgets the address that has failed and waited longest, if there is one that was never answered, or not for long.
    fn make_room(&mut self, now: Instant) -> bool {
        let dead = |known: &&Known| {
            known.failures > 0 && (!known.met || known.is_stale(now)) && matches!(known.origin, Origin::Told(_))
        };
        let oldest = self.entries.iter().filter(|(_, known)| dead(known)).min_by_key(|(_, known)| known.since);
        let Some(id) = oldest.map(|(id, _)| *id) else { return false };
        self.forget(&id);
        true
    }

    fn insert(&mut self, id: PeerId, known: Known) {
        if let Origin::Told(teller) = known.origin {
            self.shares.add(&known.address, &teller);
        }
        self.entries.insert(id, known);
    }

    fn forget(&mut self, id: &PeerId) -> Option<Known> {
        let known = self.entries.remove(id)?;
        if let Origin::Told(teller) = known.origin {
            self.shares.remove(&known.address, &teller);
        }
        Some(known)
    }

    /// A session with a peer began; `public`: its hello said that it is no validator; `route`: where we dialled it, if we
    /// did. What is known of an address holds for that address only: one that others told, and that the peer neither said
    /// nor was reached at, stays as good as unknown.
    pub(crate) fn met(&mut self, id: &PeerId, public: bool, route: Option<&Multiaddr>) {
        let Some(known) = self.entries.get_mut(id) else { return };
        let reached = route.is_some_and(|route| without_id(route) == without_id(&known.address));
        if reached || !matches!(known.origin, Origin::Told(_)) || known.is_own_word(id) {
            known.met = true;
            known.reached |= reached;
            known.failures = 0;
            known.failing_since = None;
            known.pause = FIRST_PAUSE;
        }
        known.public = public && known.met;
    }

    /// The last connection to a peer ended: it is dialled again soon.
    pub(crate) fn lost(&mut self, id: &PeerId, now: Instant) {
        if let Some(known) = self.entries.get_mut(id) {
            known.pause = FIRST_PAUSE;
            known.next = now + FIRST_PAUSE;
        }
    }

    /// A dial failed. What others told of and was never there is forgotten after a while.
    pub(crate) fn failed(&mut self, id: &PeerId, now: Instant) {
        let Some(known) = self.entries.get_mut(id) else { return };
        known.failures = known.failures.saturating_add(1);
        known.failing_since.get_or_insert(now);
        if !known.met && known.failures >= MAX_FAILURES && matches!(known.origin, Origin::Told(_)) {
            self.forget(id);
        }
    }

    /// What to dial now: every persistent peer that is due, and `strangers` others, those first that have waited longest.
    /// `skip`: who needs no dial.
    pub(crate) fn due(
        &mut self,
        strangers: usize,
        skip: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) -> Vec<(PeerId, Multiaddr)> {
        let mut due: Vec<(bool, Instant, PeerId)> = self
            .entries
            .iter()
            .filter(|(id, known)| {
                known.next <= now && (known.origin == Origin::Persistent || strangers > 0) && !skip(id)
            })
            .map(|(id, known)| (known.origin != Origin::Persistent, known.next, *id))
            .collect();
        due.sort_unstable();
        let persistent = due.iter().take_while(|(stranger, _, _)| !stranger).count();
        due.truncate(persistent.saturating_add(strangers));
        due.into_iter()
            .filter_map(|(_, _, id)| self.entries.get_mut(&id).map(|known| (id, known.dialled(now))))
            .collect()
    }

    /// Addresses to tell others, but those of `hidden` ones: only of peers that were here themselves and said that they
    /// are no validators, so that nobody spreads through us what is made up.
    pub(crate) fn to_tell(&self, hidden: impl Fn(&PeerId) -> bool) -> Vec<Multiaddr> {
        let told = self
            .entries
            .iter()
            .filter(|(id, known)| known.public && (known.met || known.origin == Origin::Seed) && !hidden(id));
        told.take(MAX_TOLD).map(|(_, known)| known.address.clone()).collect()
    }
}

impl Known {
    fn new(address: Multiaddr, origin: Origin, now: Instant) -> Self {
        let pause = FIRST_PAUSE;
        Self {
            address,
            origin,
            public: false,
            met: false,
            reached: false,
            failures: 0,
            failing_since: None,
            pause,
            next: now,
            since: now,
        }
    }

    /// Whether the peer itself told its address.
    fn is_own_word(&self, id: &PeerId) -> bool {
        matches!(self.origin, Origin::Told(teller) if teller.id == *id)
    }

    /// Whether nobody has answered for so long that anybody may tell another address.
    fn is_stale(&self, now: Instant) -> bool {
        self.failing_since.is_some_and(|since| now.saturating_duration_since(since) >= STALE)
    }

    /// Whether another address may take the place of this one. The peer's own word replaces what it said before, and what
    /// others said, unless we went there and it answered: many do not know under which address the world sees them.
    fn gives_way(&self, address: &Multiaddr, id: &PeerId, teller: &Teller, now: Instant) -> bool {
        if !matches!(self.origin, Origin::Told(_)) {
            return false;
        }
        if teller.id != *id {
            return self.met && self.is_stale(now);
        }
        if self.is_own_word(id) {
            return self.address != *address;
        }
        self.address == *address || !self.reached || self.failures > 0
    }

    fn dialled(&mut self, now: Instant) -> Multiaddr {
        let longest = match self.origin {
            Origin::Persistent => LONGEST_PAUSE_PERSISTENT,
            Origin::Seed => LONGEST_PAUSE_SEED,
            Origin::Told(_) => LONGEST_PAUSE_TOLD,
        };
        self.pause = (self.pause * 2).min(longest);
        self.next = now + self.pause;
        self.address.clone()
    }
}

/// The address in such bytes, if they are few enough.
fn parse(bytes: &[u8]) -> Option<Multiaddr> {
    (bytes.len() <= MAX_ADDRESS_BYTES).then(|| Multiaddr::try_from(bytes.to_vec()).ok())?
}

/// The identity with which an address ends.
fn id_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(id)) => Some(id),
        _ => None,
    }
}

fn without_id(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

#[cfg(test)]
mod tests;
