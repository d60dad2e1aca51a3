//! From a block's changes to its state root and the records to write.

use crate::account::{Account, AccountChange, StateDiff};
use crate::history::{self, ChangedKeys};
use crate::kv::{Batch, Kv, Table};
use crate::store::StateStore;
use crate::trie::{AccountNodes, NodeWrites, StorageNodes, Trie, seal};
use crate::view::StateRead;
use crate::{EMPTY_ROOT_HASH, Error};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::Nibbles;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};

/// A block's changes, worked out on the head's state and ready to be committed. Dropping it has no effect.
#[derive(Debug)]
pub struct PreparedState {
    pub(crate) height: u64,
    pub(crate) root: B256,
    pub(crate) batch: Batch,
    pub(crate) trie: Trie,
    pub(crate) storage_tries: Vec<(B256, Option<Trie>)>,
    pub(crate) accounts: Vec<(Address, Option<Account>)>,
    pub(crate) slots: Vec<((Address, U256), U256)>,
    pub(crate) wiped: bool,
}

impl PreparedState {
    /// State root after the block.
    pub fn root(&self) -> B256 {
        self.root
    }

    /// The accounts that the block changed: nonce, balance, code or storage.
    pub fn changed_accounts(&self) -> impl Iterator<Item = Address> {
        self.accounts.iter().map(|(address, _)| *address)
    }
}

/// One account's part of a block, its storage worked out.
struct Worked {
    address: Address,
    key: B256,
    before: Option<Account>,
    after: Option<Account>,
    batch: Batch,
    history: Batch,
    changed: ChangedKeys,
    trie: Option<Option<Trie>>,
    slots: Vec<((Address, U256), U256)>,
    wiped: bool,
}

/// Accounts from which on storage tries are worked out on several threads.
const PARALLEL_ACCOUNTS: usize = 64;

impl StateStore {
    /// Computes the state after block `height` (which must follow the head) from the head's state and `diff`.
    ///
    /// # Errors
    /// [`Error::NotNext`], [`Error::Database`] or [`Error::Corrupt`].
    pub fn prepare(&self, height: u64, diff: &StateDiff) -> Result<PreparedState, Error> {
        let expected = self.head().map_or(0, |head| head.height + 1);
        if height != expected {
            return Err(Error::NotNext { height, head: expected.saturating_sub(1) });
        }
        self.prepare_at(height, diff)
    }

    /// [`StateStore::prepare`] at any height.
    pub(crate) fn prepare_at(&self, height: u64, diff: &StateDiff) -> Result<PreparedState, Error> {
        let (mut trie, known) = {
            let mut tries = self.tries.lock();
            let mut known = BTreeMap::new();
            for (address, change) in &diff.accounts {
                if !change.storage.is_empty() && !change.wiped {
                    let key = keccak256(address);
                    if let Some(trie) = tries.storage.get(&key) {
                        known.insert(*address, trie);
                    }
                }
            }
            (tries.accounts.clone(), known)
        };
        let work = |(address, change): (&Address, &AccountChange)| {
            self.work_account(height, *address, change, known.get(address).cloned())
        };
        let worked: Vec<Worked> = if diff.accounts.len() >= PARALLEL_ACCOUNTS {
            diff.accounts.par_iter().map(work).collect::<Result<_, Error>>()?
        } else {
            diff.accounts.iter().map(work).collect::<Result<_, Error>>()?
        };
        drop(known);

        let source = AccountNodes::<dyn Kv>(self.kv.as_ref());
        let mut batch = Batch::default();
        let mut writes = NodeWrites::default();
        let mut changed = ChangedKeys::default();
        let mut prepared_accounts = Vec::with_capacity(worked.len());
        let mut slots = Vec::new();
        let mut storage_tries = Vec::new();
        let mut wiped = false;
        let count = worked.len();
        for part in worked {
            batch.append(part.batch);
            batch.append(part.history);
            changed.append(part.changed);
            slots.extend(part.slots);
            wiped |= part.wiped;
            if let Some(trie) = part.trie {
                storage_tries.push((part.key, trie));
            }
            if part.before != part.after {
                let path = Nibbles::unpack(part.key);
                match &part.after {
                    Some(account) => {
                        let encoded = alloy_rlp::encode(account);
                        batch.put(Table::Accounts, part.key.to_vec(), encoded.clone());
                        trie.insert(&source, &path, encoded.into())?;
                    }
                    None => {
                        batch.delete(Table::Accounts, part.key.to_vec());
                        trie.remove(&source, &path, &mut writes.removed)?;
                    }
                }
                if part.before.is_none() {
                    batch.put(Table::Preimages, part.key.to_vec(), part.address.to_vec());
                }
                history::record_account(height, part.key, part.before.as_ref(), &mut batch, &mut changed);
                prepared_accounts.push((part.address, part.after));
            }
        }
        let root = seal(&trie, count, &mut writes);
        for path in &writes.removed {
            batch.delete(Table::AccountTrie, path.to_vec());
        }
        for (path, rlp) in writes.puts {
            batch.put(Table::AccountTrie, path.to_vec(), rlp);
        }
        for (hash, code) in &diff.code {
            batch.put(Table::Code, hash.to_vec(), code.to_vec());
        }
        if height > 0 {
            batch.put(Table::ChangedKeys, height.to_be_bytes(), changed.encode());
        }
        Ok(PreparedState { height, root, batch, trie, storage_tries, accounts: prepared_accounts, slots, wiped })
    }

    /// Works out one account: its storage trie, flat slots and their history.
    fn work_account(
        &self,
        height: u64,
        address: Address,
        change: &AccountChange,
        known: Option<Trie>,
    ) -> Result<Worked, Error> {
        let key = keccak256(address);
        let before = self.account(address)?;
        let old_root = before.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let mut part = Worked {
            address,
            key,
            before,
            after: change.account,
            batch: Batch::default(),
            history: Batch::default(),
            changed: ChangedKeys::default(),
            trie: None,
            slots: Vec::new(),
            wiped: false,
        };
        let gone = change.wiped || change.account.is_none();
        let mut root = old_root;
        if gone && old_root != EMPTY_ROOT_HASH {
            self.wipe_storage(height, &mut part)?;
            root = EMPTY_ROOT_HASH;
            part.trie = Some(None);
            part.wiped = true;
        }
        if !change.storage.is_empty() && change.account.is_some() {
            let source = StorageNodes::<dyn Kv>(self.kv.as_ref(), key);
            let mut trie = match known {
                Some(trie) if trie.root_hash() == Some(root) => trie,
                Some(_) | None => Trie::from_root(root),
            };
            let wiped_slots: HashSet<[u8; 64]> = part.changed.slots.iter().copied().collect();
            let mut writes = NodeWrites::default();
            let mut changes = 0;
            for (slot, value) in &change.storage {
                let old =
                    if part.wiped || old_root == EMPTY_ROOT_HASH { U256::ZERO } else { self.storage(address, *slot)? };
                if old == *value {
                    continue;
                }
                changes += 1;
                let hashed = keccak256(slot.to_be_bytes::<32>());
                let flat = history::slot_key(key, hashed);
                let path = Nibbles::unpack(hashed);
                if value.is_zero() {
                    part.batch.delete(Table::Storage, flat.to_vec());
                    trie.remove(&source, &path, &mut writes.removed)?;
                } else {
                    part.batch.put(Table::Storage, flat.to_vec(), value.to_be_bytes_trimmed_vec());
                    trie.insert(&source, &path, alloy_rlp::encode(value).into())?;
                }
                // The wipe has recorded what was there; a slot that was not there was zero.
                if !part.wiped || !wiped_slots.contains(&flat) {
                    history::record_slot(height, &flat, old, &mut part.history, &mut part.changed);
                }
                part.slots.push(((address, *slot), *value));
            }
            root = seal(&trie, changes, &mut writes);
            for path in &writes.removed {
                part.batch.delete(Table::StorageTrie, crate::trie::storage_path(key, path));
            }
            for (path, rlp) in writes.puts {
                part.batch.put(Table::StorageTrie, crate::trie::storage_path(key, &path), rlp);
            }
            part.trie = Some(Some(trie));
        }
        if let Some(account) = &mut part.after {
            account.storage_root = root;
        }
        Ok(part)
    }

    /// Removes all slots and trie nodes of an account. Only rules before Cancun can destroy stored storage, so this
    /// may scan.
    fn wipe_storage(&self, height: u64, part: &mut Worked) -> Result<(), Error> {
        let prefix = part.key;
        let (batch, history, changed) = (&mut part.batch, &mut part.history, &mut part.changed);
        self.kv.scan(Table::Storage, prefix.as_slice(), &mut |key, value| {
            if !key.starts_with(prefix.as_slice()) {
                return Ok(false);
            }
            batch.delete(Table::Storage, key.to_vec());
            history::record_slot_bytes(height, key, value, history, changed);
            Ok(true)
        })?;
        self.kv.scan(Table::StorageTrie, prefix.as_slice(), &mut |key, _| {
            if !key.starts_with(prefix.as_slice()) {
                return Ok(false);
            }
            batch.delete(Table::StorageTrie, key.to_vec());
            Ok(true)
        })
    }
}
