//! What a peer has to its name: points lost by faults, and what is left of its quotas.

use crate::lane::Lane;

/// A peer's standing: 0 is good, faults lower it, time heals one point a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    points: i64,
    at_ms: u64,
}

impl Score {
    /// The points now.
    pub fn at(&self, now_ms: u64) -> i64 {
        let healed = i64::try_from(now_ms.saturating_sub(self.at_ms) / 1_000).unwrap_or(i64::MAX);
        self.points.saturating_add(healed).min(0)
    }

    /// Takes points away, but never below `floor`, so that a ban outlasts whatever led to it. Returns what is left.
    pub(crate) fn lower(&mut self, points: i64, floor: i64, now_ms: u64) -> i64 {
        self.points = self.at(now_ms).saturating_sub(points).max(floor);
        self.at_ms = now_ms;
        self.points
    }
}

/// How often something may be done: once in `interval_ms`, and `burst` times at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) interval_ms: u64,
    pub(crate) burst: u64,
}

impl Rate {
    const fn full(self) -> u64 {
        self.interval_ms.saturating_mul(self.burst)
    }
}

/// A token bucket for a [`Rate`]; what is in it is counted in milliseconds that have been waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    waited_ms: u64,
    at_ms: u64,
}

impl Bucket {
    /// A full one.
    pub(crate) const fn full(rate: Rate, now_ms: u64) -> Self {
        Self { waited_ms: rate.full(), at_ms: now_ms }
    }

    /// Whether it may be done now; if so, it counts.
    pub(crate) fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        self.waited_ms = self.waited_ms.saturating_add(now_ms.saturating_sub(self.at_ms)).min(rate.full());
        self.at_ms = now_ms;
        let enough = self.waited_ms >= rate.interval_ms;
        if enough {
            self.waited_ms -= rate.interval_ms;
        }
        enough
    }
}

/// Token buckets of one lane: bytes and messages that are new to us, and all bytes, those that came before included.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    bytes: u64,
    messages: u64,
    received: u64,
    at_ms: u64,
}

/// Seconds of quota that can be saved up.
const BURST_SECONDS: u64 = 4;

/// How much more may come of what is known already: a peer that passes messages on cannot know who else did.
const REPEATED: u64 = 4;

/// What every message is counted as at least, bytes: to take it in is work, though there be nothing in it.
const LEAST_BYTES: u64 = 256;

impl Quota {
    pub(crate) fn new(lane: Lane, now_ms: u64) -> Self {
        Self {
            bytes: lane.quota_bytes() * BURST_SECONDS,
            messages: lane.quota_messages() * BURST_SECONDS,
            received: lane.quota_bytes() * REPEATED * BURST_SECONDS,
            at_ms: now_ms,
        }
    }

    fn refill(&mut self, lane: Lane, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        if elapsed == 0 {
            return;
        }
        let refill = |have: u64, rate: u64| {
            have.saturating_add(rate.saturating_mul(elapsed) / 1_000).min(rate.saturating_mul(BURST_SECONDS))
        };
        self.bytes = refill(self.bytes, lane.quota_bytes());
        self.messages = refill(self.messages, lane.quota_messages());
        self.received = refill(self.received, lane.quota_bytes() * REPEATED);
        self.at_ms = now_ms;
    }

    /// Counts bytes before anybody looks at them; false when they are too many even for a peer that only repeats what
    /// others said.
    pub(crate) fn receive(&mut self, lane: Lane, bytes: usize, now_ms: u64) -> bool {
        self.refill(lane, now_ms);
        let bytes = LEAST_BYTES.max(bytes as u64);
        let enough = self.received >= bytes;
        if enough {
            self.received -= bytes;
        }
        enough
    }

    /// Takes one message that is new to us out of the buckets; false when there is not enough in them.
    pub fn take(&mut self, lane: Lane, bytes: usize, now_ms: u64) -> bool {
        self.refill(lane, now_ms);
        let bytes = bytes as u64;
        if self.messages == 0 || self.bytes < bytes {
            return false;
        }
        self.messages -= 1;
        self.bytes -= bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Rate, Score};

    #[test]
    fn a_bucket_allows_its_burst_and_then_its_rate() {
        let rate = Rate { interval_ms: 2_000, burst: 3 };
        let mut bucket = Bucket::full(rate, 0);
        let allowed = (0..10_000u64).filter(|ms| bucket.take(rate, *ms)).count();
        assert_eq!(allowed, 3 + 4, "three at once, and one every two seconds");
        let mut bucket = Bucket::full(rate, 0);
        assert_eq!((0..100).filter(|_| bucket.take(rate, 5_000)).count(), 3, "a rest saves up no more than the burst");
    }

    #[test]
    fn points_do_not_fall_below_the_floor() {
        let mut score = Score::default();
        for _ in 0..100 {
            score.lower(25, -100, 0);
        }
        assert_eq!((score.at(0), score.at(60_000), score.at(100_000)), (-100, -40, 0));
    }
}
