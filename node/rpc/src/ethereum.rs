//! `eth_config` (EIP-7910) of imported Ethereum chains.

use crate::chain::{PRECOMPILES, SYSTEM_CONTRACTS};
use crate::context::RpcContext;
use crate::errors;
use alloy_eips::{eip7002, eip7251};
use alloy_genesis::ChainConfig;
use alloy_primitives::{Address, B256, U64, hex};
use bttc_genesis::{EvmFork, Rules};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// The configuration in force at the head, the one after it and the last that is known.
pub(crate) fn config(context: &RpcContext) -> Result<Value> {
    let head = context.executor.head_header().map_err(errors::executor)?;
    let chain = Chain {
        config: &context.executor.spec().genesis.config,
        rules: &context.executor.spec().rules,
        genesis_time: context.executor.spec().genesis.timestamp,
        genesis: context.executor.store().genesis_hash().map_err(errors::store)?.unwrap_or_default(),
    };
    let times = chain.times();
    let current = times.iter().copied().rfind(|time| *time <= head.timestamp).unwrap_or(0);
    let next = times.iter().copied().find(|time| *time > head.timestamp);
    let last = next.and(times.last().copied());
    let show = |time: Option<u64>| time.map_or(Value::Null, |time| chain.at(time));
    Ok(json!({ "current": chain.at(current), "next": show(next), "last": show(last) }))
}

struct Chain<'a> {
    config: &'a ChainConfig,
    rules: &'a Rules,
    genesis: B256,
    genesis_time: u64,
}

impl Chain<'_> {
    /// Times of forks, ascending, each once.
    fn times(&self) -> Vec<u64> {
        let config = self.config;
        let forks = [config.shanghai_time, config.cancun_time, config.prague_time, config.osaka_time];
        let blobs = [config.bpo1_time, config.bpo2_time, config.bpo3_time, config.bpo4_time, config.bpo5_time];
        ascending(forks.into_iter().chain(blobs))
    }

    /// Heights of forks, ascending, each once.
    fn heights(&self) -> Vec<u64> {
        let config = self.config;
        ascending([
            config.homestead_block,
            config.dao_fork_block,
            config.eip150_block,
            config.eip155_block,
            config.eip158_block,
            config.byzantium_block,
            config.constantinople_block,
            config.petersburg_block,
            config.istanbul_block,
            config.muir_glacier_block,
            config.berlin_block,
            config.london_block,
            config.arrow_glacier_block,
            config.gray_glacier_block,
            config.merge_netsplit_block,
        ])
    }

    /// EIP-2124 and EIP-6122: the checksum of the genesis hash and of every fork up to a time.
    fn fork_id(&self, time: u64) -> String {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.genesis.as_slice());
        let times = self.times().into_iter().filter(|fork| *fork > self.genesis_time && *fork <= time);
        for fork in self.heights().into_iter().filter(|fork| *fork > 0).chain(times) {
            hasher.update(&fork.to_be_bytes());
        }
        hex::encode_prefixed(hasher.finalize().to_be_bytes())
    }

    /// The configuration that begins at a time.
    fn at(&self, time: u64) -> Value {
        let fork = self.rules.fork_at(u64::MAX, time);
        let blobs = self.rules.blobs_at(time).map(|schedule| {
            json!({
                "target": schedule.target, "max": schedule.max, "baseFeeUpdateFraction": schedule.update_fraction,
            })
        });
        let precompiles = PRECOMPILES.into_iter().filter(|(_, address)| since(*address) <= fork);
        json!({
            "activationTime": time,
            "blobSchedule": blobs,
            "chainId": U64::from(self.config.chain_id),
            "forkId": self.fork_id(time),
            "precompiles": precompiles.collect::<BTreeMap<_, _>>(),
            "systemContracts": self.system_contracts(fork),
        })
    }

    fn system_contracts(&self, fork: EvmFork) -> BTreeMap<&'static str, Address> {
        let mut found = BTreeMap::new();
        if fork >= EvmFork::Cancun {
            found.extend(SYSTEM_CONTRACTS.into_iter().take(1));
        }
        if fork >= EvmFork::Prague {
            found.extend(SYSTEM_CONTRACTS.into_iter().skip(1).take(1));
            let deposits = self.config.deposit_contract_address.unwrap_or_default();
            found.extend([
                ("CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS", eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS),
                ("DEPOSIT_CONTRACT_ADDRESS", deposits),
                ("WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS", eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
            ]);
        }
        found
    }
}

fn ascending(forks: impl IntoIterator<Item = Option<u64>>) -> Vec<u64> {
    let mut all: Vec<u64> = forks.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The fork that brought a precompile.
fn since(address: Address) -> EvmFork {
    let [.., high, low] = address.into_array();
    match u16::from_be_bytes([high, low]) {
        0..=4 => EvmFork::Frontier,
        5..=8 => EvmFork::Byzantium,
        9 => EvmFork::Istanbul,
        10 => EvmFork::Cancun,
        11..=17 => EvmFork::Prague,
        _ => EvmFork::Osaka,
    }
}
