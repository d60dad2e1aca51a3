//! Real network services on loopback: pairs over TCP and QUIC, strangers, a seed, a validator behind two sentries.

use alloy_primitives::B256;
use bttc_network::{
    Incoming, Keypair, Lane, Multiaddr, NetworkConfig, NetworkHandle, Role, TransactionReceiver, Verdict, start,
};
use bttc_types::{SecretKey, SigningDomain};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

const WAIT: Duration = Duration::from_secs(20);

fn service(
    listen: &str,
    peers: Vec<Multiaddr>,
    key: Option<&SecretKey>,
    genesis: B256,
) -> (NetworkHandle, Receiver<Incoming>, TransactionReceiver) {
    let role = if key.is_some() { Role::Validator } else { Role::Full };
    let config = NetworkConfig { persistent_peers: peers, role, ..NetworkConfig::default() };
    configured(listen, config, key, genesis)
}

fn configured(
    listen: &str,
    config: NetworkConfig,
    key: Option<&SecretKey>,
    genesis: B256,
) -> (NetworkHandle, Receiver<Incoming>, TransactionReceiver) {
    let config = NetworkConfig { listen: vec![listen.parse().unwrap()], ..config };
    let domain = SigningDomain::new(1337, genesis);
    start(config, Keypair::generate_ed25519(), key, domain, 1337, genesis, (7, B256::ZERO), "test").unwrap()
}

async fn address(handle: &NetworkHandle) -> Multiaddr {
    for _ in 0..200 {
        if let Some(address) = handle.listening().first() {
            return address.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the service does not listen");
}

/// The next event that `pick` wants.
async fn next<T>(incoming: &mut Receiver<Incoming>, mut pick: impl FnMut(Incoming) -> Option<T>) -> T {
    let search = async {
        loop {
            let event = incoming.recv().await.expect("the service runs");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    };
    tokio::time::timeout(WAIT, search).await.expect("the event comes in time")
}

async fn talk(listen: &str) {
    let genesis = B256::repeat_byte(1);
    let key = SecretKey::from_bytes(&[5; 32]).unwrap();
    let (a, mut a_in, mut a_transactions) = service(listen, vec![], None, genesis);
    let (b, mut b_in, _b_transactions) = service(listen, vec![address(&a).await], Some(&key), genesis);
    let connected = |event| match event {
        Incoming::Connected { info, .. } => Some(info),
        _ => None,
    };
    let seen = next(&mut a_in, connected).await;
    assert_eq!(seen.validator, Some(key.address()), "the validator has proven its key");
    assert_eq!((seen.role, seen.height), ("validator", 7));
    let peer = next(&mut b_in, connected).await.peer;

    b.broadcast(Lane::Votes, vec![1, 2, 3]);
    b.broadcast(Lane::Transactions, vec![4; 100_000]);
    let (from, number, bytes) = next(&mut a_in, |event| match event {
        Incoming::Message { peer, lane: Lane::Votes, number, bytes } => Some((peer, number, bytes)),
        _ => None,
    })
    .await;
    assert_eq!(bytes, [1, 2, 3]);
    a.verdict(from, Lane::Votes, number, bytes, Verdict::Accept);
    let transaction = tokio::time::timeout(WAIT, a_transactions.recv()).await.expect("it comes in time");
    let Some(Incoming::Message { lane: Lane::Transactions, bytes, .. }) = transaction else { panic!() };
    assert_eq!(bytes.len(), 100_000);

    b.request(peer, 42, vec![9]);
    let id = next(&mut a_in, |event| match event {
        Incoming::Request { id, bytes, .. } => Some((id, bytes)),
        _ => None,
    })
    .await;
    assert_eq!(id.1, [9]);
    a.respond(id.0, vec![7; 3_000_000]);
    let answer = next(&mut b_in, |event| match event {
        Incoming::Response { tag: 42, result, .. } => Some(result),
        _ => None,
    })
    .await;
    assert_eq!(answer.unwrap().len(), 3_000_000);
    a.status(8, B256::ZERO);
    let height = next(&mut b_in, |event| match event {
        Incoming::Status { height: 8, .. } => Some(8),
        _ => None,
    });
    assert_eq!(height.await, 8);
}

#[tokio::test]
async fn two_nodes_talk_over_tcp() {
    talk("/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test]
async fn two_nodes_talk_over_quic() {
    talk("/ip4/127.0.0.1/udp/0/quic-v1").await;
}

#[tokio::test]
async fn nodes_of_two_networks_do_not_connect() {
    let (a, mut a_in, _ta) = service("/ip4/127.0.0.1/tcp/0", vec![], None, B256::repeat_byte(1));
    let (_b, mut b_in, _tb) = service("/ip4/127.0.0.1/tcp/0", vec![address(&a).await], None, B256::repeat_byte(2));
    let quiet = tokio::time::timeout(Duration::from_secs(3), async {
        tokio::select! { event = a_in.recv() => event, event = b_in.recv() => event }
    });
    assert!(quiet.await.is_err(), "nobody of another network gets through the handshake");
    assert!(a.peers().await.is_empty());
}

const TCP: &str = "/ip4/127.0.0.1/tcp/0";

/// A node that passes on whatever it gets, and tells which bytes those were.
struct Relay {
    handle: NetworkHandle,
    heard: tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>,
    task: tokio::task::JoinHandle<()>,
}

fn relay(config: NetworkConfig, key: Option<&SecretKey>) -> Relay {
    let (handle, mut incoming, transactions) = configured(TCP, config, key, B256::repeat_byte(1));
    let (hear, heard) = tokio::sync::mpsc::unbounded_channel();
    let voice = handle.clone();
    let task = tokio::spawn(async move {
        let _transactions = transactions;
        while let Some(event) = incoming.recv().await {
            if let Incoming::Message { peer, lane, number, bytes } = event {
                let _ = hear.send(bytes.clone());
                voice.verdict(peer, lane, number, bytes, Verdict::Accept);
            }
        }
    });
    Relay { handle, heard, task }
}

impl Relay {
    /// Ends the service: its last handle goes.
    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    async fn hears(&mut self, wanted: &[u8]) {
        let search = async { while self.heard.recv().await.expect("the service runs") != wanted {} };
        tokio::time::timeout(WAIT, search).await.expect("the message comes in time");
    }
}

/// Waits until a node's peers fulfil a condition.
async fn peers_become(handle: &NetworkHandle, good: impl Fn(&[bttc_network::PeerInfo]) -> bool) {
    for _ in 0..400 {
        if good(&handle.peers().await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the peers are {:?}", handle.peers().await);
}

#[tokio::test]
async fn nodes_that_know_only_a_seed_find_each_other_and_talk_without_it() {
    let seed = relay(NetworkConfig { role: Role::Seed, ..NetworkConfig::default() }, None);
    let seeds = vec![address(&seed.handle).await];
    let config = || NetworkConfig { seeds: seeds.clone(), ..NetworkConfig::default() };
    let (a, mut b) = (relay(config(), None), relay(config(), None));
    let b_id = b.handle.local_peer_id();
    peers_become(&a.handle, |peers| peers.iter().any(|peer| peer.id == b_id)).await;
    seed.stop().await;
    peers_become(&a.handle, |peers| peers.iter().all(|peer| peer.role != "seed")).await;
    a.handle.broadcast(Lane::Votes, b"without the seed".to_vec());
    b.hears(b"without the seed").await;
}

#[tokio::test]
async fn a_validator_behind_two_sentries_is_hidden_and_survives_the_loss_of_one() {
    let key = SecretKey::from_bytes(&[5; 32]).unwrap();
    let sentry = || relay(NetworkConfig { role: Role::Sentry, ..NetworkConfig::default() }, None);
    let (first, second) = (sentry(), sentry());
    let sentries = vec![address(&first.handle).await, address(&second.handle).await];
    let validator = relay(
        NetworkConfig { role: Role::Validator, persistent_peers: sentries.clone(), ..NetworkConfig::default() },
        Some(&key),
    );
    let hidden = validator.handle.local_peer_id();
    peers_become(&validator.handle, |peers| peers.len() == 2).await;
    // A stranger that looks for peers: it asks both sentries for addresses, again and again.
    let mut stranger = relay(NetworkConfig { seeds: sentries, ..NetworkConfig::default() }, None);
    peers_become(&stranger.handle, |peers| peers.len() == 2).await;
    validator.handle.broadcast(Lane::Votes, b"through both".to_vec());
    stranger.hears(b"through both").await;
    first.stop().await;
    peers_become(&validator.handle, |peers| peers.len() == 1).await;
    validator.handle.broadcast(Lane::Votes, b"through the other".to_vec());
    stranger.hears(b"through the other").await;
    stranger.handle.broadcast(Lane::Votes, b"back".to_vec());
    let mut validator = validator;
    validator.hears(b"back").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let peers = stranger.handle.peers().await;
    assert!(peers.iter().all(|peer| peer.id != hidden), "nobody told where the validator is: {peers:?}");
}
