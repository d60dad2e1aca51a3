//! Streams of one protocol: those that peers open go into a queue, ours are opened through an [`Opener`]. Nothing is kept of
//! connections that are over.

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream, StreamProtocol};
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

/// Streams that are to be opened and of which the swarm does not know yet. Whoever wants one more waits.
const WANTED: usize = 64;

/// Why a stream was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the peer does not speak the protocol")]
    Unsupported,
    #[error("{0}")]
    Failed(String),
}

/// Who waits for a stream.
type Reply = oneshot::Sender<Result<Stream, OpenError>>;

/// Opens streams.
#[derive(Clone, Debug)]
pub(crate) struct Opener(mpsc::Sender<(PeerId, Reply)>);

impl Opener {
    /// Opens a stream to a peer that is connected, on the latest of its connections.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) async fn open(&self, peer: PeerId) -> Result<Stream, OpenError> {
        let gone = || OpenError::Failed("the connection is gone".into());
        let (reply, opened) = oneshot::channel();
        self.0.send((peer, reply)).await.map_err(|_| gone())?;
        opened.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The behaviour.
pub(crate) struct Behaviour {
    protocol: StreamProtocol,
    wanted: mpsc::Receiver<(PeerId, Reply)>,
    inbound: mpsc::Sender<(PeerId, Stream)>,
    /// The latest last.
    connections: HashMap<PeerId, Vec<ConnectionId>>,
}

impl Behaviour {
    /// Streams of `protocol`. Those that peers open go to `inbound`; what finds no room there is dropped.
    pub(crate) fn new(protocol: StreamProtocol, inbound: mpsc::Sender<(PeerId, Stream)>) -> (Self, Opener) {
        let (opener, wanted) = mpsc::channel(WANTED);
        (Self { protocol, wanted, inbound, connections: HashMap::new() }, Opener(opener))
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler { peer, protocol: self.protocol.clone(), inbound: self.inbound.clone(), wanted: VecDeque::new() }
    }

    fn closed(&mut self, peer: &PeerId, connection: ConnectionId) {
        if let Some(connections) = self.connections.get_mut(peer) {
            connections.retain(|other| *other != connection);
            if connections.is_empty() {
                self.connections.remove(peer);
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                self.connections.entry(event.peer_id).or_default().push(event.connection_id);
            }
            FromSwarm::ConnectionClosed(event) => self.closed(&event.peer_id, event.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready(Some((peer_id, reply))) = self.wanted.poll_recv(cx) {
            match self.connections.get(&peer_id).and_then(|connections| connections.last()) {
                Some(latest) => {
                    let handler = NotifyHandler::One(*latest);
                    return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event: reply });
                }
                None => {
                    let _ = reply.send(Err(OpenError::Failed("the peer is not connected".into())));
                }
            }
        }
        Poll::Pending
    }
}

/// The streams of one connection.
pub(crate) struct Handler {
    peer: PeerId,
    protocol: StreamProtocol,
    inbound: mpsc::Sender<(PeerId, Stream)>,
    wanted: VecDeque<Reply>,
}

impl Handler {
    /// The peer opened a stream.
    fn opened(&self, stream: Stream) {
        if self.inbound.try_send((self.peer, stream)).is_err() {
            tracing::debug!(peer = %self.peer, "too many streams are being opened");
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Reply;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Reply, Self::ToBehaviour>> {
        match self.wanted.pop_front() {
            Some(reply) => {
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), reply);
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, reply: Reply) {
        self.wanted.push_back(reply);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Reply>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                self.opened(stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: reply }) => {
                let _ = reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(event) => {
                let error = match event.error {
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Timeout => OpenError::Failed("no stream in time".into()),
                    StreamUpgradeError::Io(error) => OpenError::Failed(error.to_string()),
                };
                let _ = event.info.send(Err(error));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::core::ConnectedPoint;
    use libp2p::swarm::{ConnectionClosed, behaviour::ConnectionEstablished};

    fn established(behaviour: &mut Behaviour, peer_id: PeerId, connection_id: ConnectionId, at: &ConnectedPoint) {
        let address = at.get_remote_address();
        behaviour.handle_established_inbound_connection(connection_id, peer_id, address, address).unwrap();
        let failed_addresses = &[];
        behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id,
            connection_id,
            endpoint: at,
            failed_addresses,
            other_established: 0,
        }));
    }

    #[tokio::test]
    async fn nothing_is_left_of_connections_that_are_over_and_the_latest_is_taken() {
        let (inbound, _streams) = mpsc::channel(1);
        let (mut behaviour, opener) = Behaviour::new(StreamProtocol::new("/test"), inbound);
        let address: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        let at = ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address };
        let peer = PeerId::random();
        for number in 0..10_000 {
            let (one, other) = (ConnectionId::new_unchecked(2 * number), ConnectionId::new_unchecked(2 * number + 1));
            let peer_id = if number % 2 == 0 { peer } else { PeerId::random() };
            for connection in [one, other] {
                established(&mut behaviour, peer_id, connection, &at);
            }
            for connection_id in [one, other] {
                let (endpoint, cause) = (&at, None);
                let closed = ConnectionClosed { peer_id, connection_id, endpoint, cause, remaining_established: 0 };
                behaviour.on_swarm_event(FromSwarm::ConnectionClosed(closed));
            }
        }
        assert!(behaviour.connections.is_empty());
        assert!(behaviour.connections.capacity() < 100);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let wants = || {
            tokio::spawn({
                let opener = opener.clone();
                async move { opener.open(peer).await }
            })
        };
        let wanted = wants();
        tokio::task::yield_now().await;
        assert!(behaviour.poll(cx).is_pending());
        assert!(matches!(wanted.await.unwrap(), Err(OpenError::Failed(_))), "nobody is dialled for it");
        for number in 1..=3 {
            established(&mut behaviour, peer, ConnectionId::new_unchecked(number), &at);
        }
        let wanted = wants();
        tokio::task::yield_now().await;
        let Poll::Ready(ToSwarm::NotifyHandler { handler: NotifyHandler::One(connection), event, .. }) =
            behaviour.poll(cx)
        else {
            panic!("a stream is opened");
        };
        assert_eq!(connection, ConnectionId::new_unchecked(3));
        drop(event);
        assert!(wanted.await.unwrap().is_err(), "the connection ends before it is open");
    }
}
