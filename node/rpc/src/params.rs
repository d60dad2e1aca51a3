//! Parameters: block references.

use crate::context::RpcContext;
use crate::errors;
use alloy_eips::{BlockId, BlockNumberOrTag};
use jsonrpsee::types::ErrorObjectOwned;

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
            BlockId::Hash(hash) => errors::not_found(format!("block not found: {}", hash.block_hash)),
            BlockId::Number(_) => errors::server(format!("header not found: the head is {}", self.head_height())),
        })
    }
}
