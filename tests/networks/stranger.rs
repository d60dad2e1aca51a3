//! Somebody who is no node: speaks libp2p with an identity made on the spot, and writes and reads, or does not, what the test wants.

use alloy_primitives::{B256, Bytes, keccak256};
use bttc_network::{Hello, Keypair, Lane, Multiaddr, PROTOCOL_VERSION, PeerId};
use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{Stream, StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a step of a handshake may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node that is attacked.
#[derive(Clone, Debug)]
pub(crate) struct Victim {
    pub(crate) name: String,
    pub(crate) address: Multiaddr,
    pub(crate) id: PeerId,
    /// Name of the protocol of its gossip, and of that of its block requests.
    pub(crate) gossip: String,
    pub(crate) blocks: String,
    pub(crate) chain_id: u64,
    pub(crate) genesis: B256,
}

/// What every peer answers, and who it asks what it speaks.
#[derive(libp2p::swarm::NetworkBehaviour)]
struct Polite {
    stream: libp2p_stream::Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

fn swarm(key: Keypair) -> Swarm<Polite> {
    SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Polite {
            stream: libp2p_stream::Behaviour::new(),
            ping: ping::Behaviour::default(),
            identify: identify::Behaviour::new(identify::Config::new("/stranger/1".into(), key.public())),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build()
}

/// An identity that opens the stream: of two peers the one with the smaller identity does.
pub(crate) fn smaller_than(id: PeerId) -> Keypair {
    std::iter::repeat_with(Keypair::generate_ed25519).find(|key| key.public().to_peer_id() < id).unwrap()
}

impl Victim {
    /// Asks a node what its protocols are called.
    pub(crate) async fn ask(name: &str, address: &str, chain_id: u64, genesis: B256) -> Self {
        let (address, id) = parse(address);
        let mut swarm = swarm(smaller_than(id));
        swarm.dial(address.clone()).unwrap();
        let search = async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::Behaviour(PoliteEvent::Identify(identify::Event::Received { info, .. })) => {
                        return info.protocols;
                    }
                    // Who takes no strangers may close the connection before it has said what it speaks.
                    SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        swarm.dial(address.clone()).unwrap();
                    }
                    _ => {}
                }
            }
        };
        let protocols = tokio::time::timeout(2 * PATIENCE, search).await.expect("the node says what it speaks");
        let named = |prefix: &str| {
            let found = protocols.iter().map(ToString::to_string).find(|protocol| protocol.starts_with(prefix));
            found.unwrap_or_else(|| panic!("{name} has no protocol {prefix}: {protocols:?}"))
        };
        let (gossip, blocks) = (named("/bttc/gossip/"), named("/bttc/blocks/"));
        Self { name: name.to_owned(), address, id, gossip, blocks, chain_id, genesis }
    }

    /// Another node of the same network, which may take no strangers and tell them nothing.
    pub(crate) fn beside(&self, name: &str, address: &str) -> Self {
        let (address, id) = parse(address);
        Self { name: name.to_owned(), address, id, ..self.clone() }
    }
}

/// An address that ends with an identity, and that.
fn parse(address: &str) -> (Multiaddr, PeerId) {
    let address: Multiaddr = address.parse().unwrap();
    let id = address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::P2p(id) => Some(id),
        _ => None,
    });
    (address, id.expect("the address ends with an identity"))
}

/// A connection to a victim, which ends with the value.
pub(crate) struct Stranger {
    control: libp2p_stream::Control,
    victim: Victim,
    connected: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stranger {
    /// Connects; none when the victim cannot be reached or hangs up at once.
    pub(crate) async fn connect(victim: &Victim, key: Keypair) -> Option<Self> {
        let mut swarm = swarm(key);
        let control = swarm.behaviour().stream.new_control();
        swarm.dial(victim.address.clone()).ok()?;
        let (tell, mut connected) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => {
                        let _ = tell.send(true);
                    }
                    SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => return,
                    _ => {}
                }
            }
        });
        let wait = tokio::time::timeout(PATIENCE, connected.wait_for(|connected| *connected));
        let established = matches!(wait.await, Ok(Ok(_)));
        let stranger = Self { control, victim: victim.clone(), connected, task };
        established.then_some(stranger)
    }

    /// As [`Self::connect`], with a new identity.
    pub(crate) async fn new(victim: &Victim) -> Option<Self> {
        Self::connect(victim, smaller_than(victim.id)).await
    }

    /// Whether the connection still stands.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.has_changed().is_ok()
    }

    async fn open(&mut self, protocol: &str) -> Option<Stream> {
        let protocol = StreamProtocol::try_from_owned(protocol.to_owned()).unwrap();
        tokio::time::timeout(PATIENCE, self.control.open_stream(self.victim.id, protocol)).await.ok()?.ok()
    }

    /// A stream for gossip, before any hello.
    pub(crate) async fn open_gossip(&mut self) -> Option<Stream> {
        let protocol = self.victim.gossip.clone();
        self.open(&protocol).await
    }

    /// A stream for one request.
    pub(crate) async fn open_request(&mut self) -> Option<Stream> {
        let protocol = self.victim.blocks.clone();
        self.open(&protocol).await
    }

    /// A session: a stream after a proper exchange of hellos. None when the victim refuses.
    pub(crate) async fn session(&mut self) -> Option<Session> {
        let mut stream = self.open_gossip().await?;
        let hello = Hello {
            version: PROTOCOL_VERSION,
            chain_id: self.victim.chain_id,
            genesis_hash: self.victim.genesis,
            height: 0,
            head: B256::ZERO,
            role: 2,
            agent: Bytes::from_static(b"stranger"),
            addresses: vec![],
            proof: vec![],
        };
        let exchange = async {
            write_body(&mut stream, &alloy_rlp::encode(&hello)).await.ok()?;
            let mut length = [0; 4];
            stream.read_exact(&mut length).await.ok()?;
            let mut theirs = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut theirs).await.ok()
        };
        tokio::time::timeout(PATIENCE, exchange).await.ok()??;
        Some(Session::new(stream))
    }
}

/// Writes a length and bytes, as hellos and requests are written.
pub(crate) async fn write_body(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(&(bytes.len() as u32).to_be_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// A gossip frame.
pub(crate) fn frame(lane: Lane, bytes: &[u8]) -> Vec<u8> {
    [&[lane as u8][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// What a session has heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Bytes by number of the lane.
    pub(crate) bytes: [usize; bttc_network::LANES],
    /// Transactions, by their hash, and when they came.
    pub(crate) transactions: HashMap<B256, Instant>,
}

/// A gossip stream after the hellos. What comes is read and counted; the stream ends with the value.
pub(crate) struct Session {
    writer: WriteHalf<Stream>,
    heard: Arc<Mutex<Heard>>,
    reader: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Session {
    fn new(stream: Stream) -> Self {
        let (reader, writer) = stream.split();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let reader = tokio::spawn(listen(reader, Arc::clone(&heard)));
        Self { writer, heard, reader }
    }

    /// Whether the victim has not ended it.
    pub(crate) fn is_open(&self) -> bool {
        !self.reader.is_finished()
    }

    /// Writes bytes as they are; false when the stream is at its end.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        let write = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        let written = tokio::time::timeout(PATIENCE, write).await;
        matches!(written, Ok(Ok(()))) && self.is_open()
    }

    /// Writes a message; false when the stream is at its end.
    pub(crate) async fn send(&mut self, lane: Lane, bytes: &[u8]) -> bool {
        self.write(&frame(lane, bytes)).await
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.lock().clone()
    }
}

async fn listen(mut reader: ReadHalf<Stream>, heard: Arc<Mutex<Heard>>) {
    let mut head = [0; 5];
    while reader.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut bytes = vec![0; length];
        if reader.read_exact(&mut bytes).await.is_err() {
            return;
        }
        let mut heard = heard.lock();
        if let Some(count) = heard.bytes.get_mut(usize::from(head[0])) {
            *count += length;
        }
        if head[0] == Lane::Transactions as u8 {
            heard.transactions.entry(keccak256(&bytes)).or_insert_with(Instant::now);
        }
    }
}
