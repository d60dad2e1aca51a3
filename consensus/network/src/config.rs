//! Configuration of the network.

use libp2p::Multiaddr;

/// What a node is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs blocks; talks to its own peers only when it has any, and asks nobody for addresses.
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
    /// Peers whose addresses are not told to others (a sentry's validator). They connect to us whatever else is full.
    pub private_peers: Vec<libp2p::PeerId>,
    /// What this node is.
    pub role: Role,
    /// Most peers that connect to us; persistent and private ones have places of their own.
    pub max_peers: usize,
    /// Most peers from one subnet (24 bits of an IPv4 address, 48 of an IPv6 address), persistent and private ones not
    /// counted: who owns one subnet cannot be all our peers.
    pub max_peers_per_subnet: usize,
    /// How many peers a node that is no validator connects to itself. Those that connect to us do not count: who comes to
    /// us chooses us, and may be in league with the others that come.
    pub target_peers: usize,
    /// Whether a validator that has persistent peers takes others, too.
    pub accept_strangers: bool,
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
            accept_strangers: false,
            ban_ms: 600_000,
        }
    }
}

impl NetworkConfig {
    /// Whether peers that the operator does not name may connect.
    pub(crate) fn takes_strangers(&self) -> bool {
        self.role != Role::Validator || self.persistent_peers.is_empty() || self.accept_strangers
    }

    /// Whether this node looks for peers itself.
    pub(crate) fn looks_for_peers(&self) -> bool {
        matches!(self.role, Role::Full | Role::Sentry | Role::Seed)
    }
}
