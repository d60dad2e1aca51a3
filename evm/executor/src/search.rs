//! Fills the search index from the blocks of the store.

use crate::{Error, decode_receipts};
use alloy_consensus::Transaction as _;
use alloy_primitives::keccak256;
use bttc_state::{SECTION_BLOCKS, SearchKind, StateStore, search_name};
use std::sync::Arc;

/// Follows the head and writes a section of the index when its last block is there.
#[derive(Debug)]
pub struct SearchIndexer {
    store: Arc<StateStore>,
    /// The next height to read.
    next: u64,
    /// Names found in the section that is not finished, with the places of their blocks.
    entries: Vec<(u64, u8)>,
}

impl SearchIndexer {
    /// Goes on behind what is indexed.
    ///
    /// # Errors
    /// The store's.
    pub fn new(store: Arc<StateStore>) -> Result<Self, Error> {
        let next = store.searchable()?.end.saturating_mul(SECTION_BLOCKS);
        Ok(Self { store, next, entries: Vec::new() })
    }

    /// Reads up to `blocks` blocks. False: the head is reached.
    ///
    /// # Errors
    /// The store's; the next call goes on with the same block.
    pub fn advance(&mut self, blocks: u64) -> Result<bool, Error> {
        for _ in 0..blocks {
            if self.store.head().is_none_or(|head| self.next > head.height) {
                return Ok(false);
            }
            let place = u8::try_from(self.next % SECTION_BLOCKS).unwrap_or(u8::MAX);
            let mut names = search_names(&self.store, self.next)?;
            names.sort_unstable();
            names.dedup();
            if u64::from(place) == SECTION_BLOCKS - 1 {
                let mut entries = self.entries.clone();
                entries.extend(names.into_iter().map(|name| (name, place)));
                self.store.index_section(self.next / SECTION_BLOCKS, entries)?;
                self.store.prune_search()?;
                self.entries = Vec::new();
            } else {
                self.entries.extend(names.into_iter().map(|name| (name, place)));
            }
            self.next += 1;
        }
        Ok(true)
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
