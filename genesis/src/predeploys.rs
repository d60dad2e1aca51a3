//! Accounts that exist in the genesis block of every network.

use alloy_eips::{eip2935, eip4788};
use alloy_genesis::GenesisAccount;
use alloy_primitives::U256;
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

/// The wrapped coin, at the address that the original chain uses.
pub const WBTT_ADDRESS: Address = address!("23181F21DEa5936e24163FFABa4Ea3B316B57f3C");
/// Uniswap's Permit2.
pub const PERMIT2_ADDRESS: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");

/// Contracts that dApps expect at their usual addresses: deterministic deployer, Multicall3, EntryPoint 0.7 with its SenderCreator,
/// Permit2, WBTT. What their canonical init code leaves behind; `tests/clients/predeploys.mjs` runs it and compares.
const CONTRACTS: &str = include_str!("contracts.json");

/// Where Permit2's code holds the chain id and the domain separator that its constructor cached.
const PERMIT2_CHAIN_ID: usize = 6_945;
const PERMIT2_DOMAIN: usize = 6_983;

/// Puts into Permit2's code what its constructor would have computed on this chain (EIP-712).
fn permit2_of(chain_id: u64, code: &Bytes) -> Bytes {
    let domain_type = keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)");
    let chain_id = B256::from(U256::from(chain_id));
    let domain = [domain_type, keccak256("Permit2"), chain_id, PERMIT2_ADDRESS.into_word()].concat();
    let mut code = code.to_vec();
    for (at, value) in [(PERMIT2_CHAIN_ID, chain_id), (PERMIT2_DOMAIN, keccak256(domain))] {
        if let Some(place) = code.get_mut(at..at + 32) {
            place.copy_from_slice(value.as_slice());
        }
    }
    code.into()
}

/// All predeployed accounts by address.
pub fn predeploys(chain_id: u64) -> BTreeMap<Address, GenesisAccount> {
    let contract = |code: Bytes| GenesisAccount { nonce: Some(1), code: Some(code), ..GenesisAccount::default() };
    // The file is part of the program; a test reads it.
    let mut accounts: BTreeMap<Address, GenesisAccount> = serde_json::from_str(CONTRACTS).unwrap_or_default();
    if let Some(code) = accounts.get_mut(&PERMIT2_ADDRESS).and_then(|account| account.code.as_mut()) {
        *code = permit2_of(chain_id, code);
    }
    accounts.extend(MODULE_ADDRESSES.map(|address| (address, contract(Bytes::from_static(&MODULE_STUB)))));
    accounts.insert(eip2935::HISTORY_STORAGE_ADDRESS, contract(eip2935::HISTORY_STORAGE_CODE.clone()));
    accounts.insert(eip4788::BEACON_ROOTS_ADDRESS, contract(eip4788::BEACON_ROOTS_CODE.clone()));
    accounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_contracts_are_there_with_their_known_code() {
        let accounts = predeploys(1);
        assert_eq!(accounts.len(), 13);
        let code_hash = |address: Address| keccak256(accounts[&address].code.as_ref().unwrap());
        // Main net's.
        let multicall = address!("cA11bde05977b3631167028862bE2a173976CA11");
        assert_eq!(code_hash(multicall), b256!("d5c15df687b16f2ff992fc8d767b4216323184a2bbc6ee2f9c398c318e770891"));
        assert_eq!(
            code_hash(PERMIT2_ADDRESS),
            b256!("c67d1657868aa5146eaf24fb879fb1fdec3d2d493b3683a61c9c2f4fb2851131")
        );
        let deployer = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
        assert_eq!(accounts[&deployer].code.as_ref().unwrap().len(), 69);
        let entry_point = address!("0000000071727De22E5E9d8BAf0edAc6f37da032");
        assert_eq!(accounts[&entry_point].storage.as_ref().unwrap().len(), 1);
        assert_eq!(accounts[&entry_point].nonce, Some(2), "it has created the SenderCreator");
    }
}
