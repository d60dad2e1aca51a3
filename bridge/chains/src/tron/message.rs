//! TRON's transactions: protocol buffers whose bytes are hashed and signed. Field numbers are the protocol's.

use crate::Error;
use crate::tron::tron_address;
use alloy_primitives::{Address, B256, Bytes};
use bttc_types::{SecretKey, Signature, recover};
use prost::Message;
use sha2::{Digest, Sha256};

/// A transaction with its signatures.
#[derive(Clone, PartialEq, Message)]
pub struct TronTransaction {
    /// What is signed.
    #[prost(message, optional, tag = "1")]
    pub raw_data: Option<Raw>,
    /// Signatures of 65 bytes.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub signature: Vec<Vec<u8>>,
}

/// What is signed.
#[derive(Clone, PartialEq, Message)]
pub struct Raw {
    /// Low two bytes of the height of a block on which the transaction builds.
    #[prost(bytes = "vec", tag = "1")]
    pub ref_block_bytes: Vec<u8>,
    /// Not used.
    #[prost(int64, tag = "3")]
    pub ref_block_num: i64,
    /// Bytes 8 to 16 of that block's id.
    #[prost(bytes = "vec", tag = "4")]
    pub ref_block_hash: Vec<u8>,
    /// Until when it may be in a block, milliseconds.
    #[prost(int64, tag = "8")]
    pub expiration: i64,
    /// A note.
    #[prost(bytes = "vec", tag = "10")]
    pub data: Vec<u8>,
    /// What it does: exactly one.
    #[prost(message, repeated, tag = "11")]
    pub contract: Vec<Contract>,
    /// Not used.
    #[prost(bytes = "vec", tag = "12")]
    pub scripts: Vec<u8>,
    /// When it was made, milliseconds.
    #[prost(int64, tag = "14")]
    pub timestamp: i64,
    /// Most energy that may be burned, sun.
    #[prost(int64, tag = "18")]
    pub fee_limit: i64,
}

/// What a transaction does.
#[derive(Clone, PartialEq, Message)]
pub struct Contract {
    /// Its kind.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// Its fields.
    #[prost(message, optional, tag = "2")]
    pub parameter: Option<AnyMessage>,
    /// Which permission of the account signs.
    #[prost(int32, tag = "5")]
    pub permission_id: i32,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct AnyMessage {
    /// Its type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// Its bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A payment.
#[derive(Clone, PartialEq, Message)]
struct Transfer {
    #[prost(bytes = "vec", tag = "1")]
    owner: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    to: Vec<u8>,
    #[prost(int64, tag = "3")]
    amount: i64,
}

/// A call.
#[derive(Clone, PartialEq, Message)]
struct Trigger {
    #[prost(bytes = "vec", tag = "1")]
    owner: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    contract: Vec<u8>,
    #[prost(int64, tag = "3")]
    call_value: i64,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
    #[prost(int64, tag = "5")]
    call_token_value: i64,
    #[prost(int64, tag = "6")]
    token_id: i64,
}

/// A deployment.
#[derive(Clone, PartialEq, Message)]
struct Create {
    #[prost(bytes = "vec", tag = "1")]
    owner: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    new_contract: Option<SmartContract>,
    #[prost(int64, tag = "3")]
    call_token_value: i64,
    #[prost(int64, tag = "4")]
    token_id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SmartContract {
    #[prost(bytes = "vec", tag = "1")]
    origin: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bytecode: Vec<u8>,
    #[prost(int64, tag = "5")]
    call_value: i64,
    #[prost(int64, tag = "6")]
    consume_user_resource_percent: i64,
    #[prost(string, tag = "7")]
    name: String,
    #[prost(int64, tag = "8")]
    origin_energy_limit: i64,
}

/// What the supported kinds of transactions do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractCall {
    /// A payment, sun.
    Transfer {
        /// From.
        owner: Address,
        /// To.
        to: Address,
        /// Sun.
        amount: u64,
    },
    /// A call.
    Trigger {
        /// Who calls.
        owner: Address,
        /// What.
        contract: Address,
        /// Sun that go with it.
        call_value: u64,
        /// Selector and arguments.
        data: Bytes,
    },
    /// A deployment.
    Create {
        /// Who deploys.
        owner: Address,
        /// Init code.
        bytecode: Bytes,
        /// Sun that go with it.
        call_value: u64,
        /// Name for people.
        name: String,
    },
}

const TRANSFER: i32 = 1;
const CREATE: i32 = 30;
const TRIGGER: i32 = 31;

fn account(bytes: &[u8]) -> Option<Address> {
    match bytes {
        [0x41, rest @ ..] if rest.len() == 20 => Some(Address::from_slice(rest)),
        _ => None,
    }
}

fn amount(value: i64) -> Option<u64> {
    u64::try_from(value).ok()
}

impl ContractCall {
    /// As it stands in a transaction. Amounts above 63 bits become the largest one: no account has so much.
    pub fn encode(&self) -> Contract {
        let sun = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let bytes = |address: &Address| tron_address(*address).to_vec();
        let (kind, name, value) = match self {
            Self::Transfer { owner, to, amount } => {
                let body = Transfer { owner: bytes(owner), to: bytes(to), amount: sun(*amount) };
                (TRANSFER, "TransferContract", body.encode_to_vec())
            }
            Self::Trigger { owner, contract, call_value, data } => {
                let body = Trigger {
                    owner: bytes(owner),
                    contract: bytes(contract),
                    call_value: sun(*call_value),
                    data: data.to_vec(),
                    ..Trigger::default()
                };
                (TRIGGER, "TriggerSmartContract", body.encode_to_vec())
            }
            Self::Create { owner, bytecode, call_value, name } => {
                let contract = SmartContract {
                    origin: bytes(owner),
                    bytecode: bytecode.to_vec(),
                    call_value: sun(*call_value),
                    consume_user_resource_percent: 100,
                    name: name.clone(),
                    origin_energy_limit: 10_000_000,
                };
                let body = Create { owner: bytes(owner), new_contract: Some(contract), ..Create::default() };
                (CREATE, "CreateSmartContract", body.encode_to_vec())
            }
        };
        let type_url = format!("type.googleapis.com/protocol.{name}");
        Contract { kind, parameter: Some(AnyMessage { type_url, value }), permission_id: 0 }
    }

    /// Reads it; nothing for other kinds and malformed ones.
    pub fn decode(contract: &Contract) -> Option<Self> {
        let value = contract.parameter.as_ref()?.value.as_slice();
        match contract.kind {
            TRANSFER => {
                let body = Transfer::decode(value).ok()?;
                Some(Self::Transfer {
                    owner: account(&body.owner)?,
                    to: account(&body.to)?,
                    amount: amount(body.amount)?,
                })
            }
            TRIGGER => {
                let body = Trigger::decode(value).ok()?;
                // Tokens of the old kind are not part of what is supported.
                if body.call_token_value != 0 || body.token_id != 0 {
                    return None;
                }
                Some(Self::Trigger {
                    owner: account(&body.owner)?,
                    contract: account(&body.contract)?,
                    call_value: amount(body.call_value)?,
                    data: body.data.into(),
                })
            }
            CREATE => {
                let body = Create::decode(value).ok()?;
                let contract = body.new_contract?;
                Some(Self::Create {
                    owner: account(&body.owner)?,
                    bytecode: contract.bytecode.into(),
                    call_value: amount(contract.call_value)?,
                    name: contract.name,
                })
            }
            _ => None,
        }
    }

    /// Who pays and signs.
    pub fn owner(&self) -> Address {
        match self {
            Self::Transfer { owner, .. } | Self::Trigger { owner, .. } | Self::Create { owner, .. } => *owner,
        }
    }
}

impl TronTransaction {
    /// A transaction on top of a block (its height and id), not signed yet. Times in milliseconds, limit in sun.
    pub fn build(
        call: &ContractCall,
        (height, id): (u64, B256),
        expiration: u64,
        timestamp: u64,
        fee_limit: u64,
    ) -> Self {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let raw = Raw {
            ref_block_bytes: height.to_be_bytes()[6..].to_vec(),
            ref_block_hash: id[8..16].to_vec(),
            expiration: number(expiration),
            contract: vec![call.encode()],
            timestamp: number(timestamp),
            fee_limit: number(fee_limit),
            ..Raw::default()
        };
        Self { raw_data: Some(raw), signature: Vec::new() }
    }

    /// The bytes that are signed.
    pub fn raw_bytes(&self) -> Vec<u8> {
        self.raw_data.as_ref().map(Message::encode_to_vec).unwrap_or_default()
    }

    /// A transaction from the bytes that were signed.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn from_raw(raw: &[u8], signature: Vec<Vec<u8>>) -> Result<Self, Error> {
        let raw = Raw::decode(raw)
            .map_err(|error| Error::Malformed { endpoint: "transaction".into(), reason: error.to_string() })?;
        Ok(Self { raw_data: Some(raw), signature })
    }

    /// Its id: the hash of what is signed.
    pub fn id(&self) -> B256 {
        B256::from_slice(&Sha256::digest(self.raw_bytes()))
    }

    /// Signs it, as tronweb writes signatures.
    pub fn sign(&mut self, key: &SecretKey) {
        let mut bytes = key.sign(self.id()).as_bytes().to_vec();
        if let Some(v) = bytes.last_mut() {
            *v += 27;
        }
        self.signature = vec![bytes];
    }

    /// Who signed; nothing unless there is exactly one good signature.
    pub fn signer(&self) -> Option<Address> {
        let [signature] = self.signature.as_slice() else { return None };
        let mut bytes = <[u8; 65]>::try_from(signature.as_slice()).ok()?;
        if bytes[64] >= 27 {
            bytes[64] -= 27;
        }
        recover(self.id(), &Signature::from_bytes(bytes)).ok()
    }

    /// What it does.
    pub fn call(&self) -> Option<ContractCall> {
        match self.raw_data.as_ref()?.contract.as_slice() {
            [contract] => ContractCall::decode(contract),
            _ => None,
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode(bytes)
            .map_err(|error| Error::Malformed { endpoint: "transaction".into(), reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    /// Made with tronweb 6.5.1.
    #[test]
    fn bytes_ids_and_signatures_are_tronwebs() {
        let mut secret = [0; 32];
        secret[31] = 1;
        let key = SecretKey::from_bytes(&secret).unwrap();
        let mut data = hex::decode("a9059cbb").unwrap();
        data.extend_from_slice(&[0; 12]);
        data.extend_from_slice(&[0x11; 20]);
        data.extend_from_slice(&[0; 31]);
        data.push(5);
        let call = ContractCall::Trigger {
            owner: key.address(),
            contract: Address::repeat_byte(0x22),
            call_value: 7,
            data: data.into(),
        };
        let mut id = B256::ZERO;
        id[8..16].copy_from_slice(&hex::decode("ce6d340282788569").unwrap());
        let mut transaction =
            TronTransaction::build(&call, (0x28c3, id), 1_777_447_227_000, 1_777_447_168_009, 100_000_000);
        let raw = transaction.raw_data.as_ref().unwrap().encode_to_vec();
        assert_eq!(
            hex::encode(raw),
            "0a0228c32208ce6d34028278856940f89cf1c0dd335ab001081f12ab010a31747970652e676f6f676c65617069732e636f6d2f70726f746f636f6c2e54726967676572536d617274436f6e747261637412760a15417e5f4552091a69125d5dfcb7b8c2659029395bdf121541222222222222222222222222222222222222222218072244a9059cbb000000000000000000000000111111111111111111111111111111111111111100000000000000000000000000000000000000000000000000000000000000057089d0edc0dd33900180c2d72f"
        );
        assert_eq!(hex::encode(transaction.id()), "5dcaec6dc32c2982ab5c27df4cd4f2209e2279f610e6b92f4af0c1e0a2aec9f3");
        transaction.sign(&key);
        assert_eq!(
            hex::encode(&transaction.signature[0]),
            "7e4258fc1af719aa757152c8a0f325abf3cddb51eb2df73e42fd00bbf693538e0597a45836f0b97df42728ff8fb9af2d5237ae3b93085c8319a0ef689abd7a7a1c"
        );
        assert_eq!(transaction.signer(), Some(key.address()));
        assert_eq!(TronTransaction::read(&transaction.bytes()).unwrap().call(), Some(call));
    }
}
