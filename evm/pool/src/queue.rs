//! One sender's transactions by nonce.

use crate::pool::AccountState;
use alloy_primitives::U256;
use bttc_types::RecoveredTransaction;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A transaction in the pool.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) transaction: Arc<RecoveredTransaction>,
    pub(crate) fee_cap: u128,
    pub(crate) tip_cap: u128,
    pub(crate) cost: U256,
    /// Order of arrival: decides between equal prices.
    pub(crate) sequence: u64,
    pub(crate) added_ms: u64,
    pub(crate) local: bool,
}

/// A sender's queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) account: AccountState,
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) bytes: usize,
    pub(crate) cost: U256,
}

impl Queue {
    pub(crate) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        self.bytes += entry.transaction.encoded().len();
        self.cost = self.cost.saturating_add(entry.cost);
        let replaced = self.entries.insert(entry.transaction.nonce(), entry);
        if let Some(replaced) = &replaced {
            self.forget(replaced);
        }
        replaced
    }

    pub(crate) fn remove(&mut self, nonce: u64) -> Option<Entry> {
        let entry = self.entries.remove(&nonce)?;
        self.forget(&entry);
        Some(entry)
    }

    fn forget(&mut self, entry: &Entry) {
        self.bytes = self.bytes.saturating_sub(entry.transaction.encoded().len());
        self.cost = self.cost.saturating_sub(entry.cost);
    }

    /// Cost of the transactions from a nonce on: those before it are in a block already.
    pub(crate) fn cost_from(&self, nonce: u64) -> U256 {
        let used: U256 = self.entries.range(..nonce).fold(U256::ZERO, |sum, (_, entry)| sum.saturating_add(entry.cost));
        self.cost.saturating_sub(used)
    }

    /// The transaction that can be executed next, if there is no gap before it.
    pub(crate) fn head(&self) -> Option<&Entry> {
        self.entries.get(&self.account.nonce)
    }

    /// First nonce that is free after the transactions without gap.
    pub(crate) fn next_nonce(&self) -> u64 {
        let mut next = self.account.nonce;
        for nonce in self.entries.keys() {
            if *nonce != next {
                break;
            }
            next = next.saturating_add(1);
        }
        next
    }
}
