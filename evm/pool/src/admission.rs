//! What is taken into the pool.

use crate::Error;
use crate::config::PoolConfig;
use crate::delegation::authorities;
use crate::index::Inner;
use crate::intrinsic::intrinsic_gas;
use crate::pool::Pool;
use crate::queue::{Entry, Queue, Worth};
use crate::room::{Leaving, Room};
use crate::types::{AccountLookup, AccountState, Added};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U256};
use bttc_types::RecoveredTransaction;
use parking_lot::MutexGuard;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Pool {
    /// Checks that need neither sender nor state: do these before recovering a sender.
    ///
    /// # Errors
    /// The reason.
    pub fn check_stateless(&self, transaction: &bttc_types::Transaction) -> Result<(), Error> {
        const MAX_INIT_CODE: usize = 49_152;
        if transaction.is_eip4844() {
            return Err(Error::Blobs);
        }
        if let Some(got) = transaction.chain_id()
            && got != self.chain_id
        {
            return Err(Error::ChainId { got, expected: self.chain_id });
        }
        if transaction.max_priority_fee_per_gas().is_some_and(|tip| tip > transaction.max_fee_per_gas()) {
            return Err(Error::TipAboveFeeCap);
        }
        if transaction.gas_limit() > self.gas_cap {
            return Err(Error::GasCap { got: transaction.gas_limit(), cap: self.gas_cap });
        }
        if transaction.is_create() && transaction.input().len() > MAX_INIT_CODE {
            return Err(Error::InitCode { got: transaction.input().len(), limit: MAX_INIT_CODE });
        }
        if transaction.authorization_list().is_some_and(<[_]>::is_empty) {
            return Err(Error::NoAuthorizations);
        }
        let needed = intrinsic_gas(transaction);
        if transaction.gas_limit() < needed {
            return Err(Error::IntrinsicGas { got: transaction.gas_limit(), needed });
        }
        // What is wrong for ever comes before what is wrong at this height.
        let (minimum, limit) = (self.min_base_fee.load(Ordering::Relaxed), self.gas_limit.load(Ordering::Relaxed));
        if transaction.max_fee_per_gas() < u128::from(minimum) {
            return Err(Error::Underpriced { got: transaction.max_fee_per_gas(), minimum });
        }
        if transaction.gas_limit() > limit {
            return Err(Error::GasLimit { got: transaction.gas_limit(), limit });
        }
        if self.inner.lock().by_hash.contains_key(transaction.tx_hash()) {
            return Err(Error::AlreadyKnown);
        }
        Ok(())
    }

    /// Whether a full pool refuses what offers so little, whoever sends it and as which of its transactions: do this
    /// before recovering a sender, unless the transaction is local.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn check_price(&self, transaction: &bttc_types::Transaction) -> Result<(), Error> {
        let inner = self.inner.lock();
        let full = inner.totals.count() >= self.config.max_transactions && inner.totals.queued == 0;
        match inner.tails.first() {
            Some((least, ..)) if full && least.first && transaction.max_fee_per_gas() <= least.price => {
                Err(Error::Full { minimum: least.price })
            }
            _ => Ok(()),
        }
    }

    /// Adds a transaction. `local` ones (from this node's own RPC) find room whatever they pay, and are not evicted, as
    /// far as [`PoolConfig::local_percent`] goes; beyond it they are as any other. Lifetimes are counted from `now_ms`,
    /// of a clock that never goes back.
    ///
    /// A transaction that delegates accounts (type 4) costs a recovery for each of its authorizations, after all else
    /// that does not depend on them; the refusals that may come after that are [`Error::AuthorityReserved`],
    /// [`Error::InFlightLimit`], [`Error::Full`], [`Error::QueuedFull`], [`Error::SenderLimit`] and
    /// [`Error::TooManyVictims`].
    ///
    /// # Errors
    /// The reason why it is not accepted.
    pub fn add(
        &self,
        transaction: Arc<RecoveredTransaction>,
        local: bool,
        now_ms: u64,
        accounts: &dyn AccountLookup,
    ) -> Result<Added, Error> {
        self.check_stateless(transaction.transaction())?;
        let sender = transaction.sender();
        let mut entry = Entry::new(transaction, local, now_ms);
        if entry.transaction.transaction().is_eip7702() {
            let (inner, account) = self.locked_at(sender, accounts)?;
            inner.check(sender, account, &entry)?;
            drop(inner);
            entry.authorities = authorities(&entry.transaction, self.chain_id, accounts)?;
        }
        let (mut inner, account) = self.locked_at(sender, accounts)?;
        inner.add(sender, account, entry)
    }

    /// The pool with a sender's account taken over. It is read without the lock; should a block come in between, again.
    fn locked_at(
        &self,
        sender: Address,
        accounts: &dyn AccountLookup,
    ) -> Result<(MutexGuard<'_, Inner>, AccountState), Error> {
        loop {
            let before = self.inner.lock().blocks;
            let account = accounts.account(sender).map_err(Error::State)?;
            let mut inner = self.inner.lock();
            if inner.blocks == before {
                inner.set_account(sender, account, &HashSet::new());
                inner.bound_queued();
                return Ok((inner, account));
            }
        }
    }
}

impl Inner {
    /// Everything that keeps a transaction out while there is room.
    fn check(&self, sender: Address, account: AccountState, entry: &Entry) -> Result<(), Error> {
        check_account(&self.config, sender, account, entry.nonce())?;
        if self.by_hash.contains_key(&entry.transaction.hash()) {
            return Err(Error::AlreadyKnown);
        }
        let new = Queue::new(account);
        let queue = self.queues.get(&sender).unwrap_or(&new);
        check_share(&self.config, sender, queue, entry)?;
        if let Some(old) = queue.entries.get(&entry.nonce()) {
            check_replacement(&self.config, old, entry)?;
        }
        check_funds(queue, entry)?;
        self.check_in_flight(sender, queue, entry)
    }

    fn add(&mut self, sender: Address, account: AccountState, mut entry: Entry) -> Result<Added, Error> {
        self.check(sender, account, &entry)?;
        let new = Queue::new(account);
        let queue = self.queues.get(&sender).unwrap_or(&new);
        let old = queue.entries.get(&entry.nonce());
        entry.local |= old.is_some_and(|old| old.local);
        let room = self.room_for(sender, queue, &entry);
        let (hash, pending) = (entry.transaction.hash(), room.pending);
        self.make_room(&room)?;

        self.sequence += 1;
        entry.sequence = self.sequence;
        let inserted = self.insert(sender, account, entry);
        let mut promoted = std::mem::take(&mut self.promoted);
        promoted.extend(inserted.promoted.into_iter().filter(|transaction| transaction.hash() != hash));
        Ok(Added { hash, pending, replaced: inserted.replaced.map(|old| old.transaction.hash()), promoted })
    }

    /// What room a transaction needs.
    fn room_for(&self, sender: Address, queue: &Queue, entry: &Entry) -> Room {
        let nonce = entry.nonce();
        let pending = nonce <= queue.next_nonce();
        let old = queue.entries.get(&nonce);
        let gives_way = if pending { None } else { self.gives_way(queue, entry) };
        let leaving = old.or_else(|| self.overtaken(sender, queue, entry)).or(gives_way);
        let floor = queue.floor_without(nonce).unwrap_or(entry.fee_cap);
        let first = nonce.saturating_sub(queue.account.nonce) < self.config.first_per_sender as u64;
        Room {
            sender,
            bytes: entry.bytes(),
            worth: Worth { first, price: floor.min(entry.fee_cap) },
            pending,
            reserved: pending && self.reserved(queue, entry, old),
            leaving: leaving.map(|leaving| Leaving {
                nonce: leaving.nonce(),
                bytes: leaving.bytes(),
                queued: leaving.nonce() >= queue.next_nonce(),
            }),
        }
    }

    /// The sender's last queued transaction, when it has as many as it may have and a new one with a lower nonce comes.
    fn gives_way<'a>(&self, queue: &'a Queue, entry: &Entry) -> Option<&'a Entry> {
        let full = queue.totals().queued >= self.config.max_queued_per_sender;
        queue.last_queued().filter(|last| full && last.nonce() > entry.nonce())
    }

    /// Whether a pending transaction takes a place of the share for local ones.
    fn reserved(&self, queue: &Queue, entry: &Entry, old: Option<&Entry>) -> bool {
        let room = self.room_for_local(&queue.counted);
        let (mut count, mut bytes) = (queue.totals().protected + 1, queue.totals().protected_bytes + entry.bytes());
        if let Some(old) = old.filter(|old| old.nonce() < queue.protected_nonce()) {
            count -= 1;
            bytes -= old.bytes();
        }
        entry.local && entry.nonce() <= queue.protected_nonce() && count <= room.count && bytes <= room.bytes
    }
}

fn check_account(config: &PoolConfig, sender: Address, account: AccountState, nonce: u64) -> Result<(), Error> {
    if account.contract {
        return Err(Error::SenderIsContract(sender));
    }
    if nonce < account.nonce {
        return Err(Error::NonceTooLow { next: account.nonce, got: nonce });
    }
    // The last nonce of all cannot be used (EIP-2681).
    if nonce - account.nonce >= config.max_per_sender as u64 || nonce == u64::MAX {
        return Err(Error::NonceTooHigh { next: account.nonce, got: nonce, limit: config.max_per_sender });
    }
    Ok(())
}

/// Whether the sender's share of the pool holds one more.
fn check_share(config: &PoolConfig, sender: Address, queue: &Queue, entry: &Entry) -> Result<(), Error> {
    let (nonce, totals) = (entry.nonce(), queue.totals());
    let old = queue.entries.get(&nonce);
    if old.is_none() && queue.entries.len() >= config.max_per_sender {
        return Err(Error::SenderLimit { sender, limit: config.max_per_sender, what: "transactions" });
    }
    if totals.bytes() - old.map_or(0, Entry::bytes) + entry.bytes() > config.max_bytes_per_sender {
        return Err(Error::SenderLimit { sender, limit: config.max_bytes_per_sender, what: "bytes" });
    }
    let queued = old.is_none() && nonce > queue.next_nonce();
    let last = queue.last_queued().is_none_or(|last| last.nonce() < nonce);
    if queued && last && totals.queued >= config.max_queued_per_sender {
        let what = "transactions that wait for an earlier nonce";
        return Err(Error::SenderLimit { sender, limit: config.max_queued_per_sender, what });
    }
    Ok(())
}

fn check_replacement(config: &PoolConfig, old: &Entry, entry: &Entry) -> Result<(), Error> {
    let raised =
        |value: u128| value.saturating_mul(100 + config.replacement_percent).div_ceil(100).max(value.saturating_add(1));
    // A tip of 0 cannot be raised by a percentage: the fee cap decides then.
    let tip = if old.tip_cap == 0 { 0 } else { raised(old.tip_cap) };
    if entry.fee_cap < raised(old.fee_cap) || entry.tip_cap < tip {
        return Err(Error::ReplacementUnderpriced { fee_cap: raised(old.fee_cap), tip });
    }
    Ok(())
}

/// Whether the balance is enough: for all pending ones together with this one, or for this one alone while it is
/// queued.
fn check_funds(queue: &Queue, entry: &Entry) -> Result<(), Error> {
    let nonce = entry.nonce();
    let cost = if nonce > queue.next_nonce() {
        entry.cost
    } else {
        let old = queue.pending(nonce).map_or(U256::ZERO, |old| old.cost);
        queue.cost().saturating_sub(old).saturating_add(entry.cost)
    };
    if cost > queue.account.balance {
        return Err(Error::InsufficientFunds { balance: queue.account.balance, cost });
    }
    Ok(())
}
