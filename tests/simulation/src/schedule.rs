//! Who is a validator when: sets drawn for each epoch, known to the checker apart from the node's own look-up.

use crate::fault::{Fault, FaultSet};
use alloy_primitives::Address;
use bttc_genesis::GenesisValidator;
use bttc_types::{Validator, ValidatorSet};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Blocks in an epoch of a simulated chain.
pub const EPOCH_BLOCKS: u64 = 10;

/// Who can be in the sets.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// Everybody's key.
    pub keys: &'a [Address],
    /// Who lies: together they hold less than a third of the power in each set, or `percent` of it.
    pub byzantine: &'a [bool],
    /// For scenarios that must fail.
    pub percent: Option<u64>,
    /// Who is never in a set.
    pub follower: Option<Address>,
}

/// Sets by the first epoch in which they are in force.
#[derive(Clone, Debug)]
pub struct Schedule {
    sets: BTreeMap<u64, Vec<GenesisValidator>>,
}

impl Schedule {
    /// Draws sets for `heights`.
    pub fn draw(members: Members<'_>, heights: u64, faults: &FaultSet, rng: &mut ChaCha8Rng) -> Self {
        let mut sets = BTreeMap::new();
        let epochs = if faults.has(Fault::SetChange) { heights / EPOCH_BLOCKS + 50 } else { 0 };
        for epoch in 0..=epochs {
            if epoch > 0 && rng.random_bool(0.4) {
                continue;
            }
            sets.insert(epoch, Self::one(members, faults.has(Fault::SetChange), rng));
        }
        Self { sets }
    }

    fn one(members: Members<'_>, changing: bool, rng: &mut ChaCha8Rng) -> Vec<GenesisValidator> {
        let Members { keys, byzantine, percent, follower } = members;
        let member = |address: Address, power: u64| GenesisValidator { address, owner: address, power };
        let mut set: Vec<GenesisValidator> = Vec::new();
        let mut honest = 0;
        for (key, byzantine) in keys.iter().zip(byzantine) {
            // At least three honest members, so that the set is never trivial.
            let left = changing && honest >= 3 && rng.random_bool(0.15);
            if !*byzantine && !left && Some(*key) != follower {
                let power = if changing { rng.random_range(1..=10) } else { 1 };
                honest += power;
                set.push(member(*key, power));
            }
        }
        let liars: Vec<Address> = {
            let mut seen = Vec::new();
            for (key, byzantine) in keys.iter().zip(byzantine) {
                // Twins have one key.
                if *byzantine && !seen.contains(key) {
                    seen.push(*key);
                }
            }
            seen
        };
        let count = liars.len() as u64;
        if count > 0 {
            // Strictly below a third: 2 x lies < honest.
            let most = match percent {
                Some(percent) => honest * percent / (100 - percent.min(99)),
                None => (honest - 1) / 2,
            };
            if most < count {
                // Too little power for all of them: raise everybody else's.
                for entry in &mut set {
                    entry.power *= 3 * count;
                }
                return Self::with_liars(set, &liars, percent, rng);
            }
            return Self::with_liars(set, &liars, percent, rng);
        }
        set
    }

    fn with_liars(
        mut set: Vec<GenesisValidator>,
        liars: &[Address],
        percent: Option<u64>,
        rng: &mut ChaCha8Rng,
    ) -> Vec<GenesisValidator> {
        let honest: u64 = set.iter().map(|entry| entry.power).sum();
        let most = match percent {
            Some(percent) => honest * percent / (100 - percent.min(99)),
            None => (honest - 1) / 2,
        };
        let each = (most / liars.len() as u64).max(1);
        for address in liars {
            let power = if percent.is_some() { each } else { rng.random_range(1..=each) };
            set.push(GenesisValidator { address: *address, owner: *address, power });
        }
        set
    }

    /// The first epoch's set.
    pub fn first(&self) -> Vec<GenesisValidator> {
        self.sets.get(&0).cloned().unwrap_or_default()
    }

    /// The later sets.
    pub fn later(&self) -> BTreeMap<u64, Vec<GenesisValidator>> {
        self.sets.iter().filter(|(epoch, _)| **epoch > 0).map(|(epoch, set)| (*epoch, set.clone())).collect()
    }

    /// Whether a new set comes into force with this height.
    pub fn changes_at(&self, height: u64) -> bool {
        height > 1
            && (height - 1).is_multiple_of(EPOCH_BLOCKS)
            && self.sets.contains_key(&((height - 1) / EPOCH_BLOCKS))
    }

    /// The set that signs a height, with its rotation.
    pub fn at(&self, height: u64) -> ValidatorSet {
        let position = height.saturating_sub(1);
        let epoch = position / EPOCH_BLOCKS;
        let entries = self.sets.range(..=epoch).next_back().map(|(_, set)| set.clone()).unwrap_or_default();
        let validators =
            entries.iter().map(|entry| Validator { address: entry.address, owner: entry.owner, power: entry.power });
        #[allow(clippy::expect_used)] // Sets are drawn valid: not empty, no address twice.
        ValidatorSet::new(validators.collect()).expect("a drawn set is valid").advanced(position % EPOCH_BLOCKS)
    }
}
