//! Who may connect: before the handshake by address, after it by identity.
//!
//! Places are counted apart for connections that come and those that we open, so that strangers at the door do not keep us
//! from going out. The operator's own peers need no place.

use crate::door::Door;
use crate::subnet::{Subnet, ip_of};
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
use tokio::sync::mpsc;

/// Dials of strangers in work.
const DIALS: usize = 32;
/// Connections of one stranger, and of one of our own peers, which may have left dead ones behind.
const CONNECTIONS_EACH: usize = 3;
const CONNECTIONS_OWN: usize = 16;
/// Strangers beyond the places for peers that may be about to say hello.
const WITHOUT_HELLO: usize = 32;
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
    /// Where those of them are that the operator gives by name, as often as they are looked up.
    named: mpsc::Receiver<HashSet<IpAddr>>,
    door: Door,
    dials: HashSet<ConnectionId>,
    connected: HashMap<ConnectionId, Connected>,
    start: Instant,
}

impl Admission {
    /// `own`: peers that need no place; `addresses`: where they are; `named`: where those are that are given by name.
    pub(crate) fn new<'a>(
        places: Places,
        own: HashSet<PeerId>,
        addresses: impl Iterator<Item = &'a Multiaddr>,
        named: mpsc::Receiver<HashSet<IpAddr>>,
    ) -> Self {
        Self {
            places,
            named,
            door: Door::new(own.len(), addresses.filter_map(ip_of).collect()),
            own,
            dials: HashSet::new(),
            connected: HashMap::new(),
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
        // Names are of one subnet: who gives us many of them has all that they stand for.
        let subnet = Subnet::of(address);
        if others(&|other| other.subnet == subnet) >= self.places.in_subnet {
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
        let now = self.now();
        self.door.knock(connection, remote, now).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.door.leave(connection);
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
                    self.door.seen(ip);
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
                self.door.leave(event.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready(Some(ips)) = self.named.poll_recv(cx) {
            self.door.resolved(ips);
        }
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

    fn admission(places: Places, own: HashSet<PeerId>, addresses: &[Multiaddr]) -> Admission {
        Admission::new(places, own, addresses.iter(), mpsc::channel(1).1)
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
        let mut admission = admission(PLACES, HashSet::from([own]), &[address(9, 1)]);
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
        let mut admission = admission(PLACES, HashSet::from([own]), &[]);
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
        let mut admission = admission(places, HashSet::from([own]), &[]);
        assert_eq!(connect(&mut admission, PeerId::random(), &address(0, 1), true), Err(Refusal::Stranger));
        assert_eq!(connect(&mut admission, own, &address(0, 1), true), Ok(()));
    }

    #[test]
    fn names_are_one_subnet() {
        let mut admission = admission(PLACES, HashSet::new(), &[]);
        let named = |index: usize| format!("/dns4/n{index}.example/tcp/1").parse().unwrap();
        let taken = (0..100).filter(|index| connect(&mut admission, PeerId::random(), &named(*index), false).is_ok());
        assert_eq!(taken.count(), PLACES.in_subnet);
        assert_eq!(connect(&mut admission, PeerId::random(), &address(0, 1), false), Ok(()));
    }

    #[test]
    fn own_peers_are_expected_where_their_names_say_that_they_are() {
        let (sender, receiver) = mpsc::channel(1);
        let mut admission = Admission::new(PLACES, HashSet::from([PeerId::random()]), std::iter::empty(), receiver);
        let knocks = |admission: &mut Admission| {
            let knock = |index: &usize| {
                let connection = ConnectionId::new_unchecked(*index);
                let taken = admission.handle_pending_inbound_connection(connection, &address(0, 9), &address(0, 1));
                admission.door.leave(connection);
                taken.is_ok()
            };
            (0..1_000).filter(knock).count()
        };
        assert!(knocks(&mut admission) < 100);
        sender.try_send(HashSet::from([IpAddr::from([10, 0, 0, 1])])).unwrap();
        assert!(admission.poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        assert_eq!(knocks(&mut admission), 1_000);
    }
}
