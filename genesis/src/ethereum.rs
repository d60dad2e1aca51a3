//! Ethereum chains: the rules that a geth genesis file names, for other people's chains and suites.

use crate::file::{BridgeSection, BttcSection, Supply};
use crate::params::Preset;
use crate::rules::{BlobSchedule, EthereumRules, EvmFork, Rules};
use crate::{ChainSpec, Error};
use alloy_genesis::{ChainConfig, Genesis};
use alloy_primitives::U256;
use std::collections::BTreeMap;

impl ChainSpec {
    /// Reads a geth genesis file without our section: a chain under Ethereum's rules. The merge is at `mergeNetsplitBlock`, or at 0 when
    /// the terminal difficulty is 0.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn ethereum(text: &str) -> Result<Self, Error> {
        let genesis: Genesis = serde_json::from_str(text).map_err(|error| Error::Json(error.to_string()))?;
        check(&genesis)?;
        let rules = Rules::Ethereum(rules_of(&genesis.config));
        let supply =
            Supply { reserve: U256::ZERO, reward_pool: U256::ZERO, tron_supply: U256::ZERO, tron_locked: U256::ZERO };
        // The native modules do not exist there; what reads their parameters reads defaults.
        let params = Preset::Local.params();
        let bttc = BttcSection {
            preset: Preset::Local,
            params,
            validators: Vec::new(),
            supply,
            bridge: BridgeSection::default(),
            forks: BTreeMap::new(),
        };
        Ok(Self { genesis, bttc, rules })
    }
}

/// Refuses what would be executed wrongly.
fn check(genesis: &Genesis) -> Result<(), Error> {
    let config = &genesis.config;
    if config.chain_id == 0 && genesis.alloc.is_empty() {
        return Err(Error::invalid("config", "the file has neither a chain id nor accounts: it is no genesis file"));
    }
    if config.clique.is_some() || config.parlia.is_some() {
        return Err(Error::invalid("config.clique", "chains with proof of authority are not imported"));
    }
    if config.dao_fork_support && config.dao_fork_block.is_some() {
        return Err(Error::invalid("config.daoForkSupport", "the DAO fork's change of state is not made here"));
    }
    if config.constantinople_block.is_some() && config.petersburg_block.is_none() {
        return Err(Error::invalid("config.constantinopleBlock", "Constantinople without Petersburg is not executed"));
    }
    Ok(())
}

/// What EIP-4844 and EIP-7691 set, where a file says nothing of it.
fn default_schedule(fork: &str) -> Option<BlobSchedule> {
    match fork {
        "cancun" => Some(BlobSchedule { target: 3, max: 6, update_fraction: 3_338_477 }),
        "prague" | "osaka" => Some(BlobSchedule { target: 6, max: 9, update_fraction: 5_007_716 }),
        _ => None,
    }
}

fn rules_of(config: &ChainConfig) -> EthereumRules {
    let merge =
        if config.terminal_total_difficulty == Some(U256::ZERO) { Some(0) } else { config.merge_netsplit_block };
    let by_height = [
        (config.homestead_block, EvmFork::Homestead),
        (config.eip150_block, EvmFork::Tangerine),
        (config.eip158_block, EvmFork::SpuriousDragon),
        (config.byzantium_block, EvmFork::Byzantium),
        // The EVM knows no Constantinople without Petersburg: between the two, storage costs what it costs after both.
        (config.constantinople_block.or(config.petersburg_block), EvmFork::Petersburg),
        (config.istanbul_block, EvmFork::Istanbul),
        (config.berlin_block, EvmFork::Berlin),
        (config.london_block, EvmFork::London),
        (merge, EvmFork::Merge),
    ];
    let by_time = [
        (config.shanghai_time, EvmFork::Shanghai),
        (config.cancun_time, EvmFork::Cancun),
        (config.prague_time, EvmFork::Prague),
        (config.osaka_time, EvmFork::Osaka),
    ];
    let schedules = [
        ("cancun", config.cancun_time),
        ("prague", config.prague_time),
        ("osaka", config.osaka_time),
        ("bpo1", config.bpo1_time),
        ("bpo2", config.bpo2_time),
        ("bpo3", config.bpo3_time),
        ("bpo4", config.bpo4_time),
        ("bpo5", config.bpo5_time),
    ];
    let blobs = schedules.into_iter().filter_map(|(name, time)| {
        let named = config.blob_schedule.get(name).map(|params| BlobSchedule {
            target: params.target_blob_count,
            max: params.max_blob_count,
            update_fraction: u64::try_from(params.update_fraction).unwrap_or(u64::MAX),
        });
        Some((time?, named.or_else(|| default_schedule(name))?))
    });
    EthereumRules {
        by_height: by_height.into_iter().filter_map(|(at, fork)| Some((at?, fork))).collect(),
        by_time: by_time.into_iter().filter_map(|(at, fork)| Some((at?, fork))).collect(),
        blobs: blobs.collect(),
        deposit_contract: config.deposit_contract_address,
    }
}
