//! What must hold after every block, as a function for tests and the simulation.

use crate::interfaces::IStaking;
use crate::numbers::Checked;
use crate::rewards::rewards;
use crate::staking::records::{FREE, staking};
use crate::staking::{members, views};
use crate::{Fault, Host, bridge, wrapped};
use alloy_primitives::{Address, U256};
use bttc_bridge_types::GatewayId;
use bttc_genesis::{BTT_ADDRESS, GOVERNANCE_ADDRESS, STAKING_ADDRESS};

/// Sums over all accounts, which only a test can afford.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Worth of all delegations, wei.
    pub delegated: U256,
    /// Stake on its way out, before slashes, wei.
    pub unbonding: U256,
    /// Rewards that wait, wei.
    pub rewards: U256,
}

/// Checks what holds between the modules' sums and the accounts of these delegators, who must be all there are. Gives the
/// sums.
///
/// # Errors
/// What is broken, in words.
pub fn check_invariants(host: &mut dyn Host, delegators: &[Address]) -> Result<Totals, String> {
    check(host, delegators).map_err(|fault| fault.to_string())?
}

fn check(host: &mut dyn Host, delegators: &[Address]) -> Result<Result<Totals, String>, Fault> {
    let mut totals = Totals::default();
    let (mut pools, mut shares) = (U256::ZERO, std::collections::BTreeMap::<u32, U256>::new());
    for delegator in delegators {
        for id in views::delegations_of(host, *delegator)? {
            let (owned, worth, _) = views::delegation_of(host, id, *delegator)?;
            let sum = shares.entry(id).or_default();
            *sum = sum.plus(U256::from(owned))?;
            totals.delegated = totals.delegated.plus(U256::from(worth))?;
        }
        for entry in views::unbondings(host, *delegator)? {
            totals.unbonding = totals.unbonding.plus(entry.amount)?;
        }
    }
    let count = staking().validator_count().get(host)?;
    for id in 1..=count {
        let info: IStaking::ValidatorInfo = views::validator(host, id)?;
        pools = pools.plus(info.tokens)?;
        if info.shares != shares.get(&id).copied().unwrap_or_default() {
            return Ok(Err(format!("validator {id} has {} shares, its delegators {:?}", info.shares, shares.get(&id))));
        }
        for delegator in delegators {
            totals.rewards = totals.rewards.plus(U256::from(views::rewards_of(host, id, *delegator)?))?;
        }
    }
    let delegated = U256::from(staking().delegated().get(host)?);
    let unbonding = U256::from(staking().unbonding().get(host)?);
    if pools != delegated {
        return Ok(Err(format!("the pools hold {pools}, the total says {delegated}")));
    }
    if totals.unbonding != unbonding {
        return Ok(Err(format!("{} is on its way out, the total says {unbonding}", totals.unbonding)));
    }
    if totals.delegated > pools {
        return Ok(Err(format!("delegations are worth {}, the pools hold {pools}", totals.delegated)));
    }
    let balance = host.balance(STAKING_ADDRESS)?;
    if balance < pools.plus(unbonding)? {
        return Ok(Err(format!("the staking account holds {balance}, it owes {}", pools.plus(unbonding)?)));
    }
    let outstanding = rewards().outstanding().get(host)?;
    if totals.rewards > outstanding {
        return Ok(Err(format!("rewards of {} wait, {outstanding} were allocated", totals.rewards)));
    }
    let deposits = crate::governance::deposits(host)?;
    let held = host.balance(GOVERNANCE_ADDRESS)?;
    if held < deposits {
        return Ok(Err(format!("the governance account holds {held}, it owes {deposits}")));
    }
    if let Some(problem) = check_bridge(host)? {
        return Ok(Err(problem));
    }
    check_sets(host).map(|problem| match problem {
        None => Ok(totals),
        Some(problem) => Err(problem),
    })
}

/// What gateways hold is in circulation here or parked, and no wrapped token has more in circulation than that.
fn check_bridge(host: &mut dyn Host) -> Result<Option<String>, Fault> {
    let mut minted = std::collections::BTreeMap::<Address, U256>::new();
    for gateway in bridge::views::gateways(host)? {
        let at = GatewayId { root_chain_id: gateway.rootChainId, gateway: gateway.gateway };
        for token in bridge::views::tokens(host, at)? {
            if token.locked != token.minted.plus(token.parked)? {
                return Ok(Some(format!("{} at {at}: locked is not minted and parked: {token:?}", token.root)));
            }
            let sum = minted.entry(token.wrapped).or_default();
            *sum = sum.plus(token.minted)?;
        }
    }
    for (token, minted) in minted {
        let supply = wrapped::at(token).supply().get(host)?;
        if token != BTT_ADDRESS && supply != minted {
            return Ok(Some(format!("{token} has a supply of {supply}, {minted} were minted")));
        }
    }
    Ok(None)
}

/// The sets of this epoch and the next: not empty, at most the number allowed, nobody jailed for an epoch or longer unless
/// there is nobody else.
fn check_sets(host: &mut dyn Host) -> Result<Option<String>, Fault> {
    let epoch = host.env().epoch();
    for epoch in [epoch, epoch.plus(1)?] {
        let set = members(host, epoch)?;
        if set.is_empty() {
            return Ok(Some(format!("epoch {epoch} has no set")));
        }
        let mut free = 0usize;
        let mut old = Vec::new();
        for member in &set {
            let validator = staking().validators().entry(member.id);
            if validator.jail().get(host)? == FREE {
                free = free.saturating_add(1);
            } else if validator.jailed_epoch().get(host)?.plus(2)? <= epoch {
                old.push(member.id);
            }
        }
        if free > 0 && !old.is_empty() {
            return Ok(Some(format!(
                "validators {old:?} are in the set of epoch {epoch} though they were jailed before"
            )));
        }
    }
    Ok(None)
}
