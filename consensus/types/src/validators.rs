//! The validator set and Tendermint's proposer-priority rotation.

use crate::{Error, Round, VotingPower};
use alloy_primitives::{Address, B256, keccak256};
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};
use std::sync::Arc;

/// Most validators that any preset may configure. Certificates index signers with 16 bits and gateway contracts
/// take up to 255 signers, so no encoding limits the set before this does.
pub const MAX_VALIDATORS: usize = 255;

/// Largest total power: priorities stay within a few multiples of it, so they fit an `i64` with room to spare
/// (CometBFT uses the same bound).
const MAX_TOTAL_POWER: u64 = (i64::MAX as u64) / 8;

/// How far priorities may spread, in multiples of the total power (CometBFT's `PriorityWindowSizeFactor`).
const PRIORITY_WINDOW: i64 = 2;

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
        let mut addresses: Vec<Address> = validators.iter().map(|validator| validator.address).collect();
        addresses.sort_unstable();
        if addresses.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(Error::InvalidValidatorSet("an address occurs twice"));
        }
        let total_power = validators
            .iter()
            .try_fold(0u64, |sum, validator| sum.checked_add(validator.power))
            .filter(|total| *total <= MAX_TOTAL_POWER)
            .ok_or(Error::InvalidValidatorSet("its total power exceeds 2^60"))?;
        let priorities = vec![0; validators.len()];
        Ok(Self { validators: validators.into(), total_power, priorities })
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
    /// Costs one pass over the set per round; rounds are small numbers except under attack, and a round can only
    /// be reached by timeouts, so the cost cannot be forced from outside.
    pub fn proposer(&self, round: Round) -> &Validator {
        let mut set = self.clone();
        let mut index = set.increment_priorities();
        for _ in 0..round {
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
        let index = self.validators.iter().position(|validator| validator.address == *address)?;
        Some((u16::try_from(index).ok()?, self.validators.get(index)?))
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
