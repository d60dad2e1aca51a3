//! A block cut into parts that can each be checked alone.

use crate::{Error, Height, MAX_BLOCK_BYTES, Round, Signature, SigningDomain};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// Bytes of block in a part (the last one may be shorter).
pub const PART_BYTES: usize = 64 * 1024;

/// Most parts a block can have: 8 MiB / 64 KiB.
pub const MAX_PARTS: u32 = (MAX_BLOCK_BYTES / PART_BYTES) as u32;

/// Depth of the Merkle tree over [`MAX_PARTS`] leaves, thus the most hashes in a part's proof.
const MAX_PROOF: usize = 7;

/// How a block is cut: what the proposer signs so that parts can be checked one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, RlpEncodable, RlpDecodable)]
pub struct PartsHeader {
    /// Number of parts, 1..=[`MAX_PARTS`].
    pub total: u32,
    /// Root of the Merkle tree over the parts (RFC 6962 shape, keccak, leaf prefix 0, inner prefix 1).
    pub root: B256,
}

/// One piece of a proposed block with everything needed to check it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Part {
    /// Height of the block.
    pub height: Height,
    /// Round of the proposal it belongs to.
    pub round: Round,
    /// Hash of the block.
    pub block_hash: B256,
    /// How the block is cut.
    pub header: PartsHeader,
    /// The proposer's signature over [`SigningDomain::parts_digest`].
    pub signature: Signature,
    /// Position of this piece, from 0.
    pub index: u32,
    /// The piece.
    pub bytes: Bytes,
    /// Sibling hashes from the leaf to the root.
    pub proof: Vec<B256>,
}

impl Part {
    /// Checks that this part belongs to a block announced by `proposer`.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::InvalidPart`] or a signature error.
    pub fn verify(&self, domain: &SigningDomain, proposer: Address) -> Result<(), Error> {
        self.verify_inclusion()?;
        let digest = domain.parts_digest(self.height, self.round, self.block_hash, &self.header);
        self.signature.verify(digest, proposer)
    }

    /// Checks sizes and the Merkle proof, not the signature.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::InvalidPart`].
    pub fn verify_inclusion(&self) -> Result<(), Error> {
        if self.header.total > MAX_PARTS {
            let got = usize::try_from(self.header.total).unwrap_or(usize::MAX);
            return Err(Error::TooLarge { what: "number of block parts", got, limit: MAX_BLOCK_BYTES / PART_BYTES });
        }
        if self.bytes.len() > PART_BYTES {
            return Err(Error::TooLarge { what: "bytes of a block part", got: self.bytes.len(), limit: PART_BYTES });
        }
        if self.proof.len() > MAX_PROOF {
            return Err(Error::TooLarge { what: "hashes of a part's proof", got: self.proof.len(), limit: MAX_PROOF });
        }
        let root = root_from_proof(leaf_hash(&self.bytes), self.index, self.header.total, &self.proof);
        if root == Some(self.header.root) {
            Ok(())
        } else {
            Err(Error::InvalidPart { index: self.index, root: self.header.root })
        }
    }
}

/// The bytes of a part with their Merkle proof.
pub type ProvenBytes = (Bytes, Vec<B256>);

/// Cuts an encoded block into parts with their proofs; the caller adds the signature.
///
/// # Errors
/// [`Error::TooLarge`] when the block exceeds [`MAX_BLOCK_BYTES`].
pub fn split_into_parts(block: &[u8]) -> Result<(PartsHeader, Vec<ProvenBytes>), Error> {
    if block.len() > MAX_BLOCK_BYTES {
        return Err(Error::TooLarge { what: "bytes of a block", got: block.len(), limit: MAX_BLOCK_BYTES });
    }
    let chunks: Vec<&[u8]> = if block.is_empty() { vec![block] } else { block.chunks(PART_BYTES).collect() };
    let leaves: Vec<B256> = chunks.iter().map(|chunk| leaf_hash(chunk)).collect();
    let total = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let header = PartsHeader { total, root: merkle_root(&leaves) };
    let parts = chunks
        .into_iter()
        .enumerate()
        .map(|(index, chunk)| (Bytes::copy_from_slice(chunk), merkle_proof(&leaves, index)))
        .collect();
    Ok((header, parts))
}

/// Collects the parts of one announced block. Holds at most what the signed header announces.
#[derive(Clone, Debug)]
pub struct PartSetBuilder {
    header: PartsHeader,
    parts: Vec<Option<Bytes>>,
    missing: usize,
}

impl PartSetBuilder {
    /// Starts collecting.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when more parts are announced than a block can have.
    pub fn new(header: PartsHeader) -> Result<Self, Error> {
        let total = usize::try_from(header.total).unwrap_or(usize::MAX);
        let limit = MAX_BLOCK_BYTES / PART_BYTES;
        if total > limit || total == 0 {
            return Err(Error::TooLarge { what: "number of block parts", got: total, limit });
        }
        Ok(Self { header, parts: vec![None; total], missing: total })
    }

    /// How the block is cut.
    pub fn header(&self) -> &PartsHeader {
        &self.header
    }

    /// Adds a part whose inclusion proof was verified. Returns whether it was new.
    pub fn insert(&mut self, index: u32, bytes: Bytes) -> bool {
        match usize::try_from(index).ok().and_then(|index| self.parts.get_mut(index)) {
            Some(slot @ None) => {
                *slot = Some(bytes);
                self.missing = self.missing.saturating_sub(1);
                true
            }
            Some(Some(_)) | None => false,
        }
    }

    /// Whether a part is there already.
    pub fn contains(&self, index: u32) -> bool {
        usize::try_from(index).ok().and_then(|index| self.parts.get(index)).is_some_and(Option::is_some)
    }

    /// The encoded block, once every part is there.
    pub fn assemble(&self) -> Option<Vec<u8>> {
        if self.missing > 0 {
            return None;
        }
        let mut block = Vec::with_capacity(self.parts.iter().flatten().map(|part| part.len()).sum());
        for part in self.parts.iter().flatten() {
            block.extend_from_slice(part);
        }
        Some(block)
    }
}

fn leaf_hash(bytes: &[u8]) -> B256 {
    let mut input = Vec::with_capacity(bytes.len().saturating_add(1));
    input.push(0);
    input.extend_from_slice(bytes);
    keccak256(input)
}

fn inner_hash(left: B256, right: B256) -> B256 {
    let mut input = [0u8; 65];
    let (prefix, rest) = input.split_at_mut(1);
    prefix.fill(1);
    let (a, b) = rest.split_at_mut(32);
    a.copy_from_slice(left.as_slice());
    b.copy_from_slice(right.as_slice());
    keccak256(input)
}

/// Size of the left subtree of `count > 1` leaves: the largest power of two below `count`.
fn left_size(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn merkle_root(leaves: &[B256]) -> B256 {
    match leaves {
        [] => B256::ZERO,
        [leaf] => *leaf,
        many => {
            let (left, right) = many.split_at(left_size(many.len()));
            inner_hash(merkle_root(left), merkle_root(right))
        }
    }
}

fn merkle_proof(leaves: &[B256], index: usize) -> Vec<B256> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let size = left_size(leaves.len());
    let (left, right) = leaves.split_at(size);
    match index.checked_sub(size) {
        None => {
            let mut proof = merkle_proof(left, index);
            proof.push(merkle_root(right));
            proof
        }
        Some(index) => {
            let mut proof = merkle_proof(right, index);
            proof.push(merkle_root(left));
            proof
        }
    }
}

fn root_from_proof(leaf: B256, index: u32, total: u32, proof: &[B256]) -> Option<B256> {
    if index >= total {
        return None;
    }
    fn climb(leaf: B256, index: usize, total: usize, proof: &[B256]) -> Option<B256> {
        if total < 2 {
            return proof.is_empty().then_some(leaf);
        }
        let (sibling, rest) = proof.split_last()?;
        let size = left_size(total);
        match index.checked_sub(size) {
            None => Some(inner_hash(climb(leaf, index, size, rest)?, *sibling)),
            Some(index) => Some(inner_hash(*sibling, climb(leaf, index, total.checked_sub(size)?, rest)?)),
        }
    }
    climb(leaf, usize::try_from(index).ok()?, usize::try_from(total).ok()?, proof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use proptest::prelude::*;

    fn parts_of(block: &[u8]) -> Vec<Part> {
        let (header, parts) = split_into_parts(block).unwrap();
        let key = SecretKey::from_bytes(&[1; 32]).unwrap();
        let signature = key.sign(domain().parts_digest(9, 2, B256::repeat_byte(5), &header));
        parts
            .into_iter()
            .enumerate()
            .map(|(index, (bytes, proof))| Part {
                height: 9,
                round: 2,
                block_hash: B256::repeat_byte(5),
                header,
                signature,
                index: index as u32,
                bytes,
                proof,
            })
            .collect()
    }

    fn domain() -> SigningDomain {
        SigningDomain::new(1337, B256::ZERO)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn parts_in_any_order_give_the_block_back(len in 0usize..600_000, rotate in 0usize..10) {
            let block: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            let mut parts = parts_of(&block);
            let shift = rotate % parts.len();
            parts.rotate_left(shift);
            let proposer = SecretKey::from_bytes(&[1; 32]).unwrap().address();
            let mut builder = PartSetBuilder::new(parts[0].header).unwrap();
            for part in parts {
                part.verify(&domain(), proposer).unwrap();
                prop_assert!(builder.assemble().is_none());
                prop_assert!(builder.insert(part.index, part.bytes.clone()));
                prop_assert!(!builder.insert(part.index, part.bytes));
            }
            prop_assert_eq!(builder.assemble(), Some(block));
        }
    }

    #[test]
    fn a_changed_part_is_refused() {
        let parts = parts_of(&vec![7; PART_BYTES * 4 + 1]);
        assert_eq!(parts.len(), 5);
        let proposer = SecretKey::from_bytes(&[1; 32]).unwrap().address();
        let mut changed = parts[3].clone();
        changed.bytes = Bytes::from(vec![8; PART_BYTES]);
        assert!(changed.verify(&domain(), proposer).is_err());
        let mut moved = parts[4].clone();
        moved.index = 2;
        assert!(moved.verify(&domain(), proposer).is_err());
        let mut other_round = parts[2].clone();
        other_round.round = 3;
        assert!(other_round.verify(&domain(), proposer).is_err());
    }
}
