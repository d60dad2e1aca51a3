//! One peer's flood of transactions and another's few.

mod harness;

use bttc_network::{Incoming, Lane, NetworkConfig};
use harness::{Service, until};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_transactions_does_not_displace_those_of_others() {
    const HONEST: u32 = 3_000;
    let mut victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let (flooding, honest) = (Service::dialling(address.clone()), Service::dialling(address));
    until("both are there", async || victim.sessions().await == 2).await;
    let flood = flooding.handle.clone();
    let flooder = tokio::spawn(async move {
        // The most that a peer may send, from before the first to after the last of the others.
        for round in 0..u32::MAX {
            for index in 0..400 {
                flood.broadcast(
                    Lane::Transactions,
                    [&b"flood"[..], &(round * 400 + index).to_be_bytes(), &[1; 90]].concat(),
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut batch = Vec::new();
    let (mut floods, mut came, mut sent) = (0u32, 0u32, 0u32);
    until("the queue is full", async || victim.transactions.len() >= 4_000).await;
    let start = Instant::now();
    while came < HONEST && start.elapsed() < Duration::from_secs(20) {
        for _ in 0..50.min(HONEST - sent) {
            honest.handle.broadcast(Lane::Transactions, [&b"honest"[..], &sent.to_be_bytes(), &[2; 90]].concat());
            sent += 1;
        }
        // A node that takes in 5,000 a second.
        victim.transactions.recv_many(&mut batch, 250).await;
        for event in batch.drain(..) {
            let Incoming::Message { bytes, .. } = event else { continue };
            if bytes.starts_with(b"honest") { came += 1 } else { floods += 1 }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    flooder.abort();
    assert!(floods > came, "there was a flood: {floods}");
    assert!(came * 100 >= HONEST * 95, "{came} of {HONEST} came through beside {floods}");
}
