//! The address book: where peers may be reached, who said so, and whether it was true.

use crate::subnet::Subnet;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Addresses kept of peers that others told of.
const MAX_ADDRESSES: usize = 1_000;
/// Of them, in one subnet.
const MAX_IN_SUBNET: usize = 32;
/// Of them, told by one peer, and by the peers of one subnet: identities cost nothing.
const MAX_FROM_TELLER: usize = 32;
const MAX_FROM_SUBNET: usize = 128;
/// Names instead of numbers have no subnet: few of one teller, and few in all.
const MAX_NAMES_FROM_TELLER: usize = 4;
const MAX_NAMES: usize = 64;
/// Addresses in one message.
pub(crate) const MAX_TOLD: usize = 32;
/// Bytes of one address.
const MAX_ADDRESS_BYTES: usize = 256;
const _: () = assert!(MAX_TOLD * (MAX_ADDRESS_BYTES + 4) + 16 <= crate::Lane::Control.max_message());

/// An address that was never answered is forgotten after so many attempts, about ten minutes.
const MAX_FAILURES: u32 = 8;

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
    /// Whether there was ever a session with this peer.
    met: bool,
    failures: u32,
    pause: Duration,
    next: Instant,
    since: Instant,
}

/// How many addresses each has.
#[derive(Debug)]
struct Counts<K>(HashMap<K, usize>);

impl<K: Hash + Eq> Counts<K> {
    fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    fn remove(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }
}

/// The book.
#[derive(Debug)]
pub(crate) struct AddressBook {
    entries: HashMap<PeerId, Known>,
    told: usize,
    names: usize,
    in_subnet: Counts<Subnet>,
    from_teller: Counts<PeerId>,
    names_from_teller: Counts<PeerId>,
    from_subnet: Counts<Subnet>,
}

impl AddressBook {
    /// Nothing in it.
    pub(crate) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            told: 0,
            names: 0,
            in_subnet: Counts(HashMap::new()),
            from_teller: Counts(HashMap::new()),
            names_from_teller: Counts(HashMap::new()),
            from_subnet: Counts(HashMap::new()),
        }
    }

    /// A persistent peer's address.
    pub(crate) fn add_persistent(&mut self, id: PeerId, address: Multiaddr, now: Instant) {
        self.entries.entry(id).or_insert_with(|| Known::new(address, Origin::Persistent, now));
    }

    /// A seed's address; what is known of a persistent peer stays.
    pub(crate) fn add_seed(&mut self, id: PeerId, address: Multiaddr, now: Instant) {
        self.entries.entry(id).or_insert_with(|| Known { public: true, ..Known::new(address, Origin::Seed, now) });
    }

    /// Remembers an address that ends with a peer id, if there is room for one that this peer tells.
    pub(crate) fn learn(&mut self, bytes: &[u8], teller: Teller, local: &PeerId, now: Instant) {
        if bytes.len() > MAX_ADDRESS_BYTES {
            return;
        }
        let Ok(address) = Multiaddr::try_from(bytes.to_vec()) else { return };
        let Some(Protocol::P2p(id)) = address.iter().last() else { return };
        if id == *local || self.entries.contains_key(&id) || !self.has_room(&address, &teller) {
            return;
        }
        if self.told >= MAX_ADDRESSES && !self.make_room() {
            return;
        }
        self.told += 1;
        self.from_teller.add(teller.id);
        if let Some(subnet) = teller.subnet {
            self.from_subnet.add(subnet);
        }
        match Subnet::of(&address) {
            Some(subnet) => self.in_subnet.add(subnet),
            None => {
                self.names += 1;
                self.names_from_teller.add(teller.id);
            }
        }
        self.entries.insert(id, Known::new(address, Origin::Told(teller), now));
    }

    /// Only what costs nothing to look up: peers make addresses up.
    fn has_room(&self, address: &Multiaddr, teller: &Teller) -> bool {
        let place = match Subnet::of(address) {
            Some(subnet) => self.in_subnet.of(&subnet) < MAX_IN_SUBNET,
            None => self.names < MAX_NAMES && self.names_from_teller.of(&teller.id) < MAX_NAMES_FROM_TELLER,
        };
        place
            && self.from_teller.of(&teller.id) < MAX_FROM_TELLER
            && teller.subnet.is_none_or(|subnet| self.from_subnet.of(&subnet) < MAX_FROM_SUBNET)
    }

    /// Forgets the address that has failed and waited longest, if there is one that was never answered.
    fn make_room(&mut self) -> bool {
        let never_answered =
            |known: &&Known| !known.met && known.failures > 0 && matches!(known.origin, Origin::Told(_));
        let oldest =
            self.entries.iter().filter(|(_, known)| never_answered(known)).min_by_key(|(_, known)| known.since);
        let Some(id) = oldest.map(|(id, _)| *id) else { return false };
        self.forget(&id);
        true
    }

    fn forget(&mut self, id: &PeerId) {
        let Some(known) = self.entries.remove(id) else { return };
        let Origin::Told(teller) = known.origin else { return };
        self.told = self.told.saturating_sub(1);
        self.from_teller.remove(&teller.id);
        if let Some(subnet) = teller.subnet {
            self.from_subnet.remove(&subnet);
        }
        match Subnet::of(&known.address) {
            Some(subnet) => self.in_subnet.remove(&subnet),
            None => {
                self.names = self.names.saturating_sub(1);
                self.names_from_teller.remove(&teller.id);
            }
        }
    }

    /// A session with a peer began; `public`: its hello said that it is no validator.
    pub(crate) fn met(&mut self, id: &PeerId, public: bool) {
        if let Some(known) = self.entries.get_mut(id) {
            known.met = true;
            known.public = public;
            known.failures = 0;
            known.pause = FIRST_PAUSE;
        }
    }

    /// The last connection to a peer ended: it is dialled again soon.
    pub(crate) fn lost(&mut self, id: &PeerId, now: Instant) {
        if let Some(known) = self.entries.get_mut(id) {
            known.pause = FIRST_PAUSE;
            known.next = now + FIRST_PAUSE;
        }
    }

    /// A dial failed. What others told of and was never there is forgotten after a while.
    pub(crate) fn failed(&mut self, id: &PeerId) {
        let Some(known) = self.entries.get_mut(id) else { return };
        known.failures = known.failures.saturating_add(1);
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
        Self { address, origin, public: false, met: false, failures: 0, pause, next: now, since: now }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn teller(octet: u8) -> Teller {
        Teller { id: PeerId::random(), subnet: Some(Subnet::of_ip([192, 168, octet, 1].into())) }
    }

    /// A made-up peer at an address without its identity.
    fn made_up(text: &str) -> (PeerId, Vec<u8>) {
        let id = PeerId::random();
        let address: Multiaddr = format!("{text}/p2p/{id}").parse().unwrap();
        (id, address.to_vec())
    }

    fn learn(book: &mut AddressBook, text: &str, teller: Teller) -> Option<PeerId> {
        let (id, bytes) = made_up(text);
        book.learn(&bytes, teller, &PeerId::random(), Instant::now());
        book.entries.contains_key(&id).then_some(id)
    }

    #[test]
    fn a_teller_a_subnet_and_names_have_their_share() {
        let mut book = AddressBook::new();
        let liar = teller(0);
        let count = |book: &mut AddressBook, teller: Teller, text: &dyn Fn(u32) -> String| {
            (0..300).filter(|index| learn(book, &text(*index), teller).is_some()).count()
        };
        let anywhere = |index: u32| format!("/ip4/11.{}.{}.1/tcp/1", index / 250, index % 250);
        assert_eq!(count(&mut book, liar, &anywhere), MAX_FROM_TELLER, "of one teller");
        for _ in 0..20 {
            count(&mut book, Teller { id: PeerId::random(), ..liar }, &anywhere);
        }
        assert_eq!(book.entries.len(), MAX_FROM_SUBNET, "of many tellers in one subnet");
        let mut book = AddressBook::new();
        for octet in 0..10 {
            count(&mut book, teller(octet), &|index| format!("/ip4/10.0.0.{}/tcp/1", index % 250));
        }
        assert_eq!(book.entries.len(), MAX_IN_SUBNET, "in one subnet");
        let name = |index: u32| format!("/dns4/n{index}.example/tcp/1");
        assert_eq!(count(&mut book, teller(20), &name), MAX_NAMES_FROM_TELLER, "names of one teller");
        for octet in 21..100 {
            count(&mut book, teller(octet), &name);
        }
        assert_eq!(book.names, MAX_NAMES);
        assert!(learn(&mut book, "/ip4/12.0.0.1/tcp/1", teller(200)).is_some(), "there is room for others");
    }

    #[test]
    fn a_full_book_forgets_what_never_answered_and_keeps_what_did() {
        let mut book = AddressBook::new();
        let mut ids = Vec::new();
        for index in 0..MAX_ADDRESSES as u32 {
            let text = format!("/ip4/13.{}.{}.1/tcp/1", index / 250, index % 250);
            let from =
                Teller { id: PeerId::random(), subnet: Some(Subnet::of_ip([20, 0, (index / 100) as u8, 1].into())) };
            ids.push(learn(&mut book, &text, from).unwrap());
        }
        assert_eq!(learn(&mut book, "/ip4/14.0.0.1/tcp/1", teller(1)), None, "nothing is known to be dead");
        for id in &ids[..10] {
            book.met(id, true);
        }
        for id in &ids[..20] {
            book.failed(id);
        }
        for index in 0..10 {
            assert!(learn(&mut book, &format!("/ip4/14.0.{index}.1/tcp/1"), teller(1)).is_some());
        }
        assert_eq!(learn(&mut book, "/ip4/14.0.99.1/tcp/1", teller(1)), None);
        assert!(ids[..10].iter().all(|id| book.entries.contains_key(id)), "those that have answered are kept");
        assert!(ids[10..20].iter().all(|id| !book.entries.contains_key(id)));
        for _ in 0..MAX_FAILURES {
            book.failed(&ids[30]);
        }
        assert!(!book.entries.contains_key(&ids[30]), "what never answers is forgotten");
        assert_eq!(book.entries.len(), book.told);
    }

    #[test]
    fn persistent_peers_are_always_dialled_and_strangers_few_at_a_time() {
        let mut book = AddressBook::new();
        let now = Instant::now();
        let own = PeerId::random();
        book.add_persistent(own, "/ip4/10.0.0.1/tcp/1".parse().unwrap(), now);
        for octet in 0..20 {
            learn(&mut book, &format!("/ip4/15.0.{octet}.1/tcp/1"), teller(octet)).unwrap();
        }
        let later = Instant::now();
        let due = book.due(8, |_| false, later);
        assert_eq!(due.len(), 9);
        assert_eq!(due[0].0, own);
        assert!(book.due(0, |_| false, later).is_empty(), "it was dialled this moment");
        let due = book.due(0, |_| false, later + Duration::from_secs(60));
        assert_eq!(due.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [own]);
        for _ in 0..100 {
            book.failed(&own);
        }
        assert!(book.entries.contains_key(&own));
    }

    #[test]
    fn an_address_is_told_when_its_peer_has_said_that_it_is_no_validator() {
        let mut book = AddressBook::new();
        let now = Instant::now();
        let own = PeerId::random();
        book.add_persistent(own, "/ip4/10.0.0.1/tcp/1".parse().unwrap(), now);
        let stranger = learn(&mut book, "/ip4/15.0.0.1/tcp/1", teller(0)).unwrap();
        assert!(book.to_tell(|_| false).is_empty());
        book.met(&own, false);
        assert!(book.to_tell(|_| false).is_empty(), "a validator");
        book.met(&stranger, true);
        assert_eq!(book.to_tell(|_| false).len(), 1);
        assert!(book.to_tell(|id| *id == stranger).is_empty());
        book.met(&own, true);
        assert_eq!(book.to_tell(|_| false).len(), 2);
    }
}
