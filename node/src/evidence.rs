//! Evidence that is kept to be reported: nobody pushes the proof against itself, or against another, out with worthless ones.

use bttc_types::Evidence;

/// Pieces that are kept: of every member of a large set, and of former ones.
const MOST: usize = 1_000;

/// Pieces against one validator that are kept. One is enough to slash it; some may be of heights that the chain does not judge.
const MOST_OF_ONE: usize = 4;

#[derive(Clone, Debug)]
struct Piece {
    evidence: Evidence,
    /// Whether this node saw both messages itself: then they are of a height that it worked on.
    found_here: bool,
}

/// The evidence.
#[derive(Clone, Debug, Default)]
pub(crate) struct EvidenceBook {
    pieces: Vec<Piece>,
}

impl EvidenceBook {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// All of it, oldest first.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Evidence> {
        self.pieces.iter().map(|piece| &piece.evidence)
    }

    /// Keeps a piece; false when it is known already, or there is no place for it. An offender chooses what it signs against itself, and
    /// four pieces may prove nothing to the chain: so what peers told makes way, the oldest of this offender first, and what this node
    /// saw itself stays.
    pub(crate) fn keep(&mut self, evidence: Evidence, found_here: bool) -> bool {
        if self.pieces().any(|known| *known == evidence) {
            return false;
        }
        let offender = evidence.validator();
        let of_offender = self.pieces().filter(|known| known.validator() == offender).count();
        if of_offender >= MOST_OF_ONE || self.pieces.len() >= MOST {
            let own = |piece: &Piece| !piece.found_here && piece.evidence.validator() == offender;
            let told = self.pieces.iter().position(own);
            // Of others only for what was seen here: whoever made that up would have to be seen by us to do so.
            let leaves = told.or_else(|| {
                let full = of_offender < MOST_OF_ONE && found_here;
                self.pieces.iter().rposition(|piece| !piece.found_here).filter(|_| full)
            });
            let Some(place) = leaves else { return false };
            self.pieces.remove(place);
        }
        self.pieces.push(Piece { evidence, found_here });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{EvidenceBook, MOST, MOST_OF_ONE};
    use alloy_primitives::{Address, B256, U256};
    use bttc_types::{Evidence, SecretKey, SignedVote, Vote, VoteKind};

    fn evidence(validator: u64, height: u64) -> Evidence {
        let signature = SecretKey::from_bytes(&[1; 32]).unwrap().sign(B256::ZERO);
        let validator = Address::from_word(B256::from(U256::from(validator)));
        let vote = |block_hash| {
            let vote = Vote { kind: VoteKind::Prevote, height, round: 0, block_hash, validator };
            SignedVote { vote, signature }
        };
        Evidence::Votes(Box::new([vote(None), vote(Some(B256::repeat_byte(1)))]))
    }

    fn holds(book: &EvidenceBook, piece: &Evidence) -> bool {
        book.pieces().any(|known| known == piece)
    }

    #[test]
    fn proofs_against_oneself_push_out_nothing_that_was_seen_here() {
        for first in [true, false] {
            let mut book = EvidenceBook::default();
            let (found, told) = (evidence(7, 50), evidence(8, 1));
            assert!(book.keep(told.clone(), false));
            if first {
                assert!(book.keep(found.clone(), true));
            }
            for height in 100..10_100 {
                assert!(book.keep(evidence(7, height), false), "the oldest that was told makes way");
            }
            assert_eq!(book.keep(found.clone(), true), !first, "known, or there is a place for it");
            for height in 20_000..20_100 {
                book.keep(evidence(7, height), false);
            }
            assert!(holds(&book, &found) && holds(&book, &told) && holds(&book, &evidence(7, 20_099)));
            assert_eq!(book.pieces().count(), 1 + MOST_OF_ONE);
        }
    }

    #[test]
    fn many_offenders_push_out_nothing_that_was_seen_here() {
        let mut book = EvidenceBook::default();
        let found: Vec<Evidence> = (0..20).map(|offender| evidence(offender, 5)).collect();
        for piece in &found[..10] {
            assert!(book.keep(piece.clone(), true) && !book.keep(piece.clone(), true), "once");
        }
        for offender in 1_000..3_000 {
            book.keep(evidence(offender, 5), false);
        }
        assert_eq!(book.pieces().count(), MOST);
        for piece in &found[10..] {
            assert!(book.keep(piece.clone(), true));
        }
        assert_eq!(book.pieces().count(), MOST);
        assert!(found.iter().all(|piece| holds(&book, piece)));
    }
}
