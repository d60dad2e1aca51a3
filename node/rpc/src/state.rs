//! Accounts, storage, calls and proofs.

use crate::context::RpcContext;
use crate::errors;
use crate::params::StorageKey;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{
    AccessListResult, BlockOverrides, EIP1186AccountProofResponse, EIP1186StorageProof, TransactionRequest,
};
use bttc_executor::simulate::CallContext;
use bttc_state::{Account, StateRead, StateView};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::{ErrorObjectOwned, Params};

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Slots of one proof request. Each costs a walk through the trie.
const MAX_PROOF_SLOTS: usize = 1_024;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_method("eth_getBalance", |params, context, _| {
        let (address, block) = account_params(&params)?;
        read_account(context, address, block).map(|account| account.map_or(U256::ZERO, |account| account.balance))
    })?;
    module.register_method("eth_getCode", |params, context, _| {
        let (address, block) = account_params(&params)?;
        view(context, block, |view| {
            let Some(account) = view.account(address)? else { return Ok(Bytes::new()) };
            Ok(view.code(account.code_hash)?.unwrap_or_default())
        })
    })?;
    module.register_method("eth_getStorageAt", |params, context, _| {
        let mut sequence = params.sequence();
        let (address, key): (Address, StorageKey) = (sequence.next()?, sequence.next()?);
        let block = sequence.optional_next()?;
        view(context, block, |view| view.storage(address, key.slot()).map(B256::from))
    })?;
    module.register_method("eth_getTransactionCount", |params, context, _| {
        let (address, block) = account_params(&params)?;
        let mined = read_account(context, address, block)?.map_or(0, |account| account.nonce);
        let pending = block == Some(BlockId::Number(BlockNumberOrTag::Pending));
        let next = context.pool.next_nonce(&address).filter(|_| pending).unwrap_or(mined);
        Result::Ok(U64::from(next.max(mined)))
    })?;
    module.register_async_method("eth_call", |params, context, _| async move {
        let call = CallParams::read(&params)?;
        context.heavy(move |context| run_call(context, call, false, |call, request| call.call(request))).await
    })?;
    module.register_async_method("eth_estimateGas", |params, context, _| async move {
        let call = CallParams::read(&params)?;
        context
            .heavy(move |context| {
                run_call(context, call, true, |call, request| call.estimate_gas(request)).map(U64::from)
            })
            .await
    })?;
    module.register_async_method("eth_createAccessList", |params, context, _| async move {
        let call = CallParams::read(&params)?;
        let list =
            context.heavy(move |context| run_call(context, call, true, |call, request| call.access_list(request)));
        let outcome = list.await?;
        Result::Ok(AccessListResult {
            access_list: outcome.access_list,
            gas_used: U256::from(outcome.gas_used),
            error: outcome.error,
        })
    })?;
    module.register_async_method("eth_getProof", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (address, keys): (Address, Vec<StorageKey>) = (sequence.next()?, sequence.next()?);
        let block = sequence.optional_next()?;
        context.heavy(move |context| proof(context, address, keys, block)).await
    })?;
    Ok(())
}

fn account_params(params: &Params<'_>) -> Result<(Address, Option<BlockId>)> {
    let mut sequence = params.sequence();
    Ok((sequence.next()?, sequence.optional_next()?))
}

/// Reads from the state at a block.
fn view<T>(
    context: &RpcContext,
    block: Option<BlockId>,
    read: impl FnOnce(&StateView<'_>) -> std::result::Result<T, bttc_state::Error>,
) -> Result<T> {
    let height = context.height_of(block)?;
    context.executor.store().view(Some(height), read).and_then(|result| result).map_err(errors::store)
}

fn read_account(context: &RpcContext, address: Address, block: Option<BlockId>) -> Result<Option<Account>> {
    view(context, block, |view| view.account(address))
}

/// Parameters of `eth_call` and its kin.
struct CallParams {
    request: TransactionRequest,
    block: Option<BlockId>,
    state_overrides: Option<StateOverride>,
    block_overrides: Option<BlockOverrides>,
}

impl CallParams {
    fn read(params: &Params<'_>) -> Result<Self> {
        let mut sequence = params.sequence();
        Ok(Self {
            request: sequence.next()?,
            block: sequence.optional_next()?,
            state_overrides: sequence.optional_next()?,
            block_overrides: sequence.optional_next()?,
        })
    }
}

/// `planned`: the call is going to be a transaction, so that without a block the next one is meant.
fn run_call<T>(
    context: &RpcContext,
    params: CallParams,
    planned: bool,
    run: impl FnOnce(&CallContext<'_>, TransactionRequest) -> std::result::Result<T, bttc_executor::simulate::CallError>,
) -> Result<T> {
    let overrides = (params.state_overrides, params.block_overrides);
    let next = match params.block {
        Some(id) => id == BlockId::Number(BlockNumberOrTag::Pending),
        None => planned,
    };
    if next {
        return context.on_next_block(overrides, |calls| run(calls, params.request).map_err(errors::call));
    }
    context.on_block(params.block, overrides, |calls| run(calls, params.request).map_err(errors::call))
}

fn proof(
    context: &RpcContext,
    address: Address,
    keys: Vec<StorageKey>,
    block: Option<BlockId>,
) -> Result<EIP1186AccountProofResponse> {
    if keys.len() > MAX_PROOF_SLOTS {
        let data = serde_json::json!({ "limit": MAX_PROOF_SLOTS });
        return Err(errors::limit(format!("{} storage keys, at most {MAX_PROOF_SLOTS} at once", keys.len()), data));
    }
    let slots: Vec<U256> = keys.iter().map(StorageKey::slot).collect();
    let window = context.executor.store().proof_window();
    let (account, proof, storage) = view(context, block, |view| view.prove(address, &slots, window))?;
    let account = account.unwrap_or_default();
    let storage_proof = keys
        .into_iter()
        .zip(storage)
        .map(|(key, proof)| {
            let value = proof.value.map(|rlp| alloy_rlp::decode_exact::<U256>(&rlp).unwrap_or_default());
            EIP1186StorageProof { key: key.0, value: value.unwrap_or_default(), proof: proof.nodes }
        })
        .collect();
    Ok(EIP1186AccountProofResponse {
        address,
        balance: account.balance,
        code_hash: account.code_hash,
        nonce: account.nonce,
        storage_hash: account.storage_root,
        account_proof: proof.nodes,
        storage_proof,
    })
}
