//! The order in which a builder takes transactions: highest effective tip first, a sender's by nonce.

use crate::pool::{Pool, ReadyKey};
use crate::queue::Queue;
use alloy_primitives::Address;
use alloy_primitives::map::AddressSet;
use bttc_types::RecoveredTransaction;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::Arc;

/// A candidate: effective tip, then age.
type Candidate = (u128, Reverse<u64>, Address, u64);

/// Iterates over executable transactions at one base fee.
///
/// The pool's index is ordered by tip *cap*, which bounds the effective tip from above. So only the senders that can
/// still be better than the best candidate are pulled from it, and the work is in proportion to what is taken, not to
/// the size of the pool. The lock is taken for one step at a time.
pub struct BestTransactions<'a> {
    pool: &'a Pool,
    base_fee: u64,
    cursor: Option<ReadyKey>,
    exhausted: bool,
    candidates: BinaryHeap<Candidate>,
    refused: AddressSet,
    started: AddressSet,
}

impl Pool {
    /// Executable transactions at this base fee, best first.
    pub fn best(&self, base_fee: u64) -> BestTransactions<'_> {
        BestTransactions {
            pool: self,
            base_fee,
            cursor: None,
            exhausted: false,
            candidates: BinaryHeap::new(),
            refused: AddressSet::default(),
            started: AddressSet::default(),
        }
    }
}

impl BestTransactions<'_> {
    /// The next transaction.
    pub fn next_best(&mut self) -> Option<Arc<RecoveredTransaction>> {
        let inner = self.pool.inner.lock();
        loop {
            // Pull senders whose tip cap may beat the best candidate.
            while !self.exhausted {
                let from = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
                let Some(key) = inner.ready.range((from, Bound::Unbounded)).next().copied() else {
                    self.exhausted = true;
                    break;
                };
                let (Reverse(tip_cap), sequence, sender) = key;
                if self.candidates.peek().is_some_and(|(tip, ..)| *tip >= tip_cap) {
                    break;
                }
                self.cursor = Some(key);
                if self.started.insert(sender)
                    && let Some(head) = inner.queues.get(&sender).and_then(Queue::head)
                    && let Some(tip) = head.transaction.tip(self.base_fee)
                {
                    self.candidates.push((tip, Reverse(sequence), sender, head.transaction.nonce()));
                }
            }
            let (_, _, sender, nonce) = self.candidates.pop()?;
            if self.refused.contains(&sender) {
                continue;
            }
            let Some(queue) = inner.queues.get(&sender) else { continue };
            let Some(entry) = queue.entries.get(&nonce) else { continue };
            if let Some(next) = nonce.checked_add(1).and_then(|nonce| queue.entries.get(&nonce))
                && let Some(tip) = next.transaction.tip(self.base_fee)
            {
                self.candidates.push((tip, Reverse(next.sequence), sender, next.transaction.nonce()));
            }
            return Some(Arc::clone(&entry.transaction));
        }
    }

    /// Takes nothing more from this sender.
    pub fn skip_sender(&mut self, sender: Address) {
        self.refused.insert(sender);
    }

    /// The pool.
    pub fn pool(&self) -> &Pool {
        self.pool
    }
}
