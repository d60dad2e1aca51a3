//! A transaction whose sender is known.

use crate::{Error, Signature, Transaction, recover};
use alloy_consensus::Transaction as _;
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Bytes};

/// Largest encoded transaction that a node accepts into its pool: 128 KiB, as geth does.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024;

/// A signed transaction with its hash, sender and encoding, computed once per node and shared from the pool to the
/// block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredTransaction {
    transaction: Transaction,
    hash: B256,
    sender: Address,
    encoded: Bytes,
}

impl RecoveredTransaction {
    /// Recovers the sender: one elliptic curve recovery, about 30 microseconds.
    ///
    /// # Errors
    /// [`Error::InvalidSignature`], for high `s` too (EIP-2).
    pub fn recover(transaction: Transaction) -> Result<Self, Error> {
        // By this crate's own recovery, so that no feature of a library decides which implementation runs.
        let signature = transaction.signature();
        let mut bytes = [0u8; 65];
        let (r, rest) = bytes.split_at_mut(32);
        let (s, v) = rest.split_at_mut(32);
        r.copy_from_slice(&signature.r().to_be_bytes::<32>());
        s.copy_from_slice(&signature.s().to_be_bytes::<32>());
        v.fill(u8::from(signature.v()));
        let sender = recover(transaction.signature_hash(), &Signature::from_bytes(bytes))?;
        let encoded: Bytes = transaction.encoded_2718().into();
        Ok(Self { hash: *transaction.tx_hash(), transaction, sender, encoded })
    }

    /// A transaction whose sender is known without a signature: on a development chain that impersonates accounts.
    pub fn with_sender(transaction: Transaction, sender: Address) -> Self {
        let encoded: Bytes = transaction.encoded_2718().into();
        Self { hash: *transaction.tx_hash(), transaction, sender, encoded }
    }

    /// Decodes EIP-2718 bytes that must be one transaction exactly, and recovers its sender.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Malformed`] or [`Error::InvalidSignature`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::recover(decode_transaction(bytes)?)
    }

    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Its hash.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// Who signed it.
    pub fn sender(&self) -> Address {
        self.sender
    }

    /// Its EIP-2718 encoding.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Its nonce.
    pub fn nonce(&self) -> u64 {
        self.transaction.nonce()
    }

    /// What the sender pays the beneficiary per gas at this base fee; `None` when the fee cap is below it.
    pub fn tip(&self, base_fee: u64) -> Option<u128> {
        self.transaction.effective_tip_per_gas(base_fee)
    }

    /// Whether it carries blobs (type 3), which this chain refuses.
    pub fn is_blob(&self) -> bool {
        self.transaction.is_eip4844()
    }
}

/// Decodes EIP-2718 bytes that must be one transaction exactly.
///
/// # Errors
/// [`Error::TooLarge`] or [`Error::Malformed`].
pub fn decode_transaction(bytes: &[u8]) -> Result<Transaction, Error> {
    if bytes.len() > MAX_TRANSACTION_BYTES {
        return Err(Error::TooLarge { what: "bytes of a transaction", got: bytes.len(), limit: MAX_TRANSACTION_BYTES });
    }
    Transaction::decode_2718_exact(bytes).map_err(|error| Error::malformed("transaction", error))
}
