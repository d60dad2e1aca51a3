//! From the store's records to RPC objects.

use crate::context::RpcContext;
use crate::errors;
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{BlockBody, Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, TxType, Typed2718};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt};
use bttc_executor::{StoredReceipt, decode_receipts};
use bttc_types::{Block as ChainBlock, RecoveredTransaction, Transaction as ChainTransaction};
use jsonrpsee::types::ErrorObjectOwned;
use quick_cache::sync::Cache;
use std::sync::{Arc, OnceLock};

/// A transaction as RPC shows it.
pub(crate) type RpcTransaction = Transaction<ChainTransaction>;
/// A block as RPC shows it.
pub(crate) type RpcBlock = Block<RpcTransaction>;
/// A receipt as RPC shows it.
pub(crate) type RpcReceipt = TransactionReceipt<ReceiptEnvelope<Log>>;

/// A block with what belongs to it.
pub(crate) struct FullBlock {
    pub(crate) block: ChainBlock,
    pub(crate) hash: B256,
    pub(crate) senders: Vec<Address>,
    pub(crate) size: usize,
    /// Headers of uncles; never on this chain.
    pub(crate) ommers: Vec<alloy_consensus::Header>,
    /// None before Shanghai; always empty on this chain.
    pub(crate) withdrawals: Option<Withdrawals>,
    /// Price of blob gas, where blobs exist.
    pub(crate) blob_price: Option<u128>,
    /// Decoded when they are first asked for.
    receipts: OnceLock<Option<Vec<StoredReceipt>>>,
}

/// Blocks that were asked for lately. Who reads a block's transactions or receipts one by one decodes it once.
pub struct BlockCache(Cache<u64, Arc<FullBlock>>);

/// Blocks in the cache. The largest are some tens of megabytes when decoded.
const CACHED_BLOCKS: usize = 8;

impl Default for BlockCache {
    fn default() -> Self {
        Self(Cache::new(CACHED_BLOCKS))
    }
}

impl BlockCache {
    /// Forgets all: the chain was set back.
    pub fn clear(&self) {
        self.0.clear();
    }
}

impl std::fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCache").field("blocks", &self.0.len()).finish()
    }
}

impl RpcContext {
    /// The block at a height with its senders.
    pub(crate) fn full_block(&self, height: u64) -> Result<Option<Arc<FullBlock>>, ErrorObjectOwned> {
        if let Some(known) = self.blocks.0.get(&height) {
            return Ok(Some(known));
        }
        let store = self.executor.store();
        let Some(bytes) = store.block_bytes(height).map_err(errors::store)? else { return Ok(None) };
        let block = ChainBlock::decode(&bytes).map_err(errors::internal)?;
        let senders = store.senders(height).map_err(errors::store)?.unwrap_or_default();
        let mut full = FullBlock {
            hash: block.hash(),
            senders,
            size: bytes.len(),
            ommers: Vec::new(),
            withdrawals: Some(Withdrawals::default()),
            blob_price: self.executor.blob_base_fee(&block.header),
            receipts: OnceLock::new(),
            block,
        };
        if let Some(body) = self.executor.ethereum_body(&full.block.header).map_err(errors::executor)? {
            (full.ommers, full.withdrawals) = (body.ommers, body.withdrawals);
            full.size = alloy_rlp::Encodable::length(&full.ethereum());
        }
        let full = Arc::new(full);
        self.blocks.0.insert(height, Arc::clone(&full));
        Ok(Some(full))
    }

    /// A block's receipts.
    pub(crate) fn receipts_of<'b>(&self, full: &'b FullBlock) -> Result<Option<&'b [StoredReceipt]>, ErrorObjectOwned> {
        if full.receipts.get().is_none() {
            let stored = self.stored_receipts(full.block.header.number)?;
            // Another request may have been first; both read the same.
            full.receipts.set(stored).ok();
        }
        Ok(full.receipts.get().and_then(Option::as_deref))
    }

    /// The receipts at a height.
    pub(crate) fn stored_receipts(&self, height: u64) -> Result<Option<Vec<StoredReceipt>>, ErrorObjectOwned> {
        match self.executor.store().receipts_bytes(height).map_err(errors::store)? {
            None => Ok(None),
            Some(bytes) => decode_receipts(&bytes).map(Some).map_err(errors::internal),
        }
    }
}

impl FullBlock {
    /// The block as Ethereum encodes one.
    pub(crate) fn ethereum(&self) -> alloy_consensus::Block<ChainTransaction> {
        let (transactions, ommers) = (self.block.transactions.clone(), self.ommers.clone());
        let body = BlockBody { transactions, ommers, withdrawals: self.withdrawals.clone() };
        alloy_consensus::Block { header: self.block.header.clone(), body }
    }
}

/// An RPC header.
pub(crate) fn rpc_header(header: alloy_consensus::Header, hash: B256, size: Option<usize>) -> Header {
    Header { hash, inner: header, total_difficulty: None, size: size.map(U256::from) }
}

/// An RPC block, with whole transactions or hashes.
pub(crate) fn rpc_block(full: &FullBlock, whole: bool) -> RpcBlock {
    let transactions = if whole {
        let all = full.block.transactions.iter().zip(&full.senders).enumerate();
        BlockTransactions::Full(
            all.map(|(index, (transaction, sender))| {
                mined_transaction(transaction.clone(), *sender, &full.block.header, full.hash, index)
            })
            .collect(),
        )
    } else {
        BlockTransactions::Hashes(full.block.transactions.iter().map(|transaction| *transaction.tx_hash()).collect())
    };
    Block {
        header: rpc_header(full.block.header.clone(), full.hash, Some(full.size)),
        uncles: full.ommers.iter().map(alloy_consensus::Header::hash_slow).collect(),
        transactions,
        withdrawals: full.withdrawals.clone(),
    }
}

/// A transaction in a block.
pub(crate) fn mined_transaction(
    transaction: ChainTransaction,
    sender: Address,
    header: &alloy_consensus::Header,
    hash: B256,
    index: usize,
) -> RpcTransaction {
    let price = transaction.effective_gas_price(header.base_fee_per_gas);
    Transaction {
        inner: Recovered::new_unchecked(transaction, sender),
        block_hash: Some(hash),
        block_number: Some(header.number),
        transaction_index: Some(index as u64),
        effective_gas_price: Some(price),
        block_timestamp: Some(header.timestamp),
    }
}

/// A transaction that waits in the pool.
pub(crate) fn pending_transaction(transaction: &RecoveredTransaction) -> RpcTransaction {
    Transaction {
        inner: Recovered::new_unchecked(transaction.transaction().clone(), transaction.sender()),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        // geth shows the fee cap as the price of a transaction that waits.
        effective_gas_price: Some(transaction.transaction().max_fee_per_gas()),
        block_timestamp: None,
    }
}

/// The logs of a transaction in RPC form; the first has this index in its block.
fn transaction_logs(
    header: &alloy_consensus::Header,
    hash: B256,
    (index, transaction): (usize, B256),
    logs: &[alloy_primitives::Log],
    first: u64,
) -> Vec<Log> {
    let logs = logs.iter().zip(first..).map(|(log, log_index)| Log {
        inner: log.clone(),
        block_hash: Some(hash),
        block_number: Some(header.number),
        block_timestamp: Some(header.timestamp),
        transaction_hash: Some(transaction),
        transaction_index: Some(index as u64),
        log_index: Some(log_index),
        removed: false,
    });
    logs.collect()
}

/// The logs of a block in RPC form, by transaction.
pub(crate) fn block_logs(
    header: &alloy_consensus::Header,
    hash: B256,
    transactions: &[B256],
    receipts: &[StoredReceipt],
) -> Vec<Vec<Log>> {
    let mut first = 0;
    let all = receipts.iter().zip(transactions).enumerate().map(|(index, (receipt, transaction))| {
        let logs = transaction_logs(header, hash, (index, *transaction), &receipt.logs, first);
        first += logs.len() as u64;
        logs
    });
    all.collect()
}

/// All receipts of a block in RPC form.
pub(crate) fn rpc_receipts(
    (block, hash): (&ChainBlock, B256),
    senders: &[Address],
    receipts: &[StoredReceipt],
    blob_price: Option<u128>,
) -> Vec<RpcReceipt> {
    let (mut gas, mut logs) = (0, 0);
    let all = block.transactions.iter().zip(senders).zip(receipts).enumerate();
    all.map(|(index, ((transaction, sender), stored))| {
        let transaction = (index, transaction, *sender);
        let receipt = rpc_receipt((&block.header, hash), transaction, stored, (gas, logs), blob_price);
        gas = stored.cumulative_gas;
        logs += stored.logs.len() as u64;
        receipt
    })
    .collect()
}

/// One receipt of a block in RPC form, without making the others.
pub(crate) fn rpc_receipt_at(full: &FullBlock, receipts: &[StoredReceipt], index: usize) -> Option<RpcReceipt> {
    let (transaction, sender) = full.block.transactions.get(index).zip(full.senders.get(index))?;
    let (earlier, rest) = receipts.split_at_checked(index)?;
    let gas = earlier.last().map_or(0, |receipt| receipt.cumulative_gas);
    let logs = earlier.iter().map(|receipt| receipt.logs.len() as u64).sum();
    let transaction = (index, transaction, *sender);
    let header = (&full.block.header, full.hash);
    Some(rpc_receipt(header, transaction, rest.first()?, (gas, logs), full.blob_price))
}

/// A receipt in RPC form; `before` is the gas and the number of logs of the transactions before it.
fn rpc_receipt(
    (header, hash): (&alloy_consensus::Header, B256),
    (index, transaction, sender): (usize, &ChainTransaction, Address),
    stored: &StoredReceipt,
    before: (u64, u64),
    blob_price: Option<u128>,
) -> RpcReceipt {
    let blob_gas = transaction.blob_gas_used();
    let logs = transaction_logs(header, hash, (index, *transaction.tx_hash()), &stored.logs, before.1);
    let receipt = Receipt { status: stored.status(), cumulative_gas_used: stored.cumulative_gas, logs };
    let bloom = *stored.envelope().logs_bloom();
    let kind = TxType::try_from(transaction.ty()).unwrap_or(TxType::Legacy);
    TransactionReceipt {
        inner: ReceiptEnvelope::from_typed(kind, ReceiptWithBloom { receipt, logs_bloom: bloom }),
        transaction_hash: *transaction.tx_hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(hash),
        block_number: Some(header.number),
        gas_used: stored.cumulative_gas.saturating_sub(before.0),
        effective_gas_price: transaction.effective_gas_price(header.base_fee_per_gas),
        blob_gas_used: blob_gas,
        blob_gas_price: blob_price.filter(|_| blob_gas.is_some()),
        from: sender,
        to: transaction.to(),
        contract_address: transaction.is_create().then(|| sender.create(transaction.nonce())),
    }
}
