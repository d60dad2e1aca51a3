//! What must hold of the pool after every operation: every sum and every index counted again.

use crate::Pool;
use crate::index::Inner;
use crate::queue::{Queue, Totals};
use alloy_primitives::{Address, U256};
use std::collections::BTreeMap;

pub(super) fn check(pool: &Pool, at: &str) {
    let inner = pool.inner.lock();
    let mut totals = Totals::default();
    for (sender, queue) in &inner.queues {
        let counted = check_queue(&inner, *sender, queue, at);
        totals.exchange(&Totals::default(), &counted);
    }
    assert_eq!(inner.totals, totals, "{at}");
    assert_eq!(inner.by_hash.len(), totals.count(), "{at}");
    assert_eq!(inner.deadlines.len(), totals.count(), "{at}");
    let entries = inner.queues.values().flat_map(|queue| queue.entries.values());
    assert_eq!(inner.local.len(), entries.filter(|entry| entry.local).count(), "{at}");
    let have = |key: fn(&Queue) -> bool| inner.queues.values().filter(|queue| key(queue)).count();
    assert_eq!(inner.tips.len(), have(|queue| queue.head().is_some()), "{at}");
    assert_eq!(inner.fees.len(), inner.tips.len(), "{at}");
    assert_eq!(inner.tails.len(), have(|queue| queue.totals().pending > queue.totals().protected), "{at}");
    assert_eq!(inner.queued.len(), have(|queue| queue.totals().queued > 0), "{at}");

    let mut named: BTreeMap<Address, usize> = BTreeMap::new();
    for entry in inner.queues.values().flat_map(|queue| queue.entries.values()) {
        entry.authorities.iter().for_each(|authority| *named.entry(*authority).or_default() += 1);
    }
    assert_eq!(inner.authorities.counts(), &named, "{at}");

    let (config, queued, local) = (&pool.config, pool.config.queued_share(), pool.config.local_share());
    assert!(totals.count() <= config.max_transactions && totals.bytes() <= config.max_bytes, "{at}: {totals:?}");
    assert!(totals.queued <= queued.count && totals.queued_bytes <= queued.bytes, "{at}: {totals:?}");
    assert!(totals.protected <= local.count && totals.protected_bytes <= local.bytes, "{at}: {totals:?}");
}

fn check_queue(inner: &Inner, sender: Address, queue: &Queue, at: &str) -> Totals {
    let (mut counted, mut cost, mut next) = (Totals::default(), U256::ZERO, queue.account.nonce);
    for (nonce, entry) in &queue.entries {
        let pending = *nonce == next && cost + entry.cost <= queue.account.balance;
        if pending {
            cost += entry.cost;
            next += 1;
            counted.pending += 1;
            counted.pending_bytes += entry.bytes();
            if *nonce < queue.protected_nonce() {
                assert!(entry.local, "{at}: only local ones are protected");
                counted.protected += 1;
                counted.protected_bytes += entry.bytes();
            }
        } else {
            assert!(entry.cost <= queue.account.balance, "{at}: payable at least alone");
            counted.queued += 1;
            counted.queued_bytes += entry.bytes();
        }
        assert_eq!(inner.by_hash.get(&entry.transaction.hash()), Some(&(sender, *nonce)), "{at}");
        let age = entry.indexed.unwrap();
        assert_eq!(age.pending, pending, "{at}");
        assert!(inner.deadlines.contains(&(age.deadline_ms, sender, *nonce)), "{at}");
        assert_eq!(inner.local.contains_key(&entry.sequence), entry.local, "{at}");
    }
    assert!(!queue.entries.is_empty(), "{at}: nothing is kept of who has nothing here");
    assert_eq!((queue.next_nonce(), queue.cost()), (next, cost), "{at}");
    assert_eq!((*queue.totals(), queue.counted), (counted, counted), "{at}");
    assert!(counted.queued <= inner.config.max_queued_per_sender, "{at}");
    assert!(queue.entries.len() <= inner.config.max_per_sender, "{at}");
    assert!(queue.entries.len() == 1 || !inner.is_limited(&sender, &queue.account), "{at}: one of a delegated account");
    let keys = queue.keys_of(sender, &inner.config);
    assert_eq!(queue.keys, keys, "{at}");
    assert!(keys.tip.is_none_or(|key| inner.tips.contains(&key)), "{at}");
    assert!(keys.fee.is_none_or(|key| inner.fees.contains(&key)), "{at}");
    assert!(keys.tail.is_none_or(|key| inner.tails.contains(&key)), "{at}");
    assert!(keys.queued.is_none_or(|key| inner.queued.contains(&key)), "{at}");
    counted
}

/// The builder gets each executable transaction once, a sender's in order, and always one of the best that there are.
pub(super) fn check_order(pool: &Pool, base_fee: u64, at: &str) {
    let mut waiting: BTreeMap<Address, Vec<u128>> = BTreeMap::new();
    for entry in pool.content(None).into_iter().filter(|entry| entry.pending) {
        let tips = waiting.entry(entry.transaction.sender()).or_default();
        tips.push(entry.transaction.tip(base_fee).map_or(0, |tip| tip + 1));
    }
    // Behind one that the base fee keeps out nothing is executable; 0 stands for that.
    for tips in waiting.values_mut() {
        let executable = tips.iter().take_while(|tip| **tip > 0).count();
        tips.truncate(executable);
        tips.reverse();
    }
    let any = waiting.values().any(|tips| !tips.is_empty());
    assert_eq!(pool.has_executable(base_fee), any, "{at}");
    let mut best = pool.best(base_fee);
    while let Some(transaction) = best.next_best() {
        let most = waiting.values().filter_map(|tips| tips.last()).max().copied();
        let tip = waiting.get_mut(&transaction.sender()).and_then(Vec::pop);
        assert_eq!(tip, most, "{at}: a better one waits");
        assert_eq!(tip, transaction.tip(base_fee).map(|tip| tip + 1), "{at}: a sender's in order");
    }
    assert!(waiting.values().all(Vec::is_empty), "{at}: none is forgotten");
}
