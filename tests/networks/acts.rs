//! What each attack does, over and over, until it is dropped.

use crate::attacks::{Ground, HALF_OPEN, IDENTITIES, SILENT, Shared};
use crate::stranger::{Session, Stranger, Victim, frame, smaller_than, write_body};
use alloy_primitives::{B256, Bytes};
use bttc_engine::{BlocksRequest, Message};
use bttc_network::{Keypair, Lane, Multiaddr};
use bttc_node::PeerRequest;
use bttc_types::{Evidence, SecretKey, SignedVote, SigningDomain, Vote, VoteKind};
use libp2p::Stream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(crate) type Task = (Victim, Arc<Ground>, Shared);

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// A new identity with a session, however long it takes.
async fn newcomer(victim: &Victim, notes: &Shared) -> (Stranger, Session) {
    loop {
        if let Some(mut stranger) = Stranger::new(victim).await
            && let Some(session) = stranger.session().await
        {
            return (stranger, session);
        }
        notes.lock().refused += 1;
        pause(100).await;
    }
}

/// Whether a session was told what others had been told before.
fn is_greeted(session: &Session, opened: Instant, ground: &Ground) -> bool {
    let heard = session.heard();
    let old = opened - Duration::from_millis(50);
    heard.bytes[Lane::Proposals as usize] > 0
        || heard.transactions.keys().any(|hash| (ground.handed)(hash).is_some_and(|handed| handed < old))
}

pub(crate) async fn rejected((victim, _, notes): Task) {
    let key = smaller_than(victim.id);
    let identity = (victim.name.clone(), key.public().to_peer_id());
    loop {
        if let Some(mut stranger) = Stranger::connect(&victim, key.clone()).await {
            while let Some(mut session) = stranger.session().await {
                *notes.lock().sessions.entry(identity.clone()).or_default() += 1;
                for _ in 0..3 {
                    let rubbish: [u8; 32] = rand::random();
                    session.send(Lane::Votes, &rubbish).await;
                    notes.lock().sent += 1;
                }
                pause(50).await;
            }
        }
        notes.lock().refused += 1;
        pause(200).await;
    }
}

pub(crate) async fn reopened((victim, ground, notes): Task) {
    /// Sessions that are listened to after they were replaced.
    const KEPT: usize = 10;
    let key = smaller_than(victim.id);
    let identity = (victim.name.clone(), key.public().to_peer_id());
    loop {
        if let Some(mut stranger) = Stranger::connect(&victim, key.clone()).await {
            let mut sessions = std::collections::VecDeque::new();
            let mut turn = tokio::time::interval(Duration::from_millis(20));
            loop {
                turn.tick().await;
                let opened = Instant::now();
                notes.lock().sent += 1;
                let Some(session) = stranger.session().await else { break };
                *notes.lock().sessions.entry(identity.clone()).or_default() += 1;
                sessions.push_back((session, opened));
                if sessions.len() > KEPT
                    && let Some((session, opened)) = sessions.pop_front()
                {
                    notes.lock().greetings += usize::from(is_greeted(&session, opened, &ground));
                }
            }
            let rest = sessions.iter().filter(|(session, opened)| is_greeted(session, *opened, &ground)).count();
            notes.lock().greetings += rest;
        }
        notes.lock().refused += 1;
        pause(200).await;
    }
}

/// Two votes of a key that is nobody's.
fn evidence_of_nobody(height: u64, domain: &SigningDomain) -> Vec<u8> {
    let key = SecretKey::from_bytes(&rand::random()).unwrap();
    let [a, b] = [(); 2].map(|()| {
        let block_hash = Some(B256::from(rand::random::<[u8; 32]>()));
        signed(Vote { kind: VoteKind::Prevote, height, round: 0, block_hash, validator: key.address() }, &key, domain)
    });
    Message::Evidence(Box::new(Evidence::from_votes(a, b, domain))).encode()
}

fn signed(vote: Vote, key: &SecretKey, domain: &SigningDomain) -> SignedVote {
    let signature = key.sign(domain.vote_digest(&vote));
    SignedVote { vote, signature }
}

pub(crate) async fn evidence((victim, ground, notes): Task) {
    loop {
        let (_stranger, mut session) = newcomer(&victim, &notes).await;
        let mut turn = tokio::time::interval(Duration::from_secs(1) / Lane::Evidence.quota_messages() as u32);
        loop {
            turn.tick().await;
            let bytes = evidence_of_nobody(ground.head.load(Ordering::Acquire), &ground.domain);
            if !session.send(Lane::Evidence, &bytes).await {
                break;
            }
            notes.lock().sent += 1;
        }
        notes.lock().refused += 1;
    }
}

pub(crate) async fn silent((victim, _, notes): Task) {
    // A stream for a request that never comes keeps a connection alive; the node closes it after a while.
    const STREAM_LIFE: Duration = Duration::from_secs(15);
    let mut held: Vec<(Stranger, Option<Stream>, Instant)> = Vec::new();
    loop {
        held.retain(|(stranger, _, _)| stranger.is_connected());
        for (stranger, stream, since) in &mut held {
            if since.elapsed() > STREAM_LIFE {
                (*stream, *since) = (stranger.open_request().await, Instant::now());
            }
        }
        let missing = SILENT.saturating_sub(held.len()).min(10);
        let more = futures::future::join_all((0..missing).map(|_| async {
            let mut stranger = Stranger::new(&victim).await?;
            let stream = stranger.open_request().await;
            Some((stranger, stream, Instant::now()))
        }));
        let more = more.await;
        {
            let mut notes = notes.lock();
            notes.sent += more.len();
            notes.refused += more.iter().filter(|made| made.is_none()).count();
            held.extend(more.into_iter().flatten());
            let most = notes.held.entry(victim.name.clone()).or_default();
            *most = held.len().max(*most);
        }
        pause(if held.len() < SILENT { 10 } else { 200 }).await;
    }
}

pub(crate) async fn half_open((victim, _, notes): Task) {
    let port = victim.address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let address = ("127.0.0.1", port.expect("it listens on TCP"));
    let mut held: Vec<tokio::net::TcpStream> = Vec::new();
    loop {
        let mut buffer = [0; 256];
        held.retain(|stream| match stream.try_read(&mut buffer) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
        while held.len() < HALF_OPEN {
            notes.lock().sent += 1;
            let Ok(Ok(stream)) =
                tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address)).await
            else {
                notes.lock().refused += 1;
                break;
            };
            held.push(stream);
        }
        {
            let mut notes = notes.lock();
            let most = notes.held.entry(victim.name.clone()).or_default();
            *most = held.len().max(*most);
        }
        pause(50).await;
    }
}

pub(crate) async fn unread((victim, ground, notes): Task) {
    /// More than a connection may have open at a time.
    const STREAMS: usize = 60;
    let request = PeerRequest::Blocks(BlocksRequest { from: ground.large_blocks, count: bttc_engine::SYNC_BATCH });
    let request = request.encode();
    loop {
        // A node answers those only that have a session.
        let (mut stranger, session) = newcomer(&victim, &notes).await;
        let mut unread = std::collections::VecDeque::new();
        while session.is_open() && stranger.is_connected() {
            if unread.len() >= STREAMS {
                // What the node has given up gets a successor.
                unread.pop_front();
                pause(200).await;
            }
            let Some(mut stream) = stranger.open_request().await else { break };
            if write_body(&mut stream, &request).await.is_err() {
                break;
            }
            notes.lock().sent += 1;
            unread.push_back(stream);
            pause(10).await;
        }
        notes.lock().refused += 1;
    }
}

pub(crate) async fn unpayable((victim, ground, notes): Task, victims: usize) {
    let each = (ground.unpayable_bytes / victims).max(1) as f64;
    let mut transactions = ground.unpayable.iter().cycle();
    loop {
        let (_stranger, mut session) = newcomer(&victim, &notes).await;
        let (began, mut bytes) = (Instant::now(), 0);
        for transaction in transactions.by_ref() {
            if !session.send(Lane::Transactions, transaction).await {
                break;
            }
            notes.lock().sent += 1;
            bytes += transaction.len();
            let due = began + Duration::from_secs_f64(bytes as f64 / each);
            tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
        }
        notes.lock().refused += 1;
    }
}

pub(crate) async fn gapped((victim, ground, notes): Task, (index, victims): (usize, usize)) {
    loop {
        let (_stranger, mut session) = newcomer(&victim, &notes).await;
        // Each node gets a share of them and passes it on; then all of it again, should some have been dropped.
        loop {
            for batch in ground.gapped.chunks(64).skip(index).step_by(victims) {
                let frames: Vec<u8> = batch.iter().flat_map(|bytes| frame(Lane::Transactions, bytes)).collect();
                session.write(&frames).await;
                notes.lock().sent += batch.len();
            }
            if !session.is_open() {
                break;
            }
            pause(2_000).await;
        }
        notes.lock().refused += 1;
    }
}

pub(crate) async fn identities((victim, ground, notes): Task) {
    /// A node that greets does so within this time.
    const LISTEN_MS: u64 = 200;
    while notes.lock().identities < IDENTITIES {
        notes.lock().identities += 1;
        let opened = Instant::now();
        let Some(mut stranger) = Stranger::new(&victim).await else {
            notes.lock().refused += 1;
            continue;
        };
        let Some(session) = stranger.session().await else {
            notes.lock().refused += 1;
            continue;
        };
        pause(LISTEN_MS).await;
        let mut notes = notes.lock();
        notes.sent += 1;
        notes.greetings += usize::from(is_greeted(&session, opened, &ground));
    }
}

#[derive(alloy_rlp::RlpEncodable)]
struct AddressesMessage {
    addresses: Vec<Bytes>,
}

pub(crate) async fn addresses((victim, _, notes): Task) {
    /// The kind of a message that tells addresses, and how many of them are read.
    const ADDRESSES: (u8, usize) = (3, 32);
    loop {
        let (_stranger, mut session) = newcomer(&victim, &notes).await;
        // Names have no subnet; nobody listens on port 9 of this machine.
        let nobody = |_| {
            let id = Keypair::generate_ed25519().public().to_peer_id();
            let address: Multiaddr = format!("/dns4/localhost/tcp/9/p2p/{id}").parse().unwrap();
            Bytes::from(address.to_vec())
        };
        let mut turn = tokio::time::interval(Duration::from_secs(1) / Lane::Control.quota_messages() as u32);
        loop {
            turn.tick().await;
            let mut bytes = vec![ADDRESSES.0];
            bytes.extend(alloy_rlp::encode(AddressesMessage { addresses: (0..ADDRESSES.1).map(nobody).collect() }));
            if !session.send(Lane::Control, &bytes).await {
                break;
            }
            notes.lock().sent += 1;
        }
        notes.lock().refused += 1;
    }
}

pub(crate) async fn malformed((victim, _, notes): Task) {
    let length = |lane: Lane, length: usize| [&[lane as u8][..], &(length as u32).to_be_bytes()].concat();
    let mut case = 0u64;
    loop {
        case += 1;
        let Some(mut stranger) = Stranger::new(&victim).await else {
            notes.lock().refused += 1;
            pause(100).await;
            continue;
        };
        // Instead of a hello, every other time.
        if case.is_multiple_of(2) {
            if let Some(mut stream) = stranger.open_gossip().await {
                let rubbish: [u8; 32] = rand::random();
                let _ = write_body(&mut stream, &rubbish).await;
                notes.lock().sent += 1;
            }
        } else if let Some(mut session) = stranger.session().await {
            let lane = Lane::ALL[case as usize % Lane::ALL.len()];
            let rubbish: [u8; 32] = rand::random();
            let bytes = match case / 2 % 4 {
                0 => [&[0xee][..], &rubbish].concat(),
                1 => length(lane, lane.max_message() + 1),
                2 => frame(lane, &rubbish),
                // The rest never comes.
                _ => [length(lane, lane.max_message()), rubbish.to_vec()].concat(),
            };
            session.write(&bytes).await;
            notes.lock().sent += 1;
        } else {
            notes.lock().refused += 1;
        }
        pause(20).await;
    }
}

pub(crate) async fn future_votes((victim, ground, notes): Task) {
    loop {
        let (_stranger, mut session) = newcomer(&victim, &notes).await;
        for index in 0..40u64 {
            let key = SecretKey::from_bytes(&rand::random()).unwrap();
            let vote = Vote {
                kind: VoteKind::Prevote,
                height: ground.head.load(Ordering::Acquire) + 1 + index % 3,
                round: (index % 10) as u32,
                block_hash: None,
                validator: key.address(),
            };
            let bytes = Message::Vote(signed(vote, &key, &ground.domain)).encode();
            if !session.send(Lane::Votes, &bytes).await {
                break;
            }
            notes.lock().sent += 1;
            pause(2).await;
        }
    }
}
