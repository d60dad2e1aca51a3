//! Checked arithmetic: what overflows reverts, as in Solidity.

use crate::Fault;
use alloy_primitives::U256;

/// Arithmetic that fails instead of wrapping.
pub(crate) trait Checked: Sized {
    fn plus(self, other: Self) -> Result<Self, Fault>;
    fn minus(self, other: Self) -> Result<Self, Fault>;
    fn times(self, other: Self) -> Result<Self, Fault>;
    fn over(self, other: Self) -> Result<Self, Fault>;
}

macro_rules! checked {
    ($($kind:ty),*) => {$(
        impl Checked for $kind {
            fn plus(self, other: Self) -> Result<Self, Fault> {
                self.checked_add(other).ok_or_else(Fault::overflow)
            }
            fn minus(self, other: Self) -> Result<Self, Fault> {
                self.checked_sub(other).ok_or_else(Fault::overflow)
            }
            fn times(self, other: Self) -> Result<Self, Fault> {
                self.checked_mul(other).ok_or_else(Fault::overflow)
            }
            fn over(self, other: Self) -> Result<Self, Fault> {
                self.checked_div(other).ok_or_else(Fault::overflow)
            }
        }
    )*};
}

checked!(u32, u64, u128, U256);

/// A narrower number, or an overflow.
pub(crate) fn narrow<T, U: TryFrom<T>>(value: T) -> Result<U, Fault> {
    U::try_from(value).map_err(|_| Fault::overflow())
}

/// `a * b / c`, rounded down; no overflow in between.
pub(crate) fn mul_div(a: u128, b: u128, c: u128) -> Result<u128, Fault> {
    narrow(U256::from(a).times(U256::from(b))?.over(U256::from(c))?)
}

/// `a * b / c`, rounded up.
pub(crate) fn mul_div_up(a: u128, b: u128, c: u128) -> Result<u128, Fault> {
    let (product, divisor) = (U256::from(a).times(U256::from(b))?, U256::from(c));
    let quotient = product.over(divisor)?;
    let exact = quotient.times(divisor)? == product;
    narrow(if exact { quotient } else { quotient.plus(U256::ONE)? })
}

/// This many ten-thousandths of an amount, rounded down.
pub(crate) fn share_bps(amount: u128, bps: u64) -> Result<u128, Fault> {
    mul_div(amount, u128::from(bps), 10_000)
}

/// Whole BTT in wei.
pub(crate) fn wei(btt: u64) -> u128 {
    // 2^64 x 10^18 is below 2^124.
    u128::from(btt).saturating_mul(bttc_genesis::BTT)
}
