//! A key that signs on two nodes: whoever hears the other stops before it signs.

use super::liars::{key, propose, vote};
use super::*;
use bttc_types::VoteKind;

/// The signing state of a node.
fn signing(network: &Network, index: usize) -> Signing {
    network.nodes[index].engine.as_ref().unwrap().signing().clone()
}

fn is_off_for_its_twin(signing: &Signing) -> bool {
    matches!(signing, Signing::Off(reason) if reason.contains("guard does not know"))
}

/// The usual accident: the guard is exported, the second node starts, the first one still runs.
#[test]
fn a_second_node_with_the_key_hears_the_first_and_never_signs() {
    let mut network = Network::new(4, 1);
    network.run(2_000);
    // Node 4 becomes a twin of node 3, with its guard as it is now and the chain as it is now.
    network.kill(4);
    network.nodes[4].key = Some(key(4));
    let guard = MemoryGuard { last: network.nodes[3].guard.last(), broken: false, imported: true };
    *network.nodes[4].guard.0.lock().unwrap() = guard;
    network.nodes[4].chain = network.nodes[3].chain.clone();
    network.boot(4);
    network.run(10_000);
    assert!(is_off_for_its_twin(&signing(&network, 4)), "{:?}", signing(&network, 4));
    assert!(network.nodes[4].signed.is_empty());
    assert_eq!(signing(&network, 3), Signing::Ready, "the first one goes on");
    assert!(network.heights().iter().all(|height| *height > 30), "{:?}", network.heights());
}

/// A node that is about to sign hears a vote, or a proposal, of its own key that it did not make.
#[test]
fn a_message_of_ones_own_key_above_the_guard_turns_signing_off() {
    for proposal in [false, true] {
        let (mut network, height, liars) = Network::with_liars(1);
        let victim = network.nodes.iter().position(|node| node.engine.is_some()).unwrap();
        let own = network.nodes[victim].key.clone().unwrap();
        let round = (0..20).find(|round| network.set.advanced(height - 1).proposer(*round).address == own.address());
        let message = if proposal {
            let (hash, bytes) = network.block(height, round.unwrap(), network.now.wall_ms);
            propose(&own, (height, round.unwrap()), None, hash, &bytes).remove(0)
        } else {
            Message::Vote(vote(&own, (VoteKind::Precommit, height, 5), None))
        };
        drop(liars);
        network.tell(&message);
        assert!(is_off_for_its_twin(&signing(&network, victim)), "{:?}", signing(&network, victim));
        let others = (0..4).filter(|index| *index != victim && network.nodes[*index].engine.is_some());
        assert!(others.into_iter().all(|index| signing(&network, index) == Signing::Ready));
    }
}

/// What the key has signed itself comes back from peers all the time.
#[test]
fn ones_own_messages_come_back_and_change_nothing() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    for _ in 0..50 {
        let own: Vec<bttc_types::Vote> = network.nodes[2].signed.clone();
        for plain in own.into_iter().rev().take(6) {
            let message = Message::Vote(vote(&key(3), (plain.kind, plain.height, plain.round), plain.block_hash));
            network.tell(&message);
        }
        network.run(20);
    }
    network.kill(2);
    network.boot(2);
    network.run(2_000);
    assert_eq!(signing(&network, 2), Signing::Ready);
}
