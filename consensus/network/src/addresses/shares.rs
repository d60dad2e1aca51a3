//! How many addresses there are in the book, of whom and where: nobody has more than a share of it.

use crate::addresses::Teller;
use crate::subnet::Subnet;
use libp2p::{Multiaddr, PeerId};
use std::collections::HashMap;
use std::hash::Hash;

/// Addresses kept of peers that others told of.
pub(super) const MAX_ADDRESSES: usize = 1_000;
/// Of them, in one subnet.
pub(super) const MAX_IN_SUBNET: usize = 32;
/// Of them, told by one peer, and by the peers of one subnet: identities cost nothing.
pub(super) const MAX_FROM_TELLER: usize = 32;
pub(super) const MAX_FROM_SUBNET: usize = 128;
/// Names instead of numbers have no subnet: few of one teller, and few in all.
pub(super) const MAX_NAMES_FROM_TELLER: usize = 4;
pub(super) const MAX_NAMES: usize = 64;
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

/// The counts of what peers told.
#[derive(Debug)]
pub(super) struct Shares {
    pub(super) told: usize,
    pub(super) names: usize,
    in_subnet: Counts<Subnet>,
    from_teller: Counts<PeerId>,
    names_from_teller: Counts<PeerId>,
    from_subnet: Counts<Subnet>,
}

impl Shares {
    /// Nothing is told.
    pub(super) fn new() -> Self {
        Self {
            told: 0,
            names: 0,
            in_subnet: Counts(HashMap::new()),
            from_teller: Counts(HashMap::new()),
            names_from_teller: Counts(HashMap::new()),
            from_subnet: Counts(HashMap::new()),
        }
    }

    /// Whether one more is within every share. Only what costs nothing to look up: peers make addresses up.
    pub(super) fn have_room(&self, address: &Multiaddr, teller: &Teller) -> bool {
        let place = match Subnet::of(address) {
            Some(subnet) => self.in_subnet.of(&subnet) < MAX_IN_SUBNET,
            None => self.names < MAX_NAMES && self.names_from_teller.of(&teller.id) < MAX_NAMES_FROM_TELLER,
        };
        place
            && self.from_teller.of(&teller.id) < MAX_FROM_TELLER
            && teller.subnet.is_none_or(|subnet| self.from_subnet.of(&subnet) < MAX_FROM_SUBNET)
    }

    /// One more.
    pub(super) fn add(&mut self, address: &Multiaddr, teller: &Teller) {
        self.told += 1;
        self.from_teller.add(teller.id);
        if let Some(subnet) = teller.subnet {
            self.from_subnet.add(subnet);
        }
        match Subnet::of(address) {
            Some(subnet) => self.in_subnet.add(subnet),
            None => {
                self.names += 1;
                self.names_from_teller.add(teller.id);
            }
        }
    }

    /// One less.
    pub(super) fn remove(&mut self, address: &Multiaddr, teller: &Teller) {
        self.told = self.told.saturating_sub(1);
        self.from_teller.remove(&teller.id);
        if let Some(subnet) = teller.subnet {
            self.from_subnet.remove(&subnet);
        }
        match Subnet::of(address) {
            Some(subnet) => self.in_subnet.remove(&subnet),
            None => {
                self.names = self.names.saturating_sub(1);
                self.names_from_teller.remove(&teller.id);
            }
        }
    }
}
