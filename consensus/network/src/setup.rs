//! Setting the network up: libp2p's swarm with its behaviours, the hello, the tables.

use crate::addresses::AddressBook;
use crate::admission::{Admission, Places};
use crate::answers::Answers;
use crate::codec::BytesCodec;
use crate::config::{NetworkConfig, Role};
use crate::greeting::Greetings;
use crate::handle::{Incoming, NetworkHandle};
use crate::hello::{Hello, PROTOCOL_VERSION, ValidatorProof};
use crate::lane::assert_limits;
use crate::names::{look_up, name_of};
use crate::requests::Requests;
use crate::router::{Router, RouterConfig};
use crate::service::{Inputs, Service};
use crate::transactions::{TransactionReceiver, transaction_queue};
use crate::{Error, streams, transport};
use alloy_primitives::{B256, Bytes};
use bttc_types::{SecretKey, SigningDomain};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, identity, ping};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Names of what is spoken: each carries [`PROTOCOL_VERSION`].
pub(crate) const GOSSIP: StreamProtocol = StreamProtocol::new("/bttc/gossip/2");
const BLOCKS: StreamProtocol = StreamProtocol::new("/bttc/blocks/2");
pub(crate) const IDENTIFY: &str = "/bttc/2";
const _: () = assert!(PROTOCOL_VERSION == 2, "the names above carry the version");

/// Messages of all peers that wait for the node. When it is full, sessions wait, and with them their peers.
const INCOMING: usize = 4_096;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Streams of one QUIC connection, see [`transport::STREAMS`].
const STREAMS: u32 = transport::STREAMS as u32;
/// Bytes of one QUIC connection that are not read, see [`transport::HELD`].
const HELD: u32 = transport::HELD as u32;
/// Requests and answers on one connection at a time, both directions.
const REQUEST_STREAMS: usize = 8;
/// How long a request and its answer may take.
const REQUEST_TIME: Duration = Duration::from_secs(20);
/// Streams of one connection that say which protocol they are for.
const NEGOTIATING_STREAMS: usize = 8;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// First: what it refuses costs the others nothing.
    pub(crate) admission: Admission,
    pub(crate) streams: streams::Behaviour,
    pub(crate) blocks: request_response::Behaviour<BytesCodec>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
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
) -> Result<(NetworkHandle, mpsc::Receiver<Incoming>, TransactionReceiver), Error> {
    assert_limits()?;
    let local = key.public().to_peer_id();
    let book = address_book(&config, &local)?;
    let hello = Hello {
        version: PROTOCOL_VERSION,
        chain_id,
        genesis_hash,
        height: head.0,
        head: head.1,
        role: match config.role {
            Role::Validator => 0,
            Role::Sentry => 1,
            Role::Full => 2,
            Role::Seed => 3,
        },
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
    let (inbound, inbound_receiver) = mpsc::channel(64);
    let (streams, opener) = streams::Behaviour::new(GOSSIP, inbound);
    let mut swarm = swarm(&config, key, streams)?;
    for address in &config.listen {
        swarm
            .listen_on(address.clone())
            .map_err(|error| Error::Address { address: address.to_string(), reason: in_words(&error) })?;
    }
    let (commands, command_receiver) = mpsc::unbounded_channel();
    let (incoming, incoming_receiver) = mpsc::channel(INCOMING);
    let (transactions, transaction_receiver) = transaction_queue();
    let (session_events, session_receiver) = mpsc::channel(1_024);
    let (opened, opened_receiver) = mpsc::channel(64);
    let listening = Arc::new(RwLock::new(Vec::new()));
    let answer_bytes = Arc::new(AtomicUsize::new(0));
    let handle =
        NetworkHandle { commands, local, listening: Arc::clone(&listening), answer_bytes: Arc::clone(&answer_bytes) };
    let mut router = Router::new(RouterConfig { ban_ms: config.ban_ms, ..RouterConfig::default() }, RandomState::new());
    for id in own_peers(&config)? {
        router.protect(&id, 0);
    }
    let service = Service {
        private: config.private_peers.iter().copied().collect(),
        config,
        domain,
        swarm,
        opener,
        router,
        start: Instant::now(),
        hello,
        sessions: BTreeMap::new(),
        by_id: HashMap::new(),
        links: HashMap::new(),
        book,
        greetings: Greetings::new(),
        next_session: 1,
        session_events,
        opened,
        requests: Requests::new(Answers::new(answer_bytes)),
        incoming,
        transactions,
        unjudged: handle.commands.downgrade(),
        listening,
    };
    tokio::spawn(service.run(Inputs {
        commands: command_receiver,
        sessions: session_receiver,
        opened: opened_receiver,
        inbound: inbound_receiver,
    }));
    Ok((handle, incoming_receiver, transaction_receiver))
}

/// The addresses that the operator names.
fn address_book(config: &NetworkConfig, local: &PeerId) -> Result<AddressBook, Error> {
    let mut book = AddressBook::new();
    let now = Instant::now();
    for (addresses, persistent) in [(&config.persistent_peers, true), (&config.seeds, false)] {
        for address in addresses {
            let id = id_in(address)?;
            if id == *local {
                continue;
            }
            // The persistent peers come first and stay persistent, should they be seeds too.
            if persistent {
                book.add_persistent(id, address.clone(), now);
            } else {
                book.add_seed(id, address.clone(), now);
            }
        }
    }
    Ok(book)
}

/// The identity with which a peer's address ends.
fn id_in(address: &Multiaddr) -> Result<PeerId, Error> {
    match address.iter().last() {
        Some(Protocol::P2p(id)) => Ok(id),
        _ => {
            let reason = "a peer's address must end with /p2p/<peer id>".into();
            Err(Error::Address { address: address.to_string(), reason })
        }
    }
}

/// The peers that the operator names: they have places of their own and are never banned.
fn own_peers(config: &NetworkConfig) -> Result<HashSet<PeerId>, Error> {
    let persistent = config.persistent_peers.iter().map(id_in);
    persistent.chain(config.private_peers.iter().copied().map(Ok)).collect()
}

fn swarm(
    config: &NetworkConfig,
    key: identity::Keypair,
    streams: streams::Behaviour,
) -> Result<Swarm<Behaviour>, Error> {
    let setup = |error: &dyn std::fmt::Display| Error::Setup(error.to_string());
    let places = Places {
        inbound: config.max_peers,
        outbound: config.target_peers,
        in_subnet: config.max_peers_per_subnet,
        strangers: config.takes_strangers(),
    };
    let named = look_up(config.persistent_peers.iter().filter_map(name_of).collect());
    let admission = Admission::new(places, own_peers(config)?, config.persistent_peers.iter(), named);
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = 10_000;
            quic.keep_alive_interval = Duration::from_secs(3);
            // One gossip stream and a few requests: no stream can exhaust the connection's window.
            quic.max_stream_data = 4 << 20;
            quic.max_connection_data = HELD;
            quic.max_concurrent_stream_limit = STREAMS;
            quic
        })
        .with_other_transport(|key| -> Result<_, Box<dyn std::error::Error + Send + Sync>> { Ok(transport::tcp(key)?) })
        .map_err(|error| setup(&error))?
        .with_dns()
        .map_err(|error| setup(&error))?
        .with_behaviour(|key| Behaviour {
            admission,
            streams,
            blocks: request_response::Behaviour::with_codec(
                BytesCodec,
                [(BLOCKS, ProtocolSupport::Full)],
                request_response::Config::default()
                    .with_request_timeout(REQUEST_TIME)
                    .with_max_concurrent_streams(REQUEST_STREAMS),
            ),
            identify: identify::Behaviour::new(identify::Config::new(IDENTIFY.into(), key.public())),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(Duration::from_secs(5)).with_timeout(Duration::from_secs(10)),
            ),
        })
        .map_err(|error| setup(&error))?
        .with_swarm_config(|swarm| {
            swarm
                .with_idle_connection_timeout(Duration::from_secs(30))
                .with_max_negotiating_inbound_streams(NEGOTIATING_STREAMS)
        })
        .with_connection_timeout(HANDSHAKE)
        .build();
    Ok(swarm)
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
