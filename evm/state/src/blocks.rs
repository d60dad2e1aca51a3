//! Blocks and what belongs to them: how they are written, read and forgotten.

use crate::Error;
use crate::kv::{Batch, KvRead, Table};
use crate::store::StateStore;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256};
use alloy_rlp::Decodable;
use bttc_types::{Block, Certificate};

/// A block as it is handed over for committing.
#[derive(Clone, Copy, Debug)]
pub struct BlockRecord<'a> {
    /// The header.
    pub header: &'a Header,
    /// Its hash.
    pub hash: B256,
    /// The whole block, encoded.
    pub block: &'a [u8],
    /// The receipts, in the executor's encoding.
    pub receipts: &'a [u8],
    /// Sender of each transaction.
    pub senders: &'a [Address],
    /// Hash of each transaction.
    pub transactions: &'a [B256],
    /// Certificate that made the block final; the genesis block has none.
    pub certificate: Option<&'a Certificate>,
    /// What the modules' hooks did, in the executor's encoding; empty when nothing.
    pub events: &'a [u8],
}

impl BlockRecord<'_> {
    pub(crate) fn write(&self, batch: &mut Batch) {
        let height = self.header.number.to_be_bytes();
        batch.put(Table::Headers, height, alloy_rlp::encode(self.header));
        batch.put(Table::Blocks, height, self.block);
        batch.put(Table::BlockNumbers, self.hash.to_vec(), height);
        batch.put(Table::Receipts, height, self.receipts);
        let senders: Vec<u8> = self.senders.iter().flat_map(|sender| sender.into_array()).collect();
        batch.put(Table::Senders, height, senders);
        for (index, hash) in self.transactions.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            batch.put(Table::Transactions, hash.to_vec(), [height.as_slice(), &index.to_be_bytes()].concat());
        }
        if !self.events.is_empty() {
            batch.put(Table::Events, height, self.events);
        }
        if let Some(certificate) = self.certificate {
            batch.put(Table::Certificates, height, alloy_rlp::encode(certificate));
        }
    }
}

/// A header whose block is not kept: later blocks ask for its hash.
pub(crate) fn write_ancestor(header: &Header, batch: &mut Batch) {
    let height = header.number.to_be_bytes();
    batch.put(Table::Headers, height, alloy_rlp::encode(header));
    batch.put(Table::BlockNumbers, header.hash_slow().to_vec(), height);
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionLocation {
    /// Height of its block.
    pub height: u64,
    /// Index within the block.
    pub index: u32,
}

impl StateStore {
    /// What the modules' hooks did in a block.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn events(&self, height: u64) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(Table::Events, &height.to_be_bytes())
    }

    /// The record of the change to the set of an epoch.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn set_change(&self, epoch: u64) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(Table::SetChanges, &epoch.to_be_bytes())
    }

    /// Keeps the record of the change to the set of an epoch, for ever.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn put_set_change(&self, epoch: u64, record: &[u8]) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(Table::SetChanges, epoch.to_be_bytes(), record);
        self.kv.write(batch, false)
    }

    /// The header at a height.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn header(&self, height: u64) -> Result<Option<Header>, Error> {
        read_header(self.kv.as_ref(), height)
    }

    /// The encoded block at a height.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn block_bytes(&self, height: u64) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(Table::Blocks, &height.to_be_bytes())
    }

    /// The block at a height.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn block(&self, height: u64) -> Result<Option<Block>, Error> {
        self.block_bytes(height)?
            .map(|bytes| {
                Block::decode(&bytes).map_err(|error| Error::corrupt(Table::Blocks, &height.to_be_bytes(), error))
            })
            .transpose()
    }

    /// The height of the block with this hash.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn height_of(&self, hash: B256) -> Result<Option<u64>, Error> {
        match self.kv.get(Table::BlockNumbers, hash.as_slice())? {
            None => Ok(None),
            Some(bytes) => <[u8; 8]>::try_from(bytes.as_slice())
                .map(|bytes| Some(u64::from_be_bytes(bytes)))
                .map_err(|_| Error::corrupt(Table::BlockNumbers, hash.as_slice(), "not a height")),
        }
    }

    /// The encoded receipts of a block.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn receipts_bytes(&self, height: u64) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(Table::Receipts, &height.to_be_bytes())
    }

    /// The senders of a block's transactions.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn senders(&self, height: u64) -> Result<Option<Vec<Address>>, Error> {
        let bytes = self.kv.get(Table::Senders, &height.to_be_bytes())?;
        Ok(bytes.map(|bytes| bytes.chunks_exact(20).map(Address::from_slice).collect()))
    }

    /// Where a transaction stands, if it is in a block.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn transaction_location(&self, hash: B256) -> Result<Option<TransactionLocation>, Error> {
        let Some(bytes) = self.kv.get(Table::Transactions, hash.as_slice())? else { return Ok(None) };
        let parsed = bytes.split_first_chunk::<8>().and_then(|(height, index)| {
            Some(TransactionLocation {
                height: u64::from_be_bytes(*height),
                index: u32::from_be_bytes(<[u8; 4]>::try_from(index).ok()?),
            })
        });
        parsed.map(Some).ok_or_else(|| Error::corrupt(Table::Transactions, hash.as_slice(), "not a location"))
    }

    /// The certificate of the block at a height.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn certificate(&self, height: u64) -> Result<Option<Certificate>, Error> {
        let key = height.to_be_bytes();
        self.kv
            .get(Table::Certificates, &key)?
            .map(|bytes| {
                Certificate::decode_exact(&bytes).map_err(|error| Error::corrupt(Table::Certificates, &key, error))
            })
            .transpose()
    }
}

pub(crate) fn read_header<R: KvRead + ?Sized>(reader: &R, height: u64) -> Result<Option<Header>, Error> {
    let key = height.to_be_bytes();
    reader
        .get(Table::Headers, &key)?
        .map(|bytes| Header::decode(&mut bytes.as_slice()).map_err(|error| Error::corrupt(Table::Headers, &key, error)))
        .transpose()
}

/// Removes a block with its receipts, senders, certificate and index entries; its header stays. The genesis block
/// is never forgotten.
pub(crate) fn forget<R: KvRead + ?Sized>(reader: &R, height: u64, batch: &mut Batch) -> Result<(), Error> {
    if height == 0 {
        return Ok(());
    }
    let key = height.to_be_bytes();
    if let Some(bytes) = reader.get(Table::Blocks, &key)? {
        let block = Block::decode(&bytes).map_err(|error| Error::corrupt(Table::Blocks, &key, error))?;
        for transaction in &block.transactions {
            batch.delete(Table::Transactions, transaction.tx_hash().to_vec());
        }
    }
    for table in [Table::Blocks, Table::Receipts, Table::Senders, Table::Certificates, Table::Events] {
        batch.delete(table, key);
    }
    Ok(())
}
