//! The shell: what comes from the node, from peers and from libp2p, and where it goes.

use crate::Error;
use crate::addresses::AddressBook;
use crate::config::{NetworkConfig, Role};
use crate::control::Control;
use crate::greeting::{Greetings, Opened};
use crate::handle::{Command, Incoming, PeerInfo};
use crate::hello::Hello;
use crate::inflow::{Inflow, Place, Ticket};
use crate::lane::Lane;
use crate::outbox::Outbox;
use crate::requests::Requests;
use crate::router::{Arrival, Consequence, Judged, PeerId64, Router, Verdict};
use crate::session::{SessionEvent, SessionKey};
use crate::setup::{Behaviour, BehaviourEvent};
use crate::streams::Opener;
use crate::subnet::Subnet;
use crate::transactions::TransactionSender;
use alloy_primitives::Bytes;
use bttc_types::SigningDomain;
use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, Swarm, identify};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often lost persistent peers are dialled and addresses asked for.
const TICK: Duration = Duration::from_millis(500);

/// A peer with which hellos were exchanged, and its stream.
pub(crate) struct Session {
    /// The stream's number.
    pub(crate) number: u64,
    pub(crate) info: PeerInfo,
    /// Where it comes from, when that counts.
    pub(crate) subnet: Option<Subnet>,
    pub(crate) outbox: Arc<Outbox>,
    /// When it was asked for addresses.
    pub(crate) asked: Option<Instant>,
    pub(crate) awaits_addresses: bool,
    /// When it was told addresses.
    pub(crate) told: Option<Instant>,
}

/// A peer's connections.
pub(crate) struct Link {
    /// The latest last.
    connections: Vec<(ConnectionId, Multiaddr, bool)>,
    /// Exchanges of hellos in work.
    pub(crate) hellos: usize,
    /// A stream is to be opened as soon as that is allowed.
    pub(crate) wants_stream: bool,
    /// Since when there has been no session.
    pub(crate) silent_since: Instant,
    pub(crate) closing: bool,
    /// What comes of its sessions.
    pub(crate) inflow: Arc<Inflow>,
}

impl Link {
    fn new() -> Self {
        Self {
            connections: Vec::new(),
            hellos: 0,
            wants_stream: false,
            silent_since: Instant::now(),
            closing: false,
            inflow: Arc::default(),
        }
    }

    /// Where the peer is, and whether we went there.
    pub(crate) fn route(&self) -> (Multiaddr, bool) {
        let address = self.connections.last().map_or_else(Multiaddr::empty, |(_, address, _)| address.clone());
        (address, self.connections.iter().any(|(_, _, outbound)| *outbound))
    }
}

/// What the service listens to.
pub(crate) struct Inputs {
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) sessions: mpsc::Receiver<SessionEvent>,
    pub(crate) opened: mpsc::Receiver<Box<Opened>>,
    pub(crate) inbound: mpsc::Receiver<(PeerId, Stream)>,
}

/// The network's task.
pub(crate) struct Service {
    pub(crate) config: NetworkConfig,
    pub(crate) domain: SigningDomain,
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) opener: Opener,
    pub(crate) router: Router<RandomState>,
    pub(crate) start: Instant,
    pub(crate) hello: Hello,
    pub(crate) sessions: BTreeMap<PeerId64, Session>,
    /// Those that have a session.
    pub(crate) by_id: HashMap<PeerId, PeerId64>,
    /// Those that are connected.
    pub(crate) links: HashMap<PeerId, Link>,
    pub(crate) book: AddressBook,
    /// Whose addresses are told to nobody, as the operator wants it.
    pub(crate) private: HashSet<PeerId>,
    pub(crate) greetings: Greetings,
    pub(crate) next_session: u64,
    pub(crate) session_events: mpsc::Sender<SessionEvent>,
    pub(crate) opened: mpsc::Sender<Box<Opened>>,
    pub(crate) requests: Requests,
    pub(crate) incoming: mpsc::Sender<Incoming>,
    pub(crate) transactions: TransactionSender,
    /// For messages that are dropped without a verdict. Weak: it does not keep the service running.
    pub(crate) unjudged: mpsc::WeakUnboundedSender<Command>,
    pub(crate) listening: Arc<RwLock<Vec<Multiaddr>>>,
}

impl Service {
    /// Runs until every handle is gone.
    pub(crate) async fn run(mut self, inputs: Inputs) {
        let Inputs { mut commands, mut sessions, mut opened, mut inbound } = inputs;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    // Every handle is gone: the node is stopping.
                    None => return,
                },
                Some(event) = sessions.recv() => self.on_session(event).await,
                Some(result) = opened.recv() => self.on_opened(*result).await,
                Some((peer, stream)) = inbound.recv() => self.on_inbound_stream(peer, stream),
                event = self.swarm.select_next_some() => self.on_swarm(event).await,
                _ = tick.tick() => self.tick(),
            }
        }
    }

    /// Milliseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the operator named a peer.
    pub(crate) fn is_own(&self, id: &PeerId) -> bool {
        self.swarm.behaviour().admission.is_own(id)
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Broadcast(lane, bytes) => {
                self.router.published(lane, &bytes);
                self.send_to_all(lane, &bytes);
            }
            Command::Send(peer, lane, bytes) => {
                if let Some(session) = self.sessions.get(&peer) {
                    session.outbox.push(lane, bytes);
                }
            }
            Command::Verdict { peer, lane, number, bytes, verdict } => {
                self.on_verdict(peer, lane, number, &bytes, &verdict).await;
            }
            Command::Unjudged(number) => self.router.forget(number),
            Command::Fault(peer, reason) => {
                if self.router.rejected(peer, self.now()) == Consequence::Disconnect {
                    self.disconnect(peer, &reason).await;
                }
            }
            Command::Request { peer, tag, bytes } => self.ask(peer, tag, bytes),
            Command::Respond { id, bytes } => self.answer(id, bytes),
            Command::Status { height, hash } => {
                self.hello.height = height;
                self.hello.head = hash;
                self.send_to_all(Lane::Control, &Control::Status { height, hash }.encode());
            }
            Command::Peers(reply) => {
                let now = self.now();
                let peers = self.sessions.values().map(|session| PeerInfo {
                    score: self.router.score(session.info.peer, now),
                    dropped: session.outbox.dropped(),
                    ..session.info.clone()
                });
                let _ = reply.send(peers.collect());
            }
        }
    }

    /// The ticket's place is free when all has been drawn from the verdict: until its sender is banned, no more of it is
    /// judged than has places.
    async fn on_verdict(&mut self, peer: PeerId64, lane: Lane, ticket: Ticket, bytes: &Arc<[u8]>, verdict: &Verdict) {
        if let Verdict::Reject(reason) = verdict {
            tracing::debug!(peer, lane = lane.name(), reason, "message rejected");
        }
        match self.router.judged(peer, ticket.number(), verdict, self.now()) {
            Judged::Nothing => {}
            Judged::Forward(peers) => {
                for session in peers.iter().filter_map(|peer| self.sessions.get(peer)) {
                    session.outbox.push(lane, Arc::clone(bytes));
                }
            }
            Judged::Disconnect => {
                // It may be gone, or be here by another connection: what it said is void all the same.
                ticket.void_sender();
                self.disconnect(peer, "its messages are not valid").await;
            }
        }
        let _ = ticket.close();
    }

    fn send_to_all(&self, lane: Lane, bytes: &Arc<[u8]>) {
        for session in self.sessions.values() {
            session.outbox.push(lane, Arc::clone(bytes));
        }
    }

    /// Ends a peer's session and connections. What came of it and waits is void at once: closing takes its time, and it
    /// has said more meanwhile.
    async fn disconnect(&mut self, peer: PeerId64, reason: &str) {
        for ticket in self.transactions.remove(peer) {
            self.router.forget(ticket.close());
        }
        let Some(id) = self.router.id_of(peer) else { return };
        if let Some(link) = self.links.get_mut(&id) {
            // Should it come back before the last connection is closed, what it says then is taken.
            std::mem::take(&mut link.inflow).void();
            link.closing = true;
        }
        let _ = self.swarm.disconnect_peer_id(id);
        if self.close_session(peer).await.is_some() {
            tracing::warn!(peer = %id, reason, "peer disconnected for its faults");
            self.book.lost(&id, Instant::now());
        }
    }

    /// The way in of a peer's sessions.
    pub(crate) fn inflow_of(&self, id: &PeerId) -> Arc<Inflow> {
        self.links.get(id).map(|link| Arc::clone(&link.inflow)).unwrap_or_default()
    }

    async fn on_session(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Frame { from, lane, bytes, place } => {
                if self.is_current(from) {
                    self.on_frame(from.peer, lane, bytes, place).await;
                }
            }
            SessionEvent::Ended { from, error } => {
                if let Some(Error::Protocol(reason)) = &error
                    && self.router.protocol_fault(from.peer, self.now()) == Consequence::Disconnect
                {
                    self.disconnect(from.peer, reason).await;
                }
                if self.is_current(from) {
                    self.end_session(from.peer).await;
                }
            }
        }
    }

    fn is_current(&self, from: SessionKey) -> bool {
        self.sessions.get(&from.peer).is_some_and(|session| session.number == from.session)
    }

    async fn on_frame(&mut self, peer: PeerId64, lane: Lane, bytes: Vec<u8>, place: Place) {
        let now = self.now();
        match self.router.arrived(peer, lane, &bytes, now) {
            Arrival::Duplicate => {}
            Arrival::OverQuota => {
                if self.router.over_quota(peer, lane, now) == Consequence::Disconnect {
                    self.disconnect(peer, "it sends too much").await;
                }
            }
            Arrival::Deliver(number) => match lane {
                Lane::Control => {
                    // The same words may be said again later.
                    self.router.forget(number);
                    if let Some(control) = Control::decode(&bytes) {
                        self.on_control(peer, control).await;
                    }
                }
                Lane::Transactions => {
                    // Votes must not wait behind transactions. What finds no room counts when another peer sends it.
                    let ticket = Ticket::new(number, place, self.unjudged.clone());
                    for ticket in self.transactions.push(peer, ticket, bytes) {
                        self.router.forget(ticket.close());
                    }
                }
                Lane::Votes | Lane::Proposals | Lane::Certificates | Lane::Evidence | Lane::Attestations => {
                    let number = Ticket::new(number, place, self.unjudged.clone());
                    let _ = self.incoming.send(Incoming::Message { peer, lane, number, bytes }).await;
                }
            },
        }
    }

    async fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                let full = address.with(Protocol::P2p(*self.swarm.local_peer_id()));
                self.listening.write().push(full.clone());
                if self.config.external.is_empty() && self.config.role != Role::Validator {
                    self.hello.addresses.push(Bytes::from(full.to_vec()));
                    self.hello.addresses.truncate(8);
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let link = self.links.entry(peer_id).or_insert_with(Link::new);
                let address = endpoint.get_remote_address().clone();
                link.connections.push((connection_id, address, endpoint.is_dialer()));
                // A further connection may mean that the peer has started anew and the older ones are dead.
                link.closing = false;
                if self.router.is_banned(&peer_id, self.now()) {
                    let _ = self.swarm.disconnect_peer_id(peer_id);
                    return;
                }
                self.open_if_ours(peer_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.on_closed(peer_id, connection_id, num_established).await;
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                tracing::debug!(?peer_id, %error, "dial failed");
                if let Some(id) = peer_id {
                    self.book.failed(&id, Instant::now());
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "connection not taken");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) if event.result.is_err() => {
                self.swarm.close_connection(event.connection);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.on_identified(peer_id, &info.protocol_version);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Blocks(event)) => self.on_blocks(event).await,
            _ => {}
        }
    }

    async fn on_closed(&mut self, id: PeerId, connection: ConnectionId, left: u32) {
        if let Some(link) = self.links.get_mut(&id) {
            link.connections.retain(|(other, _, _)| *other != connection);
        }
        if left > 0 {
            if !self.by_id.contains_key(&id) {
                self.open_if_ours(id);
            }
            return;
        }
        self.links.remove(&id);
        // Who was refused is not dialled again at once.
        if let Some(peer) = self.by_id.get(&id).copied() {
            self.book.lost(&id, Instant::now());
            self.end_session(peer).await;
        }
    }
}
