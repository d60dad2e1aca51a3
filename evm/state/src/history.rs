//! Old values by height: how state at an earlier block is read, and how it is forgotten.

use crate::Error;
use crate::account::Account;
use crate::kv::{Batch, KvRead, Table};
use crate::store::{META_LOWEST_BLOCK, META_LOWEST_STATE, StoreOptions, meta_height};
use alloy_primitives::{B256, U256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};

/// Key of a slot in `Storage`.
pub(crate) fn slot_key(hashed_address: B256, hashed_slot: B256) -> [u8; 64] {
    let mut key = [0u8; 64];
    key[..32].copy_from_slice(hashed_address.as_slice());
    key[32..].copy_from_slice(hashed_slot.as_slice());
    key
}

/// What a block changed: lets pruning and proofs find a block's history entries without scanning.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct ChangedKeys {
    pub(crate) accounts: Vec<B256>,
    /// Pairs: hashed address, hashed slot.
    pub(crate) slots: Vec<[u8; 64]>,
}

impl ChangedKeys {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.accounts.append(&mut other.accounts);
        self.slots.append(&mut other.slots);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// The keys that a block changed; `None` when they are not kept.
    pub(crate) fn read<R: KvRead + ?Sized>(reader: &R, height: u64) -> Result<Option<Self>, Error> {
        let key = height.to_be_bytes();
        match reader.get(Table::ChangedKeys, &key)? {
            None => Ok(None),
            Some(bytes) => Self::decode(&mut bytes.as_slice())
                .map(Some)
                .map_err(|error| Error::corrupt(Table::ChangedKeys, &key, error)),
        }
    }
}

pub(crate) fn record_account(
    height: u64,
    key: B256,
    before: Option<&Account>,
    batch: &mut Batch,
    changed: &mut ChangedKeys,
) {
    if height > 0 {
        let value = before.map(alloy_rlp::encode).unwrap_or_default();
        batch.put(Table::AccountHistory, at_height(key.as_slice(), height), value);
        changed.accounts.push(key);
    }
}

pub(crate) fn record_slot(height: u64, key: &[u8; 64], before: U256, batch: &mut Batch, changed: &mut ChangedKeys) {
    record_slot_bytes(height, key, &before.to_be_bytes_trimmed_vec(), batch, changed);
}

pub(crate) fn record_slot_bytes(height: u64, key: &[u8], before: &[u8], batch: &mut Batch, changed: &mut ChangedKeys) {
    if height > 0
        && let Ok(full) = <[u8; 64]>::try_from(key)
    {
        batch.put(Table::StorageHistory, at_height(key, height), before);
        changed.slots.push(full);
    }
}

fn at_height(key: &[u8], height: u64) -> Vec<u8> {
    [key, &height.to_be_bytes()].concat()
}

/// The value of a key before the first change after `height`; `None` when it has not changed since, so that the
/// current value is the one.
pub(crate) fn value_at<R: KvRead + ?Sized>(
    reader: &R,
    table: Table,
    key: &[u8],
    height: u64,
) -> Result<Option<Vec<u8>>, Error> {
    let from = at_height(key, height.saturating_add(1));
    Ok(match reader.seek(table, &from)? {
        Some((found, value)) if found.len() == from.len() && found.starts_with(key) => Some(value),
        Some(_) | None => None,
    })
}

/// Adds to the batch of block `height` the removal of what falls out of the windows.
pub(crate) fn prune<R: KvRead + ?Sized>(
    reader: &R,
    options: &StoreOptions,
    height: u64,
    batch: &mut Batch,
) -> Result<(), Error> {
    /// Heights forgotten with one block, so that a shortened window is caught up with in bounded steps.
    const STEPS: u64 = 4;
    if let Some(keep) = options.state_history {
        let target = height.saturating_sub(keep.max(1));
        let lowest = meta_height(reader, META_LOWEST_STATE)?;
        let mut reached = lowest;
        while reached < target && reached < lowest + STEPS {
            reached += 1;
            if let Some(changed) = ChangedKeys::read(reader, reached)? {
                for key in &changed.accounts {
                    batch.delete(Table::AccountHistory, at_height(key.as_slice(), reached));
                }
                for key in &changed.slots {
                    batch.delete(Table::StorageHistory, at_height(key, reached));
                }
                batch.delete(Table::ChangedKeys, reached.to_be_bytes());
            }
        }
        if reached > lowest {
            batch.put(Table::Meta, META_LOWEST_STATE, reached.to_be_bytes());
        }
    }
    if let Some(keep) = options.block_history {
        let target = height.saturating_sub(keep.max(1));
        let lowest = meta_height(reader, META_LOWEST_BLOCK)?;
        let mut reached = lowest;
        while reached < target && reached < lowest + STEPS {
            crate::blocks::forget(reader, reached, batch)?;
            reached += 1;
        }
        if reached > lowest {
            batch.put(Table::Meta, META_LOWEST_BLOCK, reached.to_be_bytes());
        }
    }
    Ok(())
}
