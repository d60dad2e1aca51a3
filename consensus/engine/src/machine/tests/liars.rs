//! A validator that signs whatever it likes: other rounds in its blocks, other times, early votes, votes for nothing.

use super::*;
use bttc_types::{
    Evidence, MAX_ROUND, Part, Proposal, Round, SignedProposal, SignedVote, Vote, VoteKind, split_into_parts,
};

pub(super) fn key(index: u8) -> SecretKey {
    SecretKey::from_bytes(&[index; 32]).unwrap()
}

pub(super) fn vote(signer: &SecretKey, slot: (VoteKind, u64, Round), hash: Option<B256>) -> SignedVote {
    let (kind, height, round) = slot;
    let vote = Vote { kind, height, round, block_hash: hash, validator: signer.address() };
    SignedVote { signature: signer.sign(domain().vote_digest(&vote)), vote }
}

/// A proposal with its parts, signed.
pub(super) fn propose(
    signer: &SecretKey,
    slot: (u64, Round),
    pol_round: Option<Round>,
    hash: B256,
    bytes: &[u8],
) -> Vec<Message> {
    let (height, round) = slot;
    let (header, cut) = split_into_parts(bytes).unwrap();
    let proposal = Proposal { height, round, pol_round, block_hash: hash, proposer: signer.address() };
    let signature = signer.sign(domain().parts_digest(height, round, hash, &header));
    let mut messages = vec![Message::Proposal(SignedProposal {
        signature: signer.sign(domain().proposal_digest(&proposal)),
        proposal,
        parts: header,
        parts_signature: signature,
    })];
    messages.extend((0u32..).zip(cut).map(|(index, (bytes, proof))| {
        Message::Part(Box::new(Part { height, round, block_hash: hash, header, signature, index, bytes, proof }))
    }));
    messages
}

impl Network {
    /// A network in which the proposers of the first rounds of the next height are dead and their keys are in our hands. Returns
    /// the height and those keys; the height has begun.
    pub(super) fn with_liars(liars: usize) -> (Self, u64, Vec<SecretKey>) {
        let mut network = Self::new(4, 0);
        network.run(1_000);
        // Whoever proposes next is not known before everybody has committed the same block.
        while network.heights().iter().any(|height| *height != network.heights()[0]) {
            network.run(10);
        }
        let height = network.heights()[0] + 1;
        let set = network.set.advanced(height - 1);
        let keys: Vec<SecretKey> = (0..liars as u32)
            .map(|round| (1..=4).map(key).find(|key| key.address() == set.proposer(round).address).unwrap())
            .collect();
        for key in &keys {
            let index = (1..=4u8).find(|index| self::key(*index).address() == key.address()).unwrap();
            network.kill(usize::from(index) - 1);
        }
        network.inbox.clear();
        network.run(300);
        network.judged.clear();
        assert!(
            network.nodes.iter().filter_map(|node| node.engine.as_ref()).all(|engine| engine.position().0 == height)
        );
        (network, height, keys)
    }

    /// Delivers a message to every node that lives; the verdicts.
    pub(super) fn tell(&mut self, message: &Message) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for index in 0..self.nodes.len() {
            let now = self.now;
            if let Some(engine) = &mut self.nodes[index].engine {
                let (verdict, outputs) = engine.handle_message(Message::decode(&message.encode()).unwrap(), now);
                verdicts.push(verdict);
                self.take(index, outputs);
            }
        }
        verdicts
    }

    /// Ends a round without a block: the liars vote for nothing in it.
    fn end_round(&mut self, (height, round): (u64, Round), liars: &[SecretKey]) {
        self.run(800 + u64::from(round) * 100);
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            for liar in liars {
                self.tell(&Message::Vote(vote(liar, (kind, height, round), None)));
            }
            self.run(500 + u64::from(round) * 100);
        }
        let rounds = self.nodes.iter().filter_map(|node| node.engine.as_ref()).map(|engine| engine.position());
        assert_eq!(rounds.min(), Some((height, round + 1)), "the round is over");
    }

    fn alive(&self) -> usize {
        self.nodes.iter().position(|node| node.engine.is_some()).unwrap()
    }

    fn last_commit(&self) -> Certificate {
        self.nodes[self.alive()].chain.last().unwrap().certificate.clone()
    }

    /// A block on the head, as its proposer would have built it but for the round and the time.
    pub(super) fn block(&self, height: u64, round: Round, time_ms: u64) -> (B256, Vec<u8>) {
        let parent = self.head(self.alive()).hash;
        let block = build((height, parent), round, time_ms, self.last_commit(), 77);
        (block.hash(), block.encode())
    }

    /// Whether anybody honest has voted for a block.
    fn voted_for(&self, hash: B256) -> bool {
        self.nodes.iter().any(|node| node.signed.iter().any(|vote| vote.block_hash == Some(hash)))
    }
}

/// The round that a block names is the one of its first proposal: the proposer is found by counting to it, and its bonus
/// follows from it.
#[test]
fn a_block_that_names_another_round_is_not_voted_for() {
    for built in [1, 3, MAX_ROUND, MAX_ROUND + 1, 5_000_000, Round::MAX] {
        let (mut network, height, liars) = Network::with_liars(1);
        let (hash, bytes) = network.block(height, built, network.now.wall_ms);
        for message in propose(&liars[0], (height, 0), None, hash, &bytes) {
            network.tell(&message);
        }
        network.run(200);
        assert!(!network.voted_for(hash), "built in round {built}");
        assert!(!network.judged.iter().any(|(_, judged)| *judged == hash), "it costs no execution");
    }
    // The same block with the right round is taken.
    let (mut network, height, liars) = Network::with_liars(1);
    let (hash, bytes) = network.block(height, 0, network.now.wall_ms);
    for message in propose(&liars[0], (height, 0), None, hash, &bytes) {
        network.tell(&message);
    }
    network.run(200);
    assert!(network.voted_for(hash));
}

/// A block of an earlier round may only be proposed again with a proof of lock; one that names a round after that has none.
#[test]
fn a_block_of_an_earlier_round_needs_a_proof_of_lock() {
    let (mut network, height, liars) = Network::with_liars(2);
    let (hash, bytes) = network.block(height, 0, network.now.wall_ms + 60_000);
    network.end_round((height, 0), &liars);
    for message in propose(&liars[1], (height, 1), None, hash, &bytes) {
        network.tell(&message);
    }
    network.run(200);
    assert!(!network.voted_for(hash), "its round is not the one it was built in");
}

/// Two proposers of neighbouring rounds: the first one's block comes from the future and is withheld, the second one proposes the
/// very same block. Were it voted for, every later block would be from the future for everybody.
#[test]
fn one_block_in_two_rounds_fixes_no_time() {
    for ahead_ms in [3_600_000, 10 * 365 * 86_400_000] {
        let (mut network, height, liars) = Network::with_liars(2);
        let (hash, bytes) = network.block(height, 0, network.now.wall_ms + ahead_ms);
        for message in propose(&liars[0], (height, 0), None, hash, &bytes) {
            network.tell(&message);
        }
        network.end_round((height, 0), &liars);
        for message in propose(&liars[1], (height, 1), None, hash, &bytes) {
            network.tell(&message);
        }
        network.run(400);
        assert!(!network.voted_for(hash));
        // With a proof of lock that does not exist.
        for message in propose(&liars[1], (height, 1), Some(0), hash, &bytes) {
            network.tell(&message);
        }
        network.run(3_000);
        assert!(!network.voted_for(hash));
        for index in [0, 1, 2, 3] {
            if network.nodes[index].engine.is_none() {
                network.boot(index);
            }
        }
        network.run(8_000);
        assert!(
            network.heights().iter().all(|reached| *reached > height),
            "the chain goes on: {:?}",
            network.heights()
        );
    }
}

/// A validator votes for the next height as soon as this one begins. Nobody starts earlier for it.
#[test]
fn early_votes_of_one_do_not_hurry_the_chain() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    let target = config().target_block_time_ms;
    let started = network.head(0).height;
    let mut last = None;
    for _ in 0..200 {
        for height in network.head(0).height + 1..=network.head(0).height + 2 {
            for round in [0, 10] {
                // A vote for nil in a far round contradicts nothing; the one in round 0 is of a stranger's block.
                let slot = (VoteKind::Precommit, height, round);
                let early = Message::Vote(vote(&key(4), slot, None));
                // Not to its own node, which would hear a twin.
                for to in 0..3 {
                    network.inbox.push_back((3, to, early.clone()));
                }
            }
        }
        network.run(10);
        let head = network.head(0).height;
        if head > started && last.is_none_or(|(_, before)| head > before) {
            if let Some((at, before)) = last {
                let distance = network.now.mono_ms - at;
                assert!(distance + 20 >= (head - before) * target * 8 / 10, "{distance} ms between blocks");
            }
            last = Some((network.now.mono_ms, head));
        }
    }
    assert!(network.head(0).height > started + 5, "and the chain goes on");
}

/// Proofs against oneself are as cheap as votes; nobody passes on more than a few, and nobody is blamed for them.
#[test]
fn a_flood_of_proofs_against_oneself_is_dropped() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    let liar = key(4);
    network.kill(3);
    let proof = |signer: &SecretKey, height, salt: u8| {
        let slot = (VoteKind::Precommit, height, 3);
        let pair = [B256::repeat_byte(salt), B256::repeat_byte(255)];
        let [a, b] = pair.map(|hash| vote(signer, slot, Some(hash)));
        Message::Evidence(Box::new(Evidence::from_votes(a, b, &domain())))
    };
    let mut accepted = 0;
    for salt in 1..200u8 {
        for height in 1..=network.head(0).height {
            let verdict = network.tell(&proof(&liar, height, salt)).remove(0);
            assert!(matches!(verdict, Verdict::Accept | Verdict::Drop), "{verdict:?}");
            accepted += usize::from(verdict == Verdict::Accept);
        }
    }
    assert!((1..=4).contains(&accepted), "{accepted} passed on");
    network.run(50);
    assert!(network.nodes[0].evidence.len() <= 4);
    // Strangers cost no signature.
    let stranger = proof(&key(99), 1, 1);
    let before = bttc_types::recoveries();
    assert_eq!(network.tell(&stranger).remove(0), Verdict::Drop);
    assert_eq!(bttc_types::recoveries(), before);
}

/// A validator's votes in a step: the first counts, the second proves, and further ones are not passed on.
#[test]
fn conflicting_votes_are_passed_on_once() {
    let (mut network, height, liars) = Network::with_liars(1);
    let slot = (VoteKind::Prevote, height, 0);
    let mut verdicts = Vec::new();
    for value in 1..=100u8 {
        let message = Message::Vote(vote(&liars[0], slot, Some(B256::repeat_byte(value))));
        verdicts.push(network.tell(&message).remove(0));
    }
    assert_eq!(verdicts[..3], [Verdict::Accept, Verdict::Accept, Verdict::Drop]);
    assert!(verdicts[3..].iter().all(|verdict| *verdict == Verdict::Drop));
    let again = Message::Vote(vote(&liars[0], slot, Some(B256::repeat_byte(1))));
    assert_eq!(network.tell(&again).remove(0), Verdict::Ignore, "the first one is known");
    network.run(50);
    let alive = network.alive();
    assert_eq!(network.nodes[alive].evidence.len(), 1, "one proof for the height");
}

/// Equivocation after the decision, and for the height before, is proved all the same.
#[test]
fn a_contradiction_after_the_decision_is_evidence() {
    let mut network = Network::new(4, 0);
    network.run(1_000);
    let liar = key(4);
    let certificate = network.last_commit();
    assert!(network.set.advanced(certificate.height - 1).find(&liar.address()).is_some());
    let slot = (VoteKind::Precommit, certificate.height, certificate.round);
    let other = Message::Vote(vote(&liar, slot, Some(B256::repeat_byte(9))));
    network.nodes[3].engine = None;
    let verdict = network.tell(&other).remove(0);
    assert_eq!(verdict, Verdict::Accept, "{certificate:?}");
    for value in 10..20 {
        let more = Message::Vote(vote(&liar, slot, Some(B256::repeat_byte(value))));
        assert_eq!(network.tell(&more).remove(0), Verdict::Drop);
    }
    network.run(50);
    for index in 0..3 {
        let found = &network.nodes[index].evidence;
        assert!(matches!(&found[..], [one] if one.validator() == liar.address() && one.verify(&domain()).is_ok()));
    }
}

/// Two proposals of one round prove it at once, also two that differ in the proof of lock only.
#[test]
fn two_proposals_of_a_round_are_evidence() {
    let (mut network, height, liars) = Network::with_liars(3);
    let (hash, bytes) = network.block(height, 2, network.now.wall_ms);
    let proposals = [None, Some(0)].map(|pol| propose(&liars[2], (height, 2), pol, hash, &bytes).remove(0));
    for message in &proposals {
        assert!(network.tell(message).iter().all(|verdict| *verdict == Verdict::Accept));
    }
    network.run(50);
    let alive = network.alive();
    let found = &network.nodes[alive].evidence;
    assert!(matches!(&found[..], [one] if one.verify(&domain()).is_ok()), "{found:?}");
}

/// Whatever one node takes and passes on before it starts a height, no node that has started it blames anybody for.
#[test]
fn what_is_taken_early_is_not_rejected_on_time() {
    let (network, height, liars) = Network::with_liars(3);
    let (hash, bytes) = network.block(height, 0, network.now.wall_ms);
    let set = network.set.advanced(height - 1);
    let mut taken = 0;
    for round in 0..12u32 {
        let Some(signer) = liars.iter().find(|key| key.address() == set.proposer(round).address) else { continue };
        let pols = [None, Some(0), round.checked_sub(1), Some(round), Some(round + 1), Some(Round::MAX)];
        for pol_round in pols {
            let mut messages = propose(signer, (height, round), pol_round, hash, &bytes);
            messages.push(Message::Vote(vote(signer, (VoteKind::Prevote, height, round), Some(hash))));
            for message in messages {
                // As peers meet it: what does not decode is passed on by nobody.
                let Ok(message) = Message::decode(&message.encode()) else { continue };
                // One that is about to start the height, and one that is in it.
                let head = network.head(network.alive());
                let parent = network.nodes[network.alive()].chain.last().unwrap().certificate.clone();
                let engine = |started: bool| {
                    let start = StartInfo {
                        head,
                        head_certificate: parent.clone(),
                        next_set: network.set.advanced(head.height),
                        following_set: network.set.advanced(head.height + 1),
                        own_signature_above_guard: None,
                    };
                    let wal = Wal::new(Box::new(Shared::<MemoryLog>::default()));
                    let mut engine = Engine::new(config(), domain(), None, wal, start, network.now);
                    engine.start(network.now);
                    if started {
                        let mono_ms = network.now.mono_ms + config().empty_block_interval_ms;
                        engine.handle(Input::Tick, Now { mono_ms, ..network.now });
                        assert_eq!(engine.position().0, height);
                    }
                    engine.handle_message(message.clone(), network.now).0
                };
                if engine(false) == Verdict::Accept {
                    taken += 1;
                    let verdict = engine(true);
                    assert!(!matches!(verdict, Verdict::Reject(_)), "{verdict:?} for {message:?}");
                }
            }
        }
    }
    assert!(taken > 20, "{taken} were taken early");
}

/// No block hashes to zero. A vote for it is malformed, wherever it stands.
#[test]
fn the_zero_hash_is_no_block() {
    let nothing = vote(&key(1), (VoteKind::Precommit, 5, 0), Some(B256::ZERO));
    assert!(Message::decode(&Message::Vote(nothing.clone()).encode()).is_err());
    let proposal = propose(&key(1), (5, 0), None, B256::ZERO, b"block").remove(0);
    assert!(Message::decode(&proposal.encode()).is_err());
    let evidence = Evidence::from_votes(nothing, vote(&key(1), (VoteKind::Precommit, 5, 0), None), &domain());
    assert!(Message::decode(&Message::Evidence(Box::new(evidence)).encode()).is_err());
}

/// Whatever votes are accepted, the certificates made of them are never forged in anybody's eyes.
#[test]
fn certificates_of_accepted_votes_are_accepted() {
    for seed in 0..20u8 {
        let (mut network, height, liars) = Network::with_liars(1);
        for (step, kind) in [VoteKind::Prevote, VoteKind::Precommit].into_iter().enumerate() {
            for round in 0..3u32 {
                let choice = match (usize::from(seed) + step + round as usize) % 4 {
                    0 => None,
                    1 => Some(B256::ZERO),
                    2 => Some(B256::repeat_byte(seed + 1)),
                    _ => Some(B256::repeat_byte(255)),
                };
                let bytes = Message::Vote(vote(&liars[0], (kind, height, round), choice)).encode();
                if let Ok(message) = Message::decode(&bytes) {
                    network.tell(&message);
                }
            }
        }
        // Rounds fail, certificates are sent; `run` asserts that nobody rejects anything.
        network.run(4_000);
    }
}

/// Blocks of later rounds wait for their round, so that this round's block is judged first.
#[test]
fn blocks_of_later_rounds_do_not_keep_this_rounds_from_being_judged() {
    let (mut network, height, liars) = Network::with_liars(3);
    let mut order = Vec::new();
    for round in [2, 1, 0] {
        let (hash, bytes) = network.block(height, round, network.now.wall_ms);
        order.insert(0, hash);
        for message in propose(&liars[round as usize], (height, round), None, hash, &bytes) {
            network.tell(&message);
        }
    }
    let alive = network.alive();
    network.run(20);
    let judged: Vec<B256> = network.judged.iter().filter(|(node, _)| *node == alive).map(|(_, hash)| *hash).collect();
    assert_eq!(judged, order[..1], "the others wait");
    network.end_round((height, 0), &liars);
    let judged: Vec<B256> = network.judged.iter().filter(|(node, _)| *node == alive).map(|(_, hash)| *hash).collect();
    assert_eq!(judged[..2], order[..2], "until their round comes");
}

/// One block cut in two ways, to different nodes: each puts its own together.
#[test]
fn two_cuts_of_a_block_are_both_put_together() {
    let (mut network, height, liars) = Network::with_liars(1);
    let (hash, bytes) = network.block(height, 0, network.now.wall_ms);
    let honest = propose(&liars[0], (height, 0), None, hash, &bytes);
    // The other cut is of something else, and is announced first.
    let mut padded = bytes.clone();
    padded.push(0);
    let other = propose(&liars[0], (height, 0), None, hash, &padded);
    for message in other.iter().skip(1).chain(&honest) {
        network.tell(message);
    }
    network.run(100);
    assert!(network.voted_for(hash));
}
