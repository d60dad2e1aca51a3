//! What an operation costs does not depend on who filled the pool, nor with what.

use crate::support::{Accounts, GWEI, RICH, cheap, pool, stranger, tipping, transfer};
use bttc_pool::{Pool, PoolConfig};
use std::time::{Duration, Instant};

/// By how much the worst pool may be slower than a harmless one. A pass over the pool is slower by thousands.
const SLOWER: u32 = 20;
/// For what else the machine does meanwhile.
const NOISE: Duration = Duration::from_millis(300);

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn assert_not_slower(worst: Duration, harmless: Duration) {
    assert!(worst < harmless * SLOWER + NOISE, "{worst:?} against {harmless:?}");
}

/// So many senders with as many transactions each as fill the pool at the lowest price, the last one of each at `last`.
fn full(senders: u64, last: u128) -> (Pool, Accounts) {
    let (pool, accounts) = pool(PoolConfig::default());
    let each = 100_000 / senders;
    for number in 0..senders {
        accounts.set(stranger(number), 0, 1_000 * RICH);
        for nonce in 0..each {
            let fee = if nonce == each - 1 { last } else { GWEI };
            pool.add(cheap(stranger(number), nonce, fee), false, 0, &accounts).unwrap();
        }
    }
    assert_eq!(pool.len(), 100_000);
    (pool, accounts)
}

/// 1,000 newcomers, each with one transaction.
fn newcomers(pool: &Pool, accounts: &Accounts, fee: u128) -> (Duration, usize) {
    for number in 10_000..11_000 {
        accounts.set(stranger(number), 0, RICH);
    }
    let transactions: Vec<_> = (10_000..11_000).map(|number| cheap(stranger(number), 0, fee)).collect();
    let mut taken = 0;
    let time = time(|| {
        for transaction in transactions {
            taken += usize::from(pool.add(transaction, false, 0, accounts).is_ok());
        }
    });
    (time, taken)
}

#[test]
fn a_last_transaction_at_a_high_price_neither_shields_a_sender_nor_costs_a_search() {
    let (harmless, taken) = {
        let (pool, accounts) = full(2_000, GWEI);
        newcomers(&pool, &accounts, 2 * GWEI)
    };
    assert_eq!(taken, 1_000);
    let (pool, accounts) = full(2_000, 1_000 * GWEI);
    let (worst, taken) = newcomers(&pool, &accounts, 2 * GWEI);
    assert_eq!(taken, 1_000, "what must be included after a cheap one is worth no more than it");
    assert_not_slower(worst, harmless);
    // Refusals are no searches either.
    let (refusals, taken) = newcomers(&full(2_000, 1_000 * GWEI).0, &accounts, GWEI);
    assert_eq!(taken, 0);
    assert_not_slower(refusals, harmless);
    // Nor is it one where few senders have thousands each.
    let (pool, accounts) = full(25, 1_000 * GWEI);
    let (worst, taken) = newcomers(&pool, &accounts, GWEI);
    assert_eq!(taken, 1_000, "what is beyond a sender's first ones goes whatever it offers");
    assert_not_slower(worst, harmless);
}

#[test]
fn many_senders_below_the_base_fee_cost_the_builder_nothing() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 200_000, ..PoolConfig::default() });
    let ask = |pool: &Pool| {
        time(|| {
            for _ in 0..1_000 {
                assert!(!pool.has_executable(3_000_000_000));
                assert!(pool.best(3_000_000_000).next_best().is_none());
            }
        })
    };
    let greet = |pool: &Pool| time(|| (0..100).for_each(|_| assert_eq!(pool.best_pending(20).len(), 20)));
    let fill = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            accounts.set(stranger(number), 0, RICH);
            pool.add(cheap(stranger(number), 0, 2 * GWEI), false, 0, &accounts).unwrap();
        }
    };
    fill(0..20);
    let (harmless, greeting) = (ask(&pool), greet(&pool));
    fill(20..100_000);
    assert_eq!(pool.status().pending, 100_000);
    assert_not_slower(ask(&pool), harmless);
    assert_not_slower(greet(&pool), greeting);
    // Nor do they when somebody pays more, with a lower tip than all of them.
    let better = transfer(1, 0, 4 * GWEI, GWEI / 2);
    pool.add(better.clone(), false, 0, &accounts).unwrap();
    let found = time(|| {
        for _ in 0..1_000 {
            assert!(pool.has_executable(3_000_000_000));
            let mut best = pool.best(3_000_000_000);
            assert_eq!(best.next_best().map(|transaction| transaction.hash()), Some(better.hash()));
            assert!(best.next_best().is_none());
        }
    });
    assert_not_slower(found, harmless);
}

/// Half of the senders lead the index by tip with fee caps that leave nothing of it, the others lead the index by fee
/// cap with low tips; an honest one is behind all of them in both.
#[test]
fn senders_that_lead_one_index_each_do_not_make_the_builder_look_at_all() {
    const BASE_FEE: u64 = 3_000_000_000;
    for below in [0, 1] {
        let (pool, accounts) = pool(PoolConfig { max_transactions: 200_000, ..PoolConfig::default() });
        let add = |number: u64, fee: u128, tip: u128| {
            accounts.set(stranger(number), 0, 1_000 * RICH);
            pool.add(tipping(stranger(number), 0, fee, tip), false, 0, &accounts).unwrap();
        };
        for number in 0..50_000 {
            let fee = u128::from(BASE_FEE) + 1 - 2 * below;
            add(number, fee, fee);
            add(50_000 + number, 1_000 * GWEI, 1);
        }
        add(100_000, 5 * GWEI, 2 * GWEI);
        let mut best = pool.best(BASE_FEE);
        let mut position = 0;
        for (before, round) in (0..16).map(|round| (round * 4_096, round)) {
            assert!(best.looks() <= before, "{} looks for {round}", best.looks());
            if best.next_best().is_some_and(|transaction| transaction.sender() == stranger(100_000)) {
                position = round;
            }
        }
        assert!(position > 0, "the one that pays most comes among the first few");
        // None is forgotten by it, nor given twice.
        let rest = std::iter::from_fn(|| best.next_best()).count();
        let executable = if below == 0 { 100_001 } else { 50_001 };
        assert_eq!(rest + 16, executable);
        assert!(best.looks() <= executable, "each is looked at once");
    }
}

#[test]
fn one_senders_transactions_cost_as_much_as_those_of_many() {
    let (small, accounts) = pool(PoolConfig::default());
    (0..4_096).for_each(|number| accounts.set(stranger(number), 0, 1_000 * RICH));
    small.add(cheap(stranger(0), 0, GWEI), false, 0, &accounts).unwrap();
    let (of_many, _) = pool(PoolConfig::default());
    let many = time(|| {
        for number in 0..4_096 {
            of_many.add(cheap(stranger(number), 0, GWEI), false, 0, &accounts).unwrap();
        }
    });
    let (of_one, _) = pool(PoolConfig::default());
    let one = time(|| {
        for nonce in 0..4_096 {
            of_one.add(cheap(stranger(0), nonce, GWEI), false, 0, &accounts).unwrap();
        }
    });
    assert_not_slower(one, many);
    // So does asking how many there are and which nonce is next, and looking for expired ones.
    let ask = |pool: &Pool| {
        time(|| {
            for _ in 0..2_000 {
                assert!(pool.next_nonce(&stranger(0)).is_some());
                assert!(pool.status().pending > 0);
                pool.expire(1);
            }
        })
    };
    let harmless = ask(&small);
    assert_not_slower(ask(&of_one), harmless);
    assert_not_slower(ask(&of_many), harmless);
}

#[test]
fn a_greeting_takes_the_best_executable_ones_and_no_more() {
    let (pool, accounts) = pool(PoolConfig::default());
    for number in 0..50 {
        accounts.set(stranger(number), 0, RICH);
        for nonce in [0, 1, 3] {
            let fee = GWEI * u128::from(1 + number + nonce);
            pool.add(cheap(stranger(number), nonce, fee), false, 0, &accounts).unwrap();
        }
    }
    let greeting = pool.best_pending(20);
    assert_eq!(greeting.len(), 20);
    assert_eq!((greeting[0].sender(), greeting[0].nonce()), (stranger(49), 0));
    assert_eq!((greeting[1].sender(), greeting[1].nonce()), (stranger(49), 1));
    assert!(pool.best_pending(1_000).iter().all(|transaction| transaction.nonce() < 2), "none behind a gap");
    assert_eq!(pool.best_pending(1_000).len(), 100);
}
