//! One hash over everything that happened, so that two runs can be compared.

use alloy_primitives::{B256, Keccak256};

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Record {
    /// A message was sent.
    Message = 1,
    /// Everything that a node has written so far.
    Writes = 2,
    /// A node committed a block.
    Decision = 3,
    /// A node started or died.
    Life = 4,
}

/// The running hash.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hasher: Keccak256,
    records: u64,
}

impl Trace {
    /// Adds a record.
    pub fn record(&mut self, kind: Record, time_us: u64, node: usize, what: &[u8]) {
        let mut bytes = [0u8; 17];
        bytes[0] = kind as u8;
        bytes[1..9].copy_from_slice(&time_us.to_be_bytes());
        bytes[9..17].copy_from_slice(&(node as u64).to_be_bytes());
        self.hasher.update(bytes);
        self.hasher.update(what);
        self.records += 1;
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The hash.
    pub fn finish(self) -> B256 {
        self.hasher.finalize()
    }
}
