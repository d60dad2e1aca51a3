//! The order in which a builder takes transactions: highest effective tip first, a sender's by nonce.

use crate::index::Inner;
use crate::pool::Pool;
use crate::queue::{FeeKey, Queue, TipKey};
use alloy_primitives::Address;
use alloy_primitives::map::AddressSet;
use bttc_types::RecoveredTransaction;
use parking_lot::MutexGuard;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Bound;
use std::sync::Arc;

/// A candidate: effective tip, then age.
type Candidate = (u128, Reverse<u64>, Address, u64);

/// Senders that are looked at before others may have the lock.
const LOOKS_AT_ONCE: usize = 64;

/// Senders that are looked at for one transaction. Whoever fills one index with high tips that a low fee cap makes
/// worthless, and the other with high fee caps for low tips, has the best one looked for among all; so the best one of
/// these is taken then, and the search goes on with the next.
const MAX_LOOKS: usize = 4_096;

/// Iterates over executable transactions at one base fee.
///
/// The effective tip is the lower one of the tip cap and of what the fee cap leaves above the base fee. The pool has an
/// index by either cap, and whoever is further down in both can be no better than where both stand. So senders are
/// pulled from both in turn until the best candidate is at least as good as the rest can be, or 4,096 were looked at
/// for it. The index by fee cap ends at the base fee, so the work is in proportion to the senders that can be executed,
/// however many cannot. The lock is taken for one step at a time.
pub struct BestTransactions<'a> {
    pool: &'a Pool,
    base_fee: u64,
    tips: Option<TipKey>,
    fees: Option<FeeKey>,
    exhausted: bool,
    candidates: BinaryHeap<Candidate>,
    refused: AddressSet,
    started: AddressSet,
    looks: usize,
}

impl Pool {
    /// Executable transactions at this base fee, best first.
    pub fn best(&self, base_fee: u64) -> BestTransactions<'_> {
        BestTransactions {
            pool: self,
            base_fee,
            tips: None,
            fees: None,
            exhausted: false,
            candidates: BinaryHeap::new(),
            refused: AddressSet::default(),
            started: AddressSet::default(),
            looks: 0,
        }
    }
}

impl BestTransactions<'_> {
    /// The next transaction.
    pub fn next_best(&mut self) -> Option<Arc<RecoveredTransaction>> {
        let mut inner = self.pool.inner.lock();
        let enough = self.looks.saturating_add(MAX_LOOKS);
        loop {
            self.pull(&mut inner, enough);
            let (_, _, sender, nonce) = self.candidates.pop()?;
            if self.refused.contains(&sender) {
                continue;
            }
            let Some(queue) = inner.queues.get(&sender) else { continue };
            let Some(entry) = queue.pending(nonce) else { continue };
            if let Some(next) = nonce.checked_add(1).and_then(|nonce| queue.pending(nonce))
                && let Some(tip) = next.transaction.tip(self.base_fee)
            {
                self.candidates.push((tip, Reverse(next.sequence), sender, next.nonce()));
            }
            return Some(Arc::clone(&entry.transaction));
        }
    }

    /// Pulls senders that may be better than the best candidate, until so many were looked at and there is one.
    fn pull(&mut self, inner: &mut MutexGuard<'_, Inner>, enough: usize) {
        while !self.exhausted {
            let tip = after(&inner.tips, self.tips);
            let fee = after(&inner.fees, self.fees).filter(|(fee_cap, ..)| fee_cap.0 >= u128::from(self.base_fee));
            let (Some(tip), Some(fee)) = (tip, fee) else {
                self.exhausted = true;
                return;
            };
            let bound = tip.0.0.min(fee.0.0 - u128::from(self.base_fee));
            if self.candidates.peek().is_some_and(|(best, ..)| *best >= bound || self.looks >= enough) {
                return;
            }
            (self.tips, self.fees) = (Some(tip), Some(fee));
            self.start(inner, tip.2);
            self.start(inner, fee.2);
            self.looks += 1;
            if self.looks.is_multiple_of(LOOKS_AT_ONCE) {
                MutexGuard::bump(inner);
            }
        }
    }

    /// Makes a sender's first transaction a candidate.
    fn start(&mut self, inner: &Inner, sender: Address) {
        let head = inner.queues.get(&sender).and_then(Queue::head);
        if let Some(head) = head
            && let Some(tip) = head.transaction.tip(self.base_fee)
            && self.started.insert(sender)
        {
            self.candidates.push((tip, Reverse(head.sequence), sender, head.nonce()));
        }
    }

    /// Takes nothing more from this sender.
    pub fn skip_sender(&mut self, sender: Address) {
        self.refused.insert(sender);
    }

    /// How often a further sender, or one of each index, was looked at so far.
    pub fn looks(&self) -> usize {
        self.looks
    }

    /// The pool.
    pub fn pool(&self) -> &Pool {
        self.pool
    }
}

/// The first key after another one.
fn after<K: Ord + Copy>(index: &BTreeSet<K>, key: Option<K>) -> Option<K> {
    index.range((key.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)).next().copied()
}
