//! State at a height, read from one consistent snapshot, and proofs of it.

use crate::account::Account;
use crate::history::{self, ChangedKeys};
use crate::kv::{KvRead, Table};
use crate::store::{Head, META_LOWEST_STATE, StateStore, meta_height};
use crate::trie::{AccountNodes, NodeWrites, Proof, StorageNodes, Trie, seal};
use crate::{EMPTY_ROOT_HASH, Error};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::Nibbles;
use std::collections::BTreeSet;

/// Reads of accounts, storage, code and block hashes.
pub trait StateRead {
    /// The account, `None` when it does not exist.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    fn account(&self, address: Address) -> Result<Option<Account>, Error>;

    /// The value of a slot, zero when it was never set.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    fn storage(&self, address: Address, slot: U256) -> Result<U256, Error>;

    /// The code with this hash.
    ///
    /// # Errors
    /// [`Error::Database`].
    fn code(&self, code_hash: B256) -> Result<Option<Bytes>, Error>;

    /// The hash of the block at a height.
    ///
    /// # Errors
    /// [`Error::Database`].
    fn block_hash(&self, height: u64) -> Result<Option<B256>, Error>;
}

pub(crate) fn decode_account(key: B256, bytes: &[u8]) -> Result<Account, Error> {
    Account::decode(&mut &bytes[..]).map_err(|error| Error::corrupt(Table::Accounts, key.as_slice(), error))
}

pub(crate) fn decode_slot(key: &[u8], bytes: &[u8]) -> Result<U256, Error> {
    U256::try_from_be_slice(bytes).ok_or_else(|| Error::corrupt(Table::Storage, key, "more than 32 bytes"))
}

/// Changed keys that one proof undoes at most: about a second of work and 100 MB. A busy chain reaches it within fewer
/// heights than the proof window has; the error then names the lowest height that works.
pub(crate) const MAX_UNDONE: usize = 200_000;

/// State after a block.
pub struct StateView<'a> {
    pub(crate) reader: &'a dyn KvRead,
    head: Head,
    height: u64,
    lowest: u64,
}

impl std::fmt::Debug for StateView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateView").field("height", &self.height).field("head", &self.head).finish_non_exhaustive()
    }
}

impl<'a> StateView<'a> {
    pub(crate) fn new(reader: &'a dyn KvRead, height: Option<u64>) -> Result<Self, Error> {
        let lowest = meta_height(reader, META_LOWEST_STATE)?;
        let Some(head) = Head::read(reader)? else {
            return Err(Error::StateUnavailable { height: height.unwrap_or(0), lowest, head: 0 });
        };
        let height = height.unwrap_or(head.height);
        if height > head.height || height < lowest {
            return Err(Error::StateUnavailable { height, lowest, head: head.height });
        }
        Ok(Self { reader, head, height, lowest })
    }

    /// The height of this view.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The head at the time of the snapshot.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Lowest height whose state is kept.
    pub fn lowest(&self) -> u64 {
        self.lowest
    }

    /// The header of a block in the snapshot.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn header(&self, height: u64) -> Result<Option<alloy_consensus::Header>, Error> {
        crate::blocks::read_header(self.reader, height)
    }

    pub(crate) fn account_by_key(&self, key: B256) -> Result<Option<Account>, Error> {
        if self.height < self.head.height
            && let Some(old) = history::value_at(self.reader, Table::AccountHistory, key.as_slice(), self.height)?
        {
            return if old.is_empty() { Ok(None) } else { decode_account(key, &old).map(Some) };
        }
        self.reader.get(Table::Accounts, key.as_slice())?.map(|bytes| decode_account(key, &bytes)).transpose()
    }

    pub(crate) fn slot_by_key(&self, key: &[u8; 64]) -> Result<U256, Error> {
        if self.height < self.head.height
            && let Some(old) = history::value_at(self.reader, Table::StorageHistory, key, self.height)?
        {
            return decode_slot(key, &old);
        }
        match self.reader.get(Table::Storage, key)? {
            None => Ok(U256::ZERO),
            Some(bytes) => decode_slot(key, &bytes),
        }
    }

    /// An account as it is at the head.
    pub(crate) fn stored_account(&self, key: B256) -> Result<Option<Account>, Error> {
        let bytes = self.reader.get(Table::Accounts, key.as_slice())?;
        bytes.map(|bytes| decode_account(key, &bytes)).transpose()
    }

    /// Proves an account and some of its slots against the state root of this view's height.
    ///
    /// The trie is stored for the head only; for an earlier height the changes since are undone on a copy in
    /// memory, which costs in proportion to what changed, so heights below `proof_window` are refused.
    ///
    /// # Errors
    /// [`Error::ProofUnavailable`], [`Error::Database`] or [`Error::Corrupt`].
    pub fn prove(
        &self,
        address: Address,
        slots: &[U256],
        proof_window: u64,
    ) -> Result<(Option<Account>, Proof, Vec<Proof>), Error> {
        let lowest = self.head.height.saturating_sub(proof_window).max(self.lowest);
        if self.height < lowest {
            return Err(Error::ProofUnavailable { height: self.height, lowest, head: self.head.height });
        }
        let key = keccak256(address);
        let mut accounts = BTreeSet::new();
        let mut storage = BTreeSet::new();
        for height in (self.height + 1..=self.head.height).rev() {
            if accounts.len() + storage.len() > MAX_UNDONE {
                return Err(Error::ProofUnavailable { height: self.height, lowest: height, head: self.head.height });
            }
            if let Some(changed) = ChangedKeys::read(self.reader, height)? {
                accounts.extend(changed.accounts);
                storage.extend(changed.slots.into_iter().filter(|slot| slot.starts_with(key.as_slice())));
            }
        }
        let source = AccountNodes::<dyn KvRead>(self.reader);
        let mut trie = Trie::from_root(self.head.state_root);
        let mut ignored = NodeWrites::default();
        for changed in accounts {
            let path = Nibbles::unpack(changed);
            match self.account_by_key(changed)? {
                Some(account) => trie.insert(&source, &path, alloy_rlp::encode(account).into())?,
                None => trie.remove(&source, &path, &mut ignored.removed)?,
            }
        }
        seal(&trie, 0, &mut ignored);
        let account_proof = trie.prove(&source, &Nibbles::unpack(key))?;
        let account = self.account_by_key(key)?;

        let source = StorageNodes::<dyn KvRead>(self.reader, key);
        let mut trie =
            Trie::from_root(self.stored_account(key)?.map_or(EMPTY_ROOT_HASH, |account| account.storage_root));
        for slot in storage {
            let path = Nibbles::unpack(&slot[32..]);
            let value = self.slot_by_key(&slot)?;
            if value.is_zero() {
                trie.remove(&source, &path, &mut ignored.removed)?;
            } else {
                trie.insert(&source, &path, alloy_rlp::encode(value).into())?;
            }
        }
        seal(&trie, 0, &mut ignored);
        let storage_proofs = slots
            .iter()
            .map(|slot| trie.prove(&source, &Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()))))
            .collect::<Result<_, _>>()?;
        Ok((account, account_proof, storage_proofs))
    }
}

impl StateRead for StateView<'_> {
    fn account(&self, address: Address) -> Result<Option<Account>, Error> {
        self.account_by_key(keccak256(address))
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, Error> {
        self.slot_by_key(&history::slot_key(keccak256(address), keccak256(slot.to_be_bytes::<32>())))
    }

    fn code(&self, code_hash: B256) -> Result<Option<Bytes>, Error> {
        Ok(self.reader.get(Table::Code, code_hash.as_slice())?.map(Into::into))
    }

    fn block_hash(&self, height: u64) -> Result<Option<B256>, Error> {
        Ok(self.reader.get(Table::Headers, &height.to_be_bytes())?.map(keccak256))
    }
}

impl StateStore {
    /// How many heights back [`StateView::prove`] may go on this store.
    pub fn proof_window(&self) -> u64 {
        self.options.proof_window
    }
}
