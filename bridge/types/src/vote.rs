//! One member's signature on its way to the others.

use crate::domain::{BridgeId, GatewayId};
use crate::{Attest, Error};
use alloy_primitives::{Address, B256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bttc_types::{Signature, recover};

/// What a signature is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Deposits of a gateway up to a number; the value is the running hash.
    Deposits {
        /// The gateway.
        at: GatewayId,
        /// Number of the last deposit.
        to_nonce: u64,
    },
    /// The checkpoint with this number; the value is its digest.
    Checkpoint {
        /// Its number.
        seq: u64,
    },
    /// The command with this number for a gateway; the value is its digest.
    Command {
        /// The gateway.
        at: GatewayId,
        /// Its number.
        nonce: u64,
    },
}

/// A signature with what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeVote {
    /// What about.
    pub subject: Subject,
    /// What is said of it.
    pub value: B256,
    /// The member's signature.
    pub signature: Signature,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Wire {
    kind: u8,
    root_chain_id: u64,
    gateway: Address,
    number: u64,
    value: B256,
    signature: Signature,
}

impl BridgeVote {
    /// What the member signed.
    pub fn digest(&self, bridge: BridgeId) -> B256 {
        match self.subject {
            Subject::Deposits { at, to_nonce } => Attest { at, to_nonce, acc_to: self.value }.digest(bridge),
            Subject::Checkpoint { .. } | Subject::Command { .. } => self.value,
        }
    }

    /// Who signed.
    ///
    /// # Errors
    /// [`Error::BadSignatures`].
    pub fn signer(&self, bridge: BridgeId) -> Result<Address, Error> {
        recover(self.digest(bridge), &self.signature).map_err(|_| Error::BadSignatures("not a signature"))
    }

    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let nowhere = GatewayId { root_chain_id: 0, gateway: Address::ZERO };
        let (kind, at, number) = match self.subject {
            Subject::Deposits { at, to_nonce } => (1, at, to_nonce),
            Subject::Checkpoint { seq } => (2, nowhere, seq),
            Subject::Command { at, nonce } => (3, at, nonce),
        };
        let wire = Wire {
            kind,
            root_chain_id: at.root_chain_id,
            gateway: at.gateway,
            number,
            value: self.value,
            signature: self.signature,
        };
        let mut bytes = Vec::new();
        wire.encode(&mut bytes);
        bytes
    }

    /// Reads a message; nothing may follow it.
    ///
    /// # Errors
    /// [`Error::BadSignatures`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bad = Error::BadSignatures("malformed message");
        let mut rest = bytes;
        let wire = Wire::decode(&mut rest).map_err(|_| bad.clone())?;
        let at = GatewayId { root_chain_id: wire.root_chain_id, gateway: wire.gateway };
        let subject = match wire.kind {
            1 => Subject::Deposits { at, to_nonce: wire.number },
            2 if at.root_chain_id == 0 && at.gateway == Address::ZERO => Subject::Checkpoint { seq: wire.number },
            3 => Subject::Command { at, nonce: wire.number },
            _ => return Err(bad),
        };
        if rest.is_empty() { Ok(Self { subject, value: wire.value, signature: wire.signature }) } else { Err(bad) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bttc_types::SecretKey;

    #[test]
    fn votes_read_back_and_name_their_signer() {
        let key = SecretKey::from_bytes(&[3; 32]).unwrap();
        let bridge = B256::repeat_byte(9);
        let at = GatewayId { root_chain_id: 56, gateway: Address::repeat_byte(1) };
        let value = B256::repeat_byte(4);
        for subject in
            [Subject::Deposits { at, to_nonce: 64 }, Subject::Checkpoint { seq: 3 }, Subject::Command { at, nonce: 1 }]
        {
            let mut vote = BridgeVote { subject, value, signature: Signature::from_bytes([0; 65]) };
            vote.signature = key.sign(vote.digest(bridge));
            let bytes = vote.encode();
            assert_eq!(BridgeVote::decode(&bytes).unwrap(), vote);
            assert_eq!(vote.signer(bridge).unwrap(), key.address());
            assert!(BridgeVote::decode(&bytes[1..]).is_err());
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(BridgeVote::decode(&longer).is_err());
        }
    }
}
