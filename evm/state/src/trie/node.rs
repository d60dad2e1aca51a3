//! Nodes and the root pointer.

use super::EMPTY_ROOT_HASH;
use crate::Error;
use alloy_primitives::{B256, keccak256};
use alloy_trie::Nibbles;
use alloy_trie::nodes::{RlpNode, TrieNode};
use std::sync::{Arc, OnceLock};

/// A node with the reference by which its parent names it, once that is known. A node whose reference is known is
/// on disk (or embedded in a parent that is, or in the flat records); one without is new.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) kind: Kind,
    pub(super) reference: OnceLock<RlpNode>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Not in memory; `reference` is set and is a hash.
    Stub,
    Leaf {
        suffix: Nibbles,
        value: Arc<[u8]>,
    },
    Extension {
        prefix: Nibbles,
        child: Arc<Node>,
    },
    Branch {
        children: Box<[Option<Arc<Node>>; 16]>,
    },
}

impl Node {
    pub(super) fn fresh(kind: Kind) -> Arc<Self> {
        Arc::new(Self { kind, reference: OnceLock::new() })
    }

    pub(super) fn stub(hash: B256) -> Arc<Self> {
        Arc::new(Self { kind: Kind::Stub, reference: OnceLock::from(RlpNode::word_rlp(&hash)) })
    }

    fn known(kind: Kind, reference: RlpNode) -> Arc<Self> {
        Arc::new(Self { kind, reference: OnceLock::from(reference) })
    }

    pub(super) fn leaf(suffix: Nibbles, value: Arc<[u8]>) -> Arc<Self> {
        Self::fresh(Kind::Leaf { suffix, value })
    }

    /// Decodes a stored or embedded node; its children become stubs or embedded nodes.
    pub(super) fn decode(rlp: &[u8], reference: RlpNode) -> Result<Arc<Self>, String> {
        let decoded = <TrieNode as alloy_rlp::Decodable>::decode(&mut &rlp[..]).map_err(|error| error.to_string())?;
        let kind = match decoded {
            TrieNode::EmptyRoot => return Err("an empty node inside the trie".into()),
            TrieNode::Leaf(leaf) => Kind::Leaf { suffix: leaf.key, value: leaf.value.into() },
            TrieNode::Extension(extension) => {
                Kind::Extension { prefix: extension.key, child: Self::child(&extension.child)? }
            }
            TrieNode::Branch(branch) => {
                let mut children: Box<[Option<Arc<Self>>; 16]> = Box::default();
                for (index, child) in branch.as_ref().children() {
                    if let (Some(slot), Some(child)) = (children.get_mut(usize::from(index)), child) {
                        *slot = Some(Self::child(child)?);
                    }
                }
                Kind::Branch { children }
            }
        };
        Ok(Self::known(kind, reference))
    }

    fn child(reference: &RlpNode) -> Result<Arc<Self>, String> {
        match reference.as_hash() {
            Some(hash) => Ok(Self::stub(hash)),
            None => Self::decode(reference, reference.clone()),
        }
    }

    /// Number of nodes in memory below and including this one.
    pub(super) fn resident(&self) -> usize {
        match &self.kind {
            Kind::Stub => 0,
            Kind::Leaf { .. } => 1,
            Kind::Extension { child, .. } => 1 + child.resident(),
            Kind::Branch { children } => 1 + children.iter().flatten().map(|child| child.resident()).sum::<usize>(),
        }
    }
}

/// A trie: its root, or nothing when it is empty. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trie {
    pub(super) root: Option<Arc<Node>>,
}

impl Trie {
    /// The trie with this root hash; nothing is loaded yet.
    pub(crate) fn from_root(hash: B256) -> Self {
        Self { root: (hash != EMPTY_ROOT_HASH).then(|| Node::stub(hash)) }
    }

    /// The root hash, if every node is sealed (see [`super::seal`]).
    pub(crate) fn root_hash(&self) -> Option<B256> {
        match &self.root {
            None => Some(EMPTY_ROOT_HASH),
            Some(root) => root.reference.get().map(reference_hash),
        }
    }

    /// Number of nodes in memory.
    pub(crate) fn resident(&self) -> usize {
        self.root.as_ref().map_or(0, |root| root.resident())
    }

    /// The same trie with every sealed node below `depth` nibbles replaced by a stub.
    pub(crate) fn trimmed(&self, depth: usize) -> Self {
        Self { root: self.root.as_ref().map(|root| trim(root, depth)) }
    }
}

/// The hash that a reference stands for: itself, or the hash of an embedded node.
pub(super) fn reference_hash(reference: &RlpNode) -> B256 {
    reference.as_hash().unwrap_or_else(|| keccak256(reference.as_ref() as &[u8]))
}

fn trim(node: &Arc<Node>, budget: usize) -> Arc<Node> {
    let Some(reference) = node.reference.get() else { return Arc::clone(node) };
    if budget == 0 {
        return match reference.as_hash() {
            Some(hash) => Node::stub(hash),
            None => Arc::clone(node),
        };
    }
    let kind = match &node.kind {
        Kind::Stub | Kind::Leaf { .. } => return Arc::clone(node),
        Kind::Extension { prefix, child } => {
            Kind::Extension { prefix: *prefix, child: trim(child, budget.saturating_sub(prefix.len())) }
        }
        Kind::Branch { children } => {
            let mut trimmed = children.clone();
            for child in trimmed.iter_mut().flatten() {
                *child = trim(child, budget - 1);
            }
            Kind::Branch { children: trimmed }
        }
    };
    Node::known(kind, reference.clone())
}

/// Makes a stub's node from what the store has at its path: a stored node, or else the flat record below it.
pub(super) fn load(source: &impl super::NodeSource, path: &Nibbles, reference: &RlpNode) -> Result<Arc<Node>, Error> {
    if let Some(rlp) = source.node(path)?
        && RlpNode::from_rlp(&rlp) == *reference
    {
        return Node::decode(&rlp, reference.clone()).map_err(|reason| source.corrupt(path, reason));
    }
    // The root may be an embedded-size node that is referenced by its hash.
    if path.is_empty()
        && let Some(rlp) = source.node(path)?
        && Some(keccak256(&rlp)) == reference.as_hash()
    {
        return Node::decode(&rlp, reference.clone()).map_err(|reason| source.corrupt(path, reason));
    }
    if let Some((key, value)) = source.leaf(path)? {
        let suffix = key.slice(path.len()..);
        let mut buffer = Vec::new();
        let found = alloy_trie::nodes::LeafNodeRef { key: &suffix, value: &value }.rlp(&mut buffer);
        if found == *reference || Some(keccak256(&buffer)) == reference.as_hash() {
            return Ok(Node::known(Kind::Leaf { suffix, value: value.into() }, reference.clone()));
        }
    }
    Err(source.corrupt(path, format!("no node matches the hash {}", reference_hash(reference))))
}
