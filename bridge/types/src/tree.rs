//! The append-only Merkle tree of a gateway's withdrawals: depth 32, keccak, empty subtrees zero.

use crate::Error;
use alloy_primitives::{B256, keccak256};

/// Levels between leaf and root.
pub const TREE_DEPTH: usize = 32;
/// Leaves after which a successor tree begins.
pub const MAX_LEAVES: u64 = 1 << 31;

/// The parent of two nodes. An empty subtree is zero at every height: its place in a proof costs a quarter of another one's,
/// and no node is zero otherwise.
pub fn join(left: B256, right: B256) -> B256 {
    if left.is_zero() && right.is_zero() {
        return B256::ZERO;
    }
    let mut bytes = [0u8; 64];
    let (first, second) = bytes.split_at_mut(32);
    first.copy_from_slice(left.as_slice());
    second.copy_from_slice(right.as_slice());
    keccak256(bytes)
}

/// The root that a leaf and its siblings give. The direction comes from the index alone.
pub fn fold_proof(leaf: B256, index: u64, proof: &[B256; TREE_DEPTH]) -> B256 {
    let mut node = leaf;
    let mut position = index;
    for sibling in proof {
        node = if position & 1 == 0 { join(node, *sibling) } else { join(*sibling, node) };
        position >>= 1;
    }
    node
}

/// The tree's frontier: what appending needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Leaves so far.
    pub count: u64,
    /// At each height the last full left subtree.
    pub branch: [B256; TREE_DEPTH],
}

impl Default for Tree {
    fn default() -> Self {
        Self { count: 0, branch: [B256::ZERO; TREE_DEPTH] }
    }
}

impl Tree {
    /// Appends a leaf and gives the height of the branch node that changed.
    ///
    /// # Errors
    /// [`Error::TreeFull`].
    pub fn append(&mut self, leaf: B256) -> Result<usize, Error> {
        if self.count >= MAX_LEAVES {
            return Err(Error::TreeFull);
        }
        self.count = self.count.saturating_add(1);
        let mut node = leaf;
        let mut size = self.count;
        for (height, branch) in self.branch.iter_mut().enumerate() {
            if size & 1 == 1 {
                *branch = node;
                return Ok(height);
            }
            node = join(*branch, node);
            size >>= 1;
        }
        Err(Error::TreeFull)
    }

    /// The root.
    pub fn root(&self) -> B256 {
        let mut node = B256::ZERO;
        let mut size = self.count;
        for branch in &self.branch {
            node = if size & 1 == 1 { join(*branch, node) } else { join(node, B256::ZERO) };
            size >>= 1;
        }
        node
    }

    /// The proof of one of all leaves, in the order in which they were appended.
    ///
    /// # Errors
    /// [`Error::NoLeaf`].
    pub fn prove(leaves: &[B256], index: u64) -> Result<[B256; TREE_DEPTH], Error> {
        let mut proof = [B256::ZERO; TREE_DEPTH];
        let count = leaves.len() as u64;
        if index >= count {
            return Err(Error::NoLeaf { index, count });
        }
        let mut level = leaves.to_vec();
        let mut position = index as usize;
        for slot in &mut proof {
            *slot = level.get(position ^ 1).copied().unwrap_or_default();
            level = level
                .chunks(2)
                .map(|pair| join(pair.first().copied().unwrap_or_default(), pair.get(1).copied().unwrap_or_default()))
                .collect();
            position >>= 1;
        }
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive_root(leaves: &[B256]) -> B256 {
        let mut level = leaves.to_vec();
        for _ in 0..TREE_DEPTH {
            if level.len() % 2 == 1 {
                level.push(B256::ZERO);
            }
            level = level.chunks(2).map(|pair| join(pair[0], pair[1])).collect();
        }
        level[0]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_frontier_and_proofs_agree_with_the_whole_tree(count in 1usize..70, pick in any::<prop::sample::Index>(), flip in 0usize..(32 * 256)) {
            let leaves: Vec<B256> = (0..count).map(|n| keccak256(n.to_be_bytes())).collect();
            let mut tree = Tree::default();
            for leaf in &leaves {
                tree.append(*leaf).unwrap();
            }
            prop_assert_eq!(tree.root(), naive_root(&leaves));
            let index = pick.index(count);
            let mut proof = Tree::prove(&leaves, index as u64).unwrap();
            prop_assert_eq!(fold_proof(leaves[index], index as u64, &proof), tree.root());
            proof[flip / 256].0[flip % 256 / 8] ^= 1 << (flip % 8);
            prop_assert_ne!(fold_proof(leaves[index], index as u64, &proof), tree.root());
        }
    }

    #[test]
    fn an_empty_tree_is_zero_and_proves_nothing() {
        assert_eq!(Tree::default().root(), B256::ZERO);
        assert!(Tree::prove(&[], 0).is_err());
    }
}
