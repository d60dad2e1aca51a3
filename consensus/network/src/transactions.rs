//! Transactions of peers that wait for the node: a queue for each peer, emptied in turns, so that nobody's flood displaces
//! what another sends.

use crate::handle::Incoming;
use crate::inflow::Ticket;
use crate::router::PeerId64;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// What may wait of one peer.
pub(crate) const MESSAGES_EACH: usize = 4_096;
const BYTES_EACH: usize = 8 << 20;
/// What may wait in all: when it is full, the longest queue gives way.
const MESSAGES: usize = 16_384;
const BYTES: usize = 64 << 20;

#[derive(Debug)]
struct Waiting {
    number: Ticket,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<PeerId64, Queue>,
    /// Whose turn it is: those that have something waiting, each once.
    turns: VecDeque<PeerId64>,
    messages: usize,
    bytes: usize,
    sender_gone: bool,
    receiver_gone: bool,
}

impl State {
    /// The peer with the most bytes waiting. Peers are few.
    fn longest(&self) -> Option<PeerId64> {
        self.queues.iter().max_by_key(|(peer, queue)| (queue.bytes, **peer)).map(|(peer, _)| *peer)
    }

    fn take(&mut self, peer: PeerId64, newest: bool) -> Option<Waiting> {
        let queue = self.queues.get_mut(&peer)?;
        let taken = if newest { queue.waiting.pop_back() } else { queue.waiting.pop_front() }?;
        queue.bytes = queue.bytes.saturating_sub(taken.bytes.len());
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(taken.bytes.len());
        if queue.waiting.is_empty() {
            self.queues.remove(&peer);
        }
        Some(taken)
    }

    fn next(&mut self) -> Option<Incoming> {
        loop {
            let peer = self.turns.pop_front()?;
            let Some(Waiting { number, bytes }) = self.take(peer, false) else { continue };
            if self.queues.contains_key(&peer) {
                self.turns.push_back(peer);
            }
            return Some(Incoming::Message { peer, lane: crate::Lane::Transactions, number, bytes });
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

/// The network's end.
#[derive(Debug)]
pub(crate) struct TransactionSender(Arc<Shared>);

/// The node's end: transactions of all peers, a little of each in turn.
#[derive(Debug)]
pub struct TransactionReceiver(Arc<Shared>);

/// An empty queue.
pub(crate) fn transaction_queue() -> (TransactionSender, TransactionReceiver) {
    let shared = Arc::new(Shared::default());
    (TransactionSender(Arc::clone(&shared)), TransactionReceiver(shared))
}

impl TransactionSender {
    /// Adds a transaction. Returns the tickets of those for which there is no room, which may be this one's.
    pub(crate) fn push(&self, peer: PeerId64, number: Ticket, bytes: Vec<u8>) -> Vec<Ticket> {
        let mut state = self.0.state.lock();
        let length = bytes.len();
        let own = state.queues.get(&peer);
        let (count, size) = own.map_or((0, 0), |queue| (queue.waiting.len(), queue.bytes));
        if state.receiver_gone || count >= MESSAGES_EACH || size.saturating_add(length) > BYTES_EACH {
            return vec![number];
        }
        let mut dropped = Vec::new();
        while state.messages >= MESSAGES || state.bytes.saturating_add(length) > BYTES {
            match state.longest() {
                Some(longest) if longest != peer => {
                    dropped.extend(state.take(longest, true).map(|waiting| waiting.number));
                }
                Some(_) | None => {
                    dropped.push(number);
                    return dropped;
                }
            }
        }
        let queue = state.queues.entry(peer).or_default();
        let first = queue.waiting.is_empty();
        queue.waiting.push_back(Waiting { number, bytes });
        queue.bytes += length;
        state.messages += 1;
        state.bytes += length;
        if first && !state.turns.contains(&peer) {
            state.turns.push_back(peer);
        }
        drop(state);
        self.0.wake.notify_one();
        dropped
    }

    /// Forgets what waits of a peer. Returns the tickets.
    pub(crate) fn remove(&self, peer: PeerId64) -> Vec<Ticket> {
        let mut state = self.0.state.lock();
        let mut removed = Vec::new();
        while let Some(waiting) = state.take(peer, false) {
            removed.push(waiting.number);
        }
        state.turns.retain(|other| *other != peer);
        removed
    }
}

impl Drop for TransactionSender {
    fn drop(&mut self) {
        self.0.state.lock().sender_gone = true;
        self.0.wake.notify_one();
    }
}

impl TransactionReceiver {
    /// Takes up to `limit` transactions at once, waiting for the first. Returns how many were added to `batch`; 0 when
    /// the network has ended.
    pub async fn recv_many(&mut self, batch: &mut Vec<Incoming>, limit: usize) -> usize {
        loop {
            {
                let mut state = self.0.state.lock();
                let mut taken = 0;
                while taken < limit
                    && let Some(next) = state.next()
                {
                    batch.push(next);
                    taken += 1;
                }
                if taken > 0 || state.sender_gone {
                    return taken;
                }
            }
            self.0.wake.notified().await;
        }
    }

    /// The next transaction; none when the network has ended.
    pub async fn recv(&mut self) -> Option<Incoming> {
        let mut batch = Vec::with_capacity(1);
        self.recv_many(&mut batch, 1).await;
        batch.pop()
    }

    /// The next transaction if one waits.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.0.state.lock().next()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.state.lock().messages
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for TransactionReceiver {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        *state = State { receiver_gone: true, ..State::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inflow::tests::ticket;

    fn sender_of(incoming: Option<Incoming>) -> Option<u64> {
        match incoming {
            Some(Incoming::Message { peer, .. }) => Some(peer),
            _ => None,
        }
    }

    #[test]
    fn peers_take_turns() {
        let (sender, mut receiver) = transaction_queue();
        for number in 0..100 {
            assert!(sender.push(1, ticket(number), vec![1]).is_empty());
        }
        for number in 100..103 {
            assert!(sender.push(2, ticket(number), vec![2]).is_empty());
        }
        let order: Vec<u64> = (0..8).filter_map(|_| sender_of(receiver.try_recv())).collect();
        assert_eq!(order, [1, 2, 1, 2, 1, 2, 1, 1]);
        assert_eq!(receiver.len(), 95);
    }

    #[test]
    fn a_flood_loses_its_own() {
        let (sender, mut receiver) = transaction_queue();
        let lost = (0..10_000).filter(|number| !sender.push(1, ticket(*number), vec![0; 100]).is_empty()).count();
        assert_eq!(lost, 10_000 - MESSAGES_EACH);
        assert!(sender.push(2, ticket(20_000), vec![0; 100]).is_empty());
        // So many floods that there is no room at all: the longest queue gives way, not the short one.
        for peer in 3..40 {
            for number in 0..5_000 {
                sender.push(peer, ticket(peer * 100_000 + number), vec![0; 1_000 + number as usize % 7]);
            }
        }
        {
            let state = sender.0.state.lock();
            assert!(state.messages <= MESSAGES && state.bytes <= BYTES);
            assert!(state.turns.len() <= state.queues.len() + 40);
            let held: usize = state.queues.values().map(|queue| queue.waiting.len()).sum();
            assert_eq!(held, state.messages);
        }
        assert_eq!(sender.push(2, ticket(20_001), vec![0; 100]).len(), 1, "something of the longest went");
        let mut seen = Vec::new();
        while let Some(Incoming::Message { number, .. }) = receiver.try_recv() {
            seen.push(number.close());
        }
        assert!(seen.contains(&20_000) && seen.contains(&20_001));
        assert!(receiver.is_empty());
    }

    #[test]
    fn what_waits_of_a_banned_peer_goes_and_nothing_else() {
        let (sender, mut receiver) = transaction_queue();
        for number in 0..100 {
            sender.push(1, ticket(number), vec![1]);
            sender.push(2, ticket(100 + number), vec![2]);
        }
        let removed: Vec<u64> = sender.remove(1).into_iter().map(Ticket::close).collect();
        assert_eq!(removed, Vec::from_iter(0..100));
        assert_eq!((receiver.len(), sender.remove(1).len(), sender.0.state.lock().turns.len()), (100, 0, 1));
        sender.push(1, ticket(300), vec![1]);
        let order: Vec<u64> = (0..4).filter_map(|_| sender_of(receiver.try_recv())).collect();
        assert_eq!(order, [2, 1, 2, 2], "should it be let in again, it has its turn");
    }

    #[tokio::test]
    async fn the_end_of_the_network_ends_the_queue() {
        let (sender, mut receiver) = transaction_queue();
        sender.push(1, ticket(1), vec![1]);
        let mut batch = Vec::new();
        assert_eq!(receiver.recv_many(&mut batch, 10).await, 1);
        let waiting = tokio::spawn(async move { receiver.recv().await.is_none() });
        drop(sender);
        assert!(waiting.await.unwrap());
        let (sender, receiver) = transaction_queue();
        drop(receiver);
        assert_eq!(sender.push(1, ticket(7), vec![1]).len(), 1, "nobody takes it");
    }
}
