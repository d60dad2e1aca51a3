//! The head of the chain: opens the store, caches what is hot, commits blocks.

use crate::Error;
use crate::account::Account;
use crate::blocks::BlockRecord;
use crate::history;
use crate::kv::{Batch, Kv, KvRead, Table};
use crate::prepare::PreparedState;
use crate::trie::Trie;
use crate::view::{StateRead, StateView, decode_account, decode_slot};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use bttc_types::Mutant;
use parking_lot::{Mutex, RwLock};
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Version of the tables' layout. Raised with every change of a format in `kv::Table`.
pub const SCHEMA_VERSION: u32 = 2;

pub(crate) const META_SCHEMA: &[u8] = b"schema";
pub(crate) const META_GENESIS: &[u8] = b"genesis";
pub(crate) const META_HEAD: &[u8] = b"head";
pub(crate) const META_LOWEST_STATE: &[u8] = b"lowest_state";
pub(crate) const META_LOWEST_BLOCK: &[u8] = b"lowest_block";

/// Blocks between two looks at how much memory the tries take.
const TRIM_INTERVAL: u64 = 64;

/// How much is kept and cached.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Heights of state history to keep; `None` keeps all.
    pub state_history: Option<u64>,
    /// Blocks, receipts and certificates to keep; `None` keeps all.
    pub block_history: Option<u64>,
    /// How many heights back proofs are given.
    pub proof_window: u64,
    /// Accounts kept in the read cache (about 150 bytes each).
    pub account_cache: usize,
    /// Storage slots kept in the read cache (about 130 bytes each).
    pub slot_cache: usize,
    /// Trie nodes kept in memory (about 250 bytes each); above that, deep nodes are dropped after a block.
    pub trie_nodes: usize,
    /// Accounts whose storage tries are kept in memory.
    pub storage_tries: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            state_history: Some(100_000),
            block_history: Some(2_000_000),
            proof_window: 1_000,
            account_cache: 500_000,
            slot_cache: 500_000,
            trie_nodes: 1_000_000,
            storage_tries: 10_000,
        }
    }
}

/// The last committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: B256,
    /// Its state root.
    pub state_root: B256,
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.height.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.hash.as_slice());
        bytes.extend_from_slice(self.state_root.as_slice());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (height, rest) = bytes.split_first_chunk::<8>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let state_root = B256::from(<[u8; 32]>::try_from(rest).ok()?);
        Some(Self { height: u64::from_be_bytes(*height), hash: B256::from(*hash), state_root })
    }

    /// The head as a reader sees it.
    pub(crate) fn read<R: KvRead + ?Sized>(reader: &R) -> Result<Option<Self>, Error> {
        match reader.get(Table::Meta, META_HEAD)? {
            None => Ok(None),
            Some(bytes) => Self::decode(&bytes)
                .map(Some)
                .ok_or_else(|| Error::corrupt(Table::Meta, META_HEAD, "not a head record")),
        }
    }
}

/// A height stored under a name in `Meta`; zero when absent.
pub(crate) fn meta_height<R: KvRead + ?Sized>(reader: &R, name: &[u8]) -> Result<u64, Error> {
    match reader.get(Table::Meta, name)? {
        None => Ok(0),
        Some(bytes) => <[u8; 8]>::try_from(bytes.as_slice())
            .map(u64::from_be_bytes)
            .map_err(|_| Error::corrupt(Table::Meta, name, "not a height")),
    }
}

/// Tries at the head, as far as they are in memory.
pub(crate) struct HeadTries {
    pub(crate) accounts: Trie,
    pub(crate) storage: lru_map::LruMap,
}

/// The storage tries in memory, least recently used first out.
pub(crate) mod lru_map {
    use super::{B256, Trie};
    use std::collections::HashMap;

    #[derive(Default)]
    pub(crate) struct LruMap {
        entries: HashMap<B256, (Trie, u64)>,
        clock: u64,
    }

    impl LruMap {
        pub(crate) fn get(&mut self, key: &B256) -> Option<Trie> {
            self.clock += 1;
            let clock = self.clock;
            self.entries.get_mut(key).map(|entry| {
                entry.1 = clock;
                entry.0.clone()
            })
        }

        pub(crate) fn insert(&mut self, key: B256, trie: Trie) {
            self.clock += 1;
            self.entries.insert(key, (trie, self.clock));
        }

        pub(crate) fn remove(&mut self, key: &B256) {
            self.entries.remove(key);
        }

        /// Drops the oldest tries until the rest has at most `nodes` nodes.
        pub(crate) fn trim(&mut self, nodes: usize) {
            let mut sizes: Vec<(u64, B256, usize)> =
                self.entries.iter().map(|(key, (trie, age))| (*age, *key, trie.resident())).collect();
            let mut total: usize = sizes.iter().map(|(_, _, size)| size).sum();
            sizes.sort_unstable();
            for (_, key, size) in sizes {
                if total <= nodes {
                    break;
                }
                total -= size;
                self.entries.remove(&key);
            }
        }

        /// Drops the older half when there are more than `limit`; amortised constant work an insertion.
        pub(crate) fn shrink(&mut self, limit: usize) {
            if self.entries.len() > limit {
                let mut ages: Vec<u64> = self.entries.values().map(|entry| entry.1).collect();
                let middle = ages.len() / 2;
                let (_, median, _) = ages.select_nth_unstable(middle);
                let median = *median;
                self.entries.retain(|_, entry| entry.1 >= median);
            }
        }
    }
}

/// The state store. One thread commits; any number read.
pub struct StateStore {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) options: StoreOptions,
    head: RwLock<Option<Head>>,
    pub(crate) tries: Mutex<HeadTries>,
    accounts: Cache<Address, Option<Account>>,
    slots: Cache<(Address, U256), U256>,
    code: Cache<B256, Bytes>,
}

impl std::fmt::Debug for StateStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateStore").field("head", &*self.head.read()).finish_non_exhaustive()
    }
}

impl StateStore {
    /// Opens a store and checks that its parts agree with each other. An empty store has no head until the genesis
    /// block is committed.
    ///
    /// # Errors
    /// [`Error::Schema`] for another version's database, [`Error::Corrupt`] naming what does not fit.
    pub fn open(kv: Arc<dyn Kv>, options: StoreOptions) -> Result<Self, Error> {
        if let Some(bytes) = kv.get(Table::Meta, META_SCHEMA)? {
            let found = <[u8; 4]>::try_from(bytes.as_slice()).map(u32::from_be_bytes).unwrap_or(0);
            if found != SCHEMA_VERSION {
                return Err(Error::Schema { found, expected: SCHEMA_VERSION });
            }
        }
        let reader: &dyn Kv = kv.as_ref();
        let head = Head::read(reader)?;
        if let Some(head) = &head {
            crate::check::check_head(reader, head)?;
        }
        let accounts = head.map_or_else(Trie::default, |head| Trie::from_root(head.state_root));
        Ok(Self {
            kv,
            options,
            head: RwLock::new(head),
            tries: Mutex::new(HeadTries { accounts, storage: lru_map::LruMap::default() }),
            accounts: Cache::new(options.account_cache),
            slots: Cache::new(options.slot_cache),
            code: Cache::new(10_000),
        })
    }

    /// The last committed block; `None` before genesis.
    pub fn head(&self) -> Option<Head> {
        *self.head.read()
    }

    /// Hash of the genesis block, once there is one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn genesis_hash(&self) -> Result<Option<B256>, Error> {
        Ok(self.kv.get(Table::Meta, META_GENESIS)?.and_then(|bytes| B256::try_from(bytes.as_slice()).ok()))
    }

    /// Lowest height whose state is kept.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn lowest_state(&self) -> Result<u64, Error> {
        meta_height(self.kv.as_ref(), META_LOWEST_STATE)
    }

    /// Lowest height whose block, receipts and certificate are kept.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn lowest_block(&self) -> Result<u64, Error> {
        meta_height(self.kv.as_ref(), META_LOWEST_BLOCK)
    }

    /// Runs `read` on the state after block `height` (`None`: the head), on a snapshot that no commit disturbs.
    ///
    /// # Errors
    /// [`Error::StateUnavailable`] for a height that is not kept or not there yet.
    pub fn view<T>(&self, height: Option<u64>, read: impl FnOnce(&StateView<'_>) -> T) -> Result<T, Error> {
        let mut read = Some(read);
        let mut result = None;
        self.kv.with_snapshot(&mut |reader| {
            let view = StateView::new(reader, height)?;
            result = read.take().map(|read| read(&view));
            Ok(())
        })?;
        result.ok_or(Error::Database { operation: "snapshot", reason: "the snapshot was not run".into() })
    }

    /// Writes a block and everything that follows from it in one batch, and makes it the head.
    ///
    /// # Errors
    /// [`Error::NotNext`] when it does not follow the head; [`Error::Database`] when the disk refuses, and then
    /// nothing has changed.
    pub fn commit(&self, record: BlockRecord<'_>, mut prepared: PreparedState, durable: bool) -> Result<(), Error> {
        let height = record.header.number;
        let expected = self.head().map_or(0, |head| head.height + 1);
        if height != expected || prepared.height != height {
            return Err(Error::NotNext { height, head: expected.saturating_sub(1) });
        }
        let head = Head { height, hash: record.hash, state_root: prepared.root };
        let mut batch = Batch::default();
        if height == 0 {
            batch.put(Table::Meta, META_SCHEMA, SCHEMA_VERSION.to_be_bytes());
            batch.put(Table::Meta, META_GENESIS, record.hash.to_vec());
        }
        record.write(&mut batch);
        batch.append(std::mem::take(&mut prepared.batch));
        history::prune(self.kv.as_ref(), &self.options, height, &mut batch)?;
        if Mutant::CommitAtomicity.active() {
            self.kv.write(std::mem::take(&mut batch), durable)?;
        }
        batch.put(Table::Meta, META_HEAD, head.encode());
        self.kv.write(batch, durable)?;
        self.adopt(head, prepared);
        Ok(())
    }

    /// Takes over into memory what was written.
    pub(crate) fn adopt(&self, head: Head, prepared: PreparedState) {
        if prepared.wiped {
            self.slots.clear();
        }
        for (address, account) in prepared.accounts {
            self.accounts.insert(address, account);
        }
        for (slot, value) in prepared.slots {
            self.slots.insert(slot, value);
        }
        let mut tries = self.tries.lock();
        tries.accounts = prepared.trie;
        // Counting walks the tree: not with every block.
        let count_now = head.height.is_multiple_of(TRIM_INTERVAL);
        if count_now && tries.accounts.resident() > self.options.trie_nodes {
            tries.accounts = self.trimmed(&tries.accounts);
        }
        for (key, trie) in prepared.storage_tries {
            match trie {
                Some(trie) => tries.storage.insert(key, trie),
                None => tries.storage.remove(&key),
            }
        }
        if count_now {
            tries.storage.trim(self.options.trie_nodes);
        }
        tries.storage.shrink(self.options.storage_tries);
        drop(tries);
        *self.head.write() = Some(head);
    }

    /// Forgets everything in memory and takes the head from the tables: they were changed behind this store's back.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn reload(&self) -> Result<(), Error> {
        let head = Head::read(self.kv.as_ref() as &dyn Kv)?;
        let mut tries = self.tries.lock();
        tries.accounts = head.map_or_else(Trie::default, |head| Trie::from_root(head.state_root));
        tries.storage = lru_map::LruMap::default();
        self.accounts.clear();
        self.slots.clear();
        drop(tries);
        *self.head.write() = head;
        Ok(())
    }

    /// The deepest trimming that fits half the budget: the upper levels stay.
    fn trimmed(&self, trie: &Trie) -> Trie {
        let mut smaller = trie.clone();
        for depth in (1..8).rev() {
            smaller = smaller.trimmed(depth);
            if smaller.resident() <= self.options.trie_nodes / 2 {
                break;
            }
        }
        smaller
    }

    /// Keeps a better certificate for a committed block (more signatures than the one it was decided with).
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn put_certificate(&self, height: u64, certificate: &[u8]) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(Table::Certificates, height.to_be_bytes(), certificate);
        self.kv.write(batch, false)
    }

    /// The underlying tables, for tools.
    pub fn kv(&self) -> &Arc<dyn Kv> {
        &self.kv
    }
}

/// State at the head through the read caches. Only for the thread that commits: a reader elsewhere would see a
/// block's changes one by one. Everybody else uses [`StateStore::view`].
impl StateRead for StateStore {
    fn account(&self, address: Address) -> Result<Option<Account>, Error> {
        self.accounts.get_or_insert_with(&address, || {
            let key = keccak256(address);
            self.kv.get(Table::Accounts, key.as_slice())?.map(|bytes| decode_account(key, &bytes)).transpose()
        })
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, Error> {
        self.slots.get_or_insert_with(&(address, slot), || {
            let key = history::slot_key(keccak256(address), keccak256(slot.to_be_bytes::<32>()));
            match self.kv.get(Table::Storage, &key)? {
                None => Ok(U256::ZERO),
                Some(bytes) => decode_slot(&key, &bytes),
            }
        })
    }

    fn code(&self, code_hash: B256) -> Result<Option<Bytes>, Error> {
        if let Some(code) = self.code.get(&code_hash) {
            return Ok(Some(code));
        }
        let code: Option<Bytes> = self.kv.get(Table::Code, code_hash.as_slice())?.map(Into::into);
        if let Some(code) = &code {
            self.code.insert(code_hash, code.clone());
        }
        Ok(code)
    }

    fn block_hash(&self, height: u64) -> Result<Option<B256>, Error> {
        Ok(self.kv.get(Table::Headers, &height.to_be_bytes())?.map(keccak256))
    }
}
