//! How the node holds the network: what it can say, and what it hears.

use crate::inflow::Ticket;
use crate::lane::Lane;
use crate::router::{PeerId64, Verdict};
use alloy_primitives::{Address, B256};
use libp2p::{Multiaddr, PeerId};
use parking_lot::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;

/// Number of a request or of an answer that is awaited.
pub type RequestId = u64;

/// What the network tells the node.
#[derive(Debug)]
pub enum Incoming {
    /// A peer of our network is connected.
    Connected {
        /// The peer. Its number is that of its identity: the same as in earlier sessions.
        info: PeerInfo,
        /// Whether it is to be sent what it may have missed. Not when it, or too many of its neighbours, were sent that a
        /// moment ago.
        greet: bool,
    },
    /// It is gone.
    Disconnected(PeerId64),
    /// A message; answer with [`NetworkHandle::verdict`].
    Message {
        /// Who sent it.
        peer: PeerId64,
        /// Its lane.
        lane: Lane,
        /// What the verdict is given for.
        number: Ticket,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A peer's head.
    Status {
        /// Whose.
        peer: PeerId64,
        /// Its height.
        height: u64,
    },
    /// A request; answer with [`NetworkHandle::respond`].
    Request {
        /// Who asks.
        peer: PeerId64,
        /// The request's number.
        id: RequestId,
        /// The bytes.
        bytes: Vec<u8>,
        /// Gone when the peer does not wait for the answer any more.
        asker: Weak<()>,
    },
    /// The answer to our request.
    Response {
        /// Who answers.
        peer: PeerId64,
        /// The number that the request was given.
        tag: u64,
        /// The bytes, or why there are none.
        result: Result<Vec<u8>, String>,
    },
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its identity's number in this process.
    pub peer: PeerId64,
    /// Its identity.
    pub id: PeerId,
    /// Address of the connection.
    pub address: String,
    /// The same number for all strangers of one subnet; the operator's own peers have one each.
    pub neighbourhood: u64,
    /// Program and version.
    pub agent: String,
    /// Height it last told.
    pub height: u64,
    /// Its role, by name.
    pub role: &'static str,
    /// The validator it proves to be.
    pub validator: Option<Address>,
    /// Whether we dialled it.
    pub outbound: bool,
    /// Its score, 0 is good.
    pub score: i64,
    /// Messages to it that were dropped because it reads too slowly.
    pub dropped: u64,
}

/// What the handle asks of the service.
pub(crate) enum Command {
    Broadcast(Lane, Arc<[u8]>),
    Send(PeerId64, Lane, Arc<[u8]>),
    Verdict {
        peer: PeerId64,
        lane: Lane,
        number: Ticket,
        bytes: Arc<[u8]>,
        verdict: Verdict,
    },
    /// A message was dropped without a verdict.
    Unjudged(u64),
    Fault(PeerId64, String),
    Request {
        peer: PeerId64,
        tag: u64,
        bytes: Vec<u8>,
    },
    Respond {
        id: RequestId,
        bytes: Vec<u8>,
    },
    Status {
        height: u64,
        hash: B256,
    },
    Peers(tokio::sync::oneshot::Sender<Vec<PeerInfo>>),
}

/// How the node speaks to the network. Cheap to clone. Sending never blocks.
#[derive(Clone, Debug)]
pub struct NetworkHandle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) local: PeerId,
    pub(crate) listening: Arc<RwLock<Vec<Multiaddr>>>,
    pub(crate) answer_bytes: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl NetworkHandle {
    /// Sends our own message to everybody.
    pub fn broadcast(&self, lane: Lane, bytes: impl Into<Arc<[u8]>>) {
        let _ = self.commands.send(Command::Broadcast(lane, bytes.into()));
    }

    /// Sends a message to one peer.
    pub fn send(&self, peer: PeerId64, lane: Lane, bytes: impl Into<Arc<[u8]>>) {
        let _ = self.commands.send(Command::Send(peer, lane, bytes.into()));
    }

    /// Judges a message: it is passed on, or not, or its sender is blamed.
    pub fn verdict(&self, peer: PeerId64, lane: Lane, number: Ticket, bytes: impl Into<Arc<[u8]>>, verdict: Verdict) {
        let _ = self.commands.send(Command::Verdict { peer, lane, number, bytes: bytes.into(), verdict });
    }

    /// Blames a peer for something other than a message.
    pub fn fault(&self, peer: PeerId64, reason: String) {
        let _ = self.commands.send(Command::Fault(peer, reason));
    }

    /// Asks a peer; the answer comes as [`Incoming::Response`] with the same tag.
    pub fn request(&self, peer: PeerId64, tag: u64, bytes: Vec<u8>) {
        let _ = self.commands.send(Command::Request { peer, tag, bytes });
    }

    /// Answers a request. An answer for which there is no room, because too much is under way that peers do not read, is
    /// dropped: the peer asks another node.
    pub fn respond(&self, id: RequestId, bytes: Vec<u8>) {
        let _ = self.commands.send(Command::Respond { id, bytes });
    }

    /// Tells all peers our head.
    pub fn status(&self, height: u64, hash: B256) {
        let _ = self.commands.send(Command::Status { height, hash });
    }

    /// The connected peers.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let _ = self.commands.send(Command::Peers(sender));
        receiver.await.unwrap_or_default()
    }

    /// Our identity.
    pub fn local_peer_id(&self) -> PeerId {
        self.local
    }

    /// Bytes of answers that are under way to peers.
    pub fn answer_bytes(&self) -> usize {
        self.answer_bytes.load(Ordering::Relaxed)
    }

    /// Addresses that are listened on.
    pub fn listening(&self) -> Vec<Multiaddr> {
        self.listening.read().clone()
    }
}
