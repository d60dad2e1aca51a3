//! Messages from peers: everything is checked before it is kept, passed on or fed to the core.

use super::ballots::{ROUNDS_BEHIND, Standing, step_of};
use super::{Engine, Output, Phase, Verdict};
use crate::context::{BlockId, CoreAddress, CoreHeight, CoreSet, CoreVote, Ctx};
use crate::guard::{LastSigned, Step};
use crate::message::{Message, PRECOMMITS, RoundVotes, SKIP};
use crate::record::polka_certificate;
use bttc_types::{Evidence, Height, Mutant, Round, SignedProposal, SignedVote, Vote, VoteKind};
use malachitebft_core_consensus::Input as CoreInput;
use malachitebft_core_types::{
    NilOrVal, Round as CoreRound, RoundCertificate, RoundCertificateType, RoundSignature, SignedMessage, VoteType,
};

/// Rounds ahead of ours whose messages are looked at; the core has the same bound. It caps the state that a faulty
/// validator can make us keep.
const ROUNDS_AHEAD: Round = 10;

/// Heights ahead of ours of which evidence is taken: other nodes are there already, and this one will be in a moment.
const HEIGHTS_AHEAD: Height = 16;

/// Rounds ahead of ours whose round certificates are looked at. Each needs votes of more than a third of the power.
const CERTIFICATE_ROUNDS_AHEAD: Round = 1_000;

impl Engine {
    /// Whether a height is reached or soon will be. What peers claim does not count: anybody may claim anything.
    fn is_near(&self, height: Height) -> bool {
        height > 0 && height <= self.env.height.saturating_add(HEIGHTS_AHEAD)
    }

    pub(super) fn on_message(&mut self, message: Message) -> Verdict {
        if let Message::Evidence(evidence) = &message {
            return self.on_evidence(evidence);
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
        match message {
            Message::Vote(vote) if height == self.head.height => self.on_late_vote(vote),
            Message::Vote(_)
            | Message::Proposal(_)
            | Message::Part(_)
            | Message::RoundVotes(_)
            | Message::Evidence(_) => Verdict::Ignore,
        }
    }

    /// Whether somebody is a validator of the sets at hand, or was one at `height`.
    fn is_member(&self, validator: &alloy_primitives::Address, height: Height) -> bool {
        [&self.env.set, &self.next_set, &self.following_set].iter().any(|set| set.set.find(validator).is_some())
            || self.env.offences.was_member(validator, height)
    }

    /// Proof that a validator misbehaved, from a peer. What costs nothing is checked first: strangers can sign as much as they
    /// like, and so can a validator that does not mind being slashed.
    fn on_evidence(&mut self, evidence: &Evidence) -> Verdict {
        let (validator, height) = (evidence.validator(), evidence.height());
        if !self.is_member(&validator, height) {
            return Verdict::Drop;
        }
        // A liar can sign anything for a height that never was: it proves nothing to the chain.
        if !self.is_near(height) {
            return Verdict::Ignore;
        }
        let now_ms = self.env.now.mono_ms;
        if !self.env.offences.is_wanted(&validator, height, now_ms) {
            return Verdict::Drop;
        }
        if !Mutant::EvidenceUnchecked.active()
            && let Err(error) = evidence.verify(&self.env.domain)
        {
            return Verdict::Reject(error.to_string());
        }
        if !self.env.offences.take(validator, height, now_ms) {
            return Verdict::Drop;
        }
        self.env.outputs.push(Output::Evidence { evidence: evidence.clone(), found_here: false });
        Verdict::Accept
    }

    /// The height after the one that is being worked on or that was last committed.
    pub(super) fn next_height(&self) -> u64 {
        match self.phase {
            Phase::Waiting => self.head.height.saturating_add(1),
            Phase::Running | Phase::Committing => self.env.height.saturating_add(1),
        }
    }

    /// A message of the next height: kept when it is validly signed.
    fn on_early(&mut self, message: Message) -> Verdict {
        let set = match self.phase {
            // The next height is the one whose set is `next_set`.
            Phase::Waiting => self.next_set.clone(),
            Phase::Running | Phase::Committing if self.env.height > self.head.height => self.following_set.clone(),
            // A synced block is being committed: the height worked on is still the head's.
            Phase::Running | Phase::Committing => self.next_set.clone(),
        };
        let round = match &message {
            Message::Vote(vote) => vote.vote.round,
            Message::Proposal(proposal) => proposal.proposal.round,
            // Parts of later rounds come again when their round does.
            Message::Part(part) if part.round > 0 => Round::MAX,
            Message::Part(_) => 0,
            Message::RoundVotes(_) | Message::Evidence(_) => 0,
        };
        if round > ROUNDS_AHEAD || !self.early.has_room(&message) {
            return Verdict::Ignore;
        }
        let good = match &message {
            Message::Vote(vote) => set.set.find(&vote.vote.validator).is_some() && self.verify_vote(vote),
            Message::Proposal(proposal) => {
                set.proposer(proposal.proposal.round) == proposal.proposal.proposer && self.verify_proposal(proposal)
            }
            Message::Part(part) => {
                let digest = self.env.domain.parts_digest(part.height, part.round, part.block_hash, &part.header);
                part.verify_inclusion().is_ok() && self.env.verify(digest, &part.signature, set.proposer(part.round))
            }
            Message::RoundVotes(_) | Message::Evidence(_) => return Verdict::Ignore,
        };
        if !good {
            return Verdict::Reject("a message of the next height is not validly signed".into());
        }
        self.early.insert(message);
        Verdict::Accept
    }

    fn on_current(&mut self, message: Message) -> Verdict {
        match message {
            Message::Vote(vote) => self.on_vote(vote),
            Message::Proposal(proposal) => self.on_proposal(proposal),
            Message::Part(part) => {
                if part.round > self.env.round.saturating_add(ROUNDS_AHEAD) || self.phase != Phase::Running {
                    return Verdict::Ignore;
                }
                let proposer = self.env.set.proposer(part.round);
                self.on_part(*part, proposer)
            }
            Message::RoundVotes(votes) => self.on_round_votes(&votes),
            Message::Evidence(_) => Verdict::Ignore,
        }
    }

    /// Checks a vote's signature, and listens whether it is our own key's.
    fn verify_vote(&mut self, signed: &SignedVote) -> bool {
        let vote = &signed.vote;
        let digest = self.env.domain.vote_digest(vote);
        let good = self.env.verify(digest, &signed.signature, vote.validator);
        if good && vote.validator == self.env.address() {
            let (height, round, step) = (vote.height, vote.round, step_of(vote.kind));
            self.env.heard_own(&LastSigned { height, round, step, digest });
        }
        good
    }

    fn on_vote(&mut self, signed: SignedVote) -> Verdict {
        let vote = &signed.vote;
        let window = self.env.round.saturating_sub(ROUNDS_BEHIND)..=self.env.round.saturating_add(ROUNDS_AHEAD);
        if !window.contains(&vote.round) {
            return Verdict::Ignore;
        }
        if self.env.set.set.find(&vote.validator).is_none() {
            return Verdict::Reject("a vote of somebody who is no validator of its height".into());
        }
        let standing = self.env.ballots.standing(vote);
        match standing {
            Standing::Known => return Verdict::Ignore,
            Standing::Spent => return Verdict::Drop,
            Standing::New | Standing::Contradicts(_) => {}
        }
        let core_vote = SignedMessage::new(CoreVote::from_vote(vote), signed.signature);
        if self.core.driver.votes().has_vote(&core_vote) {
            return Verdict::Ignore;
        }
        if !self.verify_vote(&signed) {
            return Verdict::Reject("a vote's signature is not its validator's".into());
        }
        if let Standing::Contradicts(first) = standing {
            self.env.accuse(Evidence::from_votes(first, signed.clone(), &self.env.domain));
        }
        self.env.heard_vote(&signed);
        self.feed(CoreInput::Vote(core_vote));
        Verdict::Accept
    }

    /// A vote of the height that was decided last. It decides nothing any more, but one that contradicts its signer's precommit in
    /// the certificate proves that he signed twice.
    fn on_late_vote(&mut self, signed: SignedVote) -> Verdict {
        let vote = &signed.vote;
        let certificate = match &self.env.decided {
            Some(decided) if decided.height == self.head.height => decided,
            Some(_) | None => &self.env.last_commit,
        };
        let Some(set) = &self.head_set else { return Verdict::Ignore };
        let slot = (VoteKind::Precommit, certificate.height, certificate.round);
        if (vote.kind, vote.height, vote.round) != slot || vote.block_hash == Some(certificate.block_hash) {
            return Verdict::Ignore;
        }
        let Some((index, _)) = set.set.find(&vote.validator) else { return Verdict::Ignore };
        let Ok(place) = certificate.signatures.binary_search_by_key(&index, |entry| entry.index) else {
            return Verdict::Ignore;
        };
        let Some(entry) = certificate.signatures.get(place) else { return Verdict::Ignore };
        let first = SignedVote { vote: certificate.vote(vote.validator), signature: entry.signature };
        if !self.env.offences.is_wanted(&vote.validator, vote.height, self.env.now.mono_ms) {
            return Verdict::Drop;
        }
        if !self.verify_vote(&signed) {
            return Verdict::Reject("a vote's signature is not its validator's".into());
        }
        self.env.accuse(Evidence::from_votes(first, signed, &self.env.domain));
        Verdict::Accept
    }

    fn verify_proposal(&mut self, signed: &SignedProposal) -> bool {
        let proposal = &signed.proposal;
        let digest = self.env.domain.proposal_digest(proposal);
        let parts = self.env.domain.parts_digest(proposal.height, proposal.round, proposal.block_hash, &signed.parts);
        let good = self.env.verify(digest, &signed.signature, proposal.proposer)
            && self.env.verify(parts, &signed.parts_signature, proposal.proposer);
        if good && proposal.proposer == self.env.address() {
            let (height, round) = (proposal.height, proposal.round);
            self.env.heard_own(&LastSigned { height, round, step: Step::Proposal, digest });
        }
        good
    }

    fn on_proposal(&mut self, signed: SignedProposal) -> Verdict {
        let proposal = &signed.proposal;
        if self.phase != Phase::Running
            || proposal.round > self.env.round.saturating_add(ROUNDS_AHEAD)
            || self.blocks.proposals.ignores(proposal)
        {
            return Verdict::Ignore;
        }
        if self.env.set.proposer(proposal.round) != proposal.proposer && !Mutant::ProposerUnchecked.active() {
            return Verdict::Reject("a proposal of somebody who is not the round's proposer".into());
        }
        if !self.verify_proposal(&signed) {
            return Verdict::Reject("a proposal's signature is not its proposer's".into());
        }
        if let Some(first) = self.blocks.proposals.contradicted(proposal) {
            let second = (proposal.clone(), signed.signature);
            self.env.accuse(Evidence::from_proposals(first, second, &self.env.domain));
        }
        self.note_proposal(signed);
        Verdict::Accept
    }

    /// Votes of a round, sent by a peer that is stuck or sees us stuck. Every node makes its own, so they are not
    /// passed on.
    fn on_round_votes(&mut self, votes: &RoundVotes) -> Verdict {
        if self.phase != Phase::Running || votes.round > self.env.round.saturating_add(CERTIFICATE_ROUNDS_AHEAD) {
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
        if !is_strong_enough(votes, &set) {
            return Verdict::Reject("a round certificate of too few votes".into());
        }
        for entry in &votes.votes {
            let vote = Vote {
                kind: entry.kind,
                height: votes.height,
                round: votes.round,
                block_hash: entry.block_hash,
                validator: entry.validator,
            };
            if !self.verify_vote(&SignedVote { vote, signature: entry.signature }) {
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
        for message in self.early.take(height) {
            // Whoever sent it was judged when it came.
            let _ = self.on_current(message);
        }
    }
}

/// Whether the voters of a round certificate are members and have the power that it needs: more than two thirds, or more than one
/// to skip a round.
fn is_strong_enough(votes: &RoundVotes, set: &CoreSet) -> bool {
    let mut power = 0u64;
    for entry in &votes.votes {
        let Some((_, validator)) = set.set.find(&entry.validator) else { return false };
        power = power.saturating_add(validator.power);
    }
    if votes.kind == SKIP { set.has_honest(power) } else { set.set.is_quorum(power) }
}

fn round_certificate(votes: &RoundVotes) -> Option<RoundCertificate<Ctx>> {
    let cert_type = match votes.kind {
        PRECOMMITS => RoundCertificateType::Precommit,
        SKIP => RoundCertificateType::Skip,
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
                value_id: entry.block_hash.map_or(NilOrVal::Nil, |hash| NilOrVal::Val(BlockId(hash))),
                address: CoreAddress(entry.validator),
                signature: entry.signature,
            })
            .collect(),
    })
}
