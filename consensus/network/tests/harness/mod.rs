//! Real services on loopback, and strangers with libp2p clients of their own that say whatever they like.
#![allow(dead_code)]

use alloy_primitives::{B256, Bytes};
use bttc_network::{
    Hello, Incoming, Keypair, Lane, Multiaddr, NetworkConfig, NetworkHandle, PROTOCOL_VERSION, PeerId, PeerInfo,
    TransactionReceiver, start,
};
use bttc_types::SigningDomain;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::multiaddr::Protocol;
use libp2p::{Stream, StreamProtocol, Swarm, SwarmBuilder, noise, ping, tcp, yamux};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

pub const GENESIS: B256 = B256::repeat_byte(1);
pub const WAIT: Duration = Duration::from_secs(30);
pub const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub const GOSSIP: StreamProtocol = StreamProtocol::new("/bttc/gossip/2");
pub const BLOCKS: StreamProtocol = StreamProtocol::new("/bttc/blocks/2");

pub struct Service {
    pub handle: NetworkHandle,
    pub incoming: Receiver<Incoming>,
    pub transactions: TransactionReceiver,
}

impl Service {
    pub fn new(config: NetworkConfig) -> Self {
        Self::with_key(config, Keypair::generate_ed25519(), TCP)
    }

    pub fn with_key(config: NetworkConfig, key: Keypair, listen: &str) -> Self {
        let config = NetworkConfig { listen: vec![listen.parse().unwrap()], ..config };
        let domain = SigningDomain::new(1337, GENESIS);
        let (handle, incoming, transactions) =
            start(config, key, None, domain, 1337, GENESIS, (7, B256::ZERO), "test").unwrap();
        Self { handle, incoming, transactions }
    }

    pub fn dialling(address: Multiaddr) -> Self {
        Self::new(NetworkConfig { persistent_peers: vec![address], ..NetworkConfig::default() })
    }

    pub fn id(&self) -> PeerId {
        self.handle.local_peer_id()
    }

    pub async fn address(&self) -> Multiaddr {
        until("it listens", async || !self.handle.listening().is_empty()).await;
        self.handle.listening()[0].clone()
    }

    pub async fn sessions(&self) -> usize {
        self.handle.peers().await.len()
    }

    pub async fn knows(&self, id: PeerId) -> bool {
        self.handle.peers().await.iter().any(|peer| peer.id == id)
    }

    /// The next event that `pick` wants.
    pub async fn next<T>(&mut self, mut pick: impl FnMut(Incoming) -> Option<T>) -> T {
        let search = async {
            loop {
                if let Some(found) = pick(self.incoming.recv().await.expect("the service runs")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(WAIT, search).await.expect("the event comes in time")
    }

    /// The next vote.
    pub async fn vote(&mut self) -> Vec<u8> {
        self.next(|event| match event {
            Incoming::Message { lane: Lane::Votes, bytes, .. } => Some(bytes),
            _ => None,
        })
        .await
    }

    /// The next session, and whether its peer is to be greeted.
    pub async fn connected(&mut self) -> (PeerInfo, bool) {
        self.next(|event| match event {
            Incoming::Connected { info, greet } => Some((info, greet)),
            _ => None,
        })
        .await
    }

    /// All sessions that have begun since the last look.
    pub fn sessions_begun(&mut self) -> Vec<(PeerInfo, bool)> {
        let mut begun = Vec::new();
        while let Ok(event) = self.incoming.try_recv() {
            if let Incoming::Connected { info, greet } = event {
                begun.push((info, greet));
            }
        }
        begun
    }
}

pub async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !reached().await {
        assert!(Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An address of a peer that does not listen (yet): its port is free.
pub fn address_of(key: &Keypair) -> Multiaddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", key.public().to_peer_id()).parse().unwrap()
}

/// An address without the identity at its end, to listen on.
pub fn without_id(address: &Multiaddr) -> String {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect::<Multiaddr>().to_string()
}

/// What every peer answers.
#[derive(libp2p::swarm::NetworkBehaviour)]
pub struct Polite {
    pub stream: libp2p_stream::Behaviour,
    pub ping: ping::Behaviour,
}

/// Somebody who speaks libp2p and writes whatever they like. Their connection ends with the value.
pub struct Stranger {
    pub control: libp2p_stream::Control,
    pub id: PeerId,
    victim: PeerId,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A key of the peer whose part it is to open the stream: of two peers the one with the smaller identity does.
pub fn opener(victim: PeerId) -> Keypair {
    let key = std::iter::repeat_with(Keypair::generate_ed25519).find(|key| key.public().to_peer_id() < victim);
    key.unwrap()
}

impl Stranger {
    pub fn new(address: &Multiaddr, victim: PeerId) -> Self {
        Self::with_key(opener(victim), address, victim)
    }

    pub fn with_key(key: Keypair, address: &Multiaddr, victim: PeerId) -> Self {
        let id = key.public().to_peer_id();
        let mut swarm: Swarm<Polite> = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| Polite { stream: libp2p_stream::Behaviour::new(), ping: ping::Behaviour::default() })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        let control = swarm.behaviour().stream.new_control();
        swarm.dial(address.clone()).unwrap();
        let task = tokio::spawn(async move {
            loop {
                let _ = swarm.select_next_some().await;
            }
        });
        Self { control, id, victim, task }
    }

    /// A stream of a protocol, as soon as there is a connection.
    pub async fn stream(&mut self, protocol: StreamProtocol) -> Option<Stream> {
        for _ in 0..20 {
            match self.control.open_stream(self.victim, protocol.clone()).await {
                Ok(stream) => return Some(stream),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        None
    }

    /// The gossip stream, without a word.
    pub async fn open(&mut self) -> Option<Stream> {
        self.stream(GOSSIP).await
    }

    /// A stream after a proper exchange of hellos.
    pub async fn greeted(&mut self) -> Option<Stream> {
        let mut stream = self.open().await?;
        exchange(&mut stream, &hello(PROTOCOL_VERSION)).await?;
        Some(stream)
    }
}

pub fn hello(version: u32) -> Hello {
    Hello {
        version,
        chain_id: 1337,
        genesis_hash: GENESIS,
        height: 1,
        head: B256::ZERO,
        role: 2,
        agent: Bytes::from_static(b"stranger"),
        addresses: vec![],
        proof: vec![],
    }
}

/// Says hello and reads the other side's.
pub async fn exchange(stream: &mut Stream, ours: &Hello) -> Option<Vec<u8>> {
    say(stream, ours).await?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.ok()?;
    let mut theirs = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut theirs).await.ok()?;
    Some(theirs)
}

/// Says hello and waits for nothing.
pub async fn say(stream: &mut Stream, ours: &Hello) -> Option<()> {
    let bytes = alloy_rlp::encode(ours);
    stream.write_all(&(bytes.len() as u32).to_be_bytes()).await.ok()?;
    stream.write_all(&bytes).await.ok()?;
    stream.flush().await.ok()
}

/// Writes a frame.
pub async fn write_frame(stream: &mut Stream, lane: Lane, bytes: &[u8]) {
    let mut frame = vec![lane as u8];
    frame.extend((bytes.len() as u32).to_be_bytes());
    frame.extend(bytes);
    stream.write_all(&frame).await.unwrap();
    stream.flush().await.unwrap();
}

/// Reads a frame.
pub async fn read_frame(stream: &mut Stream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.ok()?;
    let mut bytes = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize];
    stream.read_exact(&mut bytes).await.ok()?;
    Some((head[0], bytes))
}

/// Whether the other side closes the stream.
pub async fn is_closed(stream: &mut Stream) -> bool {
    let read = async {
        let mut buffer = [0; 4_096];
        while matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {}
    };
    tokio::time::timeout(WAIT, read).await.is_ok()
}
