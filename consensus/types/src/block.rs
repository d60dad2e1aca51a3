//! The block: header, transactions and the certificate of its parent.

use crate::{Certificate, Error};
use alloy_consensus::proofs::calculate_transaction_root;
use alloy_consensus::{EthereumTxEnvelope, Header, TxEip4844};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};

/// Largest encoded block. The network's message limit and the sync batch limit are derived from it.
pub const MAX_BLOCK_BYTES: usize = 8 * 1024 * 1024;

/// A signed transaction as it stands in a block. Type 3 can be expressed (the Ethereum-rules profile needs it) but
/// is refused by this chain's validity rules.
pub type Transaction = EthereumTxEnvelope<TxEip4844>;

/// A block. Its hash is the header's hash, and the header commits to every other byte: to the transactions through
/// `transactions_root`, to the certificate through `parent_beacon_block_root`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Ethereum header.
    pub header: Header,
    /// Transactions in order of execution.
    pub transactions: Vec<Transaction>,
    /// Certificate of the parent block, as its height ended with.
    pub last_commit: Certificate,
}

/// Wire form: RLP of `[header, [EIP-2718 bytes, ...], last_commit]`.
#[derive(RlpEncodable, RlpDecodable)]
struct BlockWire {
    header: Header,
    transactions: Vec<Bytes>,
    last_commit: Certificate,
}

impl Block {
    /// Keccak-256 of the RLP of the header: the block's identity everywhere.
    pub fn hash(&self) -> B256 {
        self.header.hash_slow()
    }

    /// Encodes the block as it is gossiped and stored.
    pub fn encode(&self) -> Vec<u8> {
        let wire = BlockWire {
            header: self.header.clone(),
            transactions: self.transactions.iter().map(|transaction| transaction.encoded_2718().into()).collect(),
            last_commit: self.last_commit.clone(),
        };
        let mut out = Vec::with_capacity(wire.length());
        wire.encode(&mut out);
        out
    }

    /// Decodes a block that fills `bytes` exactly and is in canonical form. Says nothing about validity.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_BLOCK_BYTES {
            return Err(Error::TooLarge { what: "bytes of a block", got: bytes.len(), limit: MAX_BLOCK_BYTES });
        }
        let wire = BlockWire::decode(&mut bytes).map_err(|error| Error::malformed("block", error))?;
        if !bytes.is_empty() {
            return Err(Error::malformed("block", "trailing bytes"));
        }
        let mut transactions = Vec::with_capacity(wire.transactions.len());
        for encoded in &wire.transactions {
            let mut rest = encoded.as_ref();
            let transaction =
                Transaction::decode_2718(&mut rest).map_err(|error| Error::malformed("transaction", error))?;
            if !rest.is_empty() {
                return Err(Error::malformed("transaction", "trailing bytes"));
            }
            transactions.push(transaction);
        }
        Ok(Self { header: wire.header, transactions, last_commit: wire.last_commit })
    }
}

/// The hash of an encoded block, if every byte of it is what that hash commits to: the body matches the header, and the
/// bytes are the block's only encoding. Says nothing about validity; but two different byte strings never pass under one
/// hash, so a judgement of the bytes is a judgement of the hash.
///
/// # Errors
/// [`Error::Malformed`] or [`Error::TooLarge`].
pub fn authentic_block_hash(bytes: &[u8]) -> Result<B256, Error> {
    let block = Block::decode(bytes)?;
    let roots_match = calculate_transaction_root(&block.transactions) == block.header.transactions_root
        && block.header.parent_beacon_block_root == Some(block.last_commit.hash());
    if roots_match && block.encode() == bytes {
        Ok(block.hash())
    } else {
        Err(Error::malformed("block", "its body is not the one that its header commits to"))
    }
}

/// The hash of an encoded block without decoding its transactions: hashes the header's bytes.
///
/// # Errors
/// [`Error::Malformed`] when the bytes do not start like a block.
pub fn block_hash_of(bytes: &[u8]) -> Result<B256, Error> {
    encoded_header(bytes).map(keccak256)
}

/// The header of an encoded block and its hash, without a look at the transactions: they may be anything.
///
/// # Errors
/// [`Error::Malformed`] when the bytes do not start like a block.
pub fn header_of(bytes: &[u8]) -> Result<(B256, Header), Error> {
    let encoded = encoded_header(bytes)?;
    let mut rest = encoded;
    let header = Header::decode(&mut rest).map_err(|error| Error::malformed("block", error))?;
    Ok((keccak256(encoded), header))
}

fn encoded_header(mut bytes: &[u8]) -> Result<&[u8], Error> {
    let malformed = |error| Error::malformed("block", error);
    let outer = alloy_rlp::Header::decode(&mut bytes).map_err(malformed)?;
    if !outer.list {
        return Err(Error::malformed("block", "not a list"));
    }
    let start = bytes;
    let header = alloy_rlp::Header::decode(&mut bytes).map_err(malformed)?;
    let prefix = start.len().saturating_sub(bytes.len());
    start
        .get(..prefix.saturating_add(header.payload_length))
        .ok_or_else(|| Error::malformed("block", "header is cut off"))
}
