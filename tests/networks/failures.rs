//! What machines do to a validator: ports in use, clocks that are off, logs and databases that are damaged, sentries
//! that die.

use crate::cluster::{Cluster, Plan};
use crate::harness::{call, height, until};
use serde_json::json;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Starts a member that must end by itself, and returns what it said.
async fn fails(cluster: &mut Cluster, index: usize) -> String {
    let before = cluster.members[index].log().len();
    cluster.members[index].start();
    until("it ends by itself", 60, async || !cluster.members[index].is_running()).await;
    cluster.members[index].log()[before..].to_owned()
}

/// Whether a validator's signature is in a certificate from `from` on.
async fn signs_after(cluster: &Cluster, observer: usize, index: usize, from: u64) -> bool {
    let client = cluster.members[observer].client();
    let own = call(&cluster.members[index].client(), "bttc_status", json!([])).await["validator"].clone();
    let head = height(&client).await;
    for number in (from..=head).rev().take(20) {
        let certificate = call(&client, "bttc_certificate", json!([format!("0x{number:x}")])).await;
        if certificate["signatures"].as_array().is_some_and(|all| all.iter().any(|entry| entry["validator"] == own)) {
            return true;
        }
    }
    false
}

async fn signing(cluster: &Cluster, index: usize) -> String {
    let status = call(&cluster.members[index].client(), "bttc_status", json!([])).await;
    status["signing"].as_str().unwrap_or_default().to_owned()
}

async fn running(plan: &Plan<'_>) -> Cluster {
    let mut cluster = Cluster::new(plan);
    cluster.start_all();
    for member in &cluster.members {
        let client = member.client();
        until("it answers", 60, async || {
            use jsonrpsee::core::client::ClientT;
            client
                .request::<String, _>("eth_blockNumber", jsonrpsee::rpc_params![])
                .await
                .is_ok_and(|head| head != "0x0")
        })
        .await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named() {
    let mut cluster = Cluster::new(&Plan { validators: 1, ..Plan::default() });
    for key in ["BTTC_RPC_LISTEN", "BTTC_OPS_LISTEN", "BTTC_P2P_LISTEN"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let value =
            if key == "BTTC_P2P_LISTEN" { format!("/ip4/127.0.0.1/tcp/{port}") } else { format!("127.0.0.1:{port}") };
        let index = cluster.add(&format!("f{}", cluster.members.len()), &[], &[(key, &value)]);
        let said = fails(&mut cluster, index).await;
        assert!(said.contains(&port.to_string()) && said.to_lowercase().contains("in use"), "{key}: {said}");
    }
}

/// The library of Debian's package `faketime`, which shifts the clock of a process.
fn faketime() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let paths = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    paths.into_iter().find(|path| path.exists()).map(|path| path.display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_two_minutes_off_stops_nobody_and_is_told() {
    let Some(library) = faketime() else {
        eprintln!("SKIPPED a_clock_two_minutes_off_stops_nobody_and_is_told: faketime is not installed");
        return;
    };
    let mut cluster = running(&Plan { validators: 4, ..Plan::default() }).await;
    for offset in ["+120s", "-120s"] {
        cluster.members[3].stop();
        cluster.members[3].set("LD_PRELOAD", &library);
        cluster.members[3].set("FAKETIME", offset);
        cluster.members[3].set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let from = cluster.members[3].log().len();
        cluster.members[3].start();
        let first = cluster.members[0].client();
        let start = height(&first).await;
        until("the others go on", 90, async || height(&first).await > start + 12).await;
        until("it says that its clock is off", 60, async || {
            cluster.members[3].log()[from..].contains("this machine's clock is off")
        })
        .await;
        assert!(!cluster.members[0].log().contains("this machine's clock is off"), "the others do not doubt theirs");
        let head = height(&first).await;
        until("it follows", 60, async || height(&cluster.members[3].client()).await >= head).await;
    }
    // With the right time again it is a validator as before.
    cluster.members[3].stop();
    cluster.members[3].set("LD_PRELOAD", "");
    cluster.members[3].start();
    let head = height(&cluster.members[0].client()).await;
    until("it follows", 60, async || {
        crate::joining::client_height(&cluster.members[3].client()).await.is_some_and(|height| height > head)
    })
    .await;
    until("it signs", 60, async || signs_after(&cluster, 0, 3, head + 1).await).await;
}

/// Flips a byte in the middle of a file.
fn flip(path: &Path) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], middle).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(bytes)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_consensus_log_is_cut_or_turns_signing_off() {
    let mut cluster = running(&Plan { validators: 4, ..Plan::default() }).await;
    let first = cluster.members[0].client();
    let wal = cluster.members[3].home.join("data/consensus.wal");

    // Two of four are down, so that the height does not end and the log holds records of it.
    cluster.members[1].kill();
    cluster.members[2].kill();
    tokio::time::sleep(Duration::from_secs(3)).await;

    // A power cut in the middle of a record: the tail is cut, that is said, and the node signs.
    cluster.members[3].kill();
    let mut bytes = std::fs::read(&wal).unwrap();
    bytes.extend_from_slice(&[0, 0, 1, 0, 7, 7, 7]);
    std::fs::write(&wal, bytes).unwrap();
    cluster.members[3].start();
    until("it says so", 60, async || cluster.members[3].log().contains("torn_bytes=7")).await;
    until("it answers", 60, async || crate::joining::client_height(&cluster.members[3].client()).await.is_some()).await;
    assert_eq!(signing(&cluster, 3).await, "ready");

    // Damage before the end.
    cluster.members[3].kill();
    let mut bytes = std::fs::read(&wal).unwrap();
    assert!(bytes.len() > 200, "the log holds records: {} bytes", bytes.len());
    bytes[60] ^= 0x40;
    std::fs::write(&wal, bytes).unwrap();
    cluster.members[3].start();
    until("it answers", 60, async || crate::joining::client_height(&cluster.members[3].client()).await.is_some()).await;
    until("it says that it does not sign", 30, async || signing(&cluster, 3).await.starts_with("off")).await;
    assert!(cluster.members[3].log().contains("is damaged at byte"), "{}", cluster.members[3].log_tail(30));
    // The others go on without it, and it follows.
    cluster.start_all();
    let stuck = height(&first).await;
    until("the chain goes on", 90, async || height(&first).await > stuck + 4).await;
    let goal = height(&first).await;
    until("it follows without signing", 60, async || height(&cluster.members[3].client()).await >= goal).await;
    assert!(signing(&cluster, 3).await.starts_with("off"));
    // Past that height, a start makes it a validator again.
    cluster.members[3].stop();
    cluster.members[3].start();
    until("it signs again", 90, async || {
        crate::joining::client_height(&cluster.members[3].client()).await.is_some()
            && signs_after(&cluster, 0, 3, goal + 1).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_never_believed() {
    let mut cluster = running(&Plan { validators: 4, ..Plan::default() }).await;
    let first = cluster.members[0].client();
    until("some blocks", 60, async || height(&first).await > 10).await;
    let database = cluster.members[3].home.join("data/db");
    // A second start writes what was in the log to table files.
    cluster.members[3].stop();
    cluster.members[3].start();
    until("it answers", 60, async || crate::joining::client_height(&cluster.members[3].client()).await.is_some()).await;
    cluster.members[3].stop();
    let copy = cluster.members[3].home.join("copy");
    let restore = |from: &Path| {
        let _ = std::fs::remove_dir_all(&database);
        crate::cluster::run(Command::new("cp").arg("-r").arg(from).arg(&database));
    };
    crate::cluster::run(Command::new("cp").arg("-r").arg(&database).arg(&copy));
    let files = |end: &str| -> Vec<std::path::PathBuf> {
        let names = std::fs::read_dir(&copy).unwrap().flatten().map(|entry| entry.path());
        names.filter(|path| path.to_string_lossy().ends_with(end)).collect()
    };
    let tables = files(".sst");
    assert!(!tables.is_empty(), "there are table files");
    let (mut refused, mut harmless) = (0, 0);
    for (damage, path) in tables
        .iter()
        .flat_map(|path| [("flip", path), ("cut", path)])
        .chain(files("CURRENT").iter().map(|path| ("cut", path)).chain(files("000").iter().map(|path| ("cut", path))))
        .map(|(damage, path)| (damage, path.clone()))
        .collect::<Vec<_>>()
    {
        restore(&copy);
        let target = database.join(path.file_name().unwrap());
        match damage {
            "flip" => flip(&target),
            _ => cut(&target, 5),
        }
        // The check sees it without the node.
        let check = Command::new(env!("CARGO_BIN_EXE_bttc"))
            .args(["db", "check", "--home"])
            .arg(&cluster.members[3].home)
            .output()
            .unwrap();
        let said = [check.stdout, check.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if check.status.success() {
            // Nothing that the state needs was hit: a bloom filter, an index that is rebuilt, history.
            harmless += 1;
        } else {
            refused += 1;
            assert!(said.len() > 40, "{damage} of {}: {said}", path.display());
        }
    }
    eprintln!("{refused} kinds of damage refused, {harmless} without effect on the state");
    assert!(refused > 0);

    // A database that does not open: the message says what to do, and that works.
    restore(&copy);
    std::fs::write(database.join("CURRENT"), "MANIFEST-999999\n").unwrap();
    let said = fails(&mut cluster, 3).await;
    assert!(said.contains("move") && said.contains("fetches the chain from its peers"), "{said}");
    std::fs::rename(&database, cluster.members[3].home.join("damaged")).unwrap();
    let head = height(&first).await;
    cluster.members[3].start();
    until("it has the chain again", 90, async || {
        crate::joining::client_height(&cluster.members[3].client()).await.is_some_and(|height| height > head)
    })
    .await;
    until("and signs", 90, async || signs_after(&cluster, 0, 3, head + 1).await).await;
    assert!(!cluster.members[0].log().contains("equivocat"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_behind_two_sentries_signs_when_one_dies() {
    let mut cluster = Cluster::new(&Plan { validators: 4, ..Plan::default() });
    let peers: Vec<String> = cluster.members.iter().map(crate::cluster::Member::multiaddress).collect();
    let hidden = cluster.members[0].peer_id.clone();
    let mut sentries = Vec::new();
    for name in ["sentry-a", "sentry-b"] {
        let settings = [("BTTC_NODE_ROLE", "sentry"), ("BTTC_P2P_PRIVATE_PEERS", hidden.as_str())];
        sentries.push(cluster.add(name, &peers, &settings));
    }
    let addresses: Vec<String> = sentries.iter().map(|index| cluster.members[*index].multiaddress()).collect();
    cluster.members[0].set("BTTC_P2P_PERSISTENT_PEERS", &addresses.join(","));
    // The other validators do not know it.
    for index in 1..4 {
        let others: Vec<&str> = (1..4).filter(|other| *other != index).map(|other| peers[other].as_str()).collect();
        cluster.members[index].set("BTTC_P2P_PERSISTENT_PEERS", &others.join(","));
    }
    cluster.start_all();
    for index in 0..cluster.members.len() {
        let client = cluster.members[index].client();
        until("blocks", 90, async || crate::joining::client_height(&client).await.is_some_and(|height| height > 3))
            .await;
    }
    until("it signs", 60, async || signs_after(&cluster, 1, 0, 1).await).await;
    let known = call(&cluster.members[0].client(), "bttc_peers", json!([])).await;
    assert_eq!(known.as_array().map(Vec::len), Some(2), "it has its sentries for peers: {known}");
    cluster.members[sentries[0]].kill();
    let head = height(&cluster.members[1].client()).await;
    until("the chain goes on", 60, async || height(&cluster.members[1].client()).await > head + 8).await;
    assert!(signs_after(&cluster, 1, 0, head + 3).await, "it signs through the other sentry");
    // And when that one dies too, the other three go on alone; it comes back with its sentries.
    cluster.members[sentries[1]].kill();
    let head = height(&cluster.members[1].client()).await;
    until("three go on", 90, async || height(&cluster.members[1].client()).await > head + 4).await;
    cluster.start_all();
    let head = height(&cluster.members[1].client()).await;
    until("it signs again", 90, async || signs_after(&cluster, 1, 0, head + 1).await).await;
}
