//! Intents and withdrawals on disk.

use crate::Error;
use alloy_primitives::{Address, B256, Bytes, U256};
use bttc_bridge_types::Withdrawal;
use redb::{Database, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const INTENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("intents");
/// Finished ones are apart: every round looks at the open ones.
const DONE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("done");
const WITHDRAWALS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("withdrawals");
const BRIDGE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bridge");
const CURSORS: TableDefinition<'_, &str, u64> = TableDefinition::new("cursors");

/// Finished intents that are kept for people to look at.
const KEPT: usize = 2_000;

/// How far an intent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum IntentState {
    /// No transaction of it is on its way.
    Building,
    /// At least one is.
    Submitted,
    /// One is in a block.
    Included {
        /// Its height.
        height: u64,
    },
    /// Its block is final.
    Finalized,
    /// Somebody else did it, or it is not needed any more.
    Superseded {
        /// In words.
        reason: String,
    },
}

/// A transaction that was made for an intent. Written down before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its hash.
    pub hash: B256,
    /// Its bytes.
    pub raw: Bytes,
    /// Its number on chains that number.
    pub nonce: u64,
    /// What it offers, wei.
    pub max_fee: u128,
    /// Of it for the proposer, wei.
    pub tip: u128,
    /// When it expires, on chains where that is so, milliseconds.
    pub expiration_ms: u64,
    /// When it was made, milliseconds.
    pub made_ms: u64,
}

/// Something to be done on a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Its name: the same thing has the same name.
    pub id: String,
    /// The chain on which it is done.
    pub lane: String,
    /// The contract.
    pub to: Address,
    /// The call.
    pub input: Bytes,
    /// How far it is.
    #[serde(flatten)]
    pub state: IntentState,
    /// Its transactions, the latest last.
    pub attempts: Vec<Attempt>,
    /// Failures so far.
    pub failures: u32,
    /// Not before this time, milliseconds.
    pub not_before_ms: u64,
    /// The last failure in words.
    pub error: Option<String>,
    /// When it was found, milliseconds.
    pub created_ms: u64,
    /// When it changed last, milliseconds.
    pub updated_ms: u64,
}

impl Intent {
    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        matches!(self.state, IntentState::Finalized | IntentState::Superseded { .. })
    }
}

/// A withdrawal that was seen on BTTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WithdrawalRecord {
    /// The withdrawal.
    #[serde(flatten)]
    pub withdrawal: Withdrawal,
    /// Its transaction on BTTC.
    pub transaction: B256,
    /// Nothing is left to be paid.
    pub settled: bool,
}

/// The database's error in words: its own type is large.
struct Failure(String);

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into().to_string())
    }
}

/// The file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Database,
}

impl Store {
    /// Opens or makes it.
    ///
    /// # Errors
    /// [`Error::Store`], also while another relayer uses it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |error: String| Error::Store { path: path.display().to_string(), reason: error };
        let database = Database::create(path).map_err(|error| fail(error.to_string()))?;
        let store = Self { path: path.to_owned(), database };
        store.write(|transaction| {
            transaction.open_table(INTENTS)?;
            transaction.open_table(DONE)?;
            transaction.open_table(WITHDRAWALS)?;
            transaction.open_table(CURSORS)?;
            transaction.open_table(BRIDGE)?;
            Ok(())
        })?;
        Ok(store)
    }

    /// Makes the file one of a bridge, the first time; afterwards it must be the same.
    ///
    /// # Errors
    /// [`Error::Store`] when the file is another bridge's.
    pub fn bind(&self, bridge: B256) -> Result<(), Error> {
        let transaction = self.database.begin_read().map_err(|error| self.fail(error))?;
        let table = transaction.open_table(BRIDGE).map_err(|error| self.fail(error))?;
        match table.get("id").map_err(|error| self.fail(error))? {
            Some(id) if id.value() == bridge.as_slice() => Ok(()),
            Some(_) => Err(self.fail("it belongs to another network's bridge: use another home")),
            None => self.write(|transaction| {
                transaction.open_table(BRIDGE)?.insert("id", bridge.as_slice())?;
                Ok(())
            }),
        }
    }

    fn fail(&self, reason: impl ToString) -> Error {
        Error::Store { path: self.path.display().to_string(), reason: reason.to_string() }
    }

    /// Writes durably: what was written is there after a crash.
    fn write(&self, work: impl FnOnce(&redb::WriteTransaction) -> Result<(), Failure>) -> Result<(), Error> {
        let transaction = self.database.begin_write().map_err(|error| self.fail(error))?;
        work(&transaction).map_err(|Failure(error)| self.fail(error))?;
        transaction.commit().map_err(|error| self.fail(error))
    }

    fn all<T: serde::de::DeserializeOwned>(&self, table: TableDefinition<'_, &str, &[u8]>) -> Result<Vec<T>, Error> {
        let transaction = self.database.begin_read().map_err(|error| self.fail(error))?;
        let table = transaction.open_table(table).map_err(|error| self.fail(error))?;
        let mut list = Vec::new();
        for entry in table.iter().map_err(|error| self.fail(error))? {
            let (_, value) = entry.map_err(|error| self.fail(error))?;
            list.push(serde_json::from_slice(value.value()).map_err(|error| self.fail(error))?);
        }
        Ok(list)
    }

    /// Intents that are not done.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open_intents(&self) -> Result<Vec<Intent>, Error> {
        self.all(INTENTS)
    }

    /// An intent, done or not.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn intent(&self, id: &str) -> Result<Option<Intent>, Error> {
        let transaction = self.database.begin_read().map_err(|error| self.fail(error))?;
        for table in [INTENTS, DONE] {
            let table = transaction.open_table(table).map_err(|error| self.fail(error))?;
            if let Some(value) = table.get(id).map_err(|error| self.fail(error))? {
                return serde_json::from_slice(value.value()).map(Some).map_err(|error| self.fail(error));
            }
        }
        Ok(None)
    }

    /// Keeps an intent.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn put(&self, intent: &Intent) -> Result<(), Error> {
        let bytes = serde_json::to_vec(intent).map_err(|error| self.fail(error))?;
        let (into, out_of) = if intent.is_done() { (DONE, INTENTS) } else { (INTENTS, DONE) };
        self.write(|transaction| {
            transaction.open_table(into)?.insert(intent.id.as_str(), bytes.as_slice())?;
            transaction.open_table(out_of)?.remove(intent.id.as_str())?;
            Ok(())
        })
    }

    /// Forgets an intent, so that it is found anew if it is still needed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn forget(&self, id: &str) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.open_table(INTENTS)?.remove(id)?;
            transaction.open_table(DONE)?.remove(id)?;
            Ok(())
        })
    }

    /// Forgets the oldest finished intents.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn tidy(&self) -> Result<(), Error> {
        let transaction = self.database.begin_read().map_err(|error| self.fail(error))?;
        let count =
            transaction.open_table(DONE).map_err(|error| self.fail(error))?.len().map_err(|error| self.fail(error))?;
        if count <= 2 * KEPT as u64 {
            return Ok(());
        }
        let mut done: Vec<Intent> = self.all(DONE)?;
        done.sort_by_key(|intent| intent.updated_ms);
        let spare = done.len().saturating_sub(KEPT);
        self.write(|transaction| {
            let mut table = transaction.open_table(DONE)?;
            for intent in done.iter().take(spare) {
                table.remove(intent.id.as_str())?;
            }
            Ok(())
        })
    }

    /// Keeps withdrawals, and how far the logs were read.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn put_withdrawals(&self, list: &[WithdrawalRecord], cursor: u64) -> Result<(), Error> {
        let mut encoded = Vec::new();
        for record in list {
            let bytes = serde_json::to_vec(record).map_err(|error| self.fail(error))?;
            encoded.push((key(&record.withdrawal), bytes));
        }
        self.write(|transaction| {
            let mut table = transaction.open_table(WITHDRAWALS)?;
            for (key, bytes) in &encoded {
                table.insert(key.as_str(), bytes.as_slice())?;
            }
            transaction.open_table(CURSORS)?.insert("withdrawals", cursor)?;
            Ok(())
        })
    }

    /// Withdrawals of which something is left.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open_withdrawals(&self) -> Result<Vec<WithdrawalRecord>, Error> {
        Ok(self.all::<WithdrawalRecord>(WITHDRAWALS)?.into_iter().filter(|record| !record.settled).collect())
    }

    /// Notes that nothing is left of a withdrawal. The record goes; the logs still have it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn settle(&self, withdrawal: &Withdrawal) -> Result<(), Error> {
        let key = key(withdrawal);
        self.write(|transaction| {
            transaction.open_table(WITHDRAWALS)?.remove(key.as_str())?;
            Ok(())
        })
    }

    /// How far the logs were read.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn cursor(&self) -> Result<u64, Error> {
        let transaction = self.database.begin_read().map_err(|error| self.fail(error))?;
        let table = transaction.open_table(CURSORS).map_err(|error| self.fail(error))?;
        Ok(table.get("withdrawals").map_err(|error| self.fail(error))?.map_or(0, |value| value.value()))
    }
}

fn key(withdrawal: &Withdrawal) -> String {
    let Withdrawal { at, tree_id, index, .. } = withdrawal;
    format!("{}:{:x}:{tree_id:010}:{index:020}", at.root_chain_id, at.gateway)
}

/// An amount for people and metrics.
pub(crate) fn shown(amount: U256) -> String {
    amount.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bttc_bridge_types::GatewayId;

    #[test]
    fn what_is_written_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relayer.redb");
        let intent = Intent {
            id: "claim:1:1:5".into(),
            lane: "ethereum".into(),
            to: Address::repeat_byte(1),
            input: Bytes::from_static(b"x"),
            state: IntentState::Included { height: 7 },
            attempts: Vec::new(),
            failures: 0,
            not_before_ms: 0,
            error: None,
            created_ms: 1,
            updated_ms: 2,
        };
        let record = WithdrawalRecord {
            withdrawal: Withdrawal {
                at: GatewayId { root_chain_id: 1, gateway: Address::repeat_byte(2) },
                tree_id: 1,
                index: 5,
                token: Address::ZERO,
                sender: Address::ZERO,
                recipient: Address::ZERO,
                amount: U256::from(9),
                relayer_fee: U256::ZERO,
            },
            transaction: B256::ZERO,
            settled: false,
        };
        {
            let store = Store::open(&path).unwrap();
            store.put(&intent).unwrap();
            store.bind(B256::repeat_byte(1)).unwrap();
            store.bind(B256::repeat_byte(1)).unwrap();
            assert!(store.bind(B256::repeat_byte(2)).is_err(), "another bridge's");
            store.put_withdrawals(std::slice::from_ref(&record), 99).unwrap();
            assert!(Store::open(&path).is_err(), "one relayer a file");
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.intent(&intent.id).unwrap(), Some(intent.clone()));
        let done = Intent { state: IntentState::Finalized, ..intent };
        store.put(&done).unwrap();
        assert!(store.open_intents().unwrap().is_empty());
        assert_eq!(store.intent(&done.id).unwrap(), Some(done));
        assert_eq!(store.open_withdrawals().unwrap(), vec![record.clone()]);
        assert_eq!(store.cursor().unwrap(), 99);
        store.settle(&record.withdrawal).unwrap();
        assert!(store.open_withdrawals().unwrap().is_empty());
    }
}
