//! `eth_simulateV1`.

use crate::context::RpcContext;
use crate::convert::{RpcBlock, mined_transaction, rpc_header};
use crate::errors;
use alloy_consensus::{Block as ConsensusBlock, BlockBody, Header};
use alloy_eips::BlockId;
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::B256;
use alloy_rpc_types_eth::simulate::{SimCallResult, SimulateError, SimulatePayload, SimulatedBlock as RpcSimulated};
use alloy_rpc_types_eth::{BlockTransactions, Log};
use bttc_executor::simulate_blocks::{SimulateFailure, SimulatedBlock};
use bttc_executor::watchdog::Budget;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_async_method("eth_simulateV1", |params, context, _| async move {
        let mut sequence = params.sequence();
        let payload: SimulatePayload = sequence.next()?;
        let block: Option<BlockId> = sequence.optional_next()?;
        context
            .budgeted(move |context, budget| {
                let budget = Budget { steps: u64::MAX, ..budget };
                simulate(context, payload, block, &budget)
            })
            .await
    })?;
    Ok(())
}

fn failure(failure: SimulateFailure) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(failure.code, failure.message, None::<()>)
}

fn simulate(
    context: &RpcContext,
    payload: SimulatePayload,
    block: Option<BlockId>,
    budget: &Budget,
) -> Result<Vec<RpcSimulated<RpcBlock>>> {
    if payload.block_state_calls.is_empty() {
        return Err(errors::invalid_params("empty input"));
    }
    let whole = payload.return_full_transactions;
    let height = context.height_of(block)?;
    let store = context.executor.store();
    let header = store.header(height).map_err(errors::store)?;
    let header = header.ok_or_else(|| errors::server("header not found"))?;
    let window = store.proof_window();
    let simulated = store.view(Some(height), |view| {
        let calls = context.calls_on(view, &header, (None, None));
        calls.simulate(payload, &|diff| Ok(view.root_after(diff, window)?), budget)
    });
    let blocks = simulated.map_err(errors::store)?.map_err(failure)?;
    Ok(blocks.into_iter().map(|block| shown(block, whole)).collect())
}

fn shown(block: SimulatedBlock, whole: bool) -> RpcSimulated<RpcBlock> {
    let hash = block.header.hash_slow();
    let calls = call_results(&block, hash);
    let transactions = if whole {
        let all = block.transactions.iter().enumerate();
        let all = all.map(|(index, (transaction, from))| {
            mined_transaction(transaction.clone(), *from, &block.header, hash, index)
        });
        BlockTransactions::Full(all.collect())
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|(transaction, _)| *transaction.tx_hash()).collect())
    };
    let withdrawals = block.withdrawals.then(Withdrawals::default);
    let body = BlockBody {
        transactions: block.transactions.into_iter().map(|(transaction, _)| transaction).collect(),
        ommers: Vec::<Header>::new(),
        withdrawals: withdrawals.clone(),
    };
    let size = alloy_rlp::Encodable::length(&ConsensusBlock { header: block.header.clone(), body });
    let inner =
        RpcBlock { header: rpc_header(block.header, hash, Some(size)), uncles: Vec::new(), transactions, withdrawals };
    RpcSimulated { inner, calls }
}

fn call_results(block: &SimulatedBlock, hash: B256) -> Vec<SimCallResult> {
    let header = &block.header;
    let mut log_index = 0u64;
    let results = block.calls.iter().zip(&block.transactions).enumerate().map(|(index, (call, (transaction, _)))| {
        let logs = call.logs.iter().map(|log| {
            log_index += 1;
            Log {
                inner: log.clone(),
                block_hash: Some(hash),
                block_number: Some(header.number),
                block_timestamp: Some(header.timestamp),
                transaction_hash: Some(*transaction.tx_hash()),
                transaction_index: Some(index as u64),
                log_index: Some(log_index - 1),
                removed: false,
            }
        });
        SimCallResult {
            return_data: call.output.clone(),
            logs: logs.collect(),
            gas_used: call.gas_used,
            max_used_gas: Some(call.max_gas_used),
            status: call.error.is_none(),
            error: call.error.clone().map(|(code, message, data)| SimulateError { code, message, data }),
        }
    });
    results.collect()
}
