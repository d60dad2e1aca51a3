//! Values that lie in a slot or in a part of one.

use super::{Place, Space, Variable};
use crate::{Fault, Host};
use alloy_primitives::{Address, B256, U256};
use std::marker::PhantomData;

/// A type that fits into a slot.
pub trait Value: Copy {
    /// Bytes that it takes, 1 to 32.
    const BYTES: u8;
    /// Its name in Solidity.
    const SOLIDITY: &'static str;
    /// As the low bytes of a word.
    fn to_word(self) -> U256;
    /// From the low bytes of a word; what is above them is zero.
    fn from_word(word: U256) -> Self;
}

macro_rules! unsigned {
    ($($kind:ty: $bytes:literal $name:literal),*) => {$(
        impl Value for $kind {
            const BYTES: u8 = $bytes;
            const SOLIDITY: &'static str = $name;
            fn to_word(self) -> U256 {
                U256::from(self)
            }
            fn from_word(word: U256) -> Self {
                word.wrapping_to()
            }
        }
    )*};
}

unsigned!(u8: 1 "uint8", u16: 2 "uint16", u32: 4 "uint32", u64: 8 "uint64", u128: 16 "uint128");

impl Value for bool {
    const BYTES: u8 = 1;
    const SOLIDITY: &'static str = "bool";
    fn to_word(self) -> U256 {
        U256::from(self)
    }
    fn from_word(word: U256) -> Self {
        !word.is_zero()
    }
}

impl Value for U256 {
    const BYTES: u8 = 32;
    const SOLIDITY: &'static str = "uint256";
    fn to_word(self) -> U256 {
        self
    }
    fn from_word(word: U256) -> Self {
        word
    }
}

impl Value for B256 {
    const BYTES: u8 = 32;
    const SOLIDITY: &'static str = "bytes32";
    fn to_word(self) -> U256 {
        self.into()
    }
    fn from_word(word: U256) -> Self {
        word.into()
    }
}

impl Value for Address {
    const BYTES: u8 = 20;
    const SOLIDITY: &'static str = "address";
    fn to_word(self) -> U256 {
        self.into_word().into()
    }
    fn from_word(word: U256) -> Self {
        Address::from_word(word.into())
    }
}

/// A value in storage.
#[derive(Clone, Copy, Debug)]
pub struct Slot<T>(Place, PhantomData<T>);

impl<T: Value> Slot<T> {
    /// All ones in the bytes of the value, at the low end.
    fn mask() -> U256 {
        let unused = 256usize.saturating_sub(usize::from(T::BYTES).saturating_mul(8));
        U256::MAX.wrapping_shr(unused)
    }

    fn shift(&self) -> usize {
        usize::from(self.0.offset).saturating_mul(8)
    }

    /// Reads it.
    ///
    /// # Errors
    /// The host's.
    pub fn get(&self, host: &mut dyn Host) -> Result<T, Fault> {
        let word = host.load(self.0.account, self.0.slot)?;
        Ok(T::from_word(word.wrapping_shr(self.shift()) & Self::mask()))
    }

    /// Writes it. A write that changes nothing is not made.
    ///
    /// # Errors
    /// The host's.
    pub fn set(&self, host: &mut dyn Host, value: T) -> Result<(), Fault> {
        let old = host.load(self.0.account, self.0.slot)?;
        let new = if T::BYTES == 32 {
            value.to_word()
        } else {
            let mask = Self::mask().wrapping_shl(self.shift());
            (old & !mask) | (value.to_word().wrapping_shl(self.shift()) & mask)
        };
        if new == old { Ok(()) } else { host.store(self.0.account, self.0.slot, new) }
    }
}

impl<T: Value> Variable for Slot<T> {
    const SPACE: Space = Space::Packed(T::BYTES);

    fn at(place: Place) -> Self {
        Self(place, PhantomData)
    }

    fn solidity() -> String {
        T::SOLIDITY.to_owned()
    }

    fn clear(&self, host: &mut dyn Host) -> Result<(), Fault> {
        self.set(host, T::from_word(U256::ZERO))
    }
}
