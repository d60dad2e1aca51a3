//! The pool: what it holds and how that is read.

use crate::config::PoolConfig;
use crate::index::Inner;
use crate::queue::Queue;
use crate::types::{ChainLimits, DropReason, PoolEntry, PoolStatus};
use alloy_primitives::{Address, B256};
use bttc_types::RecoveredTransaction;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Local transactions that are looked up in one hold of the lock.
const LOCAL_CHUNK: usize = 1_024;

/// The transaction pool. All methods take the one lock briefly; none does I/O under it, and none holds it for a pass over
/// the pool.
pub struct Pool {
    pub(crate) config: PoolConfig,
    pub(crate) chain_id: u64,
    /// Most gas of one transaction whatever a block holds.
    pub(crate) gas_cap: u64,
    pub(crate) gas_limit: AtomicU64,
    pub(crate) min_base_fee: AtomicU64,
    pub(crate) inner: Mutex<Inner>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(config: PoolConfig, limits: ChainLimits) -> Self {
        Self {
            config,
            chain_id: limits.chain_id,
            gas_cap: limits.gas_cap,
            gas_limit: AtomicU64::new(limits.gas_limit),
            min_base_fee: AtomicU64::new(limits.min_base_fee),
            inner: Mutex::new(Inner::empty(config, 0)),
        }
    }

    /// Forgets everything: the chain was set back.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        let blocks = inner.blocks.wrapping_add(1);
        let old = std::mem::replace(&mut *inner, Inner::empty(self.config, blocks));
        drop(inner);
        drop(old);
    }

    /// Takes over what governance decided: the gas limit of blocks and the lowest base fee.
    pub fn set_limits(&self, gas_limit: u64, min_base_fee: u64) {
        self.gas_limit.store(gas_limit, Ordering::Relaxed);
        self.min_base_fee.store(min_base_fee, Ordering::Relaxed);
    }

    /// The transaction with this hash.
    pub fn get(&self, hash: &B256) -> Option<Arc<RecoveredTransaction>> {
        let inner = self.inner.lock();
        let (sender, nonce) = inner.by_hash.get(hash)?;
        inner.queues.get(sender)?.entries.get(nonce).map(|entry| Arc::clone(&entry.transaction))
    }

    /// Why a transaction that was once accepted is gone, if that is remembered.
    pub fn dropped(&self, hash: &B256) -> Option<DropReason> {
        self.inner.lock().dropped.peek(hash).cloned()
    }

    /// First free nonce of a sender after its pending transactions; `None` when it has none here.
    pub fn next_nonce(&self, sender: &Address) -> Option<u64> {
        self.inner.lock().queues.get(sender).map(Queue::next_nonce)
    }

    /// Whether a transaction could be executed at this base fee.
    pub fn has_executable(&self, base_fee: u64) -> bool {
        let inner = self.inner.lock();
        inner.fees.first().is_some_and(|(Reverse(fee_cap), ..)| *fee_cap >= u128::from(base_fee))
    }

    /// Sizes.
    pub fn status(&self) -> PoolStatus {
        let totals = self.inner.lock().totals;
        PoolStatus { pending: totals.pending, queued: totals.queued, bytes: totals.bytes() }
    }

    /// Number of transactions.
    pub fn len(&self) -> usize {
        self.inner.lock().by_hash.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All transactions, or those of one sender, by sender and nonce. The lock is taken for one sender at a time, so what
    /// comes and goes meanwhile may be missing.
    pub fn content(&self, only: Option<Address>) -> Vec<PoolEntry> {
        let mut content = Vec::new();
        if let Some(sender) = only {
            if let Some(queue) = self.inner.lock().queues.get(&sender) {
                content.extend(entries_of(queue));
            }
            return content;
        }
        let mut from = Bound::Unbounded;
        loop {
            let inner = self.inner.lock();
            let Some((sender, queue)) = inner.queues.range((from, Bound::Unbounded)).next() else { return content };
            content.extend(entries_of(queue));
            from = Bound::Excluded(*sender);
        }
    }

    /// At most `limit` pending transactions, by the highest tip, each after those that must be executed before it.
    pub fn best_pending(&self, limit: usize) -> Vec<Arc<RecoveredTransaction>> {
        let mut best = self.best(0);
        std::iter::from_fn(|| best.next_best()).take(limit).collect()
    }

    /// Local transactions in the order in which they came, for the journal.
    pub fn local(&self) -> Vec<Arc<RecoveredTransaction>> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let chunk = self.local_after(after, LOCAL_CHUNK);
            let Some((last, _)) = chunk.last() else { return all };
            after = *last;
            all.extend(chunk.into_iter().map(|(_, transaction)| transaction));
        }
    }

    /// At most `limit` local transactions that came after number `after`, each with its number; numbers start at 1.
    pub fn local_after(&self, after: u64, limit: usize) -> Vec<(u64, Arc<RecoveredTransaction>)> {
        let inner = self.inner.lock();
        let later = inner.local.range((Bound::Excluded(after), Bound::Unbounded));
        let found = later.filter_map(|(number, (sender, nonce))| {
            let entry = inner.queues.get(sender)?.entries.get(nonce)?;
            Some((*number, Arc::clone(&entry.transaction)))
        });
        found.take(limit).collect()
    }
}

fn entries_of(queue: &Queue) -> impl Iterator<Item = PoolEntry> {
    let next = queue.next_nonce();
    let entry = move |(nonce, entry): (&u64, &crate::queue::Entry)| PoolEntry {
        transaction: Arc::clone(&entry.transaction),
        pending: *nonce < next,
    };
    queue.entries.iter().map(entry)
}
