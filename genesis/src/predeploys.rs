//! Accounts that exist in the genesis block of every network.

use alloy_eips::{eip2935, eip4788};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, address, b256, keccak256};
use std::collections::BTreeMap;

/// Caller of system calls (EIP-4788, EIP-2935).
pub const SYSTEM_CALLER: Address = address!("fffffffffffffffffffffffffffffffffffffffe");
/// The staking module.
pub const STAKING_ADDRESS: Address = address!("0000000000000000000000000000000000001000");
/// The bridge's ledger.
pub const BRIDGE_ADDRESS: Address = address!("0000000000000000000000000000000000001001");
/// Governance; its storage holds the chain's parameters.
pub const GOVERNANCE_ADDRESS: Address = address!("0000000000000000000000000000000000001002");
/// BTT as an ERC-20 token.
pub const BTT_ADDRESS: Address = address!("0000000000000000000000000000000000001010");
/// Rewards and slashing views; its storage holds the reward pool counter.
pub const REWARDS_ADDRESS: Address = address!("0000000000000000000000000000000000001003");
/// Slot of [`REWARDS_ADDRESS`] with the reward pool in wei. A counter, not a balance: anyone can push coins into an
/// account.
pub const REWARD_POOL_SLOT: B256 = b256!("0000000000000000000000000000000000000000000000000000000000000000");

/// Native module accounts: staking, bridge ledger, governance, rewards, the BTT token view.
pub const MODULE_ADDRESSES: [Address; 5] =
    [STAKING_ADDRESS, BRIDGE_ADDRESS, GOVERNANCE_ADDRESS, REWARDS_ADDRESS, BTT_ADDRESS];

/// Code of a module account. Nobody can deploy code that starts with this byte (EIP-3541), so the stub marks the
/// accounts in which native code runs. The nonce of 1 keeps EIP-161 from deleting them.
pub const MODULE_STUB: [u8; 1] = [0xef];

/// First bytes of a wrapped token's address.
pub const WRAPPED_PREFIX: [u8; 2] = [0xb7, 0x7c];

/// Address of the wrapped token of a root chain's token.
pub fn wrapped_address(root_chain_id: u64, root: Address) -> Address {
    let mut origin = root_chain_id.to_be_bytes().to_vec();
    origin.extend_from_slice(root.as_slice());
    let mut bytes = [0u8; 20];
    bytes[..2].copy_from_slice(&WRAPPED_PREFIX);
    bytes[2..].copy_from_slice(&keccak256(origin)[14..]);
    Address::from(bytes)
}

/// All predeployed accounts by address.
pub fn predeploys() -> BTreeMap<Address, GenesisAccount> {
    let contract = |code: Bytes| GenesisAccount { nonce: Some(1), code: Some(code), ..GenesisAccount::default() };
    let mut accounts: BTreeMap<Address, GenesisAccount> =
        MODULE_ADDRESSES.into_iter().map(|address| (address, contract(Bytes::from_static(&MODULE_STUB)))).collect();
    accounts.insert(eip2935::HISTORY_STORAGE_ADDRESS, contract(eip2935::HISTORY_STORAGE_CODE.clone()));
    accounts.insert(eip4788::BEACON_ROOTS_ADDRESS, contract(eip4788::BEACON_ROOTS_CODE.clone()));
    accounts
}
