//! `debug_*`: traces in geth's forms, and raw blocks.

use crate::context::RpcContext;
use crate::errors;
use crate::replays::{transactions, walk_to};
use alloy_eips::Encodable2718 as _;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{TransactionInfo, TransactionRequest};
use alloy_rpc_types_trace::common::TraceResult;
use alloy_rpc_types_trace::geth::{
    CallFrame, CallLogFrame, DiffMode, GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace, PreStateFrame,
};
use bttc_executor::replay::{Inspected, Replay};
use bttc_executor::watchdog::{Budget, Watchdog};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use revm::context::TxEnv;
use revm::context::result::ResultAndState;
use revm_inspectors::tracing::{DebugInspector, TransactionContext};
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
    let inspector = DebugInspector::new(options).map_err(|error| errors::invalid_params(error.to_string()))?;
    let look = |seen: Inspected<'_, '_, _>| geth_trace(seen, &info, logs_before);
    replay.inspect(transaction, Watchdog::new(inspector, budget), look).map_err(errors::call)?
}

fn geth_trace(
    seen: Inspected<'_, '_, Watchdog<DebugInspector>>,
    info: &TransactionInfo,
    logs_before: u64,
) -> Result<GethTrace> {
    let place = TransactionContext {
        block_hash: info.block_hash,
        tx_index: info.index.map(|index| index as usize),
        tx_hash: info.hash,
    };
    let Inspected { inspector, result, transaction, block, mut before } = seen;
    let mut inspector = inspector.inner;
    let trace = inspector.get_result(Some(place), transaction, block, &result, &mut before);
    let mut trace = trace.map_err(errors::internal)?;
    match &mut trace {
        GethTrace::CallTracer(frame) => count_logs_in_block(frame, logs_before),
        GethTrace::PreStateTracer(PreStateFrame::Diff(diff)) => tell_cleared_code(diff, &result),
        _ => {}
    }
    Ok(trace)
}

/// As geth shows logs: none of calls that failed or that a failed one made, and each with its index in the block, as in the receipt.
/// The library keeps them all and counts within the transaction.
fn count_logs_in_block(frame: &mut CallFrame, before: u64) {
    let mut kept = Vec::new();
    keep_logs(frame, false, &mut kept);
    // By the library's count: in the order of their making.
    kept.sort_by_key(|log| log.index);
    for (index, log) in (before..).zip(kept) {
        log.index = Some(index);
    }
}

fn keep_logs<'f>(frame: &'f mut CallFrame, failed: bool, kept: &mut Vec<&'f mut CallLogFrame>) {
    let failed = failed || frame.error.is_some();
    if failed {
        frame.logs.clear();
    }
    kept.extend(frame.logs.iter_mut());
    for call in &mut frame.calls {
        keep_logs(call, failed, kept);
    }
}

/// An account whose delegation was cleared has code before and none after; the library leaves out the latter, and who applied the
/// difference would keep the delegation.
fn tell_cleared_code(diff: &mut DiffMode, result: &ResultAndState) {
    for (address, before) in &diff.pre {
        let had_code = before.code.as_ref().is_some_and(|code| !code.is_empty());
        let cleared = result.state.get(address).is_some_and(|account| account.info.is_empty_code_hash());
        if let Some(after) = diff.post.get_mut(address).filter(|_| had_code && cleared) {
            after.code.get_or_insert_default();
        }
    }
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
    let overrides = (options.state_overrides, options.block_overrides);
    let budget = for_tracer(&options.tracing_options, budget);
    let inspector =
        DebugInspector::new(options.tracing_options).map_err(|error| errors::invalid_params(error.to_string()))?;
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
