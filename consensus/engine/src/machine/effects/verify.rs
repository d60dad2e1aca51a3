//! Signatures of others: verified once, remembered, collected for certificates.

use super::{Env, MAX_VERIFIED};
use crate::context::{CoreAddress, CoreSet, CoreVote, Ctx};
use alloy_primitives::{Address, B256};
use bttc_types::{Certificate, Signature, Vote, VoteKind, recover};
use malachitebft_core_consensus::ConsensusMsg;
use malachitebft_core_types::{
    CertificateError, CommitCertificate, NilOrVal, RoundCertificate, RoundCertificateType, ThresholdParam,
    ThresholdParams, ValidatorSet as _, VoteType,
};
use std::collections::HashSet;

impl Env {
    /// Checks a signature once; a second look costs a hash lookup.
    pub(in crate::machine) fn verify(&mut self, digest: B256, signature: &Signature, signer: Address) -> bool {
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

    pub(super) fn verify_message(
        &mut self,
        message: &ConsensusMsg<Ctx>,
        signature: &Signature,
        key: CoreAddress,
    ) -> bool {
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
    pub(super) fn collect_late_precommit(&mut self, vote: &Vote, signature: &Signature) {
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
    pub(super) fn verify_votes(
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

    pub(super) fn verify_round(
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
    pub(super) fn certificate(&self, certificate: &CommitCertificate<Ctx>) -> Certificate {
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
}

pub(super) fn vote_of(kind: VoteType, certificate: &CommitCertificate<Ctx>, validator: CoreAddress) -> CoreVote {
    CoreVote {
        kind,
        height: certificate.height,
        round: certificate.round,
        value: NilOrVal::Val(certificate.value_id),
        validator,
    }
}
