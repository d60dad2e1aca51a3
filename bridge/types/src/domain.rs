//! The EIP-712 domain of everything that members sign.

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

/// The 32 random bytes that name a bridge, drawn when its genesis file is begun.
pub type BridgeId = B256;

/// A gateway: a contract on a root chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayId {
    /// EIP-155 id of the root chain; TRON's is the last four bytes of its genesis block's id.
    pub root_chain_id: u64,
    /// The contract; on TRON the 20 bytes after `0x41`.
    pub gateway: Address,
}

impl GatewayId {
    /// A key for maps in state: keccak of both.
    pub fn key(&self) -> B256 {
        keccak256((self.root_chain_id, self.gateway).abi_encode())
    }
}

impl std::fmt::Display for GatewayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on chain {}", self.gateway, self.root_chain_id)
    }
}

/// keccak of a type's EIP-712 name.
pub(crate) fn type_hash(name: &str) -> B256 {
    keccak256(name)
}

/// EIP-712 digest of a struct hash. The domain has no chain id and no contract: one signature counts on every root chain,
/// and what belongs to one of them names it in the struct.
pub fn digest(bridge: BridgeId, struct_hash: B256) -> B256 {
    let domain_type = type_hash("EIP712Domain(string name,string version,bytes32 salt)");
    let domain = keccak256((domain_type, keccak256("BTTC Bridge"), keccak256("1"), bridge).abi_encode());
    let mut bytes = [0u8; 66];
    let (prefix, rest) = bytes.split_at_mut(2);
    prefix.copy_from_slice(&[0x19, 0x01]);
    let (first, second) = rest.split_at_mut(32);
    first.copy_from_slice(domain.as_slice());
    second.copy_from_slice(struct_hash.as_slice());
    keccak256(bytes)
}
