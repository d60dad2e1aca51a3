//! What a sentry tells of a peer that it has not met.

mod harness;

use bttc_network::{Keypair, Lane, NetworkConfig, Role};
use harness::{Service, Stranger, address_of, read_frame, write_frame};
use std::time::Duration;

const ASK: u8 = 2;
const ADDRESSES: u8 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persistent_peer_is_told_to_nobody_before_it_has_said_what_it_is() {
    // Its validator, which is down, and which the operator forgot to call private.
    let validator = Keypair::generate_ed25519();
    let seed = Keypair::generate_ed25519();
    let sentry = Service::new(NetworkConfig {
        role: Role::Sentry,
        persistent_peers: vec![address_of(&validator)],
        seeds: vec![address_of(&seed)],
        ..NetworkConfig::default()
    });
    let address = sentry.address().await;
    let mut stranger = Stranger::new(&address, sentry.id());
    let mut stream = stranger.greeted().await.expect("a session");
    write_frame(&mut stream, Lane::Control, &[ASK]).await;
    let answer = async {
        loop {
            let (lane, bytes) = read_frame(&mut stream).await.expect("the stream is open");
            if lane == Lane::Control as u8 && bytes.first() == Some(&ADDRESSES) {
                return bytes;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer comes");
    let contains = |key: &Keypair| {
        let id = key.public().to_peer_id().to_bytes();
        told.windows(id.len()).any(|window| window == id)
    };
    assert!(contains(&seed), "it tells what it may");
    assert!(!contains(&validator), "and nothing of the validator");
}
