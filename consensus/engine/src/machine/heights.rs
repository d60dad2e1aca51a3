//! From one height to the next: replay, waiting, deciding, committing, syncing.

use super::{Engine, Event, HeadInfo, Output, Phase, Signing};
use crate::Error;
use crate::context::{CoreHeight, CoreSet};
use crate::message::{CertificateVote, Message, PRECOMMITS, RoundVotes};
use crate::record::WalRecord;
use alloy_primitives::{B256, keccak256};
use bttc_types::{
    Certificate, ExtraData, Height, Mutant, Round, ValidatorSet, VoteKind, authentic_block_hash, block_hash_of,
    block_time_ms, header_of,
};
use malachitebft_core_consensus::Input as CoreInput;
use malachitebft_core_types::{TimeoutKind, VoteExtensionPolicy};
use std::sync::Arc;

/// How long a peer must have been ahead by one block before that block is fetched: normally it is about to be decided
/// here too.
pub(super) const BEHIND_MS: u64 = 300;

/// How long sync may pause before the node takes part in consensus again.
const SYNC_PATIENCE_MS: u64 = 1_000;

/// How soon after the last height the next one may start because others have started it, in per cent of the target time. Their
/// clocks and ours do not tick together; and what is left lets slow validators' precommits arrive.
const EARLY_START_PERCENT: u64 = 80;

/// How often a node that knows that it is behind looks again, before it takes part.
const BOOT_LOOK_MS: u64 = 500;

/// What the messages of the next height say about its start.
enum Start {
    /// At once.
    Now,
    /// As soon as heights may follow each other.
    NotBefore,
}

impl Engine {
    /// Reads the log. When it is about the next height, plays it: the same votes come out, with the signatures that
    /// the log holds, and the core stands where it stood.
    ///
    /// Returns whether there was anything to play.
    pub(super) fn replay(&mut self) -> bool {
        let next = self.head.height.saturating_add(1);
        let content = match self.env.wal.load() {
            _ if !self.env.wal_on => None,
            Ok(content) => content,
            // Damage in a log that cannot matter: our key has not signed at this height.
            Err(Error::WalDamaged { .. }) if self.env.guard_height() < next => {
                if let Err(error) = self.env.wal.discard() {
                    self.env.wal_on = false;
                    self.env.stop_signing(error.to_string());
                }
                None
            }
            Err(error @ (Error::WalDamaged { .. } | Error::Wal { .. })) => {
                self.env.wal_on = false;
                self.env.stop_signing(error.to_string());
                None
            }
            Err(error) => {
                self.env.stop_signing(error.to_string());
                None
            }
        };
        let mut content = content;
        if self.env.wal_on && self.env.may_sign() && self.env.log_lacks_signature(next, content.as_ref()) {
            self.env.wal_on = false;
            self.env.stop_signing(format!(
                "the write-ahead log is lost or damaged: it does not hold what this key signed last at height {next}. Let \
                 the node follow the chain past that height, then restart it"
            ));
            content = None;
        }
        // The database is older than the log: an older copy, an empty one, or one that lost its end. What the key has promised at
        // the log's height is in the log alone, so it stays until that height comes.
        if let Some(above) = content.as_ref().map(|content| content.height).filter(|height| *height > next)
            && self.env.wal_on
        {
            self.env.kept_log = Some(above);
            self.env.outputs.push(Output::Event(Event::LogKept { height: above, next }));
            return false;
        }
        let Some(content) = content.filter(|content| content.height == next && !content.records.is_empty()) else {
            if self.phase == Phase::Waiting {
                self.env.reset_wal(next);
            }
            return false;
        };
        let mut entries = Vec::new();
        let mut blocks = Vec::new();
        let mut judged = Vec::new();
        let mut proposals = Vec::new();
        let mut own_value: Option<(Round, B256)> = None;
        for bytes in &content.records {
            let record = match WalRecord::decode(bytes) {
                Ok(record) => record,
                Err(error) => {
                    // The CRC was good, so another version wrote it: it cannot be replayed safely.
                    self.env.wal_on = false;
                    self.env.stop_signing(format!("write-ahead log: {error}"));
                    return false;
                }
            };
            match &record {
                WalRecord::Block(block) => {
                    if let Ok(hash) = block_hash_of(block) {
                        blocks.push((hash, Arc::from(block.as_ref())));
                    }
                }
                WalRecord::Value(value) => {
                    judged.push(value.block_hash);
                    if value.proposer == self.env.address() {
                        own_value = Some((value.round, value.block_hash));
                    }
                }
                WalRecord::Proposal(proposal, signature) => proposals.push((proposal.clone(), *signature)),
                WalRecord::Vote(_) | WalRecord::Timeout { .. } | WalRecord::Polka(_) | WalRecord::Intent(_) => {}
            }
            entries.extend(record.into_input());
        }
        for (hash, bytes) in blocks {
            self.blocks.restore(hash, bytes, judged.contains(&hash));
        }
        let (records, torn) = (content.records.len(), content.torn);
        self.env.outputs.push(Output::Event(Event::Replayed { height: next, records, torn }));
        self.env.loaded = content.records.iter().map(keccak256).collect();
        drop(content);
        self.env.replaying = true;
        self.core.index_wal_entries(entries.iter());
        self.begin_height(next, true);
        for entry in entries {
            if self.env.replay_error.is_none() {
                self.feed(entry);
            }
        }
        self.core.reset_entries_index();
        self.env.replaying = false;
        self.env.loaded.clear();
        if let Some(error) = self.env.replay_error.take() {
            // As with damage: whatever was signed at this height is not known, so nothing more is.
            self.env.wal_on = false;
            self.env.stop_signing(format!(
                "the write-ahead log of height {next} contradicts itself ({error}): let the node follow the chain past \
                 that height, then restart it"
            ));
            self.begin_height(next, false);
            return true;
        }
        for (proposal, signature) in proposals {
            self.restore_proposal(proposal, signature);
        }
        // A block that we built before the crash is the block of its round: never a second one.
        if let (Some(wanted), Some((round, hash))) = (self.env.wanted, own_value)
            && wanted == round
            && let Some(bytes) = self.blocks.bytes(&hash)
        {
            self.env.wanted = None;
            self.on_proposed(next, round, hash, bytes);
        }
        true
    }

    /// Listening is over. The core dropped the votes of this height's steps while it could not sign, and no timeout
    /// brings them back: others may wait for just these. So it starts the height again, as after a restart.
    fn rejoin(&mut self) {
        self.env.signing = Signing::Ready;
        self.env.outputs.push(Output::Event(Event::Signing(Signing::Ready)));
        if self.phase == Phase::Running && !self.replay() {
            self.begin_height(self.env.height, true);
            self.offer_again();
        }
    }

    /// Everything that time alone makes necessary.
    pub(super) fn tick(&mut self) {
        let now = self.env.now.mono_ms;
        let waited = self.boot_until_ms.is_some_and(|until| until <= now) && self.phase == Phase::Waiting;
        if waited && self.is_left_behind() {
            // The chain is ahead for certain, whatever keeps its blocks from us.
            self.boot_until_ms = Some(now.saturating_add(BOOT_LOOK_MS));
        } else if waited {
            self.boot_until_ms = None;
            if self.replay() {
                // What came while it listened will not come again.
                self.play_early();
            }
        }
        if let Signing::Listening { until_ms, quiet_until_ms, until_height } = self.env.signing
            && now >= until_ms
            && (now >= quiet_until_ms || self.head.height >= until_height)
            && self.syncing_block.is_none()
            && !self.is_left_behind()
        {
            self.rejoin();
        }
        while let Some(timeout) = self.env.due_timer() {
            self.feed(CoreInput::TimeoutElapsed(timeout));
            if timeout.kind == TimeoutKind::Propose
                && let Some(round) = timeout.round.as_u32()
            {
                self.release_withheld(round);
            }
        }
        if self.phase == Phase::Running && self.env.round > 0 {
            self.release_withheld(self.env.round.saturating_sub(1));
        }
        if self.env.decided.is_some() && self.phase == Phase::Running {
            self.on_decided();
        }
        self.drive_sync();
        if self.phase == Phase::Waiting && self.should_start() {
            self.start_height(self.head.height.saturating_add(1));
            self.play_early();
            if self.env.decided.is_some() && self.phase == Phase::Running {
                self.on_decided();
            }
        }
        self.enter_round();
        self.ask_for_value();
    }

    /// Starts a height, from its log when that was kept for it.
    fn start_height(&mut self, height: Height) {
        if self.env.kept_log == Some(height) {
            self.env.kept_log = None;
            if self.replay() {
                return;
            }
        }
        self.begin_height(height, false);
    }

    /// When the next height starts at the latest if nothing else happens.
    pub(super) fn start_deadline(&self) -> Option<u64> {
        if self.phase != Phase::Waiting || self.boot_until_ms.is_some() {
            return None;
        }
        let target = self.env.config.target_block_time_ms;
        let own = if self.transactions_waiting { target } else { self.env.config.empty_block_interval_ms };
        let wait = match self.others_have_started() {
            Some(Start::Now) => 0,
            Some(Start::NotBefore) => own.min(target.saturating_mul(EARLY_START_PERCENT) / 100),
            None => own,
        };
        Some(self.last_start_ms.saturating_add(wait))
    }

    /// Whether somebody honest has started the next height: its proposal is here, which only its proposer can have made, or votes of
    /// more than a third of the power. One validator's votes say nothing: it can sign them whenever it likes.
    fn others_have_started(&self) -> Option<Start> {
        let next = self.head.height.saturating_add(1);
        if Mutant::EarlyStart.active() {
            return self.early.has_any(next).then_some(Start::Now);
        }
        let set = &self.next_set;
        let power = self
            .early
            .voters(next)
            .filter_map(|voter| set.set.find(voter))
            .fold(0u64, |sum, (_, validator)| sum.saturating_add(validator.power));
        (self.early.is_proposed(next) || set.has_honest(power)).then_some(Start::NotBefore)
    }

    fn should_start(&self) -> bool {
        if self.boot_until_ms.is_some() || self.syncing_block.is_some() || self.sync.has_next(self.head.height) {
            return false;
        }
        // While sync makes progress, heights that others have decided need not be begun. A peer that only claims to be
        // ahead makes no progress and holds nobody up.
        let progress =
            self.last_synced_ms.is_some_and(|last| self.env.now.mono_ms.saturating_sub(last) < SYNC_PATIENCE_MS);
        if progress && self.sync.active() {
            return false;
        }
        self.start_deadline().is_some_and(|deadline| deadline <= self.env.now.mono_ms)
    }

    fn begin_height(&mut self, height: Height, replay: bool) {
        if let Some(decided) = self.env.decided.take() {
            if self.env.certificate_grew {
                self.env.outputs.push(Output::BetterCertificate(decided.clone()));
            }
            self.env.last_commit = decided;
        }
        self.env.clear_height();
        self.told_decision_ms = None;
        if !replay {
            self.blocks.clear();
            self.rest_if_signed_before(height);
            self.env.reset_wal(height);
        }
        self.env.height = height;
        self.env.set = self.next_set.clone();
        self.last_start_ms = self.env.now.mono_ms;
        self.phase = Phase::Running;
        self.transactions_waiting = false;
        self.core.params.enabled = self.env.may_sign();
        self.env.outputs.push(Output::Event(Event::HeightStarted(height)));
        self.feed(CoreInput::StartHeight(
            CoreHeight(height),
            self.next_set.clone(),
            replay,
            None,
            VoteExtensionPolicy::Disabled,
        ));
    }

    /// A height begins without a log although the guard knows of a signature in it: the log is gone, and with it what the key has
    /// promised there.
    fn rest_if_signed_before(&mut self, height: Height) {
        if self.env.may_sign() && self.env.log_lacks_signature(height, None) {
            self.env.wal_on = false;
            self.env.stop_signing(format!(
                "this key has signed at height {height} before, and there is no log of what: let the node follow the chain past \
                 that height, then restart it"
            ));
        }
    }

    /// Asks the application for the block that the core wants.
    fn ask_for_value(&mut self) {
        if self.env.replaying || self.phase != Phase::Running || !self.core.driver.step_is_propose() {
            return;
        }
        if let Some(round) = self.env.wanted.take()
            && round == self.env.round
            && self.env.may_sign()
        {
            self.env.outputs.push(Output::Propose {
                height: self.env.height,
                round,
                last_commit: self.env.last_commit.clone(),
                time_ms: self.env.now.wall_ms,
            });
        }
    }

    /// The core decided: commit.
    pub(super) fn on_decided(&mut self) {
        let Some(certificate) = self.env.decided.clone() else { return };
        let hash = certificate.block_hash;
        let Some(bytes) = self.blocks.bytes(&hash) else {
            // Late votes decided a block of a round so old that it is not kept. Those who are locked on it have it and commit it; from
            // them it comes by sync. They may lack a vote that decides.
            self.tell_decision(&certificate);
            return;
        };
        self.phase = Phase::Committing;
        let set = self.env.set.clone();
        self.look_for_own_signature(&certificate, &set);
        self.env.outputs.push(Output::Event(Event::Decided {
            height: certificate.height,
            round: certificate.round,
            hash,
        }));
        self.env.outputs.push(Output::Commit { hash, bytes, certificate, durable: true, synced: false });
    }

    /// Tells everybody the precommits of a decision whose block is not here, again and again until it comes.
    fn tell_decision(&mut self, certificate: &Certificate) {
        let now = self.env.now.mono_ms;
        if self.told_decision_ms.is_some_and(|at| now < at.saturating_add(self.env.config.rebroadcast_ms)) {
            return;
        }
        self.told_decision_ms = Some(now);
        let set = self.env.set.clone();
        let votes = certificate.signatures.iter().filter_map(|entry| {
            let validator = set.set.get(usize::from(entry.index))?.address;
            let (kind, block_hash) = (VoteKind::Precommit, Some(certificate.block_hash));
            Some(CertificateVote { kind, block_hash, validator, signature: entry.signature })
        });
        let (height, round, votes) = (certificate.height, certificate.round, votes.collect());
        let message = Message::RoundVotes(RoundVotes { height, round, kind: PRECOMMITS, votes });
        self.env.outputs.push(Output::Broadcast(message));
    }

    pub(super) fn on_committed(
        &mut self,
        head: HeadInfo,
        next_set: ValidatorSet,
        following_set: ValidatorSet,
        transactions_waiting: bool,
    ) {
        if head.height <= self.head.height {
            return;
        }
        let synced = self.syncing_block.take();
        self.head = head;
        self.take_over_sets(CoreSet::new(next_set), CoreSet::new(following_set));
        if self.env.kept_log.is_some_and(|height| height <= head.height) {
            self.env.kept_log = None;
        }
        self.phase = Phase::Waiting;
        self.transactions_waiting = transactions_waiting;
        self.behind_since_ms = None;
        self.sync.advanced(head.height);
        if let Signing::Listening { quiet_until_ms, .. } = &mut self.env.signing {
            *quiet_until_ms = self.env.now.mono_ms.saturating_add(self.env.config.listen_ms);
        }
        if let Some(built_ms) = synced {
            // Whatever the core did at these heights is history.
            self.env.clear_height();
            self.blocks.clear();
            self.env.height = head.height;
            self.last_synced_ms = Some(self.env.now.mono_ms);
            // Only heights that were decided before our eyes count as listened to.
            if let Signing::Listening { until_height, .. } = &mut self.env.signing {
                *until_height = head.height.saturating_add(2);
            }
            // The height began when its block was built, or a moment before: the next one must not be hurried by who fetched it.
            let age = self.env.now.wall_ms.saturating_sub(built_ms).min(self.env.config.target_block_time_ms);
            self.last_start_ms = self.env.now.mono_ms.saturating_sub(age);
        }
        self.early.forget_to(head.height);
    }

    /// The sets move on by a height. Who leaves them can be accused for a while.
    fn take_over_sets(&mut self, next_set: CoreSet, following_set: CoreSet) {
        let head_set = std::mem::replace(&mut self.next_set, next_set);
        self.following_set = following_set;
        if head_set.set.validators() != self.next_set.set.validators() {
            for validator in head_set.set.validators() {
                if self.next_set.set.find(&validator.address).is_none() {
                    self.env.offences.left(validator.address, self.head.height);
                }
            }
        }
        self.head_set = Some(head_set);
    }

    /// Fetches and applies blocks that others have decided.
    fn drive_sync(&mut self) {
        let now = self.env.now.mono_ms;
        if self.phase == Phase::Committing || self.syncing_block.is_some() {
            return;
        }
        if let Some((block, peer, last)) = self.sync.next(self.head.height) {
            let certificate = block.certificate;
            let good = if Mutant::CertificateUnchecked.active() {
                Ok(())
            } else {
                self.check_synced(&block.block, &certificate)
            };
            match good {
                Ok(()) => {
                    self.sync.verified(peer);
                    let set = self.next_set.clone();
                    self.look_for_own_signature(&certificate, &set);
                    // The certificate becomes the parent's of whatever is built next.
                    self.env.decided = None;
                    self.env.last_commit = certificate.clone();
                    self.syncing_block = Some(header_of(&block.block).map_or(0, |(_, header)| block_time_ms(&header)));
                    self.env.outputs.push(Output::Commit {
                        hash: certificate.block_hash,
                        bytes: Arc::from(block.block.as_ref()),
                        certificate,
                        durable: last,
                        synced: true,
                    });
                    self.phase = Phase::Committing;
                }
                Err(reason) => {
                    self.sync.reject_current(now);
                    let reason = format!("synced block with a bad certificate: {reason}");
                    self.env.outputs.push(Output::Misbehaved { peer, reason });
                }
            }
            return;
        }
        self.sync.expire(now);
        let best = self.sync.best_height(now);
        if best <= self.head.height {
            self.behind_since_ms = None;
            return;
        }
        let since = *self.behind_since_ms.get_or_insert(now);
        let far = best > self.head.height.saturating_add(1);
        if far || self.sync.active() || now.saturating_sub(since) >= BEHIND_MS {
            let timeout = self.env.config.sync_timeout_ms;
            for request in self.sync.requests(self.head.height, best, now, timeout) {
                let (peer, from, count) = (request.peer, request.from, request.count);
                self.env.outputs.push(Output::RequestBlocks { peer, from, count });
            }
        }
    }

    /// Checks a block that a peer sent against its certificate, and the certificate against the height's set.
    fn check_synced(&self, bytes: &[u8], certificate: &Certificate) -> Result<(), String> {
        if authentic_block_hash(bytes) != Ok(certificate.block_hash) {
            return Err("the certificate is for another block".to_owned());
        }
        let built = header_of(bytes).ok().and_then(|(_, header)| ExtraData::decode(&header.extra_data).ok());
        if built.is_none_or(|extra| extra.round > certificate.round) && !Mutant::RoundUnchecked.active() {
            return Err("the block says that it was built in a later round than it was decided in".to_owned());
        }
        certificate.verify(&self.next_set.set, &self.env.domain).map_err(|error| error.to_string())
    }

    /// A signature of our own key in a certificate that our guard knows nothing of: somebody else signs with it, or our
    /// disk is an old copy.
    fn look_for_own_signature(&mut self, certificate: &Certificate, set: &CoreSet) {
        if certificate.height <= self.env.guard_height() {
            return;
        }
        let own = set.set.find(&self.env.address()).map(|(index, _)| index);
        if own.is_some_and(|own| certificate.signatures.iter().any(|entry| entry.index == own)) {
            self.env.stop_signing(format!(
                "the certificate of block {} carries a signature of this key that its guard does not know: another node \
                 signs with the key, or an old disk was restored",
                certificate.height
            ));
        }
    }

    /// A certified block that the application refuses: either the block's certificate is a quorum of liars, or this
    /// node computes differently. Both need a human.
    pub(super) fn on_sync_refused(&mut self, height: Height, reason: &str) {
        self.env.outputs.push(Output::Halt(format!(
            "block {height} is certified by more than two thirds of the power, but this node finds it invalid: {reason}"
        )));
    }
}
