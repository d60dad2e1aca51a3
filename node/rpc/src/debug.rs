//! `debug_*`: traces in geth's forms, and raw blocks.

use crate::context::RpcContext;
use crate::errors;
use crate::replays::{transactions, walk_to};
use alloy_consensus::{BlockBody, Header};
use alloy_eips::Encodable2718 as _;
use alloy_eips::eip4895::Withdrawals;
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
        let block = block_of(context, params.one()?)?;
        Result::Ok(Bytes::from(alloy_rlp::encode(&block)))
    })?;
    module.register_method("debug_getRawReceipts", |params, context, _| raw_receipts(context, params.one()?))?;
    module.register_method("debug_getRawTransaction", |params, context, _| {
        let found = crate::blocks::by_hash(context, params.one()?)?;
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

/// Traces a transaction of a replay, and lets the next one see what it did.
fn trace(
    replay: &mut Replay<'_>,
    (transaction, info): (TxEnv, TransactionInfo),
    options: GethDebugTracingOptions,
    budget: Budget,
) -> Result<GethTrace> {
    let budget = for_tracer(&options, budget);
    let inspector = DebugInspector::new(options).map_err(|error| errors::invalid_params(error.to_string()))?;
    let traced = replay.inspect(transaction, Watchdog::new(inspector, budget), |seen| geth_trace(seen, &info));
    traced.map_err(errors::call)?
}

fn geth_trace(seen: Inspected<'_, '_, Watchdog<DebugInspector>>, info: &TransactionInfo) -> Result<GethTrace> {
    let place = TransactionContext {
        block_hash: info.block_hash,
        tx_index: info.index.map(|index| index as usize),
        tx_hash: info.hash,
    };
    let Inspected { inspector, result, transaction, block, mut before } = seen;
    let mut inspector = inspector.inner;
    let trace = inspector.get_result(Some(place), transaction, block, &result, &mut before);
    trace.map_err(errors::internal)
}

fn trace_transaction(
    context: &RpcContext,
    hash: B256,
    options: GethDebugTracingOptions,
    budget: Budget,
) -> Result<GethTrace> {
    let (height, index) = context.place_of(hash)?.ok_or_else(|| errors::server("transaction not found"))?;
    context.replayed(height, |replay, known| {
        let transaction = walk_to(replay, known, index)?;
        trace(replay, transaction, options, budget)
    })
}

fn trace_block(
    context: &RpcContext,
    id: BlockId,
    options: &GethDebugTracingOptions,
    budget: &Budget,
) -> Result<Vec<TraceResult<GethTrace, String>>> {
    let height = context.height_of(Some(id))?;
    context.replayed(height, |replay, known| {
        transactions(known)
            .map(|transaction| {
                let hash = transaction.1.hash;
                trace(replay, transaction, options.clone(), budget.clone())
                    .map(|result| TraceResult::Success { result, tx_hash: hash })
            })
            .collect()
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
        let look = |seen: Inspected<'_, '_, _>| geth_trace(seen, &TransactionInfo::default());
        calls.inspect(&mut sequence, request, watched, look).map_err(errors::call)?
    })
}

/// A block as Ethereum encodes one.
fn block_of(context: &RpcContext, id: BlockId) -> Result<alloy_consensus::Block<bttc_types::Transaction, Header>> {
    let height = context.height_of(Some(id))?;
    let full = context.full_block(height)?.ok_or_else(|| errors::server(format!("block {height} is not kept")))?;
    let body = BlockBody {
        transactions: full.block.transactions.clone(),
        ommers: Vec::new(),
        withdrawals: full.block.header.withdrawals_root.map(|_| Withdrawals::default()),
    };
    Ok(alloy_consensus::Block { header: full.block.header.clone(), body })
}

fn raw_receipts(context: &RpcContext, id: BlockId) -> Result<Vec<Bytes>> {
    let height = context.height_of(Some(id))?;
    let stored = context.stored_receipts(height)?;
    let stored = stored.ok_or_else(|| errors::server(format!("receipts of block {height} are not kept")))?;
    Ok(stored.iter().map(|receipt| receipt.envelope().encoded_2718().into()).collect())
}
