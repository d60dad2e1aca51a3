//! Room in a full pool: what one sender may take from others, and how much one transaction may push out.

use crate::support::{GWEI, RICH, cheap, large, pool, stranger};
use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Signature, TxKind, U256};
use bttc_pool::{Error, PoolConfig};
use bttc_types::RecoveredTransaction;
use std::sync::Arc;

/// An account that is emptied ends all its transactions unpaid, so few accounts must not take everybody's place.
#[test]
fn a_sender_takes_so_many_places_from_others_and_no_more() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 1_000, ..PoolConfig::default() });
    for number in 0..1_000 {
        accounts.set(stranger(number), 0, RICH);
        pool.add(cheap(stranger(number), 0, GWEI), false, 0, &accounts).unwrap();
    }
    let greedy = stranger(5_000);
    accounts.set(greedy, 0, 1_000 * RICH);
    let mut refused = None;
    for nonce in 0..1_000 {
        refused = refused.or(pool.add(cheap(greedy, nonce, 2 * GWEI), false, 0, &accounts).err());
    }
    let left = (0..1_000).filter(|number| pool.content(Some(stranger(*number))).len() == 1).count();
    assert_eq!((left, pool.content(Some(greedy)).len()), (936, 64));
    let words = refused.unwrap().to_string();
    assert!(words.contains("64 transactions that others make way for"), "{words}");
}

#[test]
fn what_is_beyond_a_senders_first_ones_makes_way_for_anybodys_first_whatever_it_offers() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 1_000, ..PoolConfig::default() });
    let rich = stranger(0);
    accounts.set(rich, 0, 1_000 * RICH);
    for nonce in 0..1_000 {
        pool.add(cheap(rich, nonce, 100 * GWEI), false, 0, &accounts).unwrap();
    }
    let mut taken = 0;
    for number in 1..=1_000 {
        accounts.set(stranger(number), 0, RICH);
        let transaction = cheap(stranger(number), 0, GWEI);
        let before = pool.check_price(transaction.transaction());
        let added = pool.add(transaction, false, 0, &accounts);
        assert_eq!(before.is_ok(), added.is_ok(), "what is refused before its sender is known is refused anyway");
        taken += u64::from(added.is_ok());
    }
    assert_eq!((taken, pool.content(Some(rich)).len()), (936, 64));
}

/// 64 small transactions at the ends of their senders' queues are too little for a larger one.
#[test]
fn small_ones_do_not_shield_a_pool_that_is_full_by_bytes() {
    let (pool, accounts) = pool(PoolConfig { max_bytes: 1_000_000, ..PoolConfig::default() });
    let (sender, newcomer) = (stranger(0), stranger(1));
    accounts.set(sender, 0, 1_000 * RICH);
    accounts.set(newcomer, 0, 1_000 * RICH);
    for nonce in 0..9 {
        pool.add(large(sender, nonce, GWEI, 100_000), false, 0, &accounts).unwrap();
    }
    let mut small = 9..;
    while pool.status().bytes < 999_800 {
        pool.add(cheap(sender, small.next().unwrap(), GWEI), false, 0, &accounts).unwrap();
    }
    let before = pool.len();
    assert!(before > 800, "{before}");
    let added = pool.add(large(newcomer, 0, 1_000 * GWEI, 20_000), false, 0, &accounts);
    assert!(added.is_ok_and(|added| added.pending));
    assert!(before - pool.len() > 64 && pool.status().bytes <= 1_000_000);
}

/// Without signatures, as a development chain has them, transactions may be so small that there are too many.
#[test]
fn one_transaction_pushes_out_so_many_for_its_bytes_and_no_more() {
    let (pool, accounts) = pool(PoolConfig { max_bytes: 100_000, ..PoolConfig::default() });
    for number in 0..2_000 {
        accounts.set(stranger(number), 0, RICH);
        let small =
            TxLegacy { gas_price: 2 * GWEI, gas_limit: 21_000, to: TxKind::Call(Address::ZERO), ..TxLegacy::default() };
        let signature = Signature::new(U256::from(number), U256::ONE, false);
        let small = RecoveredTransaction::with_sender(small.into_signed(signature).into(), stranger(number));
        pool.add(Arc::new(small), false, 0, &accounts).unwrap();
    }
    let before = pool.len();
    let newcomer = stranger(5_000);
    accounts.set(newcomer, 0, 1_000 * RICH);
    let transaction = large(newcomer, 0, 1_000 * GWEI, 90_000);
    let limit = transaction.encoded().len() / 64;
    assert_eq!(pool.add(transaction, false, 0, &accounts), Err(Error::TooManyVictims { limit }));
    assert_eq!(pool.len(), before, "and then none");
    assert!(pool.add(large(newcomer, 0, 1_000 * GWEI, 40_000), false, 0, &accounts).is_ok());
}

#[test]
fn a_refusal_names_its_reason_and_evicts_nobody() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 4, max_bytes: 900, ..PoolConfig::default() });
    for number in 0..5 {
        accounts.set(stranger(number), 0, 1_000 * RICH);
    }
    for (number, fee) in [(0, 2 * GWEI), (1, 3 * GWEI), (2, 50 * GWEI), (3, 60 * GWEI)] {
        pool.add(cheap(stranger(number), 0, fee), false, 0, &accounts).unwrap();
    }
    // The first two would make way for it, but they are not enough.
    let refused = pool.add(large(stranger(4), 0, 10 * GWEI, 600), false, 0, &accounts);
    assert_eq!(refused, Err(Error::Full { minimum: 50 * GWEI }));
    assert_eq!(pool.len(), 4);
}
