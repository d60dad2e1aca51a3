//! The part of Ethereum's JSON-RPC that java-tron has, with its limits and its tags.

use crate::chain::{Block, Chain};
use crate::vm::Message;
use alloy_primitives::{Address, B256, Bytes, U64, U256, hex};
use serde_json::{Value, json};

/// Blocks of a query for logs.
const MAX_LOG_BLOCKS: u64 = 5_000;
/// Logs of an answer.
const MAX_LOGS: usize = 10_000;

/// An error's number and words.
type Failure = (i64, String);

fn invalid(words: impl Into<String>) -> Failure {
    (-32602, words.into())
}

fn parameter<T: serde::de::DeserializeOwned>(params: &Value, index: usize) -> Result<T, Failure> {
    let value = params.get(index).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value).map_err(|_| invalid("invalid params"))
}

/// A height by number or tag.
fn height(chain: &Chain, value: Option<&Value>) -> Result<u64, Failure> {
    match value.and_then(Value::as_str) {
        None | Some("latest") => Ok(chain.head().number),
        Some("earliest") => Ok(0),
        Some("finalized") => Ok(chain.solid()),
        Some(tag @ ("safe" | "pending")) => Err(invalid(format!("TAG [{tag}] not supported"))),
        Some(text) => {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            u64::from_str_radix(digits, 16).map_err(|_| invalid("invalid block number"))
        }
    }
}

/// Only the latest state can be asked for.
fn latest_only(value: Option<&Value>) -> Result<(), Failure> {
    match value.and_then(Value::as_str) {
        None | Some("latest") => Ok(()),
        _ => Err(invalid("QUANTITY not supported, just support TAG as latest")),
    }
}

fn block_json(block: &Block) -> Value {
    let hashes: Vec<B256> = block.transactions.iter().map(|entry| entry.id).collect();
    json!({
        "number": U64::from(block.number), "hash": block.id, "parentHash": block.parent,
        "timestamp": U64::from(block.timestamp / 1_000), "transactionsRoot": block.root, "stateRoot": "0x",
        "receiptsRoot": B256::ZERO, "transactions": hashes, "uncles": [], "gasLimit": "0x0", "gasUsed": "0x0",
        "difficulty": "0x0", "totalDifficulty": "0x0", "extraData": "0x", "nonce": "0x0000000000000000",
        "sha3Uncles": B256::ZERO, "mixHash": B256::ZERO, "miner": Address::repeat_byte(0x11), "size": "0x0",
        "logsBloom": Bytes::from(vec![0u8; 256]), "baseFeePerGas": "0x0",
    })
}

fn receipt_json(chain: &Chain, id: B256) -> Value {
    let Some((block, entry)) = chain.find(id) else { return Value::Null };
    let index = block.transactions.iter().position(|other| other.id == id).unwrap_or(0);
    let logs: Vec<Value> = chain
        .logs(block.number, block.number)
        .filter(|(_, _, _, transaction, _)| *transaction == id)
        .map(log_json)
        .collect();
    let created =
        entry.transaction.call().is_some_and(|call| matches!(call, bttc_root_chains::ContractCall::Create { .. }));
    json!({
        "transactionHash": id, "transactionIndex": U64::from(index), "blockHash": block.id,
        "blockNumber": U64::from(block.number), "from": entry.transaction.call().map(|call| call.owner()),
        "to": if created { None } else { entry.contract }, "contractAddress": if created { entry.contract } else { None },
        "status": if entry.outcome.result == "SUCCESS" { "0x1" } else { "0x0" }, "logs": logs,
        "gasUsed": U64::from(entry.outcome.energy), "cumulativeGasUsed": U64::from(entry.outcome.energy),
        "effectiveGasPrice": U64::from(chain.config.energy_price), "type": "0x0",
        "logsBloom": Bytes::from(vec![0u8; 256]),
    })
}

fn log_json((block, index, position, id, log): (&Block, usize, usize, B256, &alloy_primitives::Log)) -> Value {
    json!({
        "address": log.address, "topics": log.topics(), "data": log.data.data, "blockNumber": U64::from(block.number),
        "blockHash": block.id, "blockTimestamp": U64::from(block.timestamp / 1_000), "transactionHash": id,
        "transactionIndex": U64::from(index), "logIndex": U64::from(position), "removed": false,
    })
}

fn logs(chain: &Chain, filter: &Value) -> Result<Value, Failure> {
    let (from, to) = match filter.get("blockHash") {
        Some(hash) => {
            let hash: B256 = serde_json::from_value(hash.clone()).map_err(|_| invalid("invalid block hash"))?;
            let block = chain.blocks.iter().find(|block| block.id == hash).ok_or_else(|| invalid("unknown block"))?;
            (block.number, block.number)
        }
        None => (height(chain, filter.get("fromBlock"))?, height(chain, filter.get("toBlock"))?),
    };
    if from > to {
        return Err(invalid("please verify: fromBlock <= toBlock"));
    }
    if to - from >= MAX_LOG_BLOCKS {
        return Err(invalid(format!("exceed max block range: {MAX_LOG_BLOCKS}")));
    }
    let list = |value: &Value| -> Vec<String> {
        match value {
            Value::String(one) => vec![one.to_lowercase()],
            Value::Array(many) => many.iter().filter_map(|item| item.as_str().map(str::to_lowercase)).collect(),
            _ => Vec::new(),
        }
    };
    let addresses = filter.get("address").map(list).unwrap_or_default();
    let topics: Vec<Vec<String>> =
        filter.get("topics").and_then(Value::as_array).map(|all| all.iter().map(list).collect()).unwrap_or_default();
    let mut found = Vec::new();
    for entry in chain.logs(from, to) {
        let log = entry.4;
        let here = addresses.is_empty() || addresses.contains(&format!("{:#x}", log.address));
        let fits = topics.iter().enumerate().all(|(position, wanted)| {
            wanted.is_empty() || log.topics().get(position).is_some_and(|topic| wanted.contains(&format!("{topic:#x}")))
        });
        if here && fits {
            found.push(log_json(entry));
        }
        if found.len() > MAX_LOGS {
            return Err((-32005, format!("query returned more than {MAX_LOGS} results")));
        }
    }
    Ok(found.into())
}

fn message(request: &Value) -> Result<Message, Failure> {
    let read = |name: &str| request.get(name).filter(|value| !value.is_null()).cloned();
    let address = |name: &str| -> Result<Option<Address>, Failure> {
        read(name).map(serde_json::from_value).transpose().map_err(|_| invalid("invalid address"))
    };
    let data = read("data").or_else(|| read("input"));
    let data: Bytes = data.map_or(Ok(Bytes::new()), serde_json::from_value).map_err(|_| invalid("invalid data"))?;
    let value: U256 = read("value").map_or(Ok(U256::ZERO), serde_json::from_value).map_err(|_| invalid("value"))?;
    Ok(Message {
        caller: address("from")?.unwrap_or_default(),
        to: address("to")?,
        value: value.saturating_to(),
        data,
        energy_limit: crate::chain::CONSTANT_ENERGY,
        id: B256::ZERO,
    })
}

fn run(chain: &Chain, request: &Value) -> Result<crate::vm::Outcome, Failure> {
    let outcome = chain.try_call(false, message(request)?).map_err(|error| (-32000, error))?;
    match outcome.result {
        "SUCCESS" => Ok(outcome),
        "REVERT" => Err((3, format!("execution reverted|{}", hex::encode_prefixed(&outcome.output)))),
        other => Err((-32000, other.to_owned())),
    }
}

fn dispatch(chain: &Chain, method: &str, params: &Value) -> Result<Value, Failure> {
    Ok(match method {
        "web3_clientVersion" => json!("TRON/bttc-tron-sim"),
        "eth_chainId" | "net_version" => json!(U64::from(chain.config.chain_id)),
        "eth_blockNumber" => json!(U64::from(chain.head().number)),
        "eth_gasPrice" => json!(U64::from(chain.config.energy_price)),
        "eth_getBlockByNumber" => {
            let number = height(chain, params.get(0))?;
            chain.block(number).map_or(Value::Null, |block| block_json(block))
        }
        "eth_getBlockByHash" => {
            let hash: B256 = parameter(params, 0)?;
            chain.blocks.iter().find(|block| block.id == hash).map_or(Value::Null, |block| block_json(block))
        }
        "eth_getBlockReceipts" => {
            let number = height(chain, params.get(0))?;
            let ids: Vec<B256> =
                chain.block(number).map(|block| block.transactions.iter().map(|e| e.id).collect()).unwrap_or_default();
            ids.into_iter().map(|id| receipt_json(chain, id)).collect::<Vec<_>>().into()
        }
        "eth_getTransactionReceipt" => receipt_json(chain, parameter(params, 0)?),
        "eth_getLogs" => logs(chain, params.get(0).unwrap_or(&Value::Null))?,
        "eth_call" => {
            latest_only(params.get(1))?;
            json!(run(chain, params.get(0).unwrap_or(&Value::Null))?.output)
        }
        "eth_estimateGas" => json!(U64::from(run(chain, params.get(0).unwrap_or(&Value::Null))?.energy)),
        "eth_getBalance" => {
            latest_only(params.get(1))?;
            json!(U256::from(chain.balance(parameter(params, 0)?, false)))
        }
        "eth_getCode" => {
            latest_only(params.get(1))?;
            let address: Address = parameter(params, 0)?;
            let state = chain.state(false);
            let code = state.cache.accounts.get(&address).and_then(|account| {
                account.info.code.clone().or_else(|| state.cache.contracts.get(&account.info.code_hash).cloned())
            });
            json!(code.map(|code| code.original_bytes()).unwrap_or_default())
        }
        _ => return Err((-32601, format!("the method {method} does not exist/is not available"))),
    })
}

/// Serves one request, or a batch.
pub(crate) fn serve(chain: &Chain, body: &Value) -> Value {
    if let Value::Array(batch) = body {
        return batch.iter().take(100).map(|one| serve(chain, one)).collect::<Vec<_>>().into();
    }
    let id = body.get("id").cloned().unwrap_or(Value::Null);
    let method = body.get("method").and_then(Value::as_str).unwrap_or("");
    match dispatch(chain, method, body.get("params").unwrap_or(&Value::Null)) {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, words)) => {
            let (message, data) = words.split_once('|').map_or((words.as_str(), "{}"), |(text, data)| (text, data));
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message, "data": data } })
        }
    }
}
