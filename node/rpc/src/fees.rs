//! Fees: what the next block costs, and what past ones did.

use crate::context::RpcContext;
use crate::errors;
use alloy_consensus::Transaction as _;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{U64, U256};
use alloy_rpc_types_eth::FeeHistory;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// EIP-4844's lowest price of blob gas. A chain without blobs never moves from it.
const BLOB_PRICE_FLOOR: u128 = 1;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_method("eth_gasPrice", |_, context, _| {
        Result::Ok(U256::from(suggested_tip(context)?) + U256::from(next_base_fee(context, context.head_height())?))
    })?;
    module
        .register_method("eth_maxPriorityFeePerGas", |_, context, _| Result::Ok(U256::from(suggested_tip(context)?)))?;
    module.register_method("eth_blobBaseFee", |_, context, _| {
        let head = context.executor.head_header().map_err(errors::executor)?;
        Result::Ok(U256::from(context.executor.blob_base_fee_after(&head).unwrap_or(BLOB_PRICE_FLOOR)))
    })?;
    module.register_async_method("eth_feeHistory", |params, context, _| async move {
        let mut sequence = params.sequence();
        let blocks: alloy_primitives::U64 = match sequence.next::<serde_json::Value>()? {
            serde_json::Value::Number(number) => U64::from(number.as_u64().unwrap_or(0)),
            other => serde_json::from_value(other).map_err(|error| errors::invalid_params(error.to_string()))?,
        };
        let newest: BlockNumberOrTag = sequence.next()?;
        let percentiles: Vec<f64> = sequence.optional_next()?.unwrap_or_default();
        context.heavy(move |context| fee_history(context, blocks.to(), newest, &percentiles)).await
    })?;
    Ok(())
}

fn next_base_fee(context: &RpcContext, height: u64) -> Result<u64> {
    let header = context.executor.store().header(height).map_err(errors::store)?;
    let header = header.ok_or_else(|| errors::server("header not found"))?;
    context.executor.base_fee_after(&header).map_err(errors::internal)
}

/// The median of the lowest tips of recent full blocks. A block that is not full takes a tip of 0, so as long as blocks
/// have room the answer is 0.
fn suggested_tip(context: &RpcContext) -> Result<u128> {
    const LOOK_BACK: u64 = 10;
    let head = context.head_height();
    let store = context.executor.store();
    let mut tips = Vec::new();
    for height in head.saturating_sub(LOOK_BACK - 1)..=head {
        let Some(header) = store.header(height).map_err(errors::store)? else { continue };
        // Full: less room left than a tenth.
        if header.gas_used < header.gas_limit / 10 * 9 {
            tips.push(0);
            continue;
        }
        let Some(block) = store.block(height).map_err(errors::store)? else { continue };
        let base_fee = header.base_fee_per_gas.unwrap_or(0);
        let lowest = block.transactions.iter().filter_map(|transaction| transaction.effective_tip_per_gas(base_fee));
        tips.push(lowest.min().unwrap_or(0));
    }
    tips.sort_unstable();
    Ok(tips.get(tips.len() / 2).copied().unwrap_or(0))
}

fn fee_history(context: &RpcContext, blocks: u64, newest: BlockNumberOrTag, percentiles: &[f64]) -> Result<FeeHistory> {
    const MAX_PERCENTILES: usize = 100;
    if percentiles.len() > MAX_PERCENTILES {
        let data = serde_json::json!({ "limit": MAX_PERCENTILES });
        return Err(errors::limit("too many reward percentiles", data));
    }
    let ascending = percentiles.windows(2).all(|pair| pair[0] <= pair[1]);
    if !ascending || percentiles.iter().any(|percentile| !(0.0..=100.0).contains(percentile)) {
        return Err(errors::server("invalid reward percentile: they must ascend from 0 to 100"));
    }
    let newest = context.height_of_tag(newest);
    if newest > context.head_height() {
        return Err(errors::server(format!(
            "request beyond head block: requested {newest}, head {}",
            context.head_height()
        )));
    }
    let count = blocks.min(context.config.max_fee_history).min(newest + 1);
    if count == 0 {
        return Ok(FeeHistory::default());
    }
    let oldest = newest + 1 - count;
    let mut history = FeeHistory { oldest_block: oldest, ..FeeHistory::default() };
    let no_blobs = if context.executor.spec().rules.is_bttc() { BLOB_PRICE_FLOOR } else { 0 };
    let mut rewards = Vec::new();
    for height in oldest..=newest {
        let header = context.executor.store().header(height).map_err(errors::store)?;
        let header = header.ok_or_else(|| errors::server("header not found"))?;
        history.base_fee_per_gas.push(u128::from(header.base_fee_per_gas.unwrap_or(0)));
        history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit as f64);
        history.base_fee_per_blob_gas.push(context.executor.blob_base_fee(&header).unwrap_or(no_blobs));
        history.blob_gas_used_ratio.push(context.executor.blob_gas_ratio(&header));
        if !percentiles.is_empty() {
            rewards.push(block_rewards(context, height, &header, percentiles)?);
        }
    }
    history.base_fee_per_gas.push(u128::from(next_base_fee(context, newest)?));
    let last = context.executor.store().header(newest).map_err(errors::store)?;
    let next = last.and_then(|header| context.executor.blob_base_fee_after(&header));
    history.base_fee_per_blob_gas.push(next.unwrap_or(no_blobs));
    history.reward = (!percentiles.is_empty()).then_some(rewards);
    Ok(history)
}

/// Tips at percentiles of the gas used, as EIP-1559 tools expect them.
fn block_rewards(
    context: &RpcContext,
    height: u64,
    header: &alloy_consensus::Header,
    percentiles: &[f64],
) -> Result<Vec<u128>> {
    let block = context.executor.store().block(height).map_err(errors::store)?;
    let receipts = context.stored_receipts(height)?;
    let (Some(block), Some(receipts)) = (block, receipts) else { return Ok(vec![0; percentiles.len()]) };
    let base_fee = header.base_fee_per_gas.unwrap_or(0);
    let mut before = 0;
    let mut tips: Vec<(u128, u64)> = Vec::with_capacity(receipts.len());
    for (transaction, receipt) in block.transactions.iter().zip(&receipts) {
        let gas = receipt.cumulative_gas.saturating_sub(before);
        before = receipt.cumulative_gas;
        tips.push((transaction.effective_tip_per_gas(base_fee).unwrap_or(0), gas));
    }
    tips.sort_unstable();
    let mut result = Vec::with_capacity(percentiles.len());
    let mut index = 0;
    let mut sum = tips.first().map_or(0, |(_, gas)| *gas);
    for percentile in percentiles {
        let threshold = (header.gas_used as f64 * percentile / 100.0) as u64;
        while sum < threshold && index + 1 < tips.len() {
            index += 1;
            sum += tips[index].1;
        }
        result.push(tips.get(index).map_or(0, |(tip, _)| *tip));
    }
    Ok(result)
}
