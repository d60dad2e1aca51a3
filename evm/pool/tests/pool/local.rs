//! Local transactions: what a node keeps for its own users, and no more.

use crate::support::{Accounts, GWEI, RICH, best, cheap, pool, stranger};
use bttc_pool::{DropReason, Error, Pool, PoolConfig};

fn full_of_remote(count: u64, fee: u128) -> (Pool, Accounts) {
    let config = PoolConfig { max_transactions: usize::try_from(count).unwrap(), ..PoolConfig::default() };
    let (pool, accounts) = pool(config);
    for number in 0..count {
        accounts.set(stranger(number), 0, RICH);
        pool.add(cheap(stranger(number), 0, fee), false, 0, &accounts).unwrap();
    }
    (pool, accounts)
}

#[test]
fn a_strangers_local_transactions_at_the_lowest_price_do_not_evict_all() {
    let (pool, accounts) = full_of_remote(100, 5 * GWEI);
    let mut refused = 0;
    for number in 1_000..1_100 {
        accounts.set(stranger(number), 0, RICH);
        match pool.add(cheap(stranger(number), 0, GWEI), true, 0, &accounts) {
            Ok(_) => {}
            Err(Error::Full { minimum }) => {
                assert_eq!(minimum, 5 * GWEI);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, 90, "only a tenth of the pool is theirs");
    assert_eq!(best(&pool, 2_000_000_000).len(), 90);
    // Beyond the share a local one competes as any other.
    accounts.set(stranger(2_000), 0, RICH);
    pool.add(cheap(stranger(2_000), 0, 6 * GWEI), true, 0, &accounts).unwrap();
    accounts.set(stranger(2_001), 0, RICH);
    assert_eq!(pool.len(), 100);
    assert_eq!(best(&pool, 2_000_000_000).len(), 90);
}

#[test]
fn local_ones_within_the_share_are_kept_whatever_comes() {
    let (pool, accounts) = full_of_remote(100, 5 * GWEI);
    let mine = stranger(500);
    accounts.set(mine, 0, RICH);
    for nonce in 0..10 {
        pool.add(cheap(mine, nonce, GWEI), true, 0, &accounts).unwrap();
    }
    for number in 1_000..1_200 {
        accounts.set(stranger(number), 0, RICH);
        let _ = pool.add(cheap(stranger(number), 0, 100 * GWEI), false, 0, &accounts);
    }
    assert_eq!(pool.len(), 100);
    assert_eq!(pool.content(Some(mine)).len(), 10);
    assert_eq!(pool.local().len(), 10);
    // The share is free again when they are gone.
    accounts.set(mine, 10, RICH);
    pool.on_block(&[], [mine], &accounts).unwrap();
    assert!(pool.local().is_empty());
    let later = stranger(501);
    accounts.set(later, 0, RICH);
    pool.add(cheap(later, 0, GWEI), true, 0, &accounts).unwrap();
    for number in 2_000..2_200 {
        accounts.set(stranger(number), 0, RICH);
        let _ = pool.add(cheap(stranger(number), 0, 200 * GWEI), false, 0, &accounts);
    }
    assert_eq!(pool.content(Some(later)).len(), 1);
}

#[test]
fn one_local_transaction_does_not_shield_what_came_before_it_from_elsewhere() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 100, ..PoolConfig::default() });
    let sender = stranger(0);
    accounts.set(sender, 0, RICH);
    for nonce in 0..99 {
        pool.add(cheap(sender, nonce, GWEI), false, 0, &accounts).unwrap();
    }
    pool.add(cheap(sender, 99, 1_000 * GWEI), true, 0, &accounts).unwrap();
    for number in 1..=60 {
        accounts.set(stranger(number), 0, RICH);
        pool.add(cheap(stranger(number), 0, 2 * GWEI), false, 0, &accounts).unwrap();
    }
    assert_eq!(pool.content(Some(sender)).len(), 40);
    assert_eq!(pool.dropped(&cheap(sender, 99, 1_000 * GWEI).hash()), Some(DropReason::Evicted));
}

#[test]
fn a_replacement_cannot_stretch_the_share() {
    let config = PoolConfig { max_transactions: 100, max_bytes: 100_000, ..PoolConfig::default() };
    let (pool, accounts) = pool(config);
    let large = |nonce: u64, fee: u128| {
        let transaction = alloy_consensus::TxEip1559 {
            chain_id: 1337,
            nonce,
            gas_limit: 1_000_000,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: fee,
            to: alloy_primitives::TxKind::Call(alloy_primitives::Address::ZERO),
            input: vec![1; 9_000].into(),
            ..Default::default()
        };
        crate::support::unsigned(stranger(0), transaction)
    };
    accounts.set(stranger(0), 0, RICH);
    // Ten small ones are protected; grown to 90 kB they are far beyond a tenth of the bytes.
    for nonce in 0..10 {
        pool.add(cheap(stranger(0), nonce, GWEI), true, 0, &accounts).unwrap();
    }
    for nonce in 0..10 {
        pool.add(large(nonce, 2 * GWEI), true, 0, &accounts).unwrap();
    }
    for number in 1..100 {
        accounts.set(stranger(number), 0, RICH);
        pool.add(cheap(stranger(number), 0, 3 * GWEI), false, 0, &accounts).unwrap();
    }
    // Of 90 kB one transaction is within the share; others made way.
    assert!(pool.status().bytes <= 100_000);
    for number in 1_000..1_400 {
        accounts.set(stranger(number), 0, RICH);
        let _ = pool.add(cheap(stranger(number), 0, 4 * GWEI), false, 0, &accounts);
    }
    assert_eq!(pool.content(Some(stranger(0))).len(), 1);
}

#[test]
fn local_ones_are_told_in_order_and_in_pieces() {
    let (pool, accounts) = pool(PoolConfig::default());
    for number in 0..5 {
        accounts.set(stranger(number), 0, RICH);
        pool.add(cheap(stranger(number), 0, GWEI), number % 2 == 0, 0, &accounts).unwrap();
    }
    let senders: Vec<_> = pool.local().iter().map(|transaction| transaction.sender()).collect();
    assert_eq!(senders, [stranger(0), stranger(2), stranger(4)]);
    let first = pool.local_after(0, 2);
    assert_eq!(first.len(), 2);
    let rest = pool.local_after(first[1].0, 2);
    assert_eq!(rest.iter().map(|(_, transaction)| transaction.sender()).collect::<Vec<_>>(), [stranger(4)]);
}
