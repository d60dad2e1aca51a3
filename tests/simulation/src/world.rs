//! The world: nodes, links and clients under virtual time. One seed gives one run.

use crate::byzantine::Byzantine;
use crate::check::{Checker, Violation};
use crate::client::Clients;
use crate::config::Config;
use crate::disk::Disk;
use crate::fault::{Fault, FaultCounts};
use crate::links::Links;
use crate::node::{Item, Node, Payload};
use crate::stakes::{EPOCH_BLOCKS, Members, Stakes};
use crate::trace::{Record, Trace};
use crate::weather::Weather;
use alloy_primitives::{Address, B256, keccak256};
use bttc_engine::EngineConfig;
use bttc_genesis::{ChainSpec, GenesisValidator, Preset};
use bttc_types::SecretKey;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
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
    /// A node dies, if it has not died at its crash point before.
    Kill(usize, u32),
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
    /// A node that stays down until it is released.
    held: Option<usize>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

/// A node's consensus key.
fn key(index: usize) -> SecretKey {
    let seed = keccak256([b"bttc simulation key".as_slice(), &(index as u64).to_be_bytes()].concat());
    #[allow(clippy::expect_used)] // A hash is below the group order but for one in 2^128.
    SecretKey::from_bytes(&seed.0).expect("a valid key")
}

impl World {
    /// A world before its first moment.
    pub fn new(config: Config) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let mut liars = draw_liars(&config, &mut rng);
        if let Some(follower) = config.follower {
            liars[follower] = false;
        }
        let mut keys: Vec<SecretKey> = (0..config.nodes).map(key).collect();
        let twins = draw_twins(&config, &mut liars, &mut rng);
        if let Some((first, second)) = twins {
            keys[second] = keys[first].clone();
        }
        let addresses: Vec<Address> = keys.iter().map(SecretKey::address).collect();
        let follower = config.follower.map(|index| addresses[index]);
        let percent = config.byzantine_percent;
        let changing = config.faults.has(Fault::SetChange) && percent.is_none();
        let members = Members { keys: &addresses, byzantine: &liars, percent, follower, changing };
        // Reported liars leave the set: most runs keep them.
        let reports = changing && rng.random_bool(0.3);
        let (stakes, validators) = Stakes::draw(members, reports, &mut rng);
        let honest = liars.iter().all(|liar| !liar);
        let spec = Arc::new(chain_spec(&config, validators, &stakes, honest));
        let links = Links::new(config.nodes, config.topology, &mut rng);
        let mut nodes: Vec<Node> =
            keys.into_iter().zip(&liars).enumerate().map(|(index, (key, liar))| Node::new(index, key, *liar)).collect();
        for node in &mut nodes {
            node.twin = twins.is_some_and(|(first, second)| [first, second].contains(&node.index));
            if node.liar && !node.twin && !config.faults.among(Fault::BYZANTINE).is_empty() {
                node.byzantine = Some(Byzantine::default());
            }
        }
        let genesis = {
            let store = bttc_state::StateStore::open(
                Arc::new(bttc_state::MemoryStore::new()),
                bttc_state::StoreOptions::default(),
            );
            store.ok().and_then(|store| bttc_executor::Executor::open(Arc::new(store), Arc::clone(&spec)).ok())
        };
        #[allow(clippy::expect_used)] // A drawn specification is valid, and memory does not fail.
        let domain = genesis.expect("the genesis block can be built").domain().clone();
        let liars = nodes.iter().filter(|node| node.liar).map(|node| node.key.address()).collect();
        #[allow(clippy::expect_used)] // The specification was validated.
        let genesis_set = spec.genesis_set().expect("a valid set");
        let checker = Checker::new(genesis_set, domain, liars, config.nodes);
        let clients = Clients::new(spec.chain_id(), spec.bttc.params.min_base_fee, config.transaction_bytes);
        let mut world = Self {
            rng,
            now: 0,
            sequence: 0,
            events: BinaryHeap::new(),
            waiting: HashMap::new(),
            nodes,
            links,
            checker,
            stakes,
            faults: FaultCounts::default(),
            trace: Trace::default(),
            clients,
            spec,
            weather: Weather::default(),
            proposed_at: HashMap::new(),
            finality: Vec::new(),
            messages: 0,
            extra_rounds: 0,
            accused: BTreeSet::new(),
            connecting: BTreeSet::new(),
            jailed: BTreeMap::new(),
            tombstoned: BTreeSet::new(),
            jailings: 0,
            held: None,
            config,
        };
        for index in 0..world.nodes.len() {
            world.at(0, Event::Start(index));
        }
        world.at(10_000, Event::Weather);
        world.at(200_000, Event::Clients);
        world
    }

    /// The engine's times: short ones, as in a local network, but wide enough for the world's longest links.
    pub(crate) fn engine_config(&self) -> EngineConfig {
        EngineConfig {
            target_block_time_ms: self.config.target_block_time_ms,
            empty_block_interval_ms: 1_000,
            precision_ms: 500,
            message_delay_ms: 1_000,
            propose_timeout_ms: 1_000,
            vote_timeout_ms: 500,
            timeout_delta_ms: 250,
            rebroadcast_ms: 1_000,
            listen_ms: 3_000,
            sync_timeout_ms: 3_000,
        }
    }

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

    /// Kills a node and gives it another disk: an older copy of its own.
    pub fn restore(&mut self, index: usize, disk: Disk) {
        self.kill(index);
        self.nodes[index].disk = disk;
        self.checker.on_restore(index);
        self.weather.restored.insert(index);
    }

    /// Kills a node and keeps it down until [`Self::release`]; nobody waits for it meanwhile.
    pub fn hold(&mut self, index: usize) {
        self.held = Some(index);
        self.kill(index);
    }

    /// Starts the node that is held.
    pub fn release(&mut self) {
        if let Some(index) = self.held.take() {
            self.weather.wait_for_another(self.now);
            self.at(self.now, Event::Start(index));
        }
    }

    /// Makes everything from and to a node slower, for the rest of the run.
    pub fn slow_down(&mut self, index: usize, extra_us: u64) {
        self.links.slow_down(index, extra_us);
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

    /// Starts a node; what its disk holds must be enough.
    pub(crate) fn start(&mut self, index: usize) {
        if self.nodes[index].running.is_some() || self.held == Some(index) {
            return;
        }
        let config = self.engine_config();
        let spec = Arc::clone(&self.spec);
        let now = self.now;
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        node.halted = false;
        node.busy_until = now;
        node.wake_at = None;
        let hurt = node.disk.is_hurt();
        node.disk.revive();
        self.trace.record(Record::Life, now, index, b"start");
        match node.start(&spec, config, now) {
            Ok(outputs) => {
                if let Some(running) = &node.running
                    && let Some(head) = running.application.executor.store().head()
                {
                    self.checker.on_start(index, head.height, head.hash);
                }
                self.perform(index, outputs, now);
                if self.nodes[index].disk.is_dead() {
                    self.kill(index);
                    return;
                }
                let peers = self.links.peers[index].clone();
                for peer in peers {
                    self.connect(index, peer);
                }
                self.rest(index, now);
            }
            Err(_) if hurt || self.nodes[index].disk.is_dead() || self.weather.full.contains_key(&index) => {
                self.nodes[index].disk.die();
                self.at(now + 1_000_000, Event::Start(index));
            }
            Err(error) => self.checker.violated("restart", format!("node {index} cannot start: {error}")),
        }
    }

    /// A node dies: what was not synced is gone, its peers notice, and it is started again some time later.
    pub(crate) fn kill(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        node.running = None;
        node.inbox.clear();
        node.incarnation += 1;
        node.wake_at = None;
        node.disk.die();
        for fault in node.disk.power_cut(&mut self.rng) {
            self.faults.count(fault);
        }
        self.trace.record(Record::Life, now, index, b"death");
        for peer in self.links.peers[index].clone() {
            let incarnation = self.nodes[peer].incarnation;
            self.at(now + 50_000, Event::Arrive { to: peer, incarnation, item: Item::Gone(index) });
        }
        if let Some(fault) = self.weather.damage_next
            && !self.nodes[index].liar
            && self.weather.damaged.is_none()
            && self.is_dispensable(index)
        {
            let disk = &self.nodes[index].disk;
            let done = if fault == Fault::LogLoss { disk.lose_log() } else { disk.damage_log(&mut self.rng) };
            if done {
                self.weather.damage_next = None;
                self.weather.damaged = Some((index, self.checker.committed(index)));
                self.faults.count(fault);
            }
        }
        let pause = match self.weather.calm {
            true => 200_000,
            // Long enough to have many blocks to fetch.
            false if self.rng.random_bool(0.15) => self.rng.random_range(5_000_000..25_000_000),
            false => self.rng.random_range(100_000..4_000_000),
        };
        self.at(now + pause, Event::Start(index));
    }

    /// Whether the others can decide the coming heights without a node.
    fn is_dispensable(&self, index: usize) -> bool {
        let address = self.nodes[index].key.address();
        let height = self.checker.height();
        (height.saturating_sub(2)..height + 2 * EPOCH_BLOCKS).all(|height| {
            let set = self.checker.set_at(height.max(1));
            set.find(&address).is_none_or(|(_, own)| own.power * 3 < set.total_power())
        })
    }

    /// Two nodes connect, if they can; otherwise they try again later.
    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        let pair = (a.min(b), a.max(b));
        self.connecting.remove(&pair);
        if self.nodes[a].running.is_none() || self.nodes[b].running.is_none() {
            // Whoever starts connects.
            return;
        }
        if self.links.parted(a, b) {
            self.connect_later(a, b, 1_000_000);
            return;
        }
        let delay = crate::links::base_delay_us(a, b) * 2;
        for (to, from) in [(a, b), (b, a)] {
            let head = self.nodes[from].head().unwrap_or(0);
            let incarnation = self.nodes[to].incarnation;
            self.at(self.now + delay, Event::Arrive { to, incarnation, item: Item::Connected(from, head) });
        }
    }

    /// Tries to connect later, once.
    pub(crate) fn connect_later(&mut self, a: usize, b: usize, after: u64) {
        if self.connecting.insert((a.min(b), a.max(b))) {
            self.at(self.now + after, Event::Connect(a, b));
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
        let incarnation = self.nodes[to].incarnation;
        for arrival in self.links.arrivals(from, to, time, &mut self.rng, &mut self.faults).into_iter().flatten() {
            self.at(arrival, Event::Arrive { to, incarnation, item: item.clone() });
        }
    }

    /// Clients send new transactions, and old ones that are not final yet again.
    fn on_clients(&mut self) {
        /// How long a client waits for a block before it sends again.
        const PATIENCE_US: u64 = 5_000_000;
        let rate = self.config.transactions_per_second;
        if rate <= 0.0 {
            return;
        }
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|index| self.nodes[*index].running.is_some()).collect();
        self.clients.open.retain(|sent| self.checker.included(&sent.transaction.hash()).is_none());
        if !alive.is_empty() {
            let mut batch = Vec::new();
            // The clients stop when the run is about to end, so that all they sent can become final.
            if self.least_height() < self.config.heights {
                for _ in 0..self.batch_size() {
                    let account = self.rng.random_range(0..10);
                    batch.extend(self.clients.make(account, self.now));
                }
                batch.extend(self.stake_transactions());
            }
            let now = self.now;
            for sent in self.clients.open.iter_mut().filter(|sent| now.saturating_sub(sent.at) > PATIENCE_US) {
                sent.at = now;
                batch.push(Arc::clone(&sent.transaction));
            }
            for transaction in batch {
                let targets =
                    if self.config.transactions_everywhere { alive.clone() } else { alive.choose_one(&mut self.rng) };
                for to in targets {
                    let incarnation = self.nodes[to].incarnation;
                    let item = Item::Submitted(Arc::clone(&transaction));
                    self.at(self.now + 1_000, Event::Arrive { to, incarnation, item });
                }
            }
        }
        let pause = (1_000_000.0 * self.batch_size() as f64 / rate) as u64;
        self.at(self.now + pause.max(1), Event::Clients);
    }

    /// What owners of validators do now.
    fn stake_transactions(&mut self) -> Vec<Arc<bttc_types::RecoveredTransaction>> {
        let (clients, now) = (&mut self.clients, self.now);
        self.stakes.act(self.checker.height(), &self.jailed, &mut self.rng, &mut |sender, to, value, input| {
            clients.call(sender, to, value, input, now)
        })
    }

    /// Transactions that are sent at once: more than one when there are many.
    fn batch_size(&self) -> u64 {
        ((self.config.transactions_per_second / 20.0) as u64).max(1)
    }
}

/// One of several.
trait ChooseOne {
    fn choose_one(&self, rng: &mut ChaCha8Rng) -> Vec<usize>;
}

impl ChooseOne for Vec<usize> {
    fn choose_one(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        vec![self[rng.random_range(0..self.len())]]
    }
}

/// Which nodes are liars: any number up to what a third of the nodes allows.
fn draw_liars(config: &Config, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let mut liars = vec![false; config.nodes];
    let wanted = config.faults.has(Fault::Twin) || !config.faults.among(Fault::BYZANTINE).is_empty();
    if wanted || config.byzantine_percent.is_some() {
        let most = (config.nodes - 1) / 3;
        let count = match config.byzantine_percent {
            Some(percent) => (config.nodes * percent as usize / 100).max(1),
            // A run without liars leaves the faults of disks more room.
            None if rng.random_bool(0.2) => 0,
            None => rng.random_range(1..=most.max(1)).min(most),
        };
        let mut order: Vec<usize> = (0..config.nodes).collect();
        order.shuffle(rng);
        for index in order.into_iter().take(count) {
            liars[index] = true;
        }
    }
    liars
}

/// Two nodes with one key: two of the liars, or a lone liar and a node that becomes one. They hold the power of one.
fn draw_twins(config: &Config, liars: &mut [bool], rng: &mut ChaCha8Rng) -> Option<(usize, usize)> {
    if !config.faults.has(Fault::Twin) || config.byzantine_percent.is_some() || !rng.random_bool(0.5) {
        return None;
    }
    let list: Vec<usize> = (0..config.nodes).filter(|index| liars[*index]).collect();
    match list.as_slice() {
        [] => None,
        [only] => {
            let other = (only + 1) % config.nodes;
            liars[other] = true;
            Some((*only, other))
        }
        [first, .., last] => Some((*first, *last)),
    }
}

fn chain_spec(config: &Config, validators: Vec<GenesisValidator>, stakes: &Stakes, honest: bool) -> ChainSpec {
    #[allow(clippy::expect_used)] // A network with one validator of the preset's kind is valid.
    let mut spec = ChainSpec::new(
        Preset::Local,
        1_699_999_000,
        vec![GenesisValidator {
            address: Address::repeat_byte(1),
            owner: Address::repeat_byte(1),
            power: 1_000,
            bridge: None,
        }],
    )
    .expect("a valid specification");
    let params = &mut spec.bttc.params;
    params.epoch_blocks = EPOCH_BLOCKS;
    params.max_validators = config.nodes.max(10) as u64 + 1;
    params.target_block_time_ms = config.target_block_time_ms;
    params.empty_block_interval_ms = 1_000;
    params.message_delay_ms = 1_000;
    params.power_unit = 1;
    params.min_self_stake = 1;
    params.unbonding_seconds = 60;
    params.downtime_window = 40;
    params.downtime_jail_seconds = 5;
    // Where somebody lies, jail for downtime could give the liars a third.
    params.min_active_validators = if honest { 3 } else { params.max_validators - 1 };
    spec.bttc.validators = validators;
    stakes.fund(&mut spec);
    #[allow(clippy::expect_used)]
    spec.validate().expect("a valid specification");
    spec
}
