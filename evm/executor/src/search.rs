//! Fills the search index from the blocks of the store.

use crate::{Error, decode_receipts};
use alloy_consensus::Transaction as _;
use alloy_primitives::keccak256;
use bttc_state::{SECTION_BLOCKS, SearchKind, StateStore, search_name};
use std::sync::Arc;

/// Names of one block. A full block of ordinary transfers has fewer; one of logs made to fill memory may have a million.
const MAX_NAMES: usize = 65_536;

/// Follows the head and writes a section of the index when its last block is there.
#[derive(Debug)]
pub struct SearchIndexer {
    store: Arc<StateStore>,
    /// The next height to read.
    next: u64,
    section: Section,
    /// Most names of a block; with more it is a candidate for everything.
    max_names: usize,
}

/// What is found in a section.
#[derive(Debug, Default)]
struct Section {
    /// Names with the places of their blocks.
    entries: Vec<(u64, u8)>,
    /// Places of blocks with too many names.
    dense: Vec<u8>,
    /// How many entries are written; none before the section is whole.
    written: Option<usize>,
}

impl SearchIndexer {
    /// Goes on behind what is indexed.
    ///
    /// # Errors
    /// The store's.
    pub fn new(store: Arc<StateStore>) -> Result<Self, Error> {
        Self::bounded(store, MAX_NAMES)
    }

    /// [`SearchIndexer::new`] with another bound on a block's names.
    ///
    /// # Errors
    /// The store's.
    pub fn bounded(store: Arc<StateStore>, max_names: usize) -> Result<Self, Error> {
        let next = store.searchable()?.end.saturating_mul(SECTION_BLOCKS);
        Ok(Self { store, next, section: Section::default(), max_names })
    }

    /// Does a piece of the work: reads up to `blocks` blocks, or writes some entries, or forgets some. False: there is nothing to do
    /// until the head moves.
    ///
    /// # Errors
    /// The store's; the next call tries the same again.
    pub fn advance(&mut self, blocks: u64) -> Result<bool, Error> {
        if let Some(written) = self.section.written {
            return self.write(written).map(|()| true);
        }
        for _ in 0..blocks {
            if self.store.head().is_none_or(|head| self.next > head.height) {
                return Ok(self.store.prune_search()?);
            }
            self.read()?;
            if self.section.written.is_some() {
                break;
            }
        }
        Ok(true)
    }

    fn read(&mut self) -> Result<(), Error> {
        let place = u8::try_from(self.next % SECTION_BLOCKS).unwrap_or(u8::MAX);
        let mut names = search_names(&self.store, self.next)?;
        names.sort_unstable();
        names.dedup();
        if names.len() > self.max_names {
            self.section.dense.push(place);
        } else {
            self.section.entries.extend(names.into_iter().map(|name| (name, place)));
        }
        self.next += 1;
        if self.next.is_multiple_of(SECTION_BLOCKS) {
            self.section.entries.sort_unstable();
            self.section.written = Some(0);
        }
        Ok(())
    }

    fn write(&mut self, written: usize) -> Result<(), Error> {
        let section = self.next / SECTION_BLOCKS - 1;
        let rest = self.section.entries.get(written..).unwrap_or_default();
        let taken = self.store.index_piece(section, rest)?;
        if taken > 0 {
            self.section.written = Some(written + taken);
        } else {
            self.store.finish_section(section, &self.section.dense)?;
            self.section = Section::default();
        }
        Ok(())
    }
}

/// What a block can be found by; nothing when it is not kept.
///
/// # Errors
/// The store's.
pub fn search_names(store: &StateStore, height: u64) -> Result<Vec<u64>, Error> {
    let (Some(block), Some(receipts)) = (store.block(height)?, store.receipts_bytes(height)?) else {
        return Ok(Vec::new());
    };
    let receipts = decode_receipts(&receipts).map_err(|error| Error::Evm { height, reason: error.to_string() })?;
    let mut names = Vec::new();
    for log in receipts.iter().flat_map(|receipt| &receipt.logs) {
        names.push(search_name(SearchKind::LogAddress, log.address.as_slice()));
        for (position, topic) in (0u8..).zip(log.topics()) {
            names.push(search_name(SearchKind::Topic(position), topic.as_slice()));
        }
    }
    let mut accounts = store.changed_accounts(height)?;
    let senders = store.senders(height)?.unwrap_or_default();
    for (transaction, sender) in block.transactions.iter().zip(senders) {
        let other = transaction.to().unwrap_or_else(|| sender.create(transaction.nonce()));
        accounts.extend([sender, other].map(keccak256));
    }
    names.extend(accounts.iter().map(|account| search_name(SearchKind::Account, account.as_slice())));
    Ok(names)
}
