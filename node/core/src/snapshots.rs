//! Snapshots as a node gives them, and what is checked of one that it gets.

use crate::requests::{MAX_OFFERS, Offer, TAIL_HEADERS, Tail};
use alloy_consensus::Header;
use bttc_executor::{decode_receipts, receipts_root};
use bttc_state::snapshot::{Content, Import, Piece, serve};
use bttc_state::{BlockRecord, Error, StateStore};
use bttc_types::{Block, Certificate, RecoveredTransaction};
use std::sync::Arc;

/// What a node says of its snapshots, the newest first.
///
/// # Errors
/// The snapshots' stores.
pub fn offers(snapshots: &[Arc<StateStore>]) -> Result<Vec<Offer>, Error> {
    let mut offers = Vec::new();
    for store in snapshots.iter().take(MAX_OFFERS) {
        let Some(head) = store.head() else { continue };
        if let (Some(header), Some(certificate)) = (store.header(head.height)?, store.certificate(head.height)?) {
            offers.push(Offer { header, certificate });
        }
    }
    Ok(offers)
}

/// Pieces of a snapshot.
///
/// # Errors
/// The snapshot's store.
pub fn pieces(snapshot: &StateStore, pieces: &[Piece]) -> Result<Vec<Content>, Error> {
    let mut contents = Vec::new();
    snapshot.kv().with_snapshot(&mut |reader| {
        contents = serve(reader, pieces)?;
        Ok(())
    })?;
    Ok(contents)
}

/// What belongs to a snapshot's block; empty when a part of it is not there.
///
/// # Errors
/// The snapshot's store.
pub fn tail(snapshot: &StateStore) -> Result<Tail, Error> {
    let nothing = Tail { block: Default::default(), receipts: Default::default(), headers: Vec::new() };
    let Some(head) = snapshot.head() else { return Ok(nothing) };
    let (Some(block), Some(receipts)) = (snapshot.block_bytes(head.height)?, snapshot.receipts_bytes(head.height)?)
    else {
        return Ok(nothing);
    };
    let mut headers = Vec::new();
    for height in (1..head.height).rev().take(TAIL_HEADERS as usize) {
        match snapshot.header(height)? {
            Some(header) => headers.push(header),
            None => break,
        }
    }
    Ok(Tail { block: block.into(), receipts: receipts.into(), headers })
}

/// A [`Tail`] that belongs to a certified header.
#[derive(Debug)]
pub struct CheckedTail {
    /// The block.
    pub block: Block,
    /// Its encoding.
    pub encoded: Vec<u8>,
    /// Its transactions with their senders.
    pub transactions: Vec<RecoveredTransaction>,
    /// Its receipts in the store's encoding.
    pub receipts: Vec<u8>,
    /// Headers before it, the latest first.
    pub headers: Vec<Header>,
}

/// Checks that a tail is that of a header.
///
/// # Errors
/// What is wrong, in words.
pub fn check_tail(header: &Header, tail: Tail) -> Result<CheckedTail, String> {
    let block = Block::decode(&tail.block).map_err(|error| error.to_string())?;
    let authentic = bttc_types::authentic_block_hash(&tail.block).map_err(|error| error.to_string())?;
    if authentic != header.hash_slow() {
        return Err("the block is not the snapshot's".into());
    }
    let receipts = decode_receipts(&tail.receipts).map_err(|error| error.to_string())?;
    if receipts_root(&receipts) != header.receipts_root || receipts.len() != block.transactions.len() {
        return Err("the receipts are not the block's".into());
    }
    let wanted = header.number.saturating_sub(1).min(TAIL_HEADERS);
    if tail.headers.len() as u64 != wanted {
        return Err(format!("{} headers came, {wanted} were wanted", tail.headers.len()));
    }
    let mut parent = header.parent_hash;
    for ancestor in &tail.headers {
        if ancestor.hash_slow() != parent {
            return Err(format!("header {} is not the next one's parent", ancestor.number));
        }
        parent = ancestor.parent_hash;
    }
    let transactions = block
        .transactions
        .iter()
        .map(|transaction| RecoveredTransaction::recover(transaction.clone()).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let (encoded, receipts) = (tail.block.to_vec(), tail.receipts.to_vec());
    Ok(CheckedTail { block, encoded, transactions, receipts, headers: tail.headers })
}

/// Ends an import: its store is then that of a node whose head is the snapshot's block.
///
/// # Errors
/// [`Error::NotNext`] for an incomplete import, or the store's.
pub fn finish_import(
    import: Import,
    certificate: &Certificate,
    tail: &CheckedTail,
    genesis: &Block,
) -> Result<(), Error> {
    let senders: Vec<_> = tail.transactions.iter().map(|transaction| transaction.sender()).collect();
    let hashes: Vec<_> = tail.transactions.iter().map(|transaction| transaction.hash()).collect();
    let record = BlockRecord {
        header: &tail.block.header,
        hash: tail.block.hash(),
        block: &tail.encoded,
        receipts: &tail.receipts,
        senders: &senders,
        transactions: &hashes,
        certificate: Some(certificate),
        events: &[],
    };
    let no_receipts = bttc_executor::encode_receipts(&[]);
    let genesis_record = BlockRecord {
        header: &genesis.header,
        hash: genesis.hash(),
        block: &genesis.encode(),
        receipts: &no_receipts,
        senders: &[],
        transactions: &[],
        certificate: None,
        events: &[],
    };
    import.finish(record, &tail.headers, genesis_record)
}
