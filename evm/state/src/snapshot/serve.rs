//! Pieces from a store that stands still.

use super::{ANSWER_BYTES, Content, Kind, Leaf, PIECE_BYTES, Piece};
use crate::Error;
use crate::kv::{KvRead, Table};
use crate::trie::{AccountNodes, NodeSource, StorageNodes, first_key};
use alloy_primitives::Bytes;
use alloy_trie::Nibbles;

/// Bytes that a leaf needs beyond its key and value, at most.
const LEAF_OVERHEAD: usize = 8;

/// Answers to the first of `pieces`: as many as fit, up to the first that is not there.
///
/// # Errors
/// [`Error::Database`].
pub fn serve(reader: &dyn KvRead, pieces: &[Piece]) -> Result<Vec<Content>, Error> {
    let mut contents = Vec::new();
    let mut read = 0;
    for piece in pieces {
        if read >= ANSWER_BYTES {
            break;
        }
        let Some(content) = content(reader, piece, &mut read)? else { break };
        contents.push(content);
    }
    Ok(contents)
}

fn content(reader: &dyn KvRead, piece: &Piece, read: &mut usize) -> Result<Option<Content>, Error> {
    let path = Nibbles::from_nibbles(&piece.path);
    let (leaves, node) = match piece.kind() {
        None => return Ok(None),
        Some(Kind::Code) => {
            let code = reader.get(Table::Code, piece.owner.as_slice())?;
            *read += code.as_ref().map_or(0, Vec::len);
            return Ok(code.map(|code| Content { leaves: Vec::new(), bytes: code.into() }));
        }
        Some(Kind::Accounts) => {
            let leaves = leaves(reader, Table::Accounts, &[], &path, read)?;
            (leaves, AccountNodes(reader).node(&path)?)
        }
        Some(Kind::Storage) => {
            let leaves = leaves(reader, Table::Storage, piece.owner.as_slice(), &path, read)?;
            (leaves, StorageNodes(reader, piece.owner).node(&path)?)
        }
    };
    Ok(match (leaves, node) {
        (Some(leaves), _) if !leaves.is_empty() => {
            let leaves = if piece.kind() == Some(Kind::Accounts) { named(reader, leaves)? } else { leaves };
            Some(Content { leaves, bytes: Bytes::new() })
        }
        (None, Some(node)) => Some(Content { leaves: Vec::new(), bytes: node.into() }),
        (Some(_) | None, _) => None,
    })
}

/// The leaves below a path; `None` when they are too large for a piece.
fn leaves(
    reader: &dyn KvRead,
    table: Table,
    owner: &[u8],
    path: &Nibbles,
    read: &mut usize,
) -> Result<Option<Vec<Leaf>>, Error> {
    let mut leaves = Vec::new();
    let mut bytes = 0;
    let mut fits = true;
    reader.scan(table, &[owner, &first_key(path)].concat(), &mut |key, value| {
        let Some(hashed) = key.strip_prefix(owner).filter(|hashed| Nibbles::unpack(hashed).starts_with(path)) else {
            return Ok(false);
        };
        bytes += hashed.len() + value.len() + LEAF_OVERHEAD;
        fits = bytes <= PIECE_BYTES;
        leaves.push(Leaf { key: Bytes::copy_from_slice(hashed), value: Bytes::copy_from_slice(value) });
        Ok(fits)
    })?;
    *read += bytes;
    Ok(fits.then_some(leaves))
}

/// The leaves with addresses instead of their hashes, as far as they are known.
fn named(reader: &dyn KvRead, leaves: Vec<Leaf>) -> Result<Vec<Leaf>, Error> {
    let named = leaves.into_iter().map(|leaf| {
        Ok(match reader.get(Table::Preimages, &leaf.key)? {
            Some(address) => Leaf { key: address.into(), value: leaf.value },
            None => leaf,
        })
    });
    named.collect()
}
