//! A pool without an index.

mod room;

use crate::config::Share;
use crate::types::AccountState;
use crate::{Error, Pool, PoolConfig};
use alloy_consensus::Transaction as _;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, B256, U256};
use bttc_types::RecoveredTransaction;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
struct Item {
    hash: B256,
    sender: Address,
    nonce: u64,
    fee: u128,
    tip: u128,
    cost: U256,
    bytes: usize,
    sequence: u64,
    added_ms: u64,
    local: bool,
    /// Whom it may delegate.
    authorities: BTreeSet<Address>,
}

/// What a pending transaction is worth: whether it is among its sender's first, and the price.
type Worth = (bool, u128);

pub(super) struct Naive {
    config: PoolConfig,
    /// As they were when last looked at, of senders with transactions.
    accounts: BTreeMap<Address, AccountState>,
    items: Vec<Item>,
    /// How many of a sender's first transactions are protected.
    protected: BTreeMap<Address, usize>,
    sequence: u64,
}

impl Naive {
    pub(super) fn new(config: PoolConfig) -> Self {
        let (accounts, protected) = (BTreeMap::new(), BTreeMap::new());
        Self { config, accounts, items: Vec::new(), protected, sequence: 0 }
    }

    fn of(&self, sender: Address) -> Vec<&Item> {
        let mut items: Vec<&Item> = self.items.iter().filter(|item| item.sender == sender).collect();
        items.sort_by_key(|item| item.nonce);
        items
    }

    fn pending(&self, sender: Address) -> Vec<&Item> {
        let account = self.accounts.get(&sender).copied().unwrap_or_default();
        let (mut next, mut cost) = (account.nonce, U256::ZERO);
        let mut pending = Vec::new();
        for item in self.of(sender) {
            cost += item.cost;
            if item.nonce != next || cost > account.balance {
                break;
            }
            next += 1;
            pending.push(item);
        }
        pending
    }

    fn queued(&self, sender: Address) -> Vec<&Item> {
        self.of(sender).split_off(self.pending(sender).len())
    }

    fn senders(&self) -> BTreeSet<Address> {
        self.items.iter().map(|item| item.sender).collect()
    }

    fn all_queued(&self) -> Share {
        let queued: Vec<&Item> = self.senders().into_iter().flat_map(|sender| self.queued(sender)).collect();
        Share { count: queued.len(), bytes: queued.iter().map(|item| item.bytes).sum() }
    }

    pub(super) fn next_nonce(&self, sender: Address) -> Option<u64> {
        let account = self.accounts.get(&sender)?;
        Some(account.nonce + self.pending(sender).len() as u64)
    }

    fn protected_of(&self, sender: Address) -> Vec<&Item> {
        let count = self.protected.get(&sender).copied().unwrap_or_default();
        self.pending(sender).into_iter().take(count).collect()
    }

    fn room_for_local(&self, sender: Address) -> Share {
        let others = self.senders().into_iter().filter(|other| *other != sender);
        let taken: Vec<&Item> = others.flat_map(|other| self.protected_of(other)).collect();
        let share = self.config.local_share();
        Share {
            count: share.count - taken.len(),
            bytes: share.bytes - taken.iter().map(|item| item.bytes).sum::<usize>(),
        }
    }

    /// Whether a sender may have one transaction only.
    fn limited(&self, sender: Address) -> bool {
        self.accounts.get(&sender).is_some_and(|account| account.delegated)
            || self.items.iter().any(|item| item.authorities.contains(&sender))
    }

    /// What follows every change of a sender's transactions or account.
    fn settle(&mut self, sender: Address) {
        while self.queued(sender).len() > self.config.max_queued_per_sender {
            let last = self.queued(sender).last().unwrap().hash;
            self.items.retain(|item| item.hash != last);
        }
        while self.limited(sender) && self.of(sender).len() > 1 {
            let last = self.of(sender).last().unwrap().hash;
            self.items.retain(|item| item.hash != last);
        }
        let room = self.room_for_local(sender);
        let (mut count, mut bytes) = (0, 0);
        for item in self.pending(sender) {
            bytes += item.bytes;
            if !item.local || count == room.count || bytes > room.bytes {
                break;
            }
            count += 1;
        }
        self.protected.insert(sender, count);
        if self.of(sender).is_empty() {
            self.accounts.remove(&sender);
            self.protected.remove(&sender);
        }
    }

    pub(super) fn remove(&mut self, sender: Address, nonce: u64) {
        self.items.retain(|item| (item.sender, item.nonce) != (sender, nonce));
        self.settle(sender);
    }

    pub(super) fn set_account(&mut self, sender: Address, account: AccountState) {
        let Some(old) = self.accounts.get(&sender).copied().filter(|old| *old != account) else { return };
        self.accounts.insert(sender, account);
        self.items.retain(|item| item.sender != sender || item.nonce >= account.nonce);
        if account.balance < old.balance {
            self.items.retain(|item| item.sender != sender || item.cost <= account.balance);
        }
        self.settle(sender);
    }

    /// How much of the share for queued ones these take.
    fn weight(&self, items: &[&Item]) -> usize {
        let (share, bytes) = (self.config.queued_share(), items.iter().map(|item| item.bytes).sum::<usize>());
        items.len().max(bytes * share.count / share.bytes)
    }

    fn most_queued(&self, except: Option<Address>) -> Option<(usize, Item)> {
        let senders = self.senders().into_iter().filter(|sender| Some(*sender) != except);
        let last = senders.filter_map(|sender| {
            let queued = self.queued(sender);
            queued.last().map(|last| (self.weight(&queued), (*last).clone()))
        });
        last.min_by_key(|(count, last)| (Reverse(*count), last.fee, Reverse(last.sequence), last.sender))
    }

    pub(super) fn bound_queued(&mut self) {
        let share = self.config.queued_share();
        while self.all_queued().count > share.count || self.all_queued().bytes > share.bytes {
            let (_, last) = self.most_queued(None).unwrap();
            self.remove(last.sender, last.nonce);
        }
    }

    pub(super) fn expire(&mut self, now_ms: u64) {
        loop {
            let deadline = |item: &Item| {
                let pending = self.next_nonce(item.sender).is_some_and(|next| item.nonce < next);
                let lifetime = if pending { self.config.pending_lifetime_ms } else { self.config.queued_lifetime_ms };
                (item.added_ms + lifetime, item.sender, item.nonce)
            };
            let Some((at, sender, nonce)) = self.items.iter().map(deadline).min() else { return };
            if at >= now_ms {
                return;
            }
            self.remove(sender, nonce);
            self.bound_queued();
        }
    }

    pub(super) fn add(
        &mut self,
        transaction: &RecoveredTransaction,
        local: bool,
        now_ms: u64,
        account: AccountState,
    ) -> Result<bool, Error> {
        let content = transaction.transaction();
        let fee = content.max_fee_per_gas();
        let item = Item {
            hash: transaction.hash(),
            sender: transaction.sender(),
            nonce: transaction.nonce(),
            fee,
            tip: content.max_priority_fee_per_gas().unwrap_or(fee),
            cost: U256::from(fee) * U256::from(content.gas_limit()) + content.value(),
            bytes: transaction.encoded().len(),
            sequence: self.sequence + 1,
            added_ms: now_ms,
            local,
            authorities: authorities_of(transaction),
        };
        if self.items.iter().any(|other| other.hash == item.hash) {
            return Err(Error::AlreadyKnown);
        }
        self.set_account(item.sender, account);
        self.bound_queued();
        self.accounts.insert(item.sender, account);
        let result = self.add_item(item.clone());
        if self.of(item.sender).is_empty() {
            self.accounts.remove(&item.sender);
        }
        result
    }

    fn add_item(&mut self, mut item: Item) -> Result<bool, Error> {
        let (sender, nonce, config) = (item.sender, item.nonce, self.config);
        let account = self.accounts[&sender];
        if nonce < account.nonce {
            return Err(Error::NonceTooLow { next: account.nonce, got: nonce });
        }
        if nonce - account.nonce >= config.max_per_sender as u64 {
            return Err(Error::NonceTooHigh { next: account.nonce, got: nonce, limit: config.max_per_sender });
        }
        let next = self.next_nonce(sender).unwrap();
        let others: Vec<&Item> = self.of(sender).into_iter().filter(|other| other.nonce != nonce).collect();
        let limited = self.limited(sender) || item.authorities.contains(&sender);
        let overtaken = match others[..] {
            [other] if limited && other.nonce >= next && other.nonce > nonce && self.of(sender).len() == 1 => {
                Some(other)
            }
            _ => None,
        };
        let overtaken = overtaken.cloned();
        let old = self.of(sender).into_iter().find(|other| other.nonce == nonce).cloned();
        let held: usize = self.of(sender).iter().map(|item| item.bytes).sum();
        let limit = |limit, what| Err(Error::SenderLimit { sender, limit, what });
        if old.is_none() && self.of(sender).len() >= config.max_per_sender {
            return limit(config.max_per_sender, "transactions");
        }
        if held + item.bytes - old.as_ref().map_or(0, |old| old.bytes) > config.max_bytes_per_sender {
            return limit(config.max_bytes_per_sender, "bytes");
        }
        let queued = self.queued(sender);
        let gives_way = queued.last().filter(|last| last.nonce > nonce && queued.len() == config.max_queued_per_sender);
        if old.is_none() && nonce > next && queued.len() == config.max_queued_per_sender && gives_way.is_none() {
            return limit(config.max_queued_per_sender, "transactions that wait for an earlier nonce");
        }
        let gives_way = gives_way.filter(|_| nonce > next).map(|last| (*last).clone());
        if let Some(old) = &old {
            let raised = |value: u128| (value * 110).div_ceil(100).max(value + 1);
            let tip = if old.tip == 0 { 0 } else { raised(old.tip) };
            if item.fee < raised(old.fee) || item.tip < tip {
                return Err(Error::ReplacementUnderpriced { fee_cap: raised(old.fee), tip });
            }
        }
        let before = self.pending(sender).into_iter().filter(|other| other.nonce != nonce);
        let cost = if nonce > next { item.cost } else { before.map(|other| other.cost).sum::<U256>() + item.cost };
        if cost > account.balance {
            return Err(Error::InsufficientFunds { balance: account.balance, cost });
        }
        if limited && !others.is_empty() && overtaken.is_none() {
            return Err(Error::InFlightLimit(sender));
        }
        let named = item.authorities.iter().filter(|authority| **authority != sender);
        if let Some(authority) = named.into_iter().find(|authority| self.of(**authority).len() > 1) {
            return Err(Error::AuthorityReserved(*authority));
        }
        item.local |= old.as_ref().is_some_and(|old| old.local);
        let leaving = old.clone().or(overtaken).or(gives_way);
        self.make_room(&item, leaving.as_ref(), nonce <= next)?;
        self.items.retain(|other| Some(other.hash) != old.as_ref().map(|old| old.hash));
        self.items.push(item);
        // It may have had nothing left after making room.
        self.accounts.insert(sender, account);
        self.sequence += 1;
        self.settle(sender);
        Ok(nonce <= next)
    }

    /// Fails when the pool holds something else, or sees it otherwise.
    pub(super) fn assert_same(&self, pool: &Pool, at: &str) {
        let mut got: Vec<(Address, u64, B256, bool)> = Vec::new();
        for entry in pool.content(None) {
            let transaction = &entry.transaction;
            got.push((transaction.sender(), transaction.nonce(), transaction.hash(), entry.pending));
        }
        let mut expected = Vec::new();
        for sender in self.senders() {
            let next = self.next_nonce(sender);
            assert_eq!(pool.next_nonce(&sender), next, "{at}: next nonce of {sender}");
            expected
                .extend(self.of(sender).iter().map(|item| (sender, item.nonce, item.hash, Some(item.nonce) < next)));
        }
        assert_eq!(got, expected, "{at}");
        let inner = pool.inner.lock();
        for (sender, queue) in &inner.queues {
            assert_eq!(queue.totals().protected, self.protected_of(*sender).len(), "{at}: protected of {sender}");
        }
    }
}

fn authorities_of(transaction: &RecoveredTransaction) -> BTreeSet<Address> {
    let list = transaction.transaction().authorization_list().unwrap_or_default();
    let signer = |signed: &SignedAuthorization| {
        let (signature, hash) = (signed.signature().unwrap(), signed.signature_hash());
        signature.recover_address_from_prehash(&hash).unwrap()
    };
    list.iter().map(signer).collect()
}
