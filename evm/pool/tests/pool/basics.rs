//! The pool's promises: nonce order, gaps, replacement, limits, reasons.

use crate::support::{GWEI, address, best, pool, sign, transfer};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, TxKind};
use bttc_pool::{DropReason, Error, Journal, PoolConfig};
use bttc_types::RecoveredTransaction;
use std::sync::Arc;

#[test]
fn a_gap_queues_and_filling_it_makes_all_pending() {
    let (pool, accounts) = pool(PoolConfig::default());
    assert!(!pool.add(transfer(1, 1, 2 * GWEI, 0), false, 0, &accounts).unwrap().pending);
    assert!(!pool.add(transfer(1, 2, 2 * GWEI, 0), false, 0, &accounts).unwrap().pending);
    assert!(best(&pool, 1).is_empty());
    assert!(!pool.has_executable(1));
    let added = pool.add(transfer(1, 0, 2 * GWEI, 0), false, 0, &accounts).unwrap();
    assert!(added.pending);
    let promoted: Vec<u64> = added.promoted.iter().map(|transaction| transaction.nonce()).collect();
    assert_eq!(promoted, [1, 2], "who watches the pool hears of them now");
    let raised = pool.add(transfer(1, 0, 4 * GWEI, 0), false, 0, &accounts).unwrap();
    assert!(raised.promoted.is_empty() && raised.replaced.is_some(), "and once only");
    assert_eq!(best(&pool, 1), [(address(1), 0), (address(1), 1), (address(1), 2)]);
    assert_eq!(pool.next_nonce(&address(1)), Some(3));
    assert_eq!((pool.status().pending, pool.status().queued), (3, 0));
}

#[test]
fn the_best_effective_tip_comes_first_and_each_sender_in_order() {
    let (pool, accounts) = pool(PoolConfig::default());
    // Sender 1 offers a high tip cap, but its fee cap leaves little at a base fee of 9 gwei.
    pool.add(transfer(1, 0, 10 * GWEI, 9 * GWEI), false, 0, &accounts).unwrap();
    pool.add(transfer(2, 0, 20 * GWEI, 3 * GWEI), false, 0, &accounts).unwrap();
    pool.add(transfer(2, 1, 20 * GWEI, 8 * GWEI), false, 0, &accounts).unwrap();
    pool.add(transfer(3, 0, 8 * GWEI, 8 * GWEI), false, 0, &accounts).unwrap();
    assert_eq!(best(&pool, 9_000_000_000), [(address(2), 0), (address(2), 1), (address(1), 0)]);
    assert_eq!(best(&pool, 1_000_000_000)[0], (address(1), 0));
}

#[test]
fn a_replacement_must_pay_ten_percent_more_and_the_old_one_knows_why_it_went() {
    let (pool, accounts) = pool(PoolConfig::default());
    let old = transfer(1, 0, 10 * GWEI, GWEI);
    pool.add(Arc::clone(&old), false, 0, &accounts).unwrap();
    assert!(matches!(
        pool.add(transfer(1, 0, 11 * GWEI - 1, 2 * GWEI), false, 0, &accounts),
        Err(Error::ReplacementUnderpriced { .. })
    ));
    assert!(matches!(
        pool.add(transfer(1, 0, 20 * GWEI, GWEI), false, 0, &accounts),
        Err(Error::ReplacementUnderpriced { .. })
    ));
    let new = transfer(1, 0, 11 * GWEI, 11 * GWEI / 10);
    let added = pool.add(Arc::clone(&new), false, 0, &accounts).unwrap();
    assert_eq!(added.replaced, Some(old.hash()));
    assert_eq!(pool.dropped(&old.hash()), Some(DropReason::Replaced(new.hash())));
    assert_eq!(pool.len(), 1);
    // A tip of nothing is accepted, and can be replaced by another with a higher fee cap.
    pool.add(transfer(2, 0, 10 * GWEI, 0), false, 0, &accounts).unwrap();
    pool.add(transfer(2, 0, 11 * GWEI, 0), false, 0, &accounts).unwrap();
}

#[test]
fn what_cannot_be_included_is_refused_with_the_reason() {
    let (pool, accounts) = pool(PoolConfig { max_per_sender: 3, ..PoolConfig::default() });
    accounts.set(address(1), 5, 10u128.pow(15));
    let add = |transaction| pool.add(transaction, false, 0, &accounts);
    assert_eq!(add(transfer(1, 4, 2 * GWEI, 0)), Err(Error::NonceTooLow { next: 5, got: 4 }));
    assert!(matches!(add(transfer(1, 8, 2 * GWEI, 0)), Err(Error::NonceTooHigh { .. })));
    assert!(matches!(add(transfer(1, 5, GWEI - 1, 0)), Err(Error::Underpriced { .. })));
    assert!(matches!(add(transfer(1, 5, 2 * GWEI, 3 * GWEI)), Err(Error::TipAboveFeeCap)));
    assert!(matches!(add(transfer(1, 5, 100 * GWEI, 0)), Err(Error::InsufficientFunds { .. })));
    // Two that are affordable alone but not together.
    add(transfer(1, 5, 30 * GWEI, 0)).unwrap();
    assert!(matches!(add(transfer(1, 6, 30 * GWEI, 0)), Err(Error::InsufficientFunds { .. })));
    assert_eq!(add(transfer(1, 5, 30 * GWEI, 0)), Err(Error::AlreadyKnown));
    let other_chain = TxEip1559 { chain_id: 1, gas_limit: 21_000, max_fee_per_gas: 2 * GWEI, ..TxEip1559::default() };
    assert!(matches!(add(sign(2, other_chain)), Err(Error::ChainId { got: 1, expected: 1337 })));
    let little_gas = TxEip1559 {
        chain_id: 1337,
        gas_limit: 21_000,
        max_fee_per_gas: 2 * GWEI,
        to: TxKind::Call(Address::ZERO),
        input: vec![1; 100].into(),
        ..TxEip1559::default()
    };
    assert!(matches!(add(sign(2, little_gas)), Err(Error::IntrinsicGas { got: 21_000, needed: 25_000 })));
}

#[test]
fn a_full_pool_evicts_the_cheapest_and_says_so() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 3, ..PoolConfig::default() });
    let cheap = transfer(1, 0, 2 * GWEI, 0);
    pool.add(Arc::clone(&cheap), false, 0, &accounts).unwrap();
    pool.add(transfer(2, 0, 5 * GWEI, 0), false, 0, &accounts).unwrap();
    pool.add(transfer(3, 0, 6 * GWEI, 0), false, 0, &accounts).unwrap();
    assert_eq!(pool.add(transfer(4, 0, 2 * GWEI, 0), false, 0, &accounts), Err(Error::Full { minimum: 2 * GWEI }));
    pool.add(transfer(4, 0, 3 * GWEI, 0), false, 0, &accounts).unwrap();
    assert_eq!(pool.dropped(&cheap.hash()), Some(DropReason::Evicted));
    assert_eq!(pool.len(), 3);
    // A replacement needs no room.
    pool.add(transfer(4, 0, 4 * GWEI, 0), false, 0, &accounts).unwrap();
    assert_eq!(pool.len(), 3);
    // Local transactions do not give way to remote ones.
    let mine = transfer(5, 0, 3 * GWEI, 0);
    pool.add(Arc::clone(&mine), true, 0, &accounts).unwrap();
    pool.add(transfer(6, 0, 50 * GWEI, 0), false, 0, &accounts).unwrap();
    assert!(pool.get(&mine.hash()).is_some());
}

#[test]
fn a_block_moves_its_senders_on_and_nobody_else() {
    let (pool, accounts) = pool(PoolConfig::default());
    let included = transfer(1, 0, 2 * GWEI, 0);
    pool.add(Arc::clone(&included), false, 0, &accounts).unwrap();
    pool.add(transfer(1, 1, 2 * GWEI, 0), false, 0, &accounts).unwrap();
    pool.add(transfer(2, 0, 2 * GWEI, 0), false, 0, &accounts).unwrap();
    accounts.set(address(1), 1, 10u128.pow(21));
    pool.on_block(&[Arc::clone(&included)], [], &accounts).unwrap();
    assert_eq!(pool.dropped(&included.hash()), None, "an included transaction was not dropped");
    let mut left = best(&pool, 1);
    left.sort_unstable();
    let mut expected = vec![(address(1), 1), (address(2), 0)];
    expected.sort_unstable();
    assert_eq!(left, expected);
    // The account was drained: what it cannot pay goes, with the reason.
    accounts.set(address(1), 1, 0);
    pool.on_block(&[included], [], &accounts).unwrap();
    assert_eq!(best(&pool, 1), [(address(2), 0)]);
}

#[test]
fn a_nonce_that_moves_by_itself_does_not_block_its_sender() {
    let (pool, accounts) = pool(PoolConfig::default());
    for nonce in 0..3 {
        pool.add(transfer(1, nonce, 2 * GWEI, 0), false, 0, &accounts).unwrap();
    }
    // An authorization used nonce 0; the builder finds transaction 0 stale.
    accounts.set(address(1), 1, 10u128.pow(21));
    pool.drop_invalid(&transfer(1, 0, 2 * GWEI, 0), "nonce too low".into(), &accounts).unwrap();
    assert_eq!(best(&pool, 1), [(address(1), 1), (address(1), 2)]);
}

#[test]
fn lifetimes_differ_for_pending_and_queued() {
    let config = PoolConfig { pending_lifetime_ms: 1_000, queued_lifetime_ms: 100, ..PoolConfig::default() };
    let (pool, accounts) = pool(config);
    let queued = transfer(1, 1, 2 * GWEI, 0);
    pool.add(Arc::clone(&queued), false, 0, &accounts).unwrap();
    let pending = transfer(2, 0, 2 * GWEI, 0);
    pool.add(Arc::clone(&pending), false, 0, &accounts).unwrap();
    pool.expire(500);
    assert_eq!(pool.dropped(&queued.hash()), Some(DropReason::Expired));
    assert!(pool.get(&pending.hash()).is_some());
    pool.expire(1_500);
    assert!(pool.is_empty());
}

#[test]
fn the_journal_survives_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let hashes: Vec<B256> = {
        let (mut journal, old) = Journal::open(&path).unwrap();
        assert!(old.is_empty());
        (0..3)
            .map(|nonce| {
                let transaction = transfer(1, nonce, 2 * GWEI, 0);
                journal.append(&transaction).unwrap();
                transaction.hash()
            })
            .collect()
    };
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 5).unwrap();
    let (mut journal, restored) = Journal::open(&path).unwrap();
    assert_eq!(restored.iter().map(RecoveredTransaction::hash).collect::<Vec<_>>(), hashes[..2]);
    journal.append(&transfer(1, 9, 2 * GWEI, 0)).unwrap();
    let (mut journal, restored) = Journal::open(&path).unwrap();
    assert_eq!(restored.len(), 3);
    journal.rewrite(&[transfer(2, 0, 2 * GWEI, 0)]).unwrap();
    assert_eq!(Journal::open(&path).unwrap().1.len(), 1);
}

#[test]
fn a_senders_share_and_the_memory_of_reasons_are_bounded() {
    let config = PoolConfig { max_per_sender: 3, max_transactions: 4, remembered_drops: 5, ..PoolConfig::default() };
    let (pool, accounts) = pool(config);
    for nonce in 0..3 {
        pool.add(transfer(1, nonce, 2 * GWEI, 0), false, 0, &accounts).unwrap();
    }
    let refused = pool.add(transfer(1, 3, 200 * GWEI, 100 * GWEI), false, 0, &accounts).unwrap_err();
    assert!(matches!(refused, Error::NonceTooHigh { limit: 3, .. }), "{refused}");

    let large = |key: u8, nonce: u64| {
        sign(
            key,
            TxEip1559 {
                chain_id: 1337,
                nonce,
                gas_limit: 16_000_000,
                max_fee_per_gas: 2 * GWEI,
                input: vec![1; 100_000].into(),
                to: TxKind::Call(Address::ZERO),
                ..TxEip1559::default()
            },
        )
    };
    let (bytes_pool, accounts) =
        crate::support::pool(PoolConfig { max_bytes_per_sender: 250_000, ..PoolConfig::default() });
    bytes_pool.add(large(1, 0), false, 0, &accounts).unwrap();
    bytes_pool.add(large(1, 1), false, 0, &accounts).unwrap();
    bytes_pool.add(large(1, 2), false, 0, &accounts).unwrap_err();
    bytes_pool.add(large(2, 0), false, 0, &accounts).unwrap();

    // Each better one throws another out: of the reasons the latest five stay.
    let mut gone = Vec::new();
    for key in 2..=20u8 {
        let better = transfer(key, 0, u128::from(key) * 10 * GWEI, u128::from(key) * GWEI);
        let before: Vec<B256> = pool.content(None).iter().map(|entry| entry.transaction.hash()).collect();
        pool.add(better, false, 0, &accounts).unwrap();
        gone.extend(before.into_iter().filter(|hash| pool.get(hash).is_none()));
        assert!(pool.len() <= 4);
    }
    assert!(gone.len() > 5, "{}", gone.len());
    let remembered = gone.iter().filter(|hash| pool.dropped(hash) == Some(DropReason::Evicted)).count();
    assert_eq!(remembered, 5);
    assert!(pool.dropped(gone.last().unwrap()).is_some());
}

#[test]
fn the_journal_wants_to_be_rewritten_when_it_has_grown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (mut journal, _) = Journal::open(&path).unwrap();
    let transaction = sign(
        1,
        TxEip1559 {
            chain_id: 1337,
            gas_limit: 16_000_000,
            input: vec![1; 120_000].into(),
            to: TxKind::Call(Address::ZERO),
            ..TxEip1559::default()
        },
    );
    let mut appended = 0;
    while !journal.wants_rewrite() {
        journal.append(&transaction).unwrap();
        appended += 1;
        assert!(appended < 100, "it grows for ever");
    }
    assert!(std::fs::metadata(&path).unwrap().len() >= 4 << 20);
    journal.rewrite(&[Arc::clone(&transaction)]).unwrap();
    assert!(!journal.wants_rewrite());
    assert!(std::fs::metadata(&path).unwrap().len() < 200_000);
    assert_eq!(Journal::open(&path).unwrap().1.len(), 1);
}
