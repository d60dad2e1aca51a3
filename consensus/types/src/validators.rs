//! The validator set and Tendermint's proposer-priority rotation.

use crate::{Error, MAX_ROUND, Mutant, Round, VotingPower};
use alloy_primitives::{Address, B256, keccak256};
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};
use std::cell::Cell;
use std::sync::Arc;

/// Most validators that any preset may configure. Certificates index signers with 16 bits and gateway contracts
/// take up to 255 signers, so no encoding limits the set before this does.
pub const MAX_VALIDATORS: usize = 255;

/// Largest total power: priorities stay within a few multiples of it, so they fit an `i64` with room to spare
/// (CometBFT uses the same bound).
const MAX_TOTAL_POWER: u64 = (i64::MAX as u64) / 8;

/// How far priorities may spread, in multiples of the total power (CometBFT's `PriorityWindowSizeFactor`).
const PRIORITY_WINDOW: i64 = 2;

/// As far as the mutant [`Mutant::RoundUnchecked`] counts: seconds, not hours.
const UNCHECKED_ROUND: Round = 5_000_000;

/// One validator as consensus sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Validator {
    /// Address of the consensus key.
    pub address: Address,
    /// Account that owns the validator.
    pub owner: Address,
    /// Voting power, positive.
    pub power: VotingPower,
}

/// The validators of one height in canonical order (power descending, then address ascending) with the proposer
/// priorities of that height.
///
/// Cheap to clone: the list is shared, the priorities are 8 bytes per validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    validators: Arc<[Validator]>,
    /// Addresses in ascending order with their indices.
    by_address: Arc<[(Address, u16)]>,
    total_power: VotingPower,
    priorities: Vec<i64>,
}

impl ValidatorSet {
    /// Builds the set of the first block of an epoch: all priorities are zero.
    ///
    /// # Errors
    /// [`Error::InvalidValidatorSet`].
    pub fn new(mut validators: Vec<Validator>) -> Result<Self, Error> {
        if validators.is_empty() {
            return Err(Error::InvalidValidatorSet("it is empty"));
        }
        if validators.len() > MAX_VALIDATORS {
            return Err(Error::InvalidValidatorSet("it has more than 255 validators"));
        }
        if validators.iter().any(|validator| validator.power == 0) {
            return Err(Error::InvalidValidatorSet("a validator has no power"));
        }
        validators.sort_by(|a, b| b.power.cmp(&a.power).then(a.address.cmp(&b.address)));
        let mut by_address: Vec<(Address, u16)> =
            validators.iter().map(|validator| validator.address).zip(0u16..).collect();
        by_address.sort_unstable();
        if by_address.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(Error::InvalidValidatorSet("an address occurs twice"));
        }
        let total_power = validators
            .iter()
            .try_fold(0u64, |sum, validator| sum.checked_add(validator.power))
            .filter(|total| *total <= MAX_TOTAL_POWER)
            .ok_or(Error::InvalidValidatorSet("its total power exceeds 2^60"))?;
        let priorities = vec![0; validators.len()];
        Ok(Self { validators: validators.into(), by_address: by_address.into(), total_power, priorities })
    }

    /// The same set `blocks` heights later: the rotation has moved on by that many rounds 0.
    #[must_use]
    pub fn advanced(&self, blocks: u64) -> Self {
        let mut set = self.clone();
        for _ in 0..blocks {
            set.increment_priorities();
        }
        set
    }

    /// Moves this set to the next height.
    pub fn advance(&mut self) {
        self.increment_priorities();
    }

    /// The proposer of `round` at this set's height.
    ///
    /// Costs one pass over the set for each round up to [`MAX_ROUND`], above which nobody proposes and this names the proposer of
    /// that round. Whoever asks again and again uses [`Turns`].
    pub fn proposer(&self, round: Round) -> &Validator {
        let last = round.min(if Mutant::RoundUnchecked.active() { UNCHECKED_ROUND } else { MAX_ROUND });
        let mut set = self.clone();
        let mut index = set.increment_priorities();
        for _ in 0..last {
            index = set.increment_priorities();
        }
        // `increment_priorities` returns the index of an element; the set is never empty.
        self.validators.get(index).unwrap_or_else(|| unreachable_first(&self.validators))
    }

    /// All validators, in canonical order.
    pub fn validators(&self) -> &[Validator] {
        &self.validators
    }

    /// Proposer priorities, in the same order.
    pub fn priorities(&self) -> &[i64] {
        &self.priorities
    }

    /// Number of validators.
    pub fn len(&self) -> usize {
        self.validators.len()
    }

    /// Always false; sets cannot be empty.
    pub fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    /// The validator at an index.
    pub fn get(&self, index: usize) -> Option<&Validator> {
        self.validators.get(index)
    }

    /// Index and validator with this consensus address.
    pub fn find(&self, address: &Address) -> Option<(u16, &Validator)> {
        let place = self.by_address.binary_search_by_key(address, |(known, _)| *known).ok()?;
        let (_, index) = self.by_address.get(place)?;
        Some((*index, self.validators.get(usize::from(*index))?))
    }

    /// Sum of all powers.
    pub fn total_power(&self) -> VotingPower {
        self.total_power
    }

    /// Whether `power` is more than two thirds of the total.
    pub fn is_quorum(&self, power: VotingPower) -> bool {
        u128::from(power).saturating_mul(3) > u128::from(self.total_power).saturating_mul(2)
    }

    /// Keccak-256 of the RLP list of validators; priorities are not part of it, they follow from the height.
    pub fn hash(&self) -> B256 {
        let mut out = Vec::new();
        alloy_rlp::encode_list::<Validator, Validator>(&self.validators, &mut out);
        keccak256(out)
    }

    /// One step of `IncrementProposerPriority`: rescale, centre, add power, pick the highest (lowest address wins a
    /// tie), charge it the total. Returns the index picked.
    fn increment_priorities(&mut self) -> usize {
        STEPS.set(STEPS.get().wrapping_add(1));
        // Bounded by MAX_TOTAL_POWER, so it fits.
        let total = i64::try_from(self.total_power).unwrap_or(i64::MAX);
        let window = total.saturating_mul(PRIORITY_WINDOW);
        let max = self.priorities.iter().max().copied().unwrap_or(0);
        let min = self.priorities.iter().min().copied().unwrap_or(0);
        let spread = max.saturating_sub(min);
        if spread > window && window > 0 {
            let ratio = spread.saturating_add(window).saturating_sub(1).checked_div(window).unwrap_or(1).max(1);
            for priority in &mut self.priorities {
                *priority = priority.checked_div(ratio).unwrap_or(0);
            }
        }
        let sum: i128 = self.priorities.iter().map(|priority| i128::from(*priority)).sum();
        let count = i128::try_from(self.priorities.len()).unwrap_or(1).max(1);
        let average = i64::try_from(sum.div_euclid(count)).unwrap_or(0);
        for (priority, validator) in self.priorities.iter_mut().zip(self.validators.iter()) {
            let power = i64::try_from(validator.power).unwrap_or(i64::MAX);
            *priority = priority.saturating_sub(average).saturating_add(power);
        }
        let mut best: Option<(usize, i64, Address)> = None;
        for (index, (priority, validator)) in self.priorities.iter().zip(self.validators.iter()).enumerate() {
            let better = match best {
                None => true,
                Some((_, top, address)) => *priority > top || (*priority == top && validator.address < address),
            };
            if better {
                best = Some((index, *priority, validator.address));
            }
        }
        let index = best.map_or(0, |(index, ..)| index);
        if let Some(priority) = self.priorities.get_mut(index) {
            *priority = priority.saturating_sub(total);
        }
        index
    }
}

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// How many steps of the rotation this thread has made; each is a few passes over a set.
pub fn rotation_steps() -> u64 {
    STEPS.get()
}

/// The proposers of a height by round, each step of the rotation made once.
#[derive(Clone, Debug)]
pub struct Turns {
    rotation: ValidatorSet,
    proposers: Vec<u16>,
}

impl Turns {
    /// The turns of the height that a set belongs to.
    pub fn new(set: &ValidatorSet) -> Self {
        Self { rotation: set.clone(), proposers: Vec::new() }
    }

    /// The proposer of a round, as [`ValidatorSet::proposer`] names it.
    pub fn proposer(&mut self, round: Round) -> Validator {
        let place = usize::try_from(round.min(MAX_ROUND)).unwrap_or(usize::MAX);
        while self.proposers.len() <= place {
            let index = self.rotation.increment_priorities();
            // A set has at most 255 members.
            self.proposers.push(u16::try_from(index).unwrap_or(0));
        }
        let index = self.proposers.get(place).copied().unwrap_or(0);
        let validators = &self.rotation.validators;
        *validators.get(usize::from(index)).unwrap_or_else(|| unreachable_first(validators))
    }
}

impl Encodable for ValidatorSet {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        alloy_rlp::encode_list::<Validator, Validator>(&self.validators, out);
    }
}

/// Satisfies the type checker where an index cannot be out of range: the first validator of a non-empty list.
fn unreachable_first(validators: &[Validator]) -> &Validator {
    const NOBODY: &Validator = &Validator { address: Address::ZERO, owner: Address::ZERO, power: 0 };
    validators.first().unwrap_or(NOBODY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(powers: &[u64]) -> ValidatorSet {
        let validators = powers.iter().enumerate().map(|(index, power)| Validator {
            address: Address::with_last_byte(index as u8 + 1),
            owner: Address::ZERO,
            power: *power,
        });
        ValidatorSet::new(validators.collect()).unwrap()
    }

    #[test]
    fn equal_powers_take_turns_by_address() {
        let mut set = set(&[1, 1, 1]);
        let mut turns = Vec::new();
        for _ in 0..6 {
            turns.push(set.proposer(0).address.0[19]);
            set.advance();
        }
        assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_later_round_goes_on_where_the_rotation_would() {
        let set = set(&[5, 3, 1]);
        for round in 0..20 {
            assert_eq!(set.proposer(round), set.advanced(u64::from(round)).proposer(0));
        }
    }

    #[test]
    fn turns_are_the_rotation_each_step_made_once() {
        let set = set(&[5, 3, 1]);
        let mut turns = Turns::new(&set);
        for round in [0, 7, 3, 40, 39] {
            assert_eq!(turns.proposer(round), *set.proposer(round));
        }
        let before = rotation_steps();
        turns.proposer(40);
        assert_eq!(rotation_steps(), before);
    }

    #[test]
    fn what_a_round_costs_is_bounded() {
        let set = set(&[5, 3, 1]);
        let before = rotation_steps();
        assert_eq!(set.proposer(Round::MAX), set.proposer(MAX_ROUND));
        assert_eq!(Turns::new(&set).proposer(Round::MAX), *set.proposer(MAX_ROUND));
        assert!(rotation_steps() - before <= 4 * (u64::from(MAX_ROUND) + 1));
    }

    #[test]
    fn members_are_found_by_address() {
        let set = set(&[1, 7, 3, 7]);
        for (index, validator) in set.validators().iter().enumerate() {
            assert_eq!(set.find(&validator.address), Some((index as u16, validator)));
        }
        assert_eq!(set.find(&Address::repeat_byte(9)), None);
    }

    #[test]
    fn a_quorum_is_more_than_two_thirds() {
        let set = set(&[1, 1, 1]);
        assert!(!set.is_quorum(2));
        assert!(set.is_quorum(3));
    }

    #[test]
    fn bad_sets_are_refused() {
        let validator = Validator { address: Address::ZERO, owner: Address::ZERO, power: 1 };
        assert!(ValidatorSet::new(vec![]).is_err());
        assert!(ValidatorSet::new(vec![validator, validator]).is_err());
        assert!(ValidatorSet::new(vec![Validator { power: 0, ..validator }]).is_err());
        assert!(ValidatorSet::new(vec![Validator { power: u64::MAX, ..validator }]).is_err());
    }

    proptest! {
        #[test]
        fn proposals_are_proportional_to_power(powers in proptest::collection::vec(1u64..100, 1..12)) {
            let total: u64 = powers.iter().sum();
            let mut set = set(&powers);
            let mut turns = std::collections::HashMap::new();
            for _ in 0..total * 3 {
                *turns.entry(set.proposer(0).address).or_insert(0u64) += 1;
                set.advance();
            }
            for validator in set.validators() {
                let got = turns.get(&validator.address).copied().unwrap_or(0);
                let fair = validator.power * 3;
                prop_assert!(got.abs_diff(fair) <= 2, "{} turns for power {} of {}", got, validator.power, total);
            }
        }

        #[test]
        fn priorities_stay_within_their_window(powers in proptest::collection::vec(1u64..1_000_000_000, 1..20)) {
            let mut set = set(&powers);
            for _ in 0..200 {
                set.advance();
                let max = set.priorities().iter().max().unwrap();
                let min = set.priorities().iter().min().unwrap();
                prop_assert!((max - min) as u64 <= set.total_power() * 4);
            }
        }
    }
}
