//! Deposits on a root chain, and the running hash over them.

use crate::domain::{BridgeId, GatewayId, type_hash};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

/// A deposit as the gateway recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deposit {
    /// Its number at the gateway, from 1 without gaps.
    pub nonce: u64,
    /// Token on the root chain, or [`crate::NATIVE_COIN`].
    pub token: Address,
    /// Who paid.
    pub sender: Address,
    /// Who is credited here.
    pub recipient: Address,
    /// In the token's smallest units.
    pub amount: U256,
}

impl Deposit {
    /// Its hash.
    pub fn hash(&self, bridge: BridgeId, at: GatewayId) -> B256 {
        let name = "Deposit(bytes32 bridgeId,uint64 rootChainId,address gateway,uint64 nonce,address token,address sender,address recipient,uint256 amount)";
        let place = (type_hash(name), bridge, at.root_chain_id, at.gateway);
        let Self { nonce, token, sender, recipient, amount } = *self;
        let (a, b, c, d) = place;
        keccak256((a, b, c, d, nonce, token, sender, recipient, amount).abi_encode())
    }
}

/// The running hash of a gateway without deposits.
pub fn first_accumulator(bridge: BridgeId, at: GatewayId) -> B256 {
    let name = type_hash("FirstAccumulator(bytes32 bridgeId,uint64 rootChainId,address gateway)");
    keccak256((name, bridge, at.root_chain_id, at.gateway).abi_encode())
}

/// The running hash after one more deposit.
pub fn accumulate(accumulator: B256, deposit_hash: B256) -> B256 {
    let mut bytes = [0u8; 64];
    let (first, second) = bytes.split_at_mut(32);
    first.copy_from_slice(accumulator.as_slice());
    second.copy_from_slice(deposit_hash.as_slice());
    keccak256(bytes)
}
