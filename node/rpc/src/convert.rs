//! From the store's records to RPC objects.

use crate::context::RpcContext;
use crate::errors;
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, TxType, Typed2718};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt};
use bttc_executor::{StoredReceipt, decode_receipts};
use bttc_types::{Block as ChainBlock, RecoveredTransaction, Transaction as ChainTransaction};
use jsonrpsee::types::ErrorObjectOwned;

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
}

impl RpcContext {
    /// The block at a height with its senders.
    pub(crate) fn full_block(&self, height: u64) -> Result<Option<FullBlock>, ErrorObjectOwned> {
        let store = self.executor.store();
        let Some(bytes) = store.block_bytes(height).map_err(errors::store)? else { return Ok(None) };
        let block = ChainBlock::decode(&bytes).map_err(errors::internal)?;
        let senders = store.senders(height).map_err(errors::store)?.unwrap_or_default();
        Ok(Some(FullBlock { hash: block.hash(), block, senders, size: bytes.len() }))
    }

    /// The receipts at a height.
    pub(crate) fn stored_receipts(&self, height: u64) -> Result<Option<Vec<StoredReceipt>>, ErrorObjectOwned> {
        match self.executor.store().receipts_bytes(height).map_err(errors::store)? {
            None => Ok(None),
            Some(bytes) => decode_receipts(&bytes).map(Some).map_err(errors::internal),
        }
    }
}

/// An RPC header.
pub(crate) fn rpc_header(header: alloy_consensus::Header, hash: B256, size: Option<usize>) -> Header {
    Header { hash, inner: header, total_difficulty: None, size: size.map(U256::from) }
}

/// An RPC block, with whole transactions or hashes.
pub(crate) fn rpc_block(full: FullBlock, whole: bool) -> RpcBlock {
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
        header: rpc_header(full.block.header, full.hash, Some(full.size)),
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Withdrawals::default()),
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

/// The logs of a block in RPC form, by transaction.
pub(crate) fn block_logs(
    header: &alloy_consensus::Header,
    hash: B256,
    transactions: &[B256],
    receipts: &[StoredReceipt],
) -> Vec<Vec<Log>> {
    let mut log_index = 0;
    let mut result = Vec::with_capacity(receipts.len());
    for (index, (receipt, transaction)) in receipts.iter().zip(transactions).enumerate() {
        let mut logs = Vec::with_capacity(receipt.logs.len());
        for log in &receipt.logs {
            logs.push(Log {
                inner: log.clone(),
                block_hash: Some(hash),
                block_number: Some(header.number),
                block_timestamp: Some(header.timestamp),
                transaction_hash: Some(*transaction),
                transaction_index: Some(index as u64),
                log_index: Some(log_index),
                removed: false,
            });
            log_index += 1;
        }
        result.push(logs);
    }
    result
}

/// All receipts of a block in RPC form.
pub(crate) fn rpc_receipts(
    block: &ChainBlock,
    hash: B256,
    senders: &[Address],
    receipts: &[StoredReceipt],
) -> Vec<RpcReceipt> {
    let hashes: Vec<B256> = block.transactions.iter().map(|transaction| *transaction.tx_hash()).collect();
    let logs = block_logs(&block.header, hash, &hashes, receipts);
    let mut before = 0;
    let mut result = Vec::with_capacity(receipts.len());
    for (index, (((transaction, sender), stored), logs)) in
        block.transactions.iter().zip(senders).zip(receipts).zip(logs).enumerate()
    {
        let gas_used = stored.cumulative_gas.saturating_sub(before);
        before = stored.cumulative_gas;
        let receipt = Receipt { status: stored.success.into(), cumulative_gas_used: stored.cumulative_gas, logs };
        let bloom = *stored.envelope().logs_bloom();
        let kind = TxType::try_from(transaction.ty()).unwrap_or(TxType::Legacy);
        let inner = ReceiptEnvelope::from_typed(kind, ReceiptWithBloom { receipt, logs_bloom: bloom });
        result.push(TransactionReceipt {
            inner,
            transaction_hash: *transaction.tx_hash(),
            transaction_index: Some(index as u64),
            block_hash: Some(hash),
            block_number: Some(block.header.number),
            gas_used,
            effective_gas_price: transaction.effective_gas_price(block.header.base_fee_per_gas),
            blob_gas_used: None,
            blob_gas_price: None,
            from: *sender,
            to: transaction.to(),
            contract_address: transaction.is_create().then(|| sender.create(transaction.nonce())),
        });
    }
    result
}
