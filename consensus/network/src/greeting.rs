//! From a connection to a session: who opens the stream, how often, the hellos, and what follows from them.

use crate::addresses::Teller;
use crate::control::Control;
use crate::handle::{Incoming, PeerInfo};
use crate::hello::Hello;
use crate::lane::Lane;
use crate::outbox::Outbox;
use crate::router::{Consequence, PeerId64};
use crate::service::{Service, Session};
use crate::session::{self, HELLO_TIMEOUT, SessionKey, exchange_hello};
use crate::setup::GOSSIP;
use crate::standing::Rate;
use crate::streams::{OpenError, Opener};
use crate::subnet::{Subnet, SubnetRates};
use crate::{Error, Multiaddr};
use alloy_primitives::Address;
use libp2p::{PeerId, Stream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Streams that the peers of one subnet may open, and all together.
const STREAMS_OF_SUBNET: Rate = Rate { interval_ms: 250, burst: 16 };
const ALL_STREAMS: Rate = Rate { interval_ms: 30, burst: 64 };
/// Greetings for the peers of one subnet, and for all together: each may cost the node a block and a part of its pool.
const GREETINGS_OF_SUBNET: Rate = Rate { interval_ms: 2_000, burst: 8 };
const ALL_GREETINGS: Rate = Rate { interval_ms: 250, burst: 32 };

/// What identities, which cost nothing, may not have more of than addresses.
pub(crate) struct Greetings {
    streams: SubnetRates,
    greetings: SubnetRates,
}

impl Greetings {
    /// Nobody has come yet.
    pub(crate) fn new() -> Self {
        Self {
            streams: SubnetRates::new(STREAMS_OF_SUBNET, ALL_STREAMS, 0),
            greetings: SubnetRates::new(GREETINGS_OF_SUBNET, ALL_GREETINGS, 0),
        }
    }
}

/// What became of a stream on which hellos were to be exchanged.
pub(crate) struct Opened {
    peer: PeerId,
    result: Result<(Stream, Hello), Error>,
}

impl Service {
    /// Opens the gossip stream when that is our part: of two peers the one with the smaller identity opens it, whoever
    /// dialled. What may not be opened now is opened when the time has come.
    pub(crate) fn open_if_ours(&mut self, peer: PeerId) {
        if *self.swarm.local_peer_id() >= peer || !self.swarm.is_connected(&peer) {
            return;
        }
        let now = self.now();
        let number = self.router.number_of(&peer, now);
        let Some(link) = self.links.get_mut(&peer) else { return };
        // One at a time: of two streams each side might keep another one.
        let may = link.hellos == 0 && self.router.may_open(number, now);
        link.wants_stream = !may;
        if may {
            self.exchange(peer, None);
        }
    }

    /// A peer opened the gossip stream. One that does so too often is not answered.
    pub(crate) fn on_inbound_stream(&mut self, peer: PeerId, stream: Stream) {
        let now = self.now();
        if self.router.is_banned(&peer, now) {
            return;
        }
        let number = self.router.number_of(&peer, now);
        if peer >= *self.swarm.local_peer_id() || !self.router.may_open(number, now) {
            tracing::debug!(%peer, "a stream is opened out of turn");
            if self.router.opened_too_often(number, now) == Consequence::Disconnect {
                tracing::warn!(%peer, "peer disconnected: it opens streams all the time");
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            return;
        }
        // Its neighbours are not its fault.
        if !self.is_own(&peer) && !self.greetings.streams.take(self.subnet_of(&peer), now) {
            tracing::debug!(%peer, "too many streams are being opened");
            return;
        }
        self.exchange(peer, Some(stream));
    }

    fn subnet_of(&self, peer: &PeerId) -> Option<Subnet> {
        self.links.get(peer).and_then(|link| Subnet::of(&link.route().0))
    }

    /// Exchanges hellos on a stream that the peer opened, or that we open.
    fn exchange(&mut self, peer: PeerId, stream: Option<Stream>) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.hellos += 1;
        }
        let (hello, opener, opened) = (self.hello.clone(), self.opener.clone(), self.opened.clone());
        tokio::spawn(async move {
            let result = match stream {
                Some(mut stream) => exchange_hello(&mut stream, &hello).await.map(|theirs| (stream, theirs)),
                None => open_and_exchange(&opener, peer, &hello).await,
            };
            let _ = opened.send(Box::new(Opened { peer, result })).await;
        });
    }

    /// Hellos were exchanged, or not.
    pub(crate) async fn on_opened(&mut self, opened: Opened) {
        let Opened { peer: id, result } = opened;
        if let Some(link) = self.links.get_mut(&id) {
            link.hellos = link.hellos.saturating_sub(1);
        }
        if self.router.is_banned(&id, self.now()) {
            // By another stream, which it opened before. Its connections are being closed.
            return;
        }
        let checked = result.and_then(|(stream, hello)| {
            hello.check(&self.hello)?;
            let validator = hello.validator(&self.domain, &id.to_bytes())?;
            Ok((stream, hello, validator))
        });
        match checked {
            Ok((stream, hello, validator)) => self.begin_session(id, stream, hello, validator).await,
            Err(error) => self.refuse(id, &error),
        }
    }

    fn refuse(&mut self, id: PeerId, error: &Error) {
        match error {
            // A late failure of an attempt that another one has overtaken.
            Error::Connection(_) if self.by_id.contains_key(&id) => {
                tracing::debug!(peer = %id, %error, "stream not used");
                return;
            }
            Error::Connection(_) if !self.is_own(&id) => tracing::debug!(peer = %id, %error, "peer refused"),
            _ if !self.links.contains_key(&id) => tracing::debug!(peer = %id, %error, "peer refused, and gone already"),
            _ => tracing::warn!(peer = %id, %error, "peer refused"),
        }
        if matches!(error, Error::Protocol(_)) {
            let now = self.now();
            let number = self.router.number_of(&id, now);
            let _ = self.router.rejected(number, now);
        }
        self.book.failed(&id, Instant::now());
        let _ = self.swarm.disconnect_peer_id(id);
    }

    /// Whether there is a place for a session with a peer.
    fn has_place(&self, id: &PeerId, subnet: Option<Subnet>, outbound: bool) -> bool {
        if self.is_own(id) {
            return true;
        }
        let others = || self.sessions.values().filter(|other| other.info.id != *id && !self.is_own(&other.info.id));
        let places = if outbound { self.config.target_peers } else { self.config.max_peers };
        // Names are of one subnet: who gives us many of them has all that they stand for.
        let neighbours = others().filter(|other| other.subnet == subnet).count();
        others().filter(|other| other.info.outbound == outbound).count() < places
            && neighbours < self.config.max_peers_per_subnet
    }

    async fn begin_session(&mut self, id: PeerId, stream: Stream, hello: Hello, validator: Option<Address>) {
        let (address, outbound) = self.links.get(&id).map_or((Multiaddr::empty(), false), |link| link.route());
        let subnet = Subnet::of(&address);
        if !self.has_place(&id, subnet, outbound) {
            tracing::debug!(peer = %id, %address, "no place for a further peer");
            let _ = self.swarm.disconnect_peer_id(id);
            return;
        }
        let own = self.is_own(&id);
        let now = self.now();
        let peer = self.router.number_of(&id, now);
        // A peer opened a new stream: the old one is dead, whatever we think of it.
        self.close_session(peer).await;
        self.router.add_peer(peer, id, own, now);
        let greet = self.router.may_greet(peer, now) && (own || self.greetings.greetings.take(subnet, now));
        let mut info = peer_info(peer, id, &address, outbound, &hello, validator);
        if own {
            info.neighbourhood = OWN_NEIGHBOURHOOD | peer;
        }
        tracing::info!(peer = %id, address = info.address, role = info.role, height = info.height, "peer connected");
        let outbox = Arc::new(Outbox::default());
        let key = SessionKey { peer, session: self.next_session };
        self.next_session += 1;
        session::spawn(key, id, stream, self.inflow_of(&id), Arc::clone(&outbox), self.session_events.clone());
        self.note_addresses(id, &hello, subnet, outbound.then_some(&address));
        let height = info.height;
        let session = Session {
            number: key.session,
            info: info.clone(),
            subnet: if own { None } else { subnet },
            outbox,
            asked: None,
            awaits_addresses: false,
            told: None,
        };
        self.sessions.insert(peer, session);
        self.by_id.insert(id, peer);
        if let Some(link) = self.links.get_mut(&id) {
            link.wants_stream = false;
        }
        if self.wants_peers() {
            self.ask_addresses(peer);
        }
        let _ = self.incoming.send(Incoming::Connected { info, greet }).await;
        let _ = self.incoming.send(Incoming::Status { peer, height }).await;
    }

    /// A peer says where it is, and we know where we went; nobody learns from us where a validator is.
    fn note_addresses(&mut self, id: PeerId, hello: &Hello, subnet: Option<Subnet>, route: Option<&Multiaddr>) {
        const VALIDATOR: u8 = 0;
        let public = hello.role != VALIDATOR && !self.private.contains(&id);
        if public {
            let local = *self.swarm.local_peer_id();
            self.book.introduce(&hello.addresses, Teller { id, subnet }, &local, Instant::now());
        }
        self.book.met(&id, public, route);
    }

    /// A stream ended.
    pub(crate) async fn end_session(&mut self, peer: PeerId64) {
        let Some(id) = self.close_session(peer).await else { return };
        // Another connection to the peer may be alive: try it.
        self.open_if_ours(id);
    }

    /// Ends a session, if there is one. Returns whose it was.
    pub(crate) async fn close_session(&mut self, peer: PeerId64) -> Option<PeerId> {
        let session = self.sessions.remove(&peer)?;
        session.outbox.close();
        self.router.remove_peer(peer);
        let id = session.info.id;
        self.by_id.remove(&id);
        if let Some(link) = self.links.get_mut(&id) {
            link.silent_since = Instant::now();
        }
        tracing::info!(peer = %id, "peer disconnected");
        let _ = self.incoming.send(Incoming::Disconnected(peer)).await;
        Some(id)
    }

    /// Asks a peer for addresses.
    pub(crate) fn ask_addresses(&mut self, peer: PeerId64) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.asked = Some(Instant::now());
            session.awaits_addresses = true;
            session.outbox.push(Lane::Control, Control::AskAddresses.encode());
        }
    }
}

/// Added to an own peer's number, so that it is no subnet's.
const OWN_NEIGHBOURHOOD: u64 = 1 << 63;

fn peer_info(
    peer: PeerId64,
    id: PeerId,
    address: &Multiaddr,
    outbound: bool,
    hello: &Hello,
    validator: Option<Address>,
) -> PeerInfo {
    PeerInfo {
        peer,
        id,
        address: address.to_string(),
        neighbourhood: Subnet::of(address).map_or(0, Subnet::number),
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
    }
}

/// Opens the stream and exchanges hellos. The other side may be too busy to take the stream, or may not take a further one
/// so soon: the pauses keep to the rate that it allows.
async fn open_and_exchange(opener: &Opener, peer: PeerId, ours: &Hello) -> Result<(Stream, Hello), Error> {
    const PAUSES_MS: [u64; 4] = [0, 700, 1_400, 2_100];
    const IDENTIFIED: Duration = Duration::from_secs(1);
    let mut result = Err(Error::Connection("no stream".into()));
    for pause in PAUSES_MS {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        result = match tokio::time::timeout(HELLO_TIMEOUT, opener.open(peer)).await {
            Ok(Ok(mut stream)) => exchange_hello(&mut stream, ours).await.map(|hello| (stream, hello)),
            Ok(Err(OpenError::Unsupported)) => {
                // What it speaks instead, it says by itself.
                tokio::time::sleep(IDENTIFIED).await;
                let (got, ours) = ("another or none".to_owned(), GOSSIP.to_string());
                Err(Error::Mismatch { what: "gossip protocol", got, ours })
            }
            Ok(Err(error)) => Err(Error::Connection(error.to_string())),
            Err(_) => Err(Error::Connection("no stream in time".into())),
        };
        if !matches!(result, Err(Error::Connection(_))) {
            break;
        }
    }
    result
}
