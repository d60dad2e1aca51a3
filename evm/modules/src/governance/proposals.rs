//! Making proposals, and their deposits.

use super::records::{Proposal, governance, kind, status};
use super::{MAX_CHANGES, MAX_WAITING, emit, parameters};
use crate::bridge::{self, Operation};
use crate::interfaces::IGovernance;
use crate::numbers::{Checked, wei};
use crate::{Fault, Host};
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolValue;
use bttc_genesis::{ChainParams, GOVERNANCE_ADDRESS, Group, Parameter, ParameterInfo};

/// A proposal that is about to be made: checked, not stored.
pub(crate) struct Draft<'a> {
    kind: u8,
    expedited: bool,
    title: &'a str,
    description: &'a str,
    payload: Vec<u8>,
}

/// What a parameter proposal stores.
pub(crate) type Changes = Vec<(u16, u64)>;

impl<'a> Draft<'a> {
    pub(crate) fn text(title: &'a str, description: &'a str) -> Self {
        Self { kind: kind::TEXT, expedited: false, title, description, payload: Vec::new() }
    }

    pub(crate) fn parameters(host: &mut dyn Host, args: &'a IGovernance::proposeParametersCall) -> Result<Self, Fault> {
        let changes: Changes = args.changes.iter().map(|change| (change.parameter, change.value)).collect();
        changed(host, &changes)?.map_err(|reason| Fault::revert(IGovernance::BadParameters { reason }))?;
        let payload = changes.abi_encode();
        let (title, description) = (args.title.as_str(), args.description.as_str());
        Ok(Self { kind: kind::PARAMETERS, expedited: args.expedited, title, description, payload })
    }

    pub(crate) fn upgrade(host: &mut dyn Host, args: &'a IGovernance::proposeUpgradeCall) -> Result<Self, Fault> {
        if !(1..=32).contains(&args.name.len()) || args.height <= host.env().height {
            return Err(Fault::revert(IGovernance::BadUpgrade {}));
        }
        let payload = (args.name.clone(), args.height).abi_encode();
        let (title, description) = (args.title.as_str(), args.description.as_str());
        Ok(Self { kind: kind::UPGRADE, expedited: args.expedited, title, description, payload })
    }

    pub(crate) fn payment(args: &'a IGovernance::proposePaymentCall) -> Result<Self, Fault> {
        if args.recipient == Address::ZERO || args.amount.is_zero() || args.amount > U256::from(u128::MAX) {
            return Err(Fault::revert(IGovernance::BadPayment {}));
        }
        let payload = (args.recipient, args.amount).abi_encode();
        let (title, description) = (args.title.as_str(), args.description.as_str());
        Ok(Self { kind: kind::PAYMENT, expedited: false, title, description, payload })
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn bridge(host: &mut dyn Host, args: &'a IGovernance::proposeBridgeCall) -> Result<Self, Fault> {
        let bad = |reason: &str| Fault::revert(IGovernance::BadOperation { reason: reason.to_owned() });
        let operation =
            Operation::decode(&args.operation).ok_or_else(|| bad("no such operation, or malformed arguments"))?;
        if let Some(reason) = bridge::operations::obstacle(host, &operation)? {
            return Err(bad(&reason));
        }
        let payload = args.operation.abi_encode();
        let (title, description) = (args.title.as_str(), args.description.as_str());
        Ok(Self { kind: kind::BRIDGE, expedited: args.expedited, title, description, payload })
    }
}

/// The parameters after these changes, or why they would not be valid. Asked when proposed and when carried out.
pub(crate) fn changed(host: &mut dyn Host, changes: &Changes) -> Result<Result<ChainParams, String>, Fault> {
    let mut params = parameters(host)?;
    if changes.is_empty() || changes.len() > MAX_CHANGES {
        return Ok(Err(format!("a proposal has 1 to {MAX_CHANGES} changes")));
    }
    for (id, value) in changes {
        match ParameterInfo::by_id(*id) {
            None => return Ok(Err(format!("there is no parameter {id}"))),
            Some(info) if info.group == Group::Fixed => {
                return Ok(Err(format!("{} is fixed by the genesis file", info.name)));
            }
            Some(_) => {
                params.set(*id, *value);
            }
        }
    }
    let preset = host.env().preset;
    let bridged = bridge::records::bridge().gateways().len(host)? > 0;
    let checked = params.validate(preset).and_then(|()| if bridged { params.validate_bridge(preset) } else { Ok(()) });
    Ok(checked.map(|()| params).map_err(|error| error.to_string()))
}

/// The record of a proposal that exists.
pub(crate) fn known(host: &mut dyn Host, id: u64) -> Result<Proposal, Fault> {
    if id == 0 || id > governance().proposal_count().get(host)? {
        return Err(Fault::revert(IGovernance::UnknownProposal { id }));
    }
    Ok(governance().proposals().entry(id))
}

/// Stores a proposal with its first deposit.
pub(crate) fn propose(host: &mut dyn Host, proposer: Address, value: u128, draft: &Draft<'_>) -> Result<u64, Fault> {
    if !(1..=128).contains(&draft.title.len()) || draft.description.len() > 10_000 {
        return Err(Fault::revert(IGovernance::BadText {}));
    }
    let params = parameters(host)?;
    let minimum = wei(params.proposal_deposit).over(10)?;
    if value < minimum {
        let (amount, minimum) = (U256::from(value), U256::from(minimum));
        return Err(Fault::revert(IGovernance::DepositTooSmall { amount, minimum }));
    }
    let id = governance().proposal_count().get(host)?.plus(1)?;
    governance().proposal_count().set(host, id)?;
    let proposal = governance().proposals().entry(id);
    proposal.proposer().set(host, proposer)?;
    proposal.kind().set(host, draft.kind)?;
    proposal.status().set(host, status::DEPOSIT)?;
    proposal.expedited().set(host, draft.expedited)?;
    let end = host.env().time_ms.plus(params.deposit_seconds.times(1_000)?)?;
    proposal.deposit_end_ms().set(host, end)?;
    proposal.title().set(host, draft.title.as_bytes())?;
    proposal.payload().set(host, &draft.payload)?;
    let (title, description) = (draft.title.to_owned(), draft.description.to_owned());
    emit(host, &IGovernance::Proposed { id, proposer, kind: draft.kind, title, description })?;
    add_deposit(host, id, proposer, value)?;
    Ok(id)
}

/// Adds coins that the module's account holds already to a deposit; a complete one lets the proposal wait for a place.
pub(crate) fn add_deposit(host: &mut dyn Host, id: u64, depositor: Address, value: u128) -> Result<(), Fault> {
    let proposal = known(host, id)?;
    let now = host.env().time_ms;
    let state = proposal.status().get(host)?;
    let collecting = state == status::DEPOSIT && now <= proposal.deposit_end_ms().get(host)?;
    // More raises the place of one that waits.
    if !collecting && state != status::WAITING {
        return Err(Fault::revert(IGovernance::WrongStatus { id, status: state }));
    }
    if value == 0 {
        return Err(Fault::revert(IGovernance::DepositTooSmall { amount: U256::ZERO, minimum: U256::ONE }));
    }
    let sum = proposal.deposit().get(host)?.plus(value)?;
    proposal.deposit().set(host, sum)?;
    let own = proposal.depositors().entry(depositor);
    let own_sum = own.get(host)?.plus(value)?;
    own.set(host, own_sum)?;
    let held = governance().deposits().get(host)?.plus(value)?;
    governance().deposits().set(host, held)?;
    emit(host, &IGovernance::Deposited { id, depositor, amount: U256::from(value) })?;
    if state == status::DEPOSIT && sum >= wei(super::parameter(host, Parameter::proposal_deposit)?) {
        let waiting = governance().waiting();
        if waiting.len(host)? >= MAX_WAITING {
            return Err(Fault::revert(IGovernance::QueueFull { limit: U256::from(MAX_WAITING) }));
        }
        waiting.append(host, id)?;
        proposal.status().set(host, status::WAITING)?;
    }
    Ok(())
}

/// Pays a deposit back when its proposal ended without a penalty, or never got enough.
pub(crate) fn withdraw(host: &mut dyn Host, id: u64, depositor: Address) -> Result<u128, Fault> {
    let proposal = known(host, id)?;
    let state = proposal.status().get(host)?;
    let expired = state == status::DEPOSIT && host.env().time_ms > proposal.deposit_end_ms().get(host)?;
    let ended = matches!(state, status::REJECTED | status::PASSED | status::EXECUTED | status::FAILED);
    if !expired && !ended {
        return Err(Fault::revert(IGovernance::WrongStatus { id, status: state }));
    }
    let own = proposal.depositors().entry(depositor);
    let amount = own.get(host)?;
    if amount == 0 {
        return Err(Fault::revert(IGovernance::NoDeposit {}));
    }
    own.set(host, 0)?;
    let held = governance().deposits().get(host)?.minus(amount)?;
    governance().deposits().set(host, held)?;
    if !host.transfer(GOVERNANCE_ADDRESS, depositor, U256::from(amount))? {
        return Err(Fault::Broken("the governance module lacks coins"));
    }
    emit(host, &IGovernance::DepositWithdrawn { id, depositor, amount: U256::from(amount) })?;
    Ok(amount)
}
