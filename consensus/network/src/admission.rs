//! Who may connect: before the handshake by address, after it by identity.
//!
//! Places are counted apart for connections that come and those that we open, so that strangers at the door do not keep us
//! from going out. The operator's own peers need no place.

use crate::standing::Rate;
use crate::subnet::{Subnet, SubnetRates, ip_of};
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Instant;

/// Handshakes in work that others began.
const HALF_OPEN: usize = 64;
/// Of them, from one subnet.
const HALF_OPEN_IN_SUBNET: usize = 16;
/// The same from addresses of our own peers, which need no other place.
const HALF_OPEN_EXPECTED: usize = 64;
/// Dials of strangers in work.
const DIALS: usize = 32;
/// Connections of one stranger, and of one of our own peers, which may have left dead ones behind.
const CONNECTIONS_EACH: usize = 3;
const CONNECTIONS_OWN: usize = 16;
/// Strangers beyond the places for peers that may be about to say hello.
const WITHOUT_HELLO: usize = 32;
/// Handshakes that others may begin: each costs about half a millisecond.
const HANDSHAKES: Rate = Rate { interval_ms: 250, burst: 32 };
const ALL_HANDSHAKES: Rate = Rate { interval_ms: 10, burst: 256 };

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too many handshakes at once")]
    HalfOpen,
    #[error("too many handshakes of one subnet")]
    Handshakes,
    #[error("too many peers from one subnet")]
    Subnet,
    #[error("no place for a further peer")]
    Full,
    #[error("too many connections of one peer")]
    PerPeer,
    #[error("this node takes its own peers only")]
    Stranger,
    #[error("too many dials at once")]
    Dials,
}

/// What may be connected at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Strangers that come.
    pub(crate) inbound: usize,
    /// Strangers to whom we go.
    pub(crate) outbound: usize,
    /// Strangers in one subnet.
    pub(crate) in_subnet: usize,
    /// Whether strangers that come are taken at all.
    pub(crate) strangers: bool,
}

#[derive(Clone, Copy, Debug)]
struct HalfOpen {
    subnet: Option<Subnet>,
    expected: bool,
}

#[derive(Clone, Copy, Debug)]
struct Connected {
    peer: PeerId,
    subnet: Option<Subnet>,
    inbound: bool,
}

/// The behaviour that decides.
pub(crate) struct Admission {
    places: Places,
    /// The operator's own peers.
    own: HashSet<PeerId>,
    /// Where they are expected to come from.
    expected: HashSet<IpAddr>,
    half_open: HashMap<ConnectionId, HalfOpen>,
    dials: HashSet<ConnectionId>,
    connected: HashMap<ConnectionId, Connected>,
    handshakes: SubnetRates,
    start: Instant,
}

impl Admission {
    /// `own`: peers that need no place; `addresses`: where they are.
    pub(crate) fn new<'a>(
        places: Places,
        own: HashSet<PeerId>,
        addresses: impl Iterator<Item = &'a Multiaddr>,
    ) -> Self {
        Self {
            places,
            own,
            expected: addresses.filter_map(ip_of).collect(),
            half_open: HashMap::new(),
            dials: HashSet::new(),
            connected: HashMap::new(),
            handshakes: SubnetRates::new(HANDSHAKES, ALL_HANDSHAKES, 0),
            start: Instant::now(),
        }
    }

    /// Whether a peer is one of the operator's own.
    pub(crate) fn is_own(&self, peer: &PeerId) -> bool {
        self.own.contains(peer)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Before the handshake: all that is known is where it comes from.
    fn knock(&mut self, address: &Multiaddr) -> Result<HalfOpen, Refusal> {
        let subnet = Subnet::of(address);
        let expected = ip_of(address).is_some_and(|ip| self.expected.contains(&ip));
        let alike = self.half_open.values().filter(|other| other.expected == expected);
        if expected {
            return if alike.count() < HALF_OPEN_EXPECTED {
                Ok(HalfOpen { subnet, expected })
            } else {
                Err(Refusal::HalfOpen)
            };
        }
        let (all, neighbours) =
            alike.fold((0, 0), |(all, near), other| (all + 1, near + usize::from(other.subnet == subnet)));
        if all >= HALF_OPEN || (subnet.is_some() && neighbours >= HALF_OPEN_IN_SUBNET) {
            return Err(Refusal::HalfOpen);
        }
        let now = self.now();
        if !self.handshakes.take(subnet, now) {
            return Err(Refusal::Handshakes);
        }
        Ok(HalfOpen { subnet, expected })
    }

    /// After the handshake: it is known who it is.
    fn enter(&self, peer: &PeerId, address: &Multiaddr, inbound: bool) -> Result<(), Refusal> {
        let own = self.is_own(peer);
        let connections = self.connected.values().filter(|other| other.peer == *peer).count();
        if connections >= if own { CONNECTIONS_OWN } else { CONNECTIONS_EACH } {
            return Err(Refusal::PerPeer);
        }
        if own {
            return Ok(());
        }
        if inbound && !self.places.strangers {
            return Err(Refusal::Stranger);
        }
        let others = |wanted: &dyn Fn(&Connected) -> bool| {
            let others = self.connected.values().filter(|other| other.peer != *peer && !self.own.contains(&other.peer));
            others.filter(|other| wanted(other)).map(|other| other.peer).collect::<HashSet<_>>().len()
        };
        if let Some(subnet) = Subnet::of(address)
            && others(&|other| other.subnet == Some(subnet)) >= self.places.in_subnet
        {
            return Err(Refusal::Subnet);
        }
        let places = if inbound { self.places.inbound } else { self.places.outbound };
        if others(&|other| other.inbound == inbound) >= places.saturating_add(WITHOUT_HELLO) {
            return Err(Refusal::Full);
        }
        Ok(())
    }
}

impl NetworkBehaviour for Admission {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let half_open = self.knock(remote).map_err(ConnectionDenied::new)?;
        self.half_open.insert(connection, half_open);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.half_open.remove(&connection);
        self.enter(&peer, remote, true).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if !peer.is_some_and(|peer| self.is_own(&peer)) {
            if self.dials.len() >= DIALS {
                return Err(ConnectionDenied::new(Refusal::Dials));
            }
            self.dials.insert(connection);
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.dials.remove(&connection);
        self.enter(&peer, address, false).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                let address = event.endpoint.get_remote_address();
                if self.is_own(&event.peer_id)
                    && let Some(ip) = ip_of(address)
                {
                    // It may come from there again, whether the operator named the address or not.
                    if self.expected.len() < self.own.len().saturating_mul(4) {
                        self.expected.insert(ip);
                    }
                }
                let inbound = matches!(event.endpoint, ConnectedPoint::Listener { .. });
                let connected = Connected { peer: event.peer_id, subnet: Subnet::of(address), inbound };
                self.connected.insert(event.connection_id, connected);
            }
            FromSwarm::ConnectionClosed(event) => {
                self.connected.remove(&event.connection_id);
            }
            FromSwarm::DialFailure(event) => {
                self.dials.remove(&event.connection_id);
            }
            FromSwarm::ListenFailure(event) => {
                self.half_open.remove(&event.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places = Places { inbound: 10, outbound: 4, in_subnet: 8, strangers: true };

    fn address(subnet: u8, host: u8) -> Multiaddr {
        format!("/ip4/10.0.{subnet}.{host}/tcp/1").parse().unwrap()
    }

    fn connect(admission: &mut Admission, peer: PeerId, address: &Multiaddr, inbound: bool) -> Result<(), Refusal> {
        admission.enter(&peer, address, inbound)?;
        let connected = Connected { peer, subnet: Subnet::of(address), inbound };
        admission.connected.insert(ConnectionId::new_unchecked(admission.connected.len()), connected);
        Ok(())
    }

    fn strangers(admission: &mut Admission, subnet: u8, inbound: bool) -> usize {
        let place = address(subnet, 1);
        (0..100).filter(|_| connect(admission, PeerId::random(), &place, inbound).is_ok()).count()
    }

    #[test]
    fn strangers_take_neither_the_places_of_one_another_nor_those_of_our_own_peers() {
        let own = PeerId::random();
        let mut admission = Admission::new(PLACES, HashSet::from([own]), [address(9, 1)].iter());
        assert_eq!(strangers(&mut admission, 0, true), 8, "of one subnet");
        let inbound: usize = (1..20).map(|subnet| strangers(&mut admission, subnet, true)).sum();
        assert_eq!(8 + inbound, 10 + WITHOUT_HELLO, "all that come");
        assert_eq!(connect(&mut admission, PeerId::random(), &address(30, 1), true), Err(Refusal::Full));
        assert_eq!(connect(&mut admission, PeerId::random(), &address(30, 1), false), Ok(()), "we still go out");
        for inbound in [true, false] {
            assert_eq!(connect(&mut admission, own, &address(0, 1), inbound), Ok(()), "an own peer, of a full subnet");
        }
    }

    #[test]
    fn one_peer_has_few_connections() {
        let own = PeerId::random();
        let mut admission = Admission::new(PLACES, HashSet::from([own]), std::iter::empty());
        let stranger = PeerId::random();
        let count = |admission: &mut Admission, peer| {
            (0..100).filter(|_| connect(admission, peer, &address(0, 1), true).is_ok()).count()
        };
        assert_eq!(count(&mut admission, stranger), CONNECTIONS_EACH);
        assert_eq!(count(&mut admission, own), CONNECTIONS_OWN);
    }

    #[test]
    fn who_takes_its_own_peers_only_refuses_others_that_come() {
        let own = PeerId::random();
        let places = Places { strangers: false, ..PLACES };
        let mut admission = Admission::new(places, HashSet::from([own]), std::iter::empty());
        assert_eq!(connect(&mut admission, PeerId::random(), &address(0, 1), true), Err(Refusal::Stranger));
        assert_eq!(connect(&mut admission, own, &address(0, 1), true), Ok(()));
    }

    #[test]
    fn handshakes_are_bounded_for_a_subnet_and_in_all_but_not_for_our_own_peers() {
        let mut admission = Admission::new(PLACES, HashSet::new(), [address(9, 1)].iter());
        let mut next = 0;
        let mut knock = |admission: &mut Admission, from: &Multiaddr| match admission.knock(from) {
            Ok(half_open) => {
                next += 1;
                admission.half_open.insert(ConnectionId::new_unchecked(next), half_open);
                true
            }
            Err(_) => false,
        };
        assert_eq!((0..100).filter(|_| knock(&mut admission, &address(0, 1))).count(), HALF_OPEN_IN_SUBNET);
        let others: usize =
            (10..30).map(|subnet| (0..100).filter(|_| knock(&mut admission, &address(subnet, 1))).count()).sum();
        assert_eq!(HALF_OPEN_IN_SUBNET + others, HALF_OPEN);
        assert!(knock(&mut admission, &address(9, 1)), "where an own peer is expected from");
        admission.half_open.clear();
        let finished = (0..1_000).filter(|_| admission.knock(&address(0, 1)).is_ok()).count();
        assert!(finished <= 20, "those that end at once are bounded in time: {finished}");
    }
}
