//! How much of the proof that a validator misbehaves is looked at, kept and passed on. One piece is enough to slash it, and it can
//! sign as many as it likes.

use alloy_primitives::Address;
use bttc_types::{Height, Mutant};
use std::collections::{BTreeMap, BTreeSet};

/// Pieces about one validator that are taken from peers at once ...
const BURST: u32 = 4;
/// ... and how long until one more is.
const REFILL_MS: u64 = 30_000;

/// Heights of one validator's offences that are remembered, the latest ones.
const HEIGHTS: usize = 32;

/// Validators of earlier sets that are remembered: the chain takes evidence against them until their stake is paid out.
const FORMER_MEMBERS: usize = 1_024;

#[derive(Clone, Debug)]
struct Offender {
    heights: BTreeSet<Height>,
    pieces: u32,
    refilled_ms: u64,
}

/// What is known of offences.
#[derive(Clone, Debug, Default)]
pub(super) struct Offences {
    offenders: BTreeMap<Address, Offender>,
    /// Validators that have left the set, with the last height at which they were members.
    former: BTreeMap<Address, Height>,
}

impl Offences {
    /// A validator left the set after `height`.
    pub(super) fn left(&mut self, validator: Address, height: Height) {
        self.former.insert(validator, height);
        if self.former.len() > FORMER_MEMBERS
            && let Some(oldest) = self.former.iter().min_by_key(|(_, height)| **height).map(|(address, _)| *address)
        {
            self.former.remove(&oldest);
            self.offenders.remove(&oldest);
        }
    }

    /// Whether somebody was a validator at or after `height` and is none any more.
    pub(super) fn was_member(&self, validator: &Address, height: Height) -> bool {
        self.former.get(validator).is_some_and(|last| height <= *last)
    }

    /// Whether a piece of evidence that a peer brings is worth a look: nothing is known of that height yet, and there were not
    /// too many. Changes nothing, because the piece is not verified yet.
    pub(super) fn is_wanted(&self, validator: &Address, height: Height, now_ms: u64) -> bool {
        if Mutant::FloodsPassedOn.active() {
            return true;
        }
        self.offenders.get(validator).is_none_or(|offender| {
            !offender.heights.contains(&height)
                && (offender.pieces > 0 || now_ms.saturating_sub(offender.refilled_ms) >= REFILL_MS)
        })
    }

    /// Takes a verified piece from a peer; false when it is not wanted.
    pub(super) fn take(&mut self, validator: Address, height: Height, now_ms: u64) -> bool {
        if !self.is_wanted(&validator, height, now_ms) {
            return false;
        }
        let offender = self.offender(validator, now_ms);
        let refills = now_ms.saturating_sub(offender.refilled_ms).checked_div(REFILL_MS).unwrap_or(0);
        if refills > 0 {
            let pieces = u64::from(offender.pieces).saturating_add(refills).min(u64::from(BURST));
            offender.pieces = u32::try_from(pieces).unwrap_or(BURST);
            offender.refilled_ms = now_ms;
        }
        offender.pieces = offender.pieces.saturating_sub(1);
        remember(&mut offender.heights, height);
        true
    }

    /// Takes down an offence that this node saw itself; false when it knows of one at that height.
    pub(super) fn see(&mut self, validator: Address, height: Height, now_ms: u64) -> bool {
        remember(&mut self.offender(validator, now_ms).heights, height)
    }

    fn offender(&mut self, validator: Address, now_ms: u64) -> &mut Offender {
        self.offenders.entry(validator).or_insert(Offender {
            heights: BTreeSet::new(),
            pieces: BURST,
            refilled_ms: now_ms,
        })
    }
}

fn remember(heights: &mut BTreeSet<Height>, height: Height) -> bool {
    let new = heights.insert(height);
    if heights.len() > HEIGHTS {
        heights.pop_first();
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_proofs_against_oneself_ends_after_a_few_and_goes_on_slowly() {
        let mut offences = Offences::default();
        let liar = Address::repeat_byte(1);
        let taken = (0..1_000).filter(|height| offences.take(liar, *height, 0)).count();
        assert_eq!(taken, BURST as usize);
        assert!(!offences.is_wanted(&liar, 5_000, REFILL_MS - 1));
        assert!(offences.is_wanted(&liar, 5_000, REFILL_MS));
        let later = (2_000..3_000).filter(|height| offences.take(liar, *height, REFILL_MS * 2)).count();
        assert_eq!(later, 2);
        assert!(offences.take(Address::repeat_byte(2), 7, REFILL_MS * 2), "others are not touched by it");
    }

    #[test]
    fn one_proof_for_each_height_and_what_is_seen_here_counts_always() {
        let mut offences = Offences::default();
        let liar = Address::repeat_byte(1);
        assert!(offences.take(liar, 7, 0) && !offences.take(liar, 7, 0));
        for height in 100..200 {
            assert!(offences.see(liar, height, 0));
            assert!(!offences.see(liar, height, 0));
        }
        assert!(offences.offenders.get(&liar).is_some_and(|offender| offender.heights.len() <= HEIGHTS));
    }

    #[test]
    fn former_members_are_bounded_and_known_until_their_last_height() {
        let mut offences = Offences::default();
        for index in 0..2_000u64 {
            offences.left(Address::from_word(alloy_primitives::B256::from(alloy_primitives::U256::from(index))), index);
        }
        assert_eq!(offences.former.len(), FORMER_MEMBERS);
        let last = Address::from_word(alloy_primitives::B256::from(alloy_primitives::U256::from(1_999u64)));
        assert!(offences.was_member(&last, 1_999) && !offences.was_member(&last, 2_000));
    }
}
