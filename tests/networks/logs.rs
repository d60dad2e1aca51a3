//! Logs that cannot be written: the reader is gone, the disk is full, the reader does not read. Lines are lost, blocks are not.

use crate::cluster::{Cluster, Plan};
use crate::harness::{height, until};
use crate::joining::client_height;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Blocks that a validator makes after its log cannot be written any more.
const BLOCKS: u64 = 40;

/// A network of one validator with many blocks.
fn one(level: &str) -> Cluster {
    let genesis = ["--param", "targetBlockTimeMs=100", "--param", "emptyBlockIntervalMs=100"];
    let settings = [("BTTC_LOG_LEVEL", level)];
    Cluster::new(&Plan { validators: 1, genesis: &genesis, settings: &settings, ..Plan::default() })
}

async fn answers(cluster: &Cluster) {
    let client = cluster.members[0].client();
    until("it answers", 60, async || client_height(&client).await.is_some()).await;
}

async fn goes_on(cluster: &mut Cluster) {
    let client = cluster.members[0].client();
    let goal = height(&client).await + BLOCKS;
    until("it goes on", 60, async || height(&client).await >= goal).await;
    assert!(cluster.members[0].is_running());
}

/// Lines that the node says it has lost.
async fn lost(cluster: &Cluster) -> u64 {
    let metrics = cluster.members[0].ops("/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("bttc_log_lines_lost_total ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_log_may_end_and_come_back() {
    let mut cluster = one("debug");
    let pipe = cluster.members[0].home.join("log.pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opened without waiting for the other side.
    let nonblocking = 0o4000;
    let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&pipe).unwrap();
    let writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    cluster.members[0].start_with(Stdio::null(), writer.into());
    answers(&cluster).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(reader);
    goes_on(&mut cluster).await;
    until("lines are counted", 30, async || lost(&cluster).await > 0).await;

    let again = File::open(&pipe).unwrap();
    let told = tokio::task::spawn_blocking(move || {
        BufReader::new(again).lines().map_while(Result::ok).find(|line| line.contains("log lines could not be written"))
    });
    let told = tokio::time::timeout(Duration::from_secs(30), told).await.expect("it tells").unwrap();
    assert!(told.is_some_and(|line| line.contains("lost=")));
    cluster.members[0].kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_the_log_only() {
    let mut cluster = one("debug");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    cluster.members[0].start_with(full.try_clone().unwrap().into(), full.into());
    answers(&cluster).await;
    goes_on(&mut cluster).await;
    assert!(lost(&cluster).await > 0);
    cluster.members[0].stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_holds_nobody_up() {
    let mut cluster = one("debug");
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // Nearly all that a pipe holds, so that the node's first lines fill it.
    writer.write_all(&[b'\n'; 60 << 10]).unwrap();
    cluster.members[0].start_with(Stdio::null(), writer.into());
    answers(&cluster).await;
    goes_on(&mut cluster).await;
    let head = height(&cluster.members[0].client()).await;
    // It ends when it is told to, with a log that cannot be written.
    let client = cluster.members[0].client();
    let stopped = tokio::task::spawn_blocking(move || {
        cluster.members[0].stop();
        cluster
    });
    let cluster = tokio::time::timeout(Duration::from_secs(60), stopped).await.expect("it ends").unwrap();
    assert!(client_height(&client).await.is_none());
    drop(cluster);
    let mut left = Vec::new();
    reader.read_to_end(&mut left).unwrap();
    let left = String::from_utf8_lossy(&left);
    assert!(left.contains("starting"), "{left}");
    assert!(!left.contains(&format!("height={head}")), "the pipe was never full: {}", left.len());
}
