//! java-tron's JSON: protocol buffers printed, hex without a prefix, zero and empty fields left out.

use crate::chain::{Block, Included};
use alloy_primitives::{Address, hex};
use bttc_root_chains::{ContractCall, TronTransaction, to_base58, tron_address};
use serde_json::{Map, Value, json};

/// An address as it was asked for.
pub(crate) fn account(address: Address, visible: bool) -> Value {
    if visible { json!(to_base58(address)) } else { json!(hex::encode(tron_address(address))) }
}

fn put(map: &mut Map<String, Value>, name: &str, value: u64) {
    if value != 0 {
        map.insert(name.into(), json!(value));
    }
}

/// A transaction.
pub(crate) fn transaction(transaction: &TronTransaction, visible: bool) -> Value {
    let Some(raw) = &transaction.raw_data else { return json!({}) };
    let mut value = Map::new();
    let mut kind = "";
    if let Some(call) = transaction.call() {
        value.insert("owner_address".into(), account(call.owner(), visible));
        match call {
            ContractCall::Transfer { to, amount, .. } => {
                kind = "TransferContract";
                value.insert("to_address".into(), account(to, visible));
                put(&mut value, "amount", amount);
            }
            ContractCall::Trigger { contract, call_value, data, .. } => {
                kind = "TriggerSmartContract";
                value.insert("contract_address".into(), account(contract, visible));
                put(&mut value, "call_value", call_value);
                if !data.is_empty() {
                    value.insert("data".into(), json!(hex::encode(data)));
                }
            }
            ContractCall::Create { owner, bytecode, call_value, name } => {
                kind = "CreateSmartContract";
                let mut contract = Map::new();
                contract.insert("bytecode".into(), json!(hex::encode(bytecode)));
                contract.insert("name".into(), json!(name));
                contract.insert("origin_address".into(), account(owner, visible));
                put(&mut contract, "call_value", call_value);
                value.insert("new_contract".into(), contract.into());
            }
        }
    }
    let mut raw_data = Map::new();
    let contract = json!({
        "parameter": { "value": value, "type_url": format!("type.googleapis.com/protocol.{kind}") },
        "type": kind,
    });
    raw_data.insert("contract".into(), json!([contract]));
    raw_data.insert("ref_block_bytes".into(), json!(hex::encode(&raw.ref_block_bytes)));
    raw_data.insert("ref_block_hash".into(), json!(hex::encode(&raw.ref_block_hash)));
    raw_data.insert("expiration".into(), json!(raw.expiration));
    put(&mut raw_data, "fee_limit", raw.fee_limit.unsigned_abs());
    put(&mut raw_data, "timestamp", raw.timestamp.unsigned_abs());
    let mut whole = Map::new();
    whole.insert("visible".into(), json!(visible));
    if !transaction.signature.is_empty() {
        let list: Vec<String> = transaction.signature.iter().map(hex::encode).collect();
        whole.insert("signature".into(), json!(list));
    }
    whole.insert("txID".into(), json!(hex::encode(transaction.id())));
    whole.insert("raw_data".into(), raw_data.into());
    whole.insert("raw_data_hex".into(), json!(hex::encode(transaction.raw_bytes())));
    whole.into()
}

/// A transaction in a block.
pub(crate) fn included(entry: &Included, visible: bool) -> Value {
    let mut value = transaction(&entry.transaction, visible);
    if let Some(map) = value.as_object_mut() {
        map.insert("ret".into(), json!([{ "contractRet": entry.outcome.result }]));
    }
    value
}

/// A block.
pub(crate) fn block(block: &Block, detail: bool, visible: bool) -> Value {
    let mut raw = Map::new();
    put(&mut raw, "number", block.number);
    raw.insert("txTrieRoot".into(), json!(hex::encode(block.root)));
    raw.insert("witness_address".into(), account(Address::repeat_byte(0x11), visible));
    raw.insert("parentHash".into(), json!(hex::encode(block.parent)));
    raw.insert("version".into(), json!(34));
    put(&mut raw, "timestamp", block.timestamp);
    let mut whole = json!({
        "blockID": hex::encode(block.id),
        "block_header": { "raw_data": raw, "witness_signature": hex::encode([0u8; 65]) },
    });
    if detail && !block.transactions.is_empty() {
        let list: Vec<Value> = block.transactions.iter().map(|entry| included(entry, visible)).collect();
        if let Some(map) = whole.as_object_mut() {
            map.insert("transactions".into(), list.into());
        }
    }
    whole
}

/// What became of a transaction.
pub(crate) fn info(block: &Block, entry: &Included, visible: bool) -> Value {
    let mut map = Map::new();
    map.insert("id".into(), json!(hex::encode(entry.id)));
    put(&mut map, "fee", entry.net_fee + entry.energy_fee);
    put(&mut map, "blockNumber", block.number);
    put(&mut map, "blockTimeStamp", block.timestamp);
    map.insert("contractResult".into(), json!([hex::encode(&entry.outcome.output)]));
    if let Some(contract) = entry.contract {
        map.insert("contract_address".into(), account(contract, visible));
    }
    let mut receipt = Map::new();
    put(&mut receipt, "energy_fee", entry.energy_fee);
    put(&mut receipt, "energy_usage_total", entry.outcome.energy);
    put(&mut receipt, "net_fee", entry.net_fee);
    if entry.is_contract {
        receipt.insert("result".into(), json!(entry.outcome.result));
    }
    map.insert("receipt".into(), receipt.into());
    if !entry.outcome.logs.is_empty() {
        let logs: Vec<Value> = entry
            .outcome
            .logs
            .iter()
            .map(|log| {
                let topics: Vec<String> = log.topics().iter().map(hex::encode).collect();
                json!({ "address": hex::encode(log.address), "topics": topics, "data": hex::encode(&log.data.data) })
            })
            .collect();
        map.insert("log".into(), logs.into());
    }
    if entry.outcome.result != "SUCCESS" {
        map.insert("result".into(), json!("FAILED"));
        map.insert("resMessage".into(), json!(hex::encode(words(entry.outcome.result))));
    }
    map.into()
}

/// java-tron's words for a result.
pub(crate) fn words(result: &str) -> String {
    match result {
        "REVERT" => "REVERT opcode executed".into(),
        "OUT_OF_ENERGY" => "Not enough energy".into(),
        "OUT_OF_TIME" => "CPU timeout".into(),
        other => other.into(),
    }
}
