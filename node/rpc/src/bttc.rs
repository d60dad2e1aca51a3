//! `net`, `web3`, the small `eth` methods, and this chain's own `bttc` namespace.

use crate::context::RpcContext;
use crate::errors;
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U64, U256, hex, keccak256};
use alloy_rpc_types_eth::{SyncInfo, SyncStatus};
use bttc_types::Certificate;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_method("web3_clientVersion", |_, context, _| Result::Ok(context.version.clone()))?;
    module.register_method("web3_sha3", |params, _, _| Result::Ok(keccak256(params.one::<Bytes>()?)))?;
    module
        .register_method("net_version", |_, context, _| Result::Ok(context.executor.spec().chain_id().to_string()))?;
    module.register_method("net_listening", |_, _, _| Result::Ok(true))?;
    module.register_method("net_peerCount", |_, context, _| Result::Ok(U64::from(context.node.status().peers)))?;
    module.register_method("eth_chainId", |_, context, _| Result::Ok(U64::from(context.executor.spec().chain_id())))?;
    // The node holds no accounts for users.
    module.register_method("eth_accounts", |_, _, _| Result::Ok(Vec::<Address>::new()))?;
    module.register_method("eth_syncing", |_, context, _| {
        let status = context.node.status();
        if !status.syncing {
            return Result::Ok(SyncStatus::None);
        }
        Ok(SyncStatus::Info(Box::new(SyncInfo {
            starting_block: U256::from(status.start_height),
            current_block: U256::from(context.head_height()),
            highest_block: U256::from(status.best_peer_height.max(context.head_height())),
            ..SyncInfo::default()
        })))
    })?;
    module.register_method("bttc_status", |_, context, _| status(context))?;
    // A set in the middle of a long epoch takes many steps of its rotation.
    module.register_async_method("bttc_validators", |params, context, _| async move {
        let block: Option<BlockId> = params.sequence().optional_next()?;
        context.heavy(move |context| validators(context, block)).await
    })?;
    module.register_async_method("bttc_certificate", |params, context, _| async move {
        let block: Option<BlockId> = params.sequence().optional_next()?;
        context.heavy(move |context| certificate(context, block)).await
    })?;
    module.register_async_method("bttc_block", |params, context, _| async move {
        let block: Option<BlockId> = params.sequence().optional_next()?;
        context.heavy(move |context| block_bytes(context, block)).await
    })?;
    module
        .register_async_method("bttc_peers", |_, context, _| async move { Result::Ok(context.node.peers().await) })?;
    module
        .register_method("bttc_transactionStatus", |params, context, _| transaction_status(context, params.one()?))?;
    Ok(())
}

fn status(context: &RpcContext) -> Result<Value> {
    let status = context.node.status();
    let head = context.executor.store().head();
    let store = context.executor.store();
    Ok(json!({
        "version": context.version,
        "chainId": U64::from(context.executor.spec().chain_id()),
        "genesisHash": store.genesis_hash().map_err(errors::store)?,
        "head": head.map(|head| json!({ "height": U64::from(head.height), "hash": head.hash, "stateRoot": head.state_root })),
        "consensus": { "height": U64::from(status.height), "round": U64::from(status.round) },
        "syncing": status.syncing,
        "bestPeerHeight": U64::from(status.best_peer_height),
        "peers": U64::from(status.peers),
        "validator": status.validator,
        "signing": status.signing,
        "lowestState": U64::from(store.lowest_state().map_err(errors::store)?),
        "lowestBlock": U64::from(store.lowest_block().map_err(errors::store)?),
    }))
}

/// The set that signs a height: of the next one too, because it is fixed.
fn validators(context: &RpcContext, block: Option<BlockId>) -> Result<Value> {
    let head = context.head_height();
    let height = match block {
        Some(BlockId::Number(tag)) => context.height_of_tag(tag),
        other => context.height_of(other)?,
    };
    if height > head + 1 {
        return Err(errors::server(format!("the set of height {height} is not known yet, the head is {head}")));
    }
    if !context.executor.spec().rules.is_bttc() {
        return Err(errors::server("this chain has no validators"));
    }
    let set = context.executor.validator_set(height).map_err(errors::internal)?;
    let list: Vec<Value> = set
        .validators()
        .iter()
        .zip(set.priorities())
        .map(|(validator, priority)| {
            json!({
                "address": validator.address,
                "owner": validator.owner,
                "power": U64::from(validator.power),
                "proposerPriority": priority.to_string(),
            })
        })
        .collect();
    Ok(json!({
        "height": U64::from(height),
        "epoch": U64::from(context.executor.spec().epoch(height)),
        "totalPower": U64::from(set.total_power()),
        "validators": list,
    }))
}

fn certificate(context: &RpcContext, block: Option<BlockId>) -> Result<Value> {
    let height = context.height_of(block)?;
    certificate_at(context, height)
}

/// The certificate of a height; null when it is not kept.
pub(crate) fn certificate_at(context: &RpcContext, height: u64) -> Result<Value> {
    let Some(certificate) = context.executor.store().certificate(height).map_err(errors::store)? else {
        return Ok(Value::Null);
    };
    certificate_json(context, &certificate)
}

/// A block as it was gossiped, with the certificate that it carries for its parent: `bttc_certificate` may have more
/// signatures than that one.
fn block_bytes(context: &RpcContext, block: Option<BlockId>) -> Result<Value> {
    let height = context.height_of(block)?;
    if !context.executor.spec().rules.is_bttc() {
        return Err(errors::server("this chain's blocks carry no certificates: debug_getRawBlock gives them"));
    }
    let Some(bytes) = context.executor.store().block_bytes(height).map_err(errors::store)? else {
        return Ok(Value::Null);
    };
    let block = bttc_types::Block::decode(&bytes).map_err(errors::internal)?;
    Ok(json!({
        "height": U64::from(height),
        "hash": block.hash(),
        "lastCommit": certificate_json(context, &block.last_commit)?,
        "encoded": hex::encode_prefixed(bytes),
    }))
}

fn certificate_json(context: &RpcContext, certificate: &Certificate) -> Result<Value> {
    let set = context.executor.validator_set(certificate.height.max(1)).map_err(errors::internal)?;
    let signatures: Vec<Value> = certificate
        .signatures
        .iter()
        .map(|entry| {
            json!({
                "index": U64::from(entry.index),
                "validator": set.get(usize::from(entry.index)).map(|validator| validator.address),
                "signature": hex::encode_prefixed(entry.signature.as_bytes()),
            })
        })
        .collect();
    Ok(json!({
        "height": U64::from(certificate.height),
        "round": U64::from(certificate.round),
        "blockHash": certificate.block_hash,
        "signingDomain": context.executor.domain().name(),
        "signatures": signatures,
        "encoded": hex::encode_prefixed(alloy_rlp::encode(certificate)),
    }))
}

/// What became of a transaction that this node has accepted.
fn transaction_status(context: &RpcContext, hash: B256) -> Result<Value> {
    if let Some(location) = context.executor.store().transaction_location(hash).map_err(errors::store)? {
        let (height, index) = (U64::from(location.height), U64::from(location.index));
        return Ok(json!({ "status": "included", "blockNumber": height, "transactionIndex": index }));
    }
    if let Some(transaction) = context.pool.get(&hash) {
        let next = context.pool.next_nonce(&transaction.sender()).unwrap_or(0);
        let status = if transaction.nonce() < next { "pending" } else { "queued" };
        return Ok(json!({ "status": status }));
    }
    if let Some(reason) = context.pool.dropped(&hash) {
        return Ok(json!({ "status": "dropped", "reason": reason.to_string() }));
    }
    Ok(json!({ "status": "unknown" }))
}
