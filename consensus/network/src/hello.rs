//! The first thing that peers tell each other.

use crate::Error;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use bttc_types::{Signature, SigningDomain};

/// Version of the node-to-node protocol. Nodes of different versions do not talk.
pub const PROTOCOL_VERSION: u32 = 2;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// Chain id.
    pub chain_id: u64,
    /// Genesis hash.
    pub genesis_hash: B256,
    /// Height of its head.
    pub height: u64,
    /// Hash of its head.
    pub head: B256,
    /// Role: 0 validator, 1 sentry, 2 full, 3 seed.
    pub role: u8,
    /// Program and version, for people.
    pub agent: Bytes,
    /// Addresses under which it is reached.
    pub addresses: Vec<Bytes>,
    /// Consensus address and signature over the node's peer id, of a validator that says it is one.
    pub proof: Vec<ValidatorProof>,
}

/// Proof that a peer holds a consensus key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ValidatorProof {
    /// The key's address.
    pub address: Address,
    /// Signature over `SigningDomain::peer_digest(peer id)`.
    pub signature: Signature,
}

/// Most addresses in a hello.
const MAX_ADDRESSES: usize = 16;

impl Hello {
    /// Reads a peer's hello.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for one of another version, which may look otherwise from its second field on;
    /// [`Error::Protocol`].
    pub fn decode_exact(mut bytes: &[u8]) -> Result<Self, Error> {
        if let Some(version) = Self::version_of(bytes)
            && version != PROTOCOL_VERSION
        {
            let (got, ours) = (version.to_string(), PROTOCOL_VERSION.to_string());
            return Err(Error::Mismatch { what: "protocol version", got, ours });
        }
        let hello = Self::decode(&mut bytes).map_err(|error| Error::Protocol(format!("hello: {error}")))?;
        if !bytes.is_empty() || hello.addresses.len() > MAX_ADDRESSES || hello.proof.len() > 1 {
            return Err(Error::Protocol("hello: too long".into()));
        }
        Ok(hello)
    }

    /// The version that an encoded hello begins with.
    fn version_of(mut bytes: &[u8]) -> Option<u32> {
        let header = alloy_rlp::Header::decode(&mut bytes).ok()?;
        if !header.list {
            return None;
        }
        u32::decode(&mut bytes).ok()
    }

    /// Checks that a peer is of our network.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming what differs.
    pub fn check(&self, ours: &Self) -> Result<(), Error> {
        let same = |what, got: String, ours: String| {
            if got == ours { Ok(()) } else { Err(Error::Mismatch { what, got, ours }) }
        };
        same("protocol version", self.version.to_string(), ours.version.to_string())?;
        same("chain id", self.chain_id.to_string(), ours.chain_id.to_string())?;
        same("genesis hash", self.genesis_hash.to_string(), ours.genesis_hash.to_string())
    }

    /// The validator that the peer proves to be, if it does.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a proof that does not hold.
    pub fn validator(&self, domain: &SigningDomain, peer_id: &[u8]) -> Result<Option<Address>, Error> {
        let Some(proof) = self.proof.first() else { return Ok(None) };
        proof
            .signature
            .verify(domain.peer_digest(peer_id), proof.address)
            .map(|()| Some(proof.address))
            .map_err(|error| Error::Protocol(format!("validator proof: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(version: u32) -> Hello {
        Hello {
            version,
            chain_id: 1,
            genesis_hash: B256::ZERO,
            height: 0,
            head: B256::ZERO,
            role: 2,
            agent: Bytes::new(),
            addresses: vec![],
            proof: vec![],
        }
    }

    #[test]
    fn another_version_is_named_whatever_follows_it() {
        let ours = alloy_rlp::encode(hello(PROTOCOL_VERSION));
        assert_eq!(Hello::decode_exact(&ours), Ok(hello(PROTOCOL_VERSION)));
        let mismatch = |version: u32| {
            let (got, ours) = (version.to_string(), PROTOCOL_VERSION.to_string());
            Err(Error::Mismatch { what: "protocol version", got, ours })
        };
        assert_eq!(Hello::decode_exact(&alloy_rlp::encode(hello(1))), mismatch(1));
        let future = alloy_rlp::encode(vec![3u64, 1 << 40]);
        assert_eq!(Hello::decode_exact(&future), mismatch(3), "its other fields are not known");
        for rubbish in [&[][..], &[0xff; 8], &ours[..ours.len() - 1], &[&ours[..], &[0]].concat()] {
            assert!(matches!(Hello::decode_exact(rubbish), Err(Error::Protocol(_))));
        }
    }
}
