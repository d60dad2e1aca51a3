//! What is written before anything is signed, and what is signed: the log, the guard and the latch.

use super::{Env, REFUSED};
use crate::config::EngineConfig;
use crate::guard::{Guard, LastSigned, Step, may_sign};
use crate::machine::{Event, HeadInfo, Now, Output, Signing};
use crate::record::WalRecord;
use crate::wal::WalContent;
use alloy_primitives::{Address, B256, keccak256};
use bttc_types::{Height, Mutant, PartsHeader, Round, Signature};

/// Whether the node may sign when it starts.
pub(in crate::machine) fn initial_signing(
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
            quiet_until_ms: now.mono_ms.saturating_add(config.listen_ms),
            until_height: head.height.saturating_add(2),
        };
    }
    Signing::Ready
}

impl Env {
    /// Whether the guard knows of a signature at `height` that the log of that height does not hold. What the key has
    /// seen and promised there is lost, and the guard alone does not keep it from breaking a promise. A guard that was
    /// just imported is an operator's word.
    pub(in crate::machine) fn log_lacks_signature(&self, height: Height, content: Option<&WalContent>) -> bool {
        let Some((_, guard)) = &self.key else { return false };
        if Mutant::GuardOff.active() {
            return false;
        }
        let Some(last) = guard.last().filter(|last| last.height == height && !guard.just_imported()) else {
            return false;
        };
        let intent = WalRecord::Intent(last.digest).encode();
        !content.is_some_and(|content| content.height == height && content.records.contains(&intent))
    }

    /// Height of the last signature that the guard knows.
    pub(in crate::machine) fn guard_height(&self) -> Height {
        self.key.as_ref().and_then(|(_, guard)| guard.last()).map_or(0, |last| last.height)
    }

    pub(in crate::machine) fn address(&self) -> Address {
        self.key.as_ref().map_or(Address::ZERO, |(key, _)| key.address())
    }

    /// Whether the core may act as a validator.
    pub(in crate::machine) fn may_sign(&self) -> bool {
        self.signing == Signing::Ready && self.kept_log.is_none()
    }

    /// A signature of our own key by somebody else: the guard would know of it otherwise, because it is written before anything is
    /// signed. Another node runs with the key, or an old disk was restored; either way this node signs nothing more.
    pub(in crate::machine) fn heard_own(&mut self, heard: &LastSigned) {
        let Some((_, guard)) = &self.key else { return };
        let position = |signed: &LastSigned| (signed.height, signed.round, signed.step);
        let known = guard.last().is_some_and(|last| position(&last) > position(heard) || last == *heard);
        if !known && !Mutant::GuardOff.active() {
            self.stop_signing(format!(
                "a signature of this key was heard that its guard does not know ({heard}): another node signs with the key, or \
                 an old disk was restored"
            ));
        }
    }

    /// Stops signing until a restart.
    pub(in crate::machine) fn stop_signing(&mut self, reason: String) {
        if !matches!(self.signing, Signing::Off(_)) {
            self.signing = Signing::Off(reason);
            self.outputs.push(Output::Event(Event::Signing(self.signing.clone())));
        }
    }

    /// Adds a record to the log; a failure stops signing.
    pub(in crate::machine) fn log(&mut self, record: &WalRecord) {
        if !self.wal_on || self.kept_log.is_some() {
            return;
        }
        let bytes = record.encode();
        if self.replaying && self.loaded.contains(&keccak256(&bytes)) {
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
    pub(in crate::machine) fn flush_needed(&mut self) {
        if self.wal_needed {
            self.flush();
        }
    }

    /// Makes the log survive a power cut; a failure stops signing.
    pub(in crate::machine) fn flush(&mut self) {
        self.wal_needed = false;
        if self.wal_on
            && !Mutant::FlushSkipped.active()
            && std::mem::take(&mut self.wal_dirty)
            && let Err(error) = self.wal.flush()
        {
            self.wal_failed(&error);
        }
    }

    pub(super) fn wal_failed(&mut self, error: &crate::Error) {
        self.wal_on = false;
        self.stop_signing(error.to_string());
    }

    pub(in crate::machine) fn reset_wal(&mut self, height: Height) {
        self.loaded.clear();
        if self.wal_on
            && self.kept_log.is_none()
            && let Err(error) = self.wal.reset(height)
        {
            self.wal_failed(&error);
        }
    }

    /// Writes the log anew without blocks that `keep` does not want; a failure stops signing.
    pub(in crate::machine) fn compact_wal(&mut self, keep: impl Fn(&B256) -> bool) {
        if !self.wal_on || self.kept_log.is_some() {
            return;
        }
        let wanted = |record: &[u8]| WalRecord::block_hash(record).is_none_or(|hash| keep(&hash));
        match self.wal.compact(wanted) {
            Ok(()) => (self.wal_dirty, self.wal_needed) = (false, false),
            Err(error) => self.wal_failed(&error),
        }
    }

    /// Signs when the guard and the latch allow it. What led the core to this step is flushed first: should the node die
    /// after the guard was written and before the message went out, it plays the log, wants the same message again, and
    /// the guard lets it. Otherwise the step's signature would be lost for good, and a height that needs it would never
    /// end.
    pub(super) fn sign(&mut self, step: Step, height: Height, round: Round, digest: B256) -> Signature {
        if !self.may_sign() {
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
    pub(in crate::machine) fn sign_parts(&self, round: Round, hash: B256, parts: &PartsHeader) -> Option<Signature> {
        if !self.may_sign() {
            return None;
        }
        let (key, _) = self.key.as_ref()?;
        Some(key.sign(self.domain.parts_digest(self.height, round, hash, parts)))
    }
}
