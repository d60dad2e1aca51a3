//! The commands of genesis files.

use crate::cli::{GenesisCommand, NewGenesisArgs, SupplyArgs};
use crate::commands::{parameter, preset, read_spec};
use crate::keys;
use crate::wallet::Amount;
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, U256};
use bttc_executor::genesis_header;
use bttc_genesis::{ChainPlan, ChainSpec, GenesisValidator, SupplyPlan};
use eyre::{Context, bail, eyre};
use std::path::Path;

/// Runs a command.
pub(crate) fn run(command: GenesisCommand) -> eyre::Result<()> {
    match command {
        GenesisCommand::New(args) => new(&args),
        GenesisCommand::Validate { file } => {
            let spec = read_spec(&file)?;
            println!(
                "valid: chain id {}, {} validators, {} accounts, genesis hash {}",
                spec.chain_id(),
                spec.bttc.validators.len(),
                spec.genesis.alloc.len(),
                genesis_header(&spec)?.hash_slow()
            );
            println!("{}", spec.supply_figures()?);
            Ok(())
        }
        GenesisCommand::Hash { file } => {
            println!("{}", genesis_header(&read_spec(&file)?)?.hash_slow());
            Ok(())
        }
        GenesisCommand::ImportAlloc { file, dump, supply } => import(&file, &dump, &supply),
    }
}

fn new(args: &NewGenesisArgs) -> eyre::Result<()> {
    let validators = args.validators.iter().map(|text| validator(text)).collect::<eyre::Result<Vec<_>>>()?;
    let timestamp = args.timestamp.unwrap_or_else(|| crate::clock::now().wall_ms / 1_000);
    let mut plan = ChainPlan::new(preset(&args.preset)?, timestamp, validators);
    if !args.no_bridge {
        plan.bridge_id = keys::random_id();
    }
    for text in &args.params {
        let (id, value) = parameter(text)?;
        plan.params.set(id, value);
    }
    plan.accounts = args.funds.iter().map(|text| fund(text)).collect::<eyre::Result<Vec<_>>>()?;
    plan.supply = supply_plan(&args.supply)?;
    let spec = ChainSpec::of(plan)?;
    let text = spec.to_json()?;
    match &args.out {
        Some(path) => std::fs::write(path, text).wrap_err_with(|| format!("cannot write {}", path.display()))?,
        None => println!("{text}"),
    }
    eprintln!("{}", spec.supply_figures()?);
    Ok(())
}

fn import(file: &Path, dump: &Path, supply: &SupplyArgs) -> eyre::Result<()> {
    let mut spec = read_spec(file)?;
    let text = std::fs::read_to_string(dump).wrap_err_with(|| format!("cannot read {}", dump.display()))?;
    let count = spec.import_accounts(dump::parse(&text)?)?;
    spec.plan_supply(supply_plan(supply)?)?;
    spec.validate()?;
    std::fs::write(file, spec.to_json()?)?;
    println!("imported {count} accounts");
    eprintln!("{}", spec.supply_figures()?);
    Ok(())
}

fn supply_plan(args: &SupplyArgs) -> eyre::Result<SupplyPlan> {
    let wei = |flag: &str, amount: Option<Amount>| -> eyre::Result<Option<U256>> {
        amount.map(Amount::wei).transpose().wrap_err_with(|| format!("--{flag}"))
    };
    Ok(SupplyPlan {
        reward_pool: wei("reward-pool", args.reward_pool)?,
        tron_locked: wei("tron-locked", args.tron_locked)?,
        tron_supply: wei("supply", args.supply)?,
    })
}

fn validator(text: &str) -> eyre::Result<GenesisValidator> {
    let parts: Vec<&str> = text.split(':').collect();
    let (address, owner, power, bridge) = match parts.as_slice() {
        [address, owner, power] => (address, owner, power, None),
        [address, owner, power, bridge] => (address, owner, power, Some(bridge)),
        _ => bail!("validator {text:?}: expected `consensus address:owner address:power[:bridge address]`"),
    };
    Ok(GenesisValidator {
        address: address.parse().wrap_err_with(|| format!("{address:?} is no address"))?,
        owner: owner.parse().wrap_err_with(|| format!("{owner:?} is no address"))?,
        power: power.parse().wrap_err_with(|| format!("{power:?} is no power"))?,
        bridge: bridge.map(|key| key.parse().wrap_err_with(|| format!("{key:?} is no address"))).transpose()?,
    })
}

fn fund(text: &str) -> eyre::Result<(Address, GenesisAccount)> {
    let (address, amount) = text.split_once('=').ok_or_else(|| eyre!("{text:?}: write ADDRESS=AMOUNT"))?;
    let address = address.parse().wrap_err_with(|| format!("{address:?} is no address"))?;
    let amount: Amount = amount.parse().map_err(|error: String| eyre!(error))?;
    Ok((address, GenesisAccount::default().with_balance(amount.wei()?)))
}

/// State dumps of geth and bor.
mod dump {
    use alloy_genesis::GenesisAccount;
    use alloy_primitives::{Address, B256, Bytes, U256};
    use eyre::{Context, eyre};
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    struct DumpAccount {
        balance: String,
        #[serde(default)]
        nonce: serde_json::Value,
        #[serde(default)]
        code: Option<Bytes>,
        #[serde(default)]
        storage: BTreeMap<B256, String>,
    }

    /// Reads `{"accounts": {address: {...}}}` (numbers in decimal, as `geth dump` writes them) or a genesis `alloc`.
    pub(super) fn parse(text: &str) -> eyre::Result<Vec<(Address, GenesisAccount)>> {
        let value: serde_json::Value = serde_json::from_str(text).wrap_err("the dump is not JSON")?;
        let accounts = value.get("accounts").or_else(|| value.get("alloc")).unwrap_or(&value);
        let object = accounts.as_object().ok_or_else(|| eyre!("the dump has no accounts"))?;
        object
            .iter()
            .map(|(address, account)| {
                let address: Address = address.parse().wrap_err_with(|| format!("{address:?} is no address"))?;
                let account: DumpAccount =
                    serde_json::from_value(account.clone()).wrap_err_with(|| format!("account {address}"))?;
                let nonce = match &account.nonce {
                    serde_json::Value::Null => 0,
                    serde_json::Value::Number(number) => number.as_u64().unwrap_or(0),
                    serde_json::Value::String(text) => number(text)?.to(),
                    other => return Err(eyre!("account {address}: nonce {other}")),
                };
                let storage = account
                    .storage
                    .into_iter()
                    .map(|(slot, value)| Ok((slot, word(&value)?)))
                    .collect::<eyre::Result<BTreeMap<_, _>>>()?;
                let entry = GenesisAccount::default()
                    .with_balance(number(&account.balance)?)
                    .with_nonce(Some(nonce))
                    .with_code(account.code.filter(|code| !code.is_empty()))
                    .with_storage((!storage.is_empty()).then_some(storage));
                Ok((address, entry))
            })
            .collect()
    }

    fn number(text: &str) -> eyre::Result<U256> {
        text.parse().wrap_err_with(|| format!("{text:?} is no number"))
    }

    /// A storage word: hex with or without prefix and leading zeros.
    fn word(text: &str) -> eyre::Result<B256> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        U256::from_str_radix(digits, 16).map(B256::from).wrap_err_with(|| format!("{text:?} is no storage value"))
    }
}
