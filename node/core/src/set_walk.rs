//! Whom a node that joins believes: it walks along the set changes from the genesis set to the epoch of what it is offered.

use crate::requests::decode_set_changes;
use crate::state_sync::Trust;
use alloy_consensus::Header;
use bttc_genesis::{LightClient, SetChange};
use bttc_types::Certificate;

/// Takes the records that a walk has verified, in order: there may be too many for memory.
pub type Keep = Box<dyn FnMut(&SetChange) + Send>;

/// A walk along the set changes.
pub struct SetWalk {
    light: LightClient,
    keep: Keep,
}

impl std::fmt::Debug for SetWalk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetWalk").field("epoch", &self.light.epoch()).finish_non_exhaustive()
    }
}

impl SetWalk {
    /// A walk that begins where `light` is.
    pub fn new(light: LightClient, keep: Keep) -> Self {
        Self { light, keep }
    }
}

impl Trust for SetWalk {
    fn wants(&self, header: &Header) -> Option<u64> {
        let known = self.light.epoch();
        (self.light.epoch_of(header.number) > known).then(|| known.saturating_add(1))
    }

    fn verify(&self, header: &Header, certificate: &Certificate) -> Result<(), String> {
        if header.number == 0 {
            return Err("the genesis block needs no snapshot".into());
        }
        self.light.verify_header(header, certificate)
    }

    fn learn(&mut self, from: u64, bytes: &[u8]) -> Result<usize, String> {
        let changes = decode_set_changes(bytes)?;
        // Another peer's answer may have come first.
        if self.light.epoch().saturating_add(1) != from {
            return Ok(changes.len());
        }
        let count = changes.len();
        for change in changes {
            self.light.apply(&change).map_err(|error| error.to_string())?;
            (self.keep)(&change);
        }
        Ok(count)
    }
}
