//! The state while a block runs: what it has changed so far over what was there before.

use alloy_primitives::map::{AddressMap, B256Map, HashMap, U256Map};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use bttc_state::{Account, AccountChange, EMPTY_CODE_HASH, EMPTY_ROOT_HASH, StateDiff, StateRead};
use quick_cache::sync::Cache;
use revm::bytecode::Bytecode;
use revm::database_interface::{DBErrorMarker, Database, DatabaseCommit, DatabaseRef};
use revm::state::AccountInfo;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Analysed code by hash, shared by all blocks and calls: code is analysed once, not at every call.
#[derive(Debug)]
pub struct CodeCache(Cache<B256, Bytecode>);

impl CodeCache {
    /// A cache of this many contracts (24 KiB each at most, and as much again for the analysis).
    pub fn new(contracts: usize) -> Arc<Self> {
        Arc::new(Self(Cache::new(contracts)))
    }
}

/// The store's error in revm's clothes.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct StateError(#[from] pub bttc_state::Error);

impl DBErrorMarker for StateError {}

#[derive(Clone, Debug, Default)]
struct Entry {
    info: Option<AccountInfo>,
    /// Differs (or may differ) from what the store has.
    dirty: bool,
    /// What the store has in storage is gone.
    wiped: bool,
    /// Slots read or written; `true` when written.
    storage: U256Map<(U256, bool)>,
}

/// An overlay over a state reader. Implements revm's database; every transaction's changes are committed to it.
#[derive(Clone)]
pub struct BlockState<'a> {
    base: &'a dyn StateRead,
    code_cache: Arc<CodeCache>,
    accounts: AddressMap<Entry>,
    code: B256Map<Bytecode>,
    hashes: HashMap<u64, B256>,
}

impl std::fmt::Debug for BlockState<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockState").field("accounts", &self.accounts.len()).finish_non_exhaustive()
    }
}

impl<'a> BlockState<'a> {
    /// Nothing changed yet.
    pub fn new(base: &'a dyn StateRead, code_cache: Arc<CodeCache>) -> Self {
        Self { base, code_cache, accounts: AddressMap::default(), code: B256Map::default(), hashes: HashMap::default() }
    }

    fn entry(&mut self, address: Address) -> Result<&mut Entry, StateError> {
        use alloy_primitives::map::Entry as MapEntry;
        match self.accounts.entry(address) {
            MapEntry::Occupied(entry) => Ok(entry.into_mut()),
            MapEntry::Vacant(vacant) => {
                let info = self.base.account(address)?.map(account_info);
                Ok(vacant.insert(Entry { info, ..Entry::default() }))
            }
        }
    }

    /// Adds to a balance outside any transaction; creates the account when needed.
    ///
    /// # Errors
    /// The store's.
    pub fn add_balance(&mut self, address: Address, amount: U256) -> Result<(), StateError> {
        let entry = self.entry(address)?;
        let info = entry.info.get_or_insert_default();
        info.balance = info.balance.saturating_add(amount);
        entry.dirty = true;
        if info.is_empty() {
            entry.info = None;
        }
        Ok(())
    }

    /// Sets a nonce outside any transaction.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn set_nonce(&mut self, address: Address, nonce: u64) -> Result<(), StateError> {
        let entry = self.entry(address)?;
        entry.info.get_or_insert_default().nonce = nonce;
        entry.dirty = true;
        Ok(())
    }

    /// Takes from a balance outside any transaction; false when there is not enough.
    ///
    /// # Errors
    /// The store's.
    pub fn take_balance(&mut self, address: Address, amount: U256) -> Result<bool, StateError> {
        let entry = self.entry(address)?;
        let Some(info) = &mut entry.info else { return Ok(amount.is_zero()) };
        let Some(left) = info.balance.checked_sub(amount) else { return Ok(false) };
        info.balance = left;
        entry.dirty = true;
        if info.is_empty() {
            entry.info = None;
        }
        Ok(true)
    }

    /// Sets a slot outside any transaction.
    ///
    /// # Errors
    /// The store's.
    pub fn set_storage(&mut self, address: Address, slot: U256, value: U256) -> Result<(), StateError> {
        let entry = self.entry(address)?;
        entry.storage.insert(slot, (value, true));
        entry.dirty = true;
        Ok(())
    }

    /// Makes an account with code and nonce 1 outside any transaction; its coins stay.
    ///
    /// # Errors
    /// The store's.
    pub fn create_native(&mut self, address: Address, code: alloy_primitives::Bytes) -> Result<(), StateError> {
        let code = Bytecode::new_legacy(code);
        let hash = code.hash_slow();
        self.code.insert(hash, code.clone());
        let entry = self.entry(address)?;
        let info = entry.info.get_or_insert_default();
        (info.nonce, info.code_hash, info.code) = (1, hash, Some(code));
        entry.dirty = true;
        Ok(())
    }

    fn load_code(&self, code_hash: B256) -> Result<Bytecode, StateError> {
        if code_hash == KECCAK256_EMPTY || code_hash.is_zero() {
            return Ok(Bytecode::default());
        }
        if let Some(code) = self.code.get(&code_hash) {
            return Ok(code.clone());
        }
        if let Some(code) = self.code_cache.0.get(&code_hash) {
            return Ok(code);
        }
        let bytes = self.base.code(code_hash)?.ok_or_else(|| bttc_state::Error::Corrupt {
            table: "code",
            key: code_hash.to_string(),
            reason: "an account's code is missing".into(),
        })?;
        // Stored code was deployable or is a delegation; anything else would have been refused when it was stored.
        let code = Bytecode::new_raw_checked(bytes.clone()).unwrap_or_else(|_| Bytecode::new_legacy(bytes));
        self.code_cache.0.insert(code_hash, code.clone());
        Ok(code)
    }

    fn hash_of(&self, number: u64) -> Result<B256, StateError> {
        match self.hashes.get(&number) {
            Some(hash) => Ok(*hash),
            None => Ok(self.base.block_hash(number)?.unwrap_or_default()),
        }
    }

    /// Everything that changed, in canonical order.
    pub fn into_diff(self) -> StateDiff {
        let mut diff = StateDiff::default();
        for (address, entry) in self.accounts {
            if !entry.dirty {
                continue;
            }
            let account = entry.info.map(|info| Account {
                nonce: info.nonce,
                balance: info.balance,
                code_hash: normal_code_hash(info.code_hash),
                ..Account::default()
            });
            let storage: BTreeMap<U256, U256> = entry
                .storage
                .into_iter()
                .filter(|(_, (_, written))| *written)
                .map(|(slot, (value, _))| (slot, value))
                .collect();
            diff.accounts.insert(address, AccountChange { account, wiped: entry.wiped, storage });
        }
        diff.code = self.code.into_iter().map(|(hash, code)| (hash, code.original_bytes())).collect();
        diff
    }
}

/// An account in revm's form.
///
/// EIP-7610 forbids creating a contract where storage is, but revm looks at nonce and code only. Such an account (no
/// nonce, no code, storage) can come from an imported genesis allocation alone; it gets a code hash of zero, which revm
/// takes for a collision and everywhere else for no code. [`normal_code_hash`] undoes it on the way back.
fn account_info(account: Account) -> AccountInfo {
    let info = AccountInfo {
        balance: account.balance,
        nonce: account.nonce,
        code_hash: account.code_hash,
        ..AccountInfo::default()
    };
    if account.nonce == 0 && account.code_hash == EMPTY_CODE_HASH && account.storage_root != EMPTY_ROOT_HASH {
        return AccountInfo { code_hash: B256::ZERO, ..info };
    }
    // `AccountInfo::default` carries empty code; an account of the store has code to be loaded when it is needed.
    info.without_code()
}

fn normal_code_hash(code_hash: B256) -> B256 {
    if code_hash.is_zero() { EMPTY_CODE_HASH } else { code_hash }
}

impl Database for BlockState<'_> {
    type Error = StateError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        Ok(self.entry(address)?.info.clone())
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Self::Error> {
        self.load_code(code_hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Self::Error> {
        let base = self.base;
        let entry = self.entry(address)?;
        if let Some((value, _)) = entry.storage.get(&slot) {
            return Ok(*value);
        }
        let value = if entry.wiped || entry.info.is_none() { U256::ZERO } else { base.storage(address, slot)? };
        entry.storage.insert(slot, (value, false));
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Self::Error> {
        self.hash_of(number)
    }
}

/// Reads that are not remembered: for what compares a state with what a transaction made of it.
impl DatabaseRef for BlockState<'_> {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        match self.accounts.get(&address) {
            Some(entry) => Ok(entry.info.clone()),
            None => Ok(self.base.account(address)?.map(account_info)),
        }
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Self::Error> {
        self.load_code(code_hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Self::Error> {
        match self.accounts.get(&address) {
            Some(entry) => match entry.storage.get(&slot) {
                Some((value, _)) => Ok(*value),
                None if entry.wiped || entry.info.is_none() => Ok(U256::ZERO),
                None => Ok(self.base.storage(address, slot)?),
            },
            None => Ok(self.base.storage(address, slot)?),
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Self::Error> {
        self.hash_of(number)
    }
}

impl DatabaseCommit for BlockState<'_> {
    fn commit(&mut self, changes: AddressMap<revm::state::Account>) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            let entry = self.accounts.entry(address).or_default();
            entry.dirty = true;
            if account.is_selfdestructed() {
                entry.info = None;
                entry.wiped = true;
                entry.storage.clear();
                continue;
            }
            if account.is_created() {
                entry.wiped = true;
                entry.storage.clear();
            } else if account.is_empty() {
                // EIP-161. An empty account has no storage: nothing could have written it.
                entry.info = None;
                entry.storage.clear();
                continue;
            }
            for (slot, value) in account.storage {
                if value.is_changed() || account.status.contains(revm::state::AccountStatus::Created) {
                    entry.storage.insert(slot, (value.present_value, true));
                }
            }
            let mut info = account.info;
            if let Some(code) = info.code.take()
                && info.code_hash != KECCAK256_EMPTY
                && !info.code_hash.is_zero()
                && entry.info.as_ref().is_none_or(|before| before.code_hash != info.code_hash)
            {
                self.code.entry(info.code_hash).or_insert(code);
            }
            entry.info = Some(info);
        }
    }
}

impl alloy_evm::overrides::OverrideBlockHashes for BlockState<'_> {
    fn override_block_hashes(&mut self, hashes: BTreeMap<u64, B256>) {
        self.hashes.extend(hashes);
    }
}
