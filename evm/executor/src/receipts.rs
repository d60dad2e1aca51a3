//! Receipts as they are stored and hashed.

use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxType};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bloom, Log};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};

/// A receipt without what can be recomputed (the bloom).
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing)]
pub struct StoredReceipt {
    /// Transaction type, 0 to 4.
    pub kind: u8,
    /// Whether it succeeded.
    pub success: bool,
    /// Gas used in the block up to and including this transaction.
    pub cumulative_gas: u64,
    /// Logs in order.
    pub logs: Vec<Log>,
    /// State root after the transaction, which receipts had before Byzantium; never on this chain.
    pub post_state: Option<B256>,
}

impl StoredReceipt {
    /// Whether it succeeded, or the root that was there in its place.
    pub fn status(&self) -> Eip658Value {
        self.post_state.map_or(Eip658Value::Eip658(self.success), Eip658Value::PostState)
    }

    /// The receipt as Ethereum defines it, bloom included.
    pub fn envelope(&self) -> ReceiptEnvelope {
        let receipt =
            Receipt { status: self.status(), cumulative_gas_used: self.cumulative_gas, logs: self.logs.clone() };
        let with_bloom: ReceiptWithBloom<Receipt> = receipt.into();
        match TxType::try_from(self.kind) {
            Ok(TxType::Eip2930) => ReceiptEnvelope::Eip2930(with_bloom),
            Ok(TxType::Eip1559) => ReceiptEnvelope::Eip1559(with_bloom),
            Ok(TxType::Eip4844) => ReceiptEnvelope::Eip4844(with_bloom),
            Ok(TxType::Eip7702) => ReceiptEnvelope::Eip7702(with_bloom),
            Ok(TxType::Legacy) | Err(_) => ReceiptEnvelope::Legacy(with_bloom),
        }
    }
}

/// Root of the receipt trie, and the block's bloom.
pub(crate) fn root_and_bloom(receipts: &[StoredReceipt]) -> (B256, Bloom) {
    let mut bloom = Bloom::ZERO;
    let mut encoded = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        let envelope = receipt.envelope();
        bloom |= *envelope.logs_bloom();
        encoded.push(envelope.encoded_2718());
    }
    (alloy_trie::root::ordered_trie_root_encoded(&encoded), bloom)
}

/// Root of the receipt trie, as a header names it.
pub fn receipts_root(receipts: &[StoredReceipt]) -> B256 {
    root_and_bloom(receipts).0
}

/// Encodes a block's receipts for the store.
pub fn encode_receipts(receipts: &[StoredReceipt]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::encode_list::<StoredReceipt, StoredReceipt>(receipts, &mut out);
    out
}

/// Decodes what [`encode_receipts`] wrote.
///
/// # Errors
/// RLP's, for a damaged record.
pub fn decode_receipts(mut bytes: &[u8]) -> Result<Vec<StoredReceipt>, alloy_rlp::Error> {
    Vec::<StoredReceipt>::decode(&mut bytes)
}

/// `keccak(rlp(logs))`, which Ethereum's state tests compare.
pub(crate) fn logs_hash(logs: &[Log]) -> B256 {
    let mut out = Vec::new();
    alloy_rlp::encode_list::<Log, Log>(logs, &mut out);
    alloy_primitives::keccak256(out)
}
