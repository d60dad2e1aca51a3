//! Bridge sets and signatures of their members, as gateways read them.

use crate::Error;
use crate::domain::{BridgeId, type_hash};
use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue;
use bttc_types::{Signature, recover};
use serde::{Deserialize, Serialize};

/// Most members that the encoding can name: an index has one byte.
pub const MAX_MEMBERS: usize = 255;
/// A packed signature: index, `r`, `s`, `v`.
pub const SIGNATURE_BYTES: usize = 66;

/// A member of a bridge set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BridgeMember {
    /// Address of its bridge key.
    pub key: Address,
    /// Its power.
    pub power: u64,
}

/// A bridge set: members by ascending key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BridgeSet {
    /// Its number.
    pub set_id: u64,
    /// Its members.
    pub members: Vec<BridgeMember>,
}

impl BridgeSet {
    /// A set of these members.
    ///
    /// # Errors
    /// [`Error::BadSet`]: empty, too large, a key twice or zero, a member without power, too much power.
    pub fn new(set_id: u64, mut members: Vec<BridgeMember>) -> Result<Self, Error> {
        members.sort_by_key(|member| member.key);
        let set = Self { set_id, members };
        set.validate()?;
        Ok(set)
    }

    fn validate(&self) -> Result<(), Error> {
        if self.members.is_empty() || self.members.len() > MAX_MEMBERS {
            return Err(Error::BadSet("a set has 1 to 255 members"));
        }
        let mut before = Address::ZERO;
        let mut total = 0u64;
        for member in &self.members {
            if member.key <= before {
                return Err(Error::BadSet("keys must ascend and not be zero"));
            }
            if member.power == 0 {
                return Err(Error::BadSet("a member has no power"));
            }
            before = member.key;
            total = total.checked_add(member.power).ok_or(Error::BadSet("the powers exceed 64 bits"))?;
        }
        // Contracts compare three times a sum in 256 bits; the ledger in 128.
        Ok(())
    }

    /// Sum of the powers.
    pub fn total_power(&self) -> u64 {
        self.members.iter().fold(0, |sum, member| sum.saturating_add(member.power))
    }

    /// The encoding: number, total power, then 28 bytes of each member.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.members.len().saturating_mul(28).saturating_add(16));
        bytes.extend_from_slice(&self.set_id.to_be_bytes());
        bytes.extend_from_slice(&self.total_power().to_be_bytes());
        for member in &self.members {
            bytes.extend_from_slice(member.key.as_slice());
            bytes.extend_from_slice(&member.power.to_be_bytes());
        }
        bytes
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// [`Error::BadSet`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bad = Error::BadSet("malformed encoding");
        let (head, rest) = bytes.split_first_chunk::<16>().ok_or(bad.clone())?;
        if rest.len() > MAX_MEMBERS.saturating_mul(28) || rest.len().checked_rem(28) != Some(0) {
            return Err(bad);
        }
        let (id, total) = head.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let members = rest
            .chunks_exact(28)
            .map(|chunk| {
                let (key, power) = chunk.split_at(20);
                BridgeMember { key: Address::from_slice(key), power: number(power) }
            })
            .collect();
        let set = Self { set_id: number(id), members };
        set.validate()?;
        if set.total_power() != number(total) {
            return Err(Error::BadSet("the total is not the sum of the powers"));
        }
        Ok(set)
    }

    /// Its hash.
    pub fn hash(&self, bridge: BridgeId) -> B256 {
        let name = type_hash("BridgeSet(bytes32 bridgeId,bytes set)");
        keccak256((name, bridge, keccak256(self.encode())).abi_encode())
    }

    /// Position of a key.
    pub fn index_of(&self, key: Address) -> Option<u8> {
        let index = self.members.binary_search_by_key(&key, |member| member.key).ok()?;
        u8::try_from(index).ok()
    }

    /// Checks packed signatures over a digest by the rule of every certificate: more than two thirds of the power, and at
    /// least `least` signers. Gives the indices of the signers.
    ///
    /// # Errors
    /// What is wrong.
    pub fn verify(&self, digest: B256, packed: &[u8], least: usize) -> Result<Vec<u8>, Error> {
        let signers = self.verify_each(digest, packed)?;
        let got = signers
            .iter()
            .filter_map(|index| self.members.get(usize::from(*index)))
            .fold(0u64, |sum, member| sum.saturating_add(member.power));
        self.is_enough(got, signers.len(), least)?;
        Ok(signers)
    }

    /// Whether signers of this power and number are enough.
    ///
    /// # Errors
    /// [`Error::TooLittlePower`] or [`Error::TooFewSigners`].
    pub fn is_enough(&self, got: u64, signers: usize, least: usize) -> Result<(), Error> {
        let total = self.total_power();
        if u128::from(got).saturating_mul(3) <= u128::from(total).saturating_mul(2) {
            return Err(Error::TooLittlePower { got, total });
        }
        if signers < least {
            return Err(Error::TooFewSigners { got: signers, least });
        }
        Ok(())
    }

    /// Checks that each packed signature is its member's, whatever their power.
    ///
    /// # Errors
    /// [`Error::BadSignatures`].
    pub fn verify_each(&self, digest: B256, packed: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signers = Vec::new();
        for (index, signature) in unpack_signatures(packed)? {
            let member = self.members.get(usize::from(index)).ok_or(Error::BadSignatures("no such member"))?;
            let signer = recover(digest, &signature).map_err(|_| Error::BadSignatures("not a signature"))?;
            if signer != member.key {
                return Err(Error::BadSignatures("a signature is not its member's"));
            }
            signers.push(index);
        }
        Ok(signers)
    }

    /// The lightest packed proof of these signatures that suffices: members with most power first. Nothing when they do not
    /// suffice.
    pub fn select(&self, signatures: &[(u8, Signature)], least: usize) -> Option<Vec<(u8, Signature)>> {
        let mut order: Vec<(u64, u8, Signature)> = signatures
            .iter()
            .filter_map(|(index, signature)| {
                self.members.get(usize::from(*index)).map(|member| (member.power, *index, *signature))
            })
            .collect();
        order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        order.dedup_by_key(|entry| entry.1);
        let mut chosen = Vec::new();
        let mut got = 0u64;
        for (power, index, signature) in order {
            got = got.saturating_add(power);
            chosen.push((index, signature));
            if self.is_enough(got, chosen.len(), least).is_ok() {
                chosen.sort_by_key(|(index, _)| *index);
                return Some(chosen);
            }
        }
        None
    }
}

/// Packs signatures by ascending index; `v` becomes 27 or 28.
pub fn pack_signatures(signatures: &[(u8, Signature)]) -> Vec<u8> {
    let mut sorted = signatures.to_vec();
    sorted.sort_by_key(|(index, _)| *index);
    let mut bytes = Vec::with_capacity(sorted.len().saturating_mul(SIGNATURE_BYTES));
    for (index, signature) in sorted {
        bytes.push(index);
        let (rs, v) = signature.as_bytes().split_at(64);
        bytes.extend_from_slice(rs);
        bytes.extend(v.iter().map(|v| v.saturating_add(27)));
    }
    bytes
}

/// Reads packed signatures.
///
/// # Errors
/// [`Error::BadSignatures`]: not whole, indices that do not ascend, `v` other than 27 or 28.
pub fn unpack_signatures(packed: &[u8]) -> Result<Vec<(u8, Signature)>, Error> {
    if packed.len().checked_rem(SIGNATURE_BYTES) != Some(0)
        || packed.len() > SIGNATURE_BYTES.saturating_mul(MAX_MEMBERS)
    {
        return Err(Error::BadSignatures("not whole signatures of 66 bytes"));
    }
    let mut found: Vec<(u8, Signature)> = Vec::new();
    for chunk in packed.chunks_exact(SIGNATURE_BYTES) {
        let Some((index, rest)) = chunk.split_first() else { continue };
        if found.last().is_some_and(|(before, _)| before >= index) {
            return Err(Error::BadSignatures("indices must ascend"));
        }
        let mut bytes = [0u8; 65];
        bytes.copy_from_slice(rest);
        match bytes.last_mut() {
            Some(v @ (27 | 28)) => *v = v.saturating_sub(27),
            _ => return Err(Error::BadSignatures("v must be 27 or 28")),
        }
        found.push((*index, Signature::from_bytes(bytes)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bttc_types::SecretKey;

    fn keys(count: u8) -> Vec<SecretKey> {
        (1..=count).map(|n| SecretKey::from_bytes(&[n; 32]).unwrap()).collect()
    }

    fn set(keys: &[SecretKey], powers: &[u64]) -> BridgeSet {
        let members = keys.iter().zip(powers).map(|(key, power)| BridgeMember { key: key.address(), power: *power });
        BridgeSet::new(7, members.collect()).unwrap()
    }

    fn sign(set: &BridgeSet, keys: &[SecretKey], digest: B256) -> Vec<(u8, Signature)> {
        keys.iter().map(|key| (set.index_of(key.address()).unwrap(), key.sign(digest))).collect()
    }

    #[test]
    fn more_than_two_thirds_are_needed() {
        let keys = keys(3);
        let set = set(&keys, &[1, 1, 1]);
        let digest = keccak256("x");
        let two = pack_signatures(&sign(&set, &keys[..2], digest));
        assert_eq!(set.verify(digest, &two, 1), Err(Error::TooLittlePower { got: 2, total: 3 }));
        let three = pack_signatures(&sign(&set, &keys, digest));
        assert_eq!(set.verify(digest, &three, 1).unwrap().len(), 3);
        assert_eq!(set.verify(digest, &three, 5), Err(Error::TooFewSigners { got: 3, least: 5 }));
        assert!(set.verify(keccak256("y"), &three, 1).is_err());
    }

    #[test]
    fn every_bit_of_a_signature_counts_and_order_is_strict() {
        let keys = keys(4);
        let set = set(&keys, &[5, 1, 1, 1]);
        let digest = keccak256("x");
        let good = pack_signatures(&sign(&set, &keys, digest));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(set.verify(digest, &bad, 1).is_err(), "bit {bit}");
        }
        let mut twice = good[..66].to_vec();
        twice.extend_from_slice(&good[..66]);
        assert!(set.verify(digest, &twice, 1).is_err());
    }

    #[test]
    fn sets_read_back_and_malformed_ones_are_refused() {
        let set = set(&keys(5), &[5, 4, 3, 2, 1]);
        let bytes = set.encode();
        assert_eq!(BridgeSet::decode(&bytes).unwrap(), set);
        for bit in 64..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = BridgeSet::decode(&bad) {
                assert_ne!(read.hash(B256::ZERO), set.hash(B256::ZERO));
            }
        }
        assert!(BridgeSet::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(BridgeSet::new(1, Vec::new()).is_err());
    }

    #[test]
    fn the_lightest_proof_takes_the_powerful_first() {
        let keys = keys(4);
        let set = set(&keys, &[1, 10, 1, 1]);
        let all = sign(&set, &keys, keccak256("x"));
        let chosen = set.select(&all, 1).unwrap();
        assert_eq!(chosen.len(), 1);
        assert_eq!(set.members[usize::from(chosen[0].0)].power, 10);
        assert_eq!(set.select(&all, 3).unwrap().len(), 3);
        assert!(set.select(&all[..1], 1).is_none());
    }
}
