//! `debug_*`: traces in geth's forms, and raw blocks.

use crate::context::RpcContext;
use crate::errors;
use crate::geth_traces::{geth_trace, inspector};
use crate::replays::{transactions, walk_to};
use alloy_eips::Encodable2718 as _;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{TransactionInfo, TransactionRequest};
use alloy_rpc_types_trace::common::TraceResult;
use alloy_rpc_types_trace::geth::{GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace};
use bttc_executor::replay::{Inspected, Replay};
use bttc_executor::watchdog::{Budget, Watchdog};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use revm::context::TxEnv;
use serde_json::Value;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_async_method("debug_traceTransaction", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (hash, options): (B256, Option<GethDebugTracingOptions>) = (sequence.next()?, sequence.optional_next()?);
        context
            .budgeted(move |context, budget| trace_transaction(context, hash, options.unwrap_or_default(), budget))
            .await
    })?;
    module.register_async_method("debug_traceBlockByNumber", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (tag, options): (BlockNumberOrTag, _) = (sequence.next()?, sequence.optional_next()?);
        let options: Option<GethDebugTracingOptions> = options;
        context
            .budgeted(move |context, budget| trace_block(context, tag.into(), &options.unwrap_or_default(), &budget))
            .await
    })?;
    module.register_async_method("debug_traceBlockByHash", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (hash, options): (B256, Option<GethDebugTracingOptions>) = (sequence.next()?, sequence.optional_next()?);
        context
            .budgeted(move |context, budget| trace_block(context, hash.into(), &options.unwrap_or_default(), &budget))
            .await
    })?;
    module.register_async_method("debug_traceCall", |params, context, _| async move {
        let mut sequence = params.sequence();
        let request: TransactionRequest = sequence.next()?;
        let block: Option<BlockId> = sequence.optional_next()?;
        let options: Option<GethDebugTracingCallOptions> = sequence.optional_next()?;
        context
            .budgeted(move |context, budget| trace_call(context, request, block, options.unwrap_or_default(), budget))
            .await
    })?;
    module.register_method("debug_getRawHeader", |params, context, _| {
        let header = block_of(context, params.one()?)?.header;
        Result::Ok(Bytes::from(alloy_rlp::encode(&header)))
    })?;
    module.register_method("debug_getRawBlock", |params, context, _| {
        Result::Ok(Bytes::from(alloy_rlp::encode(block_of(context, params.one()?)?)))
    })?;
    module.register_method("debug_getRawReceipts", |params, context, _| raw_receipts(context, params.one()?))?;
    module.register_method("debug_getRawTransaction", |params, context, _| {
        let found = crate::blocks::by_hash(context, crate::params::hash_of(&params.one::<String>()?)?)?;
        Result::Ok(found.map(|transaction| Bytes::from(transaction.inner.inner().encoded_2718())))
    })?;
    // Final blocks are never bad, and bad proposals are not kept.
    module.register_method("debug_getBadBlocks", |_, _, _| Result::Ok(Vec::<Value>::new()))?;
    Ok(())
}

/// Only struct logs hold every instruction in memory; other tracers are bounded by time.
fn for_tracer(options: &GethDebugTracingOptions, budget: Budget) -> Budget {
    if options.tracer.is_some() { Budget { steps: u64::MAX, ..budget } } else { budget }
}

/// Traces a transaction of a replay, and lets the next one see what it did. `logs_before` is the number of logs that the block's
/// transactions before it have.
fn trace(
    replay: &mut Replay<'_>,
    (transaction, info): (TxEnv, TransactionInfo),
    logs_before: u64,
    options: GethDebugTracingOptions,
    budget: Budget,
) -> Result<GethTrace> {
    let budget = for_tracer(&options, budget);
    let inspector = inspector(options)?;
    let look = |seen: Inspected<'_, '_, _>| geth_trace(seen, &info, logs_before);
    replay.inspect(transaction, Watchdog::new(inspector, budget), look).map_err(errors::call)?
}

fn trace_transaction(
    context: &RpcContext,
    hash: B256,
    options: GethDebugTracingOptions,
    budget: Budget,
) -> Result<GethTrace> {
    let (height, index) = context.place_of(hash)?.ok_or_else(|| errors::server("transaction not found"))?;
    let logs_before = log_counts(context, height)?.into_iter().take(index).sum();
    context.replayed(height, |replay, known| {
        let transaction = walk_to(replay, known, index)?;
        trace(replay, transaction, logs_before, options, budget)
    })
}

/// How many logs each transaction of a block has.
fn log_counts(context: &RpcContext, height: u64) -> Result<Vec<u64>> {
    let receipts = context.stored_receipts(height)?.unwrap_or_default();
    Ok(receipts.iter().map(|receipt| receipt.logs.len() as u64).collect())
}

fn trace_block(
    context: &RpcContext,
    id: BlockId,
    options: &GethDebugTracingOptions,
    budget: &Budget,
) -> Result<Vec<TraceResult<GethTrace, String>>> {
    let height = context.find_height(id)?.ok_or_else(|| errors::server("block not found"))?;
    let counts = log_counts(context, height)?;
    let mut logs_before = 0;
    context.replayed(height, |replay, known| {
        let traced = transactions(known).zip(counts).map(|(transaction, count)| {
            let hash = transaction.1.hash;
            let result = trace(replay, transaction, logs_before, options.clone(), budget.clone())?;
            logs_before += count;
            Ok(TraceResult::Success { result, tx_hash: hash })
        });
        traced.collect()
    })
}

fn trace_call(
    context: &RpcContext,
    request: TransactionRequest,
    block: Option<BlockId>,
    options: GethDebugTracingCallOptions,
    budget: Budget,
) -> Result<GethTrace> {
    if options.tx_index.is_some() {
        return Err(errors::invalid_params("txIndex is not known here: calls run on the state after a block"));
    }
    let overrides = (options.state_overrides, options.block_overrides);
    let budget = for_tracer(&options.tracing_options, budget);
    let inspector = inspector(options.tracing_options)?;
    context.on_block(block, overrides, |calls| {
        let mut sequence = calls.sequence().map_err(errors::call)?;
        let watched = Watchdog::new(inspector, budget);
        let look = |seen: Inspected<'_, '_, _>| geth_trace(seen, &TransactionInfo::default(), 0);
        calls.inspect(&mut sequence, request, watched, look).map_err(errors::call)?
    })
}

/// A block as Ethereum encodes one.
fn block_of(context: &RpcContext, id: BlockId) -> Result<alloy_consensus::Block<bttc_types::Transaction>> {
    let height = context.height_of(Some(id))?;
    let full = context.full_block(height)?.ok_or_else(|| errors::server(format!("block {height} is not kept")))?;
    Ok(full.ethereum())
}

fn raw_receipts(context: &RpcContext, id: BlockId) -> Result<Vec<Bytes>> {
    let height = context.height_of(Some(id))?;
    let stored = context.stored_receipts(height)?;
    let stored = stored.ok_or_else(|| errors::server(format!("receipts of block {height} are not kept")))?;
    Ok(stored.iter().map(|receipt| receipt.envelope().encoded_2718().into()).collect())
}
