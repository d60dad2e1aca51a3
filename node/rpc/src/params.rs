//! Parameters: block references.

use crate::context::RpcContext;
use crate::errors;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, U64, U256};
use alloy_serde::JsonStorageKey;
use jsonrpsee::types::ErrorObjectOwned;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

impl RpcContext {
    /// Height of the head.
    pub(crate) fn head_height(&self) -> u64 {
        self.executor.store().head().map_or(0, |head| head.height)
    }

    /// The height that a number or tag names. There are no forks: `latest`, `safe` and `finalized` are one block, and
    /// `pending` is the state on which the next block builds.
    pub(crate) fn height_of_tag(&self, tag: BlockNumberOrTag) -> u64 {
        match tag {
            BlockNumberOrTag::Latest
            | BlockNumberOrTag::Finalized
            | BlockNumberOrTag::Safe
            | BlockNumberOrTag::Pending => self.head_height(),
            BlockNumberOrTag::Earliest => 0,
            BlockNumberOrTag::Number(height) => height,
        }
    }

    /// The height that a block id names, if there is such a block.
    pub(crate) fn find_height(&self, id: BlockId) -> Result<Option<u64>, ErrorObjectOwned> {
        match id {
            BlockId::Hash(hash) => self.executor.store().height_of(hash.block_hash).map_err(errors::store),
            BlockId::Number(tag) => {
                let height = self.height_of_tag(tag);
                Ok((height <= self.head_height()).then_some(height))
            }
        }
    }

    /// The height that a block id names; an error when there is no such block.
    pub(crate) fn height_of(&self, id: Option<BlockId>) -> Result<u64, ErrorObjectOwned> {
        let id = id.unwrap_or_default();
        self.find_height(id)?.ok_or_else(|| match id {
            // EIP-1898's code.
            BlockId::Hash(hash) => errors::not_found(format!("block not found: {}", hash.block_hash)),
            BlockId::Number(_) => errors::server(format!("header not found: the head is {}", self.head_height())),
        })
    }
}

/// A hash as Ethereum's tools write it. The library also takes one without `0x`, which other nodes refuse.
pub(crate) fn hash_of(text: &str) -> Result<B256, ErrorObjectOwned> {
    let parsed = text.starts_with("0x").then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| errors::invalid_params(format!("not a hash of 32 bytes with 0x before it: {text:.80?}")))
}

/// A storage slot: hex of at most 32 bytes, short or padded. The library's own reading takes any length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StorageKey(pub(crate) JsonStorageKey);

impl StorageKey {
    pub(crate) fn slot(&self) -> U256 {
        self.0.as_b256().into()
    }
}

impl<'de> Deserialize<'de> for StorageKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bad = |reason: &str| serde::de::Error::custom(format!("{reason} in storage key {text:.80?}"));
        if text.len() > "0x".len() + 64 {
            return Err(bad("more than 32 bytes"));
        }
        text.parse().map(Self).map_err(|_| bad("invalid hex"))
    }
}

/// A block as Otterscan names it: as other methods do, or by a plain number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LooseBlock(pub(crate) BlockId);

impl<'de> Deserialize<'de> for LooseBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Named(BlockId),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Number(height) => Self(BlockId::number(height)),
            Either::Named(id) => Self(id),
        })
    }
}

/// A number as a quantity or a plain one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LooseNumber(pub(crate) u64);

impl LooseNumber {
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de> Deserialize<'de> for LooseNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Quantity(U64),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Number(number) => Self(number),
            Either::Quantity(number) => Self(number.to()),
        })
    }
}
