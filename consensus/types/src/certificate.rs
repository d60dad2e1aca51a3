//! The commit certificate: proof that a block is final.

use crate::{Error, Height, Round, Signature, SigningDomain, ValidatorSet, Vote, VoteKind, VotingPower};
use alloy_primitives::{Address, B256, keccak256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};

/// One precommit in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct CommitSignature {
    /// Index of the signer in the validator set of the certificate's height.
    pub index: u16,
    /// Signature over the precommit for the certificate's block in its round.
    pub signature: Signature,
}

impl From<(u16, Signature)> for CommitSignature {
    fn from((index, signature): (u16, Signature)) -> Self {
        Self { index, signature }
    }
}

/// Precommits of more than two thirds of the power for one block in one round.
///
/// Canonical encoding: RLP of `[height, round, block_hash, [[index, signature], ...]]`, indices strictly ascending.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Certificate {
    /// Height that was decided.
    pub height: Height,
    /// Round in which it was decided.
    pub round: Round,
    /// Hash of the decided block.
    pub block_hash: B256,
    /// Signatures with strictly ascending validator indices.
    pub signatures: Vec<CommitSignature>,
}

impl Certificate {
    /// The certificate that block 1 carries for the genesis block, which nobody voted on: height 0, round 0, the
    /// genesis hash, no signatures.
    pub fn genesis(genesis_hash: B256) -> Self {
        Self { height: 0, round: 0, block_hash: genesis_hash, signatures: Vec::new() }
    }

    /// Decodes a certificate that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode_exact(mut bytes: &[u8]) -> Result<Self, Error> {
        let certificate = Self::decode(&mut bytes).map_err(|error| Error::malformed("certificate", error))?;
        if bytes.is_empty() { Ok(certificate) } else { Err(Error::malformed("certificate", "trailing bytes")) }
    }

    /// Keccak-256 of the canonical encoding: the child header's `parent_beacon_block_root`.
    pub fn hash(&self) -> B256 {
        keccak256(alloy_rlp::encode(self))
    }

    /// The precommit that the signer with this address must have signed.
    pub fn vote(&self, validator: Address) -> Vote {
        Vote {
            kind: VoteKind::Precommit,
            height: self.height,
            round: self.round,
            block_hash: Some(self.block_hash),
            validator,
        }
    }

    /// Checks that indices ascend, that **every** signature is good, and that the signers hold more than two
    /// thirds of the power of `set`, which must be the set of the certificate's height.
    ///
    /// # Errors
    /// [`Error::SignerIndex`], a signature error, or [`Error::NoQuorum`].
    pub fn verify(&self, set: &ValidatorSet, domain: &SigningDomain) -> Result<(), Error> {
        // All precommits of a certificate sign the same bytes, so the digest is computed once.
        let digest = domain.vote_digest(&self.vote(Address::ZERO));
        let mut signed: VotingPower = 0;
        let mut previous = None;
        for entry in &self.signatures {
            if previous.is_some_and(|previous| entry.index <= previous) {
                return Err(Error::SignerIndex(entry.index));
            }
            previous = Some(entry.index);
            let validator = set.get(usize::from(entry.index)).ok_or(Error::SignerIndex(entry.index))?;
            entry.signature.verify(digest, validator.address)?;
            signed = signed.saturating_add(validator.power);
        }
        if set.is_quorum(signed) { Ok(()) } else { Err(Error::NoQuorum { signed, total: set.total_power() }) }
    }

    /// Adds a precommit that was already verified against the set; keeps the order. Returns whether it was new.
    pub fn insert(&mut self, index: u16, signature: Signature) -> bool {
        match self.signatures.binary_search_by_key(&index, |entry| entry.index) {
            Ok(_) => false,
            Err(position) => {
                self.signatures.insert(position, CommitSignature { index, signature });
                true
            }
        }
    }
}
