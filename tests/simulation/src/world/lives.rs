//! How nodes start, die, and find each other.

use super::{Event, World};
use crate::disk::{Database, Disk};
use crate::fault::Fault;
use crate::node::Item;
use crate::stakes::EPOCH_BLOCKS;
use crate::trace::Record;
use rand::Rng;
use std::sync::Arc;

impl World {
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
        self.damage(index);
        let pause = match self.weather.calm {
            true => 200_000,
            // Long enough to have many blocks to fetch.
            false if self.rng.random_bool(0.15) => self.rng.random_range(5_000_000..25_000_000),
            false => self.rng.random_range(100_000..4_000_000),
        };
        self.at(now + pause, Event::Start(index));
    }

    /// While a node is down its log is damaged, or its database becomes another one, when it is time for that.
    fn damage(&mut self, index: usize) {
        let Some(fault) = self.weather.damage_next else { return };
        if self.nodes[index].liar || self.weather.damaged.is_some() || !self.is_dispensable(index) {
            return;
        }
        let committed = self.checker.committed(index);
        let disk = &self.nodes[index].disk;
        let done = match fault {
            Fault::LogLoss => disk.lose_log(),
            Fault::LogDamage => disk.damage_log(&mut self.rng),
            _ => self.replace_database(index, fault),
        };
        if done {
            self.weather.damage_next = None;
            self.weather.damaged = Some((index, committed));
            self.faults.count(fault);
        }
    }

    /// The database below a guard and a log that stay as they are becomes an older one, an empty one, or another honest
    /// node's. False: there is none to be had.
    fn replace_database(&mut self, index: usize, fault: Fault) -> bool {
        let other = match fault {
            Fault::OlderDatabase => self.weather.backups.get(&index).cloned(),
            Fault::ReplacedDatabase => {
                let others: Vec<usize> =
                    (0..self.nodes.len()).filter(|other| *other != index && !self.nodes[*other].liar).collect();
                let other = others.get(self.rng.random_range(0..others.len().max(1)));
                other.map(|other| self.nodes[*other].disk.database())
            }
            _ => Some(Database::default()),
        };
        let Some(other) = other else { return false };
        self.nodes[index].disk.replace_database(&other);
        self.checker.on_restore(index);
        self.weather.wait_for_another(self.now);
        true
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
        // Whoever opens the stream waits until the other one takes it: nobody is blamed.
        if self.links.parted(a, b) || !self.may_open(a, b) || !self.may_open(b, a) {
            self.connect_later(a, b, 1_000_000);
            return;
        }
        let delay = crate::links::base_delay_us(a, b) * 2;
        for (to, from) in [(a, b), (b, a)] {
            let head = self.nodes[from].head().unwrap_or(0);
            let head = self.claimed_height(from, head);
            let incarnation = self.nodes[to].incarnation;
            self.at(self.now + delay, Event::Arrive { to, incarnation, item: Item::Connected(from, head) });
        }
    }

    fn may_open(&mut self, at: usize, peer: usize) -> bool {
        let now_ms = self.now / 1_000;
        self.nodes[at].running.as_mut().is_some_and(|running| running.may_open(peer, now_ms))
    }

    /// Tries to connect later, once.
    pub(crate) fn connect_later(&mut self, a: usize, b: usize, after: u64) {
        // Strangers come by themselves.
        if a.max(b) < self.nodes.len() && self.connecting.insert((a.min(b), a.max(b))) {
            self.at(self.now + after, Event::Connect(a, b));
        }
    }
}
