//! `trace_*`: traces in Parity's forms.

use crate::context::RpcContext;
use crate::errors;
use crate::replays::{transactions, walk_to};
use alloy_eips::BlockId;
use alloy_primitives::map::HashSet;
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{BlockOverrides, Index, TransactionInfo, TransactionRequest};
use alloy_rpc_types_trace::filter::TraceFilter;
use alloy_rpc_types_trace::parity::{
    LocalizedTransactionTrace, TraceResults, TraceResultsWithTransactionHash, TraceType,
};
use bttc_executor::replay::{Inspected, Replay, environment_of};
use bttc_executor::watchdog::{Budget, Watchdog};
use bttc_types::RecoveredTransaction;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use revm::context::TxEnv;
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use std::time::Instant;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Which traces are wanted.
type Types = HashSet<TraceType>;
/// Calls of one `trace_callMany`.
const MAX_CALLS: usize = 100;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_async_method("trace_transaction", |params, context, _| async move {
        let hash: B256 = params.one()?;
        context.budgeted(move |context, budget| transaction_traces(context, hash, budget)).await
    })?;
    module.register_async_method("trace_get", |params, context, _| async move {
        let (hash, path): (B256, Vec<Index>) = params.parse()?;
        let path: Vec<usize> = path.into_iter().map(usize::from).collect();
        context
            .budgeted(move |context, budget| {
                let all = transaction_traces(context, hash, budget)?;
                Ok(all.and_then(|all| all.into_iter().find(|entry| entry.trace.trace_address == path)))
            })
            .await
    })?;
    module.register_async_method("trace_block", |params, context, _| async move {
        let id: BlockId = params.one()?;
        context
            .budgeted(move |context, budget| {
                let Some(height) = context.find_height(id)? else { return Ok(None) };
                block_traces(context, height, &budget).map(Some)
            })
            .await
    })?;
    module.register_async_method("trace_filter", |params, context, _| async move {
        let filter: TraceFilter = params.one()?;
        context.budgeted(move |context, budget| filtered(context, &filter, &budget)).await
    })?;
    module.register_async_method("trace_replayTransaction", |params, context, _| async move {
        let (hash, types): (B256, Types) = params.parse()?;
        context
            .budgeted(move |context, budget| {
                let (height, index) = context.place_of(hash)?.ok_or_else(|| errors::server("transaction not found"))?;
                context.replayed(height, |replay, known| {
                    let (transaction, _) = walk_to(replay, known, index)?;
                    results(replay, transaction, &types, budget)
                })
            })
            .await
    })?;
    module.register_async_method("trace_replayBlockTransactions", |params, context, _| async move {
        let (id, types): (BlockId, Types) = params.parse()?;
        context.budgeted(move |context, budget| replay_block(context, id, &types, &budget)).await
    })?;
    module.register_async_method("trace_call", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (request, types): (TransactionRequest, Types) = (sequence.next()?, sequence.next()?);
        let block: Option<BlockId> = sequence.optional_next()?;
        let overrides: (Option<StateOverride>, Option<BlockOverrides>) =
            (sequence.optional_next()?, sequence.optional_next()?);
        context
            .budgeted(move |context, budget| {
                let all = calls(context, vec![(request, types)], block, overrides, &budget)?;
                all.into_iter().next().ok_or_else(|| errors::internal("a call has no result"))
            })
            .await
    })?;
    module.register_async_method("trace_callMany", |params, context, _| async move {
        let mut sequence = params.sequence();
        let list: Vec<(TransactionRequest, Types)> = sequence.next()?;
        let block: Option<BlockId> = sequence.optional_next()?;
        if list.len() > MAX_CALLS {
            let data = serde_json::json!({ "limit": MAX_CALLS });
            return Err(errors::limit(format!("{} calls, at most {MAX_CALLS} at once", list.len()), data));
        }
        context.budgeted(move |context, budget| calls(context, list, block, (None, None), &budget)).await
    })?;
    module.register_async_method("trace_rawTransaction", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (raw, types): (Bytes, Types) = (sequence.next()?, sequence.next()?);
        let block: Option<BlockId> = sequence.optional_next()?;
        context.budgeted(move |context, budget| raw_transaction(context, &raw, &types, block, budget)).await
    })?;
    Ok(())
}

/// Only `vmTrace` holds every instruction in memory; the other types are bounded by time.
fn for_types(types: &Types, budget: Budget) -> Budget {
    if types.contains(&TraceType::VmTrace) { budget } else { Budget { steps: u64::MAX, ..budget } }
}

/// Call traces of one transaction, which the next one sees done.
fn call_traces(
    replay: &mut Replay<'_>,
    (transaction, info): (TxEnv, TransactionInfo),
    budget: Budget,
) -> Result<Vec<LocalizedTransactionTrace>> {
    let inspector = TracingInspector::new(TracingInspectorConfig::default_parity());
    let budget = Budget { steps: u64::MAX, ..budget };
    let look = |seen: Inspected<'_, '_, Watchdog<TracingInspector>>| {
        let builder = seen.inspector.inner.into_parity_builder();
        builder.into_localized_transaction_traces(info)
    };
    replay.inspect(transaction, Watchdog::new(inspector, budget), look).map_err(errors::call)
}

/// The traces of the wanted types.
fn results(replay: &mut Replay<'_>, transaction: TxEnv, types: &Types, budget: Budget) -> Result<TraceResults> {
    let inspector = TracingInspector::new(TracingInspectorConfig::from_parity_config(types));
    let budget = for_types(types, budget);
    replay.inspect(transaction, Watchdog::new(inspector, budget), |seen| shown(seen, types)).map_err(errors::call)?
}

fn shown(seen: Inspected<'_, '_, Watchdog<TracingInspector>>, types: &Types) -> Result<TraceResults> {
    let builder = seen.inspector.inner.into_parity_builder();
    builder.into_trace_results_with_state(&seen.result, types, seen.before).map_err(errors::internal)
}

pub(crate) fn transaction_traces(
    context: &RpcContext,
    hash: B256,
    budget: Budget,
) -> Result<Option<Vec<LocalizedTransactionTrace>>> {
    let Some((height, index)) = context.place_of(hash)? else { return Ok(None) };
    context.replayed(height, |replay, known| {
        let transaction = walk_to(replay, known, index)?;
        call_traces(replay, transaction, budget).map(Some)
    })
}

pub(crate) fn block_traces(
    context: &RpcContext,
    height: u64,
    budget: &Budget,
) -> Result<Vec<LocalizedTransactionTrace>> {
    // Nothing ran in the first block.
    if height == 0 {
        return Ok(Vec::new());
    }
    context.replayed(height, |replay, known| {
        let mut all = Vec::new();
        for transaction in transactions(known) {
            all.extend(call_traces(replay, transaction, budget.clone())?);
        }
        Ok(all)
    })
}

fn replay_block(
    context: &RpcContext,
    id: BlockId,
    types: &Types,
    budget: &Budget,
) -> Result<Option<Vec<TraceResultsWithTransactionHash>>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    if height == 0 {
        return Ok(Some(Vec::new()));
    }
    context.replayed(height, |replay, known| {
        let mut all = Vec::new();
        for (transaction, info) in transactions(known) {
            let full_trace = results(replay, transaction, types, budget.clone())?;
            let transaction_hash = info.hash.unwrap_or_default();
            all.push(TraceResultsWithTransactionHash { full_trace, transaction_hash });
        }
        Ok(Some(all))
    })
}

fn calls(
    context: &RpcContext,
    list: Vec<(TransactionRequest, Types)>,
    block: Option<BlockId>,
    overrides: (Option<StateOverride>, Option<BlockOverrides>),
    budget: &Budget,
) -> Result<Vec<TraceResults>> {
    context.on_block(block, overrides, |calls| {
        let mut sequence = calls.sequence().map_err(errors::call)?;
        let mut all = Vec::with_capacity(list.len());
        for (request, types) in list {
            let inspector = TracingInspector::new(TracingInspectorConfig::from_parity_config(&types));
            let watched = Watchdog::new(inspector, for_types(&types, budget.clone()));
            let result = calls.inspect(&mut sequence, request, watched, |seen| shown(seen, &types));
            all.push(result.map_err(errors::call)??);
        }
        Ok(all)
    })
}

fn raw_transaction(
    context: &RpcContext,
    raw: &Bytes,
    types: &Types,
    block: Option<BlockId>,
    budget: Budget,
) -> Result<TraceResults> {
    let transaction = RecoveredTransaction::decode(raw).map_err(|error| errors::invalid_params(error.to_string()))?;
    context.on_block(block, (None, None), |calls| {
        let mut sequence = calls.sequence().map_err(errors::call)?;
        results(&mut sequence, environment_of(transaction.transaction(), transaction.sender()), types, budget)
    })
}

fn filtered(context: &RpcContext, filter: &TraceFilter, budget: &Budget) -> Result<Vec<LocalizedTransactionTrace>> {
    let head = context.head_height();
    let from = filter.from_block.unwrap_or(0);
    let to = filter.to_block.unwrap_or(head);
    if from > to || to > head {
        let words = format!("invalid block range: fromBlock is after toBlock, or toBlock beyond the head {head}");
        return Err(errors::invalid_params(words));
    }
    let limit = context.config.max_trace_blocks;
    let range =
        |last: u64| serde_json::json!({ "limit": limit, "from": format!("0x{from:x}"), "to": format!("0x{last:x}") });
    if to - from >= limit {
        let message = format!("the filter spans {} blocks, at most {limit} at once", to - from + 1);
        return Err(errors::limit(message, range(from + limit - 1)));
    }
    let matcher = filter.matcher();
    let (after, count) = (filter.after.unwrap_or(0), filter.count.unwrap_or(u64::MAX));
    let (mut seen, mut found) = (0u64, Vec::new());
    for height in from..=to {
        if Instant::now() >= budget.deadline && height > from {
            return Err(errors::limit("the filter takes too long: ask for fewer blocks", range(height - 1)));
        }
        for entry in block_traces(context, height, budget)? {
            if !matcher.matches(&entry.trace) {
                continue;
            }
            seen += 1;
            if seen > after {
                found.push(entry);
            }
            if found.len() as u64 >= count {
                return Ok(found);
            }
        }
    }
    Ok(found)
}
