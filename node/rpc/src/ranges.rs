//! `debug_accountRange` and `debug_storageRangeAt`: the state piece by piece, in the order of hashed keys, in geth's forms.
//!
//! The state is kept by hashed keys, so an account's address and a slot's number are known only where a transaction named them.

use crate::context::RpcContext;
use crate::errors;
use crate::params::LooseNumber;
use crate::replays::transactions;
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bttc_executor::watchdog::Budget;
use bttc_state::{Account, EMPTY_CODE_HASH, StateRead, StateView};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Accounts of one answer, as in geth.
const MAX_ACCOUNTS: usize = 256;
/// Slots of one answer.
const MAX_SLOTS: usize = 10_000;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_async_method("debug_accountRange", |params, context, _| async move {
        let mut sequence = params.sequence();
        let block: BlockId = sequence.next()?;
        let start: Bytes = sequence.next()?;
        let most: LooseNumber = sequence.next()?;
        let (no_code, no_storage): (Option<bool>, Option<bool>) =
            (sequence.optional_next()?, sequence.optional_next()?);
        // Accounts whose addresses are not known are always shown: there are no others.
        let _incomplete: Option<bool> = sequence.optional_next()?;
        let parts = Parts { code: !no_code.unwrap_or(false), storage: !no_storage.unwrap_or(false) };
        context.budgeted(move |context, budget| accounts(context, (block, &start, most.size()), &parts, &budget)).await
    })?;
    module.register_async_method("debug_storageRangeAt", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (block, index): (BlockId, LooseNumber) = (sequence.next()?, sequence.next()?);
        let (account, start, most): (Address, Bytes, LooseNumber) =
            (sequence.next()?, sequence.next()?, sequence.next()?);
        context.slow(move |context| slots(context, (block, index.size()), account, &start, most.size())).await
    })?;
    Ok(())
}

/// Where a walk begins: a key, or the beginning of one.
fn key_from(start: &[u8]) -> Result<B256> {
    let mut key = B256::ZERO;
    let place = key.0.get_mut(..start.len()).ok_or_else(|| errors::invalid_params("start: more than 32 bytes"))?;
    place.copy_from_slice(start);
    Ok(key)
}

/// What is shown of an account beside its numbers.
struct Parts {
    code: bool,
    storage: bool,
}

fn accounts(
    context: &RpcContext,
    (block, start, most): (BlockId, &[u8], usize),
    parts: &Parts,
    budget: &Budget,
) -> Result<Value> {
    let start = key_from(start)?;
    let height = context.height_of(Some(block))?;
    let store = context.executor.store();
    let header = store.header(height).map_err(errors::store)?.ok_or_else(|| errors::server("header not found"))?;
    let shown = store.view(Some(height), |view| {
        let range = view.accounts_from(start, most.min(MAX_ACCOUNTS)).map_err(errors::store)?;
        let mut room = MAX_SLOTS;
        let mut shown = Map::new();
        for (key, account) in range.entries {
            if Instant::now() >= budget.deadline || budget.abandoned.load(Ordering::Relaxed) {
                return Err(errors::limit(
                    "the range takes too long: ask for fewer accounts",
                    json!({ "reached": key }),
                ));
            }
            let (name, value) = (format!("pre({key})"), shown_account(view, key, &account, parts, &mut room)?);
            shown.insert(name, value);
        }
        let mut answer = json!({ "root": hex::encode(header.state_root), "accounts": shown });
        if let Some(next) = range.next {
            answer["next"] = STANDARD.encode(next).into();
        }
        Ok(answer)
    });
    shown.map_err(errors::store)?
}

fn shown_account(view: &StateView<'_>, key: B256, account: &Account, parts: &Parts, room: &mut usize) -> Result<Value> {
    let mut shown = json!({
        "balance": account.balance.to_string(),
        "nonce": account.nonce,
        "root": account.storage_root,
        "codeHash": account.code_hash,
        "key": key,
    });
    if parts.code && account.code_hash != EMPTY_CODE_HASH {
        shown["code"] = json!(view.code(account.code_hash).map_err(errors::store)?);
    }
    if parts.storage {
        let slots = view.slots_from(key, B256::ZERO, *room).map_err(errors::store)?;
        if slots.next.is_some() {
            let message = format!("these accounts have more than {MAX_SLOTS} slots: ask without storage, or for fewer");
            return Err(errors::limit(message, json!({ "limit": MAX_SLOTS })));
        }
        *room -= slots.entries.len();
        if !slots.entries.is_empty() {
            let named = slots.entries.iter().map(|(slot, value)| (slot.to_string(), format!("{value:x}").into()));
            shown["storage"] = Value::Object(named.collect());
        }
    }
    Ok(shown)
}

/// The slots of an account before a transaction of a block.
fn slots(
    context: &RpcContext,
    (block, index): (BlockId, usize),
    account: Address,
    start: &[u8],
    most: usize,
) -> Result<Value> {
    let (start, most) = (key_from(start)?, most.min(MAX_SLOTS));
    let height = context.find_height(block)?.ok_or_else(|| errors::server("block not found"))?;
    let parent = height.checked_sub(1).ok_or_else(|| errors::server("genesis is not traceable"))?;
    let (wiped, changed) = context.replayed(height, |replay, known| {
        let count = known.block.transactions.len();
        if index >= count.max(1) {
            return Err(errors::server(format!("transaction index {index} out of range for block {height}")));
        }
        for (transaction, _) in transactions(known).take(index) {
            replay.skip(transaction).map_err(errors::call)?;
        }
        replay.changed_slots(account).map_err(errors::call)
    })?;
    let before = context.executor.store().view(Some(parent), |view| {
        // Of what is read the changes can take away as many as they are.
        let wanted = if wiped { 0 } else { most + 1 + changed.len() };
        view.slots_from(keccak256(account), start, wanted)
    });
    let before = before.and_then(|slots| slots).map_err(errors::store)?;
    let unchanged = before.entries.into_iter().filter(|_| !wiped).map(|(key, value)| (key, (None, value)));
    let mut merged: BTreeMap<B256, (Option<B256>, U256)> = unchanged.collect();
    for (slot, value) in changed {
        let (slot, key) = (B256::from(slot), keccak256(B256::from(slot)));
        if value.is_zero() {
            merged.remove(&key);
        } else if key >= start {
            merged.insert(key, (Some(slot), value));
        }
    }
    // What lies beyond the piece that was read is the next answer's, changed or not.
    let end = before.next.filter(|_| !wiped);
    if let Some(end) = &end {
        merged.split_off(end);
    }
    let next = merged.keys().nth(most).copied().or(end);
    let shown = merged
        .into_iter()
        .take(most)
        .map(|(key, (slot, value))| (key.to_string(), json!({ "key": slot, "value": B256::from(value) })));
    Ok(json!({ "storage": shown.collect::<Map<_, _>>(), "nextKey": next }))
}
