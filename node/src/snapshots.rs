//! The snapshots that this node keeps: checkpoints of its database, made of hard links, for peers that join.

use alloy_primitives::B256;
use bttc_engine::{BlocksRequest, encode_blocks};
use bttc_executor::Executor;
use bttc_node::{PeerRequest, certified_blocks, encode_answer, offers, pieces, set_changes, tail};
use bttc_state::{RocksOptions, RocksStore, StateStore, StoreOptions};
use eyre::Context;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Blocks before a snapshot at which what is in memory goes to the disk, so that the snapshot itself copies little.
const FLUSH_AHEAD: u64 = 4;

/// End of the name of one that is being made.
const UNFINISHED: &str = ".tmp";

/// The snapshots.
pub(crate) struct Snapshots {
    dir: PathBuf,
    interval: u64,
    kept: usize,
    rocks: Arc<RocksStore>,
    taken: RwLock<BTreeMap<u64, Arc<Taken>>>,
}

/// A snapshot on the disk. It is opened by whoever reads it first, never by the thread that commits.
struct Taken {
    path: PathBuf,
    store: OnceLock<Option<Arc<StateStore>>>,
}

impl Taken {
    fn store(&self) -> Option<Arc<StateStore>> {
        let opened = self.store.get_or_init(|| match open(&self.path) {
            Ok(store) => Some(Arc::new(store)),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "a snapshot cannot be opened");
                None
            }
        });
        opened.clone()
    }
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// A snapshot's store, which is read seldom and never written.
fn open(path: &Path) -> Result<StateStore, bttc_state::Error> {
    let options = RocksOptions { block_cache_bytes: 16 << 20, max_open_files: 256, ..RocksOptions::default() };
    let kv = RocksStore::open_read_only(path, &options)?;
    let small = StoreOptions { account_cache: 1, slot_cache: 1, ..StoreOptions::default() };
    StateStore::open(Arc::new(kv), small)
}

impl Snapshots {
    /// Finds those that are there. One that was not finished, belongs to another chain or is damaged is removed; what does
    /// not have a snapshot's name is left alone. `interval`: heights between two snapshots, 0 for none; `kept`: how many are
    /// kept.
    pub(crate) fn new(
        dir: PathBuf,
        interval: u64,
        kept: usize,
        rocks: Arc<RocksStore>,
        genesis: B256,
    ) -> eyre::Result<Self> {
        std::fs::create_dir_all(&dir).wrap_err_with(|| format!("cannot create {}", dir.display()))?;
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&dir).wrap_err_with(|| format!("cannot read {}", dir.display()))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(height) = name.strip_suffix(UNFINISHED).unwrap_or(&name).parse::<u64>() else {
                tracing::warn!(path = %entry.path().display(), "not a snapshot: it is left alone");
                continue;
            };
            let taken = Taken { path: entry.path(), store: OnceLock::new() };
            let good = !name.ends_with(UNFINISHED)
                && taken.store().is_some_and(|store| {
                    store.head().is_some_and(|head| head.height == height)
                        && store.genesis_hash().ok().flatten() == Some(genesis)
                });
            if good {
                found.insert(height, Arc::new(taken));
            } else {
                tracing::warn!(path = %entry.path().display(), "not a good snapshot of this chain: it is removed");
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let snapshots = Self { dir, interval, kept, rocks, taken: RwLock::new(found) };
        snapshots.drop_down_to(kept);
        Ok(snapshots)
    }

    /// Called by the thread that commits, after each block: takes a snapshot when its height has come. A snapshot that
    /// cannot be taken is left out.
    pub(crate) fn after_commit(&self, height: u64) {
        if self.interval == 0 || self.kept == 0 {
            return;
        }
        if self.interval > FLUSH_AHEAD
            && height.saturating_add(FLUSH_AHEAD).is_multiple_of(self.interval)
            && let Err(error) = self.rocks.flush_in_background()
        {
            tracing::warn!(%error, "cannot flush ahead of a snapshot");
        }
        if height > 0 && height.is_multiple_of(self.interval) {
            match self.take(height) {
                Ok(()) => tracing::info!(height, "snapshot taken"),
                Err(error) => tracing::warn!(height, %error, "no snapshot could be taken"),
            }
            self.drop_down_to(self.kept);
        }
    }

    fn take(&self, height: u64) -> eyre::Result<()> {
        let (unfinished, path) = (self.dir.join(format!("{height}{UNFINISHED}")), self.dir.join(height.to_string()));
        if path.exists() {
            return Ok(());
        }
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished)?;
        }
        let made = self.rocks.checkpoint(&unfinished).map_err(eyre::Report::from);
        if let Err(error) = made.and_then(|()| Ok(std::fs::rename(&unfinished, &path)?)) {
            let _ = std::fs::remove_dir_all(&unfinished);
            return Err(error);
        }
        self.taken.write().insert(height, Arc::new(Taken { path, store: OnceLock::new() }));
        Ok(())
    }

    /// Removes the oldest until so many are left. Whoever reads one goes on reading: the files stay until the last of them
    /// closes.
    fn drop_down_to(&self, left: usize) {
        let mut gone = Vec::new();
        {
            let mut taken = self.taken.write();
            while taken.len() > left {
                gone.extend(taken.pop_first().map(|(_, old)| old));
            }
        }
        for old in gone {
            let _ = std::fs::remove_dir_all(&old.path);
        }
    }

    /// Removes all of them: the disk is nearly full, and what they hold is room.
    pub(crate) fn drop_all(&self) {
        let count = self.taken.read().len();
        if count > 0 {
            tracing::warn!(snapshots = count, "the disk is nearly full: the snapshots are removed");
            self.drop_down_to(0);
        }
    }

    /// All of them, the newest first.
    fn list(&self) -> Vec<Arc<StateStore>> {
        let taken: Vec<Arc<Taken>> = self.taken.read().values().rev().cloned().collect();
        taken.iter().filter_map(|taken| taken.store()).collect()
    }

    fn at(&self, height: u64) -> Option<Arc<StateStore>> {
        let taken = self.taken.read().get(&height).cloned();
        taken.and_then(|taken| taken.store())
    }
}

/// The answer to a request whose turn never came: this node has nothing at the moment.
pub(crate) fn no_answer(request: &PeerRequest) -> Vec<u8> {
    match request {
        PeerRequest::Blocks(_) => encode_blocks(&[]),
        PeerRequest::Offers | PeerRequest::Pieces(..) | PeerRequest::SetChanges(_) => encode_answer::<B256>(&[]),
        PeerRequest::Tail(_) => {
            let nothing =
                bttc_node::Tail { block: Default::default(), receipts: Default::default(), headers: Vec::new() };
            alloy_rlp::encode(nothing)
        }
    }
}

/// What a peer gets for its request. Reads the disk: not for threads that serve many.
pub(crate) fn answer(executor: &Executor, snapshots: &Snapshots, request: &PeerRequest) -> Vec<u8> {
    let answered = match request {
        PeerRequest::Blocks(BlocksRequest { from, count }) => {
            let blocks = certified_blocks(executor, BlocksRequest { from: *from, count: *count });
            Ok(Some(encode_blocks(&blocks)))
        }
        PeerRequest::Offers => offers(&snapshots.list()).map(|offers| Some(encode_answer(&offers))),
        PeerRequest::Pieces(height, wanted) => snapshots
            .at(*height)
            .map(|snapshot| pieces(&snapshot, wanted).map(|contents| encode_answer(&contents)))
            .transpose(),
        PeerRequest::SetChanges(from) => match set_changes(executor, *from) {
            Ok(changes) => Ok(Some(encode_answer(&changes))),
            Err(error) => {
                tracing::error!(%error, "cannot read set changes");
                Ok(None)
            }
        },
        PeerRequest::Tail(height) => {
            snapshots.at(*height).map(|snapshot| tail(&snapshot).map(alloy_rlp::encode)).transpose()
        }
    };
    match answered {
        Ok(Some(bytes)) => bytes,
        Ok(None) => no_answer(request),
        Err(error) => {
            tracing::error!(%error, "cannot answer a peer's request");
            no_answer(request)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Snapshots;
    use alloy_consensus::Header;
    use alloy_primitives::B256;
    use bttc_state::{BlockRecord, RocksOptions, RocksStore, StateDiff, StateStore, StoreOptions};
    use bttc_types::{Block, Certificate};
    use std::sync::Arc;

    fn commit(store: &StateStore, height: u64) {
        let prepared = store.prepare(height, &StateDiff::default()).unwrap();
        let header = Header { number: height, state_root: prepared.root(), ..Header::default() };
        let last_commit = Certificate::genesis(B256::ZERO);
        let block = Block { header: header.clone(), transactions: vec![], last_commit: last_commit.clone() };
        let record = BlockRecord {
            header: &header,
            hash: header.hash_slow(),
            block: &block.encode(),
            receipts: &[],
            senders: &[],
            transactions: &[],
            certificate: Some(&last_commit),
            events: &[],
        };
        store.commit(record, prepared, true).unwrap();
    }

    #[test]
    fn snapshots_are_taken_kept_found_again_and_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let rocks = Arc::new(RocksStore::open(&dir.path().join("db"), &RocksOptions::default()).unwrap());
        let store = StateStore::open(rocks.clone(), StoreOptions::default()).unwrap();
        commit(&store, 0);
        let genesis = store.head().unwrap().hash;
        let folder = dir.path().join("snapshots");
        let heights = |snapshots: &Snapshots| -> Vec<u64> {
            snapshots.list().iter().map(|store| store.head().unwrap().height).collect()
        };
        let snapshots = Snapshots::new(folder.clone(), 10, 2, rocks.clone(), genesis).unwrap();
        for height in 1..=35 {
            commit(&store, height);
            snapshots.after_commit(height);
        }
        assert_eq!(heights(&snapshots), [30, 20], "the newest first, and no more than two");
        assert_eq!(snapshots.at(20).unwrap().head().unwrap().height, 20, "it stands still");
        drop(snapshots);
        // What was not finished goes, and what is damaged; what is good is found again.
        std::fs::create_dir(folder.join("40.tmp")).unwrap();
        std::fs::create_dir(folder.join("backup")).unwrap();
        std::fs::write(folder.join("20/CURRENT"), "MANIFEST-999999\n").unwrap();
        let again = Snapshots::new(folder.clone(), 10, 2, rocks.clone(), genesis).unwrap();
        assert_eq!(heights(&again), [30]);
        assert!(!folder.join("40.tmp").exists() && !folder.join("20").exists());
        again.drop_all();
        assert!(again.list().is_empty());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "what an operator put there stays");
        // Those of another chain are not offered.
        snapshots_of_another_chain(&folder, rocks, &again, &store);
    }

    fn snapshots_of_another_chain(
        folder: &std::path::Path,
        rocks: Arc<RocksStore>,
        snapshots: &Snapshots,
        store: &StateStore,
    ) {
        for height in 36..=40 {
            commit(store, height);
            snapshots.after_commit(height);
        }
        assert_eq!(snapshots.list().len(), 1);
        let other = Snapshots::new(folder.to_owned(), 10, 2, rocks, B256::repeat_byte(1)).unwrap();
        assert!(other.list().is_empty());
    }
}
