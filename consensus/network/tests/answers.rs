//! Answers that nobody reads.

mod harness;

use bttc_network::{Incoming, NetworkConfig};
use futures::AsyncWriteExt;
use harness::{BLOCKS, Service, Stranger, opener, until};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_asks_and_does_not_read_holds_little() {
    let victim = Service::new(NetworkConfig::default());
    let (address, id) = (victim.address().await, victim.id());
    let Service { handle, mut incoming, transactions: _transactions } = victim;
    let answering = handle.clone();
    let node = tokio::spawn(async move {
        let mut answered = 0;
        while let Some(event) = incoming.recv().await {
            if let Incoming::Request { id, .. } = event {
                answering.respond(id, vec![7; 8 * MIB]);
                answered += 1;
            }
        }
        answered
    });
    // One identity, four connections, as far as they are taken: the first has the session.
    let key = opener(id);
    let mut connections = vec![Stranger::with_key(key.clone(), &address, id)];
    let session = connections[0].greeted().await.expect("a session");
    connections.extend((0..3).map(|_| Stranger::with_key(key.clone(), &address, id)));
    let mut unread = Vec::new();
    let ask = async |connection: &mut Stranger| {
        let mut stream = connection.control.open_stream(id, BLOCKS).await.ok()?;
        stream.write_all(&4u32.to_be_bytes()).await.ok()?;
        stream.write_all(b"give").await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    };
    for _ in 0..15 {
        for connection in &mut connections {
            unread.push(ask(connection).await);
        }
    }
    assert!(unread.iter().flatten().count() >= 15, "it asks");
    let mut most = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        most = most.max(handle.answer_bytes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(most >= 8 * MIB, "answers are under way: {most}");
    assert!(most < 64 * MIB, "{most} bytes held for one peer");
    // They go with the peer, and another one is served.
    drop((unread, session, connections));
    until("nothing is held", async || handle.answer_bytes() == 0).await;
    let mut other = Stranger::new(&address, id);
    let _session = other.greeted().await.expect("a session");
    until("another peer is answered", async || {
        let Some(mut stream) = ask(&mut other).await else { return false };
        let mut answer = Vec::new();
        let read = futures::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        read.is_ok() && answer.len() == 4 + 8 * MIB
    })
    .await;
    drop(handle);
    drop(other);
    let _ = tokio::time::timeout(Duration::from_secs(1), node).await;
}
