//! Blocks, transactions and receipts.

use crate::context::RpcContext;
use crate::convert::{
    RpcBlock, RpcReceipt, RpcTransaction, mined_transaction, pending_transaction, rpc_block, rpc_header,
    rpc_receipt_at, rpc_receipts,
};
use crate::errors;
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes, U64};
use alloy_rpc_types_eth::{BlockTransactions, Index};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::{ErrorObjectOwned, Params};

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_method("eth_blockNumber", |_, context, _| Result::Ok(U64::from(context.head_height())))?;
    // Whole blocks and their receipts may be tens of megabytes: not for threads that serve many.
    module.register_async_method("eth_getBlockByNumber", |params, context, _| async move {
        let (tag, whole) = block_params::<BlockNumberOrTag>(&params)?;
        let id = BlockId::Number(tag);
        if whole { context.heavy(move |context| block(context, id, true)).await } else { block(&context, id, false) }
    })?;
    module.register_async_method("eth_getBlockByHash", |params, context, _| async move {
        let (hash, whole) = block_params::<B256>(&params)?;
        let id = hash.into();
        if whole { context.heavy(move |context| block(context, id, true)).await } else { block(&context, id, false) }
    })?;
    module.register_method("eth_getBlockTransactionCountByNumber", |params, context, _| {
        count(context, BlockId::Number(params.one::<BlockNumberOrTag>()?))
    })?;
    module.register_method("eth_getBlockTransactionCountByHash", |params, context, _| {
        count(context, params.one::<B256>()?.into())
    })?;
    module.register_method("eth_getUncleCountByBlockNumber", |params, context, _| {
        uncles(context, BlockId::Number(params.one::<BlockNumberOrTag>()?))
    })?;
    module.register_method("eth_getUncleCountByBlockHash", |params, context, _| {
        uncles(context, params.one::<B256>()?.into())
    })?;
    // There are no uncles, so none is ever found.
    module.register_method("eth_getUncleByBlockNumberAndIndex", |params, context, _| {
        let (tag, index): (BlockNumberOrTag, Index) = params.parse()?;
        uncle(context, BlockId::Number(tag), index)
    })?;
    module.register_method("eth_getUncleByBlockHashAndIndex", |params, context, _| {
        let (hash, index): (B256, Index) = params.parse()?;
        uncle(context, hash.into(), index)
    })?;
    module.register_method("eth_getTransactionByHash", |params, context, _| by_hash(context, params.one()?))?;
    module.register_method("eth_getRawTransactionByHash", |params, context, _| {
        let transaction = by_hash(context, params.one()?)?;
        Result::Ok(transaction.map(|transaction| Bytes::from(transaction.inner.inner().encoded_2718())))
    })?;
    module.register_method("eth_getTransactionByBlockNumberAndIndex", |params, context, _| {
        let (tag, index): (BlockNumberOrTag, Index) = params.parse()?;
        by_index(context, BlockId::Number(tag), index)
    })?;
    module.register_method("eth_getTransactionByBlockHashAndIndex", |params, context, _| {
        let (hash, index): (B256, Index) = params.parse()?;
        by_index(context, hash.into(), index)
    })?;
    module.register_method("eth_getTransactionReceipt", |params, context, _| receipt(context, params.one()?))?;
    for name in ["eth_getBlockReceipts", "eth_getTransactionReceiptsByBlock"] {
        module.register_async_method(name, |params, context, _| async move {
            let id = params.one()?;
            context.heavy(move |context| receipts(context, id)).await
        })?;
    }
    Ok(())
}

/// A block reference and whether transactions are wanted whole (hashes when left out).
fn block_params<T: serde::de::DeserializeOwned>(params: &Params<'_>) -> Result<(T, bool)> {
    let mut sequence = params.sequence();
    Ok((sequence.next()?, sequence.optional_next()?.unwrap_or(false)))
}

fn block(context: &RpcContext, id: BlockId, whole: bool) -> Result<Option<RpcBlock>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    Ok(context.full_block(height)?.map(|full| rpc_block(&full, whole)))
}

fn count(context: &RpcContext, id: BlockId) -> Result<Option<U64>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    Ok(context.full_block(height)?.map(|full| U64::from(full.block.transactions.len())))
}

fn uncles(context: &RpcContext, id: BlockId) -> Result<Option<U64>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    Ok(context.full_block(height)?.map(|full| U64::from(full.ommers.len())))
}

/// An uncle is shown as a block without a body; this chain has none.
fn uncle(context: &RpcContext, id: BlockId, index: Index) -> Result<Option<RpcBlock>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    let Some(full) = context.full_block(height)? else { return Ok(None) };
    let found = full.ommers.get(usize::from(index)).cloned();
    Ok(found.map(|header| {
        let (hash, size) = (header.hash_slow(), header.size());
        let header = rpc_header(header, hash, Some(size));
        RpcBlock { header, uncles: Vec::new(), transactions: BlockTransactions::Uncle, withdrawals: None }
    }))
}

/// A mined transaction, or one that waits.
pub(crate) fn by_hash(context: &RpcContext, hash: B256) -> Result<Option<RpcTransaction>> {
    if let Some(location) = context.executor.store().transaction_location(hash).map_err(errors::store)? {
        let index = Index::from(location.index as usize);
        return by_index(context, BlockId::number(location.height), index);
    }
    if let Some(transaction) = context.pool.get(&hash) {
        return Ok(Some(pending_transaction(&transaction)));
    }
    // It may have moved from the pool into a block between the two looks.
    match context.executor.store().transaction_location(hash).map_err(errors::store)? {
        Some(location) => by_index(context, BlockId::number(location.height), Index::from(location.index as usize)),
        None => Ok(None),
    }
}

fn by_index(context: &RpcContext, id: BlockId, index: Index) -> Result<Option<RpcTransaction>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    let Some(full) = context.full_block(height)? else { return Ok(None) };
    let index = usize::from(index);
    let found = full.block.transactions.get(index).zip(full.senders.get(index));
    Ok(found.map(|(transaction, sender)| {
        mined_transaction(transaction.clone(), *sender, &full.block.header, full.hash, index)
    }))
}

/// The receipt of a mined transaction.
pub(crate) fn receipt(context: &RpcContext, hash: B256) -> Result<Option<RpcReceipt>> {
    let Some(location) = context.executor.store().transaction_location(hash).map_err(errors::store)? else {
        return Ok(None);
    };
    let Some(full) = context.full_block(location.height)? else { return Ok(None) };
    let receipts = context.receipts_of(&full)?;
    Ok(receipts.and_then(|receipts| rpc_receipt_at(&full, receipts, location.index as usize)))
}

fn receipts(context: &RpcContext, id: BlockId) -> Result<Option<Vec<RpcReceipt>>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    let Some(full) = context.full_block(height)? else { return Ok(None) };
    let Some(stored) = context.receipts_of(&full)? else { return Ok(None) };
    Ok(Some(rpc_receipts((&full.block, full.hash), &full.senders, stored, full.blob_price)))
}
