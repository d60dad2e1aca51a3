//! A block cut into parts at other places than an honest proposer cuts it.

use alloy_primitives::{B256, Bytes, keccak256};
use bttc_types::{PART_BYTES, PartsHeader, ProvenBytes};

/// Cuts a block into two parts at least, each at most as long as a part may be: an honest proposer's are as long as can be.
pub(super) fn cut_smaller(block: &[u8]) -> (PartsHeader, Vec<ProvenBytes>) {
    let chunks: Vec<&[u8]> = block.chunks((block.len() / 2).clamp(1, PART_BYTES / 2)).collect();
    let leaves: Vec<B256> = chunks.iter().map(|chunk| keccak256([[0u8].as_slice(), chunk].concat())).collect();
    let header = PartsHeader { total: chunks.len() as u32, root: root(&leaves) };
    let proven = chunks.iter().enumerate().map(|(index, chunk)| (Bytes::copy_from_slice(chunk), proof(&leaves, index)));
    (header, proven.collect())
}

fn split(leaves: &[B256]) -> (&[B256], &[B256]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}

fn root(leaves: &[B256]) -> B256 {
    match leaves {
        [] => B256::ZERO,
        [leaf] => *leaf,
        many => {
            let (left, right) = split(many);
            keccak256([[1u8].as_slice(), root(left).as_slice(), root(right).as_slice()].concat())
        }
    }
}

fn proof(leaves: &[B256], index: usize) -> Vec<B256> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = split(leaves);
    let (mut path, sibling) = match index.checked_sub(left.len()) {
        None => (proof(left, index), root(right)),
        Some(index) => (proof(right, index), root(left)),
    };
    path.push(sibling);
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use bttc_types::{Part, Signature};

    #[test]
    fn another_cut_is_proven_like_an_honest_one() {
        for length in [1usize, 2, 900, 70_000, 200_001] {
            let block: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let (header, parts) = cut_smaller(&block);
            assert_eq!(parts.iter().flat_map(|(bytes, _)| bytes.to_vec()).collect::<Vec<u8>>(), block);
            for (index, (bytes, proof)) in (0u32..).zip(parts) {
                let signature = Signature::from_bytes([0; 65]);
                let part = Part { height: 1, round: 0, block_hash: B256::ZERO, header, signature, index, bytes, proof };
                part.verify_inclusion().unwrap();
            }
        }
    }
}
