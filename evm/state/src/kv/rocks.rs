//! The store on disk: one RocksDB with a column family per table.

use super::{Batch, Entry, Kv, KvRead, Table, Visitor};
use crate::Error;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, DBWithThreadMode, Direction,
    FlushOptions, IteratorMode, MultiThreaded, Options, ReadOptions, SnapshotWithThreadMode, WriteBatch, WriteOptions,
};
use std::path::Path;

type Db = DBWithThreadMode<MultiThreaded>;

/// Sizes. The defaults suit a machine with 2 cores and 8 GiB.
#[derive(Clone, Copy, Debug)]
pub struct RocksOptions {
    /// Bytes of block cache shared by all tables.
    pub block_cache_bytes: usize,
    /// Bytes of a table's write buffer before it is flushed.
    pub write_buffer_bytes: usize,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
    /// Most files kept open.
    pub max_open_files: i32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { block_cache_bytes: 512 << 20, write_buffer_bytes: 64 << 20, background_jobs: 2, max_open_files: 1024 }
    }
}

/// How a table is read decides its options. They must be set per column family: RocksDB silently ignores them on
/// the database's own options.
fn table_options(table: Table, options: &RocksOptions, cache: &Cache) -> Options {
    let mut block = BlockBasedOptions::default();
    block.set_block_cache(cache);
    block.set_cache_index_and_filter_blocks(true);
    block.set_pin_l0_filter_and_index_blocks_in_cache(true);
    block.set_block_size(match table {
        Table::Blocks | Table::Receipts | Table::Senders | Table::ChangedKeys => 16 << 10,
        _ => 4 << 10,
    });
    block.set_bloom_filter(10.0, false);
    let mut result = Options::default();
    result.set_block_based_table_factory(&block);
    // State values are hashes and balances: they do not compress.
    result.set_compression_type(match table {
        Table::Accounts | Table::Storage | Table::AccountTrie | Table::StorageTrie | Table::Transactions => {
            DBCompressionType::None
        }
        _ => DBCompressionType::Lz4,
    });
    let buffer = match table {
        Table::Meta | Table::BlockNumbers | Table::Headers | Table::Preimages | Table::Search => {
            options.write_buffer_bytes / 8
        }
        _ => options.write_buffer_bytes,
    };
    result.set_write_buffer_size(buffer.max(1 << 20));
    result.set_max_write_buffer_number(3);
    result.set_level_compaction_dynamic_level_bytes(true);
    result
}

/// RocksDB behind [`Kv`].
pub struct RocksStore {
    db: Db,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore").field("path", &self.db.path()).finish()
    }
}

impl RocksStore {
    /// Opens or creates the database in a directory. Only one process can have it open.
    ///
    /// # Errors
    /// [`Error::Database`], for instance when another process holds the lock.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self, Error> {
        let (db_options, families) = Self::options(options);
        let db = Db::open_cf_descriptors(&db_options, path, families).map_err(|error| failed("open", error))?;
        Ok(Self { db })
    }

    /// Opens a database that stands still, without taking its lock. Writes fail.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn open_read_only(path: &Path, options: &RocksOptions) -> Result<Self, Error> {
        let (db_options, families) = Self::options(options);
        let db = Db::open_cf_descriptors_read_only(&db_options, path, families, false)
            .map_err(|error| failed("open", error))?;
        Ok(Self { db })
    }

    fn options(options: &RocksOptions) -> (Options, Vec<ColumnFamilyDescriptor>) {
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let mut db_options = Options::default();
        db_options.create_if_missing(true);
        db_options.create_missing_column_families(true);
        db_options.set_max_background_jobs(options.background_jobs);
        db_options.set_max_open_files(options.max_open_files);
        db_options.set_bytes_per_sync(1 << 20);
        db_options.set_wal_bytes_per_sync(1 << 20);
        db_options.set_max_total_wal_size(512 << 20);
        db_options.set_keep_log_file_num(4);
        // A torn tail is cut off; damage before the tail is an error at opening.
        db_options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        let families = Table::ALL
            .into_iter()
            .map(|table| ColumnFamilyDescriptor::new(table.name(), table_options(table, options, &cache)));
        (db_options, families.collect())
    }

    /// Begins to write what is in memory to the disk, without waiting for it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn flush_in_background(&self) -> Result<(), Error> {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        for table in Table::ALL {
            self.db.flush_cf_opt(&self.family(table)?, &options).map_err(|error| failed("flush", error))?;
        }
        Ok(())
    }

    /// Makes a copy of the database as it is now in a directory that does not exist yet, from hard links; what is only in
    /// the log is copied with the log.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn checkpoint(&self, path: &Path) -> Result<(), Error> {
        let checkpoint = Checkpoint::new(&self.db).map_err(|error| failed("checkpoint", error))?;
        checkpoint.create_checkpoint_with_log_size(path, u64::MAX).map_err(|error| failed("checkpoint", error))
    }

    /// Approximate bytes on disk and number of keys of each table.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn table_sizes(&self) -> Result<Vec<(Table, u64, u64)>, Error> {
        let mut sizes = Vec::new();
        for table in Table::ALL {
            let family = self.family(table)?;
            let property = |name: &str| {
                self.db
                    .property_int_value_cf(&family, name)
                    .map(Option::unwrap_or_default)
                    .map_err(|error| failed("statistics", error))
            };
            sizes.push((
                table,
                property("rocksdb.total-sst-files-size")?.saturating_add(property("rocksdb.cur-size-all-mem-tables")?),
                property("rocksdb.estimate-num-keys")?,
            ));
        }
        Ok(sizes)
    }

    fn family(&self, table: Table) -> Result<std::sync::Arc<rocksdb::BoundColumnFamily<'_>>, Error> {
        self.db.cf_handle(table.name()).ok_or_else(|| Error::Database {
            operation: "open table",
            reason: format!("column family {} does not exist", table.name()),
        })
    }
}

fn failed(operation: &'static str, error: rocksdb::Error) -> Error {
    Error::Database { operation, reason: error.into_string() }
}

struct Snapshot<'a> {
    store: &'a RocksStore,
    snapshot: SnapshotWithThreadMode<'a, Db>,
}

impl KvRead for Snapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.snapshot.get_cf(&self.store.family(table)?, key).map_err(|error| failed("read", error))
    }

    fn seek(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Error> {
        let family = self.store.family(table)?;
        let mode = IteratorMode::From(key, Direction::Forward);
        match self.snapshot.iterator_cf_opt(&family, ReadOptions::default(), mode).next() {
            None => Ok(None),
            Some(Ok((key, value))) => Ok(Some((key.into_vec(), value.into_vec()))),
            Some(Err(error)) => Err(failed("seek", error)),
        }
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), Error> {
        let family = self.store.family(table)?;
        let mut read = ReadOptions::default();
        read.fill_cache(false);
        for entry in self.snapshot.iterator_cf_opt(&family, read, IteratorMode::From(from, Direction::Forward)) {
            let (key, value) = entry.map_err(|error| failed("scan", error))?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }
}

impl KvRead for RocksStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db.get_cf(&self.family(table)?, key).map_err(|error| failed("read", error))
    }

    fn seek(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Error> {
        Snapshot { store: self, snapshot: self.db.snapshot() }.seek(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), Error> {
        Snapshot { store: self, snapshot: self.db.snapshot() }.scan(table, from, visit)
    }
}

impl Kv for RocksStore {
    fn write(&self, batch: Batch, durable: bool) -> Result<(), Error> {
        let mut families = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            families.push(self.family(table)?);
        }
        let mut write = WriteBatch::default();
        for (table, key, value) in batch.operations {
            if let Some(family) = families.get(table.index()) {
                match value {
                    Some(value) => write.put_cf(family, key, value),
                    None => write.delete_cf(family, key),
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durable);
        self.db.write_opt(write, &options).map_err(|error| failed("write", error))
    }

    fn with_snapshot(&self, read: &mut dyn FnMut(&dyn KvRead) -> Result<(), Error>) -> Result<(), Error> {
        read(&Snapshot { store: self, snapshot: self.db.snapshot() })
    }
}
