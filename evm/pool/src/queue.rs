//! One sender's transactions by nonce: the executable ones from the account's nonce on, and those that are queued.

use crate::config::{PoolConfig, Share};
use crate::types::AccountState;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U256};
use bttc_types::RecoveredTransaction;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A transaction in the pool.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) transaction: Arc<RecoveredTransaction>,
    pub(crate) fee_cap: u128,
    pub(crate) tip_cap: u128,
    /// Most that it can cost, wei.
    pub(crate) cost: U256,
    /// Order of arrival: decides between equal prices.
    pub(crate) sequence: u64,
    pub(crate) added_ms: u64,
    pub(crate) local: bool,
    /// Accounts that it may delegate, in order and each once.
    pub(crate) authorities: Vec<Address>,
    /// Where the pool's index by age has it, and as what.
    pub(crate) indexed: Option<Age>,
}

/// An entry's place in the index by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) deadline_ms: u64,
    pub(crate) pending: bool,
}

impl Entry {
    pub(crate) fn new(transaction: Arc<RecoveredTransaction>, local: bool, added_ms: u64) -> Self {
        let content = transaction.transaction();
        let fee_cap = content.max_fee_per_gas();
        let tip_cap = content.max_priority_fee_per_gas().unwrap_or(fee_cap);
        let gas = U256::from(fee_cap).saturating_mul(U256::from(content.gas_limit()));
        let cost = gas.saturating_add(content.value());
        let authorities = Vec::new();
        Self { transaction, fee_cap, tip_cap, cost, sequence: 0, added_ms, local, authorities, indexed: None }
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.transaction.nonce()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.transaction.encoded().len()
    }
}

/// Numbers and bytes of a sender's transactions, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) pending: usize,
    pub(crate) pending_bytes: usize,
    pub(crate) queued: usize,
    pub(crate) queued_bytes: usize,
    /// Part of the pending ones.
    pub(crate) protected: usize,
    pub(crate) protected_bytes: usize,
}

impl Totals {
    pub(crate) fn count(&self) -> usize {
        self.pending + self.queued
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pending_bytes + self.queued_bytes
    }

    /// Puts one sender's new numbers in the place of its old ones.
    pub(crate) fn exchange(&mut self, old: &Self, new: &Self) {
        let exchange = |total: &mut usize, old: usize, new: usize| *total = (*total + new).saturating_sub(old);
        exchange(&mut self.pending, old.pending, new.pending);
        exchange(&mut self.pending_bytes, old.pending_bytes, new.pending_bytes);
        exchange(&mut self.queued, old.queued, new.queued);
        exchange(&mut self.queued_bytes, old.queued_bytes, new.queued_bytes);
        exchange(&mut self.protected, old.protected, new.protected);
        exchange(&mut self.protected_bytes, old.protected_bytes, new.protected_bytes);
    }
}

/// Key by the head's tip cap: highest first, then oldest.
pub(crate) type TipKey = (Reverse<u128>, u64, Address);
/// Key by the head's fee cap: highest first, then oldest.
pub(crate) type FeeKey = (Reverse<u128>, u64, Address);
/// What a pending transaction is worth, when others need its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Worth {
    /// Whether it is among its sender's first ones. All others are worth less, whatever they offer.
    pub(crate) first: bool,
    /// Its fee cap, or that of a cheaper one of its sender's, which must be included before it.
    pub(crate) price: u128,
}

/// Key by what the last executable transaction is worth: lowest first, then youngest.
pub(crate) type TailKey = (Worth, Reverse<u64>, Address);
/// Key by the weight of the queued transactions, most first; then by the last one's fee cap, lowest first; then
/// youngest.
pub(crate) type QueuedKey = (Reverse<usize>, u128, Reverse<u64>, Address);

/// Where the pool's indices over senders have a sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) tip: Option<TipKey>,
    pub(crate) fee: Option<FeeKey>,
    pub(crate) tail: Option<TailKey>,
    pub(crate) queued: Option<QueuedKey>,
}

/// A sender's queue.
///
/// *Pending* are the transactions from the account's nonce on without a gap whose costs together are within the
/// balance; *queued* are all others, each within the balance by itself. *Protected* are the first of the pending ones
/// that are local, as far as the pool's share for them goes: what is protected can be executed by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) account: AccountState,
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// First nonce after the pending ones.
    next: u64,
    /// First nonce after the protected ones.
    protected: u64,
    /// Cost of the pending ones.
    cost: U256,
    /// Fee caps of the pending ones, with their nonces.
    fee_caps: BTreeSet<(u128, u64)>,
    totals: Totals,
    /// Nonces that may have become pending or queued since this was last asked.
    moved: Vec<u64>,
    /// What the pool has counted and indexed of this queue.
    pub(crate) counted: Totals,
    pub(crate) keys: Keys,
}

impl Queue {
    pub(crate) fn new(account: AccountState) -> Self {
        Self { account, next: account.nonce, protected: account.nonce, ..Self::default() }
    }

    /// First nonce that is free after the pending transactions.
    pub(crate) fn next_nonce(&self) -> u64 {
        self.next
    }

    /// First nonce after the protected transactions.
    pub(crate) fn protected_nonce(&self) -> u64 {
        self.protected
    }

    /// Cost of the pending transactions.
    pub(crate) fn cost(&self) -> U256 {
        self.cost
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The transaction that can be executed next.
    pub(crate) fn head(&self) -> Option<&Entry> {
        self.pending(self.account.nonce)
    }

    /// The transaction with this nonce if it is pending.
    pub(crate) fn pending(&self, nonce: u64) -> Option<&Entry> {
        if nonce < self.next { self.entries.get(&nonce) } else { None }
    }

    /// The last queued transaction.
    pub(crate) fn last_queued(&self) -> Option<&Entry> {
        self.entries.last_key_value().filter(|(nonce, _)| **nonce >= self.next).map(|(_, entry)| entry)
    }

    /// What a pending transaction after all others is worth: nothing after a cheap one is included before it.
    pub(crate) fn floor_without(&self, nonce: u64) -> Option<u128> {
        self.fee_caps.iter().find(|(_, other)| *other != nonce).map(|(fee_cap, _)| *fee_cap)
    }

    /// Adds an entry, or puts it in the place of the one with its nonce.
    pub(crate) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let nonce = entry.nonce();
        let (cost, bytes, fee_cap) = (entry.cost, entry.bytes(), entry.fee_cap);
        let replaced = self.entries.insert(nonce, entry);
        self.moved.push(nonce);
        if nonce < self.next {
            if let Some(old) = &replaced {
                self.cost = self.cost.saturating_sub(old.cost);
                self.fee_caps.remove(&(old.fee_cap, nonce));
                self.totals.pending_bytes -= old.bytes();
                if nonce < self.protected {
                    self.totals.protected_bytes = self.totals.protected_bytes - old.bytes() + bytes;
                }
            }
            self.cost = self.cost.saturating_add(cost);
            self.fee_caps.insert((fee_cap, nonce));
            self.totals.pending_bytes += bytes;
        } else {
            if let Some(old) = &replaced {
                self.totals.queued -= 1;
                self.totals.queued_bytes -= old.bytes();
            }
            self.totals.queued += 1;
            self.totals.queued_bytes += bytes;
        }
        self.grow();
        replaced
    }

    /// Takes an entry out; what was pending after it is queued.
    pub(crate) fn remove(&mut self, nonce: u64) -> Option<Entry> {
        if !self.entries.contains_key(&nonce) {
            return None;
        }
        self.shrink_to(nonce);
        let entry = self.entries.remove(&nonce)?;
        self.totals.queued -= 1;
        self.totals.queued_bytes -= entry.bytes();
        Some(entry)
    }

    /// Takes over the account; gives the entries whose nonces are used.
    pub(crate) fn set_account(&mut self, account: AccountState) -> Vec<Entry> {
        if account.nonce < self.account.nonce {
            // Only a developer's chain goes back.
            self.shrink_to(self.account.nonce);
            (self.next, self.protected) = (account.nonce, account.nonce);
        }
        let mut used = Vec::new();
        while let Some(first) = self.entries.first_entry().filter(|first| *first.key() < account.nonce) {
            let (nonce, entry) = first.remove_entry();
            if nonce < self.next {
                self.leave_pending(nonce, &entry);
            } else {
                self.totals.queued -= 1;
                self.totals.queued_bytes -= entry.bytes();
            }
            used.push(entry);
        }
        self.next = self.next.max(account.nonce);
        self.protected = self.protected.max(account.nonce);
        self.account = account;
        while self.cost > account.balance && self.next > account.nonce {
            self.shrink_to(self.next - 1);
        }
        self.grow();
        used
    }

    /// Nonces of queued transactions that the account could not even pay for by themselves.
    pub(crate) fn unpayable(&self) -> Vec<u64> {
        let queued = self.entries.range(self.next..);
        queued.filter(|(_, entry)| entry.cost > self.account.balance).map(|(nonce, _)| *nonce).collect()
    }

    /// Protects local transactions from the first on, as far as `room` goes.
    pub(crate) fn protect(&mut self, room: Share) {
        while self.totals.protected > room.count || self.totals.protected_bytes > room.bytes {
            let Some(entry) = self.protected.checked_sub(1).and_then(|last| self.entries.get(&last)) else { break };
            self.totals.protected -= 1;
            self.totals.protected_bytes -= entry.bytes();
            self.protected -= 1;
        }
        while let Some(entry) = self.pending(self.protected).filter(|entry| entry.local) {
            let bytes = self.totals.protected_bytes + entry.bytes();
            if self.totals.protected >= room.count || bytes > room.bytes {
                break;
            }
            self.totals.protected += 1;
            self.totals.protected_bytes = bytes;
            self.protected += 1;
        }
    }

    /// The nonces that may have become pending or queued since this was last asked.
    pub(crate) fn take_moved(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.moved)
    }

    /// Where the pool's indices must have this sender.
    pub(crate) fn keys_of(&self, sender: Address, config: &PoolConfig) -> Keys {
        let head = self.head();
        let unprotected = self.next.checked_sub(1).filter(|last| *last >= self.protected);
        let tail = unprotected.and_then(|last| self.pending(last)).zip(self.fee_caps.first());
        let first = self.totals.pending <= config.first_per_sender;
        let weight = config.queued_share().weight(self.totals.queued, self.totals.queued_bytes);
        Keys {
            tip: head.map(|head| (Reverse(head.tip_cap), head.sequence, sender)),
            fee: head.map(|head| (Reverse(head.fee_cap), head.sequence, sender)),
            tail: tail.map(|(tail, (floor, _))| (Worth { first, price: *floor }, Reverse(tail.sequence), sender)),
            queued: self.last_queued().map(|last| (Reverse(weight), last.fee_cap, Reverse(last.sequence), sender)),
        }
    }

    /// Makes pending what is payable without a gap.
    fn grow(&mut self) {
        while let Some(entry) = self.entries.get(&self.next) {
            let cost = self.cost.saturating_add(entry.cost);
            let Some(next) = self.next.checked_add(1).filter(|_| cost <= self.account.balance) else { break };
            self.cost = cost;
            self.fee_caps.insert((entry.fee_cap, self.next));
            self.totals.queued -= 1;
            self.totals.queued_bytes -= entry.bytes();
            self.totals.pending += 1;
            self.totals.pending_bytes += entry.bytes();
            self.moved.push(self.next);
            self.next = next;
        }
    }

    /// Makes queued what is pending from a nonce on.
    fn shrink_to(&mut self, nonce: u64) {
        while self.next > nonce.max(self.account.nonce) {
            let last = self.next - 1;
            self.next = last;
            let Some(entry) = self.entries.get(&last) else { continue };
            let entry = entry.clone();
            self.leave_pending(last, &entry);
            self.protected = self.protected.min(last);
            self.totals.queued += 1;
            self.totals.queued_bytes += entry.bytes();
            self.moved.push(last);
        }
    }

    /// Takes a pending entry out of the sums.
    fn leave_pending(&mut self, nonce: u64, entry: &Entry) {
        self.cost = self.cost.saturating_sub(entry.cost);
        self.fee_caps.remove(&(entry.fee_cap, nonce));
        self.totals.pending -= 1;
        self.totals.pending_bytes -= entry.bytes();
        if nonce < self.protected {
            self.totals.protected -= 1;
            self.totals.protected_bytes -= entry.bytes();
        }
    }
}
