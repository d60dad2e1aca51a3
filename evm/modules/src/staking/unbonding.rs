//! Stake on its way out: when its clock starts, what slashes take of it, and its payout.

use super::records::{FACTOR_ONE, SlashPoint, Unbonding, Validator, staking};
use super::{MAX_UNBONDINGS, delegation};
use crate::governance::parameter;
use crate::interfaces::IStaking;
use crate::numbers::{Checked, mul_div, narrow};
use crate::storage::{List, Slot};
use crate::{Fault, Host, bridge, rewards};
use alloy_primitives::{Address, U256};
use bttc_genesis::{Parameter, STAKING_ADDRESS};

/// Epochs after which a change of stake is in force: computed at the end of its own, in force one epoch later.
pub(crate) const DELAY_EPOCHS: u64 = 2;

/// Makes an entry for stake that has left its pool.
pub(crate) fn enter(host: &mut dyn Host, id: u32, target: u32, delegator: Address, amount: u128) -> Result<(), Fault> {
    let list = staking().unbondings().entry(delegator);
    if list.len(host)? >= MAX_UNBONDINGS {
        return Err(Fault::revert(IStaking::TooManyEntries { limit: U256::from(MAX_UNBONDINGS) }));
    }
    let (epoch, now) = (host.env().epoch(), host.env().time_ms);
    let validator = staking().validators().entry(id);
    let entry = list.push(host)?;
    entry.validator().set(host, id)?;
    entry.target().set(host, target)?;
    let slashes = narrow(validator.slashes().len(host)?)?;
    entry.slashes().set(host, slashes)?;
    let clocks = narrow(validator.clock().len(host)?)?;
    entry.clocks().set(host, clocks)?;
    entry.epoch().set(host, epoch)?;
    entry.amount().set(host, amount)?;
    if validator.last_set().get(host)? <= epoch && bridge::binding_power(host, id)? == 0 {
        // Neither in this epoch's set nor in the next one's nor in the bridge's: no power must end first.
        let maturity = now.plus(period(host)?)?;
        entry.maturity_ms().set(host, maturity)?;
    } else {
        if validator.unbond_first().get(host)? == 0 {
            validator.unbond_first().set(host, epoch.plus(1)?)?;
        }
        validator.unbond_last().set(host, epoch)?;
    }
    let total = staking().unbonding();
    let sum = total.get(host)?.plus(amount)?;
    total.set(host, sum)
}

/// At the start of an epoch: the clocks of undelegations whose power has just ended.
pub(crate) fn start_clocks(host: &mut dyn Host, validator: &Validator) -> Result<(), Fault> {
    let first = validator.unbond_first().get(host)?;
    let (epoch, now) = (host.env().epoch(), host.env().time_ms);
    // `first` is one more than the epoch.
    let due = first > 0 && first.plus(DELAY_EPOCHS)? <= epoch.plus(1)?;
    let stepped = validator.stepped_epoch().get(host)? == epoch || validator.stepped_earlier().get(host)? == epoch;
    if !due || stepped {
        return Ok(());
    }
    let maturity_ms = now.plus(period(host)?)?;
    validator.clock().append(host, super::records::ClockStart { epoch, maturity_ms })?;
    let last = validator.unbond_last().get(host)?;
    // Undelegations of the last two epochs wait for the next one or two.
    let rest = if last.plus(DELAY_EPOCHS)? <= epoch { 0 } else { epoch };
    validator.unbond_first().set(host, rest)
}

/// How long unbonding takes, milliseconds. Asked when a clock starts: a later change of the parameter neither frees stake
/// before a slash that reached it nor binds stake again that is free.
fn period(host: &mut dyn Host) -> Result<u64, Fault> {
    parameter(host, Parameter::unbonding_seconds)?.times(1_000)
}

/// When an entry is paid out; nothing while its power is in force and its clock does not run.
pub(crate) fn maturity(host: &mut dyn Host, entry: &Unbonding) -> Result<Option<u64>, Fault> {
    let own = entry.maturity_ms().get(host)?;
    if own > 0 {
        return Ok(Some(own));
    }
    let id = entry.validator().get(host)?;
    let validator = staking().validators().entry(id);
    let covered = entry.epoch().get(host)?.plus(DELAY_EPOCHS)?;
    let (clock, mut index) = (validator.clock(), u64::from(entry.clocks().get(host)?));
    let length = clock.len(host)?;
    // At most two are too early: one is added an epoch.
    while index < length {
        let point = clock.entry(index).get(host)?;
        if point.epoch >= covered {
            return Ok(Some(point.maturity_ms));
        }
        index = index.plus(1)?;
    }
    Ok(None)
}

/// The factor of a slash log after so many of its entries.
fn factor_after(host: &mut dyn Host, log: &List<Slot<SlashPoint>>, entries: u64) -> Result<u128, Fault> {
    match entries.checked_sub(1) {
        None => Ok(FACTOR_ONE),
        Some(last) => Ok(log.entry(last).get(host)?.factor),
    }
}

/// What an entry is worth after the slashes up to its maturity, wei.
pub(crate) fn value(host: &mut dyn Host, entry: &Unbonding, maturity: Option<u64>) -> Result<u128, Fault> {
    let id = entry.validator().get(host)?;
    let log = staking().validators().entry(id).slashes();
    let from = u64::from(entry.slashes().get(host)?);
    let until = bridge::bound_until(host, id, maturity.unwrap_or(u64::MAX))?;
    // The first slash after maturity.
    let (mut low, mut high) = (from, log.len(host)?);
    while low < high {
        let middle = low.plus(high.minus(low)?.over(2)?)?;
        if log.entry(middle).get(host)?.time_ms <= until { low = middle.plus(1)? } else { high = middle }
    }
    let (before, after) = (factor_after(host, &log, from)?, factor_after(host, &log, low)?);
    let amount = entry.amount().get(host)?;
    if before == 0 { Ok(0) } else { mul_div(amount, after, before) }
}

/// Copies the last entry of a list over another one and removes it.
fn swap_remove(host: &mut dyn Host, list: &List<Unbonding>, index: u64) -> Result<(), Fault> {
    let last = list.len(host)?.minus(1)?;
    if index < last {
        let (from, to) = (list.entry(last), list.entry(index));
        macro_rules! copy {
            ($($field:ident),*) => {$({
                let value = from.$field().get(host)?;
                to.$field().set(host, value)?;
            })*};
        }
        copy!(validator, target, slashes, clocks, epoch, maturity_ms, amount);
    }
    list.pop(host)
}

/// Pays out what is mature, or delegates it to where it was meant to go. Gives what was paid out, wei.
pub(crate) fn withdraw(host: &mut dyn Host, delegator: Address) -> Result<u128, Fault> {
    let list = staking().unbondings().entry(delegator);
    let now = host.env().time_ms;
    let (mut index, mut paid) = (0, 0u128);
    while index < list.len(host)? {
        let entry = list.entry(index);
        let maturity = maturity(host, &entry)?;
        let from = entry.validator().get(host)?;
        let accused = bridge::is_accused(host, from)?;
        if accused || maturity.is_none_or(|maturity| maturity > now) {
            index = index.plus(1)?;
            continue;
        }
        let (id, target) = (entry.validator().get(host)?, entry.target().get(host)?);
        let (amount, value) = (entry.amount().get(host)?, value(host, &entry, maturity)?);
        swap_remove(host, &list, index)?;
        let total = staking().unbonding();
        let sum = total.get(host)?.minus(amount)?;
        total.set(host, sum)?;
        let slashed = amount.minus(value)?;
        rewards::absorb(host, STAKING_ADDRESS, slashed)?;
        let target = if target != 0 && can_bond(host, target, delegator, value)? { target } else { 0 };
        if target == 0 {
            pay(host, delegator, value)?;
            paid = paid.plus(value)?;
        } else {
            let shares = delegation::bond(host, target, delegator, value)?;
            super::sets::reconsider(host, target)?;
            let (amount, shares) = (U256::from(value), U256::from(shares));
            super::emit(host, &IStaking::Delegated { id: target, delegator, amount, shares })?;
        }
        let (amount, slashed) = (U256::from(value), U256::from(slashed));
        super::emit(host, &IStaking::Withdrawn { delegator, id, amount, slashed, target })?;
    }
    Ok(paid)
}

/// Whether a redelegation can end where it was meant to; if not, it is paid out.
fn can_bond(host: &mut dyn Host, target: u32, delegator: Address, value: u128) -> Result<bool, Fault> {
    let validator = staking().validators().entry(target);
    if !delegation::accepts(host, &validator)? {
        return Ok(false);
    }
    let known = staking().delegations().entry(target).entry(delegator).shares().get(host)? > 0;
    let room = staking().delegators().entry(delegator).len(host)? < super::MAX_DELEGATIONS;
    let (tokens, shares) = (validator.tokens().get(host)?, validator.shares().get(host)?);
    // A pool with shares and (nearly) nothing in it takes nothing: the new shares would not be a number.
    let new = if shares == 0 { Ok(value) } else { mul_div(value, shares, tokens) };
    let sound = new.is_ok_and(|new| new > 0 && shares.checked_add(new).is_some());
    Ok((known || room) && sound)
}

fn pay(host: &mut dyn Host, to: Address, amount: u128) -> Result<(), Fault> {
    if host.transfer(STAKING_ADDRESS, to, U256::from(amount))? {
        Ok(())
    } else {
        Err(Fault::Broken("the staking module lacks coins"))
    }
}
