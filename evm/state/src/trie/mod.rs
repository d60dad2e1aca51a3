//! The Merkle Patricia trie: an immutable tree with structural sharing over nodes keyed by path.
//!
//! A [`Trie`] is a root pointer. Changing it copies the nodes on the changed paths and shares the rest, so a
//! candidate block's trie can be computed and thrown away without touching the head's, and a reader can hold an old
//! root while the writer moves on. Nodes not in memory are stubs that know their hash; they are loaded by path and
//! checked against that hash, so a damaged node is an error and never a wrong root.
//!
//! Only branch and extension nodes are stored. A leaf is the flat record with its prefix (one seek), so no value is
//! written twice.

mod hash;
mod node;
mod proof;
mod source;
mod update;

pub(crate) use hash::{NodeWrites, seal, seal_below};
pub(crate) use node::Trie;
pub use proof::{Proof, verify_account_proof};
pub(crate) use source::{AccountNodes, NodeSource, StorageNodes, first_key, storage_path};

use alloy_primitives::{B256, b256};

/// Root of the empty trie: keccak of the RLP of an empty string.
pub const EMPTY_ROOT_HASH: B256 = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

#[cfg(test)]
mod tests;
