//! Locks: who precommits a block prevotes no other one, unless two thirds prevoted that in the same round or later.

use alloy_primitives::{Address, B256};
use bttc_types::{Round, ValidatorSet, Vote, VoteKind};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What honest validators voted for, by height.
#[derive(Debug, Default)]
pub(super) struct Locks {
    heights: BTreeMap<u64, Votes>,
}

#[derive(Debug, Default)]
struct Votes {
    /// Who prevoted a block in a round.
    prevotes: BTreeMap<Round, HashMap<B256, BTreeSet<Address>>>,
    /// The latest round in which somebody precommitted a block, and the block.
    locked: HashMap<Address, (Round, B256)>,
}

impl Votes {
    /// Whether a block may have had a polka in a round: liars may have prevoted anything.
    fn may_have_polka(&self, round: Round, hash: B256, set: &ValidatorSet, liars: &BTreeSet<Address>) -> bool {
        let voters = self.prevotes.get(&round).and_then(|votes| votes.get(&hash));
        let counts = |address: &Address| liars.contains(address) || voters.is_some_and(|all| all.contains(address));
        let power: u64 = set
            .validators()
            .iter()
            .filter(|validator| counts(&validator.address))
            .map(|validator| validator.power)
            .sum();
        set.is_quorum(power)
    }
}

impl Locks {
    /// An honest validator votes; what is wrong if its lock forbids that.
    pub(super) fn on_vote(&mut self, vote: &Vote, set: &ValidatorSet, liars: &BTreeSet<Address>) -> Option<String> {
        let hash = vote.block_hash?;
        let votes = self.heights.entry(vote.height).or_default();
        if vote.kind == VoteKind::Precommit {
            let lock = votes.locked.entry(vote.validator).or_insert((vote.round, hash));
            if vote.round >= lock.0 {
                *lock = (vote.round, hash);
            }
            return None;
        }
        votes.prevotes.entry(vote.round).or_default().entry(hash).or_default().insert(vote.validator);
        let (round, locked) = *votes.locked.get(&vote.validator)?;
        if round >= vote.round || locked == hash {
            return None;
        }
        let unlocked = (round..vote.round).any(|between| votes.may_have_polka(between, hash, set, liars));
        (!unlocked).then(|| {
            format!(
                "{} precommitted {locked} in round {round} of height {} and prevotes {hash} in round {} without a polka",
                vote.validator, vote.height, vote.round
            )
        })
    }

    /// Nobody votes at these heights any more.
    pub(super) fn forget_below(&mut self, height: u64) {
        self.heights = self.heights.split_off(&height);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bttc_types::Validator;

    fn address(index: u8) -> Address {
        Address::with_last_byte(index)
    }

    fn set() -> ValidatorSet {
        let validator = |index| Validator { address: address(index), owner: address(index), power: 1 };
        ValidatorSet::new((1..=4).map(validator).collect()).unwrap()
    }

    fn vote(voter: u8, kind: VoteKind, round: Round, hash: u8) -> Vote {
        Vote { kind, height: 7, round, block_hash: Some(B256::repeat_byte(hash)), validator: address(voter) }
    }

    #[test]
    fn a_prevote_against_a_lock_needs_a_polka_that_may_have_been() {
        let liars = BTreeSet::from([address(4)]);
        let mut locks = Locks::default();
        let mut say = |voter, kind, round, hash| locks.on_vote(&vote(voter, kind, round, hash), &set(), &liars);
        assert_eq!(say(1, VoteKind::Prevote, 0, 0xa), None);
        assert_eq!(say(1, VoteKind::Precommit, 0, 0xa), None);
        assert_eq!(say(1, VoteKind::Prevote, 1, 0xa), None, "the block that it is locked on");
        assert!(say(1, VoteKind::Prevote, 2, 0xb).is_some(), "nobody prevoted the other block");
        assert_eq!(say(2, VoteKind::Prevote, 2, 0xb), None);
        assert_eq!(say(3, VoteKind::Prevote, 2, 0xb), None);
        // Two honest ones, the liar, and the prevote itself: three of four were needed.
        assert_eq!(say(1, VoteKind::Prevote, 3, 0xb), None);
    }
}
