//! Recoverable secp256k1 signatures: `k256` signs, libsecp256k1 recovers.

use crate::Error;
use alloy_primitives::{Address, B256, hex, keccak256};
use alloy_rlp::{Decodable, Encodable};
use std::fmt;

/// A secret signing key. Its bytes are wiped when it is dropped and never printed.
#[derive(Clone)]
pub struct SecretKey(k256::ecdsa::SigningKey);

impl SecretKey {
    /// Reads a key from its 32 bytes, big endian.
    ///
    /// # Errors
    /// [`Error::InvalidSecretKey`] when the number is zero or not below the group order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        k256::ecdsa::SigningKey::from_slice(bytes).map(Self).map_err(|_| Error::InvalidSecretKey)
    }

    /// The key's 32 bytes; for keystores and tests.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// The Ethereum address of the key.
    pub fn address(&self) -> Address {
        Address::from_public_key(self.0.verifying_key())
    }

    /// Signs a 32-byte digest (RFC 6979, so the same digest always gives the same signature), low `s`.
    pub fn sign(&self, digest: B256) -> Signature {
        // `sign_prehash_recoverable` fails only for digests shorter than half the field, which 32 bytes are not;
        // the impossible case yields a signature that verifies for nobody.
        match self.0.sign_prehash_recoverable(digest.as_slice()) {
            Ok((signature, recovery)) => {
                let mut bytes = [0u8; 65];
                let (head, tail) = bytes.split_at_mut(64);
                head.copy_from_slice(&signature.to_bytes());
                tail.fill(recovery.to_byte());
                Signature(bytes)
            }
            Err(_) => Signature([0; 65]),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.address())
    }
}

/// A signature `r || s || v` with `v` in {0, 1} and `s` in the lower half of the group order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; 65]);

impl Signature {
    /// Wraps 65 bytes; whether they are a signature of somebody shows when they are recovered.
    pub const fn from_bytes(bytes: [u8; 65]) -> Self {
        Self(bytes)
    }

    /// The 65 bytes.
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// Checks that `signer` made this signature over `digest`.
    ///
    /// # Errors
    /// [`Error::InvalidSignature`] or [`Error::WrongSigner`].
    pub fn verify(&self, digest: B256, signer: Address) -> Result<(), Error> {
        let got = recover(digest, self)?;
        if got == signer { Ok(()) } else { Err(Error::WrongSigner { expected: signer, got }) }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_prefixed(self.0))
    }
}

impl Encodable for Signature {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.0.encode(out);
    }

    fn length(&self) -> usize {
        self.0.length()
    }
}

impl Decodable for Signature {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        <[u8; 65]>::decode(buf).map(Self)
    }
}

/// Half of the group order: `s` must not exceed it, or every signature would have a second form.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// Recovers the address that signed `digest`.
///
/// # Errors
/// [`Error::InvalidSignature`] when `v` is not 0 or 1, `s` is high, or no key fits.
pub fn recover(digest: B256, signature: &Signature) -> Result<Address, Error> {
    crate::recovery::remembered(digest, signature, || recover_now(digest, signature))
}

fn recover_now(digest: B256, signature: &Signature) -> Result<Address, Error> {
    let (rs, v) = signature.0.split_at(64);
    let s = rs.get(32..).ok_or(Error::InvalidSignature)?;
    if s > HALF_ORDER.as_slice() {
        return Err(Error::InvalidSignature);
    }
    let id = match v {
        [0] => secp256k1::ecdsa::RecoveryId::Zero,
        [1] => secp256k1::ecdsa::RecoveryId::One,
        _ => return Err(Error::InvalidSignature),
    };
    let recoverable =
        secp256k1::ecdsa::RecoverableSignature::from_compact(rs, id).map_err(|_| Error::InvalidSignature)?;
    let key = secp256k1::SECP256K1
        .recover_ecdsa(secp256k1::Message::from_digest(digest.0), &recoverable)
        .map_err(|_| Error::InvalidSignature)?;
    let point = key.serialize_uncompressed();
    let (_, coordinates) = point.split_at(1);
    Ok(Address::from_word(keccak256(coordinates)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_recovers_to_its_key_and_to_no_other_digest() {
        let key = SecretKey::from_bytes(&[3; 32]).unwrap();
        let digest = keccak256(b"vote");
        let signature = key.sign(digest);
        assert_eq!(recover(digest, &signature), Ok(key.address()));
        assert!(signature.verify(keccak256(b"other"), key.address()).is_err());
    }

    #[test]
    fn the_second_form_of_a_signature_is_refused() {
        let key = SecretKey::from_bytes(&[3; 32]).unwrap();
        let digest = keccak256(b"vote");
        let signature = key.sign(digest);
        let low = k256::ecdsa::Signature::from_slice(&signature.0[..64]).unwrap();
        let high_s = -*low.s();
        let mut bytes = signature.0;
        bytes[32..64].copy_from_slice(&high_s.to_bytes());
        bytes[64] ^= 1;
        assert_eq!(recover(digest, &Signature(bytes)), Err(Error::InvalidSignature));
    }

    #[test]
    fn a_zero_key_is_refused() {
        assert_eq!(SecretKey::from_bytes(&[0; 32]).err(), Some(Error::InvalidSecretKey));
    }
}
