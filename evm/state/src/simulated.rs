//! State roots of states that nobody commits: what a simulated block would have.

use crate::account::{AccountChange, StateDiff};
use crate::history::ChangedKeys;
use crate::kv::KvRead;
use crate::trie::{AccountNodes, NodeWrites, StorageNodes, Trie, seal};
use crate::view::{MAX_UNDONE, StateRead, StateView};
use crate::{Account, EMPTY_ROOT_HASH, Error};
use alloy_primitives::{Address, B256, keccak256};
use alloy_trie::Nibbles;
use std::collections::BTreeSet;

/// What has changed between a view's height and the head, by hashed keys.
struct Undone {
    accounts: BTreeSet<B256>,
    slots: BTreeSet<[u8; 64]>,
}

impl StateView<'_> {
    /// The state root after `diff` on this view's state. The trie is stored for the head only: see [`StateView::prove`] for what
    /// earlier heights cost.
    ///
    /// # Errors
    /// [`Error::ProofUnavailable`], [`Error::Database`] or [`Error::Corrupt`].
    pub fn root_after(&self, diff: &StateDiff, proof_window: u64) -> Result<B256, Error> {
        let undone = self.undone(proof_window)?;
        let source = AccountNodes::<dyn KvRead>(self.reader);
        let mut trie = Trie::from_root(self.head().state_root);
        let mut ignored = NodeWrites::default();
        for key in &undone.accounts {
            let path = Nibbles::unpack(key);
            match self.account_by_key(*key)? {
                Some(account) => trie.insert(&source, &path, alloy_rlp::encode(account).into())?,
                None => trie.remove(&source, &path, &mut ignored.removed)?,
            }
        }
        for (address, change) in &diff.accounts {
            let path = Nibbles::unpack(keccak256(address));
            match change.account {
                Some(account) => {
                    let storage_root = self.storage_root_after(*address, change, &undone)?;
                    let account = Account { storage_root, ..account };
                    trie.insert(&source, &path, alloy_rlp::encode(account).into())?;
                }
                None => trie.remove(&source, &path, &mut ignored.removed)?,
            }
        }
        Ok(seal(&trie, diff.accounts.len(), &mut ignored))
    }

    fn storage_root_after(&self, address: Address, change: &AccountChange, undone: &Undone) -> Result<B256, Error> {
        let key = keccak256(address);
        let before = self.account(address)?.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let before = if change.wiped { EMPTY_ROOT_HASH } else { before };
        if change.storage.is_empty() {
            return Ok(before);
        }
        let source = StorageNodes::<dyn KvRead>(self.reader, key);
        let mut ignored = NodeWrites::default();
        let mut trie = Trie::from_root(EMPTY_ROOT_HASH);
        if before != EMPTY_ROOT_HASH {
            trie = Trie::from_root(self.stored_account(key)?.map_or(EMPTY_ROOT_HASH, |account| account.storage_root));
            for slot in undone.slots.iter().filter(|slot| slot.starts_with(key.as_slice())) {
                let path = Nibbles::unpack(&slot[32..]);
                let value = self.slot_by_key(slot)?;
                if value.is_zero() {
                    trie.remove(&source, &path, &mut ignored.removed)?;
                } else {
                    trie.insert(&source, &path, alloy_rlp::encode(value).into())?;
                }
            }
        }
        for (slot, value) in &change.storage {
            let path = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
            if value.is_zero() {
                trie.remove(&source, &path, &mut ignored.removed)?;
            } else {
                trie.insert(&source, &path, alloy_rlp::encode(value).into())?;
            }
        }
        Ok(seal(&trie, change.storage.len(), &mut ignored))
    }

    fn undone(&self, proof_window: u64) -> Result<Undone, Error> {
        let head = self.head().height;
        let lowest = head.saturating_sub(proof_window).max(self.lowest());
        if self.height() < lowest {
            return Err(Error::ProofUnavailable { height: self.height(), lowest, head });
        }
        let mut undone = Undone { accounts: BTreeSet::new(), slots: BTreeSet::new() };
        for height in (self.height() + 1..=head).rev() {
            if undone.accounts.len() + undone.slots.len() > MAX_UNDONE {
                return Err(Error::ProofUnavailable { height: self.height(), lowest: height, head });
            }
            if let Some(changed) = ChangedKeys::read(self.reader, height)? {
                undone.accounts.extend(changed.accounts);
                undone.slots.extend(changed.slots);
            }
        }
        Ok(undone)
    }
}
