//! `bttc gov`: proposals, votes and parameters.

use crate::home::Home;
use crate::wallet::amount::{Amount, Share, btt, percent};
use crate::wallet::args::{GovCommand, ProposalArgs, ProposeCommand, ReadArgs};
use crate::wallet::client::{Client, quantity};
use crate::wallet::send::{Intent, Sender, Shown};
use alloy_primitives::{U64, U256};
use alloy_sol_types::SolCall;
use bttc_genesis::{BTT, GOVERNANCE_ADDRESS, Group, PARAMETERS, Parameter, ParameterInfo};
use bttc_modules::interfaces::IGovernance::{self, Split};
use eyre::{bail, eyre};
use jsonrpsee::rpc_params;
use serde_json::{Value, json};

/// Runs a `gov` command.
///
/// # Errors
/// In words, with the governance module's own reason where it has one.
pub(crate) fn run(command: GovCommand) -> eyre::Result<()> {
    match command {
        GovCommand::Proposals(read) => proposals(&read),
        GovCommand::Proposal { id, read } => proposal(id, &read),
        GovCommand::Params(read) => params(&read),
        GovCommand::Propose(command) => propose(command),
        GovCommand::Deposit { id, amount, send } => {
            let words = format!("Add {} to the deposit of proposal {id}", btt(amount.wei()?));
            let call = IGovernance::depositCall { id };
            Sender::new(&send)?.send(&intent(words, amount.wei()?, &call), |_| Vec::new())
        }
        GovCommand::WithdrawDeposit { id, send } => {
            let words = format!("Take the deposit of proposal {id} back");
            Sender::new(&send)?.send(&intent(words, U256::ZERO, &IGovernance::withdrawDepositCall { id }), |logs| {
                let events = logs.iter();
                let mut events =
                    events.filter_map(|log| log.decode::<IGovernance::DepositWithdrawn>(GOVERNANCE_ADDRESS));
                events.next().map(|event| vec![("paid", Shown::Coins(event.amount))]).unwrap_or_default()
            })
        }
        GovCommand::Vote { id, choice, as_validator, at, send } => {
            let sender = Sender::new(&send)?;
            let split = split(&choice)?;
            if as_validator {
                let words = format!("Vote {choice} on proposal {id} with the validator's stake");
                let call = IGovernance::voteAsValidatorCall { id, split };
                return sender.send(&intent(words, U256::ZERO, &call), |_| Vec::new());
            }
            let validators = at.iter().map(|name| sender.client.validator(name)).collect::<eyre::Result<Vec<_>>>()?;
            let words = format!("Vote {choice} on proposal {id} with the sender's own stake");
            let call = IGovernance::voteCall { id, validators, split };
            sender.send(&intent(words, U256::ZERO, &call), |logs| {
                let votes = logs.iter().filter_map(|log| log.decode::<IGovernance::Voted>(GOVERNANCE_ADDRESS));
                vec![("weight", Shown::Coins(votes.fold(U256::ZERO, |sum, vote| sum.saturating_add(vote.weight))))]
            })
        }
    }
}

fn intent(words: String, value: U256, call: &impl SolCall) -> Intent {
    Intent { words, to: GOVERNANCE_ADDRESS, value, input: call.abi_encode() }
}

/// A vote from its words.
fn split(text: &str) -> eyre::Result<Split> {
    let wrong = || eyre!("{text:?} is no vote: use yes, no, abstain, veto, or parts like yes=70,abstain=30");
    let mut split = Split { yes: 0, no: 0, abstain: 0, veto: 0 };
    let mut sum = 0u32;
    for part in text.split(',') {
        let (name, share) = part.split_once('=').unwrap_or((part, "100"));
        let Share(points) = share.parse().map_err(|_| wrong())?;
        let place = match name.trim() {
            "yes" => &mut split.yes,
            "no" => &mut split.no,
            "abstain" => &mut split.abstain,
            "veto" => &mut split.veto,
            _ => return Err(wrong()),
        };
        if *place != 0 {
            return Err(wrong());
        }
        *place = points;
        sum = sum.saturating_add(u32::from(points));
    }
    if sum != 10_000 {
        bail!("the parts of {text:?} add up to {}, not to 100 %", percent(u64::from(sum)));
    }
    Ok(split)
}

/// A change from `NAME=VALUE`.
fn change(text: &str) -> eyre::Result<IGovernance::Change> {
    let (parameter, value) = crate::commands::parameter(text)?;
    Ok(IGovernance::Change { parameter, value })
}

fn propose(command: ProposeCommand) -> eyre::Result<()> {
    match command {
        ProposeCommand::Text(proposal) => {
            let (title, description) = (proposal.title.clone(), proposal.description.clone());
            submit(&proposal, "a text", &IGovernance::proposeTextCall { title, description })
        }
        ProposeCommand::Params { changes, expedited, proposal } => {
            let words = format!("parameters: {}", changes.join(", "));
            let changes = changes.iter().map(|text| change(text)).collect::<eyre::Result<Vec<_>>>()?;
            let (title, description) = (proposal.title.clone(), proposal.description.clone());
            submit(&proposal, &words, &IGovernance::proposeParametersCall { changes, expedited, title, description })
        }
        ProposeCommand::Upgrade { name, height, expedited, proposal } => {
            let words = format!("the upgrade {name:?} at height {height}");
            let (title, description) = (proposal.title.clone(), proposal.description.clone());
            submit(&proposal, &words, &IGovernance::proposeUpgradeCall { name, height, expedited, title, description })
        }
        ProposeCommand::Payment { recipient, amount, proposal } => {
            let words = format!("a payment of {} to {recipient}", btt(amount.wei()?));
            let (title, description) = (proposal.title.clone(), proposal.description.clone());
            let call = IGovernance::proposePaymentCall { recipient, amount: amount.wei()?, title, description };
            submit(&proposal, &words, &call)
        }
    }
}

fn submit(proposal: &ProposalArgs, what: &str, call: &impl SolCall) -> eyre::Result<()> {
    let sender = Sender::new(&proposal.send)?;
    let deposit = match proposal.deposit {
        Some(amount) => amount,
        None => {
            let number = Parameter::proposal_deposit as u16;
            let coins = sender.client.view(GOVERNANCE_ADDRESS, &IGovernance::parameterCall { number })?;
            Amount::Wei(U256::from(coins).saturating_mul(U256::from(BTT)))
        }
    };
    let words = format!("Propose {what}, titled {:?}", proposal.title);
    sender.send(&intent(words, deposit.wei()?, call), |logs| {
        let mut events = logs.iter().filter_map(|log| log.decode::<IGovernance::Proposed>(GOVERNANCE_ADDRESS));
        events.next().map(|event| vec![("id", Shown::Text(event.id.to_string()))]).unwrap_or_default()
    })
}

fn client(read: &ReadArgs) -> eyre::Result<Client> {
    Client::new(read.rpc.as_deref(), &Home::new(&read.home.home))
}

/// Words of the node, which must not steer the terminal.
fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or("?").escape_debug().to_string()
}

fn proposals(read: &ReadArgs) -> eyre::Result<()> {
    let list: Vec<Value> = client(read)?.ask("bttc_proposals", rpc_params![])?;
    if read.json {
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    println!("{:>5}  {:10}  {:10}  title", "id", "kind", "status");
    for entry in list {
        let title = text(&entry, "title");
        println!("{:>5}  {:10}  {:10}  {title}", quantity(&entry, "id"), text(&entry, "kind"), text(&entry, "status"));
    }
    Ok(())
}

fn proposal(id: u64, read: &ReadArgs) -> eyre::Result<()> {
    let client = client(read)?;
    let shown: Value = client.ask("bttc_proposal", rpc_params![U64::from(id)])?;
    if read.json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    println!("proposal  {id}: {}", text(&shown, "title"));
    println!("kind      {}, {}", text(&shown, "kind"), text(&shown, "status"));
    println!("proposer  {}", text(&shown, "proposer"));
    println!("deposit   {}", btt(quantity(&shown, "deposit")));
    println!("bonded    {} when the voting opened", btt(quantity(&shown, "bonded")));
    for option in ["yes", "no", "abstain", "veto"] {
        println!("{option:9} {}", btt(quantity(&shown, option)));
    }
    let now = client.head_seconds()?;
    for (name, label) in
        [("depositEndMs", "deposit ends"), ("votingEndMs", "voting ends"), ("executeAtMs", "takes effect")]
    {
        let at = quantity(&shown, name).saturating_to::<u64>() / 1_000;
        let over = name == "depositEndMs" && text(&shown, "status") != "deposit";
        if at > now && !over {
            println!("{label} in {} s", at - now);
        }
    }
    Ok(())
}

fn params(read: &ReadArgs) -> eyre::Result<()> {
    let shown: Value = client(read)?.ask("bttc_params", rpc_params!["latest"])?;
    if read.json {
        let entry = |info: &ParameterInfo| {
            json!({
                "number": info.id, "name": info.name, "title": info.title, "value": quantity(&shown, info.name).saturating_to::<u64>(),
                "min": info.min, "max": info.max, "fixed": info.group == Group::Fixed,
                "needsTwoThirds": info.group.is_protected(),
            })
        };
        println!("{}", serde_json::to_string_pretty(&PARAMETERS.iter().map(entry).collect::<Vec<_>>())?);
        return Ok(());
    }
    println!("{:24}  {:>20}  {:>32}  who changes it", "name", "value", "range");
    for info in PARAMETERS {
        let who = match info.group {
            Group::Fixed => "nobody",
            group if group.is_protected() => "two thirds of all power",
            _ => "a majority of votes",
        };
        let range = format!("{} to {}", info.min, info.max);
        println!("{:24}  {:>20}  {range:>32}  {who}  ({})", info.name, quantity(&shown, info.name), info.title);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_whole() {
        assert_eq!(split("yes").unwrap(), Split { yes: 10_000, no: 0, abstain: 0, veto: 0 });
        let parts = Split { yes: 6_650, no: 0, abstain: 3_350, veto: 0 };
        assert_eq!(split("yes=66.5,abstain=33.5").unwrap(), parts);
        for wrong in ["", "maybe", "yes,no", "yes=50", "yes=50,yes=50", "yes=-1,no=101", "yes=60,no=60"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn changes_name_a_parameter() {
        let good = change("minBaseFee=1_000").unwrap();
        assert_eq!((good.parameter, good.value), (Parameter::min_base_fee as u16, 1_000));
        for wrong in ["minBaseFee", "minBaseFee=", "minBaseFee=-1", "minBaseFee=1.5", "nothing=1"] {
            assert!(change(wrong).is_err(), "{wrong}");
        }
    }
}
