//! The state piece by piece: the pieces together have the roots that the headers name.

use super::search::{Chain, Random, SETTER_AT, ask};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_trie::TrieAccount;
use alloy_trie::root::{state_root, storage_root};
use jsonrpsee::Methods;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const BLOCKS: u64 = 30;

/// Word by word.
fn words(numbers: [U256; 2]) -> Vec<u8> {
    numbers.map(|number| number.to_be_bytes::<32>()).concat()
}

fn parsed<T: std::str::FromStr>(value: &Value) -> T {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value}"))
}

async fn result(methods: &Methods, method: &str, params: Value) -> Value {
    let answer = ask(methods, method, params).await;
    assert!(answer["error"].is_null(), "{method}: {answer}");
    answer["result"].clone()
}

/// All accounts of a height, in pieces.
async fn accounts(methods: &Methods, height: u64, most: usize) -> Vec<(B256, Value)> {
    let (mut all, mut start) = (Vec::new(), Bytes::new());
    loop {
        let params = json!([format!("0x{height:x}"), start, most, false, false, true]);
        let piece = result(methods, "debug_accountRange", params).await;
        let shown = piece["accounts"].as_object().unwrap();
        assert!(shown.len() <= most);
        all.extend(shown.values().map(|account| (parsed(&account["key"]), account.clone())));
        let Some(next) = piece["next"].as_str() else { return all };
        use base64::Engine as _;
        start = base64::engine::general_purpose::STANDARD.decode(next).unwrap().into();
    }
}

/// All slots of the setter before a transaction, in pieces, with those whose numbers are told.
async fn slots(methods: &Methods, height: u64, index: usize, most: usize) -> (BTreeMap<B256, U256>, Vec<(B256, B256)>) {
    let (mut all, mut told, mut start) = (BTreeMap::new(), Vec::new(), Value::from("0x"));
    loop {
        let params = json!([format!("0x{height:x}"), index, SETTER_AT, start, most]);
        let piece = result(methods, "debug_storageRangeAt", params).await;
        let shown = piece["storage"].as_object().unwrap();
        assert!(shown.len() <= most);
        for (key, slot) in shown {
            let key: B256 = key.parse().unwrap();
            assert_eq!(all.insert(key, parsed::<U256>(&slot["value"])), None, "each slot once");
            if !slot["key"].is_null() {
                told.push((key, parsed(&slot["key"])));
            }
        }
        if piece["nextKey"].is_null() {
            return (all, told);
        }
        assert!(all.keys().all(|key| *key < parsed::<B256>(&piece["nextKey"])));
        start = piece["nextKey"].clone();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_the_state_have_the_roots_of_the_headers_at_any_height_and_between_transactions() {
    let mut random = Random(7);
    let mut chain = Chain::new();
    // The setter's slots before each transaction of each block.
    let (mut model, mut now) = (Vec::new(), BTreeMap::<U256, U256>::new());
    for _ in 0..BLOCKS {
        let mut calls = Vec::new();
        let mut states = Vec::new();
        for _ in 0..random.below(6) {
            // Small numbers, so that slots are set anew and emptied.
            let (slot, value) = (U256::from(random.below(40)), U256::from(random.below(3)));
            calls.push(chain.call(SETTER_AT.into(), words([slot, value])));
            states.push(now.clone());
            if value.is_zero() {
                now.remove(&slot)
            } else {
                now.insert(slot, value)
            };
        }
        if calls.is_empty() {
            states.push(now.clone());
        }
        chain.commit(calls);
        model.push(states);
    }
    let methods = bttc_rpc::methods(chain.context()).unwrap();
    for height in [0, 1, BLOCKS / 2, BLOCKS] {
        let all = accounts(&methods, height, 7).await;
        assert!(all.len() > 20 && all.is_sorted_by(|one, other| one.0 < other.0));
        let told = all.iter().map(|(key, account)| {
            let storage = account["storage"].as_object().cloned().unwrap_or_default();
            let value = |value: &Value| U256::from_str_radix(value.as_str().unwrap(), 16).unwrap();
            let root = storage_root(storage.iter().map(|(key, slot)| (key.parse().unwrap(), value(slot))));
            assert_eq!(root, parsed::<B256>(&account["root"]));
            let code = account["code"].as_str().map_or_else(Bytes::new, |code| code.parse().unwrap());
            assert_eq!(keccak256(code), parsed::<B256>(&account["codeHash"]));
            let nonce = account["nonce"].as_u64().unwrap();
            let balance = U256::from_str_radix(account["balance"].as_str().unwrap(), 10).unwrap();
            let told = TrieAccount { nonce, balance, storage_root: root, code_hash: parsed(&account["codeHash"]) };
            (*key, told)
        });
        let header = result(&methods, "eth_getBlockByNumber", json!([format!("0x{height:x}"), false])).await;
        assert_eq!(state_root(told.collect::<Vec<_>>()), parsed::<B256>(&header["stateRoot"]), "height {height}");
    }
    for (height, states) in (1..).zip(&model) {
        for (index, state) in states.iter().enumerate() {
            let (found, told) = slots(&methods, height, index, 5).await;
            let expected: BTreeMap<B256, U256> =
                state.iter().map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), *value)).collect();
            assert_eq!(found, expected, "block {height}, transaction {index}");
            assert!(told.iter().all(|(key, slot)| keccak256(slot) == *key));
            assert!(index > 0 || told.is_empty());
        }
        let params = json!([format!("0x{height:x}"), states.len(), SETTER_AT, "0x", 1]);
        let beyond = ask(&methods, "debug_storageRangeAt", params).await;
        assert_eq!(beyond["error"]["code"], -32_000, "{beyond}");
    }
    let long = json!(["latest", "0x".to_owned() + &"00".repeat(33), 1]);
    assert_eq!(ask(&methods, "debug_accountRange", long).await["error"]["code"], -32_602);
}
