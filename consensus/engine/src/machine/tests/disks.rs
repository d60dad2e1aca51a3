//! Disks that were restored, emptied or replaced: the log and the guard say what the key has promised.

use super::liars::{key, propose};
use super::*;

fn signing(network: &Network, index: usize) -> Signing {
    network.nodes[index].engine.as_ref().unwrap().signing().clone()
}

/// Nodes 1 and 2 away: the height does not end, and node 3 has signed in it.
fn stalled() -> (Network, u64) {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    network.kill(1);
    network.kill(2);
    network.run(1_500);
    let next = network.head(3).height + 1;
    assert_eq!(network.nodes[3].guard.last().unwrap().height, next);
    (network, next)
}

/// The database is gone or older; the log and the guard stand at a height that has not ended. Once the chain is fetched again the log
/// is played, and the key signs nothing against it.
#[test]
fn a_log_above_the_database_is_kept_and_played() {
    for kept_blocks in [0, 1, 5] {
        let (mut network, next) = stalled();
        network.kill(3);
        let before = network.nodes[3].wal.0.lock().unwrap().current.clone().unwrap();
        let guard = network.nodes[3].guard.last();
        let keep = network.nodes[3].chain.len().min(kept_blocks);
        network.nodes[3].chain.truncate(keep);
        network.boot(3);
        network.run(4_000);
        assert_eq!(network.head(3).height, next - 1, "it has fetched what it lost");
        let after = network.nodes[3].wal.0.lock().unwrap().current.clone().unwrap();
        assert!(after.starts_with(&before), "the log was played and goes on");
        let stands = |last: Option<LastSigned>| last.map(|last| (last.height, last.round));
        assert!(stands(network.nodes[3].guard.last()) >= stands(guard));
        assert_eq!(signing(&network, 3), Signing::Ready);
        network.boot(1);
        network.boot(2);
        network.run(6_000);
        assert!(network.heights().iter().all(|height| *height > next), "{:?}", network.heights());
    }
}

/// As above, but the log is gone, too: the key rests for the height, whichever way the node comes to it.
#[test]
fn without_the_log_the_key_rests_at_the_guards_height() {
    let (mut network, next) = stalled();
    network.kill(3);
    *network.nodes[3].wal.0.lock().unwrap() = MemoryLog::default();
    network.nodes[3].chain.clear();
    let guard = network.nodes[3].guard.last();
    network.boot(3);
    network.run(6_000);
    assert_eq!(network.head(3).height, next - 1);
    assert_eq!(network.nodes[3].guard.last(), guard, "nothing was signed at the height that it has signed in before");
    assert!(matches!(signing(&network, 3), Signing::Off(_)), "{:?}", signing(&network, 3));
}

/// Guard, log and chain are restored together from an old copy. The first peer that it meets is behind: that says nothing.
#[test]
fn a_peer_that_is_behind_does_not_end_the_wait_at_the_start() {
    let mut network = Network::new(4, 1);
    network.run(1_000);
    let old = (
        network.nodes[3].chain.clone(),
        network.nodes[3].wal.0.lock().unwrap().clone(),
        network.nodes[3].guard.0.lock().unwrap().clone(),
    );
    network.run(5_000);
    let last = network.nodes[3].guard.last();
    network.kill(3);
    let (chain, wal, guard) = old;
    let before = network.nodes[3].signed.len();
    network.nodes[3].chain = chain;
    *network.nodes[3].wal.0.lock().unwrap() = wal;
    *network.nodes[3].guard.0.lock().unwrap() = guard;
    // It hears nobody but a peer at height 0, and a stranger that says what it likes.
    network.down.insert(3);
    let node = &mut network.nodes[3];
    let head = node.chain.last().unwrap().certificate.clone();
    let start = StartInfo {
        head: HeadInfo { height: head.height, hash: head.block_hash },
        head_certificate: head.clone(),
        next_set: network.set.advanced(head.height),
        following_set: network.set.advanced(head.height + 1),
        own_signature_above_guard: None,
    };
    let key = Some((key(4), Box::new(node.guard.clone()) as Box<dyn Guard>));
    let mut engine = Engine::new(config(), domain(), key, Wal::new(Box::new(node.wal.clone())), start, network.now);
    let mut outputs = engine.start(network.now);
    for (peer, height) in [(50, 0), (51, head.height), (52, head.height + 1)] {
        outputs.extend(engine.handle(Input::PeerConnected { peer, validator: None, greet: true }, network.now));
        outputs.extend(engine.handle(Input::PeerStatus { peer, height }, network.now));
    }
    for _ in 0..90 {
        network.now.mono_ms += 10;
        outputs.extend(engine.handle(Input::Tick, network.now));
    }
    assert!(
        !outputs.iter().any(|output| matches!(output, Output::Broadcast(_) | Output::Propose { .. })),
        "{outputs:?}"
    );
    network.nodes[3].engine = Some(engine);
    network.down.clear();
    network.announce(3);
    network.run(6_000);
    let signed = &network.nodes[3].signed[before..];
    assert!(signed.iter().all(|vote| Some(vote.height) >= last.map(|last| last.height)), "nothing at old heights");
    assert!(network.head(3).height > last.unwrap().height);
}

/// A block that was withheld for its time is still off after a restart.
#[test]
fn a_withheld_block_is_judged_by_its_time_after_a_restart() {
    let (mut network, height, liars) = Network::with_liars(1);
    let (hash, bytes) = network.block(height, 0, network.now.wall_ms + 3_600_000);
    let messages = propose(&liars[0], (height, 0), None, hash, &bytes);
    for message in &messages {
        network.tell(message);
    }
    network.run(50);
    let victim = network.nodes.iter().position(|node| node.engine.is_some()).unwrap();
    assert!(network.judged.contains(&(victim, hash)));
    // Something is flushed, so that the block is in the log.
    network.nodes[victim].wal.change(|log| log.durable.clone_from(&log.current)).unwrap();
    network.kill(victim);
    network.boot(victim);
    for message in &messages {
        network.tell(message);
    }
    network.run(300);
    assert!(network.nodes[victim].signed.iter().all(|vote| vote.block_hash != Some(hash)));
}
