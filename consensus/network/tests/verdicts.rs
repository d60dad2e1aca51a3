//! What waits for a verdict: little of each peer, nothing of a banned one, and all that honest peers say.

mod harness;

use bttc_network::{Incoming, Lane, NetworkConfig, Ticket, Verdict};
use futures::AsyncWriteExt;
use harness::{Service, Stranger, until};
use std::time::{Duration, Instant};

/// Messages of a peer that may wait for the engine's verdict.
const UNJUDGED: usize = 64;

fn reject() -> Verdict {
    Verdict::Reject("for the test".into())
}

/// Writes all these in one go, though the other side may hang up meanwhile.
async fn write_at_once(stream: &mut libp2p::Stream, lane: Lane, messages: impl Iterator<Item = Vec<u8>>) {
    let frames = messages.flat_map(|message| {
        let mut frame = vec![lane as u8];
        frame.extend((message.len() as u32).to_be_bytes());
        frame.extend(message);
        frame
    });
    let bytes: Vec<u8> = frames.collect();
    let _ = stream.write_all(&bytes).await;
    let _ = stream.flush().await;
}

impl Service {
    /// The next message that is no transaction: its sender, its ticket and its bytes.
    async fn message(&mut self) -> (u64, Ticket, Vec<u8>) {
        self.next(|event| match event {
            Incoming::Message { peer, number, bytes, .. } => Some((peer, number, bytes)),
            _ => None,
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_banned_is_gone_before_its_flood_is_judged() {
    let mut victim = Service::new(NetworkConfig::default());
    let mut stranger = Stranger::new(&victim.address().await, victim.id());
    let mut stream = stranger.greeted().await.expect("hellos are exchanged");
    let votes = (0..5_000u32).map(|index| [&index.to_be_bytes()[..], &[7; 160]].concat());
    let flood = tokio::spawn(async move {
        write_at_once(&mut stream, Lane::Votes, votes).await;
        stream
    });
    let (mut delivered, mut judged, mut gone) = (0, 0, false);
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(2), victim.incoming.recv()).await {
        match event.expect("the service runs") {
            Incoming::Message { peer, lane, number, bytes } => {
                delivered += 1;
                if !number.is_void() {
                    judged += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    victim.handle.verdict(peer, lane, number, bytes, reject());
                }
            }
            Incoming::Disconnected(_) => gone = true,
            _ => {}
        }
    }
    assert!(gone && victim.sessions().await == 0);
    assert!((4..=UNJUDGED + 4).contains(&delivered), "{delivered} delivered");
    assert!(judged <= delivered.min(40), "{judged} judged of {delivered}");
    drop(flood.await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_too_busy_makes_its_peers_wait() {
    let mut victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let (fast, other) = (Service::dialling(address.clone()), Service::dialling(address));
    until("both are there", async || victim.sessions().await == 2).await;
    for index in 0..20_000u32 {
        // More than all the queues between the two hold: the oldest go in the sender's outbox.
        fast.handle.broadcast(Lane::Votes, [&index.to_be_bytes()[..], &[3; 200]].concat());
        if index % 1_000 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut held = Vec::new();
    for _ in 0..UNJUDGED {
        held.push(victim.message().await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(victim.incoming.len(), 0, "no more of it waits");
    other.handle.broadcast(Lane::Votes, vec![9; 20]);
    let (_, _, bytes) = victim.message().await;
    assert_eq!(bytes, [9; 20], "nobody else waits");
    let (_, number, _) = held.remove(0);
    drop(number);
    let (peer, ..) = victim.message().await;
    assert_eq!(peer, held[0].0, "one is judged, one comes");
    until("the sender drops its oldest votes", async || fast.handle.peers().await[0].dropped > 0).await;
    // The newest vote is not the one that is lost.
    held.clear();
    while victim.vote().await[..4] != 19_999u32.to_be_bytes() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_banned_peer_said_counts_when_another_says_it() {
    let mut victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let honest = Service::dialling(address.clone());
    let mut stranger = Stranger::new(&address, victim.id());
    let mut stream = stranger.greeted().await.expect("hellos are exchanged");
    until("both are there", async || victim.sessions().await == 2).await;
    let words = (0..4u8).map(|index| vec![index; 8]).chain([b"true".to_vec()]);
    write_at_once(&mut stream, Lane::Votes, words).await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(victim.message().await);
    }
    let (_, last, _) = messages.pop().unwrap();
    assert!(!last.is_void());
    for (peer, number, bytes) in messages {
        victim.handle.verdict(peer, Lane::Votes, number, bytes, reject());
    }
    until("it is gone", async || victim.sessions().await == 1).await;
    assert!(last.is_void(), "nothing of it is worth a look");
    drop(last);
    // The service hears of the dropped ticket before it answers.
    victim.handle.peers().await;
    honest.handle.broadcast(Lane::Votes, b"true".to_vec());
    assert_eq!(victim.vote().await, b"true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_of_a_banned_peer_wait_no_more() {
    let mut victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let honest = Service::dialling(address.clone());
    let mut stranger = Stranger::new(&address, victim.id());
    let mut stream = stranger.greeted().await.expect("hellos are exchanged");
    until("both are there", async || victim.sessions().await == 2).await;
    let flood = |index: u32| [&b"flood"[..], &index.to_be_bytes(), &[1; 60]].concat();
    write_at_once(&mut stream, Lane::Transactions, (0..2_000).map(flood)).await;
    until("they wait", async || victim.transactions.len() == 2_000).await;
    honest.handle.broadcast(Lane::Transactions, vec![5; 60]);
    until("another's waits, too", async || victim.transactions.len() == 2_001).await;
    for _ in 0..4 {
        let Some(Incoming::Message { peer, lane, number, bytes }) = victim.transactions.try_recv() else { panic!() };
        if bytes.starts_with(b"flood") {
            victim.handle.verdict(peer, lane, number, bytes, reject());
        }
    }
    let Some(Incoming::Message { peer, lane, number, bytes }) = victim.transactions.try_recv() else { panic!() };
    victim.handle.verdict(peer, lane, number, bytes, reject());
    until("they are forgotten", async || victim.transactions.is_empty()).await;
    // They count when another peer sends them.
    honest.handle.broadcast(Lane::Transactions, flood(1_999));
    let again = tokio::time::timeout(harness::WAIT, victim.transactions.recv()).await;
    let Ok(Some(Incoming::Message { bytes, .. })) = again else { panic!() };
    assert_eq!(bytes, flood(1_999));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_burst_comes_through_whole() {
    const VOTES: u32 = 200;
    const ATTESTATIONS: u32 = 512;
    const TRANSACTIONS: u32 = 2_000;
    let Service { handle, mut incoming, mut transactions } = Service::new(NetworkConfig::default());
    until("it listens", async || !handle.listening().is_empty()).await;
    let peer = Service::dialling(handle.listening()[0].clone());
    until("it is there", async || !handle.peers().await.is_empty() && peer.sessions().await == 1).await;
    let start = Instant::now();
    let say = |lane, count: u32, length: usize| {
        for index in 0..count {
            peer.handle.broadcast(lane, [&index.to_be_bytes()[..], &vec![1; length]].concat());
        }
    };
    say(Lane::Transactions, TRANSACTIONS, 110);
    say(Lane::Attestations, ATTESTATIONS, 150);
    // A block of 8 MiB.
    say(Lane::Proposals, 128, 65_536);
    say(Lane::Votes, VOTES, 160);
    // A node that takes 100 microseconds for each.
    let judge = handle.clone();
    let engine = tokio::task::spawn_blocking(move || {
        let (mut counts, mut voted) = ([0u32; 3], Duration::ZERO);
        while counts != [128, VOTES, ATTESTATIONS] && start.elapsed() < Duration::from_secs(20) {
            let Ok(event) = incoming.try_recv() else { continue };
            let Incoming::Message { peer, lane, number, bytes } = event else { continue };
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(100) {}
            match lane {
                Lane::Proposals => counts[0] += 1,
                Lane::Votes => {
                    counts[1] += 1;
                    voted = start.elapsed();
                }
                _ => counts[2] += 1,
            }
            judge.verdict(peer, lane, number, bytes, Verdict::Accept);
        }
        (counts, voted)
    });
    let (mut batch, mut taken) = (Vec::new(), 0);
    while taken < TRANSACTIONS {
        let more = tokio::time::timeout(harness::WAIT, transactions.recv_many(&mut batch, 256)).await;
        taken += more.expect("all transactions come") as u32;
        batch.clear();
    }
    let (counts, voted) = engine.await.unwrap();
    assert_eq!(counts, [128, VOTES, ATTESTATIONS], "nothing is lost");
    assert!(voted < Duration::from_secs(3), "the votes took {voted:?}");
    assert_eq!(peer.handle.peers().await[0].dropped, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_end_are_read_at_a_bounded_rate() {
    let mut victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let honest = Service::dialling(address.clone());
    let mut stranger = Stranger::new(&address, victim.id());
    let mut stream = stranger.greeted().await.expect("hellos are exchanged");
    until("both are there", async || victim.sessions().await == 2).await;
    // Empty ones: nothing is shorter.
    let frames = [0u8; 5 * 200];
    let (start, mut written) = (Instant::now(), 0usize);
    while start.elapsed() < Duration::from_secs(2) {
        let Ok(Ok(count)) = tokio::time::timeout(Duration::from_millis(100), stream.write(&frames)).await else {
            continue;
        };
        written += count;
    }
    // Half a second's at once, and what the stream itself holds.
    let bound = 13_300.0 * (0.5 + start.elapsed().as_secs_f64()) + f64::from(512 << 10) / 5.0;
    assert!((written as f64 / 5.0) < bound, "{} frames in {:?}, not {bound}", written / 5, start.elapsed());
    assert!(victim.handle.peers().await.iter().all(|peer| peer.score == 0), "nobody is blamed");
    honest.handle.broadcast(Lane::Votes, vec![5; 20]);
    // Others are heard as ever.
    let heard = async { while victim.vote().await != [5; 20] {} };
    assert!(tokio::time::timeout(Duration::from_secs(2), heard).await.is_ok());
}
