//! From a header to the EVM's block environment.

use crate::ethereum::blob_params;
use alloy_primitives::{Address, B256, U256};
use bttc_genesis::{EvmFork, Rules};
use revm::context::{BlockEnv, CfgEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::primitives::hardfork::SpecId;

/// revm's name of a fork.
pub fn spec_id(fork: EvmFork) -> SpecId {
    match fork {
        EvmFork::Frontier => SpecId::FRONTIER,
        EvmFork::Homestead => SpecId::HOMESTEAD,
        EvmFork::Tangerine => SpecId::TANGERINE,
        EvmFork::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
        EvmFork::Byzantium => SpecId::BYZANTIUM,
        EvmFork::Petersburg => SpecId::PETERSBURG,
        EvmFork::Istanbul => SpecId::ISTANBUL,
        EvmFork::Berlin => SpecId::BERLIN,
        EvmFork::London => SpecId::LONDON,
        EvmFork::Merge => SpecId::MERGE,
        EvmFork::Shanghai => SpecId::SHANGHAI,
        EvmFork::Cancun => SpecId::CANCUN,
        EvmFork::Prague => SpecId::PRAGUE,
        EvmFork::Osaka => SpecId::OSAKA,
    }
}

/// What the EVM sees of a block.
#[derive(Clone, Debug)]
pub struct EvmInput {
    /// Number.
    pub number: u64,
    /// Seconds.
    pub timestamp: u64,
    /// Receiver of tips.
    pub beneficiary: Address,
    /// Gas limit.
    pub gas_limit: u64,
    /// Base fee, wei.
    pub base_fee: u64,
    /// PREVRANDAO, from the merge on.
    pub prev_randao: B256,
    /// DIFFICULTY, before the merge.
    pub difficulty: U256,
    /// Excess blob gas, from Cancun on.
    pub excess_blob_gas: u64,
}

impl EvmInput {
    /// The environment of a header.
    pub fn from_header(header: &alloy_consensus::Header) -> Self {
        Self {
            number: header.number,
            timestamp: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas.unwrap_or(0),
            prev_randao: header.mix_hash,
            difficulty: header.difficulty,
            excess_blob_gas: header.excess_blob_gas.unwrap_or(0),
        }
    }

    /// revm's configuration and block environment under `rules`.
    pub fn environment(&self, rules: &Rules, chain_id: u64) -> (CfgEnv, BlockEnv) {
        let fork = rules.fork_at(self.number, self.timestamp);
        // Setting `spec` directly would leave the gas table at revm's default fork.
        let mut cfg = CfgEnv::new_with_spec(spec_id(fork)).with_chain_id(chain_id);
        let blobs = rules.blobs_at(self.timestamp);
        if let Some(schedule) = blobs {
            // EIP-7594: from Osaka on a transaction has at most 6 blobs, whatever a block may have.
            let most = if fork >= EvmFork::Osaka { schedule.max.min(6) } else { schedule.max };
            cfg.max_blobs_per_tx = Some(most);
        }
        let blob_price = blobs.map_or(1, |schedule| blob_params(schedule).calc_blob_fee(self.excess_blob_gas));
        let block = BlockEnv {
            number: U256::from(self.number),
            beneficiary: self.beneficiary,
            timestamp: U256::from(self.timestamp),
            gas_limit: self.gas_limit,
            basefee: self.base_fee,
            difficulty: self.difficulty,
            prevrandao: (fork >= EvmFork::Merge).then_some(self.prev_randao),
            blob_excess_gas_and_price: (fork >= EvmFork::Cancun)
                .then_some(BlobExcessGasAndPrice { excess_blob_gas: self.excess_blob_gas, blob_gasprice: blob_price }),
            ..BlockEnv::default()
        };
        (cfg, block)
    }
}
