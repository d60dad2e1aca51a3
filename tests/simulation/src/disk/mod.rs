//! A node's disk: log, signer's guard and database, with faults and crash points.
//!
//! Every write and every sync is an *effect* with a number. A crash can be ordered at any effect, before it, in the
//! middle of it or after it; from then on nothing reaches the disk until the node is started again.

mod effects;

use crate::fault::Fault;
use alloy_primitives::B256;
use bttc_engine::{Guard, LastSigned, LogDisk};
use bttc_state::{Kv, MemoryStore};
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
