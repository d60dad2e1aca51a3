//! What cannot be executed yet: its bounds, that it goes first, and that it does not count against the balance.

use crate::support::{Accounts, GWEI, RICH, best, cheap, large, pool, stranger, unsigned};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, TxKind, U256};
use bttc_pool::{DropReason, Error, Pool, PoolConfig};
use bttc_types::RecoveredTransaction;
use std::sync::Arc;

const COIN: u128 = 1_000_000_000_000_000_000;

fn add(pool: &Pool, accounts: &Accounts, transaction: Arc<RecoveredTransaction>) -> Result<bool, Error> {
    pool.add(transaction, false, 0, accounts).map(|added| added.pending)
}

fn nonces(transactions: &[Arc<RecoveredTransaction>]) -> Vec<u64> {
    transactions.iter().map(|transaction| transaction.nonce()).collect()
}

fn sending(sender: Address, nonce: u64, value: u128) -> Arc<RecoveredTransaction> {
    let transaction = TxEip1559 {
        chain_id: 1337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(Address::ZERO),
        value: U256::from(value),
        ..TxEip1559::default()
    };
    unsigned(sender, transaction)
}

#[test]
fn gapped_ones_at_a_thousand_times_the_price_do_not_keep_an_executable_one_out() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 1_000, ..PoolConfig::default() });
    let (mut taken, mut refused) = (0, 0);
    for number in 0..100 {
        accounts.set(stranger(number), 0, RICH);
        for nonce in 1..=100 {
            match add(&pool, &accounts, cheap(stranger(number), nonce, 1_000 * GWEI)) {
                Ok(pending) => {
                    assert!(!pending);
                    taken += 1;
                }
                Err(Error::QueuedFull | Error::SenderLimit { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(taken >= 100 && refused > 0);
    assert_eq!((pool.status().pending, pool.status().queued), (0, 100), "a tenth of the pool");
    // Shared out evenly: a later sender is not kept out by the first ones.
    for number in 0..100 {
        assert_eq!(pool.content(Some(stranger(number))).len(), 1, "sender {number}");
    }
    for number in 1_000..1_950 {
        accounts.set(stranger(number), 0, RICH);
        assert_eq!(add(&pool, &accounts, cheap(stranger(number), 0, GWEI)), Ok(true));
    }
    assert_eq!((pool.status().pending, pool.status().queued), (950, 50), "queued ones went, executable ones stay");
}

#[test]
fn a_full_pool_of_executable_ones_takes_no_gapped_one_whatever_it_offers() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 10, ..PoolConfig::default() });
    for number in 0..11 {
        accounts.set(stranger(number), 0, RICH);
    }
    for number in 0..10 {
        assert_eq!(add(&pool, &accounts, cheap(stranger(number), 0, GWEI)), Ok(true));
    }
    assert_eq!(add(&pool, &accounts, cheap(stranger(10), 1, 1_000 * GWEI)), Err(Error::QueuedFull));
    assert_eq!(pool.status().pending, 10);
}

#[test]
fn a_sender_has_few_queued_ones_and_lower_nonces_go_before_higher_ones() {
    let (pool, accounts) = pool(PoolConfig { max_queued_per_sender: 3, ..PoolConfig::default() });
    let sender = stranger(0);
    accounts.set(sender, 0, RICH);
    for nonce in [10, 11, 12] {
        add(&pool, &accounts, cheap(sender, nonce, GWEI)).unwrap();
    }
    assert!(matches!(add(&pool, &accounts, cheap(sender, 13, 9 * GWEI)), Err(Error::SenderLimit { limit: 3, .. })));
    let last = cheap(sender, 12, GWEI).hash();
    assert_eq!(add(&pool, &accounts, cheap(sender, 5, GWEI)), Ok(false));
    assert_eq!(pool.dropped(&last), Some(DropReason::TooManyQueued));
    let nonces: Vec<u64> = pool.content(None).iter().map(|entry| entry.transaction.nonce()).collect();
    assert_eq!(nonces, [5, 10, 11]);
}

#[test]
fn what_is_queued_again_because_an_earlier_one_left_is_within_the_same_bounds() {
    let config = PoolConfig { max_transactions: 2_000, ..PoolConfig::default() };
    let (pool, accounts) = pool(config);
    let fill = |number: u64| {
        accounts.set(stranger(number), 0, RICH);
        for nonce in 0..300 {
            assert_eq!(add(&pool, &accounts, cheap(stranger(number), nonce, GWEI)), Ok(true));
        }
    };
    for number in 0..5 {
        fill(number);
    }
    // The head turns out invalid.
    pool.drop_invalid(&cheap(stranger(0), 0, GWEI), "it cannot be executed".into(), &accounts).unwrap();
    assert_eq!((pool.status().pending, pool.status().queued), (1_200, 64));
    assert_eq!(pool.dropped(&cheap(stranger(0), 65, GWEI).hash()), Some(DropReason::TooManyQueued));
    assert!(pool.get(&cheap(stranger(0), 64, GWEI).hash()).is_some());
    // The nonce jumps past what waits: nothing is left of it.
    accounts.set(stranger(1), 1_000, RICH);
    pool.on_block(&[], [stranger(1)], &accounts).unwrap();
    assert_eq!((pool.status().pending, pool.status().queued), (900, 64));
    // The balance moves on: it pays for one transaction only.
    let one = 21_000 * GWEI;
    for number in [2, 3, 4] {
        accounts.set(stranger(number), 0, one);
    }
    pool.on_block(&[], [stranger(2), stranger(3), stranger(4)], &accounts).unwrap();
    assert_eq!(pool.status().pending, 3, "what is not payable together is not executable");
    assert_eq!(pool.status().queued, 200, "64 a sender, and a tenth of the pool in all");
    assert_eq!(best(&pool, 1).len(), 3);
}

#[test]
fn what_is_queued_does_not_count_against_the_balance_of_what_fills_the_gap() {
    let (pool, accounts) = pool(PoolConfig::default());
    let (sender, fee) = (stranger(0), 21_000 * GWEI);
    accounts.set(sender, 0, COIN);
    let later = sending(sender, 1, COIN - fee - 5);
    assert_eq!(add(&pool, &accounts, Arc::clone(&later)), Ok(false));
    assert_eq!(add(&pool, &accounts, sending(sender, 0, 0)), Ok(true));
    // The later one cannot be paid for after the first: it is not shown as executable, nor built, nor counted.
    assert_eq!(pool.next_nonce(&sender), Some(1));
    assert_eq!((pool.status().pending, pool.status().queued), (1, 1));
    assert_eq!(best(&pool, 1), [(sender, 0)]);
    let shown: Vec<bool> = pool.content(Some(sender)).iter().map(|entry| entry.pending).collect();
    assert_eq!(shown, [true, false]);
    // What comes after it waits with it, each judged alone.
    assert_eq!(add(&pool, &accounts, sending(sender, 2, 0)), Ok(false));
    assert!(matches!(add(&pool, &accounts, sending(sender, 3, COIN)), Err(Error::InsufficientFunds { .. })));
    // Money comes in: both can be executed.
    accounts.set(sender, 0, 2 * COIN);
    assert_eq!(nonces(&pool.on_block(&[], [sender], &accounts).unwrap()), [1, 2], "who watches the pool hears of them");
    assert!(pool.on_block(&[], [sender], &accounts).unwrap().is_empty(), "and once only");
    assert_eq!(pool.next_nonce(&sender), Some(3));
    assert_eq!(best(&pool, 1), [(sender, 0), (sender, 1), (sender, 2)]);
    // It goes again: the second one is more than all there is.
    accounts.set(sender, 0, COIN / 2);
    pool.on_block(&[], [sender], &accounts).unwrap();
    assert!(
        matches!(pool.dropped(&later.hash()), Some(DropReason::Invalid(reason)) if reason.contains("insufficient"))
    );
    assert_eq!((pool.status().pending, pool.status().queued), (1, 1));
}

#[test]
fn what_a_changed_account_makes_executable_is_told_with_the_next_transaction_that_is_taken() {
    let (pool, accounts) = pool(PoolConfig::default());
    let (sender, other, fee) = (stranger(0), stranger(1), 21_000 * GWEI);
    accounts.set(sender, 0, COIN);
    accounts.set(other, 0, COIN);
    add(&pool, &accounts, sending(sender, 1, COIN - fee)).unwrap();
    add(&pool, &accounts, sending(sender, 0, 0)).unwrap();
    // Money comes in, and is seen first with a transaction that is refused.
    accounts.set(sender, 0, 2 * COIN);
    assert_eq!(add(&pool, &accounts, sending(sender, 0, 0)), Err(Error::AlreadyKnown));
    assert!(matches!(add(&pool, &accounts, sending(sender, 2, 3 * COIN)), Err(Error::InsufficientFunds { .. })));
    assert_eq!(best(&pool, 1), [(sender, 0), (sender, 1)]);
    let added = pool.add(sending(other, 5, 0), false, 0, &accounts).unwrap();
    assert!(!added.pending);
    assert_eq!(nonces(&added.promoted), [1]);
    assert!(pool.on_block(&[], [sender, other], &accounts).unwrap().is_empty());
}

/// Eight transactions of about 120 kB behind a gap, each of another sender, fill the share's bytes; its places are
/// taken by senders with two small ones each.
#[test]
fn few_large_ones_that_fill_the_bytes_do_not_push_many_small_ones_out() {
    let config = PoolConfig { max_transactions: 10_000, max_bytes: 10_000_000, ..PoolConfig::default() };
    let (pool, accounts) = pool(config);
    let add = |number: u64, transaction| {
        accounts.set(stranger(number), 0, 1_000 * RICH);
        add(&pool, &accounts, transaction)
    };
    let gapped = |number: u64, nonce| cheap(stranger(number), nonce, 3 * GWEI);
    for number in 0..8 {
        assert_eq!(add(number, large(stranger(number), 1, 10 * GWEI, 120_000)), Ok(false));
    }
    let mut honest = 100;
    while pool.status().bytes < 999_700 {
        for nonce in [1, 2] {
            assert_eq!(add(honest, gapped(honest, nonce)), Ok(false));
        }
        honest += 1;
    }
    let before = pool.len();
    assert_eq!(add(1_000, cheap(stranger(1_000), 1, 2 * GWEI)), Ok(false));
    assert_eq!(add(1_001, cheap(stranger(1_001), 1, 2 * GWEI)), Ok(false));
    assert!(pool.content(Some(stranger(1_001))).len() == 1 && pool.len() == before + 1, "one large one went");
    assert_eq!((0..8).filter(|number| pool.content(Some(stranger(*number))).is_empty()).count(), 1);
    assert!((100..honest).all(|number| pool.content(Some(stranger(number))).len() == 2), "and none of the small ones");
    // A large one takes the place of no small ones, whatever it offers.
    assert_eq!(add(1_002, large(stranger(1_002), 1, 1_000 * GWEI, 121_000)), Err(Error::QueuedFull));
}

#[test]
fn an_unpayable_one_is_replaced_by_one_that_is_payable() {
    let (pool, accounts) = pool(PoolConfig::default());
    let (sender, fee) = (stranger(0), 21_000 * GWEI);
    accounts.set(sender, 0, COIN);
    add(&pool, &accounts, sending(sender, 1, COIN - fee)).unwrap();
    add(&pool, &accounts, sending(sender, 0, 0)).unwrap();
    add(&pool, &accounts, sending(sender, 2, 0)).unwrap();
    let added = pool.add(cheap(sender, 1, 2 * GWEI), false, 0, &accounts).unwrap();
    assert!(added.pending && added.replaced.is_some());
    assert_eq!(added.promoted.iter().map(|transaction| transaction.nonce()).collect::<Vec<_>>(), [2]);
    assert_eq!(pool.next_nonce(&sender), Some(3));
}

#[test]
fn a_nonce_that_anothers_authorization_moved_is_followed() {
    let (pool, accounts) = pool(PoolConfig::default());
    let (authority, other) = (stranger(0), stranger(1));
    accounts.set(authority, 0, RICH);
    accounts.set(other, 0, RICH);
    for nonce in 0..3 {
        assert_eq!(add(&pool, &accounts, cheap(authority, nonce, GWEI)), Ok(true));
    }
    let used = cheap(authority, 0, GWEI).hash();
    // A block with a transaction of another, which carries the authority's authorization.
    accounts.set(authority, 1, RICH);
    pool.on_block(&[cheap(other, 0, GWEI)], [authority, other], &accounts).unwrap();
    assert_eq!(pool.next_nonce(&authority), Some(3));
    assert_eq!((pool.status().pending, pool.status().queued), (2, 0));
    assert!(pool.has_executable(1));
    assert_eq!(best(&pool, 1), [(authority, 1), (authority, 2)]);
    assert_eq!(pool.dropped(&used), Some(DropReason::NonceUsed));
}

#[test]
fn a_moved_nonce_that_is_seen_first_when_a_transaction_comes_is_followed_too() {
    let (pool, accounts) = pool(PoolConfig::default());
    let authority = stranger(0);
    accounts.set(authority, 0, RICH);
    for nonce in 0..3 {
        add(&pool, &accounts, cheap(authority, nonce, GWEI)).unwrap();
    }
    accounts.set(authority, 1, RICH);
    assert_eq!(add(&pool, &accounts, cheap(authority, 3, GWEI)), Ok(true));
    assert_eq!(pool.next_nonce(&authority), Some(4));
    assert_eq!((pool.status().pending, pool.status().queued, pool.len()), (3, 0, 3));
    // A refused one does the same.
    accounts.set(authority, 2, RICH);
    assert!(matches!(
        add(&pool, &accounts, cheap(authority, 1, 2 * GWEI)),
        Err(Error::NonceTooLow { next: 2, got: 1 })
    ));
    assert_eq!(best(&pool, 1), [(authority, 2), (authority, 3)]);
}
