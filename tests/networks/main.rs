//! Networks of real validator processes: killed, stopped, started again, joined.

#[path = "acts.rs"]
mod acts;
#[path = "attacks.rs"]
mod attacks;
#[path = "chaos.rs"]
mod chaos;
#[path = "cluster.rs"]
mod cluster;
#[path = "failures.rs"]
mod failures;
#[path = "floods.rs"]
mod floods;
#[path = "form.rs"]
mod form;
#[path = "harness.rs"]
#[allow(dead_code)]
mod harness;
#[path = "hostile.rs"]
mod hostile;
#[path = "joining.rs"]
mod joining;
#[path = "logs.rs"]
mod logs;
#[path = "presets.rs"]
mod presets;
#[path = "secrets.rs"]
mod secrets;
#[path = "staking.rs"]
mod staking;
#[path = "stranger.rs"]
mod stranger;
#[path = "town.rs"]
mod town;

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
    let devnet = Devnet::start(1, "--param targetBlockTimeMs=10 --param emptyBlockIntervalMs=10");
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

/// Runs the binary; whether it succeeded, and all it said.
fn bttc(arguments: &[&std::ffi::OsStr]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bttc")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// What an operator meets: a second process on one home, a guard that is gone and comes back from its export, an
/// export that is too old, another genesis, a wrong password. Each says what to do, and nothing is signed that should not be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_mistakes_are_explained_and_sign_nothing() {
    let devnet = Devnet::start(4, "");
    let first = devnet.client("v0");
    until("blocks", 30, async || height(&first).await > 3).await;
    let home = devnet.home("v3");
    let os = |text: &'static str| std::ffi::OsStr::new(text);
    let signing = async || {
        let client = devnet.client("v3");
        call(&client, "bttc_status", json!([])).await["signing"].as_str().unwrap_or_default().to_owned()
    };

    // The guard is locked while the node runs.
    let (good, text) = bttc(&[os("signer"), os("export"), os("--home"), home.as_os_str()]);
    assert!(!good && text.contains("is a node running with the same home?"), "{text}");
    let (good, text) = bttc(&[os("db"), os("stats"), os("--home"), home.as_os_str()]);
    assert!(!good && text.contains("stop the node first"), "{text}");

    // Without its guard the node follows and does not sign; with the exported one it signs again.
    devnet.node("stop", "v3");
    let (good, exported) = bttc(&[os("signer"), os("export"), os("--home"), home.as_os_str()]);
    assert!(good, "{exported}");
    let json_end = exported.rfind('}').unwrap() + 1;
    let file = home.join("exported.json");
    std::fs::write(&file, &exported[..json_end]).unwrap();
    std::fs::remove_file(home.join("keys/consensus.guard")).unwrap();
    devnet.node("start", "v3");
    let goal = height(&first).await + 3;
    until("it follows", 30, async || height(&devnet.client("v3")).await >= goal).await;
    assert_eq!(signing().await, "no key");
    let log = std::fs::read_to_string(home.join("node.log")).unwrap();
    assert!(log.contains("bttc signer import"), "the log says what to do");
    devnet.node("stop", "v3");
    let (good, text) = bttc(&[os("signer"), os("import"), os("--home"), home.as_os_str(), file.as_os_str()]);
    assert!(good && text.contains("listens before it signs"), "{text}");
    devnet.node("start", "v3");
    until("it signs again", 40, async || signing().await == "ready").await;

    // An older export never lowers the guard.
    until("it has signed", 30, async || height(&first).await > goal + 8).await;
    devnet.node("stop", "v3");
    let (good, text) = bttc(&[os("signer"), os("import"), os("--home"), home.as_os_str(), file.as_os_str()]);
    assert!(!good && text.contains("never lowered"), "{text}");

    // Another network's genesis file is refused before anything is touched.
    let genesis = home.join("genesis.json");
    let original = std::fs::read_to_string(&genesis).unwrap();
    let mut other: serde_json::Value = serde_json::from_str(&original).unwrap();
    other["timestamp"] = json!("0x1");
    std::fs::write(&genesis, other.to_string()).unwrap();
    let (good, text) = bttc(&[
        os("start"),
        os("--home"),
        home.as_os_str(),
        os("--password-file"),
        devnet.home("password").as_os_str(),
    ]);
    assert!(!good && text.to_lowercase().contains("genesis"), "{text}");
    std::fs::write(&genesis, original).unwrap();

    // A wrong password.
    let wrong = home.join("wrong-password");
    std::fs::write(&wrong, "not it\n").unwrap();
    let (good, text) = bttc(&[os("start"), os("--home"), home.as_os_str(), os("--password-file"), wrong.as_os_str()]);
    assert!(!good && text.to_lowercase().contains("password"), "{text}");

    // After all that it is a validator as before.
    devnet.node("start", "v3");
    let goal = height(&first).await + 2;
    until("it is back", 40, async || height(&devnet.client("v3")).await >= goal).await;
}
