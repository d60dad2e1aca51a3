//! Changes to the head's state outside any block, for development chains: nobody else has to agree.

use crate::Error;
use crate::account::StateDiff;
use crate::history::ChangedKeys;
use crate::kv::{Batch, Table};
use crate::store::{Head, META_HEAD, StateStore};
use alloy_rlp::Decodable;
use std::collections::HashSet;

impl StateStore {
    /// Changes the state after the head, as if its block had done so; the block itself stays, so its header names another state root.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`]; nothing has changed then.
    pub fn amend(&self, diff: &StateDiff) -> Result<(), Error> {
        let Some(head) = self.head() else { return Err(Error::NotNext { height: 0, head: 0 }) };
        let mut prepared = self.prepare_at(head.height, diff)?;
        let head = Head { state_root: prepared.root, ..head };
        let mut batch = self.behind(head.height, std::mem::take(&mut prepared.batch))?;
        batch.put(Table::Meta, META_HEAD, head.encode());
        self.kv.write(batch, false)?;
        self.adopt(head, prepared);
        Ok(())
    }

    /// What the head's block changed itself keeps the value from before the block; the list of changes grows.
    fn behind(&self, height: u64, batch: Batch) -> Result<Batch, Error> {
        let key = height.to_be_bytes();
        let mut changed = ChangedKeys::read(self.kv.as_ref(), height)?.unwrap_or_default();
        let accounts: HashSet<_> = changed.accounts.iter().copied().collect();
        let slots: HashSet<_> = changed.slots.iter().copied().collect();
        let mut result = Batch::default();
        for (table, at, value) in batch.operations {
            match (table, value) {
                (Table::ChangedKeys, Some(value)) => {
                    let new = ChangedKeys::decode(&mut value.as_slice())
                        .map_err(|error| Error::corrupt(Table::ChangedKeys, &key, error))?;
                    changed.accounts.extend(new.accounts.into_iter().filter(|account| !accounts.contains(account)));
                    changed.slots.extend(new.slots.into_iter().filter(|slot| !slots.contains(slot)));
                    result.put(Table::ChangedKeys, key, changed.encode());
                }
                (Table::AccountHistory | Table::StorageHistory, Some(_)) if self.kv.get(table, &at)?.is_some() => {}
                (_, Some(value)) => result.put(table, at, value),
                (_, None) => result.delete(table, at),
            }
        }
        Ok(result)
    }
}
