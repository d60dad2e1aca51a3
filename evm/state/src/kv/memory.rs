//! The store in memory: for tests, simulation and scratch chains. It can be told to fail and to lose what was not
//! synced, as a disk would.

use super::{Batch, Entry, Kv, KvRead, Table, Visitor};
use crate::Error;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

type Tables = Vec<BTreeMap<Vec<u8>, Vec<u8>>>;

/// Faults that a test can order.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryFaults {
    /// Fail every write from the one with this number on (the first write has number 0).
    pub fail_writes_from: Option<u64>,
}

#[derive(Debug)]
struct Inner {
    current: Arc<Tables>,
    /// What was there before each change since the last durable write, in order: a crash takes them back.
    undo: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    faults: MemoryFaults,
    writes: u64,
}

/// An ordered map per table behind one lock; snapshots share the maps until the next write.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let empty: Arc<Tables> = Arc::new(vec![BTreeMap::new(); Table::ALL.len()]);
        Self {
            inner: Mutex::new(Inner { current: empty, undo: Vec::new(), faults: MemoryFaults::default(), writes: 0 }),
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Orders faults for the writes to come.
    pub fn set_faults(&self, faults: MemoryFaults) {
        self.inner.lock().faults = faults;
    }

    /// Number of writes so far.
    pub fn writes(&self) -> u64 {
        self.inner.lock().writes
    }

    /// Loses everything that was written without `durable` since the last durable write: a power cut.
    pub fn crash(&self) {
        let mut inner = self.inner.lock();
        let undo = std::mem::take(&mut inner.undo);
        let tables = Arc::make_mut(&mut inner.current);
        for (table, key, before) in undo.into_iter().rev() {
            let Some(map) = tables.get_mut(table.index()) else { continue };
            match before {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
    }

    /// A copy of what is there now.
    pub fn copy(&self) -> Self {
        let inner = self.inner.lock();
        let copy = Inner {
            current: Arc::new(inner.current.as_ref().clone()),
            undo: Vec::new(),
            faults: MemoryFaults::default(),
            writes: 0,
        };
        Self { inner: Mutex::new(copy) }
    }

    /// What is there now, to come back to. Costs nothing until the next write, which copies.
    pub fn save(&self) -> MemorySnapshot {
        MemorySnapshot(self.tables())
    }

    /// Goes back to what was saved.
    pub fn restore(&self, saved: &MemorySnapshot) {
        let mut inner = self.inner.lock();
        inner.current = Arc::clone(&saved.0);
        inner.undo.clear();
    }

    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.inner.lock().current)
    }
}

/// A saved state of a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct MemorySnapshot(Arc<Tables>);

struct Snapshot(Arc<Tables>);

impl KvRead for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(table.index()).and_then(|map| map.get(key)).cloned())
    }

    fn seek(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Error> {
        let map = self.0.get(table.index());
        Ok(map.and_then(|map| map.range(key.to_vec()..).next()).map(|(key, value)| (key.clone(), value.clone())))
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), Error> {
        if let Some(map) = self.0.get(table.index()) {
            for (key, value) in map.range(from.to_vec()..) {
                if !visit(key, value)? {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl KvRead for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Snapshot(self.tables()).get(table, key)
    }

    fn seek(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Error> {
        Snapshot(self.tables()).seek(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), Error> {
        Snapshot(self.tables()).scan(table, from, visit)
    }
}

impl Kv for MemoryStore {
    fn write(&self, batch: Batch, durable: bool) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        let number = inner.writes;
        inner.writes += 1;
        if inner.faults.fail_writes_from.is_some_and(|from| number >= from) {
            return Err(Error::Database { operation: "write", reason: format!("write {number} was told to fail") });
        }
        let mut undo = std::mem::take(&mut inner.undo);
        let tables = Arc::make_mut(&mut inner.current);
        for (table, key, value) in batch.operations {
            if let Some(map) = tables.get_mut(table.index()) {
                let before = match value {
                    Some(value) => map.insert(key.clone(), value),
                    None => map.remove(&key),
                };
                if !durable {
                    undo.push((table, key, before));
                }
            }
        }
        if durable {
            undo.clear();
        }
        inner.undo = undo;
        Ok(())
    }

    fn with_snapshot(&self, read: &mut dyn FnMut(&dyn KvRead) -> Result<(), Error>) -> Result<(), Error> {
        read(&Snapshot(self.tables()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loses_what_was_not_durable_and_nothing_else() {
        let store = MemoryStore::new();
        let put = |value: &[u8]| {
            let mut batch = Batch::default();
            batch.put(Table::Meta, b"k".to_vec(), value.to_vec());
            batch
        };
        store.write(put(b"1"), true).unwrap();
        store.write(put(b"2"), false).unwrap();
        assert_eq!(store.get(Table::Meta, b"k").unwrap(), Some(b"2".to_vec()));
        store.crash();
        assert_eq!(store.get(Table::Meta, b"k").unwrap(), Some(b"1".to_vec()));
        store.set_faults(MemoryFaults { fail_writes_from: Some(2) });
        assert!(store.write(put(b"3"), true).is_err());
        assert_eq!(store.get(Table::Meta, b"k").unwrap(), Some(b"1".to_vec()));
    }
}
