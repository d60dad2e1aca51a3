//! Log queries, bounded in blocks and results.

use crate::context::RpcContext;
use crate::convert::block_logs;
use crate::errors;
use crate::search::{Wanted, candidates};
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use bttc_executor::StoredReceipt;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Addresses, and topics in all positions, of one filter.
const MAX_ALTERNATIVES: usize = 1_000;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_async_method("eth_getLogs", |params, context, _| async move {
        let filter: Filter = params.one()?;
        context.heavy(move |context| logs(context, &filter)).await
    })?;
    Ok(())
}

/// Refuses filters that cost too much to match.
pub(crate) fn check_size(filter: &Filter) -> Result<()> {
    let topics: usize = filter.topics.iter().map(|topic| topic.len()).sum();
    if filter.address.len() > MAX_ALTERNATIVES || topics > MAX_ALTERNATIVES {
        let data = serde_json::json!({ "limit": MAX_ALTERNATIVES });
        return Err(errors::limit("the filter has too many addresses or topics", data));
    }
    Ok(())
}

pub(crate) fn logs(context: &RpcContext, filter: &Filter) -> Result<Vec<Log>> {
    check_size(filter)?;
    let head = context.head_height();
    let (from, to) = match &filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let height = context.height_of(Some((*hash).into()))?;
            (height, height)
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let from = from_block.map_or(head, |tag| context.height_of_tag(tag));
            let to = to_block.map_or(head, |tag| context.height_of_tag(tag));
            if from > to {
                return Err(errors::invalid_params("invalid block range: fromBlock is after toBlock"));
            }
            // Part of an answer would pass for the whole: whoever follows the chain would skip what is not there yet.
            if to > head {
                return Err(errors::invalid_params(format!("block range extends beyond current head block {head}")));
            }
            (from, to)
        }
    };
    let limit = context.config.max_log_blocks;
    if to - from >= limit {
        let data = serde_json::json!({
            "limit": limit,
            "from": format!("0x{from:x}"),
            "to": format!("0x{:x}", from + limit - 1),
        });
        return Err(errors::limit(format!("query spans {} blocks, at most {limit} at once", to - from + 1), data));
    }
    let found = collect(context, filter, from, to)?;
    let most = context.config.max_logs;
    match found.stopped {
        _ if found.logs.len() > most => {
            let message = format!("a block has more than {most} such logs: name an address or a topic");
            Err(errors::limit(message, serde_json::json!({ "limit": most })))
        }
        None => Ok(found.logs),
        Some(stop) => {
            let end = format!("0x{:x}", stop.height.saturating_sub(1).max(from));
            let data = serde_json::json!({ "limit": stop.limit, "from": format!("0x{from:x}"), "to": end });
            Err(errors::limit(stop.message, data))
        }
    }
}

/// What a search found, and where a limit ended it.
pub(crate) struct Found {
    pub(crate) logs: Vec<Log>,
    pub(crate) stopped: Option<Stop>,
}

/// A limit was reached: the blocks before this height are searched.
pub(crate) struct Stop {
    pub(crate) height: u64,
    limit: u64,
    message: String,
}

/// Searches a range of heights.
pub(crate) fn collect(context: &RpcContext, filter: &Filter, from: u64, to: u64) -> Result<Found> {
    let store = context.executor.store();
    let lowest = store.lowest_block().map_err(errors::store)?;
    // The genesis block is always kept and has no logs.
    if from.max(1) < lowest {
        return Err(errors::pruned(format!("receipts of block {from} are pruned"), lowest));
    }
    let mut found = Found { logs: Vec::new(), stopped: None };
    let (mut read, most_reads, most_logs) = (0, context.config.max_log_reads, context.config.max_logs);
    let unread = candidates(context, from..=to, &Wanted::of(filter), false, |height, _| {
        read += 1;
        if read > most_reads {
            let message = format!("query has to read more than {most_reads} blocks");
            found.stopped = Some(Stop { height, limit: most_reads, message });
            return Ok(false);
        }
        let logs = of_block(context, filter, height, lowest)?;
        // A block is not divided, or a polled filter could never go on: the first may hold more.
        if found.logs.len() + logs.len() > most_logs && !found.logs.is_empty() {
            let message = format!("query returns more than {most_logs} logs");
            found.stopped = Some(Stop { height, limit: most_logs as u64, message });
            return Ok(false);
        }
        found.logs.extend(logs);
        Ok(true)
    })?;
    // Blocks that were forgotten meanwhile may have been passed over.
    let lowest = store.lowest_block().map_err(errors::store)?;
    if from.max(1) < lowest {
        return Err(errors::pruned(format!("receipts of block {from} are pruned"), lowest));
    }
    if let Some(height) = unread {
        let message = "query reads too much of the index: name fewer addresses and topics, or fewer blocks".into();
        found.stopped = Some(Stop { height, limit: to - from + 1, message });
    }
    Ok(found)
}

/// The logs of a stored block that a filter wants.
fn of_block(context: &RpcContext, filter: &Filter, height: u64, lowest: u64) -> Result<Vec<Log>> {
    let store = context.executor.store();
    let Some(header) = store.header(height).map_err(errors::store)? else { return Ok(Vec::new()) };
    if !filter.matches_bloom(header.logs_bloom) {
        return Ok(Vec::new());
    }
    let Some(receipts) = context.stored_receipts(height)? else {
        return Err(errors::pruned(format!("receipts of block {height} are pruned"), lowest.max(height + 1)));
    };
    if receipts.iter().all(|receipt| receipt.logs.is_empty()) {
        return Ok(Vec::new());
    }
    let Some(block) = store.block(height).map_err(errors::store)? else { return Ok(Vec::new()) };
    let hashes: Vec<B256> = block.transactions.iter().map(|transaction| *transaction.tx_hash()).collect();
    Ok(matching(filter, &header, header.hash_slow(), &hashes, &receipts))
}

/// The logs of a block that a filter wants.
pub(crate) fn matching(
    filter: &Filter,
    header: &alloy_consensus::Header,
    hash: B256,
    transactions: &[B256],
    receipts: &[StoredReceipt],
) -> Vec<Log> {
    let all = block_logs(header, hash, transactions, receipts);
    all.into_iter().flatten().filter(|log| filter.matches(&log.inner)).collect()
}
