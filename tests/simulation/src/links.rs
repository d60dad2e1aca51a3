//! The network between nodes: who is connected with whom, how long a message takes, and what happens to it.

use crate::config::Topology;
use crate::fault::{Fault, FaultCounts};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;

/// One-way latency in milliseconds between 14 cloud regions, as listed by the node software `arc-node` of Circle (2026):
/// Tokyo, Seoul, Mumbai, Singapore, Sydney, Montreal, Frankfurt, Dublin, London, Sao Paulo, North Virginia, Ohio, North
/// California, Oregon.
pub const REGIONS: [[u64; 14]; 14] = [
    [0, 19, 66, 36, 53, 79, 116, 103, 108, 131, 76, 70, 56, 51],
    [19, 0, 67, 37, 77, 93, 117, 121, 126, 149, 93, 86, 70, 65],
    [66, 67, 0, 33, 78, 95, 62, 63, 58, 150, 95, 100, 118, 112],
    [36, 37, 33, 0, 48, 115, 82, 88, 84, 165, 109, 103, 88, 83],
    [53, 77, 78, 48, 0, 100, 127, 129, 133, 157, 101, 94, 70, 71],
    [79, 93, 95, 115, 100, 0, 48, 36, 41, 64, 10, 15, 41, 32],
    [116, 117, 62, 82, 127, 48, 0, 12, 9, 103, 48, 52, 78, 73],
    [103, 121, 63, 88, 129, 36, 12, 0, 8, 90, 36, 41, 67, 61],
    [108, 126, 58, 84, 133, 41, 9, 8, 0, 95, 40, 45, 75, 66],
    [131, 149, 150, 165, 157, 64, 103, 90, 95, 0, 58, 63, 88, 89],
    [76, 93, 95, 109, 101, 10, 48, 36, 40, 58, 0, 10, 35, 34],
    [70, 86, 100, 103, 94, 15, 52, 41, 45, 63, 10, 0, 29, 27],
    [56, 70, 118, 88, 70, 41, 78, 67, 75, 88, 35, 29, 0, 12],
    [51, 65, 112, 83, 71, 32, 73, 61, 66, 89, 34, 27, 12, 0],
];

/// Delay within a region, microseconds.
const LOCAL_US: u64 = 250;

/// One-way delay without jitter between two nodes, microseconds.
pub fn base_delay_us(from: usize, to: usize) -> u64 {
    let (a, b) = (from % REGIONS.len(), to % REGIONS.len());
    REGIONS[a][b] * 1_000 + LOCAL_US
}

/// Something that is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// Who sends.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// When, microseconds.
    pub now: u64,
    /// How much.
    pub bytes: usize,
}

/// The links.
#[derive(Debug)]
pub struct Links {
    /// Peers of each node.
    pub peers: Vec<Vec<usize>>,
    /// Share of messages lost, duplicated and overtaken, in 1/1000, until a time.
    loss: (u32, u64),
    duplication: (u32, u64),
    reordering: (u32, u64),
    /// Nodes whose links are slow: extra microseconds, until a time.
    slow: HashMap<usize, (u64, u64)>,
    /// One side of a partition, until a time.
    partition: Option<(Vec<bool>, u64)>,
    /// Earliest next arrival of each ordered link.
    tails: HashMap<(usize, usize), u64>,
    /// Bits a second that a node can send, if that is limited.
    bandwidth: Option<u64>,
    /// Until when each node's uplink is taken, microseconds.
    uplinks: HashMap<usize, u64>,
}

impl Links {
    /// Makes everything from and to a node slower for good.
    pub fn slow_down(&mut self, node: usize, extra_us: u64) {
        self.slow.insert(node, (extra_us, u64::MAX));
    }

    /// Connects nodes.
    pub fn new(nodes: usize, topology: Topology, rng: &mut ChaCha8Rng) -> Self {
        let mut peers = vec![Vec::new(); nodes];
        match topology {
            Topology::Mesh => {
                for (node, list) in peers.iter_mut().enumerate() {
                    list.extend((0..nodes).filter(|other| *other != node));
                }
            }
            Topology::Random(degree) => {
                for node in 0..nodes {
                    let mut others: Vec<usize> = (0..nodes).filter(|other| *other != node).collect();
                    others.shuffle(rng);
                    for other in others.into_iter().take(degree) {
                        if !peers[node].contains(&other) {
                            peers[node].push(other);
                            peers[other].push(node);
                        }
                    }
                }
                for list in &mut peers {
                    list.sort_unstable();
                }
            }
        }
        Self {
            peers,
            loss: (0, 0),
            duplication: (0, 0),
            reordering: (0, 0),
            slow: HashMap::new(),
            partition: None,
            tails: HashMap::new(),
            bandwidth: None,
            uplinks: HashMap::new(),
        }
    }

    /// Limits what each node can send, bits a second.
    pub fn limit(&mut self, bandwidth: Option<u64>) {
        self.bandwidth = bandwidth;
    }

    /// Something leaves for somebody who is not simulated.
    pub fn occupy(&mut self, sending: Sending) {
        let _ = self.leaves(sending);
    }

    /// When the last bit of something has left its sender: one thing leaves after the other, to whomever it goes.
    fn leaves(&mut self, sending: Sending) -> u64 {
        let Some(bandwidth) = self.bandwidth else { return sending.now };
        let free = self.uplinks.entry(sending.from).or_insert(0);
        let microseconds = sending.bytes as u64 * 8 * 1_000_000 / bandwidth.max(1);
        *free = (*free).max(sending.now) + microseconds;
        *free
    }

    /// Begins an episode of a network fault.
    pub fn begin(&mut self, fault: Fault, now: u64, rng: &mut ChaCha8Rng, counts: &mut FaultCounts) {
        let until = now + rng.random_range(500_000..4_000_000);
        let nodes = self.peers.len();
        match fault {
            Fault::Loss => self.loss = (rng.random_range(5..300), until),
            Fault::Duplication => self.duplication = (rng.random_range(5..300), until),
            Fault::Reordering => self.reordering = (rng.random_range(5..500), until),
            Fault::Slowness => {
                counts.count(fault);
                self.slow.insert(rng.random_range(0..nodes), (rng.random_range(100_000..3_000_000), until));
            }
            Fault::Partition if self.partition.is_none() => {
                counts.count(fault);
                let mut sides = vec![false; nodes];
                for side in &mut sides {
                    *side = rng.random_bool(0.5);
                }
                self.partition = Some((sides, until));
            }
            _ => {}
        }
    }

    /// Ends all faults. Returns whether a partition ended.
    pub fn heal(&mut self) -> bool {
        self.loss.1 = 0;
        self.duplication.1 = 0;
        self.reordering.1 = 0;
        self.slow.clear();
        self.partition.take().is_some()
    }

    /// Ends a partition whose time is over. Returns whether one ended.
    pub fn expire(&mut self, now: u64) -> bool {
        if self.partition.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.partition = None;
            return true;
        }
        false
    }

    /// Whether two nodes are on different sides.
    pub fn parted(&self, a: usize, b: usize) -> bool {
        self.partition.as_ref().is_some_and(|(sides, _)| sides[a] != sides[b])
    }

    /// When something arrives: never, once, or twice.
    pub fn arrivals(&mut self, sending: Sending, rng: &mut ChaCha8Rng, counts: &mut FaultCounts) -> [Option<u64>; 2] {
        let Sending { from, to, now, .. } = sending;
        if self.parted(from, to) {
            return [None, None];
        }
        let hit = |(rate, until): (u32, u64), rng: &mut ChaCha8Rng| until > now && rng.random_ratio(rate, 1_000);
        if hit(self.loss, rng) {
            counts.count(Fault::Loss);
            return [None, None];
        }
        let base = base_delay_us(from, to);
        let slow: u64 = [from, to]
            .iter()
            .filter_map(|node| self.slow.get(node))
            .filter(|(_, until)| *until > now)
            .map(|(extra, _)| *extra)
            .sum();
        let mut arrival = self.leaves(sending) + base + slow + rng.random_range(0..=base / 20);
        if hit(self.reordering, rng) {
            counts.count(Fault::Reordering);
            arrival += rng.random_range(0..1_000_000);
        } else {
            let tail = self.tails.entry((from, to)).or_insert(0);
            arrival = arrival.max(*tail);
            *tail = arrival;
        }
        let again = hit(self.duplication, rng).then(|| {
            counts.count(Fault::Duplication);
            arrival + rng.random_range(0..2_000_000)
        });
        [Some(arrival), again]
    }
}
