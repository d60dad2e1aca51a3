//! Several engines in one thread with a toy application: agreement, restarts, silent validators, sync.

mod bounds;
mod disks;
mod endless;
mod liars;
mod twins;
mod waits;

use super::*;
use crate::Error;
use crate::guard::{Guard, LastSigned, MemoryGuard};
use crate::message::CertifiedBlock;
use crate::wal::{LogDisk, Wal};
use bttc_types::{Block, Validator, set_block_time};
use parking_lot_free::Shared;
use std::collections::VecDeque;
use std::io;

/// A log and a guard that outlive the engine, as files do.
mod parking_lot_free {
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    pub(super) struct Shared<T>(pub(super) Arc<Mutex<T>>);
}

/// A log file in memory: what a crash leaves, what is there now.
#[derive(Clone, Default)]
struct MemoryLog {
    durable: Option<Vec<u8>>,
    current: Option<Vec<u8>>,
    broken: bool,
}

impl Shared<MemoryLog> {
    fn change(&self, change: impl FnOnce(&mut MemoryLog)) -> io::Result<()> {
        let mut log = self.0.lock().unwrap();
        if log.broken {
            return Err(io::Error::other("it was told to fail"));
        }
        change(&mut log);
        Ok(())
    }
}

impl LogDisk for Shared<MemoryLog> {
    fn name(&self) -> String {
        "memory".into()
    }
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().current.clone())
    }
    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        self.change(|log| {
            log.current = Some(content.to_vec());
            log.durable.clone_from(&log.current);
        })
    }
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.change(|log| {
            log.current.as_mut().unwrap().truncate(length as usize);
            log.durable.clone_from(&log.current);
        })
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|log| log.current.as_mut().unwrap().extend_from_slice(bytes))
    }
    fn sync(&mut self) -> io::Result<()> {
        self.change(|log| match (&mut log.durable, &log.current) {
            // What is durable only grows between replacements.
            (Some(durable), Some(current)) if durable.len() <= current.len() => {
                durable.extend_from_slice(&current[durable.len()..]);
            }
            (durable, current) => durable.clone_from(current),
        })
    }
    fn put_aside(&mut self) -> io::Result<()> {
        self.change(|log| {
            log.current = None;
            log.durable = None;
        })
    }
}

impl Guard for Shared<MemoryGuard> {
    fn last(&self) -> Option<LastSigned> {
        self.0.lock().unwrap().last
    }
    fn record(&mut self, last: LastSigned) -> Result<(), Error> {
        self.0.lock().unwrap().record(last)
    }
    fn just_imported(&self) -> bool {
        self.0.lock().unwrap().just_imported()
    }
}

struct Node {
    engine: Option<Engine>,
    key: Option<SecretKey>,
    wal: Shared<MemoryLog>,
    guard: Shared<MemoryGuard>,
    chain: Vec<CertifiedBlock>,
    signed: Vec<bttc_types::Vote>,
    evidence: Vec<bttc_types::Evidence>,
    halted: Option<String>,
}

struct Network {
    nodes: Vec<Node>,
    set: ValidatorSet,
    now: Now,
    inbox: VecDeque<(usize, usize, Message)>,
    work: VecDeque<(usize, Output)>,
    /// Links that are cut.
    down: std::collections::HashSet<usize>,
    /// Every application finds every block invalid.
    refuses: bool,
    /// How far off the time of built blocks is.
    ahead_ms: u64,
    /// About how large they are.
    block_bytes: usize,
    /// What the applications were asked to judge.
    judged: Vec<(usize, B256)>,
    /// Peers that nodes were told are at fault.
    blamed: Vec<String>,
}

fn domain() -> SigningDomain {
    SigningDomain::new(1337, B256::ZERO)
}

fn config() -> EngineConfig {
    EngineConfig {
        target_block_time_ms: 100,
        empty_block_interval_ms: 200,
        propose_timeout_ms: 600,
        vote_timeout_ms: 300,
        timeout_delta_ms: 100,
        rebroadcast_ms: 500,
        listen_ms: 1_000,
        ..EngineConfig::default()
    }
}

/// A block that the toy application takes.
fn build((height, parent): (u64, B256), round: u32, time_ms: u64, last_commit: Certificate, salt: u64) -> Block {
    let mut header = alloy_consensus::Header { number: height, parent_hash: parent, ..Default::default() };
    set_block_time(&mut header, time_ms, round);
    header.gas_used = salt;
    header.transactions_root = alloy_consensus::constants::EMPTY_TRANSACTIONS;
    header.parent_beacon_block_root = Some(last_commit.hash());
    header.base_fee_per_gas = Some(1);
    header.withdrawals_root = Some(B256::ZERO);
    header.blob_gas_used = Some(0);
    header.excess_blob_gas = Some(0);
    Block { header, transactions: vec![], last_commit }
}

/// Makes a block larger by transactions that nobody executes.
fn pad(block: &mut Block, bytes: usize) {
    if bytes == 0 {
        return;
    }
    let transaction = alloy_consensus::TxLegacy { input: vec![7; bytes].into(), ..Default::default() };
    let signature = alloy_primitives::Signature::test_signature();
    let hash = B256::repeat_byte(1);
    let signed = alloy_consensus::Signed::new_unchecked(transaction, signature, hash);
    block.transactions = vec![bttc_types::Transaction::Legacy(signed)];
    block.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&block.transactions);
}

impl Network {
    fn new(validators: u8, followers: u8) -> Self {
        let keys: Vec<SecretKey> = (1..=validators).map(|i| SecretKey::from_bytes(&[i; 32]).unwrap()).collect();
        let set = keys.iter().map(|key| Validator { address: key.address(), owner: key.address(), power: 1 });
        let set = ValidatorSet::new(set.collect()).unwrap();
        let keys = keys.into_iter().map(Some).chain((0..followers).map(|_| None));
        let nodes = keys.map(|key| Node {
            engine: None,
            key,
            wal: Shared::default(),
            guard: Shared::default(),
            chain: Vec::new(),
            signed: Vec::new(),
            evidence: Vec::new(),
            halted: None,
        });
        let mut network = Self {
            nodes: nodes.collect(),
            set,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            inbox: VecDeque::new(),
            work: VecDeque::new(),
            down: Default::default(),
            refuses: false,
            ahead_ms: 0,
            block_bytes: 0,
            judged: Vec::new(),
            blamed: Vec::new(),
        };
        for index in 0..network.nodes.len() {
            network.boot(index);
        }
        network
    }

    fn head(&self, index: usize) -> HeadInfo {
        match self.nodes[index].chain.last() {
            None => HeadInfo { height: 0, hash: B256::ZERO },
            Some(block) => HeadInfo { height: block.certificate.height, hash: block.certificate.block_hash },
        }
    }

    fn boot(&mut self, index: usize) {
        let head = self.head(index);
        let node = &mut self.nodes[index];
        let start = StartInfo {
            head,
            head_certificate: node
                .chain
                .last()
                .map_or(Certificate::genesis(B256::ZERO), |block| block.certificate.clone()),
            next_set: self.set.advanced(head.height),
            following_set: self.set.advanced(head.height + 1),
            own_signature_above_guard: None,
        };
        let key = node.key.clone().map(|key| (key, Box::new(node.guard.clone()) as Box<dyn Guard>));
        let mut engine = Engine::new(config(), domain(), key, Wal::new(Box::new(node.wal.clone())), start, self.now);
        let outputs = engine.start(self.now);
        node.engine = Some(engine);
        self.take(index, outputs);
        self.announce(index);
    }

    fn announce(&mut self, index: usize) {
        for other in 0..self.nodes.len() {
            if other != index {
                for (a, b) in [(index, other), (other, index)] {
                    let height = self.head(a).height;
                    let validator = self.nodes[a].key.as_ref().map(SecretKey::address);
                    self.input(b, Input::PeerConnected { peer: a as u64, validator, greet: false });
                    self.input(b, Input::PeerStatus { peer: a as u64, height });
                }
            }
        }
    }

    fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.engine = None;
        // What was not flushed is gone.
        let mut wal = node.wal.0.lock().unwrap();
        wal.current = wal.durable.clone();
    }

    fn take(&mut self, index: usize, outputs: Vec<Output>) {
        self.work.extend(outputs.into_iter().map(|output| (index, output)));
    }

    fn input(&mut self, index: usize, input: Input) {
        if let Some(engine) = &mut self.nodes[index].engine {
            let outputs = engine.handle(input, self.now);
            self.take(index, outputs);
        }
    }

    fn broadcast(&mut self, from: usize, message: &Message) {
        for to in 0..self.nodes.len() {
            if to != from && !self.down.contains(&from) && !self.down.contains(&to) {
                self.inbox.push_back((from, to, message.clone()));
            }
        }
    }

    fn perform(&mut self, index: usize, output: Output) {
        match output {
            Output::Broadcast(message) => {
                if let Message::Vote(vote) = &message
                    && self.nodes[index].key.as_ref().is_some_and(|key| key.address() == vote.vote.validator)
                {
                    self.nodes[index].signed.push(vote.vote.clone());
                }
                self.broadcast(index, &message);
            }
            Output::Send(peer, message) => self.inbox.push_back((index, peer as usize, message)),
            Output::Propose { height, round, last_commit, time_ms } => {
                let parent = self.head(index).hash;
                let mut block = build((height, parent), round, time_ms + self.ahead_ms, last_commit, index as u64);
                pad(&mut block, self.block_bytes);
                let (hash, bytes) = (block.hash(), Arc::from(block.encode()));
                self.input(index, Input::Proposed { height, round, hash, bytes });
            }
            Output::Validate { height, hash, bytes } => {
                self.judged.push((index, hash));
                let verdict = match Block::decode(&bytes) {
                    Err(error) => BlockVerdict::Forged(error.to_string()),
                    Ok(_) if bttc_types::authentic_block_hash(&bytes) != Ok(hash) => {
                        BlockVerdict::Forged("body".into())
                    }
                    Ok(_) if self.refuses => BlockVerdict::Invalid("none is good".into()),
                    Ok(block) if block.header.parent_hash == self.head(index).hash => BlockVerdict::Valid,
                    Ok(_) => BlockVerdict::Invalid("parent".into()),
                };
                self.input(index, Input::Validated { height, hash, verdict });
            }
            Output::Commit { bytes, certificate, .. } => {
                let set = self.set.advanced(certificate.height - 1);
                certificate.verify(&set, &domain()).unwrap();
                assert_eq!(certificate.height, self.head(index).height + 1);
                self.nodes[index].chain.push(CertifiedBlock { block: bytes.to_vec().into(), certificate });
                let head = self.head(index);
                self.input(
                    index,
                    Input::Committed {
                        head,
                        next_set: self.set.advanced(head.height),
                        following_set: self.set.advanced(head.height + 1),
                        timing: config().timing(),
                        transactions_waiting: false,
                    },
                );
                self.announce(index);
            }
            Output::RequestBlocks { peer, from, count } => {
                let chain = &self.nodes[peer as usize].chain;
                let wanted = chain.iter().filter(|block| (from..from + count).contains(&block.certificate.height));
                let blocks = wanted.cloned().collect();
                if self.nodes[peer as usize].engine.is_some() {
                    self.input(index, Input::Blocks { peer, from, blocks });
                }
            }
            Output::Halt(reason) => {
                self.nodes[index].halted = Some(reason);
                self.nodes[index].engine = None;
            }
            Output::Misbehaved { reason, .. } => self.blamed.push(reason),
            Output::Evidence { evidence, .. } => self.nodes[index].evidence.push(evidence),
            Output::BetterCertificate(_) | Output::Event(_) => {}
        }
    }

    /// Runs for this long.
    fn run(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while self.now.mono_ms < end {
            loop {
                if let Some((index, output)) = self.work.pop_front() {
                    self.perform(index, output);
                } else if let Some((from, to, message)) = self.inbox.pop_front() {
                    // Everything crosses the wire as bytes.
                    let message = Message::decode(&message.encode()).unwrap();
                    let now = self.now;
                    if let Some(engine) = &mut self.nodes[to].engine {
                        let (verdict, outputs) = engine.handle_message(message.clone(), now);
                        assert!(!matches!(verdict, Verdict::Reject(_)), "{verdict:?} from {from} for {message:?}");
                        self.take(to, outputs);
                    }
                } else {
                    break;
                }
            }
            self.now.mono_ms += 10;
            self.now.wall_ms += 10;
            for index in 0..self.nodes.len() {
                let due = self.nodes[index].engine.as_ref().and_then(Engine::next_deadline);
                if due.is_some_and(|deadline| deadline <= self.now.mono_ms) {
                    self.input(index, Input::Tick);
                }
            }
        }
        self.check();
    }

    /// Agreement, and no validator ever signed twice for one step.
    fn check(&self) {
        assert!(self.blamed.is_empty(), "an honest node was blamed: {:?}", self.blamed);
        for node in &self.nodes {
            assert_eq!(node.halted, None);
            let longest = self.nodes.iter().max_by_key(|node| node.chain.len()).unwrap();
            for (a, b) in node.chain.iter().zip(&longest.chain) {
                assert_eq!(a.certificate.block_hash, b.certificate.block_hash);
            }
            let mut seen = std::collections::HashMap::new();
            for vote in &node.signed {
                let old = seen.insert((vote.height, vote.round, vote.kind), vote.block_hash);
                assert!(old.is_none() || old == Some(vote.block_hash), "signed twice: {vote:?}");
            }
        }
    }

    fn heights(&self) -> Vec<u64> {
        (0..self.nodes.len()).map(|index| self.head(index).height).collect()
    }
}

#[test]
fn four_validators_and_a_follower_agree() {
    let mut network = Network::new(4, 1);
    network.run(5_000);
    let heights = network.heights();
    assert!(heights.iter().all(|height| *height >= 20), "{heights:?}");
    // Late precommits are collected: the parent's certificate in a block is usually complete.
    let complete = network.nodes[0]
        .chain
        .iter()
        .skip(2)
        .filter(|block| Block::decode(&block.block).unwrap().last_commit.signatures.len() == 4);
    assert!(complete.count() > 10);
}

#[test]
fn one_validator_alone_decides() {
    let mut network = Network::new(1, 0);
    network.run(3_000);
    assert!(network.heights()[0] >= 10);
}

#[test]
fn three_go_on_without_the_fourth_and_it_catches_up() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    network.kill(2);
    network.run(10_000);
    let before = network.heights();
    assert!(before[0] > before[2] + 10, "{before:?}");
    network.boot(2);
    network.run(5_000);
    let after = network.heights();
    assert!(after[2] + 1 >= after[0] && after[0] > before[0], "{after:?}");
    assert_eq!(network.nodes[2].engine.as_ref().unwrap().signing(), &Signing::Ready);
}

#[test]
fn with_two_of_four_dead_nothing_is_decided_until_one_returns() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    network.kill(0);
    network.kill(1);
    network.run(3_000);
    let before = network.heights();
    network.run(5_000);
    assert_eq!(network.heights(), before);
    network.boot(1);
    network.run(8_000);
    let after = network.heights();
    assert!(after[1] > before[2] && after[2] > before[2] && after[3] > before[3], "{before:?} {after:?}");
}

#[test]
fn validators_killed_at_any_moment_never_sign_twice_and_lose_nothing() {
    let mut network = Network::new(4, 0);
    for step in 0..60usize {
        // Not a multiple of any timeout, so that every phase of a height is hit.
        network.run(130 + (step as u64 * 37) % 170);
        let victim = step % 4;
        let length = network.nodes[victim].chain.len();
        network.kill(victim);
        network.boot(victim);
        assert_eq!(network.nodes[victim].chain.len(), length);
    }
    network.run(3_000);
    let heights = network.heights();
    assert!(heights.iter().all(|height| *height > 20), "{heights:?}");
}

#[test]
fn all_killed_at_once_go_on() {
    let mut network = Network::new(4, 0);
    for step in 0..20u64 {
        network.run(100 + step * 23 % 90);
        for index in 0..4 {
            network.kill(index);
        }
        network.inbox.clear();
        network.work.clear();
        for index in 0..4 {
            network.boot(index);
        }
    }
    let before = network.heights();
    network.run(5_000);
    assert!(network.heights()[0] > before[0] + 5);
}

#[test]
fn a_failed_flush_stops_signing_and_the_node_follows() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    network.nodes[3].wal.0.lock().unwrap().broken = true;
    let signed = network.nodes[3].signed.len();
    network.run(5_000);
    assert_eq!(network.nodes[3].signed.len(), signed);
    assert!(matches!(network.nodes[3].engine.as_ref().unwrap().signing(), Signing::Off(_)));
    let heights = network.heights();
    assert!(heights[3] + 1 >= heights[0] && heights[0] > 10, "{heights:?}");
}

#[test]
fn a_guard_that_is_ahead_refuses_to_sign() {
    let mut network = Network::new(4, 0);
    network.nodes[3].guard.0.lock().unwrap().last =
        Some(LastSigned { height: 50, round: 0, step: crate::Step::Precommit, digest: B256::ZERO });
    network.kill(3);
    network.boot(3);
    network.run(3_000);
    assert!(network.nodes[3].signed.is_empty());
    assert!(network.heights()[0] > 5);
}

#[test]
fn a_partition_heals() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    network.down.extend([0, 1]);
    network.run(6_000);
    let before = network.heights();
    network.down.clear();
    network.run(8_000);
    let after = network.heights();
    assert!(after.iter().all(|height| *height > before[0] + 3), "{before:?} {after:?}");
}
