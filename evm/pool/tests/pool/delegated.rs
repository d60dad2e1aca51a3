//! Accounts whose code is delegated (EIP-7702): whoever calls them may empty them, so they have one place each.

use crate::support::{Accounts, GWEI, RICH, address, best, cheap, pool, stranger};
use alloy_consensus::{SignableTransaction, TxEip7702};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, Signature, U256};
use bttc_pool::{DropReason, Error, Pool, PoolConfig};
use bttc_types::{RecoveredTransaction, SecretKey, Transaction};
use std::sync::Arc;

fn authorization(key: u8, chain_id: u64, nonce: u64) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::from(chain_id), address: Address::ZERO, nonce };
    let signed = SecretKey::from_bytes(&[key; 32]).unwrap().sign(authorization.signature_hash());
    let bytes = signed.as_bytes();
    authorization.into_signed(Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1))
}

/// A transaction that delegates accounts.
fn delegating(
    sender: Address,
    nonce: u64,
    fee: u128,
    authorization_list: Vec<SignedAuthorization>,
) -> Arc<RecoveredTransaction> {
    let transaction = TxEip7702 {
        chain_id: 1337,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: fee,
        authorization_list,
        ..TxEip7702::default()
    };
    let signature = Signature::new(U256::from_be_slice(sender.as_slice()), U256::ONE, false);
    Arc::new(RecoveredTransaction::with_sender(Transaction::from(transaction.into_signed(signature)), sender))
}

fn add(pool: &Pool, accounts: &Accounts, transaction: Arc<RecoveredTransaction>) -> Result<bool, Error> {
    pool.add(transaction, false, 0, accounts).map(|added| added.pending)
}

#[test]
fn a_delegated_sender_takes_one_place_of_a_full_pool() {
    let (pool, accounts) = pool(PoolConfig { max_transactions: 1_000, ..PoolConfig::default() });
    for number in 0..1_000 {
        accounts.set(stranger(number), 0, RICH);
        add(&pool, &accounts, cheap(stranger(number), 0, GWEI)).unwrap();
    }
    let delegated = stranger(5_000);
    accounts.set(delegated, 0, 1_000 * RICH);
    accounts.delegate(delegated, true);
    let taken = (0..1_000).filter(|nonce| add(&pool, &accounts, cheap(delegated, *nonce, 2 * GWEI)).is_ok()).count();
    assert_eq!(taken, 1);
    let refused = add(&pool, &accounts, cheap(delegated, 1, 2 * GWEI)).unwrap_err();
    assert_eq!(refused, Error::InFlightLimit(delegated));
    assert!(refused.to_string().contains("in-flight transaction limit reached for delegated accounts"));
    let left = (0..1_000).filter(|number| pool.content(Some(stranger(*number))).len() == 1).count();
    assert_eq!(left, 999);
    // It may raise its price, and has its place again once that one is in a block.
    assert_eq!(add(&pool, &accounts, cheap(delegated, 0, 3 * GWEI)), Ok(true));
    accounts.set(delegated, 1, RICH);
    accounts.delegate(delegated, true);
    pool.on_block(&[cheap(delegated, 0, 3 * GWEI)], [], &accounts).unwrap();
    assert_eq!(add(&pool, &accounts, cheap(delegated, 1, 2 * GWEI)), Ok(true));
}

#[test]
fn one_that_came_out_of_order_does_not_keep_its_predecessor_out() {
    let (pool, accounts) = pool(PoolConfig::default());
    accounts.delegate(address(1), true);
    let later = cheap(address(1), 1, GWEI);
    assert_eq!(add(&pool, &accounts, Arc::clone(&later)), Ok(false));
    assert_eq!(add(&pool, &accounts, cheap(address(1), 2, GWEI)), Err(Error::InFlightLimit(address(1))));
    assert_eq!(add(&pool, &accounts, cheap(address(1), 0, GWEI)), Ok(true));
    assert_eq!(pool.dropped(&later.hash()), Some(DropReason::Delegated));
    assert_eq!(best(&pool, 1), [(address(1), 0)]);
}

#[test]
fn a_sender_that_becomes_delegated_keeps_its_first_one() {
    let (pool, accounts) = pool(PoolConfig::default());
    for nonce in 0..200 {
        add(&pool, &accounts, cheap(address(1), nonce, GWEI)).unwrap();
    }
    // A block with a transaction that was not seen here.
    accounts.set(address(1), 1, RICH);
    accounts.delegate(address(1), true);
    pool.on_block(&[], [address(1)], &accounts).unwrap();
    assert_eq!(best(&pool, 1), [(address(1), 1)]);
    assert_eq!(pool.len(), 1);
    assert_eq!(pool.dropped(&cheap(address(1), 2, GWEI).hash()), Some(DropReason::Delegated));
    // It is an account as any other when it takes the delegation back.
    accounts.delegate(address(1), false);
    assert_eq!(add(&pool, &accounts, cheap(address(1), 2, GWEI)), Ok(true));
}

#[test]
fn an_account_that_is_about_to_be_delegated_is_treated_as_if_it_were() {
    let (pool, accounts) = pool(PoolConfig::default());
    let carrier = stranger(0);
    accounts.set(carrier, 0, RICH);
    let named = delegating(carrier, 0, GWEI, vec![authorization(1, 0, 0), authorization(2, 1337, 0)]);
    assert_eq!(add(&pool, &accounts, named), Ok(true));
    for key in [1, 2] {
        assert_eq!(add(&pool, &accounts, cheap(address(key), 0, GWEI)), Ok(true));
        assert_eq!(add(&pool, &accounts, cheap(address(key), 1, GWEI)), Err(Error::InFlightLimit(address(key))));
        assert_eq!(add(&pool, &accounts, cheap(address(key), 0, 2 * GWEI)), Ok(true), "a replacement");
    }
    // Replaced by one that names another, it limits that one.
    add(&pool, &accounts, delegating(carrier, 0, 2 * GWEI, vec![authorization(3, 0, 0)])).unwrap();
    assert_eq!(add(&pool, &accounts, cheap(address(1), 1, GWEI)), Ok(true));
    add(&pool, &accounts, cheap(address(3), 0, GWEI)).unwrap();
    assert_eq!(add(&pool, &accounts, cheap(address(3), 1, GWEI)), Err(Error::InFlightLimit(address(3))));
    // Once it is gone, nobody is limited.
    pool.drop_invalid(&delegating(carrier, 0, 2 * GWEI, vec![authorization(3, 0, 0)]), "gone".into(), &accounts)
        .unwrap();
    assert_eq!(add(&pool, &accounts, cheap(address(3), 1, GWEI)), Ok(true));
}

#[test]
fn an_account_with_many_transactions_is_not_delegated_from_here() {
    let (pool, accounts) = pool(PoolConfig::default());
    let carrier = stranger(0);
    accounts.set(carrier, 0, RICH);
    let naming = |nonce| delegating(carrier, nonce, GWEI, vec![authorization(9, 0, 0), authorization(1, 0, 0)]);
    add(&pool, &accounts, cheap(address(1), 0, GWEI)).unwrap();
    add(&pool, &accounts, cheap(address(1), 3, GWEI)).unwrap();
    assert_eq!(add(&pool, &accounts, naming(0)), Err(Error::AuthorityReserved(address(1))));
    // Nor by itself.
    let own = delegating(address(1), 1, GWEI, vec![authorization(1, 0, 2)]);
    assert_eq!(add(&pool, &accounts, own), Err(Error::InFlightLimit(address(1))));
    let own = delegating(address(2), 0, GWEI, vec![authorization(2, 0, 1)]);
    assert_eq!(add(&pool, &accounts, own), Ok(true));
    assert_eq!(add(&pool, &accounts, cheap(address(2), 1, GWEI)), Err(Error::InFlightLimit(address(2))));
    // With one only it may be.
    accounts.set(address(1), 1, RICH);
    pool.on_block(&[], [address(1)], &accounts).unwrap();
    assert_eq!(add(&pool, &accounts, delegating(carrier, 0, GWEI, vec![authorization(1, 0, 1)])), Ok(true));
}

/// Authorizations are public: whoever copies one that can do nothing here chooses nobody to be limited.
#[test]
fn authorizations_that_can_take_no_effect_limit_nobody() {
    let (pool, accounts) = pool(PoolConfig::default());
    let carrier = stranger(0);
    accounts.set(carrier, 0, RICH);
    accounts.set(address(1), 5, RICH);
    let mut forged = authorization(3, 0, 0);
    forged = SignedAuthorization::new_unchecked(forged.inner().clone(), 1 - forged.y_parity(), forged.r(), U256::MAX);
    let dead = vec![authorization(1, 0, 4), authorization(2, 1, 0), forged];
    assert_eq!(add(&pool, &accounts, delegating(carrier, 0, GWEI, dead)), Ok(true));
    for (key, next) in [(1, 5), (2, 0), (3, 0)] {
        for nonce in next..next + 3 {
            assert_eq!(add(&pool, &accounts, cheap(address(key), nonce, GWEI)), Ok(true), "{key}");
        }
    }
}

/// No recoveries for somebody who could not pay for the transaction.
#[test]
fn authorities_are_recovered_only_when_all_else_is_in_order() {
    let (pool, accounts) = pool(PoolConfig::default());
    let poor = stranger(0);
    let list = || vec![authorization(1, 0, 0), authorization(2, 0, 0)];
    let before = bttc_types::recoveries();
    assert!(matches!(add(&pool, &accounts, delegating(poor, 0, GWEI, list())), Err(Error::InsufficientFunds { .. })));
    assert_eq!(bttc_types::recoveries(), before);
    accounts.set(poor, 0, RICH);
    add(&pool, &accounts, delegating(poor, 0, GWEI, list())).unwrap();
    assert_eq!(bttc_types::recoveries(), before + 2);
}
