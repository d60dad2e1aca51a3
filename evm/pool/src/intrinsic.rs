//! Gas that a transaction costs before it does anything.

use alloy_consensus::Transaction as _;
use bttc_types::Transaction;

/// Least gas limit of a transaction under Osaka: EIP-2028, EIP-2930, EIP-3860, EIP-7702, and the calldata floor of
/// EIP-7623.
pub fn intrinsic_gas(transaction: &Transaction) -> u64 {
    const BASE: u64 = 21_000;
    let input = transaction.input();
    let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
    let tokens = zeros + (input.len() as u64 - zeros) * 4;
    let mut gas = BASE + tokens * 4;
    if transaction.is_create() {
        gas += 32_000 + 2 * (input.len() as u64).div_ceil(32);
    }
    if let Some(list) = transaction.access_list() {
        gas += list.0.len() as u64 * 2_400;
        gas += list.0.iter().map(|item| item.storage_keys.len() as u64).sum::<u64>() * 1_900;
    }
    gas += transaction.authorization_list().map_or(0, |list| list.len() as u64) * 25_000;
    gas.max(BASE + tokens * 10)
}
