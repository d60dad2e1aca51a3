//! Delegations: shares of a validator's pool, and the rewards that they earn.

use super::records::{Checkpoint, Delegation, FACTOR_ONE, TOMBSTONED, Validator, staking};
use super::{MAX_DELEGATIONS, known, unbonding};
use crate::governance::parameter;
use crate::interfaces::IStaking;
use crate::numbers::{Checked, mul_div, mul_div_up, narrow, wei};
use crate::{Fault, Host, rewards};
use alloy_primitives::{Address, U256};
use bttc_genesis::{PARAMETERS, Parameter, STAKING_ADDRESS};

/// Bits of fraction in `reward_per_share`.
pub(crate) const REWARD_SHIFT: usize = 96;

/// What an amount of shares is worth, wei.
pub(crate) fn worth(host: &mut dyn Host, validator: &Validator, shares: u128) -> Result<u128, Fault> {
    let all = validator.shares().get(host)?;
    if all == 0 { Ok(0) } else { mul_div(shares, validator.tokens().get(host)?, all) }
}

/// The owner's own stake in its pool, wei.
pub(crate) fn self_stake(host: &mut dyn Host, id: u32, validator: &Validator) -> Result<u128, Fault> {
    let owner = validator.owner().get(host)?;
    let shares = staking().delegations().entry(id).entry(owner).shares().get(host)?;
    worth(host, validator, shares)
}

/// Whether the owner's own stake is enough. It is measured before slashes: what downtime takes does not put a validator out
/// that staked the minimum.
pub(crate) fn owner_stakes_enough(host: &mut dyn Host, id: u32, validator: &Validator) -> Result<bool, Fault> {
    let minimum = wei(parameter(host, Parameter::min_self_stake)?);
    let log = validator.slashes();
    let factor = match log.len(host)?.checked_sub(1) {
        None => FACTOR_ONE,
        Some(last) => log.entry(last).get(host)?.factor,
    };
    Ok(self_stake(host, id, validator)? >= mul_div(minimum, factor, FACTOR_ONE)?)
}

/// Adds coins that the module's account holds already to a pool. Gives the shares.
pub(crate) fn bond(host: &mut dyn Host, id: u32, delegator: Address, amount: u128) -> Result<u128, Fault> {
    let validator = known(host, id)?;
    if !accepts(host, &validator)? {
        return Err(Fault::revert(IStaking::NotAccepting { id }));
    }
    let delegation = staking().delegations().entry(id).entry(delegator);
    let before = delegation.shares().get(host)?;
    if before == 0 {
        let list = staking().delegators().entry(delegator);
        if list.len(host)? >= MAX_DELEGATIONS {
            return Err(Fault::revert(IStaking::TooManyDelegations { limit: U256::from(MAX_DELEGATIONS) }));
        }
        list.append(host, id)?;
    }
    settle(host, &validator, &delegation)?;
    let (tokens, shares) = (validator.tokens().get(host)?, validator.shares().get(host)?);
    let new = if shares == 0 { amount } else { mul_div(amount, shares, tokens)? };
    if new == 0 {
        return Err(Fault::revert(IStaking::AmountTooSmall { amount: U256::from(amount), minimum: U256::ONE }));
    }
    validator.tokens().set(host, tokens.plus(amount)?)?;
    validator.shares().set(host, shares.plus(new)?)?;
    change_shares(host, &delegation, before.plus(new)?)?;
    let total = staking().delegated();
    let sum = total.get(host)?.plus(amount)?;
    total.set(host, sum)?;
    Ok(new)
}

/// Whether a validator takes stake.
pub(crate) fn accepts(host: &mut dyn Host, validator: &Validator) -> Result<bool, Fault> {
    Ok(!validator.exiting().get(host)? && validator.jail().get(host)? != TOMBSTONED)
}

/// Takes an amount (the largest number: all) out of a pool. The coins stay in the module's account. Gives amount and
/// shares.
fn unbond(host: &mut dyn Host, id: u32, delegator: Address, amount: U256) -> Result<(u128, u128), Fault> {
    let validator = known(host, id)?;
    let delegation = staking().delegations().entry(id).entry(delegator);
    let owned = delegation.shares().get(host)?;
    let (tokens, all) = (validator.tokens().get(host)?, validator.shares().get(host)?);
    let available = if all == 0 { 0 } else { mul_div(owned, tokens, all)? };
    let (taken, shares) = if amount == U256::MAX {
        (available, owned)
    } else {
        let taken: u128 = narrow(amount)?;
        if taken > available {
            return Err(Fault::revert(IStaking::AmountTooLarge { amount, available: U256::from(available) }));
        }
        // Rounded up: a share taken too many stays with the pool, never one too few with the delegator.
        (taken, if taken == 0 { 0 } else { mul_div_up(taken, all, tokens)?.min(owned) })
    };
    if taken == 0 {
        return Err(Fault::revert(IStaking::AmountTooSmall { amount, minimum: U256::ONE }));
    }
    settle(host, &validator, &delegation)?;
    let left = owned.minus(shares)?;
    let (mut tokens_left, shares_left) = (tokens.minus(taken)?, all.minus(shares)?);
    if left > 0 {
        let remainder = if shares_left == 0 { 0 } else { mul_div(left, tokens_left, shares_left)? };
        let minimum = wei(parameter(host, Parameter::min_delegation)?);
        if remainder < minimum {
            return Err(Fault::revert(IStaking::RemainderTooSmall {
                remainder: U256::from(remainder),
                minimum: U256::from(minimum),
            }));
        }
    } else {
        forget(host, delegator, id)?;
    }
    let mut gone = taken;
    if shares_left == 0 {
        // What rounding left behind belongs to nobody.
        rewards::absorb(host, STAKING_ADDRESS, tokens_left)?;
        gone = tokens;
        tokens_left = 0;
    }
    validator.tokens().set(host, tokens_left)?;
    validator.shares().set(host, shares_left)?;
    change_shares(host, &delegation, left)?;
    let total = staking().delegated();
    let sum = total.get(host)?.minus(gone)?;
    total.set(host, sum)?;
    Ok((taken, shares))
}

/// Takes stake out of a pool into an unbonding entry.
pub(crate) fn undelegate(
    host: &mut dyn Host,
    id: u32,
    delegator: Address,
    amount: U256,
    target: u32,
) -> Result<u128, Fault> {
    let (taken, shares) = unbond(host, id, delegator, amount)?;
    unbonding::enter(host, id, target, delegator, taken)?;
    super::emit(
        host,
        &IStaking::Undelegated { id, delegator, amount: U256::from(taken), shares: U256::from(shares), target },
    )?;
    Ok(taken)
}

/// Removes a validator from a delegator's list.
fn forget(host: &mut dyn Host, delegator: Address, id: u32) -> Result<(), Fault> {
    let list = staking().delegators().entry(delegator);
    let position = list.values(host)?.iter().position(|entry| *entry == id);
    match position {
        Some(position) => list.swap_remove(host, narrow(position)?),
        None => Err(Fault::Broken("a delegation is not in its delegator's list")),
    }
}

/// Writes the shares and a checkpoint of them.
fn change_shares(host: &mut dyn Host, delegation: &Delegation, shares: u128) -> Result<(), Fault> {
    /// Checkpoints older than the longest voting that governance can set are of no use to anybody.
    const LONGEST_VOTING_MS: u64 = longest_voting(PARAMETERS);
    delegation.shares().set(host, shares)?;
    let time_ms = host.env().time_ms;
    let list = delegation.checkpoints();
    let length = list.len(host)?;
    let checkpoint = Checkpoint { time_ms, shares };
    match length.checked_sub(1) {
        Some(last) if list.entry(last).get(host)?.time_ms == time_ms => list.entry(last).set(host, checkpoint)?,
        _ => list.append(host, checkpoint)?,
    }
    let mut first = delegation.first_checkpoint().get(host)?;
    // One more than is added, so that an old list shrinks; the one in force at the horizon stays.
    for _ in 0..2 {
        let next = first.plus(1)?;
        if next >= length || list.entry(next).get(host)?.time_ms.plus(LONGEST_VOTING_MS)? > time_ms {
            break;
        }
        list.entry(first).set(host, Checkpoint { time_ms: 0, shares: 0 })?;
        first = next;
    }
    delegation.first_checkpoint().set(host, first)
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Evaluated by the compiler only.
const fn longest_voting(table: &[bttc_genesis::ParameterInfo]) -> u64 {
    table[Parameter::voting_seconds as usize].max * 1_000
}

/// Shares at a time: those of the latest checkpoint not after it.
pub(crate) fn shares_at(host: &mut dyn Host, id: u32, delegator: Address, time_ms: u64) -> Result<u128, Fault> {
    let delegation = staking().delegations().entry(id).entry(delegator);
    let list = delegation.checkpoints();
    let (mut low, mut high) = (delegation.first_checkpoint().get(host)?, list.len(host)?);
    let start = low;
    while low < high {
        let middle = low.plus(high.minus(low)?.over(2)?)?;
        if list.entry(middle).get(host)?.time_ms <= time_ms { low = middle.plus(1)? } else { high = middle }
    }
    if low == start { Ok(0) } else { Ok(list.entry(low.minus(1)?).get(host)?.shares) }
}

/// Rewards of a delegation that are not settled yet, wei.
fn unsettled(host: &mut dyn Host, validator: &Validator, delegation: &Delegation) -> Result<u128, Fault> {
    let shares = delegation.shares().get(host)?;
    if shares == 0 {
        return Ok(0);
    }
    let grown = validator.reward_per_share().get(host)?.minus(delegation.settled_at().get(host)?)?;
    narrow(grown.times(U256::from(shares))?.wrapping_shr(REWARD_SHIFT))
}

/// Rewards that wait, wei.
pub(crate) fn pending(host: &mut dyn Host, validator: &Validator, delegation: &Delegation) -> Result<u128, Fault> {
    delegation.accrued().get(host)?.plus(unsettled(host, validator, delegation)?)
}

/// Moves rewards up to now into `accrued`; before each change of shares.
fn settle(host: &mut dyn Host, validator: &Validator, delegation: &Delegation) -> Result<(), Fault> {
    let grown = unsettled(host, validator, delegation)?;
    let accrued = delegation.accrued().get(host)?.plus(grown)?;
    delegation.accrued().set(host, accrued)?;
    let now = validator.reward_per_share().get(host)?;
    delegation.settled_at().set(host, now)
}

/// Pays a delegator's rewards, and the commission to the owner.
pub(crate) fn claim(host: &mut dyn Host, id: u32, delegator: Address) -> Result<u128, Fault> {
    let validator = known(host, id)?;
    let delegation = staking().delegations().entry(id).entry(delegator);
    settle(host, &validator, &delegation)?;
    let mut amount = delegation.accrued().get(host)?;
    delegation.accrued().set(host, 0)?;
    if validator.owner().get(host)? == delegator {
        amount = amount.plus(validator.commission_due().get(host)?)?;
        validator.commission_due().set(host, 0)?;
    }
    rewards::pay(host, delegator, amount)?;
    super::emit(host, &IStaking::RewardsClaimed { id, delegator, amount: U256::from(amount) })?;
    Ok(amount)
}
