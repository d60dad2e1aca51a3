//! java-tron's HTTP API, and a few hooks of our own under `/sim`.

use crate::chain::{CONSTANT_ENERGY, Chain, SimConfig};
use crate::vm::Message;
use crate::{Error, json as shapes, jsonrpc};
use alloy_primitives::{Address, B256, Bytes, hex, keccak256};
use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bttc_root_chains::{ContractCall, TronTransaction, from_base58, tron_address};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A running simulator.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its chain.
    pub chain: Arc<Mutex<Chain>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// Starts one on an address; port 0 for any.
///
/// # Errors
/// [`Error`].
pub async fn serve(config: SimConfig, address: SocketAddr) -> Result<Server, Error> {
    let interval = Duration::from_millis(config.block_time_ms.max(1));
    let chain = Arc::new(Mutex::new(Chain::open(config, now_ms())?));
    let listen = |error: std::io::Error| Error::Listen { address: address.to_string(), reason: error.to_string() };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let app = Router::new().fallback(handle).layer(DefaultBodyLimit::max(4 << 20)).with_state(Arc::clone(&chain));
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the simulator's server ended");
        }
    });
    let miner = tokio::spawn({
        let chain = Arc::clone(&chain);
        async move {
            let mut tick = tokio::time::interval(interval);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let chain = Arc::clone(&chain);
                let mined = tokio::task::spawn_blocking(move || {
                    let mut chain = chain.lock();
                    if !chain.stalled {
                        chain.mine(now_ms());
                    }
                });
                if mined.await.is_err() {
                    tracing::error!("making a block failed");
                }
            }
        }
    });
    Ok(Server { address, chain, tasks: vec![server, miner] })
}

/// What a request says, in the body or behind the question mark.
fn arguments(method: &Method, uri: &Uri, body: &Body) -> Value {
    if *method == Method::POST && !body.is_empty() {
        return serde_json::from_slice(body).unwrap_or(Value::Null);
    }
    let mut map = serde_json::Map::new();
    for pair in uri.query().unwrap_or("").split('&') {
        if let Some((name, value)) = pair.split_once('=') {
            let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
            map.insert(name.to_owned(), value);
        }
    }
    map.into()
}

async fn handle(State(chain): State<Arc<Mutex<Chain>>>, method: Method, uri: Uri, body: Body) -> Response {
    let request = arguments(&method, &uri, &body);
    let path = uri.path().to_owned();
    // Executing a call takes long enough to be done elsewhere.
    let answer = tokio::task::spawn_blocking(move || route(&mut chain.lock(), &path, &request)).await;
    match answer {
        Ok(Some(value)) => {
            let mut response = value.to_string().into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
            response
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn route(chain: &mut Chain, path: &str, request: &Value) -> Option<Value> {
    if path == "/jsonrpc" {
        return Some(jsonrpc::serve(chain, request));
    }
    if let Some(name) = path.strip_prefix("/wallet/") {
        return match write(chain, name, request) {
            Some(answer) => Some(answer),
            None => read(chain, name, request, false),
        };
    }
    if let Some(name) = path.strip_prefix("/walletsolidity/") {
        return read(chain, name, request, true);
    }
    path.strip_prefix("/sim/").and_then(|name| hook(chain, name, request))
}

fn failure(words: &str) -> Value {
    json!({ "Error": format!("class java.lang.IllegalArgumentException : {words}") })
}

fn text<'a>(request: &'a Value, name: &str) -> Option<&'a str> {
    request.get(name).and_then(Value::as_str)
}

fn address(request: &Value, name: &str) -> Option<Address> {
    from_base58(text(request, name)?).ok()
}

fn visible(request: &Value) -> bool {
    request.get("visible").and_then(Value::as_bool).unwrap_or(false)
}

fn id(request: &Value) -> Option<B256> {
    text(request, "value").and_then(|text| text.parse().ok())
}

fn read(chain: &Chain, name: &str, request: &Value, solid: bool) -> Option<Value> {
    let last = if solid { chain.solid() } else { chain.head().number };
    let visible = visible(request);
    let block = |number: u64, detail| match chain.block(number).filter(|block| block.number <= last) {
        Some(block) => shapes::block(block, detail, visible),
        None => json!({}),
    };
    Some(match name {
        "getnowblock" => block(last, true),
        "getblockbynum" => block(request.get("num").and_then(Value::as_u64)?, true),
        "getblock" => {
            let detail = request.get("detail").and_then(Value::as_bool).unwrap_or(false);
            match request.get("id_or_num") {
                None | Some(Value::Null) => block(last, detail),
                Some(Value::Number(number)) => block(number.as_u64()?, detail),
                Some(Value::String(text)) => match text.parse::<u64>() {
                    Ok(number) => block(number, detail),
                    Err(_) => {
                        let id: B256 = text.parse().ok()?;
                        chain
                            .blocks
                            .iter()
                            .find(|block| block.id == id)
                            .map_or(json!({}), |found| block(found.number, detail))
                    }
                },
                _ => failure("id_or_num"),
            }
        }
        "getblockbyid" => {
            let id = id(request)?;
            let found = chain.blocks.iter().find(|block| block.id == id);
            found.map_or(json!({}), |found| block(found.number, true))
        }
        "gettransactionbyid" => match chain.find(id(request)?).filter(|(block, _)| block.number <= last) {
            Some((_, entry)) => shapes::included(entry, visible),
            None => json!({}),
        },
        "gettransactioninfobyid" => match chain.find(id(request)?).filter(|(block, _)| block.number <= last) {
            Some((block, entry)) => shapes::info(block, entry, visible),
            None => json!({}),
        },
        "gettransactioninfobyblocknum" => {
            let number = request.get("num").and_then(Value::as_u64)?;
            match chain.block(number).filter(|block| block.number <= last && number > 0) {
                Some(block) => block
                    .transactions
                    .iter()
                    .map(|entry| shapes::info(block, entry, visible))
                    .collect::<Vec<_>>()
                    .into(),
                None => json!({}),
            }
        }
        "triggerconstantcontract" => constant(chain, request, solid),
        "getaccount" => match address(request, "address") {
            Some(address) => match chain.balance(address, solid) {
                0 => json!({}),
                sun => json!({ "address": shapes::account(address, visible), "balance": sun }),
            },
            None => failure("invalid address"),
        },
        "getcontract" => match address(request, "value").filter(|address| chain.is_contract(*address)) {
            Some(address) => {
                json!({ "contract_address": shapes::account(address, visible), "abi": {}, "name": "", "bytecode": "" })
            }
            None => json!({}),
        },
        "getaccountresource" => json!({ "freeNetLimit": 600, "TotalEnergyLimit": 0, "TotalNetLimit": 0 }),
        "getchainparameters" => json!({ "chainParameter": [
            { "key": "getEnergyFee", "value": chain.config.energy_price },
            { "key": "getTransactionFee", "value": 1_000 },
            { "key": "getMaxFeeLimit", "value": chain.config.max_fee_limit },
            { "key": "getMaxCpuTimeOfOneTx", "value": 80 },
        ] }),
        "getnodeinfo" => {
            let show =
                |number: u64| chain.block(number).map(|block| format!("Num:{number},ID:{}", hex::encode(block.id)));
            json!({ "block": show(chain.head().number), "solidityBlock": show(chain.solid()) })
        }
        _ => return None,
    })
}

/// Selector and arguments, given as such or as `data`.
fn call_data(request: &Value) -> Option<Bytes> {
    if let Some(data) = text(request, "data").filter(|data| !data.is_empty()) {
        return hex::decode(data).ok().map(Bytes::from);
    }
    let selector = text(request, "function_selector").unwrap_or("");
    let mut data = if selector.is_empty() { Vec::new() } else { keccak256(selector)[..4].to_vec() };
    data.extend(hex::decode(text(request, "parameter").unwrap_or("")).ok()?);
    Some(data.into())
}

fn constant(chain: &Chain, request: &Value, solid: bool) -> Value {
    let error = |words: &str| json!({ "result": { "code": "CONTRACT_VALIDATE_ERROR", "message": hex::encode(words) } });
    let (Some(owner), Some(contract), Some(data)) =
        (address(request, "owner_address"), address(request, "contract_address"), call_data(request))
    else {
        return failure("invalid owner_address, contract_address or data");
    };
    if !chain.is_contract(contract) {
        return error("Contract validate error : Smart contract is not exist.");
    }
    let value = request.get("call_value").and_then(Value::as_u64).unwrap_or(0);
    let message = Message {
        caller: owner,
        to: Some(contract),
        value,
        data: data.clone(),
        energy_limit: CONSTANT_ENERGY,
        id: B256::ZERO,
    };
    let outcome = match chain.try_call(solid, message) {
        Ok(outcome) => outcome,
        Err(words) => return error(&words),
    };
    let mut result = json!({ "result": true });
    let mut ret = json!({});
    if outcome.result != "SUCCESS" {
        result = json!({ "result": true, "message": hex::encode(shapes::words(outcome.result)) });
        ret = json!({ "ret": "FAILED" });
    }
    let call = ContractCall::Trigger { owner, contract, call_value: value, data };
    let head = chain.head();
    let transaction = TronTransaction::build(&call, (head.number, head.id), head.timestamp + 60_000, head.timestamp, 0);
    let mut shown = shapes::transaction(&transaction, visible(request));
    if let Some(map) = shown.as_object_mut() {
        map.insert("ret".into(), json!([ret]));
    }
    json!({
        "result": result, "energy_used": outcome.energy, "constant_result": [hex::encode(&outcome.output)],
        "transaction": shown,
    })
}

/// A transaction that a client will sign.
fn prepared(chain: &Chain, call: &ContractCall, request: &Value) -> Value {
    let limit = request.get("fee_limit").and_then(Value::as_u64).unwrap_or(0);
    let head = chain.head();
    let transaction = TronTransaction::build(call, (head.number, head.id), now_ms() + 60_000, now_ms(), limit);
    shapes::transaction(&transaction, visible(request))
}

fn write(chain: &mut Chain, name: &str, request: &Value) -> Option<Value> {
    let number = |field: &str| request.get(field).and_then(Value::as_u64).unwrap_or(0);
    Some(match name {
        "broadcasthex" => {
            let bytes = hex::decode(text(request, "transaction")?).ok()?;
            let Ok(transaction) = TronTransaction::read(&bytes) else { return Some(failure("transaction")) };
            let id = hex::encode(transaction.id());
            match chain.broadcast(transaction) {
                Ok(_) => {
                    json!({ "result": true, "code": "SUCCESS", "message": "", "transaction": "", "txid": id })
                }
                Err(refusal) => json!({
                    "result": false, "code": refusal.code, "message": refusal.message, "transaction": "", "txid": id,
                }),
            }
        }
        "broadcasttransaction" => {
            let raw = hex::decode(text(request, "raw_data_hex").unwrap_or("")).ok()?;
            let list = request.get("signature").and_then(Value::as_array).cloned().unwrap_or_default();
            let signatures = list.iter().filter_map(|item| hex::decode(item.as_str()?).ok()).collect();
            let Ok(transaction) = TronTransaction::from_raw(&raw, signatures) else { return Some(failure("raw_data")) };
            let id = hex::encode(transaction.id());
            match chain.broadcast(transaction) {
                Ok(_) => json!({ "result": true, "txid": id }),
                Err(refusal) => {
                    json!({ "code": refusal.code, "txid": id, "message": hex::encode(refusal.message) })
                }
            }
        }
        "createtransaction" => {
            let (Some(owner), Some(to)) = (address(request, "owner_address"), address(request, "to_address")) else {
                return Some(failure("invalid address"));
            };
            prepared(chain, &ContractCall::Transfer { owner, to, amount: number("amount") }, request)
        }
        "triggersmartcontract" => {
            let (Some(owner), Some(contract), Some(data)) =
                (address(request, "owner_address"), address(request, "contract_address"), call_data(request))
            else {
                return Some(failure("invalid owner_address, contract_address or data"));
            };
            if !chain.is_contract(contract) {
                let words = hex::encode("Contract validate error : No contract or not a smart contract");
                return Some(json!({ "result": { "code": "CONTRACT_VALIDATE_ERROR", "message": words } }));
            }
            let call = ContractCall::Trigger { owner, contract, call_value: number("call_value"), data };
            json!({ "result": { "result": true }, "transaction": prepared(chain, &call, request) })
        }
        "deploycontract" => {
            let owner = address(request, "owner_address")?;
            let mut bytecode = hex::decode(text(request, "bytecode")?).ok()?;
            bytecode.extend(hex::decode(text(request, "parameter").unwrap_or("")).ok()?);
            let name = text(request, "name").unwrap_or("").to_owned();
            let call =
                ContractCall::Create { owner, bytecode: bytecode.into(), call_value: number("call_value"), name };
            let mut shown = prepared(chain, &call, request);
            let made = text(&shown, "txID").and_then(|id| id.parse().ok());
            if let (Some(map), Some(id)) = (shown.as_object_mut(), made) {
                let contract = crate::vm::deployed_address(id, owner);
                map.insert("contract_address".into(), json!(hex::encode(tron_address(contract))));
            }
            shown
        }
        _ => return None,
    })
}

/// Hooks: a chain that lags, stands still, changes its head.
fn hook(chain: &mut Chain, name: &str, request: &Value) -> Option<Value> {
    match name {
        "solidlag" => chain.set_solid_lag(request.get("blocks").and_then(Value::as_u64)?),
        "stall" => chain.stalled = request.get("on").and_then(Value::as_bool)?,
        "reorg" => chain.reorganise(request.get("depth").and_then(Value::as_u64)?),
        "mine" => {
            for _ in 0..request.get("blocks").and_then(Value::as_u64).unwrap_or(1).min(10_000) {
                chain.mine(now_ms());
            }
        }
        _ => return None,
    }
    Some(json!({ "head": chain.head().number, "solid": chain.solid() }))
}
