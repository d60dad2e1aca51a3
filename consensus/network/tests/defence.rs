//! What strangers may try against a real service on loopback: rubbish, floods, silence, numbers.

mod harness;

use bttc_network::{Incoming, Lane, NetworkConfig};
use futures::AsyncWriteExt;
use harness::{Service, Stranger, is_closed, until};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_closes_the_stream_and_nothing_else() {
    let mut victim = Service::new(NetworkConfig { ban_ms: 1_500, ..NetworkConfig::default() });
    let address = victim.address().await;
    let id = victim.handle.local_peer_id();
    let honest = Service::dialling(address.clone());
    until("the honest peer is there", async || victim.sessions().await == 1).await;

    // Instead of a hello: nothing that decodes, and a length that nobody should allocate.
    for rubbish in
        [vec![0xff; 64], [&u32::MAX.to_be_bytes()[..], &[0; 60]].concat(), [&8u32.to_be_bytes()[..], &[7; 8]].concat()]
    {
        let mut stranger = Stranger::new(&address, id);
        let mut stream = stranger.open().await.expect("a stream");
        stream.write_all(&rubbish).await.unwrap();
        stream.flush().await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    // After a hello: an unknown lane, a frame larger than its lane allows.
    let too_long = (Lane::Votes.max_message() as u32 + 1).to_be_bytes();
    for frame in [[&[200u8][..], &4u32.to_be_bytes(), &[0; 4]].concat(), [&[0u8][..], &too_long].concat()] {
        let mut stranger = Stranger::new(&address, id);
        let mut stream = stranger.greeted().await.expect("hellos are exchanged");
        stream.write_all(&frame).await.unwrap();
        stream.flush().await.unwrap();
        assert!(is_closed(&mut stream).await);
        // It is banned for a while, and only for a while.
        assert!(stranger.greeted().await.is_none(), "it is banned");
        tokio::time::sleep(Duration::from_millis(1_600)).await;
        let mut again = Stranger::new(&address, id);
        assert!(again.greeted().await.is_some(), "others of its kind are not");
    }
    honest.handle.broadcast(Lane::Votes, vec![1, 2, 3]);
    assert_eq!(victim.vote().await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_loses_messages_and_nobody_waits_for_them() {
    let victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let mut honest = Service::dialling(address.clone());
    let mut stranger = Stranger::new(&address, victim.handle.local_peer_id());
    let _unread = stranger.greeted().await.expect("hellos are exchanged");
    until("both are there", async || victim.sessions().await == 2).await;
    // 40 MiB for everybody: more than a peer's queue holds.
    for index in 0..600u32 {
        let mut part = vec![7; 65_536];
        part[..4].copy_from_slice(&index.to_be_bytes());
        victim.handle.broadcast(Lane::Proposals, part);
        if index % 100 == 0 {
            victim.handle.broadcast(Lane::Votes, index.to_be_bytes().to_vec());
            assert_eq!(honest.vote().await, index.to_be_bytes());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let peers = victim.handle.peers().await;
    let slow = peers.iter().find(|peer| peer.agent == "stranger").expect("it is still connected");
    let bound = Lane::Proposals.queue_bytes() / 65_536;
    assert!(slow.dropped as usize >= 600 - bound - 80, "{} dropped", slow.dropped);
    assert_eq!(peers.iter().find(|peer| peer.agent == "test").map(|peer| peer.dropped), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_pass_a_queue_full_of_transactions() {
    // What may wait of one peer.
    const QUEUE: usize = 4_096;
    let mut victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let (first, second) = (Service::dialling(address.clone()), Service::dialling(address));
    until("both are there", async || victim.sessions().await == 2).await;
    for index in 0..QUEUE as u32 + 2_000 {
        first.handle.broadcast(Lane::Transactions, [&index.to_be_bytes()[..], &[9; 60]].concat());
    }
    until("the queue is full", async || victim.transactions.len() == QUEUE).await;
    first.handle.broadcast(Lane::Votes, vec![5; 20]);
    assert_eq!(victim.vote().await, [5; 20]);
    // What was forgotten counts when another peer sends it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut seen = std::collections::HashSet::new();
    let collect = |victim: &mut Service, seen: &mut std::collections::HashSet<Vec<u8>>| {
        while let Some(Incoming::Message { bytes, .. }) = victim.transactions.try_recv() {
            seen.insert(bytes);
        }
    };
    collect(&mut victim, &mut seen);
    let all: Vec<Vec<u8>> =
        (0..QUEUE as u32 + 2_000).map(|index| [&index.to_be_bytes()[..], &[9; 60]].concat()).collect();
    let lost = all.iter().find(|bytes| !seen.contains(*bytes)).expect("some were forgotten").clone();
    second.handle.broadcast(Lane::Transactions, lost.clone());
    until("the copy arrives", async || {
        collect(&mut victim, &mut seen);
        seen.contains(&lost)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_subnet_cannot_take_all_places() {
    let friend = Service::new(NetworkConfig::default());
    let config = NetworkConfig {
        max_peers: 6,
        max_peers_per_subnet: 3,
        persistent_peers: vec![friend.address().await],
        ..NetworkConfig::default()
    };
    let victim = Service::new(config);
    let address = victim.address().await;
    until("the friend is there", async || victim.sessions().await == 1).await;
    let crowd: Vec<Service> = (0..10).map(|_| Service::dialling(address.clone())).collect();
    until("three of the crowd are in", async || victim.sessions().await == 4).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(victim.sessions().await, 4, "no more than three of one subnet");
    // A friend that went comes back, whoever else is there.
    drop(friend);
    until("the friend is gone", async || victim.sessions().await == 3).await;
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_peers_than_configured_but_for_persistent_ones() {
    let friend = Service::new(NetworkConfig::default());
    let config = NetworkConfig {
        max_peers: 4,
        max_peers_per_subnet: 100,
        persistent_peers: vec![friend.address().await],
        ..NetworkConfig::default()
    };
    let victim = Service::new(config);
    let address = victim.address().await;
    until("the friend is there", async || victim.sessions().await == 1).await;
    let crowd: Vec<Service> = (0..9).map(|_| Service::dialling(address.clone())).collect();
    until("the places are taken", async || victim.sessions().await == 5).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(victim.sessions().await, 5, "four that came, and the friend");
    assert!(victim.knows(friend.id()).await);
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_do_not_keep_a_node_from_its_peers() {
    let friend = Service::new(NetworkConfig::default());
    let victim = Service::dialling(friend.address().await);
    let address = victim.address().await;
    let port: u16 = address
        .iter()
        .find_map(|part| match part {
            libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
            _ => None,
        })
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..300 {
        if let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(("127.0.0.1", port))).await
        {
            held.push(stream);
        }
    }
    assert!(held.len() > 64, "the flood is larger than the limit of half-open connections: {}", held.len());
    until("its own peer is there", async || victim.sessions().await == 1).await;
    // And one that comes from outside gets in too, when the first of the flood have run out of time.
    let guest = Service::dialling(address);
    until("a guest gets in", async || guest.sessions().await == 1).await;
    drop(held);
}
