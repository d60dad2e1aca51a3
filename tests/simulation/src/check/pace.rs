//! How close heights are to each other.

use std::collections::{BTreeMap, HashMap};

/// The share of the target time, in per cent, before which no height starts, whatever anybody says.
const FLOOR_PERCENT: u64 = 80;

/// Rounding of clocks and time for work, microseconds.
const TOLERANCE_US: u64 = 20_000;

/// Heights whose starts are remembered.
const REMEMBERED: u64 = 16;

/// When heights started.
#[derive(Debug)]
pub(super) struct Pace {
    target_us: u64,
    settled: bool,
    /// The highest height that was begun before the network was left alone: the next one's distance says nothing.
    unsettled: u64,
    /// When the first honest node began a height, microseconds.
    first: BTreeMap<u64, u64>,
    /// The height that each node began last, unless it missed how that went on.
    last: HashMap<usize, u64>,
}

impl Pace {
    pub(super) fn new(target_ms: u64) -> Self {
        Self {
            target_us: target_ms * 1_000,
            settled: false,
            unsettled: 0,
            first: BTreeMap::new(),
            last: HashMap::new(),
        }
    }

    pub(super) fn set_settled(&mut self, settled: bool) {
        if settled && !self.settled {
            self.unsettled = self.first.last_key_value().map_or(0, |(height, _)| *height);
        }
        self.settled = settled;
    }

    /// A node was started, or took over a block that others decided: it begins its next height at once, alone.
    pub(super) fn lost_track(&mut self, node: usize) {
        self.last.remove(&node);
    }

    /// An honest node begins a height; what is wrong if that is too soon.
    pub(super) fn started(&mut self, node: usize, height: u64, time_us: u64) -> Option<String> {
        let followed = self.last.insert(node, height).is_some_and(|last| last + 1 >= height);
        if self.first.contains_key(&height) {
            return None;
        }
        // Whoever begins it, and when: later ones are not the first.
        self.first.insert(height, time_us);
        self.first.retain(|known, _| *known + REMEMBERED > height);
        let parent = height.checked_sub(1)?;
        if !self.settled || !followed || parent <= self.unsettled {
            return None;
        }
        let before = *self.first.get(&parent)?;
        let gap = time_us.saturating_sub(before);
        let least = (self.target_us * FLOOR_PERCENT / 100).saturating_sub(TOLERANCE_US);
        (gap < least).then(|| {
            let (gap, target) = (gap / 1_000, self.target_us / 1_000);
            format!(
                "node {node} begins height {height} {gap} ms after its parent's first start; the target is {target} ms"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_height_that_begins_before_its_time_is_seen_once_the_network_is_left_alone() {
        let mut pace = Pace::new(1_000);
        let second = |seconds: f64| (seconds * 1e6) as u64;
        assert_eq!(pace.started(0, 1, 0), None);
        assert_eq!(pace.started(0, 2, second(0.1)), None, "not settled");
        pace.set_settled(true);
        assert_eq!(pace.started(1, 2, second(0.9)), None, "it began before the network was settled");
        assert_eq!(pace.started(0, 3, second(1.0)), None, "its parent began before the network was settled");
        assert_eq!(pace.started(1, 3, second(1.3)), None, "later than the first");
        assert_eq!(pace.started(0, 4, second(1.9)), None, "within the floor");
        assert!(pace.started(0, 5, second(2.2)).is_some());
        pace.lost_track(1);
        assert_eq!(pace.started(1, 6, second(2.3)), None, "it took over the block before");
        assert_eq!(pace.started(0, 6, second(3.0)), None, "not the first");
    }
}
