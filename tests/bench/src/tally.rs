//! The accounts of a run: what was sent against what is in blocks.

use crate::load::{Answer, Sent, Transfer};
use crate::watch::Seen;
use alloy_primitives::B256;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// How many of which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent.
    pub submitted: usize,
    /// Taken by the node that they were sent to.
    pub accepted: usize,
    /// Refused by it.
    pub refused: usize,
    /// Not answered.
    pub unknown: usize,
    /// In blocks.
    pub included: usize,
    /// Reasons of refusals and of answers that did not come, without the numbers in them, and how often each was given.
    pub reasons: BTreeMap<String, usize>,
}

/// Counts, and checks that every accepted transaction is final exactly once, that nothing is in two blocks, and that nothing that
/// was refused and not `sent_again` is in one.
///
/// # Errors
/// What is wrong, one line each, at most ten of a kind.
pub fn check(transfers: &[Transfer], sent: &[Sent], seen: &Seen, sent_again: bool) -> Result<Tally, String> {
    const SHOWN: usize = 10;
    let mut tally = Tally::default();
    let (mut lost, mut twice, mut ghosts) = (Vec::new(), Vec::new(), Vec::new());
    for (transfer, sent) in transfers.iter().zip(sent) {
        let times = seen.transactions.get(&transfer.hash).map_or(0, Vec::len);
        tally.submitted += usize::from(sent.answer != Answer::Unsent);
        tally.included += usize::from(times > 0);
        let may_be_absent = match &sent.answer {
            Answer::Accepted => {
                tally.accepted += 1;
                false
            }
            Answer::Refused(reason) => {
                tally.refused += 1;
                *tally.reasons.entry(without_numbers(reason)).or_default() += 1;
                true
            }
            Answer::Unknown(reason) => {
                tally.unknown += 1;
                *tally.reasons.entry(without_numbers(reason)).or_default() += 1;
                true
            }
            Answer::Unsent => true,
        };
        match times {
            0 if !may_be_absent => lost.push(transfer.hash),
            0 => {}
            1 => {
                let impossible = match &sent.answer {
                    Answer::Unsent => true,
                    Answer::Refused(_) => !sent_again,
                    Answer::Accepted | Answer::Unknown(_) => false,
                };
                if impossible {
                    ghosts.push(transfer.hash);
                }
            }
            _ => twice.push(transfer.hash),
        }
    }
    let line = |what: &str, hashes: &[B256]| {
        (!hashes.is_empty())
            .then(|| format!("{} {what}: {:?}", hashes.len(), hashes.iter().take(SHOWN).collect::<Vec<_>>()))
    };
    let mut wrong: Vec<String> = [
        line("accepted and in no block", &lost),
        line("in more than one block", &twice),
        line("refused or never sent, and in a block", &ghosts),
    ]
    .into_iter()
    .flatten()
    .collect();
    wrong.extend(holes(seen));
    if wrong.is_empty() { Ok(tally) } else { Err(wrong.join("\n")) }
}

/// Says where the blocks that were seen do not follow each other, or come again.
fn holes(seen: &Seen) -> Vec<String> {
    let mut hashes = HashSet::new();
    let again = seen.blocks.iter().filter(|block| !hashes.insert(block.hash));
    let mut wrong: Vec<String> = again.map(|block| format!("block {} was seen before", block.number)).collect();
    wrong.extend(
        seen.blocks
            .windows(2)
            .filter(|pair| pair[1].number != pair[0].number + 1)
            .map(|pair| format!("block {} comes after block {}", pair[1].number, pair[0].number)),
    );
    wrong
}

/// A reason with `#` for each number, so that reasons of one kind count together.
fn without_numbers(reason: &str) -> String {
    let mut text = String::new();
    for word in reason.split(' ') {
        let is_number = word.starts_with(|first: char| first.is_ascii_digit());
        text.push_str(if is_number { "#" } else { word });
        text.push(' ');
    }
    text.trim_end().chars().take(120).collect()
}

/// From when it was due until it was final, of each accepted transaction for which `counts` holds.
pub fn latencies(transfers: &[Transfer], sent: &[Sent], seen: &Seen, counts: impl Fn(&Sent) -> bool) -> Vec<Duration> {
    transfers
        .iter()
        .zip(sent)
        .filter(|(_, sent)| sent.answer == Answer::Accepted && counts(sent))
        .filter_map(|(transfer, sent)| Some(seen.finality(&transfer.hash)?.saturating_duration_since(sent.due)))
        .collect()
}

/// The smallest value that `share` (0 to 1) of the values do not exceed; zero of none.
pub fn quantile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{check, latencies, quantile};
    use crate::load::{Answer, Sent, Transfer};
    use crate::watch::{Seen, SeenBlock};
    use alloy_primitives::B256;
    use std::time::{Duration, Instant};

    fn transfers(answers: &[Answer]) -> (Vec<Transfer>, Vec<Sent>) {
        let due = Instant::now();
        let one = |(index, answer): (usize, &Answer)| {
            let transfer = Transfer { hash: B256::repeat_byte(index as u8), bytes: Vec::new(), sender: 0 };
            (transfer, Sent { due, answer: answer.clone(), answered: Some(due) })
        };
        answers.iter().enumerate().map(one).unzip()
    }

    fn blocks(contents: &[&[u8]]) -> Seen {
        let mut seen = Seen::default();
        for (position, content) in contents.iter().enumerate() {
            let number = position as u64 + 1;
            let at = Instant::now() + Duration::from_secs(number);
            let hash = B256::repeat_byte(0x80 + position as u8);
            seen.blocks.push(SeenBlock { number, hash, at, transactions: content.len() });
            for byte in *content {
                seen.transactions.entry(B256::repeat_byte(*byte)).or_default().push(position);
            }
        }
        seen
    }

    #[test]
    fn a_good_run_is_counted() {
        let refused = || Answer::Refused("txpool is full: must exceed 12".into());
        let (transfers, sent) = transfers(&[Answer::Accepted, refused(), Answer::Accepted, Answer::Unsent]);
        let seen = blocks(&[&[0], &[2]]);
        let tally = check(&transfers, &sent, &seen, false).unwrap();
        assert_eq!((tally.submitted, tally.accepted, tally.refused, tally.included), (3, 2, 1, 2));
        assert_eq!(tally.reasons.get("txpool is full: must exceed #"), Some(&1));
        assert_eq!(latencies(&transfers, &sent, &seen, |_| true).len(), 2);
        // Sent again, a refused one may well be there.
        check(&transfers, &sent, &blocks(&[&[0], &[2, 1]]), true).unwrap();
    }

    #[test]
    fn a_lost_one_one_that_is_there_twice_a_ghost_and_a_hole_are_told() {
        let (transfers, sent) = transfers(&[Answer::Accepted, Answer::Refused("no".into())]);
        let wrong = |seen: &Seen| check(&transfers, &sent, seen, false).unwrap_err();
        assert!(wrong(&blocks(&[])).contains("1 accepted and in no block"));
        assert!(wrong(&blocks(&[&[0], &[0]])).contains("1 in more than one block"));
        assert!(wrong(&blocks(&[&[0, 0]])).contains("1 in more than one block"));
        assert!(wrong(&blocks(&[&[0, 1]])).contains("1 refused or never sent"));
        let mut seen = blocks(&[&[0], &[]]);
        seen.blocks[1].number = 3;
        assert!(wrong(&seen).contains("block 3 comes after block 1"));
        seen.blocks[1] = seen.blocks[0];
        assert!(wrong(&seen).contains("block 1 was seen before"));
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let of = |share| quantile(&values, share).as_millis();
        assert_eq!((of(0.5), of(0.99), of(1.0), of(0.0)), (50, 99, 100, 1));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
