//! Snapshots of the state: cut into pieces that are checked one by one against a state root.
//!
//! A piece is a subtree of the state trie. Whoever asks for it knows the hash by which its parent names it, starting
//! from the state root of a certified header, so every answer is checked before anything of it is kept, and a source
//! that lies is known at once. A subtree that is small enough comes as its leaves; a larger one comes as its topmost
//! node, and its children are asked for next. Nobody has to agree on a cut beforehand, and hashed keys make subtrees
//! of one depth about equally large.

mod import;
mod serve;
#[cfg(test)]
mod tests;

pub use import::{Import, Progress};
pub use serve::serve;

use crate::Error;
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};

/// Most pieces in a request: 256 of at most 103 bytes fit into 32 KiB.
pub const MAX_PIECES: usize = 256;

/// Bytes of leaves up to which a subtree comes as leaves.
pub(crate) const PIECE_BYTES: usize = 512 << 10;

/// Bytes read for one answer, after which it ends: bounds what a request can cost, and with [`PIECE_BYTES`] the
/// answer's size.
pub(crate) const ANSWER_BYTES: usize = 1 << 20;

/// What a piece is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Code,
    Storage,
    Accounts,
}

/// A piece of a snapshot, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Piece {
    /// 0: a code; 1: a subtree of an account's storage; 2: a subtree of the accounts.
    kind: u8,
    /// The code's hash, or keccak(address) of the storage's owner, or zero.
    owner: B256,
    /// Path of the subtree's top, one nibble a byte.
    path: Bytes,
}

impl Piece {
    pub(crate) fn code(hash: B256) -> Self {
        Self { kind: 0, owner: hash, path: Bytes::new() }
    }

    pub(crate) fn storage(owner: B256, path: &[u8]) -> Self {
        Self { kind: 1, owner, path: Bytes::copy_from_slice(path) }
    }

    pub(crate) fn accounts(path: &[u8]) -> Self {
        Self { kind: 2, owner: B256::ZERO, path: Bytes::copy_from_slice(path) }
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.kind {
            0 => Some(Kind::Code),
            1 => Some(Kind::Storage),
            2 => Some(Kind::Accounts),
            _ => None,
        }
    }

    /// Whether a path is nibbles and not longer than a key.
    fn is_sound(&self) -> bool {
        self.kind().is_some() && self.path.len() <= 64 && self.path.iter().all(|nibble| *nibble < 16)
    }
}

/// Reads pieces that were asked for: at most [`MAX_PIECES`], with sound paths.
///
/// # Errors
/// What is wrong, in words.
pub fn decode_pieces(bytes: &mut &[u8]) -> Result<Vec<Piece>, String> {
    let pieces = Vec::<Piece>::decode(bytes).map_err(|error| error.to_string())?;
    if pieces.len() > MAX_PIECES || !pieces.iter().all(Piece::is_sound) {
        return Err("too many pieces, or a path that is none".into());
    }
    Ok(pieces)
}

/// A leaf of a piece.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Leaf {
    /// An account's address (or its hash, when the source does not know the address), or a slot's hash.
    pub(crate) key: Bytes,
    /// The flat record's value.
    pub(crate) value: Bytes,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Content {
    /// All leaves of the subtree, if it is small enough.
    pub(crate) leaves: Vec<Leaf>,
    /// Otherwise its topmost node; of a code, its bytes.
    pub(crate) bytes: Bytes,
}

/// Why pieces were not taken.
#[derive(Debug)]
pub enum Refusal {
    /// The source is to blame.
    Wrong(String),
    /// This node's disk is.
    Store(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
