//! Standing belongs to identities: streams opened again, identities made anew, peers that start again.

mod harness;

use bttc_network::{Incoming, Keypair, Lane, NetworkConfig, PROTOCOL_VERSION, Verdict};
use harness::{GOSSIP, Service, Stranger, address_of, hello, say, until, without_id, write_frame};
use std::collections::HashSet;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_opened_again_and_again_is_greeted_once() {
    let mut victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let mut stranger = Stranger::new(&address, victim.id());
    drop(stranger.greeted().await.expect("the first one is taken"));
    let (first, greet) = victim.connected().await;
    assert!(greet);
    let start = Instant::now();
    let mut open = Vec::new();
    for _ in 0..100 {
        if let Ok(mut stream) = stranger.control.open_stream(victim.id(), GOSSIP).await
            && say(&mut stream, &hello(PROTOCOL_VERSION)).await.is_some()
        {
            open.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seconds = start.elapsed().as_secs() as usize;
    let begun = victim.sessions_begun();
    let greeted = begun.iter().filter(|(_, greet)| *greet).count();
    assert!(greeted <= seconds / 5, "{greeted} further greetings in {seconds} s");
    assert!(begun.len() <= 2 + seconds / 2 + 1, "{} sessions in {seconds} s", begun.len());
    assert!(begun.iter().all(|(info, _)| info.peer == first.peer), "one number for one identity");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_stream_does_not_wash_a_peer_clean() {
    let mut victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let mut stranger = Stranger::new(&address, victim.id());
    let mut rejected = 0u8;
    let mut stream = stranger.greeted().await.expect("a stream");
    for _ in 0..3 {
        rejected += 1;
        write_frame(&mut stream, Lane::Votes, &[rejected; 8]).await;
        reject(&mut victim).await;
    }
    drop(stream);
    let mut stream = stranger.greeted().await.expect("a second stream");
    let id = stranger.id;
    until("the second session", async || victim.knows(id).await).await;
    let score = victim.handle.peers().await.iter().find(|peer| peer.id == id).map(|peer| peer.score);
    assert!(score.is_some_and(|score| score < -50), "{score:?}");
    write_frame(&mut stream, Lane::Votes, b"the last").await;
    reject(&mut victim).await;
    until("it is gone", async || !victim.knows(id).await).await;
    assert!(stranger.greeted().await.is_none(), "it is banned");
}

/// Rejects the next message.
async fn reject(victim: &mut Service) {
    let (peer, lane, number, bytes) = victim
        .next(|event| match event {
            Incoming::Message { peer, lane, number, bytes } => Some((peer, lane, number, bytes)),
            _ => None,
        })
        .await;
    victim.handle.verdict(peer, lane, number, bytes, Verdict::Reject("for the test".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_identities_of_one_address_cost_few_greetings() {
    let config = NetworkConfig { max_peers: 1_000, max_peers_per_subnet: 1_000, ..NetworkConfig::default() };
    let mut victim = Service::new(config);
    let (address, id) = (victim.address().await, victim.id());
    let start = Instant::now();
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move {
                let mut stranger = Stranger::new(&address, id);
                let stream = stranger.greeted().await;
                (stranger, stream)
            })
        })
        .collect();
    let mut held = Vec::new();
    for stranger in crowd {
        held.push(stranger.await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = victim.sessions_begun();
    let greeted = begun.iter().filter(|(_, greet)| *greet).count();
    let allowed = 8 + start.elapsed().as_secs() as usize / 2 + 1;
    assert!(greeted >= 4 && greeted <= allowed, "{greeted} greetings of {} sessions, {allowed} allowed", begun.len());
    let numbers: HashSet<u64> = begun.iter().map(|(info, _)| info.peer).collect();
    assert_eq!(numbers.len(), begun.len(), "a number for each identity");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persistent_peer_that_starts_anew_comes_back_each_time() {
    let key = Keypair::generate_ed25519();
    let place = address_of(&key);
    let mut victim = Service::new(NetworkConfig { persistent_peers: vec![place.clone()], ..NetworkConfig::default() });
    let config = NetworkConfig { persistent_peers: vec![victim.address().await], ..NetworkConfig::default() };
    let mut numbers = HashSet::new();
    for _ in 0..5 {
        let friend = Service::with_key(config.clone(), key.clone(), &without_id(&place));
        let start = Instant::now();
        until("it is back", async || victim.knows(friend.id()).await).await;
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
        numbers.extend(victim.sessions_begun().iter().map(|(info, _)| info.peer));
        drop(friend);
        until("it is gone", async || victim.sessions().await == 0).await;
    }
    assert_eq!(numbers.len(), 1);
}
