//! Clients: send transfers from the development accounts, again and again until they are final.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use bttc_genesis::DEV_KEYS;
use bttc_types::{RecoveredTransaction, SecretKey};
use std::sync::Arc;

/// Calldata above which it consists of zeros, bytes.
const LARGE: usize = 1_000;

/// A transaction that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The transaction.
    pub transaction: Arc<RecoveredTransaction>,
    /// When it was sent last, microseconds.
    pub at: u64,
    /// When it was sent first.
    pub first: u64,
}

/// All clients.
#[derive(Debug)]
pub struct Clients {
    keys: Vec<SecretKey>,
    nonces: Vec<u64>,
    chain_id: u64,
    max_fee: u128,
    calldata: usize,
    /// What is not final yet.
    pub open: Vec<Sent>,
    /// How many were sent.
    pub sent: u64,
}

/// A key with its next nonce.
#[derive(Debug)]
pub struct Sender {
    key: SecretKey,
    nonce: u64,
}

impl Sender {
    /// A key that was not used yet.
    pub fn new(key: SecretKey) -> Self {
        Self { key, nonce: 0 }
    }

    /// Its next transaction: `input` to a fixed address, at a fee cap.
    pub fn transfer(&mut self, chain_id: u64, max_fee: u128, input: Bytes) -> Option<RecoveredTransaction> {
        let transaction = TxEip1559 {
            chain_id,
            nonce: self.nonce,
            gas_limit: 21_000 + 40 * input.len() as u64,
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(Address::repeat_byte(0x77)),
            value: U256::from(1),
            access_list: Default::default(),
            input,
        };
        self.nonce += 1;
        sign(&self.key, transaction)
    }

    /// Its account.
    pub fn address(&self) -> Address {
        self.key.address()
    }
}

impl Clients {
    /// Makes the next transaction of a sender.
    pub fn call(
        &mut self,
        sender: &mut Sender,
        to: Address,
        value: u128,
        input: Bytes,
        now: u64,
    ) -> Option<Arc<RecoveredTransaction>> {
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: sender.nonce,
            gas_limit: 3_000_000,
            max_fee_per_gas: self.max_fee,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(to),
            value: U256::from(value),
            access_list: Default::default(),
            input,
        };
        sender.nonce += 1;
        let transaction = Arc::new(sign(&sender.key, transaction)?);
        self.open.push(Sent { transaction: Arc::clone(&transaction), at: now, first: now });
        Some(transaction)
    }

    /// Clients of a chain whose base fee begins at `base_fee`.
    pub fn new(chain_id: u64, base_fee: u64, calldata: usize) -> Self {
        let keys: Vec<SecretKey> = DEV_KEYS.iter().filter_map(|(_, key)| SecretKey::from_bytes(&key.0).ok()).collect();
        Self {
            nonces: vec![0; keys.len()],
            keys,
            chain_id,
            max_fee: u128::from(base_fee) * 100,
            calldata,
            open: Vec::new(),
            sent: 0,
        }
    }

    /// Makes the next transaction of an account.
    pub fn make(&mut self, account: usize, now: u64) -> Option<Arc<RecoveredTransaction>> {
        let account = account % self.keys.len();
        let nonce = self.nonces[account];
        self.nonces[account] += 1;
        self.sent += 1;
        // Zeros cost a quarter: with them a block of megabytes stays within its gas.
        let large = self.calldata > LARGE;
        let data: Vec<u8> = match large {
            true => vec![0; self.calldata],
            false => (0..self.calldata).map(|index| (index as u64 ^ self.sent) as u8 | 1).collect(),
        };
        let gas_of_a_byte = if large { 10 } else { 40 };
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: 21_000 + gas_of_a_byte * self.calldata as u64,
            max_fee_per_gas: self.max_fee,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(Address::repeat_byte(0x77)),
            value: U256::from(1),
            access_list: Default::default(),
            input: Bytes::from(data),
        };
        let transaction = Arc::new(sign(&self.keys[account], transaction)?);
        self.open.push(Sent { transaction: Arc::clone(&transaction), at: now, first: now });
        Some(transaction)
    }
}

fn sign(key: &SecretKey, transaction: TxEip1559) -> Option<RecoveredTransaction> {
    let signature = key.sign(transaction.signature_hash());
    let bytes = signature.as_bytes();
    let signature = alloy_primitives::Signature::from_scalars_and_parity(
        B256::from_slice(&bytes[..32]),
        B256::from_slice(&bytes[32..64]),
        bytes[64] == 1,
    );
    RecoveredTransaction::decode(&transaction.into_signed(signature).encoded_2718()).ok()
}
