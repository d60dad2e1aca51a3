//! Following the validator sets from the genesis block on, with headers, certificates and proofs alone: what a light client
//! and a node that joins from a snapshot do.

use crate::{ChainSpec, Error, STAKING_ADDRESS};
use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use bttc_types::{Certificate, SigningDomain, Validator, ValidatorSet};
use std::collections::BTreeMap;

/// Slot of the staking module's account with the hash of the set that was computed last.
pub const NEXT_SET_SLOT: U256 = U256::ZERO;

/// Proof of the set of an epoch: the block that fixed it (the last one two epochs before), its certificate, the set, and
/// the proof of its hash in the block's state.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SetChange {
    /// Header of the block.
    pub header: Header,
    /// What made the block final.
    pub certificate: Certificate,
    /// The set, in canonical order.
    pub validators: Vec<Validator>,
    /// RLP of the staking module's account.
    pub account: Bytes,
    /// Nodes from the state root to the account.
    pub account_proof: Vec<Bytes>,
    /// Nodes from the account's storage root to the slot.
    pub storage_proof: Vec<Bytes>,
}

/// Sets that a walk remembers: a snapshot may be some epochs behind the newest one.
const KEPT_SETS: usize = 64;

/// A walk along the set changes.
#[derive(Clone, Debug)]
pub struct LightClient {
    epoch_blocks: u64,
    domain: SigningDomain,
    /// Sets by epoch, the latest ones.
    sets: BTreeMap<u64, ValidatorSet>,
}

impl LightClient {
    /// At the beginning: the genesis set has the first two epochs.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a specification that was not validated.
    pub fn new(spec: &ChainSpec, genesis_hash: B256) -> Result<Self, Error> {
        let set = spec.genesis_set()?;
        let domain = SigningDomain::new(spec.chain_id(), genesis_hash);
        let sets = BTreeMap::from([(0, set.clone()), (1, set)]);
        Ok(Self { epoch_blocks: spec.bttc.params.epoch_blocks.max(1), domain, sets })
    }

    /// The latest epoch whose set is known.
    pub fn epoch(&self) -> u64 {
        self.sets.keys().next_back().copied().unwrap_or(0)
    }

    /// Epoch of a height.
    pub fn epoch_of(&self, height: u64) -> u64 {
        height.saturating_sub(1) / self.epoch_blocks
    }

    /// What signatures of this network are bound to.
    pub fn domain(&self) -> &SigningDomain {
        &self.domain
    }

    /// The set of an epoch, if it is one of those that are known.
    pub fn set(&self, epoch: u64) -> Option<&ValidatorSet> {
        self.sets.get(&epoch)
    }

    /// Takes the change to the set of the next epoch, if the certificate and the proof hold.
    ///
    /// # Errors
    /// [`Error::SetChange`]; nothing has changed then.
    pub fn apply(&mut self, change: &SetChange) -> Result<(), Error> {
        let epoch = self.epoch().saturating_add(1);
        let wrong = |reason: String| Error::SetChange { epoch, reason };
        // Fixed by the last block of the epoch before the one that is known.
        let height = self.epoch().saturating_mul(self.epoch_blocks);
        if change.header.number != height {
            return Err(wrong(format!("it is of block {}, the set is fixed by block {height}", change.header.number)));
        }
        self.verify_header(&change.header, &change.certificate).map_err(wrong)?;
        let set = ValidatorSet::new(change.validators.clone()).map_err(|error| wrong(error.to_string()))?;
        verify_slot(change, set.hash()).map_err(wrong)?;
        self.sets.insert(epoch, set);
        while self.sets.len() > KEPT_SETS {
            self.sets.pop_first();
        }
        Ok(())
    }

    /// Checks that a header is final: its certificate is for it and signed by the set of its height, which must be one of
    /// those that are known.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn verify_header(&self, header: &Header, certificate: &Certificate) -> Result<(), String> {
        let hash = header.hash_slow();
        if certificate.height != header.number || certificate.block_hash != hash {
            return Err(format!(
                "the certificate is for block {} {}, the header is {} {hash}",
                certificate.height, certificate.block_hash, header.number
            ));
        }
        let epoch = self.epoch_of(header.number);
        let set = self.set(epoch).ok_or_else(|| format!("the set of epoch {epoch} is not known"))?;
        certificate.verify(set, &self.domain).map_err(|error| error.to_string())
    }
}

/// Checks that the staking module's slot holds a hash in the state of the change's header.
fn verify_slot(change: &SetChange, hash: B256) -> Result<(), String> {
    let key = Nibbles::unpack(keccak256(STAKING_ADDRESS));
    verify_proof(change.header.state_root, key, Some(change.account.to_vec()), &change.account_proof)
        .map_err(|error| format!("the account's proof: {error}"))?;
    let account = TrieAccount::decode(&mut change.account.as_ref()).map_err(|error| format!("the account: {error}"))?;
    let key = Nibbles::unpack(keccak256(NEXT_SET_SLOT.to_be_bytes::<32>()));
    let value = alloy_rlp::encode(U256::from_be_bytes(hash.0));
    verify_proof(account.storage_root, key, Some(value), &change.storage_proof)
        .map_err(|error| format!("the set's proof: {error}"))
}
