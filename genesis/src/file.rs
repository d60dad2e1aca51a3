//! The section `bttc` of a genesis file.

use crate::params::{ChainParams, Preset};
use alloy_primitives::{Address, U256};
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
    /// Hard forks by name and height; every network has `osaka` at 0.
    pub forks: BTreeMap<String, u64>,
}
