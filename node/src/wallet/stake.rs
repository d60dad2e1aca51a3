//! `bttc stake`: validators and delegations.

use crate::home::Home;
use crate::keys::{self, KeyRole};
use crate::wallet::amount::{btt, percent};
use crate::wallet::args::{ReadArgs, SendArgs, SigningRole, StakeCommand};
use crate::wallet::client::{Client, quantity};
use crate::wallet::proofs::{KeyProof, KeyProofs};
use crate::wallet::send::{Intent, ReceiptLog, Sender, Shown};
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use bttc_genesis::STAKING_ADDRESS;
use bttc_modules::interfaces::IStaking;
use bttc_modules::staking::{BRIDGE_ROLE, CONSENSUS_ROLE};
use eyre::{bail, eyre};
use jsonrpsee::rpc_params;
use serde_json::{Value, json};
use std::path::Path;

/// Runs a `stake` command.
///
/// # Errors
/// In words, with the staking module's own reason where it has one.
pub(crate) fn run(command: StakeCommand) -> eyre::Result<()> {
    match command {
        StakeCommand::Validators(read) => validators(&read),
        StakeCommand::Validator { validator, read } => show_validator(&validator, &read),
        StakeCommand::Show { account, read, password } => {
            let home = Home::new(&read.home.home);
            let account = match account {
                Some(account) => account,
                None if KeyRole::Owner.path(&home).exists() => {
                    let (home, password) = crate::commands::unlocked(&read.home, &password)?;
                    keys::address(&keys::load(&home, KeyRole::Owner, &password)?)?
                }
                None => bail!("whose? name an account"),
            };
            show_account(account, &read)
        }
        StakeCommand::Prove { owner, home, password } => {
            let (home, password) = crate::commands::unlocked(&home, &password)?;
            println!("{}", serde_json::to_string_pretty(&KeyProofs::make(&home, &password, owner)?)?);
            Ok(())
        }
        StakeCommand::Create { amount, name, commission, keys, send } => {
            let sender = Sender::new(&send)?;
            let proofs = proofs(&sender, &send, keys.as_deref())?;
            let words = format!(
                "Create the validator {name:?} with the consensus key {} and a commission of {}",
                proofs.consensus.key,
                percent(u64::from(commission.0))
            );
            let call = IStaking::createValidatorCall {
                consensusKey: proofs.consensus.key,
                consensusProof: proofs.consensus.proof,
                bridgeKey: proofs.bridge.key,
                bridgeProof: proofs.bridge.proof,
                commissionBps: commission.0,
                name,
            };
            sender.send(&intent(words, amount.wei()?, &call), |logs| {
                find(logs, |event: IStaking::ValidatorCreated| vec![("id", Shown::Text(event.id.to_string()))])
            })
        }
        StakeCommand::Edit { commission, name, send } => {
            let sender = Sender::new(&send)?;
            let id = own_validator(&sender)?;
            let now = sender.client.view(STAKING_ADDRESS, &IStaking::validatorCall { id })?;
            let commission = commission.map_or(now.commissionBps, |share| share.0);
            let name = name.unwrap_or(now.name);
            let words = format!("Validator {id}: name {name:?}, commission {}", percent(u64::from(commission)));
            let call = IStaking::editValidatorCall { commissionBps: commission, name };
            sender.send(&intent(words, U256::ZERO, &call), |_| Vec::new())
        }
        StakeCommand::Rotate { role, keys, send } => {
            let sender = Sender::new(&send)?;
            let id = own_validator(&sender)?;
            let proofs = proofs(&sender, &send, keys.as_deref())?;
            let (number, KeyProof { key, proof }) = match role {
                SigningRole::Consensus => (CONSENSUS_ROLE, proofs.consensus),
                SigningRole::Bridge => (BRIDGE_ROLE, proofs.bridge),
            };
            let words = format!("Validator {id}: its {role:?} key becomes {key}");
            let call = IStaking::rotateKeyCall { role: number, key, proof };
            sender.send(&intent(words, U256::ZERO, &call), |_| Vec::new())
        }
        StakeCommand::Delegate { validator, amount, send } => {
            let sender = Sender::new(&send)?;
            let id = sender.client.validator(&validator)?;
            let words = format!("Delegate {} to {}", btt(amount.wei()?), named(&sender.client, id)?);
            sender.send(&intent(words, amount.wei()?, &IStaking::delegateCall { id }), |_| Vec::new())
        }
        StakeCommand::Undelegate { validator, amount, send } => {
            let sender = Sender::new(&send)?;
            let id = sender.client.validator(&validator)?;
            let words = format!("Take {} back from {}", some(amount.or_all()), named(&sender.client, id)?);
            let call = IStaking::undelegateCall { id, amount: amount.or_all() };
            sender.send(&intent(words, U256::ZERO, &call), undelegated)
        }
        StakeCommand::Redelegate { from, to, amount, send } => {
            let sender = Sender::new(&send)?;
            let (from, to) = (sender.client.validator(&from)?, sender.client.validator(&to)?);
            let words = format!(
                "Move {} from {} to {}",
                some(amount.or_all()),
                named(&sender.client, from)?,
                named(&sender.client, to)?
            );
            let call = IStaking::redelegateCall { from, to, amount: amount.or_all() };
            sender.send(&intent(words, U256::ZERO, &call), undelegated)
        }
        StakeCommand::Withdraw { account, send } => {
            let sender = Sender::new(&send)?;
            let delegator = account.unwrap_or_else(|| sender.address());
            something_mature(&sender.client, delegator)?;
            let words = format!("Pay out what of {delegator}'s stake has unbonded");
            let call = IStaking::withdrawCall { delegator };
            sender.send(&intent(words, U256::ZERO, &call), |logs| {
                let (mut paid, mut moved) = (U256::ZERO, U256::ZERO);
                for event in logs.iter().filter_map(|log| log.decode::<IStaking::Withdrawn>(STAKING_ADDRESS)) {
                    // What was redelegated goes to another validator.
                    let sum = if event.target == 0 { &mut paid } else { &mut moved };
                    *sum = sum.saturating_add(event.amount);
                }
                vec![("paid", Shown::Coins(paid)), ("delegated", Shown::Coins(moved))]
            })
        }
        StakeCommand::Claim { validator, send } => {
            let sender = Sender::new(&send)?;
            let id = sender.client.validator(&validator)?;
            let words = format!("Pay out the rewards of {}", named(&sender.client, id)?);
            sender.send(&intent(words, U256::ZERO, &IStaking::claimRewardsCall { id }), |logs| {
                find(logs, |event: IStaking::RewardsClaimed| vec![("paid", Shown::Coins(event.amount))])
            })
        }
        StakeCommand::Unjail(send) => {
            let sender = Sender::new(&send)?;
            let words = format!("End the jail of {}", named(&sender.client, own_validator(&sender)?)?);
            sender.send(&intent(words, U256::ZERO, &IStaking::unjailCall {}), |_| Vec::new())
        }
        StakeCommand::Exit(send) => {
            let sender = Sender::new(&send)?;
            let words = format!(
                "Take {} out of the network FOR EVER; this owner can have no validator again",
                named(&sender.client, own_validator(&sender)?)?
            );
            sender.send(&intent(words, U256::ZERO, &IStaking::exitCall {}), |_| Vec::new())
        }
    }
}

fn intent(words: String, value: U256, call: &impl SolCall) -> Intent {
    Intent { words, to: STAKING_ADDRESS, value, input: call.abi_encode() }
}

fn some(amount: U256) -> String {
    if amount == U256::MAX { "all stake".into() } else { btt(amount) }
}

/// Words from the first event of a kind.
fn find<E: alloy_sol_types::SolEvent>(
    logs: &[ReceiptLog],
    words: impl Fn(E) -> Vec<(&'static str, Shown)>,
) -> Vec<(&'static str, Shown)> {
    logs.iter().find_map(|log| log.decode::<E>(STAKING_ADDRESS)).map(words).unwrap_or_default()
}

fn undelegated(logs: &[ReceiptLog]) -> Vec<(&'static str, Shown)> {
    find(logs, |event: IStaking::Undelegated| vec![("unbonds", Shown::Coins(event.amount))])
}

fn proofs(sender: &Sender<'_>, send: &SendArgs, file: Option<&Path>) -> eyre::Result<KeyProofs> {
    match file {
        Some(file) => KeyProofs::read(file, sender.address()),
        None => KeyProofs::make(&Home::new(&send.read.home.home), &sender.home_password()?, sender.address()),
    }
}

/// Says so when there is nothing to be paid out: the module takes that for a success.
fn something_mature(client: &Client, delegator: Address) -> eyre::Result<()> {
    let now = client.head_seconds()?.saturating_mul(1_000);
    let entries = client.view(STAKING_ADDRESS, &IStaking::unbondingsCall { delegator })?;
    if entries.iter().any(|entry| entry.maturity > 0 && entry.maturity <= now) {
        return Ok(());
    }
    let next = entries.iter().map(|entry| entry.maturity).filter(|maturity| *maturity > 0).min();
    match next {
        Some(at) => {
            bail!("nothing can be paid out yet: the next of it in {} s", at.saturating_sub(now).div_ceil(1_000))
        }
        None if entries.is_empty() => bail!("{delegator} has no stake on its way out"),
        None => bail!("nothing can be paid out yet: its power is still in force"),
    }
}

fn own_validator(sender: &Sender<'_>) -> eyre::Result<u32> {
    let account = sender.address();
    match sender.client.view(STAKING_ADDRESS, &IStaking::validatorOfCall { account })? {
        0 => Err(eyre!("{account} owns no validator")),
        id => Ok(id),
    }
}

/// A validator for people: `validator 3 "name" of 0x...`.
fn named(client: &Client, id: u32) -> eyre::Result<String> {
    let info = client.view(STAKING_ADDRESS, &IStaking::validatorCall { id })?;
    Ok(format!("validator {id} {:?} of {}", info.name, info.owner))
}

fn state(info: &IStaking::ValidatorInfo) -> &'static str {
    match info {
        info if info.tombstoned => "tombstoned",
        info if info.exiting => "exiting",
        info if info.jailed => "jailed",
        info if info.power > 0 => "signing",
        info if info.candidate => "candidate",
        _ => "inactive",
    }
}

fn validators(read: &ReadArgs) -> eyre::Result<()> {
    let client = Client::new(read.rpc.as_deref(), &Home::new(&read.home.home))?;
    let count = client.view(STAKING_ADDRESS, &IStaking::validatorCountCall {})?;
    let mut list = Vec::new();
    for id in 1..=count {
        list.push(client.view(STAKING_ADDRESS, &IStaking::validatorCall { id })?);
    }
    if read.json {
        let list: Vec<Value> = list.iter().map(json_of).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    println!("{:>4}  {:24}  {:10}  {:>10}  {:>28}  {:>7}  owner", "id", "name", "state", "power", "stake", "share");
    for info in list {
        println!(
            "{:>4}  {:24}  {:10}  {:>10}  {:>28}  {:>7}  {}",
            info.id,
            info.name.escape_debug().to_string(),
            state(&info),
            info.power,
            btt(info.tokens),
            percent(u64::from(info.commissionBps)),
            info.owner
        );
    }
    Ok(())
}

fn json_of(info: &IStaking::ValidatorInfo) -> Value {
    json!({
        "id": info.id, "name": info.name, "state": state(info), "owner": info.owner, "consensusKey": info.consensusKey,
        "bridgeKey": info.bridgeKey, "commissionBps": info.commissionBps, "power": info.power, "tokens": info.tokens,
        "shares": info.shares, "selfStake": info.selfStake, "candidate": info.candidate, "jailed": info.jailed,
        "tombstoned": info.tombstoned, "exiting": info.exiting, "jailedUntilMs": info.jailedUntil,
        "missedBlocks": info.missedBlocks,
    })
}

fn show_validator(name: &str, read: &ReadArgs) -> eyre::Result<()> {
    let client = Client::new(read.rpc.as_deref(), &Home::new(&read.home.home))?;
    let id = client.validator(name)?;
    let info = client.view(STAKING_ADDRESS, &IStaking::validatorCall { id })?;
    if read.json {
        println!("{}", serde_json::to_string_pretty(&json_of(&info))?);
        return Ok(());
    }
    println!("validator      {} {:?}, {}", info.id, info.name, state(&info));
    println!("owner          {}", info.owner);
    println!("consensus key  {}", info.consensusKey);
    println!("bridge key     {}", info.bridgeKey);
    println!("stake          {}, its own {}", btt(info.tokens), btt(info.selfStake));
    println!("power          {}", info.power);
    println!("commission     {}", percent(u64::from(info.commissionBps)));
    println!("missed         {} blocks of the window", info.missedBlocks);
    if info.jailed && !info.tombstoned {
        println!("jailed until   {} (ms since 1970; 0 while its power is still in force)", info.jailedUntil);
    }
    Ok(())
}

fn show_account(account: Address, read: &ReadArgs) -> eyre::Result<()> {
    let client = Client::new(read.rpc.as_deref(), &Home::new(&read.home.home))?;
    let shown: Value = client.ask("bttc_delegations", rpc_params![account])?;
    if read.json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    let balance: U256 = client.ask("eth_getBalance", rpc_params![account, "latest"])?;
    println!("{account} has {}", btt(balance));
    let list = |name: &str| shown.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for entry in list("delegations") {
        let (amount, rewards) = (quantity(&entry, "amount"), quantity(&entry, "rewards"));
        println!("  at validator {}: {}, rewards {}", quantity(&entry, "validator"), btt(amount), btt(rewards));
    }
    let now = client.head_seconds()?;
    for entry in list("unbonding") {
        let maturity = quantity(&entry, "maturityMs").saturating_to::<u64>() / 1_000;
        let when = match maturity {
            0 => "begins to unbond when its power has left the set".to_owned(),
            at if at <= now => "can be withdrawn".to_owned(),
            at => format!("can be withdrawn in {} s", at - now),
        };
        let target = quantity(&entry, "target");
        let target = if target.is_zero() { String::new() } else { format!(", goes to validator {target}") };
        println!(
            "  unbonding from {}: {}, {when}{target}",
            quantity(&entry, "validator"),
            btt(quantity(&entry, "value"))
        );
    }
    Ok(())
}
