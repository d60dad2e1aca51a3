//! Typed variables in an account's storage, where Solidity would put them.
//!
//! [`storage!`](crate::storage!) declares a struct of variables. [`Slot`] is a value, [`Mapping`] and [`List`] are
//! Solidity's `mapping` and dynamic array, [`Text`] its `string` and `bytes`. A variable is a place, not a value: reading
//! and writing name the host and cost what the EVM charges for the access.

mod collections;
mod layout;
mod text;
mod value;

pub use collections::{Key, List, Mapping};
pub use layout::{Field, Place, Space, Variable, index_of, lay_out, pick};
pub use text::Text;
pub use value::{Slot, Value};

/// Declares a struct of variables in Solidity's layout: fields in order, small ones packed into a slot.
///
/// Each field becomes a method that gives the variable.
#[macro_export]
macro_rules! storage {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        $vis struct $name($crate::storage::Place);

        #[allow(dead_code)]
        impl $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];
            const COUNT: usize = Self::NAMES.len();
            const PLACES: ([(u64, u8); Self::COUNT], u64) =
                $crate::storage::lay_out([$(<$kind as $crate::storage::Variable>::SPACE),*]);

            $($(#[$field_doc])*
            $vis fn $field(&self) -> $kind {
                const INDEX: usize = $crate::storage::index_of(stringify!($field), $name::NAMES);
                const PLACE: (u64, u8) = $crate::storage::pick(&$name::PLACES.0, INDEX);
                <$kind as $crate::storage::Variable>::at(self.0.inner(PLACE.0, PLACE.1))
            })*

            /// Fields with their Solidity types and places, for the test against the compiler.
            $vis fn fields() -> Vec<$crate::storage::Field> {
                let types = [$(<$kind as $crate::storage::Variable>::solidity()),*];
                Self::NAMES.iter().zip(types).zip(Self::PLACES.0)
                    .map(|((name, kind), (slot, offset))| $crate::storage::Field { name, kind, slot, offset })
                    .collect()
            }
        }

        impl $crate::storage::Variable for $name {
            const SPACE: $crate::storage::Space = $crate::storage::Space::Slots($name::PLACES.1);
            fn at(place: $crate::storage::Place) -> Self {
                Self(place)
            }
            fn solidity() -> String {
                format!("struct {}", stringify!($name))
            }
            fn clear(&self, host: &mut dyn $crate::Host) -> Result<(), $crate::Fault> {
                $($crate::storage::Variable::clear(&self.$field(), host)?;)*
                Ok(())
            }
        }
    };
}
