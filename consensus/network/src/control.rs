//! What nodes tell each other of themselves: their heads, and where others are.

use crate::addresses::MAX_TOLD;
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use std::sync::Arc;

#[derive(RlpEncodable, RlpDecodable)]
struct StatusMessage {
    height: u64,
    hash: B256,
}

#[derive(RlpEncodable, RlpDecodable)]
struct AddressesMessage {
    addresses: Vec<Bytes>,
}

const STATUS: u8 = 1;
const ASK_ADDRESSES: u8 = 2;
const ADDRESSES: u8 = 3;

/// A message of the control lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// The sender's head.
    Status {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: B256,
    },
    /// The sender looks for peers.
    AskAddresses,
    /// The answer to that.
    Addresses(Vec<Bytes>),
}

impl Control {
    /// Reads a message; none when it is of no known kind or does not decode, which a later version may explain.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        match *kind {
            STATUS => {
                let StatusMessage { height, hash } = StatusMessage::decode(&mut rest).ok()?;
                Some(Self::Status { height, hash })
            }
            ASK_ADDRESSES => Some(Self::AskAddresses),
            ADDRESSES => {
                let mut addresses = AddressesMessage::decode(&mut rest).ok()?.addresses;
                addresses.truncate(MAX_TOLD);
                Some(Self::Addresses(addresses))
            }
            _ => None,
        }
    }

    /// The message's bytes.
    pub(crate) fn encode(self) -> Arc<[u8]> {
        let with = |kind: u8, body: &dyn Encodable| {
            let mut bytes = vec![kind];
            body.encode(&mut bytes);
            bytes
        };
        match self {
            Self::Status { height, hash } => with(STATUS, &StatusMessage { height, hash }),
            Self::AskAddresses => vec![ASK_ADDRESSES],
            Self::Addresses(addresses) => with(ADDRESSES, &AddressesMessage { addresses }),
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_the_unknown_is_passed_over() {
        let all = [
            Control::Status { height: 7, hash: B256::repeat_byte(3) },
            Control::AskAddresses,
            Control::Addresses(vec![Bytes::from_static(b"one"), Bytes::new()]),
        ];
        for message in all {
            assert_eq!(Control::decode(&message.clone().encode()), Some(message));
        }
        for bytes in [&[][..], &[9, 1], &[STATUS, 0xff], &[ADDRESSES]] {
            assert_eq!(Control::decode(bytes), None);
        }
        let many = Control::Addresses(vec![Bytes::from_static(b"x"); 100]).encode();
        let Some(Control::Addresses(read)) = Control::decode(&many) else { panic!() };
        assert_eq!(read.len(), MAX_TOLD);
    }
}
