//! Solidity's `string` and `bytes`: up to 31 bytes in the slot itself, longer ones from `keccak(slot)` on.

use super::{Place, Space, Variable};
use crate::numbers::{Checked, narrow};
use crate::{Fault, Host};
use alloy_primitives::{U256, keccak256};

/// A byte string in storage.
#[derive(Clone, Copy, Debug)]
pub struct Text(Place);

impl Text {
    fn slot_of(&self, index: u64) -> U256 {
        U256::from_be_bytes(keccak256(self.0.slot.to_be_bytes::<32>()).0).wrapping_add(U256::from(index))
    }

    /// Length in bytes, and the slot's word.
    fn head(&self, host: &mut dyn Host) -> Result<(u64, U256), Fault> {
        let word = host.load(self.0.account, self.0.slot)?;
        let length = if word.bit(0) { narrow(word.wrapping_shr(1))? } else { u64::from(word.byte(0) >> 1) };
        Ok((length, word))
    }

    /// Reads it.
    ///
    /// # Errors
    /// The host's.
    pub fn get(&self, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
        let (length, word) = self.head(host)?;
        let length: usize = narrow(length)?;
        let mut bytes = Vec::new();
        if word.bit(0) {
            for index in 0..length.div_ceil(32) as u64 {
                bytes.extend_from_slice(&host.load(self.0.account, self.slot_of(index))?.to_be_bytes::<32>());
            }
        } else {
            bytes.extend_from_slice(&word.to_be_bytes::<32>());
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Reads it as text; what is not UTF-8 is shown as such.
    ///
    /// # Errors
    /// The host's.
    pub fn read(&self, host: &mut dyn Host) -> Result<String, Fault> {
        Ok(String::from_utf8_lossy(&self.get(host)?).into_owned())
    }

    /// Writes it.
    ///
    /// # Errors
    /// The host's.
    pub fn set(&self, host: &mut dyn Host, bytes: &[u8]) -> Result<(), Fault> {
        let (old_length, old_word) = self.head(host)?;
        let old_slots = if old_word.bit(0) { old_length.div_ceil(32) } else { 0 };
        let mut new_slots = 0u64;
        let word = if bytes.len() < 32 {
            let mut word = [0u8; 32];
            for (to, from) in word.iter_mut().zip(bytes) {
                *to = *from;
            }
            U256::from_be_bytes(word) | U256::from(bytes.len()).times(U256::from(2))?
        } else {
            for chunk in bytes.chunks(32) {
                let mut word = [0u8; 32];
                for (to, from) in word.iter_mut().zip(chunk) {
                    *to = *from;
                }
                host.store(self.0.account, self.slot_of(new_slots), U256::from_be_bytes(word))?;
                new_slots = new_slots.plus(1)?;
            }
            U256::from(bytes.len()).times(U256::from(2))?.plus(U256::ONE)?
        };
        for index in new_slots..old_slots {
            host.store(self.0.account, self.slot_of(index), U256::ZERO)?;
        }
        host.store(self.0.account, self.0.slot, word)
    }
}

impl Variable for Text {
    const SPACE: Space = Space::Slots(1);

    fn at(place: Place) -> Self {
        Self(place)
    }

    fn solidity() -> String {
        "bytes".to_owned()
    }

    fn clear(&self, host: &mut dyn Host) -> Result<(), Fault> {
        self.set(host, &[])
    }
}
