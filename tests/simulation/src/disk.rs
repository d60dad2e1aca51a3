//! A node's disk: log, signer's guard and database, with faults and crash points.
//!
//! Every write and every sync is an *effect* with a number. A crash can be ordered at any effect, before it, in the
//! middle of it or after it; from then on nothing reaches the disk until the node is started again.

use crate::fault::Fault;
use alloy_primitives::B256;
use bttc_engine::{Error as EngineError, Guard, LastSigned, LogDisk};
use bttc_state::{Batch, Error as StateError, Kv, KvRead, MemoryStore};
use parking_lot::Mutex;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::io;
use std::sync::Arc;

/// Where in an effect a crash strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it happened.
    Before,
    /// Half of it happened, where halves exist; otherwise nothing.
    Middle,
    /// All of it happened, and nobody was told.
    After,
}

/// What the checker wants to know of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskCounts {
    /// Effects so far.
    pub effects: u64,
    /// Syncs so far, of all three kinds.
    pub syncs: u64,
    /// Bytes written so far; for the database by the number of entries.
    pub written: u64,
}

/// Bytes that an entry of the database counts as.
const ENTRY_BYTES: u64 = 100;

/// A database without guard and log.
#[derive(Clone, Debug, Default)]
pub struct Database(Arc<MemoryStore>);

#[derive(Debug, Default)]
struct Log {
    synced: Vec<u8>,
    unsynced: Vec<u8>,
}

#[derive(Debug)]
struct State {
    log: Option<Log>,
    guard: Option<LastSigned>,
    counts: DiskCounts,
    crash: Option<(u64, Moment)>,
    dead: bool,
    full: bool,
    fail_sync: bool,
    /// A fault of this disk was noticed by the node: it may stop, or stop signing.
    hurt: bool,
    /// Hash over everything written, in order.
    written: alloy_primitives::Keccak256,
}

/// A disk; clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    tables: Arc<MemoryStore>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Default for Disk {
    fn default() -> Self {
        let state = State {
            log: None,
            guard: None,
            counts: DiskCounts::default(),
            crash: None,
            dead: false,
            full: false,
            fail_sync: false,
            hurt: false,
            written: alloy_primitives::Keccak256::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), tables: Arc::new(MemoryStore::new()) }
    }
}

/// How an effect goes.
enum Fate {
    Done,
    Half,
    Nothing,
    /// It happened, but its caller hears of a crash.
    Unheard,
    Full,
    SyncFailed,
}

const DEAD: &str = "the node is dead";

impl State {
    fn fate(&mut self, writes: bool, syncs: bool) -> Fate {
        if self.dead {
            return Fate::Nothing;
        }
        let number = self.counts.effects;
        self.counts.effects += 1;
        self.counts.syncs += u64::from(syncs);
        if let Some((at, moment)) = self.crash
            && number >= at
        {
            self.dead = true;
            self.crash = None;
            return match moment {
                Moment::Before => Fate::Nothing,
                Moment::Middle => Fate::Half,
                Moment::After => Fate::Unheard,
            };
        }
        if self.full && writes {
            self.hurt = true;
            return Fate::Full;
        }
        if syncs && std::mem::take(&mut self.fail_sync) {
            self.hurt = true;
            return Fate::SyncFailed;
        }
        Fate::Done
    }
}

fn refused(reason: &str) -> io::Error {
    io::Error::other(reason.to_owned())
}

impl Disk {
    /// An effect that is no write: something is sent. False: the node died before it.
    pub fn send_point(&self) -> bool {
        let mut state = self.state.lock();
        matches!(state.fate(false, false), Fate::Done | Fate::Unheard | Fate::Half)
    }

    /// Whether the node died at a crash point.
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Counters.
    pub fn counts(&self) -> DiskCounts {
        self.state.lock().counts
    }

    /// Hash over everything written so far.
    pub fn written(&self) -> B256 {
        self.state.lock().written.clone().finalize()
    }

    /// Orders a crash so many effects from now.
    pub fn crash_after(&self, effects: u64, moment: Moment) {
        let mut state = self.state.lock();
        state.crash = Some((state.counts.effects.saturating_add(effects), moment));
    }

    /// Dies now.
    pub fn die(&self) {
        self.state.lock().dead = true;
    }

    /// The next sync fails.
    pub fn fail_next_sync(&self) {
        self.state.lock().fail_sync = true;
    }

    /// Writes fail, or work again.
    pub fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// Whether a fault was noticed by the node since the last start.
    pub fn is_hurt(&self) -> bool {
        self.state.lock().hurt
    }

    /// What a power cut does to what was not synced; says which faults that was.
    pub fn power_cut(&self, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.tables.crash();
        let mut state = self.state.lock();
        if let Some(log) = &mut state.log
            && !log.unsynced.is_empty()
        {
            let mut tail = std::mem::take(&mut log.unsynced);
            match rng.random_range(0..4) {
                // The system had written all of it.
                0 => {}
                1 => {
                    tail.clear();
                    faults.push(Fault::LostWrites);
                }
                2 => {
                    tail.truncate(rng.random_range(0..tail.len()));
                    faults.push(Fault::TornWrite);
                }
                // The file had grown, its last pages had not been written.
                _ => {
                    let from = rng.random_range(0..tail.len());
                    tail[from..].fill(0);
                    faults.push(Fault::TornWrite);
                }
            }
            log.synced.extend_from_slice(&tail);
        }
        faults
    }

    /// Makes the disk usable for a new start.
    pub fn revive(&self) {
        let mut state = self.state.lock();
        state.dead = false;
        state.crash = None;
        state.fail_sync = false;
        state.hurt = false;
    }

    /// Flips a bit in the synced part of the log, before its last record. False: there is too little of it.
    pub fn damage_log(&self, rng: &mut ChaCha8Rng) -> bool {
        let mut state = self.state.lock();
        let Some(log) = &mut state.log else { return false };
        // The header has 8 bytes and the mark of a height 17; a flip in the last record would be a torn tail.
        if log.synced.len() < 400 {
            return false;
        }
        let at = rng.random_range(33..log.synced.len() / 2);
        log.synced[at] ^= 1 << rng.random_range(0..8);
        state.hurt = true;
        true
    }

    /// Loses the log. False: there was none.
    pub fn lose_log(&self) -> bool {
        self.state.lock().log.take().is_some()
    }

    /// A copy of the disk as a backup tool would take it while nothing is written.
    pub fn copy(&self) -> Self {
        let state = self.state.lock();
        let copy = Self { state: Self::default().state, tables: Arc::new(self.tables.copy()) };
        {
            let mut other = copy.state.lock();
            other.log =
                state.log.as_ref().map(|log| Log { synced: log.synced.clone(), unsynced: log.unsynced.clone() });
            other.guard = state.guard;
        }
        copy
    }

    /// A copy of the database alone.
    pub fn database(&self) -> Database {
        Database(Arc::new(self.tables.copy()))
    }

    /// Another database below the guard and the log that are there.
    pub fn replace_database(&mut self, database: &Database) {
        self.tables = Arc::new(database.0.copy());
    }

    /// Bytes of the log.
    pub fn log_bytes(&self) -> usize {
        self.state.lock().log.as_ref().map_or(0, |log| log.synced.len() + log.unsynced.len())
    }

    /// The log as the engine sees it.
    pub fn log(&self) -> Box<dyn LogDisk> {
        Box::new(self.clone())
    }

    /// The signer's guard as the engine sees it.
    pub fn signer(&self) -> Box<dyn Guard> {
        Box::new(self.clone())
    }

    /// The database.
    pub fn tables(&self) -> Arc<dyn Kv> {
        Arc::new(self.clone())
    }
}

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
