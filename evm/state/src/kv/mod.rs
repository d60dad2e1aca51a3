//! The seam to the disk: tables of ordered keys, snapshots, atomic batches.

mod memory;
#[cfg(feature = "rocksdb")]
mod rocks;

pub use memory::{MemoryFaults, MemorySnapshot, MemoryStore};
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksOptions, RocksStore};

use crate::Error;

/// The tables (RocksDB column families). Keys and values:
///
/// | table | key | value | writer |
/// |---|---|---|---|
/// | `Meta` | name | schema version, genesis hash, head, lowest kept heights; what was looked through (`looked.rs`) | every commit |
/// | `Headers` | height, 8 bytes big endian | RLP header | commit |
/// | `Blocks` | height | encoded block (`bttc_types::Block::encode`) | commit |
/// | `BlockNumbers` | block hash | height | commit |
/// | `Receipts` | height | encoded receipts (the executor's encoding) | commit |
/// | `Senders` | height | 20 bytes a transaction | commit |
/// | `Transactions` | transaction hash | height, 8 bytes, and index, 4 bytes | commit |
/// | `Certificates` | height | canonical certificate of that block | commit |
/// | `Accounts` | keccak(address) | RLP `[nonce, balance, storage root, code hash]`, the leaf of the trie | commit |
/// | `Storage` | keccak(address) then keccak(slot) | value, big endian without leading zeros | commit |
/// | `Code` | code hash | bytecode | commit; never deleted |
/// | `AccountTrie` | path, one nibble a byte | RLP of a branch or extension node (the root node also as a leaf) | commit |
/// | `StorageTrie` | keccak(address) then path | as above | commit |
/// | `AccountHistory` | keccak(address) then height | the account **before** that block; empty: it did not exist | commit |
/// | `StorageHistory` | keccak(address), keccak(slot), height | the value before that block; empty: zero | commit |
/// | `ChangedKeys` | height | keys of `AccountHistory` and `StorageHistory` without the height | commit; pruning reads it |
/// | `Preimages` | keccak(address) | address | commit; for dumps and debugging |
/// | `Events` | height | what the modules' hooks did (the executor's encoding) | commit |
/// | `SetChanges` | epoch, 8 bytes | proof of the epoch's set (`bttc_genesis::SetChange`) | after the commit that fixes it; never deleted |
/// | `Search` | section, 8 bytes, then a hash of the value, 8 bytes | places of the blocks in the section, one byte each | the search index, behind the head |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// See the table above; so for all.
    Meta,
    #[allow(missing_docs)]
    Headers,
    #[allow(missing_docs)]
    Blocks,
    #[allow(missing_docs)]
    BlockNumbers,
    #[allow(missing_docs)]
    Receipts,
    #[allow(missing_docs)]
    Senders,
    #[allow(missing_docs)]
    Transactions,
    #[allow(missing_docs)]
    Certificates,
    #[allow(missing_docs)]
    Accounts,
    #[allow(missing_docs)]
    Storage,
    #[allow(missing_docs)]
    Code,
    #[allow(missing_docs)]
    AccountTrie,
    #[allow(missing_docs)]
    StorageTrie,
    #[allow(missing_docs)]
    AccountHistory,
    #[allow(missing_docs)]
    StorageHistory,
    #[allow(missing_docs)]
    ChangedKeys,
    #[allow(missing_docs)]
    Preimages,
    #[allow(missing_docs)]
    Events,
    #[allow(missing_docs)]
    SetChanges,
    #[allow(missing_docs)]
    Search,
}

impl Table {
    /// All tables, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::Meta,
        Self::Headers,
        Self::Blocks,
        Self::BlockNumbers,
        Self::Receipts,
        Self::Senders,
        Self::Transactions,
        Self::Certificates,
        Self::Accounts,
        Self::Storage,
        Self::Code,
        Self::AccountTrie,
        Self::StorageTrie,
        Self::AccountHistory,
        Self::StorageHistory,
        Self::ChangedKeys,
        Self::Preimages,
        Self::Events,
        Self::SetChanges,
        Self::Search,
    ];

    /// The column family's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Headers => "headers",
            Self::Blocks => "blocks",
            Self::BlockNumbers => "block_numbers",
            Self::Receipts => "receipts",
            Self::Senders => "senders",
            Self::Transactions => "transactions",
            Self::Certificates => "certificates",
            Self::Accounts => "accounts",
            Self::Storage => "storage",
            Self::Code => "code",
            Self::AccountTrie => "account_trie",
            Self::StorageTrie => "storage_trie",
            Self::AccountHistory => "account_history",
            Self::StorageHistory => "storage_history",
            Self::ChangedKeys => "changed_keys",
            Self::Preimages => "preimages",
            Self::Events => "events",
            Self::SetChanges => "set_changes",
            Self::Search => "search",
        }
    }

    /// Position in [`Self::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Changes that become visible together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) operations: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.operations.push((table, key.into(), Some(value.into())));
    }

    /// Removes a key.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.operations.push((table, key.into(), None));
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Moves everything from `other` to the end of this batch.
    pub fn append(&mut self, mut other: Self) {
        self.operations.append(&mut other.operations);
    }
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Looks at an entry; false ends the scan.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Error> + 'a;

/// Reads, on the live store or on a snapshot.
pub trait KvRead {
    /// The value at a key.
    ///
    /// # Errors
    /// [`Error::Database`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The first entry whose key is not below `key`.
    ///
    /// # Errors
    /// [`Error::Database`].
    fn seek(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Error>;

    /// Visits entries from `from` on in key order, until the visitor returns false.
    ///
    /// # Errors
    /// [`Error::Database`] or the visitor's error.
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), Error>;
}

/// A store: reads, atomic writes, snapshots.
pub trait Kv: KvRead + Send + Sync {
    /// Writes a batch atomically. With `durable` it has reached the disk when this returns; without, a crash may
    /// lose it together with everything written after it, never anything before it.
    ///
    /// # Errors
    /// [`Error::Database`]; nothing of the batch is visible then.
    fn write(&self, batch: Batch, durable: bool) -> Result<(), Error>;

    /// Runs `read` on a consistent snapshot; writers are not blocked meanwhile.
    ///
    /// # Errors
    /// What `read` returns.
    fn with_snapshot(&self, read: &mut dyn FnMut(&dyn KvRead) -> Result<(), Error>) -> Result<(), Error>;
}
