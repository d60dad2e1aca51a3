//! What peers get: lanes of messages, blocks that they ask for.

use bttc_engine::{BlocksRequest, CertifiedBlock, Message};
use bttc_executor::Executor;
use bttc_network::Lane;
use bttc_types::MAX_BLOCK_BYTES;

/// Bytes of blocks in one answer, unless its first block alone is larger.
const ANSWER_BYTES: usize = MAX_BLOCK_BYTES;

/// The lane of a message.
pub fn lane_of(message: &Message) -> Lane {
    match message {
        Message::Vote(_) => Lane::Votes,
        Message::Proposal(_) | Message::Part(_) => Lane::Proposals,
        Message::RoundVotes(_) => Lane::Certificates,
        Message::Evidence(_) => Lane::Evidence,
    }
}

/// Certified blocks from the store, as many as fit into an answer.
pub fn certified_blocks(executor: &Executor, request: BlocksRequest) -> Vec<CertifiedBlock> {
    let mut blocks = Vec::new();
    let mut bytes = 0;
    for height in request.from..request.from.saturating_add(request.count) {
        let (Ok(Some(block)), Ok(Some(certificate))) =
            (executor.store().block_bytes(height), executor.store().certificate(height))
        else {
            break;
        };
        bytes += block.len();
        if bytes > ANSWER_BYTES && !blocks.is_empty() {
            break;
        }
        blocks.push(CertifiedBlock { block: block.into(), certificate });
    }
    blocks
}
