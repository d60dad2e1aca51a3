//! Configuration of the network.

use libp2p::Multiaddr;

/// What a node is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs blocks; talks to its persistent peers only, and asks nobody for addresses.
    Validator,
    /// Stands between a validator and the world and tells nobody the validator's address.
    Sentry,
    /// Follows the chain.
    Full,
    /// Hands out addresses.
    Seed,
}

/// Configuration.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Addresses to listen on.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach this node, if they differ from those it listens on.
    pub external: Vec<Multiaddr>,
    /// Peers (with `/p2p/<id>`) that are always kept connected and never banned.
    pub persistent_peers: Vec<Multiaddr>,
    /// Peers asked for addresses at the start.
    pub seeds: Vec<Multiaddr>,
    /// Peers whose addresses are not told to others (a sentry's validator).
    pub private_peers: Vec<libp2p::PeerId>,
    /// What this node is.
    pub role: Role,
    /// Most connections.
    pub max_peers: usize,
    /// Most peers from one subnet (24 bits of an IPv4 address, 48 of an IPv6 address), persistent ones not counted: who
    /// owns one subnet cannot be all our peers.
    pub max_peers_per_subnet: usize,
    /// How many peers a full node looks for.
    pub target_peers: usize,
    /// How long a ban lasts, milliseconds.
    pub ban_ms: u64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            external: Vec::new(),
            persistent_peers: Vec::new(),
            seeds: Vec::new(),
            private_peers: Vec::new(),
            role: Role::Full,
            max_peers: 64,
            max_peers_per_subnet: 8,
            target_peers: 16,
            ban_ms: 600_000,
        }
    }
}
