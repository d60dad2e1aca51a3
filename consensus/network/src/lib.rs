//! Talking to other nodes: libp2p connections, gossip in lanes of different priority, requests for blocks.
//!
//! Between two nodes there is one long-lived stream in each direction. A message belongs to a [`Lane`]; each lane has its
//! own queue, byte limit and quota, and a higher lane is always sent first, so that transactions never delay votes.
//! Messages are passed on only after the node has judged them ([`NetworkHandle::verdict`]).
//!
//! [`Router`] is the pure part: who gets what, who has sent too much, who is banned. The rest is a thin shell around
//! libp2p. This crate does not know what the bytes mean.
#![forbid(unsafe_code)]

mod addresses;
mod admission;
mod answers;
mod codec;
mod config;
mod control;
mod dialing;
mod door;
mod error;
mod greeting;
mod handle;
mod hello;
mod holdings;
mod identities;
mod inflow;
mod lane;
mod multiplexer;
mod names;
mod outbox;
mod requests;
mod router;
mod service;
mod session;
mod setup;
mod standing;
mod streams;
mod subnet;
mod transactions;
mod transport;

pub use config::{NetworkConfig, Role};
pub use error::Error;
pub use handle::{Incoming, NetworkHandle, PeerInfo, RequestId};
pub use hello::{Hello, PROTOCOL_VERSION};
pub use inflow::Ticket;
pub use lane::{LANES, Lane, assert_limits};
pub use router::{Arrival, Consequence, Judged, PeerId64, Router, RouterConfig, Verdict};
pub use setup::start;
pub use standing::{Quota, Score};
pub use transactions::TransactionReceiver;

/// Re-exported, so that the node names addresses and keys without depending on libp2p itself.
pub use libp2p::{Multiaddr, PeerId, identity::Keypair};
