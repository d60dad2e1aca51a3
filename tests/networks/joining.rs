//! A fresh node joins by a snapshot: killed twice on the way, with one source that lies.

use crate::cluster::{Cluster, Plan};
use crate::harness::{call, height, quantity, transfer, until};
use alloy_primitives::Address;
use bttc_genesis::{ChainSpec, DEV_KEYS};
use bttc_network::{Incoming, Keypair, NetworkConfig, Role};
use bttc_node::PeerRequest;
use bttc_types::SigningDomain;
use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A peer that passes on what an honest node offers, and changes the pieces. Returns its address.
async fn liar(cluster: &Cluster, lies: Arc<AtomicU64>) -> String {
    let spec = ChainSpec::from_json(&std::fs::read_to_string(cluster.genesis()).unwrap()).unwrap();
    let genesis = cluster.members[0].genesis_hash();
    let key = Keypair::generate_ed25519();
    let id = key.public().to_peer_id();
    let config = NetworkConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        persistent_peers: vec![cluster.members[0].multiaddress().parse().unwrap()],
        role: Role::Full,
        ..NetworkConfig::default()
    };
    let domain = SigningDomain::new(spec.chain_id(), genesis);
    let head = (1, genesis);
    let (handle, mut incoming, _) =
        bttc_network::start(config, key, None, domain, spec.chain_id(), genesis, head, "liar").unwrap();
    let address = loop {
        if let Some(address) = handle.listening().first() {
            break address.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::spawn(async move {
        let mut honest = None;
        let mut asked = std::collections::HashMap::new();
        let mut tag = 0;
        while let Some(event) = incoming.recv().await {
            match event {
                Incoming::Connected { info, .. } if info.role == "validator" => honest = Some(info.peer),
                Incoming::Request { id, bytes, .. } => {
                    let Some(honest) = honest else { continue };
                    tag += 1;
                    asked.insert(tag, (id, matches!(PeerRequest::decode(&bytes), Ok(PeerRequest::Pieces(..)))));
                    handle.request(honest, tag, bytes);
                }
                Incoming::Response { tag, result, .. } => {
                    let (Some((id, pieces)), Ok(mut bytes)) = (asked.remove(&tag), result) else { continue };
                    if pieces && bytes.len() > 100 {
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                        lies.fetch_add(1, Ordering::AcqRel);
                    }
                    handle.respond(id, bytes);
                }
                _ => {}
            }
        }
    });
    format!("{address}/p2p/{id}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_node_joins_by_a_snapshot_despite_kills_and_a_liar() {
    // A million in `scripts/state-sync`.
    let accounts = std::env::var("BTTC_TEST_ACCOUNTS").map_or(60_000, |count| count.parse().unwrap());
    let genesis = ["--param", "targetBlockTimeMs=100", "--param", "emptyBlockIntervalMs=100"];
    let settings = [("BTTC_STATE_SNAPSHOT_INTERVAL", "40"), ("BTTC_STATE_SNAPSHOTS_KEPT", "1000")];
    let plan = Plan { validators: 2, accounts, genesis: &genesis, settings: &settings, ..Plan::default() };
    let mut cluster = Cluster::new(&plan);
    cluster.start_all();
    let first = cluster.members[0].client();
    until("the first snapshot", 300, async || cluster.members[0].log().contains("snapshot taken")).await;
    // The state is more than the genesis block's.
    let (hash, raw) = transfer(&DEV_KEYS[1].1, 0, Address::repeat_byte(0x66), 7);
    call(&first, "eth_sendRawTransaction", json!([raw])).await;
    until("a transaction", 30, async || !call(&first, "eth_getTransactionReceipt", json!([hash])).await.is_null())
        .await;
    let at = quantity(&call(&first, "eth_getTransactionReceipt", json!([hash])).await["blockNumber"]);
    until("a later snapshot", 60, async || {
        (at..at + 41).any(|height| cluster.members[0].home.join(format!("data/snapshots/{height}")).exists())
    })
    .await;

    let lies = Arc::new(AtomicU64::new(0));
    let liar = liar(&cluster, Arc::clone(&lies)).await;
    let peers = [cluster.members[0].multiaddress(), cluster.members[1].multiaddress(), liar];
    let settings = [("BTTC_SYNC_MODE", "snapshot"), ("BTTC_LOG_LEVEL", "info,bttc::join=debug")];
    let fresh = cluster.add("fresh", &peers, &settings);
    let began = Instant::now();
    // Requests for pieces: the first ones ask for offers and for the way along the validator sets.
    let requests = |cluster: &Cluster| {
        let log = cluster.members[fresh].log();
        log.lines().filter(|line| line.contains("a request") && !line.ends_with("pieces=0")).count()
    };
    for kill in 1..=2 {
        let before = requests(&cluster);
        cluster.members[fresh].start();
        until("it is under way", 120, async || requests(&cluster) >= before + 4).await;
        assert!(cluster.members[fresh].home.join("data/joining").exists(), "it is killed before it is done");
        cluster.members[fresh].kill();
        let log = cluster.members[fresh].log();
        assert_eq!(log.matches("going on with the snapshot").count(), kill - 1, "it goes on where it was");
    }
    cluster.members[fresh].start();
    let client = cluster.members[fresh].client();
    until("it has joined", 300, async || cluster.members[fresh].log().contains("the snapshot is complete")).await;
    eprintln!("joined {accounts} accounts after {} s", began.elapsed().as_secs());
    until("it answers", 60, async || client_height(&client).await.is_some()).await;
    let goal = height(&first).await;
    until("it follows the chain", 60, async || height(&client).await >= goal).await;
    assert!(lies.load(Ordering::Acquire) > 0, "the liar was never asked");
    assert!(cluster.members[fresh].log().contains("a source of the snapshot lied"), "the lie was not seen");

    // It knows what happened before it joined, and takes part in what comes.
    let balance = async |client, address: Address| call(client, "eth_getBalance", json!([address, "latest"])).await;
    let sample = alloy_primitives::keccak256(77u64.to_be_bytes());
    for address in [Address::repeat_byte(0x66), DEV_KEYS[1].0, Address::from_slice(&sample[..20])] {
        assert_eq!(balance(&client, address).await, balance(&first, address).await);
    }
    assert_eq!(quantity(&balance(&client, Address::repeat_byte(0x66)).await), 7);
    let (hash, raw) = transfer(&DEV_KEYS[2].1, 0, Address::repeat_byte(0x66), 7);
    call(&client, "eth_sendRawTransaction", json!([raw])).await;
    until("its own transaction", 30, async || {
        !call(&client, "eth_getTransactionReceipt", json!([hash])).await.is_null()
    })
    .await;
    let status = call(&client, "bttc_status", json!([])).await;
    assert!(quantity(&status["lowestState"]) >= 40, "{status}");
    // The whole of it, from the flat records.
    cluster.members[fresh].stop();
    let check = Command::new(env!("CARGO_BIN_EXE_bttc"))
        .args(["db", "check", "--home"])
        .arg(&cluster.members[fresh].home)
        .output();
    let check = check.unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

/// A node's height, if it answers.
pub(crate) async fn client_height(client: &jsonrpsee::http_client::HttpClient) -> Option<u64> {
    use jsonrpsee::core::client::ClientT;
    let height: Result<String, _> = client.request("eth_blockNumber", jsonrpsee::rpc_params![]).await;
    height.ok().map(|text| quantity(&json!(text)))
}
