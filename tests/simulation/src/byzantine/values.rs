//! Values that a liar sets a field to: nothing, one, the greatest, the next, the previous, a stale one, another's, anything.

use alloy_primitives::{Address, B256};
use bttc_types::Signature;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// A number of 64 bits instead of `was`.
pub fn number(was: u64, rng: &mut ChaCha8Rng) -> u64 {
    match rng.random_range(0..9) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => was.wrapping_add(1),
        4 => was.wrapping_sub(1),
        5 => was.saturating_sub(rng.random_range(2..20)),
        6 => was.saturating_add(rng.random_range(2..20)),
        // The greatest that is positive where the sign counts.
        7 => i64::MAX as u64,
        _ => rng.random(),
    }
}

/// A number of 32 bits instead of `was`.
pub fn short(was: u32, rng: &mut ChaCha8Rng) -> u32 {
    match rng.random_range(0..8) {
        0 => 0,
        1 => 1,
        2 => u32::MAX,
        3 => was.wrapping_add(1),
        4 => was.wrapping_sub(1),
        5 => was.saturating_add(rng.random_range(2..20)),
        6 => was.saturating_add(rng.random_range(20..5_000_000)),
        _ => rng.random(),
    }
}

/// A hash instead of `was`; `others` are known ones.
pub fn hash(was: B256, others: &[B256], rng: &mut ChaCha8Rng) -> B256 {
    match rng.random_range(0..6) {
        0 => B256::ZERO,
        1 => B256::repeat_byte(0xff),
        2 => B256::with_last_byte(1),
        3 => {
            let mut next = was;
            next.0[31] = next.0[31].wrapping_add(1);
            next
        }
        4 => others.choose(rng).copied().unwrap_or(was),
        _ => B256::from(rng.random::<[u8; 32]>()),
    }
}

/// An address, of somebody else more often than not.
pub fn address(members: &[Address], rng: &mut ChaCha8Rng) -> Address {
    match rng.random_range(0..5) {
        0 => Address::ZERO,
        1 => Address::repeat_byte(0xff),
        _ => members.choose(rng).copied().unwrap_or(Address::ZERO),
    }
}

/// Another signature.
pub fn signature(was: Signature, rng: &mut ChaCha8Rng) -> Signature {
    let mut bytes = *was.as_bytes();
    match rng.random_range(0..5) {
        0 => bytes = [0; 65],
        1 => bytes = [0xff; 65],
        2 => bytes[64] = bytes[64].wrapping_add(1),
        3 => bytes[64] = bytes[64].wrapping_add(27),
        _ => bytes[rng.random_range(0..64)] ^= 1 << rng.random_range(0..8),
    }
    Signature::from_bytes(bytes)
}
