//! The pool's state under its lock: queues, indices over them, and what keeps both together.

use crate::config::{PoolConfig, Share};
use crate::delegation::Authorities;
use crate::queue::{Age, Entry, FeeKey, Keys, Queue, QueuedKey, TailKey, TipKey, Totals};
use crate::types::{AccountState, DropReason};
use alloy_primitives::map::B256Map;
use alloy_primitives::{Address, B256};
use bttc_types::RecoveredTransaction;
use lru::LruCache;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Everything under the pool's lock. Each step costs O(log n) for each transaction that it moves.
pub(crate) struct Inner {
    pub(crate) config: PoolConfig,
    pub(crate) queues: BTreeMap<Address, Queue>,
    pub(crate) by_hash: B256Map<(Address, u64)>,
    /// Senders with a pending transaction by the first one's tip cap.
    pub(crate) tips: BTreeSet<TipKey>,
    /// The same senders by the first one's fee cap.
    pub(crate) fees: BTreeSet<FeeKey>,
    /// Senders whose last pending transaction may be evicted, by what it is worth.
    pub(crate) tails: BTreeSet<TailKey>,
    /// Senders with queued transactions by how much of the share for such they take.
    pub(crate) queued: BTreeSet<QueuedKey>,
    /// Accounts that transactions here may delegate.
    pub(crate) authorities: Authorities,
    /// All transactions by the end of their lifetimes.
    pub(crate) deadlines: BTreeSet<(u64, Address, u64)>,
    /// Local transactions by arrival.
    pub(crate) local: BTreeMap<u64, (Address, u64)>,
    pub(crate) dropped: LruCache<B256, DropReason>,
    /// What changed accounts made executable and nobody was told yet: no more than was queued, since an account changes
    /// with a block, and whoever brings the block takes this.
    pub(crate) promoted: Vec<Arc<RecoveredTransaction>>,
    pub(crate) totals: Totals,
    pub(crate) sequence: u64,
    /// How many transactions have come, gone, or turned from queued to pending or back: what all this has cost.
    pub(crate) moves: u64,
    /// Raised with every block, so that an account read before it can be told from one read after it.
    pub(crate) blocks: u64,
}

impl Inner {
    pub(crate) fn empty(config: PoolConfig, blocks: u64) -> Self {
        let remembered = NonZeroUsize::new(config.remembered_drops).unwrap_or(NonZeroUsize::MIN);
        Self {
            config,
            queues: BTreeMap::new(),
            by_hash: B256Map::default(),
            tips: BTreeSet::new(),
            fees: BTreeSet::new(),
            tails: BTreeSet::new(),
            queued: BTreeSet::new(),
            authorities: Authorities::default(),
            deadlines: BTreeSet::new(),
            local: BTreeMap::new(),
            dropped: LruCache::new(remembered),
            promoted: Vec::new(),
            totals: Totals::default(),
            sequence: 0,
            moves: 0,
            blocks,
        }
    }

    /// Adds an entry, or puts it in the place of the one with its nonce. Gives that one, and what became pending.
    pub(crate) fn insert(&mut self, sender: Address, account: AccountState, entry: Entry) -> Inserted {
        let hash = entry.transaction.hash();
        let mut queue = self.queues.remove(&sender).unwrap_or_else(|| Queue::new(account));
        self.by_hash.insert(hash, (sender, entry.nonce()));
        if entry.local {
            self.local.insert(entry.sequence, (sender, entry.nonce()));
        }
        self.authorities.add(&entry);
        let replaced = queue.insert(entry);
        if let Some(replaced) = &replaced {
            self.forget(sender, replaced, Some(DropReason::Replaced(hash)));
        }
        self.dropped.pop(&hash);
        let promoted = self.settle(sender, queue);
        Inserted { replaced, promoted }
    }

    /// Takes an entry out of the pool.
    pub(crate) fn remove(&mut self, sender: Address, nonce: u64, reason: Option<DropReason>) -> Option<Entry> {
        let mut queue = self.queues.remove(&sender)?;
        let entry = queue.remove(nonce);
        if let Some(entry) = &entry {
            self.forget(sender, entry, reason);
        }
        self.settle(sender, queue);
        entry
    }

    /// Takes over a sender's account: forgets what is used, and what it cannot pay for any more. Keeps what became
    /// pending for whoever tells others of it next.
    pub(crate) fn set_account(&mut self, sender: Address, account: AccountState, included: &HashSet<B256>) {
        if self.queues.get(&sender).is_none_or(|queue| queue.account == account) {
            return;
        }
        let Some(mut queue) = self.queues.remove(&sender) else { return };
        let poorer = account.balance < queue.account.balance;
        for entry in queue.set_account(account) {
            let reason = (!included.contains(&entry.transaction.hash())).then_some(DropReason::NonceUsed);
            self.forget(sender, &entry, reason);
        }
        if poorer {
            for nonce in queue.unpayable() {
                if let Some(entry) = queue.remove(nonce) {
                    let reason = DropReason::Invalid("insufficient funds for gas * price + value".into());
                    self.forget(sender, &entry, Some(reason));
                }
            }
        }
        let promoted = self.settle(sender, queue);
        self.promoted.extend(promoted);
    }

    /// Drops queued transactions until they are within their share: the last ones of the senders that take most of it.
    pub(crate) fn bound_queued(&mut self) {
        let share = self.config.queued_share();
        while self.totals.queued > share.count || self.totals.queued_bytes > share.bytes {
            let Some((.., sender)) = self.queued.first().copied() else { return };
            let last = self.queues.get(&sender).and_then(Queue::last_queued).map(Entry::nonce);
            let Some(last) = last else { return };
            self.remove(sender, last, Some(DropReason::TooManyQueued));
        }
    }

    /// What one sender may have protected: the share for local transactions less what others have of it.
    pub(crate) fn room_for_local(&self, counted: &Totals) -> Share {
        let share = self.config.local_share();
        let others = self.totals.protected.saturating_sub(counted.protected);
        let others_bytes = self.totals.protected_bytes.saturating_sub(counted.protected_bytes);
        Share { count: share.count.saturating_sub(others), bytes: share.bytes.saturating_sub(others_bytes) }
    }

    /// Takes an entry that is out of its queue out of everything else.
    fn forget(&mut self, sender: Address, entry: &Entry, reason: Option<DropReason>) {
        let hash = entry.transaction.hash();
        self.moves += 1;
        self.authorities.remove(entry);
        self.by_hash.remove(&hash);
        self.local.remove(&entry.sequence);
        if let Some(age) = entry.indexed {
            self.deadlines.remove(&(age.deadline_ms, sender, entry.nonce()));
        }
        if let Some(reason) = reason {
            self.dropped.put(hash, reason);
        }
    }

    /// Puts a changed queue back and brings every index up to it. Gives what became pending.
    fn settle(&mut self, sender: Address, mut queue: Queue) -> Vec<Arc<RecoveredTransaction>> {
        while queue.totals().queued > self.config.max_queued_per_sender {
            let Some(last) = queue.last_queued().map(Entry::nonce) else { break };
            let Some(entry) = queue.remove(last) else { break };
            self.forget(sender, &entry, Some(DropReason::TooManyQueued));
        }
        while queue.entries.len() > 1 && self.is_limited(&sender, &queue.account) {
            let Some(last) = queue.entries.last_key_value().map(|(nonce, _)| *nonce) else { break };
            let Some(entry) = queue.remove(last) else { break };
            self.forget(sender, &entry, Some(DropReason::Delegated));
        }
        queue.protect(self.room_for_local(&queue.counted));
        let promoted = self.index_ages(sender, &mut queue);
        let (counted, keys) = (*queue.totals(), queue.keys_of(sender, &self.config));
        self.totals.exchange(&queue.counted, &counted);
        self.index_sender(&queue.keys, &keys);
        (queue.counted, queue.keys) = (counted, keys);
        if !queue.entries.is_empty() {
            self.queues.insert(sender, queue);
        }
        promoted
    }

    /// Brings the index by age up to what moved in a queue. Gives what became pending.
    fn index_ages(&mut self, sender: Address, queue: &mut Queue) -> Vec<Arc<RecoveredTransaction>> {
        let mut promoted = Vec::new();
        let next = queue.next_nonce();
        for nonce in queue.take_moved() {
            self.moves += 1;
            let Some(entry) = queue.entries.get_mut(&nonce) else { continue };
            let pending = nonce < next;
            let lifetime = if pending { self.config.pending_lifetime_ms } else { self.config.queued_lifetime_ms };
            let age = Age { deadline_ms: entry.added_ms.saturating_add(lifetime), pending };
            if entry.indexed == Some(age) {
                continue;
            }
            if let Some(old) = entry.indexed {
                self.deadlines.remove(&(old.deadline_ms, sender, nonce));
            }
            self.deadlines.insert((age.deadline_ms, sender, nonce));
            if pending && entry.indexed.is_none_or(|old| !old.pending) {
                promoted.push(Arc::clone(&entry.transaction));
            }
            entry.indexed = Some(age);
        }
        promoted
    }

    fn index_sender(&mut self, old: &Keys, new: &Keys) {
        exchange(&mut self.tips, old.tip, new.tip);
        exchange(&mut self.fees, old.fee, new.fee);
        exchange(&mut self.tails, old.tail, new.tail);
        exchange(&mut self.queued, old.queued, new.queued);
    }
}

/// What adding an entry changed.
pub(crate) struct Inserted {
    pub(crate) replaced: Option<Entry>,
    /// What became pending, the new entry included.
    pub(crate) promoted: Vec<Arc<RecoveredTransaction>>,
}

/// Puts a key in the place of another.
fn exchange<K: Ord>(index: &mut BTreeSet<K>, old: Option<K>, new: Option<K>) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        index.remove(&old);
    }
    index.extend(new);
}
