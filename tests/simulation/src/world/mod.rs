//! The world: nodes, links and clients under virtual time. One seed gives one run.

mod clients;
mod lives;
mod setup;

use crate::byzantine::{Audience, Plan};
use crate::check::{Checker, Standing, Violation};
use crate::client::Clients;
use crate::config::Config;
use crate::fault::FaultCounts;
use crate::flood::{Strangers, Watch};
use crate::links::{Links, Sending};
use crate::node::{Item, Node, Payload};
use crate::stakes::Stakes;
use crate::trace::{Record, Trace};
use crate::weather::Weather;
use alloy_primitives::{Address, B256};
use bttc_engine::Message;
use bttc_genesis::ChainSpec;
use bttc_node::lane_of;
use bttc_types::SigningDomain;
use rand_chacha::ChaCha8Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something arrives at a node, if it still is the same run of it.
    Arrive { to: usize, incarnation: u32, item: Item },
    /// A node's core gets to work.
    Wake(usize),
    /// A node is started.
    Start(usize),
    /// Two nodes connect.
    Connect(usize, usize),
    /// Faults begin and end.
    Weather,
    /// Clients send.
    Clients,
    /// A flood goes on.
    Flood,
    /// A node dies, if it has not died at its crash point before.
    Kill(usize, u32),
    /// A liar publishes something later than its engine did, if it still is the same run of it.
    Say { from: usize, incarnation: u32, audience: Audience, message: Box<Message> },
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Height that every honest node has committed.
    pub height: u64,
    /// Virtual time, microseconds.
    pub virtual_us: u64,
    /// From the request to build a block until a node has committed it, microseconds, sorted.
    pub finality_us: Vec<u64>,
    /// How often each fault fired.
    pub faults: FaultCounts,
    /// What was violated.
    pub violations: Vec<Violation>,
    /// Hash over everything.
    pub trace: B256,
    /// Messages sent.
    pub messages: u64,
    /// Effects on all disks.
    pub effects: u64,
    /// Transactions in blocks.
    pub transactions: usize,
    /// Rounds after the first that were needed, over decided heights.
    pub extra_rounds: u64,
    /// Evidence found against liars.
    pub evidence: usize,
    /// Validators that were slashed for signing twice.
    pub tombstoned: usize,
    /// How often downtime put a validator in jail.
    pub jailings: u64,
    /// In a flood: the longest that a height with an honest first proposer took, microseconds.
    pub longest_us: u64,
    /// In a flood: the most that waited for a node's core, bytes.
    pub waiting: usize,
}

/// The world.
pub struct World {
    pub(crate) config: Config,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) now: u64,
    sequence: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: HashMap<u64, Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Links,
    pub(crate) checker: Checker,
    pub(crate) stakes: Stakes,
    pub(crate) faults: FaultCounts,
    pub(crate) trace: Trace,
    pub(crate) clients: Clients,
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) weather: Weather,
    pub(crate) proposed_at: HashMap<B256, u64>,
    pub(crate) finality: Vec<u64>,
    pub(crate) messages: u64,
    pub(crate) extra_rounds: u64,
    pub(crate) accused: BTreeSet<(Address, u64)>,
    pub(crate) connecting: BTreeSet<(usize, usize)>,
    /// Owners whose validators are jailed, as the latest epoch's state says.
    pub(crate) jailed: BTreeMap<Address, bool>,
    /// Owners whose validators were slashed for signing twice.
    pub(crate) tombstoned: BTreeSet<Address>,
    pub(crate) jailings: u64,
    /// Everybody's keys, and the network's signing domain.
    pub(crate) members: Vec<Address>,
    pub(crate) domain: SigningDomain,
    /// What liars agreed on.
    pub(crate) plan: Option<Plan>,
    /// How often nodes blame peers.
    pub(crate) standing: Standing,
    /// Peers that are no nodes.
    pub(crate) strangers: Strangers,
    /// How the network stands a flood.
    pub(crate) watch: Watch,
    /// A node that stays down until it is released.
    held: Option<usize>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl World {
    /// Schedules an event.
    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((time.max(self.now), self.sequence)));
        self.waiting.insert(self.sequence, event);
    }

    /// Has a node's core look at its work at a moment, or earlier.
    pub(crate) fn wake(&mut self, node: usize, time: u64) {
        let time = time.max(self.now);
        if self.nodes[node].wake_at.is_none_or(|already| already > time) {
            self.nodes[node].wake_at = Some(time);
            self.at(time, Event::Wake(node));
        }
    }

    /// Lets one event happen; false when there is none.
    pub fn step(&mut self) -> bool {
        let Some(Reverse((time, sequence))) = self.events.pop() else { return false };
        self.now = time;
        let Some(event) = self.waiting.remove(&sequence) else { return true };
        match event {
            Event::Arrive { to, incarnation, item } => {
                if self.nodes[to].incarnation == incarnation && self.nodes[to].running.is_some() {
                    self.nodes[to].inbox.push_back(item);
                    let ready = self.nodes[to].busy_until;
                    self.wake(to, ready);
                }
            }
            Event::Wake(node) => {
                if self.nodes[node].wake_at == Some(time) {
                    self.nodes[node].wake_at = None;
                    self.work(node);
                }
            }
            Event::Start(node) => self.start(node),
            Event::Connect(a, b) => self.connect(a, b),
            Event::Weather => self.on_weather(),
            Event::Clients => self.on_clients(),
            Event::Flood => self.on_flood(),
            Event::Say { from, incarnation, audience, message } => {
                if self.nodes[from].incarnation == incarnation && self.nodes[from].running.is_some() {
                    self.gossip(from, lane_of(&message), message.encode().into(), audience, time);
                }
            }
            Event::Kill(node, incarnation) => {
                if self.nodes[node].incarnation == incarnation && self.nodes[node].running.is_some() {
                    self.kill(node);
                }
            }
        }
        true
    }

    /// Whether the run is over: everybody honest has committed its last height, or something is broken.
    pub fn is_over(&self) -> bool {
        !self.checker.violations().is_empty()
            || self.config.ends_at_us().is_some_and(|end| self.now >= end)
            || (self.least_height() >= self.config.heights && self.weather.calm_or_off(&self.config.faults))
    }

    /// The height that every honest node has committed.
    pub fn least_height(&self) -> u64 {
        let honest = self.nodes.iter().filter(|node| !node.liar && self.held != Some(node.index));
        honest.map(|node| self.checker.committed(node.index)).min().unwrap_or(0)
    }

    /// The time, microseconds from the start.
    pub fn virtual_us(&self) -> u64 {
        self.now
    }

    /// A node.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Makes everything from and to a node slower, for the rest of the run.
    pub fn slow_down(&mut self, index: usize, extra_us: u64) {
        self.links.slow_down(index, extra_us);
    }

    /// Sets how far a node's wall clock is ahead, milliseconds.
    pub fn set_clock(&mut self, index: usize, ahead_ms: i64) {
        self.note_clocks(self.now);
        self.nodes[index].skew_ms = ahead_ms;
    }

    /// The height that a node has durably committed.
    pub fn committed(&self, index: usize) -> u64 {
        self.checker.committed(index)
    }

    /// Runs to the end.
    pub fn run(mut self) -> Report {
        /// Signatures remembered for all nodes together.
        const REMEMBERED: usize = 1 << 16;
        bttc_types::remember_recoveries(REMEMBERED);
        while !self.is_over() && self.step() {}
        self.finish()
    }

    /// The report of what has happened so far.
    pub fn finish(mut self) -> Report {
        self.check_states();
        for index in 0..self.nodes.len() {
            let written = self.nodes[index].disk.written();
            self.trace.record(Record::Writes, self.now, index, written.as_slice());
        }
        self.finality.sort_unstable();
        Report {
            height: self.least_height(),
            virtual_us: self.now,
            finality_us: self.finality,
            faults: self.faults,
            violations: self.checker.violations().to_vec(),
            trace: self.trace.finish(),
            messages: self.messages,
            effects: self.nodes.iter().map(|node| node.disk.counts().effects).sum(),
            transactions: self.checker.transactions(),
            extra_rounds: self.extra_rounds,
            evidence: self.accused.len(),
            tombstoned: self.tombstoned.len(),
            jailings: self.jailings,
            longest_us: self.watch.longest,
            waiting: self.watch.waiting,
        }
    }

    /// Recomputes each honest node's state root from its flat records, from nothing.
    fn check_states(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].liar {
                continue;
            }
            let tables = self.nodes[index].disk.tables();
            match bttc_state::check_full(tables.as_ref()) {
                Ok(report) if report.problems.is_empty() => {}
                Ok(report) => {
                    self.checker.violated("equal state", format!("node {index}: {}", report.problems.join("; ")))
                }
                Err(error) => self.checker.violated("equal state", format!("node {index}: {error}")),
            }
        }
    }

    /// Whether a peer may break any rule: a liar, or a stranger.
    pub(crate) fn is_liar(&self, peer: usize) -> bool {
        self.nodes.get(peer).is_none_or(|node| node.liar)
    }

    /// Tells the checker how far ahead any honest clock has been.
    pub(crate) fn note_clocks(&mut self, time: u64) {
        let clocks = self.nodes.iter().filter(|node| !node.liar).map(|node| node.clock(time).wall_ms);
        if let Some(latest) = clocks.max() {
            self.checker.note_clock(latest);
        }
    }

    /// Sends bytes over a link.
    pub(crate) fn send(&mut self, from: usize, to: usize, time: u64, payload: &Arc<Payload>) {
        self.trace.record(Record::Message, time, from, payload.hash.as_slice());
        self.messages += 1;
        self.send_item(from, to, time, Item::Gossip(from, Arc::clone(payload)));
    }

    /// Sends something over a link.
    pub(crate) fn send_item(&mut self, from: usize, to: usize, time: u64, item: Item) {
        let sending = Sending { from, to, now: time, bytes: item.bytes() };
        // Strangers have numbers above the nodes', and nobody is at home there.
        let Some(incarnation) = self.nodes.get(to).map(|node| node.incarnation) else {
            self.strangers.receive(&mut self.links, sending);
            return;
        };
        for arrival in self.links.arrivals(sending, &mut self.rng, &mut self.faults).into_iter().flatten() {
            self.at(arrival, Event::Arrive { to, incarnation, item: item.clone() });
        }
    }
}
