//! Insertion and removal.

use super::node::{Kind, Node, Trie, load};
use super::source::NodeSource;
use crate::Error;
use alloy_trie::Nibbles;
use std::sync::Arc;

impl Trie {
    /// Sets the value at a full-length key.
    pub(crate) fn insert(&mut self, source: &impl NodeSource, key: &Nibbles, value: Arc<[u8]>) -> Result<(), Error> {
        self.root = Some(match self.root.take() {
            None => Node::leaf(*key, value),
            Some(root) => insert(source, root, 0, key, value)?,
        });
        Ok(())
    }

    /// Removes a key. Paths of stored nodes that vanish are added to `removed`.
    pub(crate) fn remove(
        &mut self,
        source: &impl NodeSource,
        key: &Nibbles,
        removed: &mut Vec<Nibbles>,
    ) -> Result<(), Error> {
        if let Some(root) = self.root.take() {
            self.root = match remove(source, &root, 0, key, removed)? {
                Removal::Unchanged => Some(root),
                Removal::Gone => None,
                Removal::Replaced(node) => Some(node),
            };
        }
        Ok(())
    }
}

/// The node behind a pointer, loaded when it is a stub.
pub(super) fn resolve(source: &impl NodeSource, node: Arc<Node>, path: &Nibbles) -> Result<Arc<Node>, Error> {
    match (&node.kind, node.reference.get()) {
        (Kind::Stub, Some(reference)) => load(source, path, reference),
        (Kind::Stub | Kind::Leaf { .. } | Kind::Extension { .. } | Kind::Branch { .. }, _) => Ok(node),
    }
}

/// Takes a node's content for changing: moved out when nobody else holds it, copied otherwise.
fn take(node: Arc<Node>) -> Kind {
    match Arc::try_unwrap(node) {
        Ok(node) => node.kind,
        Err(shared) => shared.kind.clone(),
    }
}

/// A branch at which two different suffixes part, below an extension over what they share.
fn fork(common: Nibbles, a: (u8, Arc<Node>), b: (u8, Arc<Node>)) -> Arc<Node> {
    let mut children: Box<[Option<Arc<Node>>; 16]> = Box::default();
    for (nibble, node) in [a, b] {
        if let Some(slot) = children.get_mut(usize::from(nibble)) {
            *slot = Some(node);
        }
    }
    let branch = Node::fresh(Kind::Branch { children });
    if common.is_empty() { branch } else { Node::fresh(Kind::Extension { prefix: common, child: branch }) }
}

fn insert(
    source: &impl NodeSource,
    node: Arc<Node>,
    depth: usize,
    key: &Nibbles,
    value: Arc<[u8]>,
) -> Result<Arc<Node>, Error> {
    let node = resolve(source, node, &key.slice(..depth))?;
    let rest = key.slice(depth..);
    Ok(match take(node) {
        Kind::Stub => return Err(source.corrupt(&key.slice(..depth), "a stub did not resolve".into())),
        Kind::Leaf { suffix, value: old } => {
            let common = suffix.common_prefix_length(&rest);
            match (suffix.get(common), rest.get(common)) {
                (Some(a), Some(b)) => fork(
                    rest.slice(..common),
                    (a, Node::leaf(suffix.slice(common + 1..), old)),
                    (b, Node::leaf(rest.slice(common + 1..), value)),
                ),
                // Keys have one length, so a leaf that shares everything is the same key.
                _ => Node::leaf(rest, value),
            }
        }
        Kind::Extension { prefix, child } => {
            let common = prefix.common_prefix_length(&rest);
            match (prefix.get(common), rest.get(common)) {
                (Some(a), Some(b)) => {
                    let below = prefix.slice(common + 1..);
                    let old =
                        if below.is_empty() { child } else { Node::fresh(Kind::Extension { prefix: below, child }) };
                    fork(rest.slice(..common), (a, old), (b, Node::leaf(rest.slice(common + 1..), value)))
                }
                _ => {
                    let child = insert(source, child, depth + prefix.len(), key, value)?;
                    Node::fresh(Kind::Extension { prefix, child })
                }
            }
        }
        Kind::Branch { mut children } => {
            if let Some((slot, nibble)) =
                rest.first().and_then(|nibble| children.get_mut(usize::from(nibble)).zip(Some(nibble)))
            {
                debug_assert!(nibble < 16);
                *slot = Some(match slot.take() {
                    None => Node::leaf(rest.slice(1..), value),
                    Some(child) => insert(source, child, depth + 1, key, value)?,
                });
            }
            Node::fresh(Kind::Branch { children })
        }
    })
}

enum Removal {
    Unchanged,
    Gone,
    Replaced(Arc<Node>),
}

fn remove(
    source: &impl NodeSource,
    node: &Arc<Node>,
    depth: usize,
    key: &Nibbles,
    removed: &mut Vec<Nibbles>,
) -> Result<Removal, Error> {
    let path = key.slice(..depth);
    let node = resolve(source, Arc::clone(node), &path)?;
    let rest = key.slice(depth..);
    match &node.kind {
        Kind::Stub => Err(source.corrupt(&path, "a stub did not resolve".into())),
        Kind::Leaf { suffix, .. } => Ok(if *suffix == rest { Removal::Gone } else { Removal::Unchanged }),
        Kind::Extension { prefix, child } => {
            if !rest.starts_with(prefix) {
                return Ok(Removal::Unchanged);
            }
            match remove(source, child, depth + prefix.len(), key, removed)? {
                Removal::Unchanged => Ok(Removal::Unchanged),
                Removal::Gone => {
                    removed.push(path);
                    Ok(Removal::Gone)
                }
                Removal::Replaced(child) => Ok(Removal::Replaced(extend(*prefix, child, path, removed))),
            }
        }
        Kind::Branch { children } => {
            let Some(nibble) = rest.first() else { return Ok(Removal::Unchanged) };
            let Some(Some(child)) = children.get(usize::from(nibble)) else { return Ok(Removal::Unchanged) };
            let replacement = match remove(source, child, depth + 1, key, removed)? {
                Removal::Unchanged => return Ok(Removal::Unchanged),
                Removal::Gone => None,
                Removal::Replaced(child) => Some(child),
            };
            let mut children = children.clone();
            if let Some(slot) = children.get_mut(usize::from(nibble)) {
                *slot = replacement;
            }
            let mut left = children.iter().enumerate().filter_map(|(index, child)| child.clone().zip(Some(index)));
            match (left.next(), left.next()) {
                (None, _) => {
                    removed.push(path);
                    Ok(Removal::Gone)
                }
                (Some((only, index)), None) => {
                    // A branch with one child is no branch: the child moves up and takes the nibble with it.
                    let nibble = Nibbles::from_nibbles([u8::try_from(index).unwrap_or(0)]);
                    let child_path = path.join(&nibble);
                    let only = resolve(source, only, &child_path)?;
                    removed.push(path);
                    if matches!(only.kind, Kind::Extension { .. }) {
                        removed.push(child_path);
                    }
                    Ok(Removal::Replaced(absorb(nibble, only)))
                }
                (Some(_), Some(_)) => Ok(Removal::Replaced(Node::fresh(Kind::Branch { children }))),
            }
        }
    }
}

/// `prefix` followed by `node` as one node.
fn absorb(prefix: Nibbles, node: Arc<Node>) -> Arc<Node> {
    match &node.kind {
        Kind::Leaf { suffix, value } => Node::leaf(prefix.join(suffix), Arc::clone(value)),
        Kind::Extension { prefix: below, child } => {
            Node::fresh(Kind::Extension { prefix: prefix.join(below), child: Arc::clone(child) })
        }
        Kind::Branch { .. } | Kind::Stub => Node::fresh(Kind::Extension { prefix, child: node }),
    }
}

/// An extension whose child was replaced: merges with a child that is no branch any more.
fn extend(prefix: Nibbles, child: Arc<Node>, path: Nibbles, removed: &mut Vec<Nibbles>) -> Arc<Node> {
    match &child.kind {
        Kind::Leaf { .. } => {
            removed.push(path);
            absorb(prefix, child)
        }
        Kind::Extension { .. } => {
            removed.push(path.join(&prefix));
            absorb(prefix, child)
        }
        Kind::Branch { .. } | Kind::Stub => absorb(prefix, child),
    }
}
