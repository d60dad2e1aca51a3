//! Networks of real validator processes: killed, stopped, started again, joined.

#[path = "harness.rs"]
mod harness;

use alloy_primitives::{Address, B256};
use bttc_genesis::DEV_KEYS;
use harness::{Devnet, call, height, quantity, transfer, until};
use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Sends transfers from one account through the given nodes until it is told to stop; returns their hashes.
async fn load(devnet: Arc<Devnet>, nodes: Vec<&'static str>, account: usize, stop: Arc<AtomicBool>) -> Vec<B256> {
    let clients: Vec<_> = nodes.iter().map(|name| devnet.client(name)).collect();
    let (address, key) = DEV_KEYS[account];
    let mut nonce = quantity(&call(&clients[0], "eth_getTransactionCount", json!([address, "pending"])).await);
    let mut hashes = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let (hash, raw) = transfer(&key, nonce, Address::repeat_byte(0x55), 1);
        let client = &clients[nonce as usize % clients.len()];
        assert_eq!(call(client, "eth_sendRawTransaction", json!([raw])).await, json!(hash));
        hashes.push(hash);
        nonce += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hashes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_survive_kills_under_load_and_agree() {
    let devnet = Arc::new(Devnet::start(4, ""));
    let first = devnet.client("v0");
    let stop = Arc::new(AtomicBool::new(false));
    let sender = tokio::spawn(load(Arc::clone(&devnet), vec!["v0", "v1", "v3"], 0, Arc::clone(&stop)));
    let start = height(&first).await;
    until("blocks under load", 30, async || height(&first).await > start + 5).await;

    // One dies at once: the others go on.
    devnet.node("kill", "v2");
    let at_kill = height(&first).await;
    until("three go on", 40, async || height(&first).await > at_kill + 10).await;
    devnet.node("start", "v2");
    let third = devnet.client("v2");
    let goal = height(&first).await;
    until("the killed one is back", 20, async || height(&third).await >= goal).await;
    // Its signature is in certificates again.
    let own = call(&third, "bttc_status", json!([])).await["validator"].clone();
    until("it signs again", 30, async || {
        let certificate = call(&first, "bttc_certificate", json!(["latest"])).await;
        certificate["signatures"].as_array().unwrap().iter().any(|entry| entry["validator"] == own)
    })
    .await;
    stop.store(true, Ordering::Release);
    let hashes = sender.await.unwrap();
    assert!(hashes.len() > 50, "{} transactions", hashes.len());
    for hash in &hashes {
        until("every accepted transaction is final", 30, async || {
            !call(&first, "eth_getTransactionReceipt", json!([hash])).await.is_null()
        })
        .await;
    }

    // Two of four: nothing is finalized until one returns.
    devnet.node("kill", "v1");
    devnet.node("kill", "v2");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stuck = height(&first).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(height(&first).await, stuck, "two of four validators must not finalize anything");
    devnet.node("start", "v1");
    until("three of four go on", 40, async || height(&first).await > stuck + 3).await;
    devnet.node("start", "v2");
    let goal = height(&first).await;
    until("all are back", 30, async || height(&devnet.client("v2")).await >= goal).await;

    // All say the same of every block.
    let names = ["v0", "v1", "v2", "v3"];
    for number in (0..=goal).rev().take(60) {
        let expected = call(&first, "eth_getBlockByNumber", json!([format!("0x{number:x}"), true])).await;
        for name in names {
            let got = call(&devnet.client(name), "eth_getBlockByNumber", json!([format!("0x{number:x}"), true])).await;
            assert_eq!(got, expected, "{name} on block {number}");
        }
    }
    // The databases are whole after all this.
    for name in names {
        devnet.node("stop", name);
        let check = Command::new(env!("CARGO_BIN_EXE_bttc"))
            .args(["db", "check", "--home"])
            .arg(devnet.home(name))
            .output()
            .unwrap();
        assert!(check.status.success(), "{name}: {}", String::from_utf8_lossy(&check.stdout));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_node_syncs_two_thousand_blocks_and_follows() {
    let devnet = Devnet::start(1, "--target-block-time-ms 10 --empty-block-interval-ms 10");
    let first = devnet.client("v0");
    until("two thousand blocks", 240, async || height(&first).await >= 2_000).await;
    devnet.add_full("fresh");
    let fresh = devnet.client("fresh");
    let goal = height(&first).await;
    until("the fresh node has caught up", 120, async || height(&fresh).await >= goal).await;
    let (hash, raw) = transfer(&DEV_KEYS[1].1, 0, Address::repeat_byte(0x66), 7);
    // Sent to the node without keys, it must reach the validator.
    assert_eq!(call(&fresh, "eth_sendRawTransaction", json!([raw])).await, json!(hash));
    until("its transaction is final", 30, async || {
        !call(&fresh, "eth_getTransactionReceipt", json!([hash])).await.is_null()
    })
    .await;
    for number in [1, 999, 2_000] {
        let block = json!([format!("0x{number:x}"), true]);
        assert_eq!(
            call(&fresh, "eth_getBlockByNumber", block.clone()).await,
            call(&first, "eth_getBlockByNumber", block).await
        );
    }
}
