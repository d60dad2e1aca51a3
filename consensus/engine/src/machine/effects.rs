//! What the core asks for, and how it gets it: signatures, verification, log, timers, publication.

use super::blocks::Blocks;
use super::{Event, HeadInfo, Now, Output, Signing};
use crate::config::EngineConfig;
use crate::context::{CoreAddress, CoreSet, CoreVote, Ctx};
use crate::guard::{Guard, LastSigned, Step, may_sign};
use crate::message::{CertificateVote, Message, PRECOMMITS, RoundVotes, SKIP};
use crate::record::{WalRecord, polka_votes};
use crate::wal::{Wal, WalContent};
use alloy_primitives::{Address, B256};
use bttc_types::{
    Certificate, Evidence, Height, Mutant, PartsHeader, Proposal, Round, SecretKey, Signature, SignedProposal,
    SignedVote, SigningDomain, Vote, VoteKind, recover,
};
use malachitebft_core_consensus::{
    ConsensusMsg, Effect, Input as CoreInput, LivenessMsg, MisbehaviorEvidence, Resumable, Resume, SignedConsensusMsg,
};
use malachitebft_core_types::{
    CertificateError, CommitCertificate, NilOrVal, RoundCertificate, RoundCertificateType, SignedMessage,
    ThresholdParam, ThresholdParams, Timeout, ValidatorSet as _, VoteType,
};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Signatures that were verified in this height. Bounds the memory that votes of many rounds could take.
const MAX_VERIFIED: usize = 16_384;

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
    /// Records that the log held at the start.
    pub(super) loaded: HashSet<Vec<u8>>,
    pub(super) queue: VecDeque<CoreInput<Ctx>>,
    pub(super) outputs: Vec<Output>,
    pub(super) now: Now,
    pub(super) height: Height,
    pub(super) set: CoreSet,
    timers: BTreeMap<(u64, u64), Timeout>,
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

/// Whether the node may sign when it starts.
pub(super) fn initial_signing(
    config: &EngineConfig,
    guard: Option<&dyn Guard>,
    head: &HeadInfo,
    own_signature_above_guard: Option<Height>,
    now: Now,
) -> Signing {
    let Some(guard) = guard else { return Signing::NoKey };
    if let Some(height) = own_signature_above_guard {
        return Signing::Off(format!(
            "the certificate of block {height} carries a signature of this key that its guard does not know: \
             another node signs with the key, or an old guard was restored"
        ));
    }
    let last = guard.last().map_or(0, |last| last.height);
    if last < head.height || guard.just_imported() {
        return Signing::Listening {
            until_ms: now.mono_ms.saturating_add(config.listen_ms),
            until_height: head.height.saturating_add(2),
        };
    }
    Signing::Ready
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
        | Output::Evidence(_)
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
        | Output::Evidence(_)
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

    /// Whether the guard knows of a signature at `height` that the log of that height does not hold. What the key has
    /// seen and promised there is lost, and the guard alone does not keep it from breaking a promise. A guard that was
    /// just imported is an operator's word.
    pub(super) fn log_lacks_signature(&self, height: Height, content: Option<&WalContent>) -> bool {
        let Some((_, guard)) = &self.key else { return false };
        let Some(last) = guard.last().filter(|last| last.height == height && !guard.just_imported()) else {
            return false;
        };
        let intent = WalRecord::Intent(last.digest).encode();
        !content.is_some_and(|content| content.height == height && content.records.contains(&intent))
    }

    /// Height of the last signature that the guard knows.
    pub(super) fn guard_height(&self) -> Height {
        self.key.as_ref().and_then(|(_, guard)| guard.last()).map_or(0, |last| last.height)
    }

    pub(super) fn address(&self) -> Address {
        self.key.as_ref().map_or(Address::ZERO, |(key, _)| key.address())
    }

    /// Whether the core may act as a validator.
    pub(super) fn may_sign(&self) -> bool {
        self.signing == Signing::Ready
    }

    /// Stops signing until a restart.
    pub(super) fn stop_signing(&mut self, reason: String) {
        if !matches!(self.signing, Signing::Off(_)) {
            self.signing = Signing::Off(reason);
            self.outputs.push(Output::Event(Event::Signing(self.signing.clone())));
        }
    }

    /// Adds a record to the log; a failure stops signing.
    pub(super) fn log(&mut self, record: &WalRecord) {
        if !self.wal_on {
            return;
        }
        let bytes = record.encode();
        if self.replaying && self.loaded.contains(&bytes) {
            return;
        }
        match self.wal.append(&bytes) {
            Ok(()) => {
                self.wal_dirty = true;
                self.wal_needed = true;
            }
            Err(error) => self.wal_failed(&error),
        }
    }

    /// Makes what was appended survive a power cut, if anything in it is needed; a failure stops signing.
    pub(super) fn flush_needed(&mut self) {
        if self.wal_needed {
            self.flush();
        }
    }

    /// Makes the log survive a power cut; a failure stops signing.
    pub(super) fn flush(&mut self) {
        self.wal_needed = false;
        if self.wal_on
            && !Mutant::FlushSkipped.active()
            && std::mem::take(&mut self.wal_dirty)
            && let Err(error) = self.wal.flush()
        {
            self.wal_failed(&error);
        }
    }

    fn wal_failed(&mut self, error: &crate::Error) {
        self.wal_on = false;
        self.stop_signing(error.to_string());
    }

    pub(super) fn reset_wal(&mut self, height: Height) {
        self.loaded.clear();
        if self.wal_on
            && let Err(error) = self.wal.reset(height)
        {
            self.wal_failed(&error);
        }
    }

    /// Forgets what belongs to a height.
    pub(super) fn clear_height(&mut self) {
        self.timers.clear();
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

    fn schedule(&mut self, timeout: Timeout) {
        self.timers.retain(|_, known| *known != timeout);
        if timeout.round.is_nil() {
            return;
        }
        let duration = self.config.timeouts().duration_for(timeout);
        let deadline = self.now.mono_ms.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self.timer_sequence = self.timer_sequence.saturating_add(1);
        self.timers.insert((deadline, self.timer_sequence), timeout);
    }

    /// Checks a signature once; a second look costs a hash lookup.
    pub(super) fn verify(&mut self, digest: B256, signature: &Signature, signer: Address) -> bool {
        if let Some(known) = self.verified.get(&(digest, *signature)) {
            return *known == signer;
        }
        let Ok(found) = recover(digest, signature) else { return false };
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.clear();
        }
        self.verified.insert((digest, *signature), found);
        found == signer
    }

    /// Signs when the guard and the latch allow it. What led the core to this step is flushed first: should the node die
    /// after the guard was written and before the message went out, it plays the log, wants the same message again, and
    /// the guard lets it. Otherwise the step's signature would be lost for good, and a height that needs it would never
    /// end.
    fn sign(&mut self, step: Step, height: Height, round: Round, digest: B256) -> Signature {
        if self.signing != Signing::Ready {
            return REFUSED;
        }
        let Some((_, guard)) = &self.key else { return REFUSED };
        let next = LastSigned { height, round, step, digest };
        if let Err(error) = may_sign(guard.last().as_ref(), &next)
            && !Mutant::GuardOff.active()
        {
            // Somewhere later it will sign again; here it may have signed something else.
            let refusal = error.to_string();
            self.outputs.push(Output::Event(Event::Refused(refusal)));
            return REFUSED;
        }
        if guard.last() != Some(next) {
            self.log(&WalRecord::Intent(digest));
            self.flush();
            let Some((_, guard)) = &mut self.key else { return REFUSED };
            if self.signing != Signing::Ready {
                return REFUSED;
            }
            if let Err(error) = guard.record(next) {
                let reason = error.to_string();
                self.stop_signing(reason);
                return REFUSED;
            }
        }
        let Some((key, _)) = &self.key else { return REFUSED };
        let signature = key.sign(digest);
        self.verified.insert((digest, signature), key.address());
        self.made.insert(signature);
        signature
    }

    /// Signs the announcement of a block's parts. It cannot contradict anything: it names no vote.
    pub(super) fn sign_parts(&self, round: Round, hash: B256, parts: &PartsHeader) -> Option<Signature> {
        if self.signing != Signing::Ready {
            return None;
        }
        let (key, _) = self.key.as_ref()?;
        Some(key.sign(self.domain.parts_digest(self.height, round, hash, parts)))
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
                        let step = match plain.kind {
                            VoteKind::Prevote => Step::Prevote,
                            VoteKind::Precommit => Step::Precommit,
                        };
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
            let message = Message::Vote(SignedVote { vote: plain, signature: vote.signature });
            self.outputs.push(Output::Broadcast(message));
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
                    NilOrVal::Nil => B256::ZERO,
                    NilOrVal::Val(id) => id.0,
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

    fn verify_message(&mut self, message: &ConsensusMsg<Ctx>, signature: &Signature, key: CoreAddress) -> bool {
        match message {
            ConsensusMsg::Vote(vote) => {
                let Some(plain) = vote.to_vote() else { return false };
                let digest = self.domain.vote_digest(&plain);
                let good = self.verify(digest, signature, key.0);
                if good {
                    self.collect_late_precommit(&plain, signature);
                }
                good
            }
            ConsensusMsg::Proposal(proposal) => {
                let Some(plain) = proposal.to_proposal() else { return false };
                let digest = self.domain.proposal_digest(&plain);
                self.verify(digest, signature, key.0)
            }
        }
    }

    /// A precommit for the decided block that came after the decision still counts for `last_commit`: it pays its
    /// signer and keeps him from being counted as absent.
    fn collect_late_precommit(&mut self, vote: &Vote, signature: &Signature) {
        let Some(decided) = &mut self.decided else { return };
        let matches = vote.kind == VoteKind::Precommit
            && (vote.height, vote.round, vote.block_hash) == (decided.height, decided.round, Some(decided.block_hash));
        if matches
            && let Some((index, _)) = self.set.set.find(&vote.validator)
            && decided.insert(index, *signature)
        {
            self.certificate_grew = true;
        }
    }

    /// Strict: one bad signature spoils all, because the core takes every signature of an accepted certificate.
    fn verify_votes(
        &mut self,
        votes: Vec<(CoreAddress, CoreVote, Signature)>,
        set: &CoreSet,
        threshold: ThresholdParam,
        invalid: impl Fn(CoreAddress, Signature) -> CertificateError<Ctx>,
    ) -> Result<(), CertificateError<Ctx>> {
        let mut seen = HashSet::new();
        let mut power = 0u64;
        for (address, vote, signature) in votes {
            if !seen.insert(address) {
                return Err(CertificateError::DuplicateVote(address));
            }
            let validator = set.get_by_address(&address).ok_or(CertificateError::UnknownValidator(address))?;
            let digest = vote.to_vote().map(|vote| self.domain.vote_digest(&vote));
            if !digest.is_some_and(|digest| self.verify(digest, &signature, address.0)) {
                return Err(invalid(address, signature));
            }
            power = power.saturating_add(validator.power);
        }
        let total = set.total_voting_power();
        if threshold.is_met(power, total) {
            Ok(())
        } else {
            let expected = threshold.min_expected(total);
            Err(CertificateError::NotEnoughVotingPower { signed: power, total, expected })
        }
    }

    fn verify_round(
        &mut self,
        certificate: &RoundCertificate<Ctx>,
        set: &CoreSet,
        thresholds: ThresholdParams,
    ) -> Result<(), CertificateError<Ctx>> {
        let threshold = match certificate.cert_type {
            RoundCertificateType::Precommit => thresholds.quorum,
            RoundCertificateType::Skip => thresholds.honest,
        };
        let mut votes = Vec::with_capacity(certificate.round_signatures.len());
        for entry in &certificate.round_signatures {
            if certificate.cert_type == RoundCertificateType::Precommit && entry.vote_type == VoteType::Prevote {
                return Err(CertificateError::InvalidVoteType(entry.address));
            }
            let vote = CoreVote {
                kind: entry.vote_type,
                height: certificate.height,
                round: certificate.round,
                value: entry.value_id,
                validator: entry.address,
            };
            votes.push((entry.address, vote, entry.signature));
        }
        self.verify_votes(votes, set, threshold, |address, _| CertificateError::UnknownValidator(address))
    }

    /// Our form of the core's certificate: signatures by index.
    fn certificate(&self, certificate: &CommitCertificate<Ctx>) -> Certificate {
        let mut result = Certificate {
            height: certificate.height.0,
            round: certificate.round.as_u32().unwrap_or(0),
            block_hash: certificate.value_id.0,
            signatures: Vec::with_capacity(certificate.commit_signatures.len()),
        };
        for entry in &certificate.commit_signatures {
            if let Some((index, _)) = self.set.set.find(&entry.address.0) {
                result.insert(index, entry.signature);
            }
        }
        result
    }

    fn report(&mut self, evidence: &MisbehaviorEvidence<Ctx>) {
        for (_, pairs) in &evidence.votes {
            for (a, b) in pairs {
                if let (Some(first), Some(second)) = (a.message.to_vote(), b.message.to_vote()) {
                    let first = SignedVote { vote: first, signature: a.signature };
                    let second = SignedVote { vote: second, signature: b.signature };
                    let found = Evidence::from_votes(first, second, &self.domain);
                    self.outputs.push(Output::Evidence(found));
                }
            }
        }
        for (_, pairs) in &evidence.proposals {
            for (a, b) in pairs {
                if let (Some(first), Some(second)) = (a.message.to_proposal(), b.message.to_proposal()) {
                    let found = Evidence::from_proposals((first, a.signature), (second, b.signature), &self.domain);
                    self.outputs.push(Output::Evidence(found));
                }
            }
        }
    }
}

fn vote_of(kind: VoteType, certificate: &CommitCertificate<Ctx>, validator: CoreAddress) -> CoreVote {
    CoreVote {
        kind,
        height: certificate.height,
        round: certificate.round,
        value: NilOrVal::Val(certificate.value_id),
        validator,
    }
}
