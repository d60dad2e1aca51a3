//! The door: connections whose handshake is not over, of which all that is known is where they say they come from.
//!
//! Whoever has a few subnets can hold many of them open. So the first one of a subnet has places that further ones cannot
//! take, and addresses from which our own peers are expected have places of their own. What comes over UDP is counted apart:
//! its source may be made up, and what nobody sent must not keep out who is there.

use crate::admission::Refusal;
use crate::standing::Rate;
use crate::subnet::{Subnet, SubnetRates, ip_of};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use lru::LruCache;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroUsize;

/// Handshakes in work that others began.
const HALF_OPEN: usize = 256;
/// As long as there are fewer, a subnet may have more than one.
const HALF_OPEN_FURTHER: usize = 128;
/// Of one subnet.
const HALF_OPEN_IN_SUBNET: usize = 16;
/// The same from addresses of our own peers, which need no other place, and from one of these addresses.
const HALF_OPEN_EXPECTED: usize = 64;
const HALF_OPEN_AT_EXPECTED: usize = 16;
/// Handshakes that others may begin: each costs about half a millisecond.
const HANDSHAKES: Rate = Rate { interval_ms: 250, burst: 32 };
const ALL_HANDSHAKES: Rate = Rate { interval_ms: 10, burst: 256 };
/// Addresses remembered for each of our own peers.
const SEEN_EACH: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HalfOpen {
    ip: Option<IpAddr>,
    expected: bool,
}

/// What comes over one kind of transport.
struct Side {
    half_open: HashMap<ConnectionId, HalfOpen>,
    handshakes: SubnetRates,
}

impl Side {
    fn new() -> Self {
        Self { half_open: HashMap::new(), handshakes: SubnetRates::new(HANDSHAKES, ALL_HANDSHAKES, 0) }
    }

    /// Whether one more may come from an address of our own peers.
    fn takes_expected(&self, ip: Option<IpAddr>) -> bool {
        let alike = || self.half_open.values().filter(|other| other.expected);
        alike().count() < HALF_OPEN_EXPECTED && alike().filter(|other| other.ip == ip).count() < HALF_OPEN_AT_EXPECTED
    }

    /// Whether one more may come from anywhere else.
    fn takes_stranger(&self, subnet: Option<Subnet>) -> bool {
        let strangers = || self.half_open.values().filter(|other| !other.expected);
        let neighbours = strangers().filter(|other| other.ip.map(Subnet::of_ip) == subnet).count();
        let places = if neighbours == 0 { HALF_OPEN } else { HALF_OPEN_FURTHER };
        neighbours < HALF_OPEN_IN_SUBNET && strangers().count() < places
    }

    fn knock(&mut self, half_open: HalfOpen, now_ms: u64) -> Result<(), Refusal> {
        let HalfOpen { ip, expected } = half_open;
        let subnet = ip.map(Subnet::of_ip);
        if !(if expected { self.takes_expected(ip) } else { self.takes_stranger(subnet) }) {
            return Err(Refusal::HalfOpen);
        }
        if !expected && !self.handshakes.take(subnet, now_ms) {
            return Err(Refusal::Handshakes);
        }
        Ok(())
    }
}

/// Where our own peers come from.
struct Expected {
    /// As the operator says.
    named: HashSet<IpAddr>,
    /// As the names say that the operator says.
    resolved: HashSet<IpAddr>,
    /// Where they were; the newest replaces the oldest.
    seen: LruCache<IpAddr, ()>,
}

/// The door.
pub(crate) struct Door {
    tcp: Side,
    udp: Side,
    expected: Expected,
}

impl Door {
    /// Nobody is there. `own`: how many peers of our own there are; `named`: where the operator says that they are.
    pub(crate) fn new(own: usize, named: HashSet<IpAddr>) -> Self {
        let seen = NonZeroUsize::new(own.saturating_mul(SEEN_EACH)).unwrap_or(NonZeroUsize::MIN);
        let expected = Expected { named, resolved: HashSet::new(), seen: LruCache::new(seen) };
        Self { tcp: Side::new(), udp: Side::new(), expected }
    }

    /// Somebody is there; `now_ms` are milliseconds of any clock.
    ///
    /// # Errors
    /// [`Refusal::HalfOpen`] or [`Refusal::Handshakes`].
    pub(crate) fn knock(&mut self, connection: ConnectionId, from: &Multiaddr, now_ms: u64) -> Result<(), Refusal> {
        let ip = ip_of(from);
        let half_open = HalfOpen { ip, expected: ip.is_some_and(|ip| self.expects(ip)) };
        let datagrams = from.iter().any(|part| matches!(part, Protocol::Udp(_)));
        let side = if datagrams { &mut self.udp } else { &mut self.tcp };
        side.knock(half_open, now_ms)?;
        side.half_open.insert(connection, half_open);
        Ok(())
    }

    /// Somebody is in, or gone.
    pub(crate) fn leave(&mut self, connection: ConnectionId) {
        self.tcp.half_open.remove(&connection);
        self.udp.half_open.remove(&connection);
    }

    /// A peer of our own is there; it may come from there again.
    pub(crate) fn seen(&mut self, ip: IpAddr) {
        self.expected.seen.push(ip, ());
    }

    /// Where the peers of our own are that the operator gives by name.
    pub(crate) fn resolved(&mut self, ips: HashSet<IpAddr>) {
        self.expected.resolved = ips;
    }

    fn expects(&self, ip: IpAddr) -> bool {
        let Expected { named, resolved, seen } = &self.expected;
        named.contains(&ip) || resolved.contains(&ip) || seen.contains(&ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(subnet: usize, host: u8) -> Multiaddr {
        format!("/ip4/10.{}.{}.{host}/tcp/1", subnet / 250, subnet % 250).parse().unwrap()
    }

    fn udp(subnet: usize, host: u8) -> Multiaddr {
        format!("/ip4/10.{}.{}.{host}/udp/1/quic-v1", subnet / 250, subnet % 250).parse().unwrap()
    }

    fn expecting(own: usize, address: &Multiaddr) -> Door {
        Door::new(own, ip_of(address).into_iter().collect())
    }

    /// How many of so many get in, each of a second later than the one before.
    fn knocks(door: &mut Door, count: usize, from: impl Fn(usize) -> Multiaddr) -> usize {
        let first = door.tcp.half_open.len() + door.udp.half_open.len();
        let knock = |index: &usize| {
            let at = 1_000_000 + 1_000 * *index as u64;
            door.knock(ConnectionId::new_unchecked(first + *index), &from(*index), at).is_ok()
        };
        (0..count).filter(knock).count()
    }

    #[test]
    fn a_subnet_that_has_no_half_open_connection_may_have_one() {
        let mut door = expecting(1, &tcp(0, 1));
        for subnet in 1..=4 {
            assert_eq!(knocks(&mut door, 100, |_| tcp(subnet, 1)), HALF_OPEN_IN_SUBNET);
        }
        assert_eq!(knocks(&mut door, 100, |_| tcp(5, 1)), HALF_OPEN_IN_SUBNET, "four subnets do not fill the door");
        for subnet in 6..20 {
            knocks(&mut door, 100, |_| tcp(subnet, 1));
        }
        assert_eq!(door.tcp.half_open.len(), HALF_OPEN_FURTHER + 11, "nor do twenty: each of the last has one");
        assert_eq!(knocks(&mut door, 1, |_| tcp(20, 1)), 1);
        assert_eq!(knocks(&mut door, 500, |index| tcp(1_000 + index, 1)), HALF_OPEN - HALF_OPEN_FURTHER - 12);
        assert_eq!(knocks(&mut door, 100, |_| tcp(0, 1)), HALF_OPEN_AT_EXPECTED, "where an own peer is expected");
    }

    #[test]
    fn made_up_datagrams_keep_nobody_out() {
        let mut door = expecting(1, &tcp(0, 1));
        knocks(&mut door, 1_000, |index| udp(100 + index, 1));
        knocks(&mut door, 100, |_| udp(0, 1));
        assert_eq!((door.tcp.half_open.len(), door.udp.half_open.len()), (0, HALF_OPEN + HALF_OPEN_AT_EXPECTED));
        assert_eq!(knocks(&mut door, 1, |_| tcp(0, 1)), 1, "an own peer");
        assert_eq!(knocks(&mut door, 1, |_| tcp(50, 1)), 1, "a guest");
        for _ in 0..10_000 {
            let _ = door.udp.handshakes.take(Some(Subnet::of_ip([10, 9, 9, 9].into())), 5_000_000);
        }
        let first = ConnectionId::new_unchecked(1_000_000);
        assert_eq!(door.knock(first, &tcp(51, 1), 5_000_000), Ok(()), "nor do they use up the handshakes");
    }

    #[test]
    fn handshakes_that_end_at_once_are_bounded_in_time() {
        let mut door = expecting(1, &tcp(0, 1));
        let mut finished = |from: &dyn Fn(usize) -> Multiaddr| {
            let knock = |index: &usize| {
                let connection = ConnectionId::new_unchecked(*index);
                let taken = door.knock(connection, &from(*index), 0).is_ok();
                door.leave(connection);
                taken
            };
            (0..1_000).filter(knock).count()
        };
        assert_eq!(finished(&|_| tcp(1, 1)), 32, "of one subnet");
        assert_eq!(finished(&|index| tcp(2 + index % 10, 1)), 224 + 10, "of ten more, and one of each of the reserve");
        assert_eq!(finished(&|index| tcp(100 + index, 1)), 64 - 10, "the rest of the reserve");
        assert_eq!(finished(&|_| tcp(0, 1)), 1_000, "where an own peer is expected");
    }

    #[test]
    fn the_newest_address_of_our_own_peers_replaces_the_oldest() {
        let mut door = expecting(2, &tcp(0, 1));
        let ip = |host: u8| IpAddr::from([10, 9, 9, host]);
        for host in 0..100 {
            door.seen(ip(host));
        }
        assert!((92..100).all(|host| door.expects(ip(host))));
        assert!(!door.expects(ip(91)));
        assert!(door.expects([10, 0, 0, 1].into()), "what the operator says stays");
        door.resolved(HashSet::from([ip(200)]));
        assert!(door.expects(ip(200)));
        door.resolved(HashSet::from([ip(201)]));
        assert!(door.expects(ip(201)) && !door.expects(ip(200)));
    }
}
