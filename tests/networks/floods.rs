//! A running validator under floods: old votes, requests, transactions that nobody can pay, calls that take long.

use crate::cluster::{Cluster, Plan};
use crate::harness::{call, height, transfer, until};
use alloy_primitives::{Address, B256, keccak256};
use bttc_engine::{BlocksRequest, Message, decode_blocks};
use bttc_genesis::{ChainSpec, DEV_KEYS};
use bttc_network::{Incoming, Keypair, Lane, NetworkConfig, NetworkHandle, Role};
use bttc_node::PeerRequest;
use bttc_types::{SecretKey, SignedVote, SigningDomain, Vote, VoteKind};
use jsonrpsee::core::client::ClientT;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// A peer under the test's hand.
fn peer(cluster: &Cluster) -> (NetworkHandle, Receiver<Incoming>) {
    let spec = ChainSpec::from_json(&std::fs::read_to_string(cluster.genesis()).unwrap()).unwrap();
    let genesis = cluster.members[0].genesis_hash();
    let config = NetworkConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        persistent_peers: vec![cluster.members[0].multiaddress().parse().unwrap()],
        role: Role::Full,
        ..NetworkConfig::default()
    };
    let domain = SigningDomain::new(spec.chain_id(), genesis);
    let key = Keypair::generate_ed25519();
    let (handle, incoming, _) =
        bttc_network::start(config, key, None, domain, spec.chain_id(), genesis, (1, genesis), "flood").unwrap();
    (handle, incoming)
}

/// A vote for a height that is over: it blames nobody, and is worth nothing.
fn old_vote(index: u64, domain: &SigningDomain) -> Vec<u8> {
    let key = SecretKey::from_bytes(&[0x21; 32]).unwrap();
    let hash = keccak256(index.to_be_bytes());
    let vote = Vote { kind: VoteKind::Prevote, height: 1, round: 0, block_hash: Some(hash), validator: key.address() };
    let signature = key.sign(domain.vote_digest(&vote));
    Message::Vote(SignedVote { vote, signature }).encode()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_do_not_stop_a_validator() {
    let mut cluster = Cluster::new(&Plan { validators: 2, ..Plan::default() });
    cluster.start_all();
    let client = cluster.members[0].client();
    until("blocks", 60, async || crate::joining::client_height(&client).await.is_some_and(|height| height > 3)).await;
    let domain = SigningDomain::new(1337, cluster.members[0].genesis_hash());
    let votes: Vec<Vec<u8>> = (0..4_000).map(|index| old_vote(index, &domain)).collect();
    let (handle, mut incoming) = peer(&cluster);
    let victim = loop {
        match tokio::time::timeout(Duration::from_secs(30), incoming.recv()).await.unwrap().unwrap() {
            Incoming::Connected { info, .. } => break info.peer,
            _ => continue,
        }
    };
    let stop = Arc::new(AtomicBool::new(false));

    // Calls that take their whole gas, from many clients at once.
    let callers: Vec<_> = (0..24)
        .map(|_| {
            let (client, stop) = (cluster.members[0].client(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut served = 0u32;
                // JUMPDEST PUSH0 JUMP, as code of the called account.
                let loops = json!({ "0x00000000000000000000000000000000000000aa": { "code": "0x5b5f56" } });
                while !stop.load(Ordering::Acquire) {
                    let call = json!({ "to": "0x00000000000000000000000000000000000000aa" });
                    let params = jsonrpsee::rpc_params![call, "latest", loops.clone()];
                    let answer: Result<String, _> = client.request("eth_call", params).await;
                    served += u32::from(answer.is_err_and(|error| error.to_string().contains("gas")));
                }
                served
            })
        })
        .collect();
    // Old votes, transactions of accounts that have nothing, and block requests, all as fast as they go out.
    let poor = B256::repeat_byte(0x31);
    let start = height(&client).await;
    let mut requests = 0;
    for round in 0..40u64 {
        for vote in votes.iter().skip((round as usize * 100) % 4_000).take(100) {
            handle.broadcast(Lane::Votes, vote.clone());
        }
        for nonce in 0..25 {
            let (_, raw) = transfer(&poor, round * 25 + nonce, Address::repeat_byte(1), 1);
            handle.broadcast(Lane::Transactions, alloy_primitives::hex::decode(raw).unwrap());
        }
        for _ in 0..10 {
            handle.request(victim, 1, PeerRequest::Blocks(BlocksRequest { from: 1, count: 16 }).encode());
            requests += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Every request is answered, with blocks or, when there were too many, with none.
    let (mut answers, mut full) = (0, 0);
    while answers < requests {
        let event = tokio::time::timeout(Duration::from_secs(30), incoming.recv()).await.expect("answers come");
        match event.expect("the network runs") {
            Incoming::Response { result, .. } => {
                answers += 1;
                full +=
                    u32::from(result.is_ok_and(|bytes| decode_blocks(&bytes).is_ok_and(|blocks| !blocks.is_empty())));
            }
            Incoming::Disconnected(_) => panic!("an honest, if busy, peer was disconnected"),
            _ => {}
        }
    }
    assert!(full > 0, "no request was served");
    // The chain has gone on meanwhile, and users are served.
    let (hash, raw) = transfer(&DEV_KEYS[0].1, 0, Address::repeat_byte(2), 1);
    let patient = cluster.members[1].client();
    call(&patient, "eth_sendRawTransaction", json!([raw])).await;
    until("a transaction is final", 30, async || {
        !call(&patient, "eth_getTransactionReceipt", json!([hash])).await.is_null()
    })
    .await;
    let end = height(&patient).await;
    assert!(end > start, "no block from {start} on");
    stop.store(true, Ordering::Release);
    let mut served = 0;
    for caller in callers {
        served += caller.await.unwrap();
    }
    assert!(served > 0, "no call was served");
    for member in &cluster.members {
        assert!(!member.log().contains("a further round"), "a height needed more than one round: {}", member.name);
    }
    eprintln!("{} blocks, {served} calls, {full} of {requests} requests served", end - start);
}
