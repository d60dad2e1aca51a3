//! Accounts and transactions for the pool's tests.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, Signature, TxKind, U256};
use bttc_pool::{AccountLookup, AccountState, ChainLimits, Pool, PoolConfig};
use bttc_types::{RecoveredTransaction, SecretKey, Transaction};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(crate) const GWEI: u128 = 1_000_000_000;
/// 1,000 coins, wei.
pub(crate) const RICH: u128 = 10u128.pow(21);

#[derive(Default)]
pub(crate) struct Accounts(Mutex<HashMap<Address, AccountState>>);

impl Accounts {
    pub(crate) fn set(&self, address: Address, nonce: u64, balance: u128) {
        let state = AccountState { nonce, balance: U256::from(balance), contract: false, delegated: false };
        self.0.lock().unwrap().insert(address, state);
    }

    /// The account's code is a delegation from now on, or no longer.
    pub(crate) fn delegate(&self, address: Address, delegated: bool) {
        self.0.lock().unwrap().entry(address).or_default().delegated = delegated;
    }
}

impl AccountLookup for Accounts {
    fn account(&self, address: Address) -> Result<AccountState, String> {
        Ok(self.0.lock().unwrap().get(&address).copied().unwrap_or_default())
    }
}

pub(crate) fn sign(key: u8, transaction: TxEip1559) -> Arc<RecoveredTransaction> {
    let signed = SecretKey::from_bytes(&[key; 32]).unwrap().sign(transaction.signature_hash());
    let bytes = signed.as_bytes();
    let signature = Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1);
    Arc::new(RecoveredTransaction::recover(Transaction::from(transaction.into_signed(signature))).unwrap())
}

pub(crate) fn transfer(key: u8, nonce: u64, fee: u128, tip: u128) -> Arc<RecoveredTransaction> {
    sign(
        key,
        TxEip1559 {
            chain_id: 1337,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(Address::ZERO),
            ..TxEip1559::default()
        },
    )
}

pub(crate) fn pool(config: PoolConfig) -> (Pool, Accounts) {
    let accounts = Accounts::default();
    for key in 1..=30 {
        accounts.set(SecretKey::from_bytes(&[key; 32]).unwrap().address(), 0, 10u128.pow(21));
    }
    let limits = ChainLimits { chain_id: 1337, gas_cap: 1 << 24, gas_limit: 1 << 24, min_base_fee: 1_000_000_000 };
    (Pool::new(config, limits), accounts)
}

pub(crate) fn best(pool: &Pool, base_fee: u64) -> Vec<(Address, u64)> {
    let mut iterator = pool.best(base_fee);
    std::iter::from_fn(|| iterator.next_best()).map(|transaction| (transaction.sender(), transaction.nonce())).collect()
}

pub(crate) fn address(key: u8) -> Address {
    SecretKey::from_bytes(&[key; 32]).unwrap().address()
}

/// A sender without a key: for tests that need many.
pub(crate) fn stranger(number: u64) -> Address {
    Address::left_padding_from(&(number + 1_000).to_be_bytes())
}

/// A transaction of a sender without a key.
pub(crate) fn unsigned(sender: Address, transaction: TxEip1559) -> Arc<RecoveredTransaction> {
    // Nobody's signature, as long as a real one; the sender in it keeps the hashes apart.
    let long = U256::ONE << 254;
    let signature = Signature::new(long | U256::from_be_slice(sender.as_slice()), long, false);
    Arc::new(RecoveredTransaction::with_sender(Transaction::from(transaction.into_signed(signature)), sender))
}

/// A transfer of nothing with the whole fee cap as its tip.
pub(crate) fn cheap(sender: Address, nonce: u64, fee: u128) -> Arc<RecoveredTransaction> {
    tipping(sender, nonce, fee, fee)
}

/// A transfer of nothing.
pub(crate) fn tipping(sender: Address, nonce: u64, fee: u128, tip: u128) -> Arc<RecoveredTransaction> {
    let transaction = TxEip1559 {
        chain_id: 1337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::ZERO),
        ..TxEip1559::default()
    };
    unsigned(sender, transaction)
}

/// A transaction with so many bytes of input and the whole fee cap as its tip.
pub(crate) fn large(sender: Address, nonce: u64, fee: u128, bytes: usize) -> Arc<RecoveredTransaction> {
    let transaction = TxEip1559 {
        chain_id: 1337,
        nonce,
        gas_limit: 1 << 24,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: fee,
        to: TxKind::Call(Address::ZERO),
        input: vec![1; bytes].into(),
        ..TxEip1559::default()
    };
    unsigned(sender, transaction)
}
