//! Parameters as nobody should send them: every method answers, with a result or an error of JSON-RPC, and nothing panics or piles up.

use super::search::{Chain, FORWARDER_AT, Random, ask};
use alloy_primitives::{Address, B256, TxKind};
use serde_json::{Value, json};
use std::time::Duration;

/// Requests for each method; `BTTC_HOSTILE_REQUESTS` sets another number.
const REQUESTS: u64 = 120;
/// Bytes that the process may grow by in the second half of the run.
const MOST_GROWTH: u64 = 128 << 20;

/// A value that a client may send where anything may stand.
fn value(random: &mut Random, real: &[Value], depth: u32) -> Value {
    let numbers =
        ["0x0", "0x1", "0x5", "0x6", "0xffffffffffffffff", "0x10000000000000000", "0x00", "0x", "1", "-0x1", "0xzz"];
    let words = [
        "latest",
        "earliest",
        "pending",
        "safe",
        "finalized",
        "callTracer",
        "prestateTracer",
        "trace",
        "vmTrace",
        "stateDiff",
        "newHeads",
        "",
        "\u{0}",
        "\u{fffd}é",
    ];
    match random.below(if depth > 3 { 9 } else { 13 }) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => [json!(0), json!(-1), json!(u64::MAX), json!(1.5), json!(1e300), json!(random.below(1 << 20))]
            [random.below(6) as usize]
            .clone(),
        3 | 4 => json!(numbers[random.below(numbers.len() as u64) as usize]),
        5 => json!(words[random.below(words.len() as u64) as usize]),
        6 => json!("0x".to_owned() + &"ab".repeat(random.below(70) as usize)),
        7 | 8 => real[random.below(real.len() as u64) as usize].clone(),
        9 => json!("f".repeat(random.below(20_000) as usize)),
        10 => (0..random.below(4)).map(|_| value(random, real, depth + 1)).collect(),
        11 => call(random, real, depth),
        _ => {
            let mut nested = json!([]);
            for _ in 0..random.below(100) {
                nested = if random.below(2) == 0 { json!([nested]) } else { json!({ "a": nested }) };
            }
            nested
        }
    }
}

/// An object with fields that some method knows.
fn call(random: &mut Random, real: &[Value], depth: u32) -> Value {
    let fields = [
        "from",
        "to",
        "gas",
        "gasPrice",
        "maxFeePerGas",
        "value",
        "data",
        "input",
        "nonce",
        "accessList",
        "type",
        "fromBlock",
        "toBlock",
        "blockHash",
        "blockNumber",
        "address",
        "topics",
        "tracer",
        "tracerConfig",
        "timeout",
        "stateOverrides",
        "blockOverrides",
        "blockStateCalls",
        "calls",
        "balance",
        "code",
        "state",
        "stateDiff",
        "number",
        "time",
        "fromAddress",
        "toAddress",
        "after",
        "count",
        "validation",
        "traceTransfers",
        "authorizationList",
    ];
    let chosen = (0..random.below(6)).map(|_| {
        let field = fields[random.below(fields.len() as u64) as usize];
        (field.to_owned(), value(random, real, depth + 1))
    });
    Value::Object(chosen.collect())
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_sent_is_answered() {
    let requests = std::env::var("BTTC_HOSTILE_REQUESTS").map_or(REQUESTS, |text| text.parse().unwrap());
    let mut chain = Chain::new();
    for height in 1..=6u8 {
        let call = chain.call(FORWARDER_AT.into(), Address::repeat_byte(height).into_word().to_vec());
        chain.commit(vec![call]);
    }
    let deploy = chain.call(TxKind::Create, vec![0x60, 0xfe, 0x5f, 0x53, 0x60, 0x01, 0x5f, 0xf3]);
    let hash = deploy.hash();
    chain.commit(vec![deploy]);
    let mut context = chain.context();
    // Long simulations and traces are bounded by their time.
    (context.config.gas_cap, context.config.trace_timeout_ms, context.config.max_sync_wait_ms) = (2_000_000, 200, 20);
    let methods = bttc_rpc::methods(context).unwrap();
    let head = ask(&methods, "eth_getBlockByNumber", json!(["latest"])).await["result"]["hash"].clone();
    let real = [
        json!(hash),
        head,
        json!(FORWARDER_AT),
        json!(Address::ZERO),
        json!(B256::ZERO),
        json!({ "to": FORWARDER_AT, "data": B256::repeat_byte(9) }),
        json!({ "tracer": "callTracer" }),
        json!({ "fromBlock": "0x0", "toBlock": "latest" }),
        json!(["trace"]),
        json!({ "blockStateCalls": [{ "calls": [{ "to": FORWARDER_AT }] }] }),
    ];
    let names: Vec<&str> = methods.method_names().filter(|name| !name.ends_with("ubscribe")).collect();
    let seed = std::env::var("BTTC_SEED").map_or(1, |text| text.parse().unwrap());
    let mut random = Random(seed);
    let mut settled = 0;
    for round in 0..requests {
        if round == requests / 2 {
            settled = resident_bytes();
        }
        for name in &names {
            let params = match random.below(10) {
                0 => value(&mut random, &real, 0),
                _ => (0..random.below(5)).map(|_| value(&mut random, &real, 0)).collect(),
            };
            let answer = tokio::time::timeout(Duration::from_secs(60), ask(&methods, name, params.clone())).await;
            let answer = answer.unwrap_or_else(|_| panic!("{name} {params} does not end"));
            let error = answer.get("error");
            assert!(error.is_some() != answer.get("result").is_some(), "{name} {params}: {answer}");
            if let Some(error) = error {
                assert!(error["code"].is_i64() && error["message"].is_string(), "{name} {params}: {answer}");
                // Our own failures, such as a panic on a worker thread, have this code.
                assert_ne!(error["code"], -32_603, "{name} {params}: {answer}");
            }
        }
    }
    let grown = resident_bytes().saturating_sub(settled);
    assert!(grown < MOST_GROWTH, "the process grew by {grown} bytes in the second half");
    println!("{} methods, {requests} requests each, grown by {grown} bytes in the second half", names.len());
}
