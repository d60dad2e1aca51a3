//! What a network is before its first block: chain specification, presets, and the genesis file.
//!
//! A genesis file is geth's format plus one section `bttc`. [`ChainSpec::from_json`] reads and checks it; the
//! executor builds the genesis block from it. There is no state and no execution here.
//!
//! The differences between this chain's rules and Ethereum's are named by [`Rules`]; the executor asks nothing else.
#![forbid(unsafe_code)]

mod dev;
mod error;
mod ethereum;
mod file;
mod light;
mod params;
mod predeploys;
mod rules;
mod spec;
mod supply;

pub use dev::{DEV_KEYS, dev_accounts};
pub use error::Error;
pub use file::{BridgeSection, BttcSection, GenesisGateway, GenesisToken, GenesisValidator, Supply};
pub use light::{LightClient, NEXT_SET_SLOT, SetChange};
pub use params::{
    BTT, BridgeSettings, ChainParams, Group, MAX_BRIDGE_MEMBERS, PARAMETERS, Parameter, ParameterInfo, Preset,
};
pub use predeploys::{
    BRIDGE_ADDRESS, BTT_ADDRESS, GOVERNANCE_ADDRESS, MODULE_ADDRESSES, MODULE_STUB, PERMIT2_ADDRESS, REWARD_POOL_SLOT,
    REWARDS_ADDRESS, STAKING_ADDRESS, SYSTEM_CALLER, WBTT_ADDRESS, WRAPPED_PREFIX, predeploys, wrapped_address,
};
pub use rules::{BlobSchedule, EthereumRules, EvmFork, Rules};
pub use spec::{ChainPlan, ChainSpec, KNOWN_FORKS};
pub use supply::{SupplyFigures, SupplyPlan, format_btt};
