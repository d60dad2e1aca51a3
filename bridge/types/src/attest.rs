//! What a validator signs of a gateway's deposits.

use crate::domain::{BridgeId, GatewayId, digest, type_hash};
use alloy_primitives::{B256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

/// "The deposits up to this number have this running hash, in blocks that are final." It names no set: the ledger judges it
/// by the set in force when it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attest {
    /// Where.
    #[serde(flatten)]
    pub at: GatewayId,
    /// Number of the last deposit.
    pub to_nonce: u64,
    /// Running hash after it.
    pub acc_to: B256,
}

impl Attest {
    /// What is signed.
    pub fn digest(&self, bridge: BridgeId) -> B256 {
        let name = type_hash("Attest(uint64 rootChainId,address gateway,uint64 toNonce,bytes32 accTo)");
        let fields = (name, self.at.root_chain_id, self.at.gateway, self.to_nonce, self.acc_to);
        digest(bridge, keccak256(fields.abi_encode()))
    }
}
