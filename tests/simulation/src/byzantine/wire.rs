//! Messages of every kind with one field changed, signed again with the liar's own key where it has one.

use super::{Means, values};
use alloy_primitives::B256;
use bttc_engine::RoundVotes;
use bttc_types::{Evidence, Part, Proposal, Signature, SignedProposal, SignedVote, Vote, VoteKind};
use rand::Rng;
use rand::seq::IndexedRandom;

/// A vote with one field changed. It is under the liar's name more often than not.
pub(super) fn vote(mut signed: SignedVote, known: &[B256], means: &mut Means<'_>) -> SignedVote {
    if means.rng.random_bool(0.8) {
        signed.vote.validator = means.key.address();
    }
    let vote = &mut signed.vote;
    match means.rng.random_range(0..7) {
        0 => vote.kind = other_kind(vote.kind),
        1 => vote.height = values::number(vote.height, means.rng),
        2 | 3 => vote.round = values::short(vote.round, means.rng),
        4 => vote.block_hash = changed_hash(vote.block_hash, known, means),
        5 => vote.validator = values::address(means.members, means.rng),
        _ => {
            signed.signature = values::signature(signed.signature, means.rng);
            return signed;
        }
    }
    means.signed(signed.vote)
}

fn other_kind(kind: VoteKind) -> VoteKind {
    match kind {
        VoteKind::Prevote => VoteKind::Precommit,
        VoteKind::Precommit => VoteKind::Prevote,
    }
}

fn changed_hash(was: Option<B256>, known: &[B256], means: &mut Means<'_>) -> Option<B256> {
    match was {
        Some(_) if means.rng.random_bool(0.2) => None,
        was => Some(values::hash(was.unwrap_or_default(), known, means.rng)),
    }
}

/// A proposal with one field changed.
pub(super) fn proposal(mut signed: SignedProposal, known: &[B256], means: &mut Means<'_>) -> SignedProposal {
    if means.rng.random_bool(0.8) {
        signed.proposal.proposer = means.key.address();
    }
    let plain = &mut signed.proposal;
    match means.rng.random_range(0..9) {
        0 => plain.height = values::number(plain.height, means.rng),
        1 => plain.round = values::short(plain.round, means.rng),
        2 => plain.pol_round = Some(values::short(plain.round, means.rng)),
        3 => plain.block_hash = values::hash(plain.block_hash, known, means.rng),
        4 => plain.proposer = values::address(means.members, means.rng),
        5 => signed.parts.total = values::short(signed.parts.total, means.rng),
        6 => signed.parts.root = values::hash(signed.parts.root, known, means.rng),
        7 => {
            signed.signature = values::signature(signed.signature, means.rng);
            return signed;
        }
        _ => {
            signed.parts_signature = values::signature(signed.parts_signature, means.rng);
            return signed;
        }
    }
    let plain = &signed.proposal;
    let digest = means.domain.parts_digest(plain.height, plain.round, plain.block_hash, &signed.parts);
    signed.parts_signature = means.key.sign(digest);
    signed.signature = means.key.sign(means.domain.proposal_digest(plain));
    signed
}

/// A part with one field changed.
pub(super) fn part(mut part: Part, known: &[B256], means: &mut Means<'_>) -> Part {
    match means.rng.random_range(0..9) {
        0 => part.height = values::number(part.height, means.rng),
        1 => part.round = values::short(part.round, means.rng),
        2 => part.block_hash = values::hash(part.block_hash, known, means.rng),
        3 => part.header.total = values::short(part.header.total, means.rng),
        4 => part.header.root = values::hash(part.header.root, known, means.rng),
        5 => part.index = values::short(part.index, means.rng),
        6 => {
            let mut bytes = part.bytes.to_vec();
            match means.rng.random_range(0..3) {
                0 => bytes.clear(),
                1 => bytes.push(0),
                _ => bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1),
            }
            part.bytes = bytes.into();
        }
        7 => match means.rng.random_range(0..2) {
            0 => part.proof.push(B256::ZERO),
            _ => {
                part.proof.pop();
            }
        },
        _ => {
            part.signature = values::signature(part.signature, means.rng);
            return part;
        }
    }
    let digest = means.domain.parts_digest(part.height, part.round, part.block_hash, &part.header);
    part.signature = means.key.sign(digest);
    part
}

/// A round certificate made of votes that were heard.
pub(super) fn gathered(votes: &[&SignedVote], rng: &mut rand_chacha::ChaCha8Rng) -> Option<RoundVotes> {
    let like = &votes.choose(rng)?.vote;
    let mut certificate =
        RoundVotes { height: like.height, round: like.round, kind: rng.random_range(0..3), votes: Vec::new() };
    for signed in votes {
        let vote = &signed.vote;
        let known = certificate.votes.iter().any(|entry| entry.validator == vote.validator);
        if (vote.height, vote.round, vote.kind) == (like.height, like.round, like.kind) && !known {
            certificate.votes.push(entry(vote, signed.signature));
        }
    }
    Some(certificate)
}

/// A vote as it stands in a round certificate.
fn entry(vote: &Vote, signature: Signature) -> bttc_engine::CertificateVote {
    bttc_engine::CertificateVote { kind: vote.kind, block_hash: vote.block_hash, validator: vote.validator, signature }
}

/// A round certificate with one field changed; a vote that was changed is under the liar's name and signed again.
pub(super) fn round_votes(mut votes: RoundVotes, means: &mut Means<'_>) -> RoundVotes {
    let index = means.rng.random_range(0..votes.votes.len().max(1));
    match means.rng.random_range(0..8) {
        0 => votes.height = values::number(votes.height, means.rng),
        1 => votes.round = values::short(votes.round, means.rng),
        2 => votes.kind = means.rng.random_range(0..3),
        3 => {
            if let Some(copy) = votes.votes.get(index).copied() {
                votes.votes.push(copy);
            }
        }
        4 if index < votes.votes.len() => {
            votes.votes.remove(index);
        }
        5 => {
            if let Some(entry) = votes.votes.get_mut(index) {
                entry.validator = values::address(means.members, means.rng);
            }
        }
        6 => {
            if let Some(entry) = votes.votes.get_mut(index) {
                entry.signature = values::signature(entry.signature, means.rng);
            }
        }
        _ => {
            let hash = means.random_hash();
            let own = means.key.address();
            votes.votes.retain(|entry| entry.validator != own);
            for block_hash in [Some(B256::ZERO), Some(hash), None].into_iter().take(means.rng.random_range(1..=3)) {
                let kind = if means.rng.random() { VoteKind::Prevote } else { VoteKind::Precommit };
                let vote = Vote { kind, height: votes.height, round: votes.round, block_hash, validator: own };
                let signed = means.signed(vote);
                votes.votes.push(entry(&signed.vote, signed.signature));
            }
        }
    }
    votes
}

/// Evidence with one field of one of its messages changed, in the order that its digests then have.
pub(super) fn evidence(evidence: &Evidence, known: &[B256], means: &mut Means<'_>) -> Evidence {
    match evidence {
        Evidence::Votes(pair) => {
            let [first, second] = pair.as_ref();
            let changed = vote(first.clone(), known, means);
            match means.rng.random_range(0..3) {
                // Without the canonical order.
                0 => Evidence::Votes(Box::new([changed, second.clone()])),
                1 => Evidence::from_votes(second.clone(), second.clone(), means.domain),
                _ => Evidence::from_votes(changed, second.clone(), means.domain),
            }
        }
        Evidence::Proposals(pair) => {
            let [(first, signature), second] = pair.as_ref();
            let changed = Proposal { round: values::short(first.round, means.rng), ..first.clone() };
            let signature = match means.rng.random() {
                true => means.key.sign(means.domain.proposal_digest(&changed)),
                false => *signature,
            };
            Evidence::from_proposals((changed, signature), second.clone(), means.domain)
        }
    }
}
