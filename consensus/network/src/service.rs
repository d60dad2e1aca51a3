//! The shell: libp2p's swarm, sessions and dialling.

use crate::codec::BytesCodec;
use crate::config::{NetworkConfig, Role};
use crate::handle::{Command, Incoming, NetworkHandle, PeerInfo, RequestId};
use crate::hello::{Hello, ValidatorProof};
use crate::lane::{Lane, assert_limits};
use crate::outbox::Outbox;
use crate::router::{Arrival, Consequence, Judged, PeerId64, Router, RouterConfig, Verdict};
use crate::session::{self, SessionEvent, exchange_hello};
use crate::subnet::{Subnet, has_room};
use crate::{Error, PROTOCOL_VERSION};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use bttc_types::{SecretKey, SigningDomain};
use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, InboundRequestId, OutboundRequestId, ProtocolSupport, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, connection_limits, identify, identity, noise, ping,
    tcp, yamux,
};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const GOSSIP: StreamProtocol = StreamProtocol::new("/bttc/gossip/1");
const BLOCKS: StreamProtocol = StreamProtocol::new("/bttc/blocks/1");
const IDENTIFY: &str = "/bttc/1";

/// Messages of all peers that wait for the node. Votes and the like: when it is full, sessions wait, and with them their
/// peers. Transactions: the newest is dropped.
const INCOMING: usize = 4_096;
const INCOMING_TRANSACTIONS: usize = 8_192;

/// How often lost persistent peers are dialled and addresses asked for.
const DIAL_INTERVAL: Duration = Duration::from_millis(500);
/// Longest pause between two dials of one address.
const MAX_DIAL_PAUSE: Duration = Duration::from_secs(10);

/// Messages between nodes about themselves.
#[derive(RlpEncodable, RlpDecodable)]
struct StatusMessage {
    height: u64,
    hash: B256,
}

#[derive(RlpEncodable, RlpDecodable)]
struct AddressesMessage {
    addresses: Vec<Bytes>,
}

const CONTROL_STATUS: u8 = 1;
const CONTROL_ASK_ADDRESSES: u8 = 2;
const CONTROL_ADDRESSES: u8 = 3;

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    stream: libp2p_stream::Behaviour,
    blocks: request_response::Behaviour<BytesCodec>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

struct Session {
    info: PeerInfo,
    /// Where it comes from, when that counts.
    subnet: Option<Subnet>,
    outbox: Arc<Outbox>,
}

struct Known {
    address: Multiaddr,
    persistent: bool,
    pause: Duration,
    next: Instant,
}

/// A stream whose hellos were exchanged.
struct Opened {
    peer: PeerId,
    stream: Stream,
    hello: Hello,
}

struct Service {
    config: NetworkConfig,
    domain: SigningDomain,
    swarm: Swarm<Behaviour>,
    control: libp2p_stream::Control,
    router: Router<RandomState>,
    start: Instant,
    hello: Hello,
    sessions: BTreeMap<PeerId64, Session>,
    by_id: HashMap<PeerId, PeerId64>,
    endpoints: HashMap<PeerId, (Multiaddr, bool)>,
    known: HashMap<PeerId, Known>,
    private: HashSet<PeerId>,
    next_session: PeerId64,
    session_events: mpsc::Sender<SessionEvent>,
    opened: mpsc::Sender<Result<Box<Opened>, (PeerId, Error)>>,
    outgoing: HashMap<OutboundRequestId, (PeerId64, u64)>,
    awaiting: HashMap<RequestId, (ResponseChannel<Vec<u8>>, InboundRequestId)>,
    next_request: RequestId,
    incoming: mpsc::Sender<Incoming>,
    transactions: mpsc::Sender<Incoming>,
    listening: Arc<RwLock<Vec<Multiaddr>>>,
}

/// Starts the network. Returns the handle and two streams of what comes in: everything but transactions, and
/// transactions.
///
/// # Errors
/// [`Error::Address`], [`Error::Setup`] or [`Error::Limits`].
#[allow(clippy::too_many_arguments)]
pub fn start(
    config: NetworkConfig,
    key: identity::Keypair,
    consensus_key: Option<&SecretKey>,
    domain: SigningDomain,
    chain_id: u64,
    genesis_hash: B256,
    head: (u64, B256),
    agent: &str,
) -> Result<(NetworkHandle, mpsc::Receiver<Incoming>, mpsc::Receiver<Incoming>), Error> {
    assert_limits()?;
    let setup = |error: &dyn std::fmt::Display| Error::Setup(error.to_string());
    let local = key.public().to_peer_id();
    let per_peer = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(64))
        .with_max_pending_outgoing(Some(64))
        .with_max_established_per_peer(Some(4))
        .with_max_established(u32::try_from(config.max_peers.saturating_mul(2)).ok());
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|error| setup(&error))?
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = 10_000;
            quic.keep_alive_interval = Duration::from_secs(3);
            // One gossip stream and a few requests: no stream can exhaust the connection's window.
            quic.max_stream_data = 4 << 20;
            quic.max_connection_data = 32 << 20;
            quic
        })
        .with_dns()
        .map_err(|error| setup(&error))?
        .with_behaviour(|key| Behaviour {
            limits: connection_limits::Behaviour::new(per_peer),
            stream: libp2p_stream::Behaviour::new(),
            blocks: request_response::Behaviour::with_codec(
                BytesCodec,
                [(BLOCKS, ProtocolSupport::Full)],
                request_response::Config::default()
                    .with_request_timeout(Duration::from_secs(20))
                    .with_max_concurrent_streams(16),
            ),
            identify: identify::Behaviour::new(identify::Config::new(IDENTIFY.into(), key.public())),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(Duration::from_secs(5)).with_timeout(Duration::from_secs(10)),
            ),
        })
        .map_err(|error| setup(&error))?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(Duration::from_secs(30)))
        .build();
    let mut control = swarm.behaviour().stream.new_control();
    let mut accepted = control.accept(GOSSIP).map_err(|error| setup(&error))?;
    for address in &config.listen {
        swarm
            .listen_on(address.clone())
            .map_err(|error| Error::Address { address: address.to_string(), reason: in_words(&error) })?;
    }
    let role = match config.role {
        Role::Validator => 0,
        Role::Sentry => 1,
        Role::Full => 2,
        Role::Seed => 3,
    };
    let hello = Hello {
        version: PROTOCOL_VERSION,
        chain_id,
        genesis_hash,
        height: head.0,
        head: head.1,
        role,
        agent: Bytes::copy_from_slice(agent.as_bytes()),
        addresses: config.external.iter().map(|address| Bytes::from(address.to_vec())).collect(),
        proof: consensus_key
            .map(|key| ValidatorProof {
                address: key.address(),
                signature: key.sign(domain.peer_digest(&local.to_bytes())),
            })
            .into_iter()
            .collect(),
    };
    let (commands, command_receiver) = mpsc::unbounded_channel();
    let (incoming, incoming_receiver) = mpsc::channel(INCOMING);
    let (transactions, transaction_receiver) = mpsc::channel(INCOMING_TRANSACTIONS);
    let (session_events, session_receiver) = mpsc::channel(1_024);
    let (opened, opened_receiver) = mpsc::channel(64);
    let (inbound, inbound_receiver) = mpsc::channel(64);
    // libp2p-stream drops an incoming stream when its queue of one is full, so this loop must do nothing else.
    tokio::spawn(async move {
        while let Some((peer, stream)) = accepted.next().await {
            if inbound.try_send((peer, stream)).is_err() {
                tracing::warn!(%peer, "too many streams are being opened");
            }
        }
    });
    let listening = Arc::new(RwLock::new(Vec::new()));
    let handle = NetworkHandle { commands, local, listening: Arc::clone(&listening) };
    let mut known = HashMap::new();
    let mut private: HashSet<PeerId> = config.private_peers.iter().copied().collect();
    for (addresses, persistent) in [(&config.persistent_peers, true), (&config.seeds, false)] {
        for address in addresses {
            let Some(Protocol::P2p(id)) = address.iter().last() else {
                let reason = "a peer's address must end with /p2p/<peer id>".into();
                return Err(Error::Address { address: address.to_string(), reason });
            };
            if id != local {
                let pause = DIAL_INTERVAL;
                // The persistent peers come first and stay persistent, should they be seeds too.
                let next = Instant::now();
                known.entry(id).or_insert_with(|| Known { address: address.clone(), persistent, pause, next });
            }
        }
    }
    if config.role == Role::Validator {
        private.insert(local);
    }
    let router_config = RouterConfig { ban_ms: config.ban_ms, ..RouterConfig::default() };
    let service = Service {
        config,
        domain,
        swarm,
        control,
        router: Router::new(router_config, RandomState::new()),
        start: Instant::now(),
        hello,
        sessions: BTreeMap::new(),
        by_id: HashMap::new(),
        endpoints: HashMap::new(),
        known,
        private,
        next_session: 1,
        session_events,
        opened,
        outgoing: HashMap::new(),
        awaiting: HashMap::new(),
        next_request: 1,
        incoming,
        transactions,
        listening,
    };
    tokio::spawn(service.run(command_receiver, session_receiver, opened_receiver, inbound_receiver));
    Ok((handle, incoming_receiver, transaction_receiver))
}

/// Why an address cannot be listened on. The library's own words name the outermost wrapper only.
fn in_words(error: &libp2p::TransportError<std::io::Error>) -> String {
    match error {
        libp2p::TransportError::MultiaddrNotSupported(_) => "this kind of address is not supported".into(),
        libp2p::TransportError::Other(error) => {
            let mut innermost: &dyn std::error::Error = error;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            innermost.to_string()
        }
    }
}

impl Service {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut sessions: mpsc::Receiver<SessionEvent>,
        mut opened: mpsc::Receiver<Result<Box<Opened>, (PeerId, Error)>>,
        mut inbound: mpsc::Receiver<(PeerId, Stream)>,
    ) {
        let mut dial = tokio::time::interval(DIAL_INTERVAL);
        dial.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    // Every handle is gone: the node is stopping.
                    None => return,
                },
                Some(event) = sessions.recv() => self.on_session(event).await,
                Some(result) = opened.recv() => self.on_opened(result).await,
                Some((peer, stream)) = inbound.recv() => self.greet(peer, Some(stream)),
                event = self.swarm.select_next_some() => self.on_swarm(event).await,
                _ = dial.tick() => self.dial(),
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Broadcast(lane, bytes) => {
                self.router.published(lane, &bytes);
                for session in self.sessions.values() {
                    session.outbox.push(lane, Arc::clone(&bytes));
                }
            }
            Command::Send(peer, lane, bytes) => {
                if let Some(session) = self.sessions.get(&peer) {
                    session.outbox.push(lane, bytes);
                }
            }
            Command::Verdict { peer, lane, number, bytes, verdict } => {
                if let Verdict::Reject(reason) = &verdict {
                    tracing::debug!(peer, lane = lane.name(), reason, "message rejected");
                }
                match self.router.judged(peer, number, &verdict, self.now()) {
                    Judged::Nothing => {}
                    Judged::Forward(peers) => {
                        for session in peers.iter().filter_map(|peer| self.sessions.get(peer)) {
                            session.outbox.push(lane, Arc::clone(&bytes));
                        }
                    }
                    Judged::Disconnect => self.disconnect(peer, "its messages are not valid"),
                }
            }
            Command::Fault(peer, reason) => {
                if self.router.rejected(peer, self.now()) == Consequence::Disconnect {
                    self.disconnect(peer, &reason);
                }
            }
            Command::Request { peer, tag, bytes } => match self.sessions.get(&peer) {
                Some(session) => {
                    let id = self.swarm.behaviour_mut().blocks.send_request(&session.info.id, bytes);
                    self.outgoing.insert(id, (peer, tag));
                }
                None => {
                    let result = Err("the peer is not connected".to_owned());
                    let _ = self.incoming.try_send(Incoming::Response { peer, tag, result });
                }
            },
            Command::Respond { id, bytes } => {
                if let Some((channel, _)) = self.awaiting.remove(&id) {
                    let _ = self.swarm.behaviour_mut().blocks.send_response(channel, bytes);
                }
            }
            Command::Status { height, hash } => {
                self.hello.height = height;
                self.hello.head = hash;
                let mut bytes = vec![CONTROL_STATUS];
                bytes.extend(alloy_rlp::encode(StatusMessage { height, hash }));
                let bytes: Arc<[u8]> = bytes.into();
                for session in self.sessions.values() {
                    session.outbox.push(Lane::Control, Arc::clone(&bytes));
                }
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

    fn disconnect(&mut self, peer: PeerId64, reason: &str) {
        if let Some(session) = self.sessions.get(&peer) {
            tracing::warn!(peer = %session.info.id, reason, "peer disconnected for its faults");
            session.outbox.close();
            let _ = self.swarm.disconnect_peer_id(session.info.id);
        }
    }

    async fn on_session(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Frame { session, lane, bytes } => self.on_frame(session, lane, bytes).await,
            SessionEvent::Ended { session, error } => {
                if let Some(Error::Protocol(reason)) = &error {
                    self.router.protocol_fault(session, self.now());
                    self.disconnect(session, reason);
                }
                self.end_session(session).await;
            }
        }
    }

    async fn end_session(&mut self, peer: PeerId64) {
        let Some(session) = self.sessions.remove(&peer) else { return };
        session.outbox.close();
        self.router.remove_peer(peer);
        if self.by_id.get(&session.info.id) == Some(&peer) {
            self.by_id.remove(&session.info.id);
            // Another connection to the peer may be alive: try it.
            self.open_if_ours(session.info.id);
        }
        tracing::info!(peer = %session.info.id, "peer disconnected");
        let _ = self.incoming.send(Incoming::Disconnected(peer)).await;
    }

    async fn on_frame(&mut self, peer: PeerId64, lane: Lane, bytes: Vec<u8>) {
        let now = self.now();
        if lane == Lane::Control {
            self.on_control(peer, &bytes, now).await;
            return;
        }
        match self.router.arrived(peer, lane, &bytes, now) {
            Arrival::Duplicate => {}
            Arrival::OverQuota => {
                if self.router.over_quota(peer, lane, now) == Consequence::Disconnect {
                    self.disconnect(peer, "it sends too much");
                }
            }
            Arrival::Deliver(number) => {
                let message = Incoming::Message { peer, lane, number, bytes };
                if lane == Lane::Transactions {
                    // Votes must not wait behind transactions.
                    if self.transactions.try_send(message).is_err() {
                        self.router.forget(number);
                    }
                } else {
                    let _ = self.incoming.send(message).await;
                }
            }
        }
    }

    async fn on_control(&mut self, peer: PeerId64, bytes: &[u8], now: u64) {
        match self.router.arrived(peer, Lane::Control, bytes, now) {
            Arrival::OverQuota => return,
            // The same words may be said again later.
            Arrival::Deliver(number) => self.router.forget(number),
            Arrival::Duplicate => {}
        }
        let Some((kind, mut rest)) = bytes.split_first() else { return };
        match *kind {
            CONTROL_STATUS => {
                if let Ok(status) = StatusMessage::decode(&mut rest) {
                    if let Some(session) = self.sessions.get_mut(&peer) {
                        session.info.height = status.height;
                    }
                    let _ = self.incoming.send(Incoming::Status { peer, height: status.height }).await;
                }
            }
            // A validator tells nothing of the peers behind which it hides.
            CONTROL_ASK_ADDRESSES if self.config.role != Role::Validator => {
                let told = self.known.iter().filter(|(id, _)| !self.private.contains(*id)).take(32);
                let addresses = told.map(|(_, known)| Bytes::from(known.address.to_vec())).collect();
                let mut bytes = vec![CONTROL_ADDRESSES];
                bytes.extend(alloy_rlp::encode(AddressesMessage { addresses }));
                if let Some(session) = self.sessions.get(&peer) {
                    session.outbox.push(Lane::Control, bytes.into());
                }
            }
            CONTROL_ADDRESSES => {
                if let Ok(message) = AddressesMessage::decode(&mut rest)
                    && self.wants_peers()
                {
                    for bytes in message.addresses.iter().take(32) {
                        self.learn(bytes);
                    }
                }
            }
            _ => {}
        }
    }

    fn wants_peers(&self) -> bool {
        matches!(self.config.role, Role::Full | Role::Sentry | Role::Seed)
            && self.sessions.len() < self.config.target_peers
    }

    /// Remembers an address that ends with a peer id.
    fn learn(&mut self, bytes: &[u8]) {
        let Ok(address) = Multiaddr::try_from(bytes.to_vec()) else { return };
        let Some(Protocol::P2p(id)) = address.iter().last() else { return };
        if id == *self.swarm.local_peer_id() || self.known.contains_key(&id) {
            return;
        }
        if !has_room(self.known.values().map(|known| &known.address), &address) {
            return;
        }
        let known = Known { address, persistent: false, pause: DIAL_INTERVAL, next: Instant::now() };
        self.known.insert(id, known);
    }

    fn dial(&mut self) {
        let now = Instant::now();
        let want_more = self.wants_peers();
        let due: Vec<(PeerId, Multiaddr)> = self
            .known
            .iter_mut()
            .filter(|(id, known)| (known.persistent || want_more) && known.next <= now && !self.by_id.contains_key(*id))
            .map(|(id, known)| {
                known.pause = (known.pause * 2).min(MAX_DIAL_PAUSE);
                known.next = now + known.pause;
                (*id, known.address.clone())
            })
            .collect();
        for (id, address) in due {
            if self.router.is_banned(&id, self.now()) {
                continue;
            }
            let options = DialOpts::peer_id(id)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(vec![address])
                .build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::trace!(peer = %id, %error, "dial");
            }
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
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, num_established, .. } => {
                if self.router.is_banned(&peer_id, self.now()) {
                    let _ = self.swarm.disconnect_peer_id(peer_id);
                    return;
                }
                let address = endpoint.get_remote_address().clone();
                self.endpoints.insert(peer_id, (address, endpoint.is_dialer()));
                // A further connection may mean that the peer has started anew and the older ones are dead.
                let _ = num_established;
                self.open_if_ours(peer_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established, .. } => {
                if num_established > 0 {
                    if !self.by_id.contains_key(&peer_id) {
                        self.open_if_ours(peer_id);
                    }
                } else {
                    self.endpoints.remove(&peer_id);
                    // Who was refused is not dialled again at once.
                    if self.by_id.contains_key(&peer_id)
                        && let Some(known) = self.known.get_mut(&peer_id)
                    {
                        known.pause = DIAL_INTERVAL;
                        known.next = Instant::now() + DIAL_INTERVAL;
                    }
                    if let Some(peer) = self.by_id.get(&peer_id).copied() {
                        self.end_session(peer).await;
                    }
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                tracing::debug!(?peer_id, %error, "dial failed");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) if event.result.is_err() => {
                self.swarm.close_connection(event.connection);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Blocks(event)) => self.on_blocks(event).await,
            _ => {}
        }
    }

    /// Opens the gossip stream when that is our part: of two peers the one with the smaller identity opens it, whoever
    /// dialled.
    fn open_if_ours(&mut self, peer: PeerId) {
        if self.swarm.is_connected(&peer) && *self.swarm.local_peer_id() < peer {
            self.greet(peer, None);
        }
    }

    /// Exchanges hellos on a stream that the peer opened, or that we open.
    fn greet(&mut self, peer: PeerId, stream: Option<Stream>) {
        let (hello, mut control, opened) = (self.hello.clone(), self.control.clone(), self.opened.clone());
        tokio::spawn(async move {
            /// An opener tries again: the other side may have been too busy to take the stream.
            const TRIES: u32 = 4;
            let mut given = stream;
            let inbound = given.is_some();
            let mut result = Err(Error::Connection("no stream".into()));
            for attempt in 0..TRIES {
                let next = match given.take() {
                    Some(stream) => Ok(stream),
                    None if inbound => break,
                    None => {
                        tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 300)).await;
                        let open = tokio::time::timeout(session::HELLO_TIMEOUT, control.open_stream(peer, GOSSIP));
                        match open.await {
                            Ok(Ok(stream)) => Ok(stream),
                            Ok(Err(error)) => Err(Error::Connection(error.to_string())),
                            Err(_) => Err(Error::Connection("no stream in time".into())),
                        }
                    }
                };
                result = match next {
                    Ok(mut stream) => {
                        exchange_hello(&mut stream, &hello).await.map(|hello| Opened { peer, stream, hello })
                    }
                    Err(error) => Err(error),
                };
                if !matches!(result, Err(Error::Connection(_))) {
                    break;
                }
            }
            let _ = opened.send(result.map(Box::new).map_err(|error| (peer, error))).await;
        });
    }

    async fn on_opened(&mut self, result: Result<Box<Opened>, (PeerId, Error)>) {
        let checked = match result {
            Err(refused) => Err(refused),
            Ok(opened) => {
                let judged = opened.hello.check(&self.hello);
                match judged.and_then(|()| opened.hello.validator(&self.domain, &opened.peer.to_bytes())) {
                    Ok(validator) => Ok((opened, validator)),
                    Err(error) => Err((opened.peer, error)),
                }
            }
        };
        let (opened, validator) = match checked {
            Ok(opened) => opened,
            Err((id, error @ Error::Connection(_))) if self.by_id.contains_key(&id) => {
                // A late failure of an attempt that another one has overtaken.
                tracing::debug!(peer = %id, %error, "stream not used");
                return;
            }
            Err((id, error)) => {
                tracing::warn!(peer = %id, %error, "peer refused");
                let _ = self.swarm.disconnect_peer_id(id);
                return;
            }
        };
        let Opened { peer: id, stream, hello } = *opened;
        let persistent = self.known.get(&id).is_some_and(|known| known.persistent);
        if self.sessions.len() >= self.config.max_peers && !persistent {
            let _ = self.swarm.disconnect_peer_id(id);
            return;
        }
        let (address, outbound) = self.endpoints.get(&id).cloned().unwrap_or_else(|| (Multiaddr::empty(), false));
        let subnet = if persistent { None } else { Subnet::of(&address) };
        if subnet.is_some() {
            let neighbours = self.sessions.values().filter(|other| other.subnet == subnet && other.info.id != id);
            if neighbours.count() >= self.config.max_peers_per_subnet {
                tracing::debug!(peer = %id, %address, "too many peers from one subnet");
                let _ = self.swarm.disconnect_peer_id(id);
                return;
            }
        }
        if let Some(old) = self.by_id.remove(&id) {
            // The peer opened a new stream: the old one is dead, whatever we think of it.
            self.end_session(old).await;
        }
        let peer = self.next_session;
        self.next_session += 1;
        let info = PeerInfo {
            peer,
            id,
            address: address.to_string(),
            agent: String::from_utf8_lossy(&hello.agent).chars().take(64).collect(),
            height: hello.height,
            role: match hello.role {
                0 => "validator",
                1 => "sentry",
                2 => "full",
                _ => "seed",
            },
            validator,
            outbound,
            score: 0,
            dropped: 0,
        };
        tracing::info!(peer = %id, address = info.address, role = info.role, height = info.height, "peer connected");
        self.router.add_peer(peer, id, persistent, self.now());
        let outbox = Arc::new(Outbox::default());
        session::spawn(peer, id, stream, Arc::clone(&outbox), self.session_events.clone());
        if self.wants_peers() {
            outbox.push(Lane::Control, vec![CONTROL_ASK_ADDRESSES].into());
        }
        if hello.role != 0 && !self.private.contains(&id) {
            for address in &hello.addresses {
                self.learn(address);
            }
        }
        if let Some(known) = self.known.get_mut(&id) {
            known.pause = DIAL_INTERVAL;
        }
        if hello.role == 0 {
            // Nobody learns from us where a validator is.
            self.private.insert(id);
        }
        self.sessions.insert(peer, Session { info: info.clone(), subnet, outbox });
        self.by_id.insert(id, peer);
        let height = info.height;
        let _ = self.incoming.send(Incoming::Connected(info)).await;
        let _ = self.incoming.send(Incoming::Status { peer, height }).await;
    }

    async fn on_blocks(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request { request_id, request, channel } => {
                    let Some(session) = self.by_id.get(&peer).copied() else { return };
                    let id = self.next_request;
                    self.next_request += 1;
                    self.awaiting.insert(id, (channel, request_id));
                    let request = Incoming::Request { peer: session, id, bytes: request };
                    if self.incoming.try_send(request).is_err() {
                        self.awaiting.remove(&id);
                    }
                }
                request_response::Message::Response { request_id, response } => {
                    if let Some((peer, tag)) = self.outgoing.remove(&request_id) {
                        let _ = self.incoming.send(Incoming::Response { peer, tag, result: Ok(response) }).await;
                    }
                }
            },
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                if let Some((peer, tag)) = self.outgoing.remove(&request_id) {
                    let result = Err(error.to_string());
                    let _ = self.incoming.send(Incoming::Response { peer, tag, result }).await;
                }
            }
            request_response::Event::InboundFailure { request_id, .. } => {
                self.awaiting.retain(|_, (_, id)| *id != request_id);
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }
}
