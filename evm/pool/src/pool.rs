//! The pool: admission, replacement, eviction, new heads.

use crate::Error;
use crate::config::PoolConfig;
use crate::intrinsic::intrinsic_gas;
use crate::queue::{Entry, Queue};
use alloy_consensus::Transaction as _;
use alloy_primitives::map::{AddressMap, B256Map};
use alloy_primitives::{Address, B256, U256};
use bttc_types::RecoveredTransaction;
use lru::LruCache;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A sender's account as far as the pool needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Next nonce.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Whether it has code that is no EIP-7702 delegation.
    pub contract: bool,
}

/// Reads accounts at the head.
pub trait AccountLookup {
    /// The account, or its default when it does not exist.
    ///
    /// # Errors
    /// In words, when the store fails.
    fn account(&self, address: Address) -> Result<AccountState, String>;
}

/// What the chain demands of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct ChainLimits {
    /// The chain's id.
    pub chain_id: u64,
    /// Most gas of one transaction, whatever a block holds.
    pub gas_cap: u64,
    /// Gas limit of a block.
    pub gas_limit: u64,
    /// Lowest base fee there can be.
    pub min_base_fee: u64,
}

/// What became of an accepted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its hash.
    pub hash: B256,
    /// Whether nothing is missing before it.
    pub pending: bool,
    /// The transaction that it replaced.
    pub replaced: Option<B256>,
    /// Later ones of its sender that waited for it alone.
    pub promoted: Vec<Arc<RecoveredTransaction>>,
}

/// Why a transaction left the pool without being in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Another one with the same nonce came and paid more.
    Replaced(B256),
    /// Another transaction with this nonce is in a block.
    NonceUsed,
    /// Better paying transactions needed the room.
    Evicted,
    /// It waited too long.
    Expired,
    /// It turned out invalid when it was to be executed.
    Invalid(String),
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Replaced(by) => write!(f, "replaced by {by}"),
            Self::NonceUsed => f.write_str("another transaction with this nonce was included"),
            Self::Evicted => f.write_str("evicted: the pool was full of better paying transactions"),
            Self::Expired => f.write_str("expired: it waited longer than the pool's lifetime"),
            Self::Invalid(reason) => write!(f, "invalid when it was to be executed: {reason}"),
        }
    }
}

/// A transaction as `txpool_content` shows it.
#[derive(Clone, Debug)]
pub struct PoolEntry {
    /// The transaction.
    pub transaction: Arc<RecoveredTransaction>,
    /// Whether nothing is missing before it.
    pub pending: bool,
}

/// Sizes of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Transactions without gap.
    pub pending: usize,
    /// Transactions behind a gap.
    pub queued: usize,
    /// Bytes of all.
    pub bytes: usize,
}

/// What room is needed for.
struct Room {
    bytes: usize,
    credit: usize,
    credit_bytes: usize,
    fee_cap: u128,
    local: bool,
    sender: Address,
}

/// Key of the index of executable transactions: highest tip first, then oldest.
pub(crate) type ReadyKey = (Reverse<u128>, u64, Address);

pub(crate) struct Inner {
    pub(crate) queues: AddressMap<Queue>,
    by_hash: B256Map<(Address, u64)>,
    /// One entry a sender: its executable transaction by tip cap.
    pub(crate) ready: BTreeSet<ReadyKey>,
    /// All transactions, cheapest first: what is evicted.
    by_price: BTreeSet<(u128, Reverse<u64>, Address)>,
    dropped: LruCache<B256, DropReason>,
    bytes: usize,
    sequence: u64,
    /// Raised with every block, so that an account read before it can be told from one read after it.
    blocks: u64,
}

impl Inner {
    fn empty(remembered: NonZeroUsize) -> Self {
        Self {
            queues: AddressMap::default(),
            by_hash: B256Map::default(),
            ready: BTreeSet::new(),
            by_price: BTreeSet::new(),
            dropped: LruCache::new(remembered),
            bytes: 0,
            sequence: 0,
            blocks: 0,
        }
    }
}

/// The transaction pool. All methods take the one lock briefly; none does I/O under it.
pub struct Pool {
    config: PoolConfig,
    chain_id: u64,
    /// Most gas of one transaction whatever a block holds.
    gas_cap: u64,
    max_gas: AtomicU64,
    min_base_fee: AtomicU64,
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
        let remembered = NonZeroUsize::new(config.remembered_drops).unwrap_or(NonZeroUsize::MIN);
        Self {
            config,
            chain_id: limits.chain_id,
            gas_cap: limits.gas_cap,
            max_gas: AtomicU64::new(limits.gas_limit.min(limits.gas_cap)),
            min_base_fee: AtomicU64::new(limits.min_base_fee),
            inner: Mutex::new(Inner::empty(remembered)),
        }
    }

    /// Forgets everything: the chain was set back.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        *inner = Inner::empty(inner.dropped.cap());
    }

    /// Takes over what governance decided: the gas limit of blocks and the lowest base fee.
    pub fn set_limits(&self, gas_limit: u64, min_base_fee: u64) {
        self.max_gas.store(gas_limit.min(self.gas_cap), Ordering::Relaxed);
        self.min_base_fee.store(min_base_fee, Ordering::Relaxed);
    }

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
        let (minimum, limit) = (self.min_base_fee.load(Ordering::Relaxed), self.max_gas.load(Ordering::Relaxed));
        if transaction.max_fee_per_gas() < u128::from(minimum) {
            return Err(Error::Underpriced { got: transaction.max_fee_per_gas(), minimum });
        }
        if transaction.gas_limit() > limit {
            return Err(Error::GasLimit { got: transaction.gas_limit(), limit });
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
        if self.inner.lock().by_hash.contains_key(transaction.tx_hash()) {
            return Err(Error::AlreadyKnown);
        }
        Ok(())
    }

    /// Adds a transaction. `local` ones (from this node's own RPC) are never evicted for price by remote ones.
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
        let nonce = transaction.nonce();
        let fee_cap = transaction.transaction().max_fee_per_gas();
        let tip_cap = transaction.transaction().max_priority_fee_per_gas().unwrap_or(fee_cap);
        let cost = U256::from(fee_cap)
            .saturating_mul(U256::from(transaction.transaction().gas_limit()))
            .saturating_add(transaction.transaction().value());
        let bytes = transaction.encoded().len();
        let hash = transaction.hash();

        // The account is read without the lock; should a block come in between, it is read again.
        let (mut inner, account) = loop {
            let before = self.inner.lock().blocks;
            let account = accounts.account(sender).map_err(Error::State)?;
            let inner = self.inner.lock();
            if inner.blocks == before {
                break (inner, account);
            }
        };
        if account.contract {
            return Err(Error::SenderIsContract(sender));
        }
        if nonce < account.nonce {
            return Err(Error::NonceTooLow { next: account.nonce, got: nonce });
        }
        if nonce - account.nonce >= self.config.max_per_sender as u64 {
            return Err(Error::NonceTooHigh { next: account.nonce, got: nonce, limit: self.config.max_per_sender });
        }
        if inner.by_hash.contains_key(&hash) {
            return Err(Error::AlreadyKnown);
        }
        let queue = inner.queues.get(&sender);
        let old = queue.and_then(|queue| queue.entries.get(&nonce)).cloned();
        let (held_cost, held_bytes, held) = queue
            .map_or((U256::ZERO, 0, 0), |queue| (queue.cost_from(account.nonce), queue.bytes, queue.entries.len()));
        if let Some(old) = &old {
            let raised = |value: u128| {
                value.saturating_mul(100 + self.config.replacement_percent).div_ceil(100).max(value.saturating_add(1))
            };
            // A tip of 0 cannot be raised by a percentage: the fee cap decides then.
            let tip_floor = if old.tip_cap == 0 { 0 } else { raised(old.tip_cap) };
            if fee_cap < raised(old.fee_cap) || tip_cap < tip_floor {
                return Err(Error::ReplacementUnderpriced { fee_cap: raised(old.fee_cap), tip: tip_floor });
            }
        } else if held >= self.config.max_per_sender {
            return Err(Error::SenderLimit { sender, limit: self.config.max_per_sender, what: "transactions" });
        }
        let old_bytes = old.as_ref().map_or(0, |old| old.transaction.encoded().len());
        if held_bytes - old_bytes + bytes > self.config.max_bytes_per_sender {
            return Err(Error::SenderLimit { sender, limit: self.config.max_bytes_per_sender, what: "bytes" });
        }
        let total_cost = held_cost.saturating_sub(old.as_ref().map_or(U256::ZERO, |old| old.cost)).saturating_add(cost);
        if total_cost > account.balance {
            return Err(Error::InsufficientFunds { balance: account.balance, cost: total_cost });
        }
        let room = Room { bytes, credit: usize::from(old.is_some()), credit_bytes: old_bytes, fee_cap, local, sender };
        self.make_room(&mut inner, &room)?;

        inner.sequence += 1;
        let sequence = inner.sequence;
        let entry = Entry { transaction, fee_cap, tip_cap, cost, sequence, added_ms: now_ms, local };
        inner.unready(sender);
        let queue = inner.queues.entry(sender).or_default();
        queue.account = account;
        let replaced = queue.insert(entry);
        let next = queue.next_nonce();
        let pending = nonce < next;
        let promoted = match &replaced {
            None if pending => {
                queue.entries.range(nonce + 1..next).map(|(_, entry)| Arc::clone(&entry.transaction)).collect()
            }
            _ => Vec::new(),
        };
        inner.bytes += bytes;
        if let Some(replaced) = &replaced {
            let old_hash = replaced.transaction.hash();
            inner.bytes -= replaced.transaction.encoded().len();
            inner.by_hash.remove(&old_hash);
            inner.by_price.remove(&(replaced.fee_cap, Reverse(replaced.sequence), sender));
            inner.dropped.put(old_hash, DropReason::Replaced(hash));
        }
        inner.by_hash.insert(hash, (sender, nonce));
        inner.by_price.insert((fee_cap, Reverse(sequence), sender));
        inner.dropped.pop(&hash);
        inner.make_ready(sender);
        Ok(Added { hash, pending, replaced: replaced.map(|entry| entry.transaction.hash()), promoted })
    }

    /// Makes room for a transaction of `bytes` bytes that replaces `credit` transactions of `credit_bytes` bytes: evicts
    /// the cheapest, from the end of their senders' queues so that no gap is torn. Nothing is evicted when it would not
    /// be enough; a remote transaction evicts only what pays less and is not local.
    fn make_room(&self, inner: &mut Inner, room: &Room) -> Result<(), Error> {
        let mut count = (inner.by_hash.len() + 1).saturating_sub(room.credit);
        let mut bytes = (inner.bytes + room.bytes).saturating_sub(room.credit_bytes);
        let mut victims: Vec<(Address, u64)> = Vec::new();
        let mut taken: AddressMap<usize> = AddressMap::default();
        let mut cheapest = None;
        let mut prices = inner.by_price.iter();
        while count > self.config.max_transactions || bytes > self.config.max_bytes {
            let Some((price, _, sender)) = prices.next().copied() else {
                return Err(Error::Full { minimum: cheapest.unwrap_or(room.fee_cap) });
            };
            cheapest.get_or_insert(price);
            if price >= room.fee_cap && !room.local {
                return Err(Error::Full { minimum: cheapest.unwrap_or(price) });
            }
            let already = taken.entry(sender).or_default();
            let last = inner.queues.get(&sender).and_then(|queue| queue.entries.iter().rev().nth(*already));
            let Some((nonce, entry)) = last else { continue };
            let spared = sender == room.sender || (!room.local && (entry.local || entry.fee_cap >= room.fee_cap));
            if spared {
                continue;
            }
            *already += 1;
            count -= 1;
            bytes -= entry.transaction.encoded().len();
            victims.push((sender, *nonce));
        }
        for (sender, nonce) in victims {
            inner.remove(sender, nonce, Some(DropReason::Evicted));
        }
        Ok(())
    }

    /// Takes over a new head: forgets what was included or became impossible, for the senders that the block
    /// touched. Costs in proportion to the block, not to the pool.
    pub fn on_block(&self, included: &[Arc<RecoveredTransaction>], accounts: &dyn AccountLookup) -> Result<(), Error> {
        let mut senders: Vec<Address> = included.iter().map(|transaction| transaction.sender()).collect();
        senders.sort_unstable();
        senders.dedup();
        let known: Vec<Address> = {
            let mut inner = self.inner.lock();
            inner.blocks += 1;
            senders.into_iter().filter(|sender| inner.queues.contains_key(sender)).collect()
        };
        let mut states = Vec::with_capacity(known.len());
        for sender in known {
            states.push((sender, accounts.account(sender).map_err(Error::State)?));
        }
        let mut inner = self.inner.lock();
        let hashes: std::collections::HashSet<B256> = included.iter().map(|transaction| transaction.hash()).collect();
        for (sender, account) in states {
            inner.unready(sender);
            inner.set_account(sender, account, &hashes);
            inner.make_ready(sender);
        }
        Ok(())
    }

    /// Drops transactions that waited too long. Call it every few seconds.
    pub fn expire(&self, now_ms: u64) {
        let mut inner = self.inner.lock();
        let mut old = Vec::new();
        for (sender, queue) in &inner.queues {
            let next = queue.next_nonce();
            for (nonce, entry) in &queue.entries {
                let lifetime =
                    if *nonce < next { self.config.pending_lifetime_ms } else { self.config.queued_lifetime_ms };
                if now_ms.saturating_sub(entry.added_ms) > lifetime {
                    old.push((*sender, *nonce));
                }
            }
        }
        for (sender, nonce) in old {
            inner.unready(sender);
            inner.remove(sender, nonce, Some(DropReason::Expired));
            inner.make_ready(sender);
        }
    }

    /// Drops one transaction that turned out invalid, and looks at its sender's account again: its nonce may have moved
    /// without the sender sending (an EIP-7702 authorization, or delegated code that creates).
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn drop_invalid(
        &self,
        transaction: &RecoveredTransaction,
        reason: String,
        accounts: &dyn AccountLookup,
    ) -> Result<(), Error> {
        let sender = transaction.sender();
        let account = accounts.account(sender).map_err(Error::State)?;
        let mut inner = self.inner.lock();
        inner.unready(sender);
        if inner.by_hash.contains_key(&transaction.hash()) {
            inner.remove(sender, transaction.nonce(), Some(DropReason::Invalid(reason)));
        }
        inner.set_account(sender, account, &std::collections::HashSet::new());
        inner.make_ready(sender);
        Ok(())
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
        // The best tip first: with any price above the base fee this ends at the first entry.
        let inner = self.inner.lock();
        inner.ready.iter().any(|(_, _, sender)| {
            inner.queues.get(sender).and_then(Queue::head).is_some_and(|head| head.fee_cap >= u128::from(base_fee))
        })
    }

    /// Sizes. Costs a pass over the senders.
    pub fn status(&self) -> PoolStatus {
        let inner = self.inner.lock();
        let mut status = PoolStatus { bytes: inner.bytes, ..PoolStatus::default() };
        for queue in inner.queues.values() {
            let pending = usize::try_from(queue.next_nonce() - queue.account.nonce).unwrap_or(usize::MAX);
            status.pending += pending;
            status.queued += queue.entries.len() - pending.min(queue.entries.len());
        }
        status
    }

    /// Number of transactions.
    pub fn len(&self) -> usize {
        self.inner.lock().by_hash.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All transactions, or those of one sender, by sender and nonce.
    pub fn content(&self, only: Option<Address>) -> Vec<PoolEntry> {
        let inner = self.inner.lock();
        let mut senders: Vec<&Address> = match &only {
            Some(sender) => inner.queues.get_key_value(sender).map(|(sender, _)| sender).into_iter().collect(),
            None => inner.queues.keys().collect(),
        };
        senders.sort_unstable();
        let mut content = Vec::new();
        for sender in senders {
            if let Some(queue) = inner.queues.get(sender) {
                let next = queue.next_nonce();
                content.extend(queue.entries.iter().map(|(nonce, entry)| PoolEntry {
                    transaction: Arc::clone(&entry.transaction),
                    pending: *nonce < next,
                }));
            }
        }
        content
    }

    /// Local transactions, for the journal.
    pub fn local(&self) -> Vec<Arc<RecoveredTransaction>> {
        let inner = self.inner.lock();
        let entries = inner.queues.values().flat_map(|queue| queue.entries.values());
        entries.filter(|entry| entry.local).map(|entry| Arc::clone(&entry.transaction)).collect()
    }
}

impl Inner {
    fn unready(&mut self, sender: Address) {
        if let Some(head) = self.queues.get(&sender).and_then(Queue::head) {
            self.ready.remove(&(Reverse(head.tip_cap), head.sequence, sender));
        }
    }

    /// Takes over a sender's account: forgets used nonces and what it cannot pay for next. The caller keeps `ready`.
    fn set_account(&mut self, sender: Address, account: AccountState, included: &std::collections::HashSet<B256>) {
        let Some(queue) = self.queues.get_mut(&sender) else { return };
        queue.account = account;
        let used: Vec<(u64, B256)> =
            queue.entries.range(..account.nonce).map(|(nonce, entry)| (*nonce, entry.transaction.hash())).collect();
        for (nonce, hash) in used {
            self.remove(sender, nonce, (!included.contains(&hash)).then_some(DropReason::NonceUsed));
        }
        let poor = self.queues.get(&sender).and_then(Queue::head).is_some_and(|head| head.cost > account.balance);
        if poor {
            let reason = DropReason::Invalid("insufficient funds for gas * price + value".into());
            self.remove(sender, account.nonce, Some(reason));
        }
    }

    fn make_ready(&mut self, sender: Address) {
        if let Some(queue) = self.queues.get(&sender) {
            if queue.entries.is_empty() {
                self.queues.remove(&sender);
            } else if let Some(head) = queue.head() {
                self.ready.insert((Reverse(head.tip_cap), head.sequence, sender));
            }
        }
    }

    /// Removes one transaction from every index. The caller keeps `ready` in order when the head changes.
    fn remove(&mut self, sender: Address, nonce: u64, reason: Option<DropReason>) {
        let Some(queue) = self.queues.get_mut(&sender) else { return };
        let was_head = queue.account.nonce == nonce;
        let Some(entry) = queue.remove(nonce) else { return };
        let empty = queue.entries.is_empty();
        if was_head {
            self.ready.remove(&(Reverse(entry.tip_cap), entry.sequence, sender));
        }
        if empty {
            self.queues.remove(&sender);
        }
        let hash = entry.transaction.hash();
        self.bytes -= entry.transaction.encoded().len();
        self.by_hash.remove(&hash);
        self.by_price.remove(&(entry.fee_cap, Reverse(entry.sequence), sender));
        if let Some(reason) = reason {
            self.dropped.put(hash, reason);
        }
    }
}
