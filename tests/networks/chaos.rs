//! Validators that are killed, paused, cut off and run out of disk, one at a time, while clients send and count.

use crate::cluster::{Cluster, Plan, is_root, run};
use crate::harness::{quantity, transfer, until};
use alloy_primitives::{Address, B256};
use bttc_genesis::DEV_KEYS;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::http_client::HttpClient;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A call to a node that may be dead.
async fn ask(client: &HttpClient, method: &str, params: Value) -> Result<Value, String> {
    let list: Vec<Value> = params.as_array().cloned().unwrap_or_default();
    client.request(method, list).await.map_err(|error| error.to_string())
}

async fn height_of(client: &HttpClient) -> Option<u64> {
    ask(client, "eth_blockNumber", json!([])).await.ok().map(|value| quantity(&value))
}

/// Sends an account's transfers, each to some node and again to others until one accepts it. Returns what was accepted.
async fn submit(clients: Vec<HttpClient>, account: usize, stop: Arc<AtomicBool>) -> Vec<B256> {
    let mut rng = ChaCha8Rng::seed_from_u64(account as u64);
    let mut accepted = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let nonce = accepted.len() as u64;
        let (hash, raw) = transfer(&DEV_KEYS[account].1, nonce, Address::repeat_byte(0x77), 1);
        loop {
            let client = &clients[rng.random_range(0..clients.len())];
            match ask(client, "eth_sendRawTransaction", json!([raw])).await {
                Ok(answer) => assert_eq!(answer, json!(hash)),
                Err(error) if error.contains("already known") || error.contains("nonce too low") => {}
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            }
            break;
        }
        accepted.push(hash);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    accepted
}

/// A small file system as a node's data folder.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(path: PathBuf, megabytes: u32) -> Self {
        let size = format!("size={megabytes}m");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path));
        Self(path)
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 20, 4_096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn clear(&self) {
        let _ = std::fs::remove_file(self.0.join("filler"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// The faults, one at a time, each healed before the next. Whoever was away for so long that it is in jail is taken out of it.
/// Gives the transactions that did so.
async fn storm(
    cluster: &mut Cluster,
    clients: &[HttpClient],
    disk: &SmallDisk,
    full: usize,
    until_then: Instant,
) -> Vec<B256> {
    let mut unjailed = Vec::new();
    let seed = std::env::var("BTTC_CHAOS_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut turn = 0;
    while Instant::now() < until_then {
        let index = rng.random_range(0..clients.len());
        let pause = Duration::from_millis(rng.random_range(500..6_000));
        // Each kind comes early, then by chance.
        let kind = if turn < 5 { turn } else { rng.random_range(0..5) };
        turn += 1;
        let (name, index) = match kind {
            0 => ("kill", index),
            1 => ("pause", index),
            2 => ("partition", index),
            3 => ("full disk", full),
            _ => ("stop", index),
        };
        *counts.entry(name).or_default() += 1;
        match kind {
            0 => {
                cluster.members[index].kill();
                tokio::time::sleep(pause).await;
                cluster.members[index].start();
            }
            1 => {
                cluster.members[index].pause();
                tokio::time::sleep(pause).await;
                cluster.members[index].resume();
            }
            2 => {
                cluster.set_link(index, false);
                tokio::time::sleep(pause).await;
                cluster.set_link(index, true);
            }
            3 => {
                disk.fill();
                until("a node with a full disk stops", 60, async || !cluster.members[index].is_running()).await;
                let log = cluster.members[index].log_tail(40);
                assert!(log.contains("make room") || log.contains("No space left"), "it says why: {log}");
                tokio::time::sleep(pause).await;
                disk.clear();
                cluster.members[index].start();
            }
            _ => {
                cluster.members[index].stop();
                tokio::time::sleep(pause).await;
                cluster.members[index].start();
            }
        }
        // The others have gone on, and the node comes back by itself.
        let other = &clients[(index + 1) % clients.len()];
        let goal = height_of(other).await.unwrap_or(0) + 3;
        let what = format!("{name} of node {index}: it is back at height {goal}");
        until(&what, 120, async || height_of(&clients[index]).await.is_some_and(|height| height >= goal)).await;
        let rpc = cluster.members[index].rpc.clone();
        unjailed.extend(cluster.members.iter().filter_map(|member| member.unjail(&rpc)));
    }
    eprintln!("faults: {counts:?}, {} times out of jail", unjailed.len());
    unjailed
}

/// Every accepted transaction is in exactly one block, the same on all nodes.
async fn count(clients: &[HttpClient], accepted: &[B256]) {
    let mut wanted: HashMap<Value, u32> = accepted.iter().map(|hash| (json!(hash), 0)).collect();
    let head = height_of(&clients[0]).await.unwrap();
    for number in 1..=head {
        let params = json!([format!("0x{number:x}"), false]);
        let first = ask(&clients[0], "eth_getBlockByNumber", params.clone()).await.unwrap();
        for client in &clients[1..] {
            let other = ask(client, "eth_getBlockByNumber", params.clone()).await.unwrap();
            assert_eq!(other, first, "block {number}");
        }
        for hash in first["transactions"].as_array().unwrap() {
            *wanted.get_mut(hash).unwrap_or_else(|| panic!("nobody sent {hash}")) += 1;
        }
    }
    assert!(wanted.values().all(|times| *times == 1), "a transaction is final twice or not at all");
    for client in clients {
        for hash in accepted.iter().step_by(7) {
            let receipt = ask(client, "eth_getTransactionReceipt", json!([hash])).await.unwrap();
            assert_eq!(receipt["status"], "0x1", "{hash}");
        }
    }
}

/// A minute in `scripts/test`, ten in `scripts/chaos`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_loses_nothing_and_repeats_nothing() {
    if !is_root() {
        eprintln!("SKIPPED chaos_loses_nothing_and_repeats_nothing: network namespaces and mounts need root");
        return;
    }
    let seconds = std::env::var("BTTC_CHAOS_SECONDS").map_or(40, |text| text.parse().unwrap());
    let settings = [
        ("BTTC_STATE_SNAPSHOT_INTERVAL", "0"),
        ("BTTC_STATE_WRITE_BUFFER_BYTES", "4194304"),
        ("BTTC_NODE_MIN_FREE_DISK_BYTES", "8388608"),
    ];
    let plan = Plan { validators: 4, namespaces: true, settings: &settings, ..Plan::default() };
    let mut cluster = Cluster::new(&plan);
    let full = 3;
    let disk = SmallDisk::new(cluster.members[full].home.join("data"), 400);
    cluster.start_all();
    let clients: Vec<HttpClient> = cluster.members.iter().map(crate::cluster::Member::client).collect();
    for client in &clients {
        until("the first blocks", 60, async || height_of(client).await.is_some_and(|height| height > 2)).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> =
        (0..3).map(|account| tokio::spawn(submit(clients.clone(), account, Arc::clone(&stop)))).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut accepted = storm(&mut cluster, &clients, &disk, full, end).await;

    // More than a third away: nothing is final until they are back, whether they are cut off or stand still.
    for cut in [true, false] {
        for index in [1, 2] {
            if cut { cluster.set_link(index, false) } else { cluster.members[index].pause() }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stuck = height_of(&clients[0]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(height_of(&clients[0]).await, Some(stuck), "two of four must not finalize anything");
        for index in [1, 2] {
            if cut { cluster.set_link(index, true) } else { cluster.members[index].resume() }
        }
        for client in &clients {
            until("all go on", 90, async || height_of(client).await.is_some_and(|height| height > stuck + 3)).await;
        }
    }

    stop.store(true, Ordering::Release);
    for sender in senders {
        accepted.extend(sender.await.unwrap());
    }
    for client in &clients {
        for hash in &accepted {
            until("every accepted transaction is final", 60, async || {
                ask(client, "eth_getTransactionReceipt", json!([hash])).await.is_ok_and(|receipt| !receipt.is_null())
            })
            .await;
        }
    }
    count(&clients, &accepted).await;
    for client in &clients {
        let status = ask(client, "bttc_status", json!([])).await.unwrap();
        assert_eq!(status["signing"], "ready", "{status}");
    }
    for member in &cluster.members {
        let log = member.log();
        assert!(!log.contains("equivocat") && !log.contains("a signature was refused"), "{}", member.name);
    }
    eprintln!("{} transactions accepted, each final once on {} nodes", accepted.len(), clients.len());
    cluster.members[full].kill();
    drop(disk);
}
