//! The section `bttc` of a genesis file.

use crate::params::{ChainParams, Preset};
use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A validator of the first epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisValidator {
    /// Address of the consensus key.
    pub address: Address,
    /// Account that owns the validator.
    pub owner: Address,
    /// Voting power; its owner's stake is as many units.
    pub power: u64,
    /// Address of the key that signs for the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Address>,
}

/// The three counters of the native coin, in wei, and what backs them (`docs/protocol.md` section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Supply {
    /// Backs deposits of BTT from TRON.
    pub reserve: U256,
    /// Pays rewards and the treasury.
    pub reward_pool: U256,
    /// BTT in existence on TRON.
    #[serde(default)]
    pub tron_supply: U256,
    /// BTT locked in the TRON gateway.
    #[serde(default)]
    pub tron_locked: U256,
}

/// A token that a gateway takes from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisToken {
    /// On the root chain; `0xEeee…EEeE` is its own coin.
    pub root: Address,
    /// Symbol here, as `USDT_t`.
    pub symbol: String,
    /// Name here, as `Tether USD_TRON`.
    pub name: String,
    /// As on the root chain.
    pub decimals: u8,
    /// Smallest deposit and withdrawal, smallest units.
    pub minimum: U256,
    /// What may cross in one window whatever is locked, smallest units.
    pub floor: U256,
    /// It is TRON's BTT: the native coin here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub native: bool,
}

/// A gateway that is there from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisGateway {
    /// Name for people: `ethereum`, `bsc`, `tron`.
    pub name: String,
    /// EIP-155 id of the root chain.
    pub root_chain_id: u64,
    /// The contract; on TRON the 20 bytes after `0x41`.
    pub gateway: Address,
    /// Its tokens.
    pub tokens: Vec<GenesisToken>,
}

/// The bridge in a genesis file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BridgeSection {
    /// 32 random bytes, drawn when the file is begun: gateways are deployed with them.
    pub bridge_id: B256,
    /// Gateways that are there from the beginning.
    pub gateways: Vec<GenesisGateway>,
}

/// What a genesis file says beyond geth's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BttcSection {
    /// Which preset the network derives from.
    pub preset: Preset,
    /// All chain parameters.
    pub params: ChainParams,
    /// The validators of the first epoch.
    pub validators: Vec<GenesisValidator>,
    /// The coin's counters.
    pub supply: Supply,
    /// The bridge.
    #[serde(default)]
    pub bridge: BridgeSection,
    /// Hard forks by name and height; every network has `osaka` at 0.
    pub forks: BTreeMap<String, u64>,
}
