//! Log queries, bounded in blocks and results.

use crate::context::RpcContext;
use crate::convert::block_logs;
use crate::errors;
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use bttc_executor::StoredReceipt;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Addresses, and topics in one position, of one filter.
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
    if filter.address.len() > MAX_ALTERNATIVES || filter.topics.iter().any(|topic| topic.len() > MAX_ALTERNATIVES) {
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
            if from > head {
                return Err(errors::invalid_params(format!("block range extends beyond current head block {head}")));
            }
            (from, to.min(head))
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
    let store = context.executor.store();
    let mut found = Vec::new();
    for height in from..=to {
        let Some(header) = store.header(height).map_err(errors::store)? else { continue };
        if !filter.matches_bloom(header.logs_bloom) {
            continue;
        }
        let Some(receipts) = context.stored_receipts(height)? else {
            let lowest = store.lowest_block().map_err(errors::store)?;
            let data = serde_json::json!({ "lowest": format!("0x{lowest:x}") });
            return Err(ErrorObjectOwned::owned(4444, format!("receipts of block {height} are pruned"), Some(data)));
        };
        if receipts.iter().all(|receipt| receipt.logs.is_empty()) {
            continue;
        }
        let Some(block) = store.block(height).map_err(errors::store)? else { continue };
        let hashes: Vec<B256> = block.transactions.iter().map(|transaction| *transaction.tx_hash()).collect();
        found.extend(matching(filter, &header, header.hash_slow(), &hashes, &receipts));
        if found.len() > context.config.max_logs {
            let data = serde_json::json!({
                "limit": context.config.max_logs,
                "from": format!("0x{from:x}"),
                "to": format!("0x{:x}", height.saturating_sub(1).max(from)),
            });
            let message = format!("query returns more than {} logs", context.config.max_logs);
            return Err(errors::limit(message, data));
        }
    }
    Ok(found)
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
