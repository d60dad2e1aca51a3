//! Places for connections: strangers that say nothing, peers of our own that must get in, going out.

mod harness;

use bttc_network::{Keypair, Multiaddr, NetworkConfig, PeerId, Role};
use harness::{BLOCKS, Service, Stranger, address_of, until, without_id};
use libp2p::multiaddr::Protocol;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

/// Strangers that finish the handshake and say nothing, each with one stream open all the time.
fn silent_crowd(count: usize, address: &Multiaddr, victim: PeerId) -> Vec<tokio::task::JoinHandle<()>> {
    (0..count)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move {
                loop {
                    let mut stranger = Stranger::new(&address, victim);
                    while let Some(stream) = stranger.stream(BLOCKS).await {
                        tokio::time::sleep(Duration::from_secs(15)).await;
                        drop(stream);
                    }
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            })
        })
        .collect()
}

async fn own_peers_get_in(max_peers_per_subnet: usize) {
    let (comes, is_dialled) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    // Where the first one is said to be nobody ever listens: it can only come by itself.
    let places = [address_of(&comes), address_of(&is_dialled)];
    let victim = Service::new(NetworkConfig {
        persistent_peers: places.to_vec(),
        max_peers_per_subnet,
        ..NetworkConfig::default()
    });
    let address = victim.address().await;
    let crowd = silent_crowd(200, &address, victim.id());
    tokio::time::sleep(Duration::from_secs(6)).await;
    let start = Instant::now();
    let config = NetworkConfig { persistent_peers: vec![address], ..NetworkConfig::default() };
    let first = Service::with_key(config, comes, harness::TCP);
    let second = Service::with_key(NetworkConfig::default(), is_dialled, &without_id(&places[1]));
    until("both are there", async || victim.knows(first.id()).await && victim.knows(second.id()).await).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    for task in crowd {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_strangers_do_not_lock_out_persistent_peers() {
    own_peers_get_in(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_strangers_of_many_subnets_do_not_lock_out_persistent_peers() {
    // As if each had a subnet of its own.
    own_peers_get_in(1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_no_hello_is_disconnected() {
    let victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let mut stranger = Stranger::new(&address, victim.id());
    let mut stream = stranger.stream(BLOCKS).await.expect("it is connected");
    let start = Instant::now();
    assert!(harness::is_closed(&mut stream).await);
    // Before the stream itself would end, for which a peer has 20 s.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_come_do_not_keep_a_node_from_going_out() {
    let key = Keypair::generate_ed25519();
    let seed_at = address_of(&key);
    let victim =
        Service::new(NetworkConfig { seeds: vec![seed_at.clone()], target_peers: 4, ..NetworkConfig::default() });
    let address = victim.address().await;
    // Such as tell nobody where the seed is, which would come by itself then.
    let config = NetworkConfig { role: Role::Validator, persistent_peers: vec![address], ..NetworkConfig::default() };
    let crowd: Vec<Service> = (0..6).map(|_| Service::new(config.clone())).collect();
    until("the crowd is in", async || victim.sessions().await == 6).await;
    let config = NetworkConfig { role: Role::Seed, ..NetworkConfig::default() };
    let seed = Service::with_key(config, key, &without_id(&seed_at));
    until("the seed is dialled", async || {
        victim.handle.peers().await.iter().any(|peer| peer.id == seed.id() && peer.outbound)
    })
    .await;
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_with_peers_of_its_own_takes_no_others() {
    let (persistent, private) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let config = NetworkConfig {
        role: Role::Validator,
        persistent_peers: vec![address_of(&persistent)],
        private_peers: vec![private.public().to_peer_id()],
        ..NetworkConfig::default()
    };
    let victim = Service::new(config.clone());
    let to = |address| NetworkConfig { persistent_peers: vec![address], ..NetworkConfig::default() };
    let address = victim.address().await;
    let stranger = Service::dialling(address.clone());
    let own: Vec<Service> = [persistent.clone(), private]
        .map(|key| Service::with_key(to(address.clone()), key, harness::TCP))
        .into_iter()
        .collect();
    until("its own peers are there", async || victim.sessions().await == 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!victim.knows(stranger.id()).await && stranger.sessions().await == 0);
    assert_eq!(victim.sessions().await, own.len());
    // Unless it is told to, or has none of its own.
    for config in [
        NetworkConfig { accept_strangers: true, ..config.clone() },
        NetworkConfig { persistent_peers: vec![], ..config },
    ] {
        let open = Service::new(config);
        let guest = Service::dialling(open.address().await);
        until("a stranger gets in", async || open.knows(guest.id()).await).await;
    }
}

fn port_of(address: &Multiaddr) -> u16 {
    let port = address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
    port.expect("an address of TCP")
}

/// Connections that say nothing at all, sixteen from each of four subnets, each begun anew as soon as it is closed.
fn half_open(port: u16) -> Vec<tokio::task::JoinHandle<()>> {
    let connections = (0..64u8).map(|index| async move {
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 1 + index % 4, 1 + index / 4], 0))).unwrap();
            if let Ok(mut stream) = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await {
                while matches!(stream.read(&mut [0; 1_024]).await, Ok(count) if count > 0) {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    connections.map(tokio::spawn).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_subnets_do_not_shut_the_door() {
    let private = Keypair::generate_ed25519();
    let private_peers = vec![private.public().to_peer_id()];
    let victim = Service::new(NetworkConfig { private_peers, ..NetworkConfig::default() });
    let address = victim.address().await;
    let crowd = half_open(port_of(&address));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    let config = NetworkConfig { persistent_peers: vec![address.clone()], ..NetworkConfig::default() };
    let own = Service::with_key(config, private, harness::TCP);
    let stranger = Service::dialling(address);
    until("both are in", async || victim.knows(own.id()).await && victim.knows(stranger.id()).await).await;
    // Before the first of the silent ones are given up.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    for task in crowd {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_do_not_take_all_places_to_which_a_node_goes() {
    // Such as dial nobody themselves.
    let config = || NetworkConfig { role: Role::Validator, ..NetworkConfig::default() };
    let crowd: Vec<Service> = (0..16).map(|_| Service::new(config())).collect();
    let mut seeds = Vec::new();
    for one in &crowd {
        let port = port_of(&one.address().await);
        seeds.push(format!("/dns4/localhost/tcp/{port}/p2p/{}", one.id()).parse().unwrap());
    }
    let config = NetworkConfig { seeds, target_peers: 16, max_peers_per_subnet: 8, ..NetworkConfig::default() };
    let victim = Service::new(config);
    until("as many as may are there", async || victim.sessions().await == 8).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let outbound = victim.handle.peers().await.iter().filter(|peer| peer.outbound).count();
    assert_eq!(outbound, 8);
}
