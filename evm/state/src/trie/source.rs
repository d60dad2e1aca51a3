//! Where nodes come from: the trie tables, and the flat tables for leaves.

use crate::Error;
use crate::kv::{KvRead, Table};
use alloy_primitives::B256;
use alloy_trie::Nibbles;

/// Reads the nodes of one trie.
pub(crate) trait NodeSource {
    /// The stored node at a path, if it is a branch or an extension.
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, Error>;
    /// The first leaf (full key and value) whose key starts with `prefix`.
    fn leaf(&self, prefix: &Nibbles) -> Result<Option<(Nibbles, Vec<u8>)>, Error>;
    /// The error for damage at a path.
    fn corrupt(&self, path: &Nibbles, reason: String) -> Error;
}

/// Nodes of the account trie.
pub(crate) struct AccountNodes<'a, R: KvRead + ?Sized>(pub(crate) &'a R);

/// Nodes of one account's storage trie.
pub(crate) struct StorageNodes<'a, R: KvRead + ?Sized>(pub(crate) &'a R, pub(crate) B256);

/// Smallest key with this prefix of nibbles.
pub(crate) fn first_key(prefix: &Nibbles) -> [u8; 32] {
    let mut key = [0u8; 32];
    for (index, nibble) in prefix.iter().enumerate() {
        if let Some(byte) = key.get_mut(index / 2) {
            *byte |= if index % 2 == 0 { nibble << 4 } else { nibble };
        }
    }
    key
}

impl<R: KvRead + ?Sized> NodeSource for AccountNodes<'_, R> {
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(Table::AccountTrie, &path.to_vec())
    }

    fn leaf(&self, prefix: &Nibbles) -> Result<Option<(Nibbles, Vec<u8>)>, Error> {
        let Some((key, value)) = self.0.seek(Table::Accounts, &first_key(prefix))? else { return Ok(None) };
        let key = Nibbles::unpack(&key);
        Ok(key.starts_with(prefix).then_some((key, value)))
    }

    fn corrupt(&self, path: &Nibbles, reason: String) -> Error {
        Error::corrupt(Table::AccountTrie, &path.to_vec(), reason)
    }
}

impl<R: KvRead + ?Sized> NodeSource for StorageNodes<'_, R> {
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(Table::StorageTrie, &storage_path(self.1, path))
    }

    fn leaf(&self, prefix: &Nibbles) -> Result<Option<(Nibbles, Vec<u8>)>, Error> {
        let from = [self.1.as_slice(), &first_key(prefix)].concat();
        let Some((key, value)) = self.0.seek(Table::Storage, &from)? else { return Ok(None) };
        let Some(slot) = key.strip_prefix(self.1.as_slice()) else { return Ok(None) };
        let slot = Nibbles::unpack(slot);
        // The flat record holds the bare number, the leaf holds its RLP.
        Ok(slot.starts_with(prefix).then(|| (slot, alloy_rlp::encode(value.as_slice()))))
    }

    fn corrupt(&self, path: &Nibbles, reason: String) -> Error {
        Error::corrupt(Table::StorageTrie, &storage_path(self.1, path), reason)
    }
}

/// Key of a storage trie node.
pub(crate) fn storage_path(hashed_address: B256, path: &Nibbles) -> Vec<u8> {
    let mut key = hashed_address.to_vec();
    key.extend(path.iter());
    key
}
