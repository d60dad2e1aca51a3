//! The chain specification: a genesis file, read and checked.

use crate::file::{BridgeSection, BttcSection, GenesisValidator, Supply};
use crate::params::{BTT, ChainParams, MAX_BRIDGE_MEMBERS, Preset};
use crate::predeploys::predeploys;
use crate::rules::Rules;
use crate::supply::SupplyPlan;
use crate::{Error, dev_accounts};
use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, U256};
use bttc_types::{Validator, ValidatorSet};
use std::collections::{BTreeMap, BTreeSet};

/// Forks that this program implements. A chain whose schedule names another one cannot be followed past its height.
pub const KNOWN_FORKS: [&str; 1] = ["osaka"];

/// Everything that defines a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// geth's part of the file.
    pub genesis: Genesis,
    /// Our part of the file.
    pub bttc: BttcSection,
    /// Rules of execution.
    pub rules: Rules,
}

/// What a new network is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainPlan {
    /// Its kind.
    pub preset: Preset,
    /// Time of the genesis block, seconds since 1970.
    pub timestamp: u64,
    /// The validators of the first epoch.
    pub validators: Vec<GenesisValidator>,
    /// Parameters of the chain.
    pub params: ChainParams,
    /// Accounts with what they have; `local` networks fund the development accounts beside them.
    pub accounts: Vec<(Address, GenesisAccount)>,
    /// Random; zero: the network will never have a bridge.
    pub bridge_id: B256,
    /// What is said of the supply.
    pub supply: SupplyPlan,
}

impl ChainPlan {
    /// A network with these validators and a preset's parameters, without a bridge.
    pub fn new(preset: Preset, timestamp: u64, validators: Vec<GenesisValidator>) -> Self {
        Self {
            preset,
            timestamp,
            validators,
            params: preset.params(),
            accounts: Vec::new(),
            bridge_id: B256::ZERO,
            supply: SupplyPlan::default(),
        }
    }
}

impl ChainSpec {
    /// A new network of a preset's kind with these validators; `local` networks fund the development accounts.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(preset: Preset, timestamp: u64, validators: Vec<GenesisValidator>) -> Result<Self, Error> {
        Self::of(ChainPlan::new(preset, timestamp, validators))
    }

    /// A new network.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn of(plan: ChainPlan) -> Result<Self, Error> {
        let ChainPlan { preset, timestamp, validators, params, accounts, bridge_id, supply: said } = plan;
        let mut alloc = predeploys(preset.chain_id());
        let mut supply =
            Supply { reserve: U256::ZERO, reward_pool: U256::ZERO, tron_supply: U256::ZERO, tron_locked: U256::ZERO };
        if preset == Preset::Local {
            for (address, balance) in dev_accounts() {
                alloc.insert(address, GenesisAccount::default().with_balance(balance));
            }
            supply.reserve = U256::from(1_000_000_000u64) * U256::from(BTT);
            supply.reward_pool = supply.reserve;
        }
        let mut genesis = Genesis {
            timestamp,
            gas_limit: params.gas_limit,
            base_fee_per_gas: Some(u128::from(params.min_base_fee)),
            alloc,
            ..Genesis::default()
        };
        genesis.config.chain_id = preset.chain_id();
        activate_all_forks(&mut genesis.config);
        let forks = BTreeMap::from([("osaka".to_owned(), 0)]);
        let bridge = BridgeSection { bridge_id, ..BridgeSection::default() };
        let bttc = BttcSection { preset, params, validators, supply, bridge, forks };
        let mut spec = Self { genesis, bttc, rules: Rules::Bttc };
        spec.import_accounts(accounts)?;
        spec.plan_supply(said)?;
        spec.validate()?;
        Ok(spec)
    }

    /// Reads and checks a genesis file.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::NoBttcSection`] or [`Error::Invalid`].
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let json = |error: serde_json::Error| Error::Json(error.to_string());
        let mut value: serde_json::Value = serde_json::from_str(text).map_err(json)?;
        let section = value.as_object_mut().and_then(|object| object.remove("bttc")).ok_or(Error::NoBttcSection)?;
        let bttc: BttcSection = serde_json::from_value(section).map_err(json)?;
        let genesis: Genesis = serde_json::from_value(value).map_err(json)?;
        let spec = Self { genesis, bttc, rules: Rules::Bttc };
        spec.validate()?;
        Ok(spec)
    }

    /// Writes the genesis file.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn to_json(&self) -> Result<String, Error> {
        let json = |error: serde_json::Error| Error::Json(error.to_string());
        let mut value = serde_json::to_value(&self.genesis).map_err(json)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("bttc".into(), serde_json::to_value(&self.bttc).map_err(json)?);
        }
        serde_json::to_string_pretty(&value).map_err(json)
    }

    /// The chain id.
    pub fn chain_id(&self) -> u64 {
        self.genesis.config.chain_id
    }

    /// Epoch of a block: blocks 1 to `epoch_blocks` are epoch 0.
    pub fn epoch(&self, height: u64) -> u64 {
        height.saturating_sub(1) / self.bttc.params.epoch_blocks.max(1)
    }

    /// Position of a block within its epoch.
    pub fn epoch_offset(&self, height: u64) -> u64 {
        height.saturating_sub(1) % self.bttc.params.epoch_blocks.max(1)
    }

    /// The set of the first two epochs with priorities zero.
    ///
    /// # Errors
    /// [`Error::Invalid`]; never for a spec that was validated.
    pub fn genesis_set(&self) -> Result<ValidatorSet, Error> {
        let entries = self.bttc.validators.iter();
        let validators =
            entries.map(|entry| Validator { address: entry.address, owner: entry.owner, power: entry.power }).collect();
        ValidatorSet::new(validators).map_err(|error| Error::invalid("bttc.validators", error.to_string()))
    }

    /// The first fork in the schedule that this program does not know, with its height: the node must stop before.
    pub fn unknown_fork(&self) -> Option<(&str, u64)> {
        self.bttc
            .forks
            .iter()
            .filter(|(name, _)| !KNOWN_FORKS.contains(&name.as_str()))
            .map(|(name, height)| (name.as_str(), *height))
            .min_by_key(|(_, height)| *height)
    }

    /// Checks everything that can be checked without executing.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn validate(&self) -> Result<(), Error> {
        let params = &self.bttc.params;
        params.validate(self.bttc.preset)?;
        if self.bttc.preset != Preset::Local && self.chain_id() != self.bttc.preset.chain_id() {
            return Err(Error::invalid(
                "config.chainId",
                format!("preset {:?} has chain id {}", self.bttc.preset, self.bttc.preset.chain_id()),
            ));
        }
        // Signature `v` of a legacy transaction is chain id * 2 + 36 and must fit 64 bits.
        if self.chain_id() == 0 || self.chain_id() > u64::MAX / 2 - 36 {
            return Err(Error::invalid("config.chainId", "must be positive and below 2^63 - 36"));
        }
        if self.genesis.gas_limit != params.gas_limit {
            return Err(Error::invalid("gasLimit", "must equal bttc.params.gasLimit"));
        }
        if self.genesis.base_fee_per_gas != Some(u128::from(params.min_base_fee)) {
            return Err(Error::invalid("baseFeePerGas", "must equal bttc.params.minBaseFee"));
        }
        if self.bttc.forks.get("osaka") != Some(&0) {
            return Err(Error::invalid("bttc.forks.osaka", "must be 0: Osaka is in force from genesis"));
        }
        if self.genesis.timestamp > 253_402_300_799 {
            return Err(Error::invalid("timestamp", "is after the year 9999; it is in seconds"));
        }
        self.validate_validators()?;
        for (address, required) in predeploys(self.chain_id()) {
            let found = self.genesis.alloc.get(&address);
            let same = found.is_some_and(|found| (&found.code, &found.storage) == (&required.code, &required.storage));
            if !same {
                let what = format!("predeployed account {address} is missing, or has other code or slots");
                return Err(Error::invalid("alloc", what));
            }
        }
        self.validate_bridge()?;
        self.validate_supply()
    }

    /// Gateways and their tokens must be what governance could have registered.
    fn validate_bridge(&self) -> Result<(), Error> {
        let bridge = &self.bttc.bridge;
        let invalid = |reason: String| Err(Error::invalid("bttc.bridge", reason));
        if bridge.gateways.is_empty() {
            return Ok(());
        }
        self.bttc.params.validate_bridge(self.bttc.preset)?;
        if bridge.bridge_id.is_zero() {
            return invalid("bridgeId is zero: it must be random".into());
        }
        let members = self.bttc.validators.iter().filter(|entry| entry.bridge.is_some()).count();
        let least = self.bttc.preset.bridge().min_signers as usize;
        if members < least || members > MAX_BRIDGE_MEMBERS {
            return invalid(format!(
                "{members} validators have a bridge key; {least} to {MAX_BRIDGE_MEMBERS} are needed"
            ));
        }
        let (mut gateways, mut natives, mut origins) = (BTreeSet::new(), 0, BTreeSet::new());
        for gateway in &bridge.gateways {
            if gateway.root_chain_id == 0 || gateway.root_chain_id > u64::from(u32::MAX) {
                return invalid(format!("rootChainId {} does not fit 32 bits", gateway.root_chain_id));
            }
            if gateway.gateway == Address::ZERO || !gateways.insert((gateway.root_chain_id, gateway.gateway)) {
                return invalid(format!("gateway {} is there twice, or zero", gateway.gateway));
            }
            for token in &gateway.tokens {
                let bound = U256::from(1u64) << 112;
                let named = (1..=64).contains(&token.name.len()) && (1..=32).contains(&token.symbol.len());
                if !named || token.minimum.is_zero() || token.minimum >= bound || token.floor >= bound {
                    return invalid(format!("token {} has no proper name or limits", token.root));
                }
                if token.root == Address::ZERO || !origins.insert((gateway.root_chain_id, token.root)) {
                    return invalid(format!("token {} is there twice, or zero", token.root));
                }
                natives += usize::from(token.native);
            }
        }
        if natives > 1 {
            return invalid("only one token can be the native coin".into());
        }
        Ok(())
    }

    /// The first validators must be what the staking module would have accepted.
    fn validate_validators(&self) -> Result<(), Error> {
        let params = &self.bttc.params;
        let set = self.genesis_set()?;
        if set.len() as u64 > params.max_validators {
            return Err(Error::invalid(
                "bttc.validators",
                format!("has {} entries, bttc.params.maxValidators is {}", set.len(), params.max_validators),
            ));
        }
        let (mut keys, mut owners) = (BTreeSet::new(), BTreeSet::new());
        for entry in &self.bttc.validators {
            if entry.power.saturating_mul(params.power_unit) < params.min_self_stake {
                let least = params.min_self_stake.div_ceil(params.power_unit);
                return Err(Error::invalid(
                    "bttc.validators",
                    format!("{} has power {}, the minimum self-stake is power {least}", entry.address, entry.power),
                ));
            }
            if !owners.insert(entry.owner) {
                return Err(Error::invalid("bttc.validators", format!("{} owns two validators", entry.owner)));
            }
            for key in [Some(entry.address), entry.bridge].into_iter().flatten() {
                if key == Address::ZERO || !keys.insert(key) {
                    return Err(Error::invalid("bttc.validators", format!("the key {key} is there twice, or zero")));
                }
            }
        }
        Ok(())
    }

    /// Takes over accounts (a geth or bor state dump) that are not allocated yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when an address is allocated twice.
    pub fn import_accounts(
        &mut self,
        accounts: impl IntoIterator<Item = (Address, GenesisAccount)>,
    ) -> Result<usize, Error> {
        let mut count = 0;
        for (address, account) in accounts {
            if self.genesis.alloc.insert(address, account).is_some() {
                return Err(Error::invalid("alloc", format!("{address} is allocated already")));
            }
            count += 1;
        }
        Ok(count)
    }
}

/// Marks every fork up to Osaka active from genesis, as wallets and tools read it from the file.
fn activate_all_forks(config: &mut alloy_genesis::ChainConfig) {
    let zero = Some(0);
    config.homestead_block = zero;
    config.eip150_block = zero;
    config.eip155_block = zero;
    config.eip158_block = zero;
    config.byzantium_block = zero;
    config.constantinople_block = zero;
    config.petersburg_block = zero;
    config.istanbul_block = zero;
    config.berlin_block = zero;
    config.london_block = zero;
    config.merge_netsplit_block = zero;
    config.shanghai_time = zero;
    config.cancun_time = zero;
    config.prague_time = zero;
    config.osaka_time = zero;
    config.terminal_total_difficulty = Some(U256::ZERO);
    config.terminal_total_difficulty_passed = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators(count: u8) -> Vec<GenesisValidator> {
        (1..=count)
            .map(|index| GenesisValidator {
                address: Address::with_last_byte(index),
                owner: Address::with_last_byte(index),
                power: 1_000,
                bridge: None,
            })
            .collect()
    }

    #[test]
    fn a_genesis_file_reads_back_as_it_was_written() {
        let spec = ChainSpec::new(Preset::Local, 1_700_000_000, validators(4)).unwrap();
        let text = spec.to_json().unwrap();
        assert_eq!(ChainSpec::from_json(&text).unwrap(), spec);
    }

    #[test]
    fn unknown_fields_in_our_section_are_refused() {
        let spec = ChainSpec::new(Preset::Local, 0, validators(1)).unwrap();
        let text = spec.to_json().unwrap().replace("\"burnRatioBps\"", "\"burnRatio\"");
        assert!(matches!(ChainSpec::from_json(&text), Err(Error::Json(_))));
    }

    #[test]
    fn epochs_begin_after_block_zero() {
        let spec = ChainSpec::new(Preset::Local, 0, validators(3)).unwrap();
        let epoch = spec.bttc.params.epoch_blocks;
        assert_eq!((spec.epoch(1), spec.epoch(epoch), spec.epoch(epoch + 1)), (0, 0, 1));
        assert_eq!((spec.epoch_offset(1), spec.epoch_offset(epoch), spec.epoch_offset(epoch + 1)), (0, epoch - 1, 0));
    }

    #[test]
    fn validators_that_could_not_be_created_are_refused() {
        let good = validators(3);
        for change in [
            (|entry: &mut GenesisValidator| entry.power = 999) as fn(&mut GenesisValidator),
            |entry| entry.owner = Address::with_last_byte(2),
            |entry| entry.bridge = Some(Address::with_last_byte(3)),
            |entry| entry.address = Address::with_last_byte(3),
        ] {
            let mut list = good.clone();
            change(&mut list[0]);
            assert!(ChainSpec::new(Preset::Local, 0, list).is_err());
        }
    }

    #[test]
    fn an_unknown_fork_is_named_with_its_height() {
        let mut spec = ChainSpec::new(Preset::Local, 0, validators(1)).unwrap();
        assert_eq!(spec.unknown_fork(), None);
        spec.bttc.forks.insert("later".into(), 500);
        spec.bttc.forks.insert("soon".into(), 40);
        assert_eq!(spec.unknown_fork(), Some(("soon", 40)));
    }

    #[test]
    fn development_keys_belong_to_their_addresses() {
        for (address, key) in crate::DEV_KEYS {
            assert_eq!(bttc_types::SecretKey::from_bytes(&key.0).unwrap().address(), address);
        }
    }
}
