//! What waits to be sent to one peer: a bounded queue for each lane, highest lane first.

use crate::lane::{LANES, Lane};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

/// The outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queues: Mutex<[Queue; LANES]>,
    wake: Notify,
    closed: AtomicBool,
    dropped: AtomicU64,
}

impl Outbox {
    /// Adds a message; when the lane is full, the oldest goes or the new one does, as the lane says.
    pub(crate) fn push(&self, lane: Lane, message: Arc<[u8]>) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(lane as usize) {
            while queue.bytes + message.len() > lane.queue_bytes() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                if !lane.drops_oldest() {
                    return;
                }
                match queue.messages.pop_front() {
                    Some(oldest) => queue.bytes -= oldest.len(),
                    None => return,
                }
            }
            queue.bytes += message.len();
            queue.messages.push_back(message);
        }
        drop(queues);
        self.wake.notify_one();
    }

    fn pop(&self) -> Option<(Lane, Arc<[u8]>)> {
        let mut queues = self.queues.lock();
        for (lane, queue) in Lane::ALL.into_iter().zip(queues.iter_mut()) {
            if let Some(message) = queue.messages.pop_front() {
                queue.bytes -= message.len();
                return Some((lane, message));
            }
        }
        None
    }

    /// The next message if one waits.
    pub(crate) fn try_next(&self) -> Option<(Lane, Arc<[u8]>)> {
        self.pop()
    }

    /// Waits for the next message; `None` when the outbox is closed.
    pub(crate) async fn next(&self) -> Option<(Lane, Arc<[u8]>)> {
        loop {
            let woken = self.wake.notified();
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            if let Some(next) = self.pop() {
                return Some(next);
            }
            woken.await;
        }
    }

    /// Ends the writer.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Messages dropped because a lane was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_lanes_go_first_and_full_lanes_drop_by_their_rule() {
        let outbox = Outbox::default();
        outbox.push(Lane::Transactions, vec![1; 10].into());
        outbox.push(Lane::Votes, vec![2; 10].into());
        assert_eq!(outbox.pop().map(|(lane, _)| lane), Some(Lane::Votes));
        assert_eq!(outbox.pop().map(|(lane, _)| lane), Some(Lane::Transactions));
        let count = Lane::Votes.queue_bytes() / 512;
        for index in 0..=count {
            outbox.push(Lane::Votes, vec![index as u8; 512].into());
        }
        assert_eq!(outbox.dropped(), 1);
        assert_eq!(outbox.pop().map(|(_, message)| message[0]), Some(1), "the oldest vote went");
        let big: Arc<[u8]> = vec![0; 128 * 1024].into();
        for _ in 0..65 {
            outbox.push(Lane::Transactions, Arc::clone(&big));
        }
        outbox.push(Lane::Transactions, vec![7; 128 * 1024].into());
        while let Some((lane, message)) = outbox.pop() {
            assert!(lane == Lane::Votes || message[0] == 0, "the newest transaction went");
        }
    }
}
