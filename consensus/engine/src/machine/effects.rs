//! What the core asks for, and how it gets it: signatures, verification, log, timers, publication.

mod signing;
mod verify;

pub(in crate::machine) use signing::initial_signing;
use verify::vote_of;

use super::ballots::{Ballots, step_of};
use super::blocks::Blocks;
use super::offences::Offences;
use super::{Event, Now, Output, Signing};
use crate::config::EngineConfig;
use crate::context::{CoreSet, CoreVote, Ctx};
use crate::guard::{Guard, Step};
use crate::message::{CertificateVote, Message, PRECOMMITS, RoundVotes, SKIP};
use crate::record::{WalRecord, polka_votes};
use crate::wal::Wal;
use alloy_primitives::{Address, B256};
use bttc_types::{
    Certificate, Evidence, Height, Proposal, Round, SecretKey, Signature, SignedProposal, SignedVote, SigningDomain,
    VoteKind,
};
use malachitebft_core_consensus::{
    Effect, Input as CoreInput, LivenessMsg, MisbehaviorEvidence, Resumable, Resume, SignedConsensusMsg,
};
use malachitebft_core_types::{
    CertificateError, NilOrVal, RoundCertificate, RoundCertificateType, SignedMessage, Timeout, TimeoutKind, VoteType,
};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Signatures that were verified in this height. Bounds the memory that votes of many rounds could take.
const MAX_VERIFIED: usize = 16_384;

/// What each round adds to the least time of a round in which everybody has voted, and the most that it comes to.
const ROUND_FLOOR_MS: u64 = 5;
const MAX_ROUND_FLOOR_MS: u64 = 1_000;

/// A signature that verifies for nobody and is never published: the core's interface has no other way to refuse one.
const REFUSED: Signature = Signature::from_bytes([0; 65]);

/// Everything of the engine that the effect handler needs; the core itself is borrowed while it runs.
pub(super) struct Env {
    pub(super) config: EngineConfig,
    pub(super) domain: SigningDomain,
    key: Option<(SecretKey, Box<dyn Guard>)>,
    pub(super) signing: Signing,
    pub(super) wal: Wal,
    /// Whether a log is kept (only validators keep one).
    pub(super) wal_on: bool,
    /// Whether something was appended since the last flush.
    wal_dirty: bool,
    /// Whether that includes anything that the playing of the log could not make again.
    wal_needed: bool,
    pub(super) replaying: bool,
    /// What the core found wrong with the log.
    pub(super) replay_error: Option<String>,
    /// Signatures that this run of the node made in this height.
    made: HashSet<Signature>,
    /// Hashes of the records that the log held at the start.
    pub(super) loaded: HashSet<B256>,
    pub(super) queue: VecDeque<CoreInput<Ctx>>,
    pub(super) outputs: Vec<Output>,
    pub(super) now: Now,
    pub(super) height: Height,
    pub(super) set: CoreSet,
    timers: BTreeMap<(u64, u64), Timeout>,
    /// Who has voted for what: when all have and nothing has a quorum, nothing is waited for.
    pub(super) ballots: Ballots,
    /// When the round began, monotonic milliseconds.
    round_start_ms: u64,
    /// The log on disk is that of this height, which is above the one worked on: the database is older than the log. It is kept
    /// as it is until that height comes, and nothing is signed before.
    pub(super) kept_log: Option<Height>,
    /// Offences of validators, as far as they were proved.
    pub(super) offences: Offences,
    timer_sequence: u64,
    /// Who made a signature, for those looked at in this height.
    verified: HashMap<(B256, Signature), Address>,
    /// Round of the core, as far as it told.
    pub(super) round: Round,
    /// A value that the core wants proposed, and could not be asked for during replay.
    pub(super) wanted: Option<Round>,
    pub(super) decided: Option<Certificate>,
    /// Certificate of the parent of the block that is being decided; grows until that block is proposed.
    pub(super) last_commit: Certificate,
    /// Our proposal of the current round with its parts, to be sent again.
    pub(super) own_proposal: Option<(Round, Vec<Message>)>,
    /// Our latest votes, for peers that connect.
    pub(super) own_votes: Vec<SignedVote>,
    /// Whether the certificate of the decided block has grown since it was decided.
    pub(super) certificate_grew: bool,
}

/// Whether an output is a message that this node signed.
pub(super) fn is_own_message(output: &Output, address: Address) -> bool {
    let message = match output {
        Output::Broadcast(message) | Output::Send(_, message) => message,
        Output::Propose { .. }
        | Output::Validate { .. }
        | Output::Commit { .. }
        | Output::RequestBlocks { .. }
        | Output::Misbehaved { .. }
        | Output::Evidence { .. }
        | Output::BetterCertificate(_)
        | Output::Halt(_)
        | Output::Event(_) => return false,
    };
    match message {
        Message::Vote(vote) => vote.vote.validator == address,
        Message::Proposal(proposal) => proposal.proposal.proposer == address,
        Message::Part(_) => true,
        Message::RoundVotes(votes) => votes.votes.iter().any(|entry| entry.validator == address),
        Message::Evidence(_) => false,
    }
}

/// Whether what an output follows from must have reached the disk first: it leaves the node, or cannot be taken back.
pub(super) fn needs_flush(output: &Output) -> bool {
    match output {
        Output::Broadcast(_) | Output::Send(..) | Output::Commit { .. } => true,
        Output::Propose { .. }
        | Output::Validate { .. }
        | Output::RequestBlocks { .. }
        | Output::Misbehaved { .. }
        | Output::Evidence { .. }
        | Output::BetterCertificate(_)
        | Output::Halt(_)
        | Output::Event(_) => false,
    }
}

impl Env {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        config: EngineConfig,
        domain: SigningDomain,
        key: Option<(SecretKey, Box<dyn Guard>)>,
        signing: Signing,
        wal: Wal,
        set: CoreSet,
        height: Height,
        last_commit: Certificate,
    ) -> Self {
        Self {
            config,
            domain,
            wal_on: key.is_some(),
            key,
            signing,
            wal,
            wal_dirty: false,
            wal_needed: false,
            replaying: false,
            replay_error: None,
            made: HashSet::new(),
            loaded: HashSet::new(),
            queue: VecDeque::new(),
            outputs: Vec::new(),
            now: Now::default(),
            height,
            set,
            timers: BTreeMap::new(),
            ballots: Ballots::default(),
            round_start_ms: 0,
            kept_log: None,
            offences: Offences::default(),
            timer_sequence: 0,
            verified: HashMap::new(),
            round: 0,
            wanted: None,
            decided: None,
            last_commit,
            own_proposal: None,
            own_votes: Vec::new(),
            certificate_grew: false,
        }
    }

    /// Forgets what belongs to a height.
    pub(super) fn clear_height(&mut self) {
        self.timers.clear();
        self.ballots.clear();
        self.verified.clear();
        self.made.clear();
        self.queue.clear();
        self.round = 0;
        self.wanted = None;
        self.decided = None;
        self.own_proposal = None;
        self.own_votes.clear();
        self.certificate_grew = false;
    }

    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Takes a timer that is due.
    pub(super) fn due_timer(&mut self) -> Option<Timeout> {
        let (deadline, sequence) = *self.timers.keys().next()?;
        if deadline > self.now.mono_ms {
            return None;
        }
        self.timers.remove(&(deadline, sequence))
    }

    /// A verified vote of a validator of this height, ours included. When it is the last one of its step, the timer that
    /// waits for more is due: a height in which some are locked may need many rounds until one of them proposes, and the
    /// timeouts of late rounds are long.
    pub(super) fn heard_vote(&mut self, signed: &SignedVote) {
        if signed.vote.height != self.height {
            return;
        }
        self.ballots.take_down(signed);
        let due: Vec<_> = self
            .timers
            .iter()
            .filter(|(_, timeout)| self.nothing_to_wait_for(**timeout))
            .map(|(key, timeout)| (*key, *timeout))
            .collect();
        let soonest = self.soonest_end_ms();
        for (key, timeout) in due {
            self.timers.remove(&key);
            self.timers.insert((key.0.min(soonest), key.1), timeout);
        }
    }

    /// Whether the timeout waits for votes, every validator has voted, and no block has more than two thirds.
    fn nothing_to_wait_for(&self, timeout: Timeout) -> bool {
        let step = match timeout.kind {
            TimeoutKind::Prevote => Step::Prevote,
            TimeoutKind::Precommit => Step::Precommit,
            _ => return false,
        };
        timeout.round.as_u32().is_some_and(|round| self.ballots.nothing_to_wait_for(round, step, &self.set.set))
    }

    /// When this round's votes may be given up at the earliest, although everybody has voted: at once in the first round, later
    /// in each further one. Validators that all disagree for good must not run through rounds as fast as the network can carry
    /// them.
    fn soonest_end_ms(&self) -> u64 {
        let least = ROUND_FLOOR_MS.saturating_mul(u64::from(self.round)).min(MAX_ROUND_FLOOR_MS);
        self.now.mono_ms.max(self.round_start_ms.saturating_add(least))
    }

    fn schedule(&mut self, timeout: Timeout) {
        self.timers.retain(|_, known| *known != timeout);
        if timeout.round.is_nil() {
            return;
        }
        let duration = self.config.timeouts().duration_for(timeout);
        let wait = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let latest = self.now.mono_ms.saturating_add(wait);
        let deadline = if self.nothing_to_wait_for(timeout) { latest.min(self.soonest_end_ms()) } else { latest };
        self.timer_sequence = self.timer_sequence.saturating_add(1);
        self.timers.insert((deadline, self.timer_sequence), timeout);
    }

    pub(super) fn on_effect(&mut self, effect: Effect<Ctx>, blocks: &mut Blocks) -> Result<Resume<Ctx>, String> {
        Ok(match effect {
            Effect::CancelAllTimeouts(resume) => {
                self.timers.clear();
                resume.resume_with(())
            }
            Effect::CancelTimeout(timeout, resume) => {
                self.timers.retain(|_, known| *known != timeout);
                resume.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, resume) => {
                self.schedule(timeout);
                resume.resume_with(())
            }
            Effect::StartRound(height, round, proposer, _, resume) => {
                self.round = round.as_u32().unwrap_or(0);
                self.round_start_ms = self.now.mono_ms;
                // The core sets this timer for others' proposals only. A proposer that cannot build must give the round
                // up as well: others may wait for its prevote.
                self.schedule(Timeout::propose(round));
                let event = Event::RoundStarted { height: height.0, round: self.round, proposer: proposer.0 };
                self.outputs.push(Output::Event(event));
                resume.resume_with(())
            }
            Effect::PublishConsensusMsg(message, resume) => {
                self.publish(message, blocks);
                resume.resume_with(())
            }
            Effect::PublishLivenessMsg(message, resume) => {
                match message {
                    LivenessMsg::Vote(vote) => self.publish_vote(&vote),
                    LivenessMsg::PolkaCertificate(certificate) => {
                        if let Some(votes) = polka_votes(&certificate) {
                            self.outputs.push(Output::Broadcast(Message::RoundVotes(votes)));
                        }
                    }
                    LivenessMsg::SkipRoundCertificate(certificate) => self.publish_round(&certificate),
                }
                resume.resume_with(())
            }
            Effect::RepublishVote(vote, resume) => {
                self.publish_vote(&vote);
                if let Some((round, messages)) = &self.own_proposal
                    && *round == self.round
                {
                    self.outputs.extend(messages.iter().cloned().map(Output::Broadcast));
                }
                resume.resume_with(())
            }
            Effect::RepublishRoundCertificate(certificate, resume) => {
                self.publish_round(&certificate);
                resume.resume_with(())
            }
            Effect::GetValue(_, round, _, resume) => {
                self.wanted = round.as_u32();
                resume.resume_with(())
            }
            Effect::RestreamProposal(_, _, _, proposer, id, resume) => {
                // Our own re-proposal streams its parts when it is published; here another's block is passed on with
                // the announcement that its proposer signed.
                if proposer.0 != self.address() {
                    let messages = blocks.announced(&id.0);
                    self.outputs.extend(messages.into_iter().map(Output::Broadcast));
                }
                resume.resume_with(())
            }
            // Sync goes around the core, so these two never come.
            Effect::CertVerifiedSyncValue(_, _, resume) => resume.resume_with(()),
            Effect::CertRejectedSyncValue(_, _, _, resume) => resume.resume_with(()),
            Effect::Decide(certificate, _, resume) => {
                self.decided = Some(self.certificate(&certificate));
                resume.resume_with(())
            }
            Effect::Finalize(_, _, evidence, resume) => {
                self.report(&evidence);
                resume.resume_with(())
            }
            Effect::SignVote(vote, resume) => {
                let vote = blocks.break_lock(vote, self.round);
                let signature = match vote.to_vote() {
                    None => REFUSED,
                    Some(plain) => {
                        let step = step_of(plain.kind);
                        let digest = self.domain.vote_digest(&plain);
                        self.sign(step, plain.height, plain.round, digest)
                    }
                };
                resume.resume_with(SignedMessage::new(vote, signature))
            }
            Effect::SignProposal(proposal, resume) => {
                let signature = match proposal.to_proposal() {
                    None => REFUSED,
                    Some(plain) => {
                        let digest = self.domain.proposal_digest(&plain);
                        self.sign(Step::Proposal, plain.height, plain.round, digest)
                    }
                };
                if signature == REFUSED {
                    // The core took the timer back when it got the value, and will not hear of this proposal again.
                    self.schedule(Timeout::propose(malachitebft_core_types::Proposal::round(&proposal)));
                }
                resume.resume_with(SignedMessage::new(proposal, signature))
            }
            Effect::VerifySignature(message, key, resume) => {
                resume.resume_with(self.verify_message(&message.message, &message.signature, key))
            }
            Effect::VerifyCommitCertificate(certificate, set, thresholds, resume) => {
                let votes = certificate.commit_signatures.iter().map(|entry| {
                    let vote = vote_of(VoteType::Precommit, &certificate, entry.address);
                    (entry.address, vote, entry.signature)
                });
                let votes: Vec<_> = votes.collect();
                resume.resume_with(self.verify_votes(votes, &set, thresholds.quorum, |address, signature| {
                    CertificateError::InvalidCommitSignature(malachitebft_core_types::CommitSignature::new(
                        address, signature,
                    ))
                }))
            }
            Effect::VerifyExtendedCommitCertificate(_, _, _, _, resume) => {
                resume.resume_with(Err(CertificateError::VerificationError(None)))
            }
            Effect::VerifyPolkaCertificate(certificate, set, thresholds, resume) => {
                let votes: Vec<_> = certificate
                    .polka_signatures
                    .iter()
                    .map(|entry| {
                        let vote = CoreVote {
                            kind: VoteType::Prevote,
                            height: certificate.height,
                            round: certificate.round,
                            value: NilOrVal::Val(certificate.value_id),
                            validator: entry.address,
                        };
                        (entry.address, vote, entry.signature)
                    })
                    .collect();
                resume.resume_with(self.verify_votes(votes, &set, thresholds.quorum, |address, signature| {
                    CertificateError::InvalidPolkaSignature(malachitebft_core_types::PolkaSignature::new(
                        address, signature,
                    ))
                }))
            }
            Effect::VerifyRoundCertificate(certificate, set, thresholds, resume) => {
                resume.resume_with(self.verify_round(&certificate, &set, thresholds))
            }
            Effect::WalAppend(_, input, resume) => {
                if let Some(record) = WalRecord::from_input(&input) {
                    match record.signature_of(self.address()) {
                        None => self.log(&record),
                        // Our own message follows from what was flushed before it was signed: it may be lost, until the
                        // next one is signed.
                        Some(own) if self.made.contains(&own) => {
                            let needed = self.wal_needed;
                            self.log(&record);
                            self.wal_needed = needed;
                        }
                        // A peer brings back what we signed before our log was lost. It counts, but it does not follow
                        // from this log, and playing it would contradict it.
                        Some(_) => {}
                    }
                }
                resume.resume_with(())
            }
            Effect::ExtendVote(_, _, _, _, resume) => resume.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => {
                resume.resume_with(Err(malachitebft_core_consensus::VoteExtensionError::InvalidVoteExtension))
            }
        })
    }

    fn publish(&mut self, message: SignedConsensusMsg<Ctx>, blocks: &mut Blocks) {
        match message {
            SignedConsensusMsg::Vote(vote) => {
                if let Some(plain) = vote.message.to_vote()
                    && vote.signature != REFUSED
                {
                    self.own_votes.retain(|known| known.vote.kind != plain.kind);
                    self.own_votes.push(SignedVote { vote: plain, signature: vote.signature });
                }
                self.publish_vote(&vote);
            }
            SignedConsensusMsg::Proposal(proposal) => {
                if proposal.signature == REFUSED {
                    return;
                }
                let Some(plain) = proposal.message.to_proposal() else { return };
                if plain.proposer != self.address() {
                    return;
                }
                if let Some(messages) = self.proposal_messages(plain, proposal.signature, blocks) {
                    self.own_proposal = Some((self.round, messages.clone()));
                    self.outputs.extend(messages.into_iter().map(Output::Broadcast));
                }
            }
        }
    }

    /// Our proposal and its parts as messages.
    fn proposal_messages(&mut self, proposal: Proposal, signature: Signature, blocks: &Blocks) -> Option<Vec<Message>> {
        let (header, parts) = blocks.cut(&proposal.block_hash)?;
        let parts_signature = self.sign_parts(proposal.round, proposal.block_hash, &header)?;
        let mut messages = Vec::with_capacity(parts.len().saturating_add(1));
        let (height, round, block_hash) = (proposal.height, proposal.round, proposal.block_hash);
        messages.push(Message::Proposal(SignedProposal { proposal, signature, parts: header, parts_signature }));
        for (index, (bytes, proof)) in (0u32..).zip(parts) {
            messages.push(Message::Part(Box::new(bttc_types::Part {
                height,
                round,
                block_hash,
                header,
                signature: parts_signature,
                index,
                bytes,
                proof,
            })));
        }
        Some(messages)
    }

    fn publish_vote(&mut self, vote: &malachitebft_core_types::SignedVote<Ctx>) {
        if vote.signature == REFUSED {
            return;
        }
        if let Some(plain) = vote.message.to_vote() {
            let signed = SignedVote { vote: plain, signature: vote.signature };
            self.heard_vote(&signed);
            self.outputs.push(Output::Broadcast(Message::Vote(signed)));
        }
    }

    fn publish_round(&mut self, certificate: &RoundCertificate<Ctx>) {
        let Some(round) = certificate.round.as_u32() else { return };
        let votes = certificate
            .round_signatures
            .iter()
            .map(|entry| CertificateVote {
                kind: match entry.vote_type {
                    VoteType::Prevote => VoteKind::Prevote,
                    VoteType::Precommit => VoteKind::Precommit,
                },
                block_hash: match &entry.value_id {
                    NilOrVal::Nil => None,
                    NilOrVal::Val(id) => Some(id.0),
                },
                validator: entry.address.0,
                signature: entry.signature,
            })
            .collect();
        let kind = match certificate.cert_type {
            RoundCertificateType::Precommit => PRECOMMITS,
            RoundCertificateType::Skip => SKIP,
        };
        let message = Message::RoundVotes(RoundVotes { height: certificate.height.0, round, kind, votes });
        self.outputs.push(Output::Broadcast(message));
    }

    fn report(&mut self, evidence: &MisbehaviorEvidence<Ctx>) {
        for (_, pairs) in &evidence.votes {
            for (a, b) in pairs {
                if let (Some(first), Some(second)) = (a.message.to_vote(), b.message.to_vote()) {
                    let first = SignedVote { vote: first, signature: a.signature };
                    let second = SignedVote { vote: second, signature: b.signature };
                    self.accuse(Evidence::from_votes(first, second, &self.domain));
                }
            }
        }
        for (_, pairs) in &evidence.proposals {
            for (a, b) in pairs {
                if let (Some(first), Some(second)) = (a.message.to_proposal(), b.message.to_proposal()) {
                    let pair = ((first, a.signature), (second, b.signature));
                    self.accuse(Evidence::from_proposals(pair.0, pair.1, &self.domain));
                }
            }
        }
    }

    /// Two messages that this node has seen contradict each other: it says so once for each offender and height.
    pub(super) fn accuse(&mut self, evidence: Evidence) {
        let new = self.offences.see(evidence.validator(), evidence.height(), self.now.mono_ms);
        if new && evidence.validator() != self.address() {
            self.outputs.push(Output::Evidence { evidence, found_here: true });
        }
    }
}
