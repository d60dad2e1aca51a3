//! Checkpoints: what members sign of this chain, for the gateways.

use crate::domain::{BridgeId, GatewayId, digest, type_hash};
use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

/// A gateway's withdrawals in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dest {
    /// The gateway.
    #[serde(flatten)]
    pub at: GatewayId,
    /// Which of its trees; a full one is followed by the next.
    pub tree_id: u32,
    /// Root of the tree, never zero.
    pub withdrawal_root: B256,
    /// Leaves of the tree.
    pub count: u64,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Its number, from 1.
    pub seq: u64,
    /// Height of the block after which it was taken.
    pub last_block: u64,
    /// That block's hash.
    pub last_block_hash: B256,
    /// That block's time, seconds.
    pub timestamp: u64,
    /// Withdrawals by gateway, in the order of registration.
    pub dests: Vec<Dest>,
    /// Hash of the set that signs it.
    pub set_hash: B256,
    /// The same, or in a hand-over the hash of the set that follows.
    pub next_set_hash: B256,
}

impl Checkpoint {
    /// Hash of the destinations: `keccak(abi.encode(Dest[]))`.
    pub fn dests_hash(&self) -> B256 {
        let rows: Vec<(u64, Address, u32, B256, u64)> = self
            .dests
            .iter()
            .map(|dest| (dest.at.root_chain_id, dest.at.gateway, dest.tree_id, dest.withdrawal_root, dest.count))
            .collect();
        keccak256(rows.abi_encode())
    }

    /// What is signed.
    pub fn digest(&self, bridge: BridgeId) -> B256 {
        let name = type_hash(
            "Checkpoint(uint64 seq,uint64 lastBlock,bytes32 lastBlockHash,uint64 timestamp,bytes32 destsHash,bytes32 setHash,bytes32 nextSetHash)",
        );
        let (block, hash) = (self.last_block, self.last_block_hash);
        let tail = (self.timestamp, self.dests_hash(), self.set_hash, self.next_set_hash);
        let (a, b, c, d) = tail;
        digest(bridge, keccak256((name, self.seq, block, hash, a, b, c, d).abi_encode()))
    }

    /// Whether another set follows.
    pub fn is_hand_over(&self) -> bool {
        self.next_set_hash != self.set_hash
    }
}
