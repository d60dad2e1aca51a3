//! `ots_*`: what the Otterscan explorer needs beyond `eth` (its documentation: <https://docs.otterscan.io/api-docs/ots-api>).

use crate::context::RpcContext;
use crate::convert::{RpcReceipt, mined_transaction, rpc_block, rpc_receipt_at};
use crate::errors;
use crate::params::{LooseBlock, LooseNumber};
use crate::replays::walk_to;
use crate::search::{Wanted, candidates};
use crate::trace::{block_traces, transaction_traces};
use alloy_consensus::Transaction as _;
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rpc_types_trace::parity::{Action, CallType, CreationMethod, TraceOutput, TransactionTrace};
use bttc_executor::search_names;
use bttc_executor::watchdog::Budget;
use bttc_state::{EMPTY_CODE_HASH, SearchKind, StateRead, search_name};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Instant;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Version of the interface that Otterscan asks for.
const API_LEVEL: u64 = 8;
/// Transactions of a page.
const MAX_PAGE: usize = 200;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_method("ots_getApiLevel", |_, _, _| Result::Ok(API_LEVEL))?;
    // Otterscan asks this before anything else, and for each new head.
    module.register_method("erigon_getHeaderByNumber", |params, context, _| {
        let LooseBlock(id) = params.one()?;
        crate::chain::header(context, id)
    })?;
    module.register_method("ots_hasCode", |params, context, _| {
        let mut sequence = params.sequence();
        let (account, block): (Address, Option<LooseBlock>) = (sequence.next()?, sequence.optional_next()?);
        let height = context.height_of(block.map(|LooseBlock(id)| id))?;
        let found = context.executor.store().view(Some(height), |view| view.account(account));
        let found = found.and_then(|account| account).map_err(errors::store)?;
        Result::Ok(found.is_some_and(|account| account.code_hash != EMPTY_CODE_HASH))
    })?;
    module.register_async_method("ots_getBlockDetails", |params, context, _| async move {
        let LooseBlock(id) = params.one()?;
        context.heavy(move |context| details(context, id)).await
    })?;
    module.register_async_method("ots_getBlockDetailsByHash", |params, context, _| async move {
        let id = params.one::<B256>()?.into();
        context.heavy(move |context| details(context, id)).await
    })?;
    module.register_async_method("ots_getBlockTransactions", |params, context, _| async move {
        let (LooseBlock(id), page, size): (_, LooseNumber, LooseNumber) = params.parse()?;
        context.heavy(move |context| block_transactions(context, id, page.size(), size.size())).await
    })?;
    module.register_async_method("ots_getInternalOperations", |params, context, _| async move {
        let hash: B256 = params.one()?;
        context.budgeted(move |context, budget| internal_operations(context, hash, budget)).await
    })?;
    module.register_async_method("ots_traceTransaction", |params, context, _| async move {
        let hash: B256 = params.one()?;
        context
            .budgeted(move |context, budget| {
                let traces = transaction_traces(context, hash, budget)?;
                Ok(traces.map(|all| all.iter().map(|entry| trace_entry(&entry.trace)).collect::<Vec<_>>()))
            })
            .await
    })?;
    module.register_async_method("ots_getTransactionError", |params, context, _| async move {
        let hash: B256 = params.one()?;
        context.budgeted(move |context, _| transaction_error(context, hash)).await
    })?;
    for (name, newest_first) in [("ots_searchTransactionsBefore", true), ("ots_searchTransactionsAfter", false)] {
        module.register_async_method(name, move |params, context, _| async move {
            let (account, LooseNumber(block), size): (Address, _, LooseNumber) = params.parse()?;
            let page = Page { account, block, size: size.size().clamp(1, MAX_PAGE), newest_first };
            context.budgeted(move |context, budget| search(context, &page, &budget)).await
        })?;
    }
    module.register_async_method("ots_getTransactionBySenderAndNonce", |params, context, _| async move {
        let (sender, LooseNumber(nonce)): (Address, _) = params.parse()?;
        context.heavy(move |context| by_nonce(context, sender, nonce)).await
    })?;
    module.register_async_method("ots_getContractCreator", |params, context, _| async move {
        let contract: Address = params.one()?;
        context.budgeted(move |context, budget| creator(context, contract, &budget)).await
    })?;
    Ok(())
}

/// A block without its transactions, and what they paid. The chain mints nothing: rewards come from a pool.
fn details(context: &RpcContext, id: BlockId) -> Result<Option<Value>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    let Some(full) = context.full_block(height)? else { return Ok(None) };
    let receipts = context.receipts_of(&full)?.unwrap_or_default();
    let mut fees = U256::ZERO;
    let mut before = 0;
    for (transaction, receipt) in full.block.transactions.iter().zip(receipts) {
        let price = transaction.effective_gas_price(full.block.header.base_fee_per_gas);
        fees += U256::from(price) * U256::from(receipt.cumulative_gas.saturating_sub(before));
        before = receipt.cumulative_gas;
    }
    let mut block = serde_json::to_value(rpc_block(&full, false)).map_err(errors::internal)?;
    if let Value::Object(fields) = &mut block {
        fields.remove("transactions");
        fields.insert("logsBloom".into(), Value::Null);
        fields.insert("transactionCount".into(), full.block.transactions.len().into());
    }
    let none = json!({ "blockReward": U256::ZERO, "uncleReward": U256::ZERO, "issuance": U256::ZERO });
    Ok(Some(json!({ "block": block, "issuance": none, "totalFees": fees })))
}

/// A page of a block's transactions, counted from the last, their input cut to the selector and receipts without logs.
fn block_transactions(context: &RpcContext, id: BlockId, page: usize, size: usize) -> Result<Option<Value>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    let Some(full) = context.full_block(height)? else { return Ok(None) };
    let stored = context.receipts_of(&full)?.unwrap_or_default();
    let total = full.block.transactions.len();
    let end = total.saturating_sub(page.saturating_mul(size));
    let start = end.saturating_sub(size.min(MAX_PAGE));
    let mut block = serde_json::to_value(rpc_block(&full, false)).map_err(errors::internal)?;
    let (mut transactions, mut receipts) = (Vec::new(), Vec::new());
    let all = full.block.transactions.iter().zip(&full.senders).enumerate().skip(start).take(end - start);
    for (index, (transaction, sender)) in all {
        let shown = mined_transaction(transaction.clone(), *sender, &full.block.header, full.hash, index);
        let mut shown = serde_json::to_value(shown).map_err(errors::internal)?;
        cut_input(&mut shown);
        transactions.push(shown);
        receipts.push(slim_receipt(rpc_receipt_at(&full, stored, index))?);
    }
    if let Value::Object(fields) = &mut block {
        fields.insert("transactions".into(), transactions.into());
        fields.insert("transactionCount".into(), total.into());
        fields.insert("logsBloom".into(), Value::Null);
    }
    Ok(Some(json!({ "fullblock": block, "receipts": receipts })))
}

/// A receipt without its logs.
fn slim_receipt(receipt: Option<RpcReceipt>) -> Result<Value> {
    let mut value = serde_json::to_value(receipt).map_err(errors::internal)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("logs".into(), Value::Null);
        fields.insert("logsBloom".into(), Value::Null);
    }
    Ok(value)
}

fn cut_input(transaction: &mut Value) {
    if let Some(Value::String(input)) = transaction.get_mut("input") {
        input.truncate("0x".len() + 8);
    }
}

fn internal_operations(context: &RpcContext, hash: B256, budget: Budget) -> Result<Option<Vec<Value>>> {
    let Some(traces) = transaction_traces(context, hash, budget)? else { return Ok(None) };
    // The transaction itself is not internal.
    let inner = traces.iter().filter(|entry| !entry.trace.trace_address.is_empty() && entry.trace.error.is_none());
    let operations = inner.filter_map(|entry| match (&entry.trace.action, &entry.trace.result) {
        (Action::Call(call), _) if !call.value.is_zero() && call.call_type == CallType::Call => {
            Some(json!({ "type": 0, "from": call.from, "to": call.to, "value": call.value }))
        }
        (Action::Selfdestruct(end), _) => {
            Some(json!({ "type": 1, "from": end.address, "to": end.refund_address, "value": end.balance }))
        }
        (Action::Create(create), Some(TraceOutput::Create(made))) => {
            let kind = if create.creation_method == CreationMethod::Create2 { 3 } else { 2 };
            Some(json!({ "type": kind, "from": create.from, "to": made.address, "value": create.value }))
        }
        (Action::Call(_) | Action::Create(_) | Action::Reward(_), _) => None,
    });
    Ok(Some(operations.collect()))
}

fn trace_entry(trace: &TransactionTrace) -> Value {
    let depth = trace.trace_address.len();
    let output = trace.result.as_ref().map(|output| output.output().clone()).unwrap_or_default();
    match &trace.action {
        Action::Call(call) => {
            let kind = call.call_type.to_string().to_uppercase();
            // A call that cannot carry coins has no value.
            let value =
                (!matches!(call.call_type, CallType::StaticCall | CallType::DelegateCall)).then_some(call.value);
            json!({ "type": kind, "depth": depth, "from": call.from, "to": call.to, "value": value,
                "input": call.input, "output": output })
        }
        Action::Create(create) => {
            let kind = if create.creation_method == CreationMethod::Create2 { "CREATE2" } else { "CREATE" };
            let to = match &trace.result {
                Some(TraceOutput::Create(made)) => Some(made.address),
                Some(TraceOutput::Call(_)) | None => None,
            };
            json!({ "type": kind, "depth": depth, "from": create.from, "to": to, "value": create.value,
                "input": create.init, "output": output })
        }
        Action::Selfdestruct(end) => {
            json!({ "type": "SELFDESTRUCT", "depth": depth, "from": end.address, "to": end.refund_address,
                "value": end.balance, "input": Bytes::new(), "output": Bytes::new() })
        }
        Action::Reward(reward) => {
            json!({ "type": "REWARD", "depth": depth, "to": reward.author, "value": reward.value })
        }
    }
}

/// What a transaction reverted with; empty when it did not.
fn transaction_error(context: &RpcContext, hash: B256) -> Result<Option<Bytes>> {
    let Some((height, index)) = context.place_of(hash)? else { return Ok(None) };
    context.replayed(height, |replay, known| {
        let (transaction, _) = walk_to(replay, known, index)?;
        let result = replay.skip(transaction).map_err(errors::call)?;
        Ok(Some(if result.is_success() { Bytes::new() } else { result.into_output().unwrap_or_default() }))
    })
}

/// A page of an account's transactions.
struct Page {
    account: Address,
    /// Blocks before or after this one; 0 for the newest or oldest.
    block: u64,
    size: usize,
    newest_first: bool,
}

/// Transactions that an account sent, received, or that changed it on the way. Calls on the way that changed nothing of the account are
/// found only in blocks that did.
fn search(context: &RpcContext, page: &Page, budget: &Budget) -> Result<Value> {
    let store = context.executor.store();
    let head = context.head_height();
    let lowest = store.lowest_block().map_err(errors::store)?.max(1);
    let range = match (page.newest_first, page.block) {
        (true, 0) => lowest..=head,
        (true, block) => lowest..=block.saturating_sub(1).min(head),
        (false, block) => block.saturating_add(1).max(lowest)..=head,
    };
    let name = search_name(SearchKind::Account, keccak256(page.account).as_slice());
    let mut found: Vec<(u64, Vec<usize>)> = Vec::new();
    let (mut count, mut whole) = (0, true);
    // Behind the index every block is looked at, so time is looked at before each.
    let late = |height: u64| {
        let data = json!({ "reached": format!("0x{height:x}") });
        errors::limit("the search takes too long: start from another block", data)
    };
    let unread = candidates(context, range, &Wanted::account(name), page.newest_first, |height, known| {
        let late_now = Instant::now() >= budget.deadline || budget.abandoned.load(Ordering::Relaxed);
        if late_now && count == 0 {
            return Err(late(height));
        }
        if late_now || count >= page.size {
            whole = false;
            return Ok(false);
        }
        if !known && !search_names(store, height).map_err(errors::executor)?.contains(&name) {
            return Ok(true);
        }
        let indexes = match involved(context, height, page.account, budget) {
            // What was found before is a page.
            Err(_) if count > 0 && Instant::now() >= budget.deadline => {
                whole = false;
                return Ok(false);
            }
            result => result?,
        };
        count += indexes.len();
        if !indexes.is_empty() {
            found.push((height, indexes));
        }
        Ok(true)
    })?;
    if let Some(height) = unread {
        if count == 0 {
            return Err(late(height));
        }
        whole = false;
    }
    if !page.newest_first {
        found.reverse();
    }
    let (mut transactions, mut receipts) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (height, indexes) in found {
        let Some(full) = context.full_block(height)? else { continue };
        let stored = context.receipts_of(&full)?.unwrap_or_default();
        let header = &full.block.header;
        for index in indexes.into_iter().rev() {
            let Some((transaction, sender)) = full.block.transactions.get(index).zip(full.senders.get(index)) else {
                continue;
            };
            transactions.push(mined_transaction(transaction.clone(), *sender, header, full.hash, index));
            let mut receipt = slim_receipt(rpc_receipt_at(&full, stored, index))?;
            if let Value::Object(fields) = &mut receipt {
                fields.insert("timestamp".into(), header.timestamp.into());
            }
            receipts.push(receipt);
        }
    }
    let (first, last) = if page.newest_first { (page.block == 0, whole) } else { (whole, page.block == 0) };
    Ok(json!({ "txs": transactions, "receipts": receipts, "firstPage": first, "lastPage": last }))
}

/// Which transactions of a block have to do with an account.
fn involved(context: &RpcContext, height: u64, account: Address, budget: &Budget) -> Result<Vec<usize>> {
    let Some(full) = context.full_block(height)? else { return Ok(Vec::new()) };
    let receipts = context.receipts_of(&full)?.unwrap_or_default();
    let all = full.block.transactions.iter().zip(&full.senders).zip(receipts).enumerate();
    let direct = all.filter(|(_, ((transaction, sender), receipt))| {
        let transaction = *transaction;
        let other = transaction.to().unwrap_or_else(|| sender.create(transaction.nonce()));
        **sender == account || other == account || receipt.logs.iter().any(|log| log.address == account)
    });
    let mut found: Vec<usize> = direct.map(|(index, _)| index).collect();
    let changed = context.executor.store().changed_accounts(height).map_err(errors::store)?;
    if found.len() < full.block.transactions.len() && changed.contains(&keccak256(account)) {
        for entry in block_traces(context, height, budget)? {
            if parties(&entry.trace).contains(&Some(account)) {
                found.extend(entry.transaction_position.and_then(|position| usize::try_from(position).ok()));
            }
        }
        found.sort_unstable();
        found.dedup();
    }
    Ok(found)
}

/// Who takes part in a call.
fn parties(trace: &TransactionTrace) -> [Option<Address>; 2] {
    match &trace.action {
        Action::Call(call) => [Some(call.from), Some(call.to)],
        Action::Create(create) => match &trace.result {
            Some(TraceOutput::Create(made)) => [Some(create.from), Some(made.address)],
            Some(TraceOutput::Call(_)) | None => [Some(create.from), None],
        },
        Action::Selfdestruct(end) => [Some(end.address), Some(end.refund_address)],
        Action::Reward(reward) => [Some(reward.author), None],
    }
}

/// The first height of the kept state after which `holds` is true of an account; it must stay true.
fn first_height(
    context: &RpcContext,
    account: Address,
    holds: impl Fn(Option<&bttc_state::Account>) -> bool,
) -> Result<Option<u64>> {
    let store = context.executor.store();
    let test = |height: u64| -> Result<bool> {
        let found = store.view(Some(height), |view| view.account(account)).and_then(|account| account);
        found.map(|account| holds(account.as_ref())).map_err(errors::store)
    };
    let (mut low, mut high) = (store.lowest_state().map_err(errors::store)?, context.head_height());
    if !test(high)? {
        return Ok(None);
    }
    if test(low)? {
        // Only the genesis block has no earlier state.
        return if low == 0 { Ok(Some(0)) } else { Err(errors::pruned("it happened before the kept state", low)) };
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        if test(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Some(high))
}

fn by_nonce(context: &RpcContext, sender: Address, nonce: u64) -> Result<Option<B256>> {
    let height = first_height(context, sender, |account| account.is_some_and(|account| account.nonce > nonce))?;
    let Some(full) = height.map(|height| context.full_block(height)).transpose()?.flatten() else { return Ok(None) };
    let mut all = full.block.transactions.iter().zip(&full.senders);
    let found = all.find(|(transaction, from)| **from == sender && (*transaction).nonce() == nonce);
    Ok(found.map(|(transaction, _)| *transaction.tx_hash()))
}

fn creator(context: &RpcContext, contract: Address, budget: &Budget) -> Result<Option<Value>> {
    let has_code =
        |account: Option<&bttc_state::Account>| account.is_some_and(|account| account.code_hash != EMPTY_CODE_HASH);
    let Some(height) = first_height(context, contract, has_code)? else { return Ok(None) };
    for entry in block_traces(context, height, budget)? {
        if let (Action::Create(create), Some(TraceOutput::Create(made))) = (&entry.trace.action, &entry.trace.result)
            && made.address == contract
        {
            return Ok(Some(json!({ "hash": entry.transaction_hash, "creator": create.from })));
        }
    }
    // In the genesis block, or an account that delegates to a contract.
    Ok(None)
}
