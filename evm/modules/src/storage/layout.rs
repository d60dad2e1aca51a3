//! Solidity's rules of where a variable lies: fields in order, packed into a slot while they fit, collections and structs in
//! slots of their own.

use crate::{Fault, Host};
use alloy_primitives::{Address, U256};

/// Where a variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The module's account.
    pub account: Address,
    /// The slot.
    pub slot: U256,
    /// Bytes from the low end of the slot.
    pub offset: u8,
}

impl Place {
    /// The first slot of an account.
    pub const fn root(account: Address) -> Self {
        Self { account, slot: U256::ZERO, offset: 0 }
    }

    /// A place so many slots further on. Slots wrap around, as in the EVM.
    pub fn inner(&self, slots: u64, offset: u8) -> Self {
        Self { account: self.account, slot: self.slot.wrapping_add(U256::from(slots)), offset }
    }
}

/// The room that a variable takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// So many bytes (1 to 32), packed with its neighbours.
    Packed(u8),
    /// So many whole slots.
    Slots(u64),
}

/// A variable: something with a place.
pub trait Variable {
    /// Its room.
    const SPACE: Space;
    /// The variable at a place.
    fn at(place: Place) -> Self;
    /// Its type in Solidity's words.
    fn solidity() -> String;
    /// Sets it to zero, what `delete` does. Mappings stay as they are.
    ///
    /// # Errors
    /// The host's.
    fn clear(&self, host: &mut dyn Host) -> Result<(), Fault>;
}

/// A field of a declared struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type in Solidity's words.
    pub kind: String,
    /// Slot within the struct.
    pub slot: u64,
    /// Bytes from the low end of the slot.
    pub offset: u8,
}

/// Places of fields and the slots that all of them take.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Evaluated by the compiler only.
pub const fn lay_out<const N: usize>(spaces: [Space; N]) -> ([(u64, u8); N], u64) {
    let mut places = [(0, 0); N];
    let (mut slot, mut used, mut index) = (0u64, 0u8, 0);
    while index < N {
        match spaces[index] {
            Space::Packed(bytes) => {
                if used + bytes > 32 {
                    slot += 1;
                    used = 0;
                }
                places[index] = (slot, used);
                used += bytes;
            }
            Space::Slots(slots) => {
                if used > 0 {
                    slot += 1;
                    used = 0;
                }
                places[index] = (slot, 0);
                slot += slots;
            }
        }
        index += 1;
    }
    (places, if used > 0 { slot + 1 } else { slot })
}

/// Index of a name; for the macro.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)] // Evaluated by the compiler only.
pub const fn index_of(name: &str, names: &[&str]) -> usize {
    let mut index = 0;
    while index < names.len() {
        let (a, b) = (name.as_bytes(), names[index].as_bytes());
        let mut same = a.len() == b.len();
        let mut position = 0;
        while same && position < a.len() {
            same = a[position] == b[position];
            position += 1;
        }
        if same {
            return index;
        }
        index += 1;
    }
    panic!("no such field")
}

/// One of the places; for the macro.
#[allow(clippy::indexing_slicing)] // Evaluated by the compiler only.
pub const fn pick(places: &[(u64, u8)], index: usize) -> (u64, u8) {
    places[index]
}
