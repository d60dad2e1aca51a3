//! Storms and calms: when faults begin, when everything is healed, and whether the chain then moves.

use crate::disk::{Database, Moment};
use crate::fault::{Fault, FaultSet};
use crate::world::{Event, World};
use bttc_engine::Signing;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// How often faults are looked at.
const TICK_US: u64 = 100_000;

/// How long the chain may stand still once all is healed.
pub const STALL_US: u64 = 60_000_000;

/// Heights that every honest node must commit in a calm before the next storm.
const CALM_HEIGHTS: u64 = 2;

/// The weather.
#[derive(Debug)]
pub struct Weather {
    /// Whether faults are paused and healed.
    pub calm: bool,
    /// When this storm ends.
    until: u64,
    /// When this calm began, and the height that must be reached in it.
    calm_since: u64,
    calm_target: u64,
    /// Nodes whose disks are full, until when.
    pub full: BTreeMap<usize, u64>,
    /// Whether the next node that dies finds its log damaged or gone.
    pub damage_next: Option<Fault>,
    /// A node without a good log, and its head at that time: there is one at a time, until the chain is past that.
    pub damaged: Option<(usize, u64)>,
    /// Older copies of databases.
    pub backups: BTreeMap<usize, Database>,
    /// Nodes whose disks were replaced by old copies: they must not sign again, and no operator helps them.
    pub restored: BTreeSet<usize>,
    /// Last progress of the slowest honest node: height and time.
    progress: (u64, u64),
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            calm: true,
            until: 0,
            calm_since: 0,
            calm_target: CALM_HEIGHTS,
            full: BTreeMap::new(),
            damage_next: None,
            damaged: None,
            backups: BTreeMap::new(),
            restored: BTreeSet::new(),
            progress: (0, 0),
        }
    }
}

impl Weather {
    /// A node that was away counts again: progress is measured by it from now on.
    pub fn wait_for_another(&mut self, now: u64) {
        self.progress = (0, now);
    }

    /// Whether a run may end now.
    pub fn calm_or_off(&self, faults: &FaultSet) -> bool {
        self.calm || *faults == FaultSet::none()
    }
}

/// Faults that begin by chance during a storm.
const STORM: &[Fault] = &[
    Fault::Loss,
    Fault::Duplication,
    Fault::Reordering,
    Fault::Slowness,
    Fault::Partition,
    Fault::Crash,
    Fault::FailedSync,
    Fault::FullDisk,
    Fault::LogDamage,
    Fault::LogLoss,
    Fault::ClockSkew,
    Fault::OlderDatabase,
    Fault::EmptiedDatabase,
    Fault::ReplacedDatabase,
    Fault::ClocksApart,
];

/// How far clocks are apart in [`Fault::ClocksApart`], milliseconds.
const APART_MS: i64 = 10_000;

/// How far an honest clock is off at most otherwise, milliseconds: two of them differ by the precision.
const SKEW_MS: i64 = 240;

/// How long after the beginning of a calm the pace of heights is judged.
const SETTLED_US: u64 = 5_000_000;

impl World {
    pub(crate) fn on_weather(&mut self) {
        let now = self.now;
        if self.links.expire(now) {
            self.reconnect_all();
        }
        self.heal_full_disks(now);
        self.operators();
        self.liars_choose();
        self.reopen_streams();
        self.back_up();
        let stormy = !self.config.faults.among(STORM).is_empty();
        let settled = self.weather.calm && now.saturating_sub(self.weather.calm_since) >= SETTLED_US;
        self.checker.set_settled(!stormy || settled);
        let least = self.least_height();
        if least > self.weather.progress.0 {
            self.weather.progress = (least, now);
        }
        if self.weather.calm {
            let waited = now.saturating_sub(self.weather.calm_since.max(self.weather.progress.1));
            if waited > STALL_US {
                self.report_stall();
            } else if least >= self.weather.calm_target {
                self.check_liveness_of_transactions();
                if self.config.faults.among(STORM).is_empty() {
                    self.weather.calm_target = least + 1;
                } else if least < self.config.heights {
                    self.weather.calm = false;
                    self.weather.until = now + self.rng.random_range(2_000_000..15_000_000);
                }
            }
        } else if now >= self.weather.until {
            self.begin_calm();
        } else if self.rng.random_bool(0.25) {
            self.begin_fault();
        }
        self.at(now + TICK_US, Event::Weather);
    }

    fn report_stall(&mut self) {
        let state: Vec<String> = self
            .nodes
            .iter()
            .map(|node| match &node.running {
                None => format!("{}: down", node.index),
                Some(running) => {
                    let (height, round) = running.engine.position();
                    let signing = running.engine.signing();
                    let liar = if node.liar { " liar" } else { "" };
                    format!("{}{liar}: head {:?}, at {height}/{round}, {signing:?}", node.index, node.head())
                }
            })
            .collect();
        self.checker
            .violated("progress", format!("no block for 60 s after all faults were healed: {}", state.join("; ")));
    }

    /// A transaction that clients have sent for a minute of calm must be final.
    fn check_liveness_of_transactions(&mut self) {
        if self.least_height() < self.config.heights {
            return;
        }
        let open = self.clients.open.iter().filter(|sent| self.checker.included(&sent.transaction.hash()).is_none());
        let count = open.count();
        if count > 0 {
            // The run goes on until they are final; a stall of theirs is a violation like any other.
            self.weather.calm_target = self.least_height() + 1;
            let waited = self.now.saturating_sub(self.weather.calm_since);
            if waited > 2 * STALL_US {
                self.checker
                    .violated("progress", format!("{count} transactions are not final after two minutes of calm"));
            }
        }
    }

    fn begin_calm(&mut self) {
        self.links.heal();
        self.weather.damage_next = None;
        self.note_clocks(self.now);
        for node in self.nodes.iter_mut().filter(|node| node.skew_ms.abs() > SKEW_MS) {
            node.skew_ms = 0;
        }
        for (node, _) in std::mem::take(&mut self.weather.full) {
            self.nodes[node].disk.set_full(false);
        }
        self.weather.calm = true;
        self.weather.calm_since = self.now;
        self.weather.calm_target = self.checker.height() + CALM_HEIGHTS;
        self.reconnect_all();
    }

    fn heal_full_disks(&mut self, now: u64) {
        let healed: Vec<usize> =
            self.weather.full.iter().filter(|(_, until)| **until <= now).map(|(node, _)| *node).collect();
        for node in healed {
            self.weather.full.remove(&node);
            self.nodes[node].disk.set_full(false);
        }
    }

    /// What operators do: restart a node that has stopped signing, once its cause is gone.
    fn operators(&mut self) {
        // It is over when the chain is past that height and the node has been started again since.
        if let Some((node, height)) = self.weather.damaged
            && self.nodes[node].head().is_some_and(|head| head > height + 1)
            && self.nodes[node]
                .running
                .as_ref()
                .is_some_and(|running| !matches!(running.engine.signing(), Signing::Off(_)))
        {
            self.weather.damaged = None;
        }
        for index in 0..self.nodes.len() {
            if self.weather.full.contains_key(&index) || self.weather.restored.contains(&index) {
                continue;
            }
            let damaged = self.weather.damaged.is_some_and(|(node, _)| node == index);
            let hurt = damaged || self.nodes[index].disk.is_hurt();
            let liar = self.nodes[index].liar;
            let head = self.nodes[index].head().unwrap_or(0);
            let Some(running) = &mut self.nodes[index].running else { continue };
            let Signing::Off(reason) = running.engine.signing() else { continue };
            if !hurt && !liar {
                let reason = reason.clone();
                self.checker.violated("signs", format!("node {index} stopped signing without a fault: {reason}"));
                continue;
            }
            if liar && !hurt {
                // A twin that saw its own signature follows without signing, until its operator starts it again.
                if self.rng.random_bool(0.01) {
                    self.kill(index);
                }
                continue;
            }
            let off_since = *running.off_since.get_or_insert(head);
            // A damaged log forbids signing at its height: the chain has to pass it first.
            let log_is_bad = reason.contains("damaged") || reason.contains("contradicts");
            if !log_is_bad || head > off_since {
                self.kill(index);
            }
        }
    }

    fn liars_choose(&mut self) {
        let kinds = self.config.faults.among(Fault::BYZANTINE);
        if kinds.is_empty() {
            return;
        }
        for node in &mut self.nodes {
            if let Some(byzantine) = &mut node.byzantine
                && (byzantine.kind.is_none() || self.rng.random_bool(0.08))
            {
                byzantine.kind = Some(kinds[self.rng.random_range(0..kinds.len())]);
            }
        }
    }

    /// Now and then a copy of a database is kept.
    fn back_up(&mut self) {
        if self.config.faults.has(Fault::OlderDatabase) && self.rng.random_bool(0.05) {
            let node = self.rng.random_range(0..self.nodes.len());
            self.weather.backups.insert(node, self.nodes[node].disk.database());
        }
    }

    fn begin_fault(&mut self) {
        let kinds = self.config.faults.among(STORM);
        if kinds.is_empty() {
            return;
        }
        let fault = kinds[self.rng.random_range(0..kinds.len())];
        let victim = self.rng.random_range(0..self.nodes.len());
        match fault {
            Fault::Crash => self.crash(victim),
            Fault::FailedSync => {
                if self.nodes[victim].running.is_some() {
                    self.faults.count(fault);
                    self.nodes[victim].disk.fail_next_sync();
                }
            }
            Fault::FullDisk => {
                self.faults.count(fault);
                self.nodes[victim].disk.set_full(true);
                let until = self.now + self.rng.random_range(500_000..4_000_000);
                self.weather.full.insert(victim, until);
            }
            // Only where the rest can go on without that node: a height at which a third may not sign stands still.
            Fault::LogDamage
            | Fault::LogLoss
            | Fault::OlderDatabase
            | Fault::EmptiedDatabase
            | Fault::ReplacedDatabase => {
                if !self.nodes.iter().any(|node| node.liar) && self.nodes.len() >= 4 {
                    self.weather.damage_next = Some(fault);
                    self.crash(victim);
                }
            }
            Fault::ClockSkew => {
                self.faults.count(fault);
                self.note_clocks(self.now);
                self.nodes[victim].skew_ms = self.rng.random_range(-SKEW_MS..=SKEW_MS);
            }
            Fault::ClocksApart => {
                self.faults.count(fault);
                self.note_clocks(self.now);
                let off = if self.rng.random() { APART_MS } else { -APART_MS };
                for index in rand::seq::index::sample(&mut self.rng, self.nodes.len(), self.nodes.len() / 2) {
                    self.nodes[index].skew_ms = off;
                }
            }
            _ => self.links.begin(fault, self.now, &mut self.rng, &mut self.faults),
        }
    }

    /// Orders a crash at one of the next effects of a node; it comes at the latest after a while.
    fn crash(&mut self, victim: usize) {
        if self.nodes[victim].running.is_none() {
            return;
        }
        self.faults.count(Fault::Crash);
        let moment = [Moment::Before, Moment::Middle, Moment::After][self.rng.random_range(0..3)];
        let effects = self.rng.random_range(0..80);
        self.nodes[victim].disk.crash_after(effects, moment);
        let incarnation = self.nodes[victim].incarnation;
        self.at(self.now + 1_500_000, Event::Kill(victim, incarnation));
    }

    fn reconnect_all(&mut self) {
        for a in 0..self.nodes.len() {
            for b in self.links.peers[a].clone() {
                if a < b {
                    self.connect_later(a, b, 100_000);
                }
            }
        }
    }
}
