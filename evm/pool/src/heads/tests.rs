//! How much is done in one hold of the lock.

use crate::types::{AccountLookup, AccountState, ChainLimits};
use crate::{Pool, PoolConfig};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, Signature, TxKind, U256};
use bttc_types::{RecoveredTransaction, Transaction};
use std::sync::Arc;

struct Rich;

impl AccountLookup for Rich {
    fn account(&self, _: Address) -> Result<AccountState, String> {
        Ok(AccountState { balance: U256::MAX, ..AccountState::default() })
    }
}

fn transaction(sender: u8, nonce: u64) -> Arc<RecoveredTransaction> {
    let sender = Address::repeat_byte(sender);
    let content = TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        to: TxKind::Call(Address::ZERO),
        ..TxEip1559::default()
    };
    let signature = Signature::new(U256::from_be_slice(sender.as_slice()), U256::ONE, false);
    Arc::new(RecoveredTransaction::with_sender(Transaction::from(content.into_signed(signature)), sender))
}

/// The heads of ten full queues expire together, and each drags what is behind it along.
#[test]
fn heads_that_expire_together_are_not_dropped_in_one_hold_of_the_lock() {
    const EACH: u64 = 1_000;
    let config = PoolConfig { max_per_sender: 1_000, pending_lifetime_ms: 100, ..PoolConfig::default() };
    let limits = ChainLimits { chain_id: 1, gas_cap: 1 << 24, gas_limit: 1 << 24, min_base_fee: 1 };
    let pool = Pool::new(config, limits);
    for sender in 1..=10 {
        for nonce in 0..EACH {
            pool.add(transaction(sender, nonce), false, if nonce == 0 { 0 } else { 1_000 }, &Rich).unwrap();
        }
    }
    let mut holds = 0;
    loop {
        let mut inner = pool.inner.lock();
        let before = inner.moves;
        let more = inner.expire_some(500);
        // Each is queued and then, but for 64 of them, dropped.
        assert!(inner.moves - before <= 256 + 2 * EACH, "{} at once", inner.moves - before);
        if !more {
            break;
        }
        holds += 1;
    }
    assert_eq!((holds, pool.status().pending, pool.status().queued), (10, 0, 640));
}
