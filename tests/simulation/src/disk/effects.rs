//! What engine and store do with a disk, effect by effect.

use super::{Disk, ENTRY_BYTES, Fate, Log, refused};
use bttc_engine::{Error as EngineError, Guard, LastSigned, LogDisk};
use bttc_state::{Batch, Error as StateError, Kv, KvRead};
use std::io;

/// What a dead process hears.
const DEAD: &str = "the node is dead";

impl LogDisk for Disk {
    fn name(&self) -> String {
        "simulated log".into()
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let state = self.state.lock();
        Ok(state.log.as_ref().map(|log| [log.synced.as_slice(), &log.unsynced].concat()))
    }

    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let fate = state.fate(true, true);
        if matches!(fate, Fate::Done | Fate::Unheard) {
            state.written.update(content);
            state.counts.written += content.len() as u64;
            state.log = Some(Log { synced: content.to_vec(), unsynced: Vec::new() });
        }
        outcome(&fate)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let fate = state.fate(false, true);
        if matches!(fate, Fate::Done | Fate::Unheard)
            && let Some(log) = &mut state.log
        {
            log.synced.append(&mut log.unsynced);
            log.synced.truncate(length as usize);
        }
        outcome(&fate)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let fate = state.fate(true, false);
        let written = match fate {
            Fate::Done | Fate::Unheard => bytes.len(),
            // A disk that runs full takes what fits.
            Fate::Half | Fate::Full => bytes.len() / 2,
            Fate::Nothing | Fate::SyncFailed => 0,
        };
        state.written.update(&bytes[..written]);
        state.counts.written += written as u64;
        if let Some(log) = &mut state.log {
            log.unsynced.extend_from_slice(&bytes[..written]);
        }
        outcome(&fate)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock();
        let fate = state.fate(false, true);
        if let Some(log) = &mut state.log {
            match fate {
                Fate::Done | Fate::Unheard => log.synced.append(&mut log.unsynced),
                Fate::Half => {
                    let rest = log.unsynced.split_off(log.unsynced.len() / 2);
                    log.synced.append(&mut log.unsynced);
                    log.unsynced = rest;
                }
                // As Linux does it: the pages count as clean now, and are gone after a crash.
                Fate::SyncFailed => log.unsynced.clear(),
                Fate::Nothing | Fate::Full => {}
            }
        }
        outcome(&fate)
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let mut state = self.state.lock();
        let fate = state.fate(false, false);
        if matches!(fate, Fate::Done | Fate::Unheard) {
            state.log = None;
        }
        outcome(&fate)
    }
}

fn outcome(fate: &Fate) -> io::Result<()> {
    match fate {
        Fate::Done => Ok(()),
        Fate::Half | Fate::Nothing | Fate::Unheard => Err(refused(DEAD)),
        Fate::Full => Err(refused("no space left on device")),
        Fate::SyncFailed => Err(refused("input/output error")),
    }
}

impl Guard for Disk {
    fn last(&self) -> Option<LastSigned> {
        self.state.lock().guard
    }

    fn record(&mut self, last: LastSigned) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        // The file keeps its size, so a full disk does not hinder it; two slots make it atomic.
        let fate = state.fate(false, true);
        if matches!(fate, Fate::Done | Fate::Unheard) {
            state.written.update(last.digest);
            state.guard = Some(last);
        }
        outcome(&fate).map_err(|error| EngineError::Guard { path: "simulated guard".into(), reason: error.to_string() })
    }
}

impl KvRead for Disk {
    fn get(&self, table: bttc_state::Table, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.tables.get(table, key)
    }

    fn seek(&self, table: bttc_state::Table, key: &[u8]) -> Result<Option<bttc_state::Entry>, StateError> {
        self.tables.seek(table, key)
    }

    fn scan(
        &self,
        table: bttc_state::Table,
        from: &[u8],
        visit: &mut bttc_state::Visitor<'_>,
    ) -> Result<(), StateError> {
        self.tables.scan(table, from, visit)
    }
}

impl Kv for Disk {
    fn write(&self, batch: Batch, durable: bool) -> Result<(), StateError> {
        let mut state = self.state.lock();
        let fate = state.fate(true, durable);
        if matches!(fate, Fate::Done | Fate::Unheard) {
            state.written.update((batch.len() as u64).to_be_bytes());
            state.counts.written += batch.len() as u64 * ENTRY_BYTES;
            self.tables.write(batch, durable)?;
        }
        outcome(&fate).map_err(|error| StateError::Database { operation: "write", reason: error.to_string() })
    }

    fn with_snapshot(&self, read: &mut dyn FnMut(&dyn KvRead) -> Result<(), StateError>) -> Result<(), StateError> {
        self.tables.with_snapshot(read)
    }
}
