//! What floods and losses leave: buffers that end, and a key that rests when its log is gone.

use super::early::MAX_EARLY_MESSAGES;
use super::*;
use bttc_types::{Evidence, Part, Proposal, SignedProposal, SignedVote, Vote, VoteKind, split_into_parts};

fn key(index: u8) -> SecretKey {
    SecretKey::from_bytes(&[index; 32]).unwrap()
}

fn vote(signer: &SecretKey, height: u64, round: u32, kind: VoteKind, hash: B256) -> Message {
    let vote = Vote { kind, height, round, block_hash: Some(hash), validator: signer.address() };
    let signature = signer.sign(domain().vote_digest(&vote));
    Message::Vote(SignedVote { vote, signature })
}

#[test]
fn messages_of_the_next_height_are_bounded_by_signer_and_in_all() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    for other in 1..4 {
        network.kill(other);
    }
    network.run(500);
    let next = network.head(0).height + 2;
    let now = network.now;
    let engine = network.nodes[0].engine.as_mut().unwrap();
    let before = engine.early.len();
    let (mut accepted, mut ignored) = (0, 0);
    for value in 0..2_000u64 {
        for signer in 2..=4 {
            let hash = alloy_primitives::keccak256(value.to_be_bytes());
            let message = vote(&key(signer), next, (value % 9) as u32, VoteKind::Prevote, hash);
            match engine.handle_message(message, now).0 {
                Verdict::Accept => accepted += 1,
                Verdict::Ignore | Verdict::Drop => ignored += 1,
                Verdict::Reject(reason) => panic!("{reason}"),
            }
        }
    }
    assert!(accepted > 0 && ignored > accepted, "{accepted} accepted, {ignored} ignored");
    // Two of each signer, kind and round, for the few rounds that are looked ahead.
    assert!(engine.early.len() - before <= 3 * 2 * 9, "{}", engine.early.len());
    assert!(engine.early.len() <= MAX_EARLY_MESSAGES);
    // Strangers get no place at all, and forged signatures are blamed.
    let stranger = vote(&key(9), next, 0, VoteKind::Precommit, B256::repeat_byte(1));
    assert!(matches!(engine.handle_message(stranger, now).0, Verdict::Reject(_)));
}

#[test]
fn blocks_being_put_together_are_bounded() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    for other in 1..4 {
        network.kill(other);
    }
    network.run(500);
    let height = network.head(0).height + 1;
    let set = network.set.advanced(height - 1);
    let now = network.now;
    let engine = network.nodes[0].engine.as_mut().unwrap();
    let mut built = 0;
    for round in 0..60u32 {
        let proposer = (1..=4).map(key).find(|key| key.address() == set.proposer(round).address).unwrap();
        for value in 0..20u8 {
            // Two parts each, of which one comes: none is ever complete.
            let block = vec![value; bttc_types::PART_BYTES + 1];
            let hash = alloy_primitives::keccak256([&[value], &round.to_be_bytes()[..]].concat());
            let (parts, cut) = split_into_parts(&block).unwrap();
            let proposal = Proposal { height, round, pol_round: None, block_hash: hash, proposer: proposer.address() };
            let signature = proposer.sign(domain().proposal_digest(&proposal));
            let parts_signature = proposer.sign(domain().parts_digest(height, round, hash, &parts));
            let proposal = SignedProposal { proposal, parts, signature, parts_signature };
            engine.handle_message(Message::Proposal(proposal), now);
            let (bytes, proof) = cut[0].clone();
            let part = Part {
                height,
                round,
                block_hash: hash,
                header: parts,
                signature: parts_signature,
                index: 0,
                bytes,
                proof,
            };
            engine.handle_message(Message::Part(Box::new(part)), now);
            built = built.max(engine.blocks.in_the_making());
        }
    }
    assert!((2..=12).contains(&built), "{built} blocks were in the making");
}

#[test]
fn a_key_rests_for_the_height_when_its_log_is_lost() {
    for lose in [false, true] {
        let mut network = Network::new(4, 0);
        network.run(1_000);
        // Half of the validators away: the height does not end, and the others have signed in it.
        network.kill(1);
        network.kill(2);
        network.run(1_500);
        let head = network.head(3).height;
        let signed = network.nodes[3].guard.last().unwrap();
        assert_eq!(signed.height, head + 1, "it has signed at the height that does not end");
        network.kill(3);
        if lose {
            *network.nodes[3].wal.0.lock().unwrap() = MemoryLog::default();
        }
        network.boot(3);
        network.run(1_200);
        let signing = network.nodes[3].engine.as_ref().unwrap().signing().clone();
        if lose {
            assert!(matches!(&signing, Signing::Off(reason) if reason.contains("lost or damaged")), "{signing:?}");
            let last = network.nodes[3].guard.last();
            network.run(3_000);
            assert_eq!(network.nodes[3].guard.last(), last, "it signs nothing more at this height");
        } else {
            assert_eq!(signing, Signing::Ready);
        }
        // The others end the height; past it, a start makes it a validator as before.
        network.boot(1);
        network.boot(2);
        network.run(6_000);
        assert!(network.head(3).height > head + 2, "it follows: {:?}", network.heights());
        network.kill(3);
        network.boot(3);
        network.run(3_000);
        assert_eq!(network.nodes[3].engine.as_ref().unwrap().signing(), &Signing::Ready);
    }
}

/// A liar may sign two things for any height; only one that the network has reached is worth passing on.
#[test]
fn evidence_of_heights_that_never_were_is_not_passed_on() {
    let mut network = Network::new(4, 0);
    network.run(2_000);
    let head = network.head(0).height;
    let now = network.now;
    let engine = network.nodes[0].engine.as_mut().unwrap();
    let liar = key(3);
    let evidence = |height: u64| {
        let signed = |hash: Option<B256>| {
            let vote =
                Vote { kind: VoteKind::Precommit, height, round: 0, block_hash: hash, validator: liar.address() };
            let signature = liar.sign(domain().vote_digest(&vote));
            SignedVote { vote, signature }
        };
        let found = Evidence::from_votes(signed(None), signed(Some(B256::repeat_byte(1))), &domain());
        Message::Evidence(Box::new(found))
    };
    for peer in 0..3 {
        // A stranger's word makes no height.
        engine.handle(Input::PeerConnected { peer: 70 + peer, validator: None, greet: false }, now);
        engine.handle(Input::PeerStatus { peer: 70 + peer, height: u64::MAX - peer }, now);
    }
    for (height, good) in [(0, false), (1, true), (head, true), (head + 100, false), (u64::MAX, false)] {
        let (verdict, outputs) = engine.handle_message(evidence(height), now);
        let told = outputs.iter().any(|output| matches!(output, Output::Evidence { found_here: false, .. }));
        assert_eq!((verdict == Verdict::Accept, told), (good, good), "height {height}: {verdict:?}");
    }
}
