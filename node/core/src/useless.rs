//! What messages that come to nothing may cost this node.

use lru::LruCache;
use std::collections::HashMap;
use std::num::NonZeroUsize;

/// Neighbourhoods whose budgets are kept: more than there can be peers.
const MAX_BUDGETS: usize = 1_024;

/// How fast a budget fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub struct UselessRate {
    /// Messages a second.
    pub per_second: u32,
    /// Messages at once.
    pub burst: u32,
}

/// How many useless messages are worth the recovery of their signers.
///
/// Anybody can sign for accounts that own nothing, or two things of which a node takes only one, and nobody can be blamed for
/// passing them on: an honest node does so, too, because its head or its pool is another. So they are bounded where identities
/// cost something: each neighbourhood (all strangers of a subnet together, each of the operator's own peers by itself) has a budget
/// of its own, and all together have one, from which everybody takes first. While both are empty, nothing of that neighbourhood is
/// looked at. Whoever floods uses up the common budget, and then his own; the others keep theirs.
#[derive(Debug)]
pub struct UselessBudget {
    each: UselessRate,
    all: UselessRate,
    common: Option<Budget>,
    budgets: LruCache<u64, Budget>,
    /// Of connected peers.
    neighbourhoods: HashMap<u64, u64>,
}

/// A budget, in thousandths of a message; below zero when a batch took more than there was.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: i64,
    at_ms: u64,
}

impl Budget {
    fn left(budget: Option<Self>, rate: UselessRate, now_ms: u64) -> i64 {
        let full = i64::from(rate.burst) * 1_000;
        let Some(budget) = budget else { return full };
        let elapsed = i64::try_from(now_ms.saturating_sub(budget.at_ms)).unwrap_or(i64::MAX);
        budget.left.saturating_add(elapsed.saturating_mul(i64::from(rate.per_second))).min(full)
    }
}

impl Default for UselessBudget {
    /// 4,000 a second and 8,000 at once in all, 200 a second and 2,000 at once for each neighbourhood: at 50 microseconds each,
    /// a fifth of a core, and a hundredth for each that floods.
    fn default() -> Self {
        let each = UselessRate { per_second: 200, burst: 2_000 };
        Self::new(each, UselessRate { per_second: 4_000, burst: 8_000 })
    }
}

impl UselessBudget {
    /// Full budgets.
    pub fn new(each: UselessRate, all: UselessRate) -> Self {
        let kept = NonZeroUsize::new(MAX_BUDGETS).unwrap_or(NonZeroUsize::MIN);
        Self { each, all, common: None, budgets: LruCache::new(kept), neighbourhoods: HashMap::new() }
    }

    /// A peer of a neighbourhood is there.
    pub fn connected(&mut self, peer: u64, neighbourhood: u64) {
        self.neighbourhoods.insert(peer, neighbourhood);
    }

    /// A peer is gone. What its neighbourhood has used up stays used up.
    pub fn gone(&mut self, peer: u64) {
        self.neighbourhoods.remove(&peer);
    }

    /// Whether a message of this peer is worth looking at.
    pub fn allows(&self, peer: u64, now_ms: u64) -> bool {
        Budget::left(self.common, self.all, now_ms) >= 1_000 || self.left(self.neighbourhood(peer), now_ms) >= 1_000
    }

    /// A message of this peer was useless.
    pub fn charge(&mut self, peer: u64, now_ms: u64) {
        let common = Budget::left(self.common, self.all, now_ms);
        if common >= 1_000 {
            self.common = Some(Budget { left: common.saturating_sub(1_000), at_ms: now_ms });
            return;
        }
        let neighbourhood = self.neighbourhood(peer);
        let left = self.left(neighbourhood, now_ms).saturating_sub(1_000);
        self.budgets.put(neighbourhood, Budget { left, at_ms: now_ms });
    }

    /// Peers that are gone, of which something is still here, share a neighbourhood.
    fn neighbourhood(&self, peer: u64) -> u64 {
        self.neighbourhoods.get(&peer).copied().unwrap_or(0)
    }

    fn left(&self, neighbourhood: u64, now_ms: u64) -> i64 {
        Budget::left(self.budgets.peek(&neighbourhood).copied(), self.each, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BUDGETS, UselessBudget, UselessRate};

    const NONE: UselessRate = UselessRate { per_second: 0, burst: 0 };

    fn rate(per_second: u32, burst: u32) -> UselessRate {
        UselessRate { per_second, burst }
    }

    /// Messages of a peer that are looked at within ten seconds, when it sends 1,000 a second of which so many in a thousand are
    /// useless; of all and of the useful ones.
    fn looked_at(budget: &mut UselessBudget, peer: u64, useless: u64) -> (u64, u64) {
        let (mut all, mut useful) = (0, 0);
        for now_ms in 0..10_000u64 {
            if !budget.allows(peer, now_ms) {
                continue;
            }
            all += 1;
            if now_ms % 1_000 < useless { budget.charge(peer, now_ms) } else { useful += 1 }
        }
        (all, useful)
    }

    fn connected(each: UselessRate, all: UselessRate, peers: std::ops::Range<u64>) -> UselessBudget {
        let mut budget = UselessBudget::new(each, all);
        peers.for_each(|peer| budget.connected(peer, peer + 1_000));
        budget
    }

    #[test]
    fn useless_messages_cost_the_neighbourhood_that_sent_them_and_nobody_else() {
        let mut budget = connected(rate(100, 500), NONE, 1..4);
        let (all, _) = looked_at(&mut budget, 1, 1_000);
        assert!((1_400..=1_501).contains(&all), "500 at once and 100 a second, not {all}");
        assert!(!budget.allows(1, 9_999) && budget.allows(2, 9_999));
        // A peer of whose messages a few are useless loses none.
        assert_eq!(looked_at(&mut connected(rate(100, 500), NONE, 1..4), 3, 50), (10_000, 9_500));
    }

    /// Somebody gives two things to different nodes, and each honest node passes on its own: many are refused, and the honest ones
    /// that come the same way are not lost with them.
    #[test]
    fn what_honest_nodes_disagree_about_does_not_mute_them() {
        let mut budget = UselessBudget::default();
        budget.connected(1, 7);
        let mut lost = 0;
        for now_ms in 0..60_000u64 {
            // 3,000 conflicts and 1,000 good ones a second.
            for _ in 0..3 {
                if budget.allows(1, now_ms) {
                    budget.charge(1, now_ms);
                }
            }
            lost += u64::from(!budget.allows(1, now_ms));
        }
        assert_eq!(lost, 0);
    }

    /// Identities cost nothing: new ones of one subnet have no more than the old ones had.
    #[test]
    fn new_identities_of_a_neighbourhood_bring_nothing_with_them() {
        let mut budget = UselessBudget::new(rate(100, 500), rate(1_000, 1_000));
        let mut looked_at = 0;
        for peer in 0..100u64 {
            budget.connected(peer, 7);
            for _ in 0..2_000 {
                if budget.allows(peer, peer * 100) {
                    budget.charge(peer, peer * 100);
                    looked_at += 1;
                }
            }
            budget.gone(peer);
        }
        assert!(looked_at <= 500 + 1_000 + 10 * (100 + 1_000), "{looked_at} in ten seconds");
        // Another neighbourhood is looked at all the same.
        budget.connected(1_000, 8);
        assert!(budget.allows(1_000, 9_900));
    }

    #[test]
    fn a_budget_fills_again_but_not_above_its_size() {
        let mut budget = connected(rate(100, 500), NONE, 1..2);
        let spend = |budget: &mut UselessBudget, now_ms| {
            (0..1_000)
                .filter(|_| {
                    let allowed = budget.allows(1, now_ms);
                    if allowed {
                        budget.charge(1, now_ms);
                    }
                    allowed
                })
                .count()
        };
        assert_eq!(spend(&mut budget, 0), 500);
        assert_eq!(spend(&mut budget, 9), 0);
        assert_eq!(spend(&mut budget, 1_000), 100);
        assert_eq!(spend(&mut budget, 1_000_000), 500);
        // What a batch took beyond the budget is owed.
        (0..300).for_each(|_| budget.charge(1, 1_000_000));
        assert_eq!(spend(&mut budget, 1_003_000), 0);
        assert_eq!(spend(&mut budget, 1_004_000), 100);
    }

    #[test]
    fn budgets_are_kept_of_so_many_neighbourhoods_only() {
        let mut budget = connected(rate(1, 1), NONE, 0..10_000);
        for peer in 0..10_000 {
            budget.charge(peer, 0);
        }
        assert_eq!(budget.budgets.len(), MAX_BUDGETS);
        assert!(budget.allows(0, 0) && !budget.allows(9_999, 0));
    }
}
