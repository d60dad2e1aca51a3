//! A node's work: items from its inbox through network logic, engine and application, and what comes out of them. This
//! is what the process does with threads and sockets, in one thread and in virtual time.

mod application;
mod gossip;
mod lies;
mod meter;
mod outputs;

pub(crate) use gossip::payload;

use crate::node::Item;
use crate::world::World;
use bttc_engine::{Input, Output, decode_blocks};
use meter::Meter;
use std::time::{Duration, Instant};

/// Longest wait between two looks at an engine.
const LONGEST_SLEEP_US: u64 = 1_000_000;

/// The longest that one call may take, on this machine and by counted work.
const LONGEST_CALL: Duration = Duration::from_secs(5);

impl World {
    /// A node's core works through its inbox.
    pub(crate) fn work(&mut self, index: usize) {
        let mut time = self.now.max(self.nodes[index].busy_until);
        let mut idle = true;
        while let Some(item) = self.nodes[index].inbox.pop_front() {
            idle = false;
            time = self.handle(index, item, time);
            if !self.survives(index) {
                return;
            }
        }
        if idle || self.due(index, time) {
            let before = Meter::read(&self.nodes[index]);
            let outputs = self.input(index, Input::Tick, time);
            time = self.finish_item(index, outputs, time, &before, 0);
            if !self.survives(index) {
                return;
            }
        }
        self.rest(index, time);
    }

    fn due(&self, index: usize, time: u64) -> bool {
        let now = self.nodes[index].clock(time).mono_ms;
        let deadline = self.nodes[index].running.as_ref().and_then(|running| running.engine.next_deadline());
        deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether a node goes on; one that died at a crash point or was halted is buried.
    fn survives(&mut self, index: usize) -> bool {
        if self.nodes[index].disk.is_dead() || self.nodes[index].halted {
            self.kill(index);
            return false;
        }
        self.nodes[index].running.is_some()
    }

    /// Nothing to do until a message or a deadline.
    pub(crate) fn rest(&mut self, index: usize, time: u64) {
        self.nodes[index].busy_until = time;
        if !self.nodes[index].inbox.is_empty() {
            self.wake(index, time);
            return;
        }
        let Some(running) = &self.nodes[index].running else { return };
        let longest = time + LONGEST_SLEEP_US;
        // The clock shows 1 ms at time 0.
        let deadline = running.engine.next_deadline().map_or(longest, |ms| ms.saturating_sub(1) * 1_000);
        // A deadline that has passed and is still there waits for something else.
        let next = if deadline <= time { time + 50_000 } else { deadline.min(longest) };
        self.wake(index, next);
    }

    /// Handles one item that begins at `time`; when its core is free again.
    fn handle(&mut self, index: usize, item: Item, time: u64) -> u64 {
        let before = Meter::read(&self.nodes[index]);
        let costs = self.config.costs;
        let mut nanoseconds = 0;
        let outputs = match item {
            Item::Gossip(from, payload) => {
                nanoseconds += costs.byte * payload.bytes.len() as u64;
                self.on_gossip(index, from, &payload, time)
            }
            Item::Status(peer, height) => self.input(index, Input::PeerStatus { peer: peer as u64, height }, time),
            Item::Connected(peer, height) => self.on_connected(index, peer, height, time),
            Item::Opened(peer, height) => self.on_opened(index, peer, height, time),
            Item::Gone(peer) => {
                if let Some(running) = &mut self.nodes[index].running {
                    running.router.remove_peer(peer as u64);
                }
                self.input(index, Input::PeerGone(peer as u64), time)
            }
            Item::Asked(peer, tag, bytes) => {
                self.on_asked(index, peer, tag, &bytes, time);
                Vec::new()
            }
            Item::Answered(peer, tag, bytes) => {
                nanoseconds += costs.byte * bytes.len() as u64;
                let input = match decode_blocks(&bytes) {
                    Ok(blocks) => Input::Blocks { peer: peer as u64, from: tag, blocks },
                    Err(_) => Input::BlocksFailed { peer: peer as u64, from: tag },
                };
                self.input(index, input, time)
            }
            Item::Work(request) => {
                let (outputs, spent) = self.on_work(index, request, time);
                nanoseconds += spent;
                outputs
            }
            Item::Submitted(transaction) => {
                self.on_submitted(index, &transaction, time);
                // Its sender was recovered before.
                nanoseconds += costs.recovery;
                Vec::new()
            }
        };
        self.finish_item(index, outputs, time, &before, nanoseconds)
    }

    /// Charges a node for an item and lets out what came of it when that is done; when its core is free again.
    fn finish_item(&mut self, index: usize, outputs: Vec<Output>, time: u64, before: &Meter, nanoseconds: u64) -> u64 {
        let costs = self.config.costs;
        let nanoseconds = costs.item + nanoseconds + before.until(&Meter::read(&self.nodes[index]), &costs);
        if nanoseconds > LONGEST_CALL.as_nanos() as u64 && !self.nodes[index].liar {
            let detail = format!("one item cost node {index} {} ms of counted work", nanoseconds / 1_000_000);
            self.checker.violated("bounded work", detail);
        }
        let done = time + nanoseconds.div_ceil(1_000);
        self.perform(index, outputs, done);
        done
    }

    /// Gives an input to a node's engine.
    pub(crate) fn input(&mut self, index: usize, input: Input, time: u64) -> Vec<Output> {
        let clock = self.nodes[index].clock(time);
        let Some(running) = &mut self.nodes[index].running else { return Vec::new() };
        let since = Instant::now();
        let outputs = running.engine.handle(input, clock);
        self.took(index, "engine", since);
        outputs
    }

    /// A call of an honest node's code has returned: it must not have taken long, by this machine's clock.
    fn took(&mut self, index: usize, what: &str, since: Instant) {
        let elapsed = since.elapsed();
        if elapsed > LONGEST_CALL && !self.nodes[index].liar {
            let detail = format!("one call of the {what} of node {index} took {} ms", elapsed.as_millis());
            self.checker.violated("bounded work", detail);
        }
    }
}
