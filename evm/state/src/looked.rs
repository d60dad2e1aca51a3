//! A note of which certificates were looked through for signatures of a key, so that each is looked at once.

use crate::Error;
use crate::kv::{Batch, Table};
use crate::store::StateStore;
use alloy_primitives::Address;

/// Name of the note in `Meta`: address, first and last height, big endian.
const META_LOOKED: &[u8] = b"looked";

/// Heights whose certificates hold no signature of a key, or are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookedThrough {
    /// Address of the key.
    pub key: Address,
    /// First height.
    pub from: u64,
    /// Last height.
    pub to: u64,
}

impl StateStore {
    /// The note that was written last, of whatever key.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub fn looked_through(&self) -> Result<Option<LookedThrough>, Error> {
        let Some(bytes) = self.kv.get(Table::Meta, META_LOOKED)? else { return Ok(None) };
        let note = bytes.split_first_chunk::<20>().and_then(|(key, rest)| {
            let (from, to) = rest.split_first_chunk::<8>()?;
            let to = <[u8; 8]>::try_from(to).ok()?;
            Some(LookedThrough {
                key: Address::from(*key),
                from: u64::from_be_bytes(*from),
                to: u64::from_be_bytes(to),
            })
        });
        note.map(Some).ok_or_else(|| Error::corrupt(Table::Meta, META_LOOKED, "not a note of heights"))
    }

    /// Writes the note. It is on the disk when this returns, and so is every block before it: what is noted is not lost and fetched again.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn put_looked_through(&self, note: LookedThrough) -> Result<(), Error> {
        let mut value = note.key.to_vec();
        value.extend_from_slice(&note.from.to_be_bytes());
        value.extend_from_slice(&note.to.to_be_bytes());
        let mut batch = Batch::default();
        batch.put(Table::Meta, META_LOOKED, value);
        self.kv.write(batch, true)
    }
}
