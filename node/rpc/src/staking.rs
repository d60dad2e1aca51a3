//! Reads of the native modules: validators, delegations, epochs, parameters, proposals, and what block hooks did.

use crate::context::RpcContext;
use crate::errors;
use alloy_eips::BlockId;
use alloy_primitives::{Address, U64, hex};
use bttc_executor::ReadHost;
use bttc_genesis::{ChainParams, PARAMETERS, ParameterInfo};
use bttc_modules::interfaces::IGovernance::ProposalInfo;
use bttc_modules::{Fault, Host, governance, staking};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Proposals in one answer, the latest.
const MAX_PROPOSALS: u64 = 100;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_async_method("bttc_validator", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (account, block): (Address, Option<BlockId>) = (sequence.next()?, sequence.optional_next()?);
        context.heavy(move |context| read(context, block, |host| validator(host, account))).await
    })?;
    module.register_async_method("bttc_delegations", |params, context, _| async move {
        let mut sequence = params.sequence();
        let (account, block): (Address, Option<BlockId>) = (sequence.next()?, sequence.optional_next()?);
        context.heavy(move |context| read(context, block, |host| delegations(host, account))).await
    })?;
    module.register_async_method("bttc_params", |params, context, _| async move {
        let block: Option<BlockId> = params.sequence().optional_next()?;
        context
            .heavy(move |context| read(context, block, |host| governance::parameters(host).map(|p| values(&p))))
            .await
    })?;
    module.register_async_method("bttc_proposals", |_, context, _| async move {
        context.heavy(move |context| read(context, None, proposals)).await
    })?;
    module.register_async_method("bttc_proposal", |params, context, _| async move {
        let id: u64 = params.one::<U64>()?.to();
        context
            .heavy(move |context| read(context, None, |host| Ok(proposal(&governance::views::proposal(host, id)?))))
            .await
    })?;
    module.register_method("bttc_epoch", |params, context, _| epoch(context, params.sequence().optional_next()?))?;
    module.register_async_method("bttc_setChange", |params, context, _| async move {
        let epoch: u64 = params.one::<U64>()?.to();
        context.heavy(move |context| set_change(context, epoch)).await
    })?;
    module.register_async_method("bttc_events", |params, context, _| async move {
        let block: Option<BlockId> = params.sequence().optional_next()?;
        context
            .heavy(move |context| {
                let height = context.height_of(block)?;
                context.executor.events(height).map_err(errors::internal)
            })
            .await
    })?;
    Ok(())
}

/// Reads from the modules' state at a block. What a module refuses is the caller's mistake.
pub(crate) fn read<T>(
    context: &RpcContext,
    block: Option<BlockId>,
    look: impl FnOnce(&mut dyn Host) -> std::result::Result<T, Fault>,
) -> Result<T> {
    let height = context.height_of(block)?;
    let header = context.executor.store().header(height).map_err(errors::store)?;
    let header = header.ok_or_else(|| errors::server("header not found"))?;
    let result = context.executor.store().view(Some(height), |view| {
        let mut host = ReadHost::new(context.executor.env_of(&header, 0), view);
        look(&mut host)
    });
    result.map_err(errors::store)?.map_err(|fault| match fault {
        Fault::Revert(data) => errors::server(bttc_modules::explain(&data).unwrap_or_else(|| "refused".into())),
        other => errors::internal(other),
    })
}

/// By owner or key, as one JSON object; null when nobody has it.
fn validator(host: &mut dyn Host, account: Address) -> std::result::Result<Value, Fault> {
    let Some(info) = staking::views::by_account(host, account)? else { return Ok(Value::Null) };
    Ok(json!({
        "id": U64::from(info.id),
        "owner": info.owner,
        "consensusKey": info.consensusKey,
        "bridgeKey": info.bridgeKey,
        "name": info.name,
        "commissionBps": U64::from(info.commissionBps),
        "power": U64::from(info.power),
        "tokens": info.tokens,
        "shares": info.shares,
        "selfStake": info.selfStake,
        "candidate": info.candidate,
        "jailed": info.jailed,
        "tombstoned": info.tombstoned,
        "exiting": info.exiting,
        "jailedUntilMs": U64::from(info.jailedUntil),
        "missedBlocks": U64::from(info.missedBlocks),
    }))
}

fn delegations(host: &mut dyn Host, account: Address) -> std::result::Result<Value, Fault> {
    let mut list = Vec::new();
    for id in staking::views::delegations_of(host, account)? {
        let (shares, amount, rewards) = staking::views::delegation_of(host, id, account)?;
        list.push(json!({
            "validator": U64::from(id),
            "shares": alloy_primitives::U256::from(shares),
            "amount": alloy_primitives::U256::from(amount),
            "rewards": alloy_primitives::U256::from(rewards),
        }));
    }
    let unbonding: Vec<Value> = staking::views::unbondings(host, account)?
        .into_iter()
        .map(|entry| {
            json!({
                "validator": U64::from(entry.validator),
                "target": if entry.target == 0 { Value::Null } else { json!(U64::from(entry.target)) },
                "amount": entry.amount,
                "value": entry.value,
                "maturityMs": if entry.maturity == 0 { Value::Null } else { json!(U64::from(entry.maturity)) },
            })
        })
        .collect();
    Ok(json!({ "delegations": list, "unbonding": unbonding }))
}

/// Parameters by name.
fn values(params: &ChainParams) -> Value {
    let entries = PARAMETERS
        .iter()
        .filter_map(|info: &ParameterInfo| Some((info.name.to_owned(), json!(U64::from(params.get(info.id)?)))));
    Value::Object(entries.collect::<Map<String, Value>>())
}

fn proposal(info: &ProposalInfo) -> Value {
    const KINDS: [&str; 5] = ["?", "text", "parameters", "upgrade", "payment"];
    const STATUSES: [&str; 10] =
        ["?", "deposit", "waiting", "voting", "rejected", "vetoed", "noQuorum", "passed", "executed", "failed"];
    json!({
        "id": U64::from(info.id),
        "proposer": info.proposer,
        "kind": KINDS.get(usize::from(info.kind)),
        "status": STATUSES.get(usize::from(info.status)),
        "expedited": info.expedited,
        "title": info.title,
        "payload": hex::encode_prefixed(&info.payload),
        "deposit": info.deposit,
        "depositEndMs": U64::from(info.depositEnd),
        "votingStartMs": U64::from(info.votingStart),
        "votingEndMs": U64::from(info.votingEnd),
        "executeAtMs": U64::from(info.executeAt),
        "bonded": info.bonded,
        "yes": info.yes,
        "no": info.no,
        "abstain": info.abstain,
        "veto": info.veto,
    })
}

/// The latest proposals, the newest first.
fn proposals(host: &mut dyn Host) -> std::result::Result<Value, Fault> {
    let count = governance::views::proposal_count(host)?;
    let mut list = Vec::new();
    for id in (1..=count).rev().take(MAX_PROPOSALS as usize) {
        list.push(proposal(&governance::views::proposal(host, id)?));
    }
    Ok(Value::Array(list))
}

/// The epoch of a block: number, first and last block.
fn epoch(context: &RpcContext, block: Option<BlockId>) -> Result<Value> {
    let height = context.height_of(block)?;
    let spec = context.executor.spec();
    let (epoch, blocks) = (spec.epoch(height), spec.bttc.params.epoch_blocks);
    Ok(json!({
        "epoch": U64::from(epoch),
        "firstBlock": U64::from(epoch * blocks + 1),
        "lastBlock": U64::from((epoch + 1) * blocks),
        "height": U64::from(height),
    }))
}

/// The proof of an epoch's set; null for the first two, which have the genesis set, and for those that are not fixed yet.
fn set_change(context: &RpcContext, epoch: u64) -> Result<Value> {
    let Some(change) = context.executor.set_change(epoch).map_err(errors::internal)? else { return Ok(Value::Null) };
    let validators: Vec<Value> = change
        .validators
        .iter()
        .map(|entry| json!({ "address": entry.address, "owner": entry.owner, "power": U64::from(entry.power) }))
        .collect();
    Ok(json!({
        "epoch": U64::from(epoch),
        "height": U64::from(change.header.number),
        "validators": validators,
        "header": hex::encode_prefixed(alloy_rlp::encode(&change.header)),
        "certificate": hex::encode_prefixed(alloy_rlp::encode(&change.certificate)),
        "account": change.account,
        "accountProof": change.account_proof,
        "storageProof": change.storage_proof,
        "encoded": hex::encode_prefixed(alloy_rlp::encode(&change)),
    }))
}
