//! Ranges of the state at a height, in the order of hashed keys: what a walk over all accounts or slots is made of.

use crate::Error;
use crate::account::Account;
use crate::history::slot_key;
use crate::kv::Table;
use crate::view::StateView;
use alloy_primitives::{B256, U256};

/// Keys that one range looks at: at an old height also those that came later and are passed over.
const MAX_LOOKS: usize = 100_000;

/// A piece of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRange<T> {
    /// Hashed keys and values, ascending.
    pub entries: Vec<(B256, T)>,
    /// Where the next piece begins; nothing at the end.
    pub next: Option<B256>,
}

impl StateView<'_> {
    /// Accounts by the hashes of their addresses, from `start` on, at most `most`.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn accounts_from(&self, start: B256, most: usize) -> Result<StateRange<Account>, Error> {
        self.range((Table::Accounts, Table::AccountHistory), &[], start, most, |key| self.account_by_key(key))
    }

    /// Slots of an account, given by the hash of its address, by their own hashes, from `start` on, at most `most`. Those that hold zero
    /// do not exist.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn slots_from(&self, account: B256, start: B256, most: usize) -> Result<StateRange<U256>, Error> {
        let tables = (Table::Storage, Table::StorageHistory);
        self.range(tables, account.as_slice(), start, most, |key| {
            let value = self.slot_by_key(&slot_key(account, key))?;
            Ok((!value.is_zero()).then_some(value))
        })
    }

    fn range<T>(
        &self,
        (current, history): (Table, Table),
        prefix: &[u8],
        start: B256,
        most: usize,
        value: impl Fn(B256) -> Result<Option<T>, Error>,
    ) -> Result<StateRange<T>, Error> {
        let mut entries = Vec::new();
        let mut from = Some(start);
        for _ in 0..MAX_LOOKS {
            let Some(at) = from else { return Ok(StateRange { entries, next: None }) };
            // What was there then is there now, or was changed since.
            let (now, changed) = (self.next_key(current, prefix, at)?, self.next_key(history, prefix, at)?);
            let key = match (now, changed) {
                (Some(now), Some(changed)) => now.min(changed),
                (Some(key), None) | (None, Some(key)) => key,
                (None, None) => return Ok(StateRange { entries, next: None }),
            };
            if let Some(value) = value(key)? {
                if entries.len() >= most {
                    return Ok(StateRange { entries, next: Some(key) });
                }
                entries.push((key, value));
            }
            from = U256::from_be_bytes(key.0).checked_add(U256::ONE).map(B256::from);
        }
        Ok(StateRange { entries, next: from })
    }

    /// The first hashed key in a table that is not below `from`.
    fn next_key(&self, table: Table, prefix: &[u8], from: B256) -> Result<Option<B256>, Error> {
        let found = self.reader.seek(table, &[prefix, from.as_slice()].concat())?;
        Ok(found.and_then(|(key, _)| {
            let hash = key.strip_prefix(prefix)?.get(..32)?;
            Some(B256::from_slice(hash))
        }))
    }
}
