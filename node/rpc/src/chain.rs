//! What the chain and this node offer: forks, kept history, modules, headers.

use crate::context::RpcContext;
use crate::convert::rpc_header;
use crate::errors;
use crate::params::StorageKey;
use alloy_eips::{BlockId, BlockNumberOrTag, eip2935, eip4788};
use alloy_primitives::{Address, B256, U64, address, hex};
use bttc_genesis::{BRIDGE_ADDRESS, BTT_ADDRESS, GOVERNANCE_ADDRESS, REWARDS_ADDRESS, STAKING_ADDRESS};
use bttc_state::StateRead;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Slots of one `eth_getStorageValues`, over all accounts.
const MAX_SLOTS: usize = 1_024;

/// Precompiles of Osaka by the names of EIP-7910.
pub(crate) const PRECOMPILES: [(&str, Address); 18] = [
    ("BLAKE2F", address!("0000000000000000000000000000000000000009")),
    ("BLS12_G1ADD", address!("000000000000000000000000000000000000000b")),
    ("BLS12_G1MSM", address!("000000000000000000000000000000000000000c")),
    ("BLS12_G2ADD", address!("000000000000000000000000000000000000000d")),
    ("BLS12_G2MSM", address!("000000000000000000000000000000000000000e")),
    ("BLS12_MAP_FP2_TO_G2", address!("0000000000000000000000000000000000000011")),
    ("BLS12_MAP_FP_TO_G1", address!("0000000000000000000000000000000000000010")),
    ("BLS12_PAIRING_CHECK", address!("000000000000000000000000000000000000000f")),
    ("BN254_ADD", address!("0000000000000000000000000000000000000006")),
    ("BN254_MUL", address!("0000000000000000000000000000000000000007")),
    ("BN254_PAIRING", address!("0000000000000000000000000000000000000008")),
    ("ECREC", address!("0000000000000000000000000000000000000001")),
    ("ID", address!("0000000000000000000000000000000000000004")),
    ("KZG_POINT_EVALUATION", address!("000000000000000000000000000000000000000a")),
    ("MODEXP", address!("0000000000000000000000000000000000000005")),
    ("P256VERIFY", address!("0000000000000000000000000000000000000100")),
    ("RIPEMD160", address!("0000000000000000000000000000000000000003")),
    ("SHA256", address!("0000000000000000000000000000000000000002")),
];

/// Contracts that the system calls, Cancun's and Prague's, and the native modules.
pub(crate) const SYSTEM_CONTRACTS: [(&str, Address); 7] = [
    ("BEACON_ROOTS_ADDRESS", eip4788::BEACON_ROOTS_ADDRESS),
    ("HISTORY_STORAGE_ADDRESS", eip2935::HISTORY_STORAGE_ADDRESS),
    ("STAKING_ADDRESS", STAKING_ADDRESS),
    ("BRIDGE_ADDRESS", BRIDGE_ADDRESS),
    ("GOVERNANCE_ADDRESS", GOVERNANCE_ADDRESS),
    ("REWARDS_ADDRESS", REWARDS_ADDRESS),
    ("BTT_ADDRESS", BTT_ADDRESS),
];

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_method("eth_config", |_, context, _| config(context))?;
    module.register_method("eth_capabilities", |_, context, _| capabilities(context))?;
    module.register_method("eth_baseFee", |_, context, _| {
        context.executor.next_base_fee().map(U64::from).map_err(errors::executor)
    })?;
    // The version of Ethereum's wire protocol that nodes of this state of the rules speak.
    module.register_method("eth_protocolVersion", |_, _, _| Result::Ok("0x45"))?;
    module.register_method("eth_getHeaderByNumber", |params, context, _| {
        header(context, BlockId::Number(params.one::<BlockNumberOrTag>()?))
    })?;
    module
        .register_method("eth_getHeaderByHash", |params, context, _| header(context, params.one::<B256>()?.into()))?;
    module.register_async_method("eth_getStorageValues", |params, context, _| async move {
        let mut sequence = params.sequence();
        let requests: BTreeMap<Address, Vec<StorageKey>> = sequence.next()?;
        let block: Option<BlockId> = sequence.optional_next()?;
        context.heavy(move |context| storage_values(context, &requests, block)).await
    })?;
    Ok(())
}

/// EIP-7910. One set of rules has been in force since the first block; later ones are agreed on by governance at heights, which
/// this form cannot say.
fn config(context: &RpcContext) -> Result<Value> {
    let spec = context.executor.spec();
    if !spec.rules.is_bttc() {
        return crate::ethereum::config(context);
    }
    let genesis = context.executor.store().genesis_hash().map_err(errors::store)?.unwrap_or_default();
    // EIP-6122: the checksum of the genesis hash and of every fork since; there was none.
    let fork_id = crc32fast::hash(genesis.as_slice());
    let current = json!({
        "activationTime": 0,
        "blobSchedule": { "baseFeeUpdateFraction": 1, "max": 0, "target": 0 },
        "chainId": U64::from(spec.chain_id()),
        "forkId": hex::encode_prefixed(fork_id.to_be_bytes()),
        "precompiles": PRECOMPILES.into_iter().collect::<BTreeMap<_, _>>(),
        "systemContracts": SYSTEM_CONTRACTS.into_iter().collect::<BTreeMap<_, _>>(),
    });
    Ok(json!({ "current": current, "next": null, "last": null }))
}

/// From which block on this node has what.
fn capabilities(context: &RpcContext) -> Result<Value> {
    let store = context.executor.store();
    let head = store.head().ok_or_else(|| errors::server("there is no head"))?;
    let state = store.lowest_state().map_err(errors::store)?;
    let blocks = store.lowest_block().map_err(errors::store)?;
    let proofs = state.max(head.height.saturating_sub(store.proof_window()));
    let from = |oldest: u64| json!({ "disabled": false, "oldestBlock": U64::from(oldest) });
    Ok(json!({
        "head": { "number": U64::from(head.height), "hash": head.hash },
        "state": from(state), "tx": from(blocks), "logs": from(blocks), "receipts": from(blocks),
        "blocks": from(blocks), "stateproofs": from(proofs),
    }))
}

pub(crate) fn header(context: &RpcContext, id: BlockId) -> Result<Option<alloy_rpc_types_eth::Header>> {
    let Some(height) = context.find_height(id)? else { return Ok(None) };
    let header = context.executor.store().header(height).map_err(errors::store)?;
    Ok(header.map(|header| {
        let hash = header.hash_slow();
        rpc_header(header, hash, None)
    }))
}

fn storage_values(
    context: &RpcContext,
    requests: &BTreeMap<Address, Vec<StorageKey>>,
    block: Option<BlockId>,
) -> Result<BTreeMap<Address, Vec<B256>>> {
    let count: usize = requests.values().map(Vec::len).sum();
    if count == 0 {
        return Err(errors::invalid_params("empty request"));
    }
    if count > MAX_SLOTS {
        let data = json!({ "limit": MAX_SLOTS });
        return Err(errors::limit(format!("{count} storage keys, at most {MAX_SLOTS} at once"), data));
    }
    let height = context.height_of(block)?;
    let read = context.executor.store().view(Some(height), |view| {
        let accounts = requests.iter().map(|(account, keys)| {
            let values = keys.iter().map(|key| view.storage(*account, key.slot()).map(B256::from));
            Ok((*account, values.collect::<std::result::Result<_, bttc_state::Error>>()?))
        });
        accounts.collect::<std::result::Result<_, bttc_state::Error>>()
    });
    read.and_then(|values| values).map_err(errors::store)
}
