//! The search index: which blocks of a section contain a value (a log's address or topic, an account).
//!
//! A section is 256 blocks. For each value in it there is one entry, whose name is a hash of the value and whose content is the places of
//! the blocks, one byte each. A query reads one entry a section and value, whatever the blocks hold. Names may collide, so what
//! is found is a candidate: who asks looks at the block. The index is written behind the head, never with a block, and in small pieces, so
//! that a writer of blocks never waits for more than one. A block with very many names is not named: it is a candidate for everything.

use crate::Error;
use crate::history::ChangedKeys;
use crate::kv::{Batch, Table};
use crate::store::{META_LOWEST_BLOCK, StateStore, meta_height};
use alloy_primitives::{B256, U256, keccak256};
use std::ops::Range;

/// Blocks of a section.
pub const SECTION_BLOCKS: u64 = 256;

pub(crate) const META_SEARCH: &[u8] = b"search";

/// Operations of one write.
const WRITE_OPERATIONS: usize = 4_096;

/// Under this name stand the blocks that are candidates for everything.
const EVERYTHING: u64 = u64::MAX;

/// What a value in the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchKind {
    /// Address of a log.
    LogAddress,
    /// Topic of a log at this position, 0 to 3.
    Topic(u8),
    /// Hashed address of an account that a block changed, or of a transaction's sender, receiver or created contract.
    Account,
}

/// Name of a value in the index.
pub fn search_name(kind: SearchKind, value: &[u8]) -> u64 {
    let kind = match kind {
        SearchKind::LogAddress => 0,
        SearchKind::Topic(position) => 1 + position,
        SearchKind::Account => 16,
    };
    let hash = keccak256([&[kind], value].concat());
    hash.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn key(section: u64, name: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&section.to_be_bytes());
    key[8..].copy_from_slice(&name.to_be_bytes());
    key
}

impl StateStore {
    /// The sections that are indexed.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn searchable(&self) -> Result<Range<u64>, Error> {
        let Some(bytes) = self.kv.get(Table::Meta, META_SEARCH)? else {
            let first = meta_height(self.kv.as_ref(), META_LOWEST_BLOCK)? / SECTION_BLOCKS;
            return Ok(first..first);
        };
        let heights = bytes.split_first_chunk::<8>().and_then(|(first, next)| {
            Some(u64::from_be_bytes(*first)..u64::from_be_bytes(<[u8; 8]>::try_from(next).ok()?))
        });
        heights.ok_or_else(|| Error::corrupt(Table::Meta, META_SEARCH, "not a range of sections"))
    }

    /// Writes a piece of a section's index, and says how many of the entries it has taken; 0 when there is none. `entries` are names
    /// with the places of their blocks in the section, sorted, each once.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn index_piece(&self, section: u64, entries: &[(u64, u8)]) -> Result<usize, Error> {
        let mut batch = Batch::default();
        let mut taken = 0;
        for group in entries.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((name, _)) = group.first() else { continue };
            let places: Vec<u8> = group.iter().map(|(_, place)| *place).collect();
            batch.put(Table::Search, key(section, *name), places);
            taken += group.len();
            if batch.len() >= WRITE_OPERATIONS {
                break;
            }
        }
        if !batch.is_empty() {
            self.kv.write(batch, false)?;
        }
        Ok(taken)
    }

    /// Says that a section is written: the one after the last, or the first of all. `dense` are the places of blocks that were not
    /// named.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn finish_section(&self, section: u64, dense: &[u8]) -> Result<(), Error> {
        let done = self.searchable()?;
        // Before the first section is written the range follows the pruning, and may have moved on meanwhile.
        let first = if done.is_empty() { section } else { done.start };
        let mut batch = Batch::default();
        if !dense.is_empty() {
            batch.put(Table::Search, key(section, EVERYTHING), dense);
        }
        put_range(&mut batch, first..section + 1);
        self.kv.write(batch, false)
    }

    /// Forgets some entries of sections whose blocks are all forgotten. False: nothing is left to forget.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn prune_search(&self) -> Result<bool, Error> {
        let done = self.searchable()?;
        let lowest = self.lowest_block()? / SECTION_BLOCKS;
        let start = lowest.clamp(done.start, done.end);
        let mut batch = Batch::default();
        if start > done.start {
            // First the range, so that nobody takes half a section for a whole one.
            put_range(&mut batch, start..done.end);
            self.kv.write(std::mem::take(&mut batch), false)?;
        }
        let end = start.to_be_bytes();
        self.kv.scan(Table::Search, &[], &mut |key, _| {
            let below = key < end.as_slice();
            if below {
                batch.delete(Table::Search, key);
            }
            Ok(below && batch.len() < WRITE_OPERATIONS)
        })?;
        let more = !batch.is_empty();
        if more {
            self.kv.write(batch, false)?;
        }
        Ok(more)
    }

    /// The blocks of a section that may contain a value: bit `n` stands for the section's block `n`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn search(&self, section: u64, name: u64) -> Result<U256, Error> {
        let places = self.kv.get(Table::Search, &key(section, name))?.unwrap_or_default();
        let mut found = U256::ZERO;
        for place in places {
            found.set_bit(usize::from(place), true);
        }
        Ok(found)
    }

    /// The blocks of a section that are candidates for everything.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn search_everything(&self, section: u64) -> Result<U256, Error> {
        self.search(section, EVERYTHING)
    }
}

impl StateStore {
    /// Hashed addresses of the accounts that a block changed; nothing when that is not kept.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn changed_accounts(&self, height: u64) -> Result<Vec<B256>, Error> {
        Ok(ChangedKeys::read(self.kv.as_ref(), height)?.unwrap_or_default().accounts)
    }
}

fn put_range(batch: &mut Batch, sections: Range<u64>) {
    let value = [sections.start.to_be_bytes(), sections.end.to_be_bytes()].concat();
    batch.put(Table::Meta, META_SEARCH, value);
}
