//! Reads of the bridge: gateways, deposits and their certificates, checkpoints, withdrawal proofs, commands.

use crate::context::RpcContext;
use crate::errors;
use crate::staking::read;
use alloy_primitives::{Address, B256, Bytes, U64, U256, hex};
use bttc_bridge_types::{BridgeSet, GatewayId, Subject, pack_signatures};
use bttc_modules::bridge::views;
use bttc_modules::{Fault, Host};
use bttc_types::Signature;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Deposits that have more than two thirds of the power behind them.
#[derive(Clone, Debug)]
pub struct DepositCertificate {
    /// Number of the last deposit.
    pub to_nonce: u64,
    /// Running hash after it.
    pub acc_to: B256,
    /// The deposits since the ledger's cursor, ready to be shown.
    pub deposits: Vec<Value>,
    /// Signatures by place in the set in force.
    pub signatures: Vec<(u8, Signature)>,
}

/// What the node's watcher knows. Its memory only: no waiting.
pub trait BridgeApi: Send + Sync + 'static {
    /// The longest certified run of deposits above the ledger's cursor.
    fn deposit_certificate(
        &self,
        at: GatewayId,
        cursor: u64,
        set: &BridgeSet,
        least: usize,
    ) -> Option<DepositCertificate>;

    /// Signatures of a set's members for a value.
    fn signatures(&self, subject: &Subject, value: B256, set: &BridgeSet) -> Vec<(u8, Signature)>;

    /// What was seen of a deposit, ready to be shown; null when nothing was.
    fn deposit(&self, at: GatewayId, nonce: u64) -> Value;

    /// Signatures as they are made and come in, each once.
    fn votes(&self) -> tokio::sync::broadcast::Receiver<crate::VoteEvent>;

    /// How a gateway is watched, ready to be shown; null when it is not.
    fn watched(&self, at: GatewayId) -> Value;
}

fn gateway_of(root_chain: U64, gateway: Address) -> GatewayId {
    GatewayId { root_chain_id: root_chain.to(), gateway }
}

fn with_bridge<T>(context: &RpcContext, look: impl FnOnce(&dyn BridgeApi) -> T) -> Result<T> {
    match &context.bridge {
        Some(bridge) => Ok(look(bridge.as_ref())),
        None => Err(errors::server("this node takes no part in the bridge")),
    }
}

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_async_method("bttc_rootChains", |_, context, _| async move { context.heavy(root_chains).await })?;
    module.register_async_method("bttc_bridgeState", |_, context, _| async move {
        context.heavy(|context| read(context, None, bridge_state)).await
    })?;
    module.register_async_method("bttc_bridgeSet", |params, context, _| async move {
        let id: u64 = params.one::<U64>()?.to();
        context
            .heavy(move |context| {
                read(context, None, |host| Ok(views::set(host, id)?.map(|set| Bytes::from(set.encode()))))
            })
            .await
    })?;
    module.register_async_method("bttc_depositStatus", |params, context, _| async move {
        let (chain, gateway, nonce): (U64, Address, U64) = params.parse()?;
        context.heavy(move |context| deposit_status(context, gateway_of(chain, gateway), nonce.to())).await
    })?;
    module.register_async_method("bttc_depositCertificate", |params, context, _| async move {
        let (chain, gateway): (U64, Address) = params.parse()?;
        context.heavy(move |context| deposit_certificate(context, gateway_of(chain, gateway))).await
    })?;
    module.register_async_method("bttc_checkpoint", |params, context, _| async move {
        let seq: u64 = params.one::<U64>()?.to();
        context.heavy(move |context| checkpoint(context, seq)).await
    })?;
    module.register_async_method("bttc_gatewayCommand", |params, context, _| async move {
        let (chain, gateway, nonce): (U64, Address, U64) = params.parse()?;
        context.heavy(move |context| command(context, gateway_of(chain, gateway), nonce.to())).await
    })?;
    module.register_async_method("bttc_withdrawalProof", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (chain, gateway): (U64, Address) = (sequence.next()?, sequence.next()?);
        let (tree, index): (U64, U64) = (sequence.next()?, sequence.next()?);
        let seq: Option<U64> = sequence.optional_next()?;
        let at = gateway_of(chain, gateway);
        context.heavy(move |context| proof(context, at, tree.to(), index.to(), seq.map(|seq| seq.to()))).await
    })?;
    Ok(())
}

fn token_json(
    host: &mut dyn Host,
    token: &bttc_modules::interfaces::IBridge::TokenInfo,
) -> std::result::Result<Value, Fault> {
    let (name, symbol, decimals) = bttc_modules::wrapped::describe(host, token.wrapped)?;
    Ok(json!({
        "root": token.root, "wrapped": token.wrapped, "mapped": token.mapped, "name": name, "symbol": symbol,
        "decimals": U64::from(decimals), "locked": token.locked, "minted": token.minted, "parked": token.parked,
        "minimum": token.minimum, "floor": token.floor, "available": token.available,
    }))
}

fn root_chains(context: &RpcContext) -> Result<Value> {
    let list = read(context, None, |host| {
        let mut list = Vec::new();
        for info in views::gateways(host)? {
            let at = GatewayId { root_chain_id: info.rootChainId, gateway: info.gateway };
            let mut tokens = Vec::new();
            for token in views::tokens(host, at)? {
                tokens.push(token_json(host, &token)?);
            }
            list.push((
                at,
                json!({
                    "name": info.name, "rootChainId": U64::from(info.rootChainId), "gateway": info.gateway,
                    "depositNonce": U64::from(info.depositNonce), "depositAcc": info.depositAcc,
                    "treeId": U64::from(info.treeId), "withdrawals": U64::from(info.withdrawals),
                    "commands": U64::from(info.commands), "paused": info.paused, "tokens": tokens,
                }),
            ));
        }
        Ok(list)
    })?;
    let mut shown = Vec::new();
    for (at, mut value) in list {
        if let (Some(map), Some(bridge)) = (value.as_object_mut(), &context.bridge) {
            map.insert("watched".into(), bridge.watched(at));
        }
        shown.push(value);
    }
    Ok(shown.into())
}

fn bridge_state(host: &mut dyn Host) -> std::result::Result<Value, Fault> {
    let (set_id, next_set_id, checkpoints, halted) = views::state(host)?;
    let accused = views::accused(host)?;
    let accused: Vec<Value> =
        accused.into_iter().map(|(id, due)| json!({ "validator": U64::from(id), "dueMs": U64::from(due) })).collect();
    Ok(json!({
        "bridgeId": host.env().bridge_id, "setId": U64::from(set_id), "nextSetId": U64::from(next_set_id),
        "checkpoints": U64::from(checkpoints), "halted": halted, "accused": accused,
        "leastSigners": U64::from(host.env().preset.bridge().min_signers),
    }))
}

fn deposit_status(context: &RpcContext, at: GatewayId, nonce: u64) -> Result<Value> {
    let (info, parked) = read(context, None, |host| Ok((views::gateway(host, at)?, views::parked(host, at, nonce)?)))?;
    let seen = context.bridge.as_ref().map_or(Value::Null, |bridge| bridge.deposit(at, nonce));
    let status = if nonce > info.depositNonce {
        if seen.is_null() { "unknown" } else { "waiting" }
    } else if parked.amount.is_zero() {
        "credited"
    } else {
        "parked"
    };
    Ok(json!({ "status": status, "deposit": seen, "parked": parked.amount, "returnable": parked.returnable }))
}

fn deposit_certificate(context: &RpcContext, at: GatewayId) -> Result<Value> {
    let (info, set, least) = read(context, None, |host| {
        let info = views::gateway(host, at)?;
        let (set_id, ..) = views::state(host)?;
        Ok((info, views::set(host, set_id)?, host.env().preset.bridge().min_signers as usize))
    })?;
    let Some(set) = set else { return Ok(Value::Null) };
    let found = with_bridge(context, |bridge| bridge.deposit_certificate(at, info.depositNonce, &set, least))?;
    Ok(found.map_or(Value::Null, |found| {
        json!({
            "toNonce": U64::from(found.to_nonce), "accTo": found.acc_to, "setId": U64::from(set.set_id),
            "deposits": found.deposits, "signatures": hex::encode_prefixed(pack_signatures(&found.signatures)),
        })
    }))
}

/// The signatures that are there, and the certificate once they suffice.
fn signed(context: &RpcContext, subject: &Subject, value: B256, set: &BridgeSet, least: usize) -> (Value, u64) {
    let Some(bridge) = &context.bridge else { return (Value::Null, 0) };
    let signatures = bridge.signatures(subject, value, set);
    let power = signatures
        .iter()
        .filter_map(|(index, _)| set.members.get(usize::from(*index)))
        .fold(0u64, |sum, member| sum.saturating_add(member.power));
    let certificate = set.select(&signatures, least);
    (certificate.map_or(Value::Null, |list| json!(hex::encode_prefixed(pack_signatures(&list)))), power)
}

pub(crate) fn checkpoint(context: &RpcContext, seq: u64) -> Result<Value> {
    let found = read(context, None, |host| {
        let Some((checkpoint, set_id, next)) = views::checkpoint(host, seq)? else { return Ok(None) };
        let least = host.env().preset.bridge().min_signers as usize;
        Ok(Some((checkpoint, views::set(host, set_id)?, next, host.env().bridge_id, least)))
    })?;
    let Some((checkpoint, set, next, bridge_id, least)) = found else { return Ok(Value::Null) };
    let digest = checkpoint.digest(bridge_id);
    let (certificate, power) = match &set {
        Some(set) => signed(context, &Subject::Checkpoint { seq }, digest, set, least),
        None => (Value::Null, 0),
    };
    let dests: Vec<Value> = checkpoint
        .dests
        .iter()
        .map(|dest| {
            json!({
                "rootChainId": U64::from(dest.at.root_chain_id), "gateway": dest.at.gateway,
                "treeId": U64::from(dest.tree_id), "withdrawalRoot": dest.withdrawal_root, "count": U64::from(dest.count),
            })
        })
        .collect();
    Ok(json!({
        "seq": U64::from(seq), "lastBlock": U64::from(checkpoint.last_block), "lastBlockHash": checkpoint.last_block_hash,
        "timestamp": U64::from(checkpoint.timestamp), "dests": dests, "setHash": checkpoint.set_hash,
        "nextSetHash": checkpoint.next_set_hash, "setId": set.as_ref().map(|set| U64::from(set.set_id)),
        "nextSetId": U64::from(next), "digest": digest, "signedPower": U64::from(power),
        "set": set.map(|set| hex::encode_prefixed(set.encode())), "signatures": certificate,
    }))
}

fn command(context: &RpcContext, at: GatewayId, nonce: u64) -> Result<Value> {
    let found = read(context, None, |host| {
        let Some(command) = views::command(host, at, nonce)? else { return Ok(None) };
        let (set_id, ..) = views::state(host)?;
        let least = host.env().preset.bridge().min_signers as usize;
        Ok(Some((command, views::set(host, set_id)?, host.env().bridge_id, least)))
    })?;
    let Some((command, set, bridge_id, least)) = found else { return Ok(Value::Null) };
    let digest = command.digest(bridge_id);
    let certificate = match &set {
        Some(set) => signed(context, &Subject::Command { at, nonce }, digest, set, least).0,
        None => Value::Null,
    };
    Ok(json!({
        "commandNonce": U64::from(nonce), "kind": U64::from(command.command.kind()), "payload": command.command.payload(),
        "command": command.command, "digest": digest, "set": set.map(|set| hex::encode_prefixed(set.encode())),
        "signatures": certificate,
    }))
}

fn proof(context: &RpcContext, at: GatewayId, tree: u64, index: u64, seq: Option<u64>) -> Result<Value> {
    let tree = u32::try_from(tree).map_err(|_| errors::invalid_params("no such tree"))?;
    let found = read(context, None, |host| views::proof(host, at, tree, index, seq))?;
    Ok(found.map_or(Value::Null, |found| {
        json!({
            "seq": U64::from(found.seq), "treeId": U64::from(tree), "index": U64::from(index), "leaf": found.leaf,
            "proof": found.siblings, "root": found.root,
        })
    }))
}

/// A deposit that was seen, as an answer shows it.
pub fn deposit_json(log: &bttc_bridge_types::Deposit, acc: B256, transaction: B256, height: u64) -> Value {
    json!({
        "nonce": U64::from(log.nonce), "token": log.token, "sender": log.sender, "recipient": log.recipient,
        "amount": U256::from(log.amount), "acc": acc, "transaction": transaction, "rootBlock": U64::from(height),
    })
}
