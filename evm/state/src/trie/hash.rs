//! Sealing: computes the references of new nodes, bottom up, and lists what must be written.

use super::node::{Kind, Node, Trie, reference_hash};
use alloy_primitives::B256;
use alloy_trie::Nibbles;
use alloy_trie::TrieMask;
use alloy_trie::nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode};
use rayon::prelude::*;
use std::sync::Arc;

/// Nodes to write (RLP) and paths at which no stored node may remain.
#[derive(Debug, Default)]
pub(crate) struct NodeWrites {
    pub(crate) puts: Vec<(Nibbles, Vec<u8>)>,
    pub(crate) removed: Vec<Nibbles>,
}

/// New nodes below which hashing is spread over threads; smaller changes are faster on one.
const PARALLEL_THRESHOLD: usize = 512;

/// Computes every missing reference of the trie and returns its root hash. `changes` is about how many leaves
/// changed; it only decides whether threads are used.
pub(crate) fn seal(trie: &Trie, changes: usize, writes: &mut NodeWrites) -> B256 {
    seal_below(trie, Nibbles::new(), changes, writes)
        .map_or(super::EMPTY_ROOT_HASH, |reference| reference_hash(&reference))
}

/// Computes every missing reference of a subtree whose keys are what follows `top`, and returns the reference by which
/// its parent names it; `None` when it is empty.
pub(crate) fn seal_below(trie: &Trie, top: Nibbles, changes: usize, writes: &mut NodeWrites) -> Option<RlpNode> {
    let root = trie.root.as_ref()?;
    let reference = seal_node(root, top, changes >= PARALLEL_THRESHOLD, writes);
    // The root is looked up by path even when it would be small enough to embed.
    if top.is_empty() && reference.as_hash().is_none() && !matches!(root.kind, Kind::Leaf { .. } | Kind::Stub) {
        writes.puts.push((top, reference.to_vec()));
    }
    Some(reference)
}

fn seal_node(node: &Arc<Node>, path: Nibbles, parallel: bool, writes: &mut NodeWrites) -> RlpNode {
    if let Some(reference) = node.reference.get() {
        return reference.clone();
    }
    let mut buffer = Vec::with_capacity(64);
    let (reference, stored) = match &node.kind {
        // A stub always has its reference.
        Kind::Stub => (RlpNode::default(), false),
        Kind::Leaf { suffix, value } => (LeafNodeRef { key: suffix, value }.rlp(&mut buffer), false),
        Kind::Extension { prefix, child } => {
            let child = seal_node(child, path.join(prefix), parallel, writes);
            (ExtensionNodeRef { key: prefix, child: &child }.rlp(&mut buffer), true)
        }
        Kind::Branch { children } => {
            let below = |index: usize| {
                let mut below = path;
                below.push(u8::try_from(index).unwrap_or(0));
                below
            };
            let present = children.iter().enumerate().filter_map(|(index, child)| Some((index, child.as_ref()?)));
            let sealed: Vec<(usize, RlpNode)> = if parallel {
                let work: Vec<(usize, &Arc<Node>)> = present.collect();
                let done: Vec<(usize, RlpNode, NodeWrites)> = work
                    .into_par_iter()
                    .map(|(index, child)| {
                        let mut own = NodeWrites::default();
                        let reference = seal_node(child, below(index), false, &mut own);
                        (index, reference, own)
                    })
                    .collect();
                done.into_iter()
                    .map(|(index, reference, mut own)| {
                        writes.puts.append(&mut own.puts);
                        writes.removed.append(&mut own.removed);
                        (index, reference)
                    })
                    .collect()
            } else {
                present.map(|(index, child)| (index, seal_node(child, below(index), false, writes))).collect()
            };
            let mut mask = TrieMask::default();
            let mut stack = Vec::with_capacity(sealed.len());
            for (index, reference) in sealed {
                mask.set_bit(u8::try_from(index).unwrap_or(0));
                stack.push(reference);
            }
            (BranchNodeRef::new(&stack, mask).rlp(&mut buffer), true)
        }
    };
    if stored {
        if reference.as_hash().is_some() {
            writes.puts.push((path, buffer));
        } else {
            writes.removed.push(path);
        }
    }
    node.reference.get_or_init(|| reference).clone()
}
