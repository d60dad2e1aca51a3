//! Floods: more of something than a node can use, from a member or from strangers, while work and bytes cost time.
//!
//! What must hold meanwhile: no honest node blames or bans another (the checker sees that in every run); a height whose
//! first proposer is honest takes at most half as long again as it should; what clients send becomes final; what a node
//! holds for it stays within a bound.

use crate::byzantine::Means;
use crate::client::Sender;
use crate::links::{Links, Sending};
use crate::node::{Item, Payload};
use crate::world::{Event, World};
use alloy_primitives::{Bytes, U256, keccak256};
use bttc_engine::Message;
use bttc_genesis::{BTT, ChainSpec};
use bttc_network::Lane;
use bttc_node::lane_of;
use bttc_types::{SecretKey, Vote, VoteKind};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// When a flood begins: the network has found its pace by then.
pub const BEGINS_US: u64 = 5_000_000;

/// How often more comes.
const STEP_US: u64 = 20_000;

/// Steps in a second.
const STEPS: u64 = 1_000_000 / STEP_US;

/// Votes a second.
const VOTES: u64 = 20_000;

/// Pieces of evidence a second.
const PIECES: u64 = 60;

/// Streams that a peer opens a second, at each node.
const OPENINGS: u64 = 50;

/// Strangers that connect to each node and say nothing.
const SILENT: usize = 200;

/// Transactions behind a gap a second.
const GAPPED: u64 = 2_000;

/// Accounts that send them.
const GAPPED_SENDERS: usize = 20;

/// Transactions of accounts without coins a second, and the calldata of each: 10 MiB a second.
const UNPAYABLE: u64 = 2_560;
const UNPAYABLE_BYTES: usize = 4_000;

/// What a peer that does not read can have on its way, bytes.
const WINDOW_BYTES: u64 = 256 << 10;

/// Peers that a node takes beside those that it knows.
const MAX_STRANGERS: usize = 64;

/// Most that may wait for a node's core, bytes.
const MAX_WAITING: usize = 64 << 20;

/// Most that a node's log may take, bytes.
const MAX_LOG: usize = 64 << 20;

/// What a client waits for a transaction to be final, microseconds.
const PATIENCE_US: u64 = 6_000_000;

macro_rules! floods {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A kind of flood.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Flood { $($(#[doc = $doc])+ $name,)+ }

        impl Flood {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name on the command line and in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

floods! {
    /// Nothing: what the others are compared with.
    Nothing = "flood-of-nothing",
    /// A member's votes, over one connection or two.
    Votes = "flood-of-votes",
    /// Good evidence of a member against itself.
    SelfEvidence = "flood-of-self-evidence",
    /// A stranger opens its stream again and again, and sends rubbish in between.
    ReopenedStreams = "flood-of-reopened-streams",
    /// Strangers connect, claim a great height, and neither read nor answer.
    SilentConnections = "flood-of-silent-connections",
    /// Transactions behind a gap, of accounts with coins, at a high price.
    GappedTransactions = "flood-of-gapped-transactions",
    /// Transactions of accounts without coins.
    UnpayableTransactions = "flood-of-unpayable-transactions",
}

impl Flood {
    /// Whether a validator floods.
    pub(crate) fn by_a_member(self) -> bool {
        matches!(self, Self::Votes | Self::SelfEvidence)
    }

    /// Room in each node's pool: little where the flood would need long to fill it.
    pub(crate) fn pool_transactions(self) -> usize {
        match self {
            Self::GappedTransactions => 2_000,
            _ => bttc_pool::PoolConfig::default().max_transactions,
        }
    }

    /// `all` or names separated by commas.
    ///
    /// # Errors
    /// The name that is not known.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        if text == "all" {
            return Ok(Self::ALL.to_vec());
        }
        text.split(',')
            .map(|name| {
                let found = Self::ALL.iter().find(|flood| flood.name() == name);
                found.copied().ok_or_else(|| format!("unknown flood {name:?}"))
            })
            .collect()
    }
}

impl std::fmt::Display for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn gapped_sender(index: usize) -> Sender {
    sender(b"bttc simulation gap", index as u64)
}

fn sender(name: &[u8], index: u64) -> Sender {
    let seed = keccak256([name, &index.to_be_bytes()].concat());
    #[allow(clippy::expect_used)] // A hash is below the group order but for one in 2^128.
    Sender::new(SecretKey::from_bytes(&seed.0).expect("a valid key"))
}

/// Coins for those whose transactions wait behind a gap.
pub(crate) fn fund(spec: &mut ChainSpec) {
    for index in 0..GAPPED_SENDERS {
        let account = spec.genesis.alloc.entry(gapped_sender(index).address()).or_default();
        account.balance = U256::from(1_000_000u64) * U256::from(BTT);
    }
}

/// Peers that are no nodes: whatever is sent to them is not read.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    connected: BTreeMap<usize, BTreeSet<usize>>,
    unread: BTreeMap<(usize, usize), u64>,
    senders: Vec<Sender>,
    sent: u64,
}

impl Strangers {
    /// A stranger wants to be a node's peer; false: the node has enough of them.
    pub(crate) fn enter(&mut self, node: usize, peer: usize) -> bool {
        let connected = self.connected.entry(node).or_default();
        connected.contains(&peer) || (connected.len() < MAX_STRANGERS && connected.insert(peer))
    }

    /// Bytes to a stranger take the sender's uplink until the window is full.
    pub(crate) fn receive(&mut self, links: &mut Links, sending: Sending) {
        let unread = self.unread.entry((sending.from, sending.to)).or_default();
        if *unread < WINDOW_BYTES {
            *unread += sending.bytes as u64;
            links.occupy(sending);
        }
    }
}

/// How fast heights come in a flood.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    height: u64,
    at: u64,
    /// The longest that a height with an honest first proposer took, microseconds.
    pub(crate) longest: u64,
    /// The most that waited for a core, bytes.
    pub(crate) waiting: usize,
}

impl World {
    /// A step of a flood.
    pub(crate) fn on_flood(&mut self) {
        let Some(flood) = self.config.flood else { return };
        let step = (self.now - BEGINS_US) / STEP_US;
        let member = self.nodes.iter().position(|node| node.liar);
        match (flood, member) {
            (Flood::Votes, Some(member)) => self.flood_with_votes(member),
            (Flood::SelfEvidence, Some(member)) => self.flood_with_evidence(member, step),
            (Flood::ReopenedStreams, _) => self.flood_with_streams(),
            (Flood::SilentConnections, _) if step < STEPS => self.flood_with_silence(step),
            (Flood::GappedTransactions, _) => self.flood_with_gaps(),
            (Flood::UnpayableTransactions, _) => self.flood_with_unpayable(),
            _ => {}
        }
        self.watch_memory();
        self.at(self.now + STEP_US, Event::Flood);
    }

    /// The position of most nodes: height and round.
    fn front(&self) -> (u64, u32) {
        let positions =
            self.nodes.iter().filter_map(|node| node.running.as_ref()).map(|running| running.engine.position());
        positions.max().unwrap_or((1, 0))
    }

    fn flood_with_votes(&mut self, member: usize) {
        let (height, round) = self.front();
        // Over one connection or over two.
        let peers = self.links.peers[member].clone();
        let connections = peers.len().min(1 + (self.config.seed % 2) as usize);
        for index in 0..VOTES / STEPS {
            let kind = if index % 2 == 0 { VoteKind::Prevote } else { VoteKind::Precommit };
            let key = &self.nodes[member].key;
            let means = Means { key, domain: &self.domain, members: &self.members, rng: &mut self.rng };
            let block_hash = Some(alloy_primitives::B256::from(means.rng.random::<[u8; 32]>()));
            let round = round + (index % 3) as u32;
            let vote = means.signed(Vote { kind, height, round, block_hash, validator: key.address() });
            let payload = self.encoded(&Message::Vote(vote));
            self.send(member, peers[index as usize % connections], self.now, &payload);
        }
    }

    fn flood_with_evidence(&mut self, member: usize, step: u64) {
        let (height, _) = self.front();
        let peer = self.links.peers[member][0];
        for piece in 0..(step + 1) * PIECES / STEPS - step * PIECES / STEPS {
            let node = &mut self.nodes[member];
            let Some(liar) = &mut node.byzantine else { return };
            let mut means = Means { key: &node.key, domain: &self.domain, members: &self.members, rng: &mut self.rng };
            let evidence = liar.against_itself(height.saturating_sub(piece).max(1), &mut means);
            let payload = self.encoded(&Message::Evidence(Box::new(evidence)));
            self.send(member, peer, self.now, &payload);
        }
    }

    fn encoded(&self, message: &Message) -> Arc<Payload> {
        crate::traffic::payload(lane_of(message), message.encode().into())
    }

    /// One stranger, at every node.
    fn flood_with_streams(&mut self) {
        let stranger = self.nodes.len();
        let claimed = self.front().0 + 100;
        for node in 0..self.nodes.len() {
            for opening in 0..OPENINGS / STEPS {
                let time = self.now + opening * STEP_US / 2;
                self.send_item(stranger, node, time, Item::Opened(stranger, claimed));
                for _ in 0..3 {
                    let rubbish: [u8; 32] = self.rng.random();
                    let payload = crate::traffic::payload(Lane::Votes, rubbish.to_vec().into());
                    self.send(stranger, node, time, &payload);
                }
                self.send_item(stranger, node, time, Item::Gone(stranger));
            }
        }
    }

    fn flood_with_silence(&mut self, step: u64) {
        let claimed = self.front().0 + 100;
        let each = SILENT.div_ceil(STEPS as usize);
        for stranger in (step as usize * each)..((step as usize + 1) * each).min(SILENT) {
            for node in 0..self.nodes.len() {
                let stranger = self.nodes.len() + stranger;
                self.send_item(stranger, node, self.now, Item::Opened(stranger, claimed));
            }
        }
    }

    fn flood_with_gaps(&mut self) {
        if self.strangers.senders.is_empty() {
            self.strangers.senders = (0..GAPPED_SENDERS).map(gapped_sender).collect();
            let (chain, fee) = (self.spec.chain_id(), self.high_fee());
            // What would fill the gap is never sent.
            for sender in &mut self.strangers.senders {
                let _ = sender.transfer(chain, fee, Bytes::new());
            }
        }
        let (chain, fee) = (self.spec.chain_id(), self.high_fee());
        for _ in 0..GAPPED / STEPS {
            let index = self.strangers.sent as usize % GAPPED_SENDERS;
            let transaction = self.strangers.senders[index].transfer(chain, fee, Bytes::new());
            self.send_from_stranger(transaction);
        }
    }

    fn flood_with_unpayable(&mut self) {
        let (chain, fee) = (self.spec.chain_id(), self.high_fee());
        for _ in 0..UNPAYABLE / STEPS {
            let mut sender = sender(b"bttc simulation pauper", self.strangers.sent / 100);
            let data = Bytes::from(vec![self.strangers.sent as u8 | 1; UNPAYABLE_BYTES]);
            // The fee differs, so that each is another transaction.
            let transaction = sender.transfer(chain, fee + u128::from(self.strangers.sent), data);
            self.send_from_stranger(transaction);
        }
    }

    fn high_fee(&self) -> u128 {
        u128::from(self.spec.bttc.params.min_base_fee) * 1_000
    }

    /// A transaction over one of two connections of a stranger.
    fn send_from_stranger(&mut self, transaction: Option<bttc_types::RecoveredTransaction>) {
        let Some(transaction) = transaction else { return };
        let stranger = self.nodes.len();
        let node = self.strangers.sent as usize % 2;
        if self.strangers.sent < 2 {
            self.send_item(stranger, node, self.now, Item::Opened(stranger, 0));
        }
        self.strangers.sent += 1;
        let payload = crate::traffic::payload(Lane::Transactions, transaction.encoded().to_vec().into());
        self.send(stranger, node, self.now, &payload);
    }

    /// Bounds of what a node holds, and of what its clients wait for.
    fn watch_memory(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let waiting: usize = node.inbox.iter().map(Item::bytes).sum();
            let log = node.disk.log_bytes();
            let pool = node.running.as_ref().map_or(0, |running| running.application.pool.len());
            let most = node.pool_transactions;
            self.watch.waiting = self.watch.waiting.max(waiting);
            for (what, got, limit) in [("inbox", waiting, MAX_WAITING), ("log", log, MAX_LOG), ("pool", pool, most)] {
                if got > limit {
                    self.checker
                        .violated("memory", format!("the {what} of node {index} holds {got}, more than {limit}"));
                }
            }
        }
        let open = self.clients.open.iter().filter(|sent| self.checker.included(&sent.transaction.hash()).is_none());
        let late = open.filter(|sent| self.now.saturating_sub(sent.first) > PATIENCE_US).count();
        if late > 0 {
            let seconds = PATIENCE_US / 1_000_000;
            self.checker
                .violated("progress", format!("{late} transactions are not final after {seconds} s of a flood"));
        }
    }

    /// In a flood: the time since all honest nodes had committed the height before, where its first proposer is honest.
    pub(crate) fn watch_pace(&mut self, time: u64) {
        if self.config.flood.is_none() {
            return;
        }
        let least = self.least_height();
        if least <= self.watch.height {
            return;
        }
        let gap = time.saturating_sub(self.watch.at);
        let began = self.watch.at >= BEGINS_US && self.watch.height > 0;
        (self.watch.height, self.watch.at) = (least, time);
        let proposer = self.checker.set_at(least).proposer(0).address;
        let honest = self.nodes.iter().any(|node| !node.liar && node.key.address() == proposer);
        if !began || !honest {
            return;
        }
        self.watch.longest = self.watch.longest.max(gap);
        if gap > self.config.target_block_time_ms * 1_500 {
            let (took, target) = (gap / 1_000, self.config.target_block_time_ms);
            self.checker
                .violated("pace", format!("height {least} took {took} ms in a flood; the target is {target} ms"));
        }
    }
}
