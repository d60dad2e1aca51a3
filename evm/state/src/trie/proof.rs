//! Merkle proofs, as `eth_getProof` returns them.

use super::node::{Kind, Node, Trie};
use super::source::NodeSource;
use super::update::resolve;
use crate::{Account, Error};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_trie::nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode};
use alloy_trie::{Nibbles, TrieMask};
use std::sync::Arc;

/// Proof of a value or of its absence: the nodes from the root towards the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// RLP of the nodes on the path that are referenced by hash, root first.
    pub nodes: Vec<Bytes>,
    /// The leaf's value, if the key is there.
    pub value: Option<Vec<u8>>,
}

impl Trie {
    /// Proves the value at a key of a sealed trie.
    pub(crate) fn prove(&self, source: &impl NodeSource, key: &Nibbles) -> Result<Proof, Error> {
        let mut proof = Proof { nodes: Vec::new(), value: None };
        let mut depth = 0;
        let mut next = self.root.clone();
        while let Some(pointer) = next.take() {
            let node = resolve(source, pointer, &key.slice(..depth))?;
            if depth == 0 || node.reference.get().is_some_and(RlpNode::is_hash) {
                proof.nodes.push(encode(&node).into());
            }
            let rest = key.slice(depth..);
            match &node.kind {
                Kind::Stub => return Err(source.corrupt(&key.slice(..depth), "a stub did not resolve".into())),
                Kind::Leaf { suffix, value } => {
                    if *suffix == rest {
                        proof.value = Some(value.to_vec());
                    }
                }
                Kind::Extension { prefix, child } => {
                    if rest.starts_with(prefix) {
                        depth += prefix.len();
                        next = Some(Arc::clone(child));
                    }
                }
                Kind::Branch { children } => {
                    next = rest.first().and_then(|nibble| children.get(usize::from(nibble)).cloned().flatten());
                    depth += 1;
                }
            }
        }
        Ok(proof)
    }
}

/// RLP of a node whose children are sealed.
fn encode(node: &Node) -> Vec<u8> {
    let mut buffer = Vec::new();
    let reference = |child: &Arc<Node>| child.reference.get().cloned().unwrap_or_default();
    match &node.kind {
        Kind::Stub => {}
        Kind::Leaf { suffix, value } => {
            LeafNodeRef { key: suffix, value }.rlp(&mut buffer);
        }
        Kind::Extension { prefix, child } => {
            ExtensionNodeRef { key: prefix, child: &reference(child) }.rlp(&mut buffer);
        }
        Kind::Branch { children } => {
            let mut mask = TrieMask::default();
            let mut stack = Vec::new();
            for (index, child) in children.iter().enumerate() {
                if let Some(child) = child {
                    mask.set_bit(u8::try_from(index).unwrap_or(0));
                    stack.push(reference(child));
                }
            }
            BranchNodeRef::new(&stack, mask).rlp(&mut buffer);
        }
    }
    buffer
}

/// Checks an account proof against a state root with `alloy-trie`'s verifier, which shares no code with the prover.
///
/// # Errors
/// The verifier's words.
pub fn verify_account_proof(
    state_root: B256,
    address: Address,
    account: Option<&Account>,
    nodes: &[Bytes],
) -> Result<(), String> {
    let key = Nibbles::unpack(keccak256(address));
    let expected = account.map(alloy_rlp::encode);
    alloy_trie::proof::verify_proof(state_root, key, expected, nodes).map_err(|error| error.to_string())
}
