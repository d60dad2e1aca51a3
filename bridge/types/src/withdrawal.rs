//! Withdrawals: leaves of the trees whose roots checkpoints carry.

use crate::domain::{BridgeId, GatewayId, type_hash};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

/// A withdrawal. Its place in its tree is the key against replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// Where it is paid out.
    #[serde(flatten)]
    pub at: GatewayId,
    /// Tree of the gateway.
    pub tree_id: u32,
    /// Leaf of the tree.
    pub index: u64,
    /// Token on the root chain, or [`crate::NATIVE_COIN`].
    pub token: Address,
    /// Who burned it here.
    pub sender: Address,
    /// Who gets it there.
    pub recipient: Address,
    /// In the token's smallest units.
    pub amount: U256,
    /// Of it for whoever claims.
    pub relayer_fee: U256,
}

impl Withdrawal {
    /// The leaf, hashed twice so that no inner node can pass for one.
    pub fn leaf(&self, bridge: BridgeId) -> B256 {
        let name = type_hash(
            "Withdrawal(bytes32 bridgeId,uint64 rootChainId,address gateway,uint32 treeId,uint64 index,address token,address sender,address recipient,uint256 amount,uint256 relayerFee)",
        );
        let Self { at, tree_id, index, token, sender, recipient, amount, relayer_fee } = *self;
        let fields =
            (name, bridge, at.root_chain_id, at.gateway, tree_id, index, token, sender, recipient, amount, relayer_fee);
        keccak256(keccak256(fields.abi_encode()))
    }
}
