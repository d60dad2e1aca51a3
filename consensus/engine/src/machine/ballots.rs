//! Who has voted for what in this height: what to look at, what contradicts what, and when nothing is left to wait for.

use crate::guard::Step;
use alloy_primitives::{Address, B256};
use bttc_types::{Mutant, Round, Signature, SignedVote, ValidatorSet, Vote, VoteKind};
use std::collections::BTreeMap;

/// Rounds behind ours whose votes are looked at. A decision in an older one reaches us by sync.
pub(super) const ROUNDS_BEHIND: Round = 100;

/// A validator's first vote of a step, and whether it has contradicted it.
#[derive(Clone, Debug)]
struct Ballot {
    block_hash: Option<B256>,
    signature: Signature,
    contradicted: bool,
}

/// What a vote is to those that were heard before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The first of its validator in its step.
    New,
    /// The same was heard before, with whatever signature.
    Known,
    /// It contradicts the first one: whoever signed both proves it.
    Contradicts(SignedVote),
    /// Its validator has contradicted itself in this step before.
    Spent,
}

/// The votes of a height.
#[derive(Clone, Debug, Default)]
pub(super) struct Ballots(BTreeMap<(Round, Step), BTreeMap<Address, Ballot>>);

/// The step of a kind of vote.
pub(super) fn step_of(kind: VoteKind) -> Step {
    match kind {
        VoteKind::Prevote => Step::Prevote,
        VoteKind::Precommit => Step::Precommit,
    }
}

impl Ballots {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets rounds too far behind this one.
    pub(super) fn forget_before(&mut self, round: Round) {
        let first = round.saturating_sub(ROUNDS_BEHIND);
        self.0.retain(|(of, _), _| *of >= first);
    }

    /// How many votes are remembered.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// What a vote is to those before it; its signature need not be verified yet.
    pub(super) fn standing(&self, vote: &Vote) -> Standing {
        let key = (vote.round, step_of(vote.kind));
        let Some(ballot) = self.0.get(&key).and_then(|step| step.get(&vote.validator)) else { return Standing::New };
        if ballot.block_hash == vote.block_hash {
            return Standing::Known;
        }
        if ballot.contradicted && !Mutant::FloodsPassedOn.active() {
            return Standing::Spent;
        }
        let first = Vote { block_hash: ballot.block_hash, ..vote.clone() };
        Standing::Contradicts(SignedVote { vote: first, signature: ballot.signature })
    }

    /// Takes down a verified vote. The first of a step stays, whatever comes after it.
    pub(super) fn take_down(&mut self, signed: &SignedVote) {
        let vote = &signed.vote;
        let step = self.0.entry((vote.round, step_of(vote.kind))).or_default();
        let ballot = step.entry(vote.validator).or_insert(Ballot {
            block_hash: vote.block_hash,
            signature: signed.signature,
            contradicted: false,
        });
        ballot.contradicted |= ballot.block_hash != vote.block_hash;
    }

    /// Whether every validator has voted in a step and no block has more than two thirds (of such a block the parts may
    /// still come).
    pub(super) fn nothing_to_wait_for(&self, round: Round, step: Step, set: &ValidatorSet) -> bool {
        let Some(votes) = self.0.get(&(round, step)) else { return false };
        if votes.len() < set.len() {
            return false;
        }
        let mut powers: BTreeMap<B256, u64> = BTreeMap::new();
        for (validator, hash) in votes.iter().filter_map(|(validator, ballot)| Some((validator, ballot.block_hash?))) {
            let power = set.find(validator).map_or(0, |(_, validator)| validator.power);
            let sum = powers.entry(hash).or_default();
            *sum = sum.saturating_add(power);
        }
        !powers.values().any(|power| set.is_quorum(*power))
    }
}
