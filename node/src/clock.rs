//! The one place where the node reads clocks.

use bttc_engine::Now;
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: OnceLock<Instant> = OnceLock::new();

/// The time now.
pub(crate) fn now() -> Now {
    let start = START.get_or_init(Instant::now);
    let mono = start.elapsed().as_millis();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Now {
        // From 1 on, so that a deadline in the past can be told from none.
        mono_ms: u64::try_from(mono).unwrap_or(u64::MAX).saturating_add(1),
        wall_ms: u64::try_from(wall).unwrap_or(u64::MAX),
    }
}

/// Sees when it is this machine's clock that is off, and not one proposer's: when most proposals come at a time that is
/// too far off, and all on the same side.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    /// Of the last rounds: by how much the proposal's time was off, milliseconds; none when it was not.
    rounds: VecDeque<Option<i64>>,
    told_ms: Option<u64>,
}

impl ClockWatch {
    /// Rounds looked at.
    const ROUNDS: usize = 12;
    /// Rounds needed to say anything.
    const LEAST: usize = 4;
    /// How often it is said, milliseconds.
    const AGAIN_MS: u64 = 60_000;

    /// A round begins.
    pub(crate) fn round(&mut self) {
        self.rounds.push_back(None);
        if self.rounds.len() > Self::ROUNDS {
            self.rounds.pop_front();
        }
    }

    /// The proposal of the round has a time that is too far from ours. Returns by how much our clock is ahead
    /// (milliseconds, negative: behind) when that is to be said now.
    pub(crate) fn untimely(&mut self, block_ms: u64, received_ms: u64, mono_ms: u64) -> Option<i64> {
        let off = i64::try_from(i128::from(received_ms) - i128::from(block_ms)).ok()?;
        if let Some(last) = self.rounds.back_mut() {
            *last = Some(off);
        }
        let same = self.rounds.iter().flatten().filter(|other| other.signum() == off.signum()).count();
        if same < Self::LEAST || same * 2 <= self.rounds.len() {
            return None;
        }
        if self.told_ms.is_some_and(|told| mono_ms.saturating_sub(told) < Self::AGAIN_MS) {
            return None;
        }
        self.told_ms = Some(mono_ms);
        Some(off)
    }
}

#[cfg(test)]
mod tests {
    use super::ClockWatch;

    #[test]
    fn one_proposer_that_is_off_is_not_our_clock() {
        let mut watch = ClockWatch::default();
        for round in 0..100u64 {
            watch.round();
            if round % 4 == 0 {
                assert_eq!(watch.untimely(130_000, 10_000, round), None);
            }
        }
    }

    #[test]
    fn all_proposers_off_on_one_side_are_our_clock() {
        let mut watch = ClockWatch::default();
        let mut told = Vec::new();
        for round in 0..100u64 {
            watch.round();
            if round % 4 != 3 {
                told.extend(watch.untimely(10_000, 130_000, round * 1_000));
            }
        }
        assert_eq!(told, [120_000, 120_000], "once a minute");
    }
}
