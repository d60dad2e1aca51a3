//! Solidity's mappings and dynamic arrays.

use super::{Place, Slot, Space, Value, Variable};
use crate::numbers::{Checked, narrow};
use crate::{Fault, Host};
use alloy_primitives::{Address, B256, U256, keccak256};
use std::marker::PhantomData;

/// What can be a mapping's key.
pub trait Key: Value {}
impl Key for u8 {}
impl Key for u16 {}
impl Key for u32 {}
impl Key for u64 {}
impl Key for U256 {}
impl Key for B256 {}
impl Key for Address {}

/// A `mapping(K => V)`: the value for a key lies at `keccak(key . slot)`.
#[derive(Clone, Copy, Debug)]
pub struct Mapping<K, V>(Place, PhantomData<(K, V)>);

impl<K: Key, V: Variable> Mapping<K, V> {
    /// The variable for a key.
    pub fn entry(&self, key: K) -> V {
        let mut bytes = [0u8; 64];
        let (first, second) = bytes.split_at_mut(32);
        first.copy_from_slice(&key.to_word().to_be_bytes::<32>());
        second.copy_from_slice(&self.0.slot.to_be_bytes::<32>());
        V::at(Place { account: self.0.account, slot: keccak256(bytes).into(), offset: 0 })
    }
}

impl<K: Key, V: Variable> Variable for Mapping<K, V> {
    const SPACE: Space = Space::Slots(1);

    fn at(place: Place) -> Self {
        Self(place, PhantomData)
    }

    fn solidity() -> String {
        format!("mapping({} => {})", K::SOLIDITY, V::solidity())
    }

    fn clear(&self, _: &mut dyn Host) -> Result<(), Fault> {
        Ok(())
    }
}

/// A `V[]`: the length at the slot, the elements from `keccak(slot)` on, small ones packed.
#[derive(Clone, Copy, Debug)]
pub struct List<V>(Place, PhantomData<V>);

impl<V: Variable> List<V> {
    fn length(&self) -> Slot<U256> {
        Slot::at(self.0)
    }

    /// Number of elements.
    ///
    /// # Errors
    /// The host's.
    pub fn len(&self, host: &mut dyn Host) -> Result<u64, Fault> {
        narrow(self.length().get(host)?)
    }

    /// The element at an index, which the caller has checked.
    pub fn entry(&self, index: u64) -> V {
        let base =
            Place { account: self.0.account, slot: keccak256(self.0.slot.to_be_bytes::<32>()).into(), offset: 0 };
        match V::SPACE {
            Space::Slots(slots) => V::at(base.inner(index.wrapping_mul(slots), 0)),
            Space::Packed(bytes) => {
                let per_slot = 32u64.checked_div(u64::from(bytes)).unwrap_or(1);
                let offset = index.checked_rem(per_slot).unwrap_or(0).wrapping_mul(u64::from(bytes));
                V::at(base.inner(index.checked_div(per_slot).unwrap_or(0), offset as u8))
            }
        }
    }

    /// Adds an element, zero as it is, and gives it.
    ///
    /// # Errors
    /// The host's.
    pub fn push(&self, host: &mut dyn Host) -> Result<V, Fault> {
        let length = self.len(host)?;
        self.length().set(host, U256::from(length.plus(1)?))?;
        Ok(self.entry(length))
    }

    /// Clears and removes the last element.
    ///
    /// # Errors
    /// The host's; reverts when there is none.
    pub fn pop(&self, host: &mut dyn Host) -> Result<(), Fault> {
        let last = self.len(host)?.minus(1)?;
        self.entry(last).clear(host)?;
        self.length().set(host, U256::from(last))
    }
}

impl<T: Value> List<Slot<T>> {
    /// Adds a value.
    ///
    /// # Errors
    /// The host's.
    pub fn append(&self, host: &mut dyn Host, value: T) -> Result<(), Fault> {
        self.push(host)?.set(host, value)
    }

    /// All values. For lists whose length is bounded.
    ///
    /// # Errors
    /// The host's.
    pub fn values(&self, host: &mut dyn Host) -> Result<Vec<T>, Fault> {
        let length = self.len(host)?;
        (0..length).map(|index| self.entry(index).get(host)).collect()
    }

    /// Removes the value at an index; the last one takes its place.
    ///
    /// # Errors
    /// The host's.
    pub fn swap_remove(&self, host: &mut dyn Host, index: u64) -> Result<(), Fault> {
        let last = self.len(host)?.minus(1)?;
        if index < last {
            let value = self.entry(last).get(host)?;
            self.entry(index).set(host, value)?;
        }
        self.pop(host)
    }

    /// Makes these the values.
    ///
    /// # Errors
    /// The host's.
    pub fn replace(&self, host: &mut dyn Host, values: &[T]) -> Result<(), Fault> {
        while self.len(host)? > narrow(values.len())? {
            self.pop(host)?;
        }
        let length = self.len(host)?;
        for (index, value) in (0u64..).zip(values) {
            if index < length { self.entry(index).set(host, *value)? } else { self.append(host, *value)? }
        }
        Ok(())
    }
}

impl<V: Variable> Variable for List<V> {
    const SPACE: Space = Space::Slots(1);

    fn at(place: Place) -> Self {
        Self(place, PhantomData)
    }

    fn solidity() -> String {
        format!("{}[]", V::solidity())
    }

    fn clear(&self, host: &mut dyn Host) -> Result<(), Fault> {
        while self.len(host)? > 0 {
            self.pop(host)?;
        }
        Ok(())
    }
}
