//! Messages from peers: everything is checked before it is kept, passed on or fed to the core.

use super::{Engine, MAX_EARLY_MESSAGES, Output, Phase, Verdict};
use crate::context::{BlockId, CoreAddress, CoreHeight, CoreProposal, CoreVote, Ctx};
use crate::message::{Message, PRECOMMITS, RoundVotes};
use crate::record::polka_certificate;
use bttc_types::{Height, Mutant, Round, SignedProposal, SignedVote, Vote, VoteKind};
use malachitebft_core_consensus::Input as CoreInput;
use malachitebft_core_types::{
    NilOrVal, Round as CoreRound, RoundCertificate, RoundCertificateType, RoundSignature, SignedMessage, VoteType,
};

/// Rounds ahead of ours whose messages are looked at; the core has the same bound. It caps the state that a faulty
/// validator can make us keep.
const ROUNDS_AHEAD: Round = 10;

impl Engine {
    /// Whether the network may be at a height or beyond it, as far as we know.
    fn is_reached(&self, height: Height) -> bool {
        height > 0 && height <= self.env.height.max(self.best_peer_height()).saturating_add(1)
    }

    pub(super) fn on_message(&mut self, message: Message) -> Verdict {
        if let Message::Evidence(evidence) = &message {
            let verified = if Mutant::EvidenceUnchecked.active() { Ok(()) } else { evidence.verify(&self.env.domain) };
            return match verified {
                Err(error) => Verdict::Reject(error.to_string()),
                Ok(()) if self.env.set.set.find(&evidence.validator()).is_none() => Verdict::Ignore,
                // A liar can sign anything for a height that never was: it proves nothing to the chain.
                Ok(()) if !self.is_reached(evidence.height()) => Verdict::Ignore,
                Ok(()) => {
                    self.env.outputs.push(Output::Evidence((**evidence).clone()));
                    Verdict::Accept
                }
            };
        }
        let height = message.height();
        if height == self.env.height && self.phase != Phase::Waiting {
            return self.on_current(message);
        }
        // After a decision the core still takes votes of that height: late precommits count for `last_commit`.
        if height == self.env.height && self.env.decided.is_some() {
            return match message {
                Message::Vote(vote) => self.on_vote(vote),
                Message::Proposal(_) | Message::Part(_) | Message::RoundVotes(_) | Message::Evidence(_) => {
                    Verdict::Ignore
                }
            };
        }
        if height == self.next_height() {
            return self.on_early(message);
        }
        Verdict::Ignore
    }

    /// The height after the one that is being worked on or that was last committed.
    pub(super) fn next_height(&self) -> u64 {
        match self.phase {
            Phase::Waiting => self.head.height.saturating_add(1),
            Phase::Running | Phase::Committing => self.env.height.saturating_add(1),
        }
    }

    /// A message of the next height: kept when it is validly signed, and a reason to start that height.
    fn on_early(&mut self, message: Message) -> Verdict {
        let set = match self.phase {
            // The next height is the one whose set is `next_set`.
            Phase::Waiting => self.next_set.clone(),
            Phase::Running | Phase::Committing if self.env.height > self.head.height => self.following_set.clone(),
            // A synced block is being committed: the height worked on is still the head's.
            Phase::Running | Phase::Committing => self.next_set.clone(),
        };
        if self.early.len() >= MAX_EARLY_MESSAGES || self.early.contains(&message) {
            return Verdict::Ignore;
        }
        let round = match &message {
            Message::Vote(vote) => vote.vote.round,
            Message::Proposal(proposal) => proposal.proposal.round,
            // Parts of later rounds come again when their round does.
            Message::Part(part) => part.round.saturating_mul(ROUNDS_AHEAD),
            Message::RoundVotes(_) | Message::Evidence(_) => 0,
        };
        if round > ROUNDS_AHEAD || self.early_share_used(&message) {
            return Verdict::Ignore;
        }
        let good = match &message {
            Message::Vote(vote) => {
                let known = set.set.find(&vote.vote.validator).is_some();
                let digest = self.env.domain.vote_digest(&vote.vote);
                known && self.env.verify(digest, &vote.signature, vote.vote.validator)
            }
            Message::Proposal(proposal) => {
                set.set.proposer(proposal.proposal.round).address == proposal.proposal.proposer
                    && self.verify_proposal(proposal)
            }
            Message::Part(part) => {
                let digest = self.env.domain.parts_digest(part.height, part.round, part.block_hash, &part.header);
                part.verify_inclusion().is_ok()
                    && self.env.verify(digest, &part.signature, set.set.proposer(part.round).address)
            }
            Message::RoundVotes(_) | Message::Evidence(_) => return Verdict::Ignore,
        };
        if !good {
            return Verdict::Reject("a message of the next height is not validly signed".into());
        }
        self.early.push_back(message);
        Verdict::Accept
    }

    /// Whether the signer of a message of the next height has used up its share of the buffer.
    fn early_share_used(&self, message: &Message) -> bool {
        const SHARE: usize = 2;
        let same = |other: &&Message| match (message, *other) {
            (Message::Vote(a), Message::Vote(b)) => {
                (a.vote.validator, a.vote.kind, a.vote.round) == (b.vote.validator, b.vote.kind, b.vote.round)
            }
            (Message::Proposal(a), Message::Proposal(b)) => a.proposal.round == b.proposal.round,
            (Message::Part(a), Message::Part(b)) => (a.round, a.index) == (b.round, b.index),
            _ => false,
        };
        self.early.iter().filter(same).count() >= SHARE
    }

    fn on_current(&mut self, message: Message) -> Verdict {
        match message {
            Message::Vote(vote) => self.on_vote(vote),
            Message::Proposal(proposal) => self.on_proposal(proposal),
            Message::Part(part) => {
                let set = self.env.set.clone();
                if part.round > self.env.round.saturating_add(ROUNDS_AHEAD) || self.phase != Phase::Running {
                    return Verdict::Ignore;
                }
                let proposer = set.set.proposer(part.round).address;
                self.on_part(*part, proposer)
            }
            Message::RoundVotes(votes) => self.on_round_votes(&votes),
            Message::Evidence(_) => Verdict::Ignore,
        }
    }

    fn on_vote(&mut self, vote: SignedVote) -> Verdict {
        if vote.vote.round > self.env.round.saturating_add(ROUNDS_AHEAD) {
            return Verdict::Ignore;
        }
        if self.env.set.set.find(&vote.vote.validator).is_none() {
            return Verdict::Reject("a vote of somebody who is no validator of its height".into());
        }
        let core_vote = CoreVote::from_vote(&vote.vote);
        let signed = SignedMessage::new(core_vote, vote.signature);
        if self.core.driver.votes().has_vote(&signed) {
            return Verdict::Ignore;
        }
        let digest = self.env.domain.vote_digest(&vote.vote);
        if !self.env.verify(digest, &vote.signature, vote.vote.validator) {
            return Verdict::Reject("a vote's signature is not its validator's".into());
        }
        self.env.heard_vote(&vote.vote);
        self.feed(CoreInput::Vote(signed));
        Verdict::Accept
    }

    fn verify_proposal(&mut self, signed: &SignedProposal) -> bool {
        let proposal = &signed.proposal;
        let digest = self.env.domain.proposal_digest(proposal);
        let parts = self.env.domain.parts_digest(proposal.height, proposal.round, proposal.block_hash, &signed.parts);
        self.env.verify(digest, &signed.signature, proposal.proposer)
            && self.env.verify(parts, &signed.parts_signature, proposal.proposer)
    }

    fn on_proposal(&mut self, signed: SignedProposal) -> Verdict {
        let proposal = &signed.proposal;
        if self.phase != Phase::Running
            || proposal.round > self.env.round.saturating_add(ROUNDS_AHEAD)
            || self.ignores_proposal(&signed)
        {
            return Verdict::Ignore;
        }
        if proposal.pol_round.is_some_and(|pol| pol >= proposal.round) {
            return Verdict::Reject("a proposal names a proof-of-lock round that is not before its own".into());
        }
        if self.env.set.set.proposer(proposal.round).address != proposal.proposer && !Mutant::ProposerUnchecked.active()
        {
            return Verdict::Reject("a proposal of somebody who is not the round's proposer".into());
        }
        if !self.verify_proposal(&signed) {
            return Verdict::Reject("a proposal's signature is not its proposer's".into());
        }
        let mut core = CoreProposal::from_proposal(proposal);
        if Mutant::ProposerUnchecked.active() {
            core.proposer = CoreAddress(self.env.set.set.proposer(proposal.round).address);
        }
        self.feed(CoreInput::Proposal(SignedMessage::new(core, signed.signature)));
        self.note_proposal(&signed);
        Verdict::Accept
    }

    /// Votes of a round, sent by a peer that is stuck or sees us stuck. Every node makes its own, so they are not
    /// passed on.
    fn on_round_votes(&mut self, votes: &RoundVotes) -> Verdict {
        if self.phase != Phase::Running || votes.round > self.env.round.saturating_add(1_000) {
            return Verdict::Ignore;
        }
        let set = self.env.set.clone();
        // Cheap checks first: every signature costs a recovery.
        let mut voters: Vec<_> = votes.votes.iter().map(|entry| entry.validator).collect();
        voters.sort_unstable();
        voters.dedup();
        if voters.len() != votes.votes.len() || voters.len() > set.set.len() {
            return Verdict::Reject("a round certificate with two votes of one validator".into());
        }
        for entry in &votes.votes {
            let vote = Vote {
                kind: entry.kind,
                height: votes.height,
                round: votes.round,
                block_hash: (!entry.block_hash.is_zero()).then_some(entry.block_hash),
                validator: entry.validator,
            };
            let digest = self.env.domain.vote_digest(&vote);
            if set.set.find(&entry.validator).is_none() || !self.env.verify(digest, &entry.signature, entry.validator) {
                return Verdict::Reject("a round certificate holds a vote that is not a validator's".into());
            }
        }
        if let Some(polka) = polka_certificate(votes) {
            self.feed(CoreInput::PolkaCertificate(polka));
        } else if let Some(certificate) = round_certificate(votes) {
            self.feed(CoreInput::RoundCertificate(certificate));
        } else {
            return Verdict::Reject("a round certificate of mixed votes".into());
        }
        Verdict::Ignore
    }

    /// Plays the messages of a height that came before it started.
    pub(super) fn play_early(&mut self) {
        let height = self.env.height;
        for message in std::mem::take(&mut self.early) {
            if message.height() == height {
                // Whoever sent it was judged when it came.
                let _ = self.on_current(message);
            } else if message.height() > height {
                self.early.push_back(message);
            }
        }
    }

    /// Tells a new peer what we said in this round, so that it does not have to wait for the next rebroadcast.
    pub(super) fn greet(&mut self, peer: u64) {
        if self.phase == Phase::Waiting {
            return;
        }
        let votes: Vec<Message> = self.env.own_votes.iter().cloned().map(Message::Vote).collect();
        let proposal = self.env.own_proposal.as_ref().filter(|(round, _)| *round == self.env.round);
        let messages: Vec<Message> =
            proposal.map(|(_, messages)| messages.clone()).into_iter().flatten().chain(votes).collect();
        self.env.outputs.extend(messages.into_iter().map(|message| Output::Send(peer, message)));
    }
}

fn round_certificate(votes: &RoundVotes) -> Option<RoundCertificate<Ctx>> {
    let cert_type = match votes.kind {
        PRECOMMITS => RoundCertificateType::Precommit,
        crate::message::SKIP => RoundCertificateType::Skip,
        _ => return None,
    };
    Some(RoundCertificate {
        height: CoreHeight(votes.height),
        round: CoreRound::new(votes.round),
        cert_type,
        round_signatures: votes
            .votes
            .iter()
            .map(|entry| RoundSignature {
                vote_type: match entry.kind {
                    VoteKind::Prevote => VoteType::Prevote,
                    VoteKind::Precommit => VoteType::Precommit,
                },
                value_id: if entry.block_hash.is_zero() {
                    NilOrVal::Nil
                } else {
                    NilOrVal::Val(BlockId(entry.block_hash))
                },
                address: CoreAddress(entry.validator),
                signature: entry.signature,
            })
            .collect(),
    })
}
