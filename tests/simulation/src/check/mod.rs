//! The checker: what must hold at every height on every node, computed apart from the nodes.

mod locks;
mod pace;
mod standing;

#[cfg(test)]
mod tests;

pub use standing::Standing;

use crate::config::{Config, PRECISION_MS};
use crate::stakes::EPOCH_BLOCKS;
use alloy_primitives::{Address, B256};
use bttc_types::{
    Block, Certificate, Evidence, ExtraData, SignedProposal, SignedVote, SigningDomain, ValidatorSet, block_time_ms,
    recover,
};
use locks::Locks;
use pace::Pace;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A broken property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which property.
    pub property: &'static str,
    /// What happened.
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}

/// Heights behind the slowest node whose signatures are remembered.
const REMEMBERED: u64 = 64;

/// The checker.
#[derive(Debug)]
pub struct Checker {
    /// Sets by epoch, as they were read from the state in which they were fixed.
    sets: BTreeMap<u64, ValidatorSet>,
    domain: SigningDomain,
    /// Keys that may break any rule.
    liars: BTreeSet<Address>,
    /// Hash and state root decided at each height.
    decided: BTreeMap<u64, (B256, B256)>,
    /// What a key signed at (height, round, step).
    signed: BTreeMap<(u64, u32, u8), HashMap<Address, B256>>,
    /// Transactions in decided blocks, with their height.
    included: HashMap<B256, u64>,
    /// What each node has durably committed.
    committed: Vec<u64>,
    /// How far ahead any honest clock has been, milliseconds.
    latest_clock_ms: u64,
    locks: Locks,
    pace: Pace,
    /// Whether every honest validator must have signed every block.
    all_sign: bool,
    violations: Vec<Violation>,
}

impl Checker {
    /// A checker of a chain.
    pub fn new(genesis: ValidatorSet, domain: SigningDomain, liars: BTreeSet<Address>, config: &Config) -> Self {
        Self {
            sets: BTreeMap::from([(0, genesis.clone()), (1, genesis)]),
            domain,
            liars,
            decided: BTreeMap::new(),
            signed: BTreeMap::new(),
            included: HashMap::new(),
            committed: vec![0; config.nodes],
            latest_clock_ms: 0,
            locks: Locks::default(),
            pace: Pace::new(config.target_block_time_ms),
            all_sign: config.is_steady(),
            violations: Vec::new(),
        }
    }

    /// The set of an epoch was fixed.
    pub fn on_set(&mut self, epoch: u64, set: ValidatorSet) {
        if let Some(before) = self.sets.insert(epoch, set.clone())
            && before != set
        {
            self.violated("equal sets", format!("epoch {epoch} has two sets"));
        }
    }

    /// The set that signs a height, its rotation advanced to it; the latest known one for heights too far ahead.
    pub fn set_at(&self, height: u64) -> ValidatorSet {
        let position = height.saturating_sub(1);
        let epoch = position / EPOCH_BLOCKS;
        #[allow(clippy::expect_used)] // The genesis set is there from the beginning.
        let set = self.sets.range(..=epoch).next_back().map(|(_, set)| set).expect("the genesis set");
        set.advanced(position % EPOCH_BLOCKS)
    }

    /// Whether a new set comes into force with this height.
    pub fn changes_at(&self, height: u64) -> bool {
        let position = height.saturating_sub(1);
        let epoch = position / EPOCH_BLOCKS;
        epoch > 0 && position.is_multiple_of(EPOCH_BLOCKS) && self.sets.get(&epoch) != self.sets.get(&(epoch - 1))
    }

    /// What was found.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Reports a broken property.
    pub fn violated(&mut self, property: &'static str, detail: String) {
        if self.violations.len() < 20 {
            self.violations.push(Violation { property, detail });
        }
    }

    /// Greatest decided height.
    pub fn height(&self) -> u64 {
        self.decided.keys().next_back().copied().unwrap_or(0)
    }

    /// Height in which a transaction was decided.
    pub fn included(&self, transaction: &B256) -> Option<u64> {
        self.included.get(transaction).copied()
    }

    /// Number of decided transactions.
    pub fn transactions(&self) -> usize {
        self.included.len()
    }

    /// What a node has committed.
    pub fn committed(&self, node: usize) -> u64 {
        self.committed.get(node).copied().unwrap_or(0)
    }

    /// A node committed a block.
    pub fn on_commit(&mut self, node: usize, block: &Block, hash: B256, certificate: &Certificate, durable: bool) {
        let height = block.header.number;
        let known = self.decided.get(&height).copied();
        match known {
            Some((other, _)) if other != hash => {
                self.violated("agreement", format!("height {height}: node {node} committed {hash}, others {other}"));
            }
            Some((_, root)) if root != block.header.state_root => {
                self.violated("equal state", format!("height {height}: node {node} has another state root"));
            }
            Some(_) => {}
            None => {
                self.decided.insert(height, (hash, block.header.state_root));
                for transaction in &block.transactions {
                    if let Some(before) = self.included.insert(*transaction.tx_hash(), height) {
                        let hash = transaction.tx_hash();
                        self.violated("once", format!("transaction {hash} is in blocks {before} and {height}"));
                    }
                }
                self.check_first(block, certificate);
            }
        }
        self.check_certificate(node, hash, height, certificate);
        let Some(committed) = self.committed.get_mut(node) else { return };
        if durable {
            let expected = *committed;
            *committed = height.max(expected);
        }
        let least = self.committed.iter().min().copied().unwrap_or(0).saturating_sub(REMEMBERED);
        self.signed.retain(|(height, ..), _| *height >= least);
        self.locks.forget_below(least);
    }

    /// What the block says of itself.
    fn check_first(&mut self, block: &Block, certificate: &Certificate) {
        let height = block.header.number;
        let time_ms = block_time_ms(&block.header);
        if time_ms > self.latest_clock_ms.saturating_add(PRECISION_MS) {
            let ahead = time_ms.saturating_sub(self.latest_clock_ms);
            self.violated("time", format!("block {height} is {ahead} ms ahead of every honest clock"));
        }
        match ExtraData::decode(&block.header.extra_data) {
            Err(error) => self.violated("own round", format!("block {height}: {error}")),
            // Whoever counts to a round that was never reached may never end.
            Ok(extra) if extra.round > certificate.round => {
                let (named, decided) = (extra.round, certificate.round);
                self.violated("own round", format!("block {height} names round {named} and was decided in {decided}"));
            }
            Ok(extra) => self.check_proposer(block, extra.round),
        }
        if self.all_sign && height > 2 {
            self.check_signers(&block.last_commit);
        }
    }

    /// Nobody honest is missing among those who signed the parent.
    fn check_signers(&mut self, commit: &Certificate) {
        let set = self.set_at(commit.height);
        for (index, validator) in set.validators().iter().enumerate() {
            let signed = commit.signatures.iter().any(|entry| usize::from(entry.index) == index);
            if !signed && !self.liars.contains(&validator.address) {
                let (height, address) = (commit.height, validator.address);
                self.violated("signers", format!("the last commit for block {height} lacks honest {address}"));
            }
        }
    }

    /// The block was built by the proposer of the round in which it says it was built.
    fn check_proposer(&mut self, block: &Block, round: u32) {
        let height = block.header.number;
        let proposer = self.set_at(height).proposer(round).address;
        // A liar in turn may name any beneficiary.
        if block.header.beneficiary != proposer && !self.liars.contains(&proposer) {
            let got = block.header.beneficiary;
            self.violated("proposer", format!("block {height} of round {round} was built by {got}, not by {proposer}"));
        }
    }

    /// More than two thirds of the power signed, each of them once and well. The set is the one that the state fixed, the signatures
    /// are recovered here: nothing of the node's own verification is used.
    fn check_certificate(&mut self, node: usize, hash: B256, height: u64, certificate: &Certificate) {
        let set = self.set_at(height);
        let mut seen = BTreeSet::new();
        let mut power = 0u64;
        let mut problem = None;
        if (certificate.height, certificate.block_hash) != (height, hash) {
            problem = Some("it is for another block".to_owned());
        }
        for entry in &certificate.signatures {
            let Some(validator) = set.validators().get(usize::from(entry.index)) else {
                problem = Some(format!("no validator has index {}", entry.index));
                break;
            };
            let digest = self.domain.vote_digest(&certificate.vote(validator.address));
            if recover(digest, &entry.signature) != Ok(validator.address) {
                problem = Some(format!("signature {} is not of {}", entry.index, validator.address));
                break;
            }
            if seen.insert(entry.index) {
                power += validator.power;
            }
        }
        let total: u64 = set.validators().iter().map(|validator| validator.power).sum();
        if problem.is_none() && power * 3 <= total * 2 {
            problem = Some(format!("its signers hold {power} of {total}"));
        }
        if let Some(problem) = problem {
            self.violated("valid certificate", format!("height {height}, node {node}: {problem}"));
        }
    }

    /// An honest clock showed this, milliseconds.
    pub fn note_clock(&mut self, wall_ms: u64) {
        self.latest_clock_ms = self.latest_clock_ms.max(wall_ms);
    }

    /// Whether the network has been left alone for a while, as far as faults of links, disks and clocks go.
    pub fn set_settled(&mut self, settled: bool) {
        self.pace.set_settled(settled);
    }

    /// An honest node began a height.
    pub fn on_height_started(&mut self, node: usize, height: u64, time_us: u64) {
        if let Some(problem) = self.pace.started(node, height, time_us) {
            self.violated("block time", problem);
        }
    }

    /// A node takes over a block that others decided.
    pub fn on_synced(&mut self, node: usize) {
        self.pace.lost_track(node);
    }

    /// A node published a vote of its own.
    pub fn on_vote(&mut self, vote: &SignedVote) {
        if !self.liars.contains(&vote.vote.validator) {
            let set = self.set_at(vote.vote.height);
            if let Some(problem) = self.locks.on_vote(&vote.vote, &set, &self.liars) {
                self.violated("lock", problem);
            }
        }
        let digest = self.domain.vote_digest(&vote.vote);
        self.on_signature(vote.vote.validator, vote.vote.height, vote.vote.round, vote.vote.kind.code(), digest);
    }

    /// A node published a proposal of its own.
    pub fn on_proposal(&mut self, proposal: &SignedProposal) {
        let digest = self.domain.proposal_digest(&proposal.proposal);
        let plain = &proposal.proposal;
        self.on_signature(plain.proposer, plain.height, plain.round, 0, digest);
    }

    fn on_signature(&mut self, key: Address, height: u64, round: u32, step: u8, digest: B256) {
        if self.liars.contains(&key) {
            return;
        }
        let before = self.signed.entry((height, round, step)).or_default().insert(key, digest);
        if before.is_some_and(|before| before != digest) {
            let detail = format!("{key} signed twice at height {height}, round {round}, step {step}");
            self.violated("one signature a step", detail);
        }
    }

    /// A node found or accepted evidence.
    pub fn on_evidence(&mut self, node: usize, evidence: &Evidence) {
        let accused = evidence.validator();
        if !self.liars.contains(&accused) {
            let height = evidence.height();
            self.violated("no honest accused", format!("node {node} accuses {accused} at height {height}"));
        }
    }

    /// A node's disk was replaced by an older copy: what it had committed may be gone.
    pub fn on_restore(&mut self, node: usize) {
        if let Some(committed) = self.committed.get_mut(node) {
            *committed = 0;
        }
    }

    /// A node started: what it had committed durably must be there.
    pub fn on_start(&mut self, node: usize, head: u64, hash: B256) {
        self.pace.lost_track(node);
        let committed = self.committed(node);
        if head < committed {
            self.violated("nothing lost", format!("node {node} had committed {committed} and starts at {head}"));
        }
        if let Some((decided, _)) = self.decided.get(&head)
            && *decided != hash
        {
            self.violated("agreement", format!("node {node} starts on another block {head}"));
        }
        // A commit may have reached the disk without anybody hearing of it.
        if let Some(entry) = self.committed.get_mut(node) {
            *entry = head.max(committed);
        }
    }
}
