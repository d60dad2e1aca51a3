//! What a liar answers a request for blocks with.

use super::{Means, block, values};
use alloy_primitives::B256;
use bttc_engine::CertifiedBlock;
use bttc_types::{Certificate, CommitSignature};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Rubbish instead of blocks: too little, other blocks, holes, another order, nothing, certificates of its own making.
pub fn lie_about_blocks(blocks: &mut Vec<CertifiedBlock>, rng: &mut ChaCha8Rng) {
    match rng.random_range(0..9) {
        // Too few signatures.
        0 => {
            for block in blocks.iter_mut() {
                block.certificate.signatures.truncate(1);
            }
        }
        // Another block under a good certificate.
        1 => {
            for block in blocks.iter_mut() {
                let mut bytes = block.block.to_vec();
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1;
                }
                block.block = bytes.into();
            }
        }
        // A hole.
        2..=5 if blocks.len() > 1 => {
            blocks.remove(rng.random_range(0..blocks.len() - 1));
        }
        6 => blocks.reverse(),
        7 => blocks.clear(),
        // A certificate of its own making.
        _ => {
            for block in blocks.iter_mut() {
                let certificate = &block.certificate;
                block.certificate =
                    Certificate { block_hash: B256::from(rng.random::<[u8; 32]>()), ..certificate.clone() };
            }
        }
    }
}

/// One field of one block of the answer changed; a certificate gets the liar's own signature where it has one.
pub fn re_sign_blocks(blocks: &mut Vec<CertifiedBlock>, means: &mut Means<'_>) {
    let Some(index) = blocks.len().checked_sub(1).map(|last| means.rng.random_range(0..=last)) else { return };
    let copy = blocks.choose(means.rng).cloned();
    let Some(answer) = blocks.get_mut(index) else { return };
    match means.rng.random_range(0..9) {
        0 => answer.certificate.height = values::number(answer.certificate.height, means.rng),
        1 => answer.certificate.round = values::short(answer.certificate.round, means.rng),
        2 => answer.certificate.block_hash = values::hash(answer.certificate.block_hash, &[], means.rng),
        3 => {
            if let Some(entry) = answer.certificate.signatures.choose_mut_one(means.rng) {
                entry.index = values::short(u32::from(entry.index), means.rng) as u16;
            }
        }
        4 => {
            if let Some(entry) = answer.certificate.signatures.choose_mut_one(means.rng) {
                entry.signature = values::signature(entry.signature, means.rng);
            }
        }
        // A block with a field changed, under a certificate that names it and that the liar alone has signed, again and again.
        5..=7 => {
            let changed = match means.rng.random() {
                true => block::with_round(&answer.block, block::huge_round(0, means.rng)),
                false => block::changed(&answer.block, means.rng),
            };
            if let Some((hash, bytes)) = changed {
                answer.block = bytes.to_vec().into();
                answer.certificate.block_hash = hash;
                let digest = means.domain.vote_digest(&answer.certificate.vote(means.key.address()));
                let signature = means.key.sign(digest);
                for entry in &mut answer.certificate.signatures {
                    *entry = CommitSignature { signature, ..*entry };
                }
            }
        }
        _ => blocks.extend(copy),
    }
}

/// One of a list, to be changed.
trait ChooseMutOne<T> {
    fn choose_mut_one(&mut self, rng: &mut ChaCha8Rng) -> Option<&mut T>;
}

impl<T> ChooseMutOne<T> for Vec<T> {
    fn choose_mut_one(&mut self, rng: &mut ChaCha8Rng) -> Option<&mut T> {
        let index = rng.random_range(0..self.len().max(1));
        self.get_mut(index)
    }
}
