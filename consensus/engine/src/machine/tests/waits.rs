//! What a node waits for, and what ends the waiting: listening before it signs, a block that is decided and not here, a block whose
//! time is off, places for messages of the next height.

use super::liars::{key, propose, vote};
use super::*;
use crate::message::PRECOMMITS;
use bttc_types::VoteKind;

fn signing(network: &Network, index: usize) -> Signing {
    network.nodes[index].engine.as_ref().unwrap().signing().clone()
}

fn is_listening(network: &Network, index: usize) -> bool {
    matches!(signing(network, index), Signing::Listening { .. })
}

/// Node 3 comes back with a guard that is older than the chain.
fn return_with_an_empty_guard(network: &mut Network) {
    network.kill(3);
    *network.nodes[3].guard.0.lock().unwrap() = MemoryGuard::default();
    *network.nodes[3].wal.0.lock().unwrap() = MemoryLog::default();
    network.boot(3);
}

/// Two of four are away, so no height ends. The one that listens is needed, and must not wait for heights that it keeps from ending.
#[test]
fn listening_ends_when_the_chain_stands_still() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    network.kill(1);
    network.run(2_000);
    return_with_an_empty_guard(&mut network);
    let height = network.head(0).height;
    network.run(500);
    assert!(is_listening(&network, 3), "{:?}", signing(&network, 3));
    network.run(5_000);
    assert_eq!(signing(&network, 3), Signing::Ready);
    assert!(network.head(0).height > height + 3, "the chain goes on with three: {:?}", network.heights());
}

/// While the chain moves, whole heights are heard first, and none of them is signed.
#[test]
fn listening_hears_whole_heights_while_the_chain_moves() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    network.kill(3);
    network.run(1_000);
    let signed = network.nodes[3].signed.len();
    return_with_an_empty_guard(&mut network);
    let start = (network.head(0).height, network.now.mono_ms);
    while is_listening(&network, 3) && network.now.mono_ms < start.1 + 20_000 {
        network.run(10);
    }
    assert_eq!(signing(&network, 3), Signing::Ready);
    assert!(network.now.mono_ms >= start.1 + config().listen_ms);
    assert!(network.head(3).height >= start.0 + 2, "{:?} after {start:?}", network.heights());
    network.run(3_000);
    let first = network.nodes[3].signed.get(signed).unwrap();
    assert!(first.height > start.0 + 2, "it signs what it heard no other sign with its key: {first:?}");
}

/// Heights may take longer than the listening time. It begins anew with each, until two are heard.
#[test]
fn listening_outlasts_slow_heights() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    for other in 0..3 {
        network.kill(other);
    }
    network.inbox.clear();
    network.work.clear();
    return_with_an_empty_guard(&mut network);
    let (head, listen_ms) = (network.head(3).height, config().listen_ms);
    for heard in 1..=2 {
        for _ in 0..listen_ms / 10 - 10 {
            network.now.mono_ms += 10;
            network.input(3, Input::Tick);
            assert!(is_listening(&network, 3), "after {heard} heights: {:?}", signing(&network, 3));
        }
        let height = head + heard;
        network.input(
            3,
            Input::Committed {
                head: HeadInfo { height, hash: B256::repeat_byte(heard as u8) },
                next_set: network.set.advanced(height),
                following_set: network.set.advanced(height + 1),
                timing: config().timing(),
                transactions_waiting: false,
            },
        );
    }
    assert_eq!(signing(&network, 3), Signing::Ready);
}

/// More than a third of the power says that the chain is ahead. However quiet it is here, the node is in the middle of catching up.
#[test]
fn listening_does_not_end_in_the_middle_of_catching_up() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    let head = network.head(3).height;
    for other in 0..3 {
        network.kill(other);
    }
    network.inbox.clear();
    network.work.clear();
    return_with_an_empty_guard(&mut network);
    // A stranger and one validator may say what they like; two of them are one honest one at least.
    let claims = |network: &mut Network, count: u8| {
        for peer in 0..=count {
            let validator = (peer > 0).then(|| key(peer).address());
            network.input(3, Input::PeerConnected { peer: u64::from(peer) + 90, validator, greet: false });
            network.input(3, Input::PeerStatus { peer: u64::from(peer) + 90, height: head + 50 });
        }
        // Nobody answers what is asked.
        network.work.clear();
    };
    claims(&mut network, 2);
    for _ in 0..1_000 {
        network.now.mono_ms += 10;
        network.input(3, Input::Tick);
        network.work.clear();
        if network.now.mono_ms.is_multiple_of(2_000) {
            claims(&mut network, 2);
        }
        assert!(is_listening(&network, 3), "{:?}", signing(&network, 3));
    }
    for peer in 0..=2 {
        network.input(3, Input::PeerGone(peer + 90));
    }
    claims(&mut network, 1);
    for _ in 0..300 {
        network.now.mono_ms += 10;
        network.input(3, Input::Tick);
        network.work.clear();
    }
    assert_eq!(signing(&network, 3), Signing::Ready, "one validator and a stranger hold nobody up");
}

/// The time of a block is off, and it comes when the round's propose timeout is over: this node has prevoted. Others decided the block;
/// their precommits and the block are enough.
#[test]
fn an_untimely_block_that_comes_after_the_prevote_can_be_decided() {
    let (mut network, height, liars) = Network::with_liars(3);
    network.run(700);
    let alive = network.nodes.iter().position(|node| node.engine.is_some()).unwrap();
    assert_eq!(network.nodes[alive].engine.as_ref().unwrap().position(), (height, 0));
    let (hash, bytes) = network.block(height, 0, network.now.wall_ms - 3_600_000);
    for message in propose(&liars[0], (height, 0), None, hash, &bytes) {
        network.tell(&message);
    }
    network.run(20);
    for liar in &liars {
        network.tell(&Message::Vote(vote(liar, (VoteKind::Precommit, height, 0), Some(hash))));
    }
    network.run(20);
    assert_eq!(network.head(alive), HeadInfo { height, hash });
    assert!(network.nodes[alive].signed.iter().all(|vote| vote.block_hash != Some(hash)), "it has not voted for it");
}

/// A block of a round so long ago that it is not kept is decided by late votes. The node tells the decision, for those who have the block,
/// and no more often than anything is told again.
#[test]
fn a_decision_whose_block_is_gone_is_told() {
    let (mut network, height, liars) = Network::with_liars(3);
    let (hash, bytes) = network.block(height, 0, network.now.wall_ms);
    for message in propose(&liars[0], (height, 0), None, hash, &bytes) {
        network.tell(&message);
    }
    network.run(50);
    let alive = network.nodes.iter().position(|node| node.engine.is_some()).unwrap();
    // Votes of later rounds take it on, ten at a time.
    for round in [8, 16, 24] {
        for liar in &liars {
            network.tell(&Message::Vote(vote(liar, (VoteKind::Prevote, height, round), None)));
        }
        network.run(30);
        assert_eq!(network.nodes[alive].engine.as_ref().unwrap().position(), (height, round));
    }
    let mut told = Vec::new();
    for liar in &liars {
        let message = Message::Vote(vote(liar, (VoteKind::Precommit, height, 0), Some(hash)));
        let engine = network.nodes[alive].engine.as_mut().unwrap();
        let (verdict, outputs) = engine.handle_message(message, network.now);
        assert_eq!(verdict, Verdict::Accept);
        told.extend(outputs);
    }
    for _ in 0..200 {
        network.now.mono_ms += 10;
        told.extend(network.nodes[alive].engine.as_mut().unwrap().handle(Input::Tick, network.now));
    }
    let decisions: Vec<_> = told
        .iter()
        .filter_map(|output| match output {
            Output::Broadcast(Message::RoundVotes(votes)) if votes.kind == PRECOMMITS && votes.round == 0 => {
                Some(votes)
            }
            _ => None,
        })
        .collect();
    assert!((2..=6).contains(&decisions.len()), "told {} times in two seconds", decisions.len());
    assert!(decisions.iter().all(|votes| votes.votes.len() == 3 && votes.height == height));
    assert!(told.iter().all(|output| !matches!(output, Output::Commit { .. })), "it has no block to commit");
}

/// One validator fills the places of later rounds; those of the first round are kept for the others.
#[test]
fn early_messages_of_later_rounds_keep_nobody_out() {
    let mut early = super::super::early::Early::default();
    let mut later = 0u32;
    for signer in 1..=250u8 {
        for round in 1..=10 {
            for value in 1..=2 {
                let message =
                    Message::Vote(vote(&key(signer), (VoteKind::Prevote, 9, round), Some(B256::repeat_byte(value))));
                if early.has_room(&message) {
                    early.insert(message);
                    later += 1;
                }
            }
        }
    }
    let places = super::super::early::MAX_EARLY_MESSAGES;
    assert_eq!(later as usize, places / 4);
    let mut first = 0;
    for signer in 1..=100u8 {
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            let message = Message::Vote(vote(&key(signer), (kind, 9, 0), None));
            assert!(early.has_room(&message));
            early.insert(message);
            first += 1;
        }
    }
    assert_eq!(early.len(), places / 4 + first);
    early.forget_to(9);
    assert_eq!(early.len(), 0);
    let again = Message::Vote(vote(&key(1), (VoteKind::Prevote, 10, 3), None));
    assert!(early.has_room(&again), "what was let go leaves its places");
}
