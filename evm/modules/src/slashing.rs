//! Slashing: double signing by evidence, downtime by missed signatures.

use crate::call::RECOVERY_GAS;
use crate::governance::parameters;
use crate::interfaces::IStaking;
use crate::numbers::{Checked, mul_div, share_bps, wei};
use crate::rewards::{absorb, rewards};
use crate::staking::records::{FACTOR_ONE, FREE, JAILED, Member, SlashPoint, TOMBSTONED, Validator, staking};
use crate::staking::{emit, members, power_a_day_ago};
use crate::storage::{Mapping, Slot};
use crate::{Event, Fault, Host};
use alloy_primitives::{Address, U256};
use alloy_rlp::Decodable;
use bttc_genesis::{ChainParams, Parameter, STAKING_ADDRESS};
use bttc_types::Evidence;
use std::collections::BTreeSet;

/// Longest evidence: two votes or proposals with their signatures have some 300 bytes.
const MAX_EVIDENCE_BYTES: usize = 2_048;

crate::storage! {
    /// What is counted of a validator's signatures.
    pub struct Signing {
        /// Height of the first block of the window.
        window_start: Slot<u64>,
        /// Blocks in the window.
        window: Slot<u64>,
        /// Missed in the window.
        missed: Slot<u32>,
        /// Missed in the epoch.
        epoch_missed: Slot<u32>,
        /// What the signatures that it included as a proposer add to its bonus.
        bonus: Slot<u128>,
        /// One bit a block of the window, set when missed.
        bits: Mapping<u64, Slot<U256>>,
    }
}

/// Begins a validator's window anew with the next block.
pub(crate) fn restart_window(host: &mut dyn Host, id: u32) -> Result<(), Fault> {
    let window = crate::governance::parameter(host, Parameter::downtime_window)?;
    let signing = rewards().signing().entry(id);
    let start = host.env().height;
    signing.window_start().set(host, start)?;
    signing.window().set(host, window)?;
    signing.missed().set(host, 0)
}

/// Whether governance has changed the length of windows since a validator's began.
pub(crate) fn window_changed(host: &mut dyn Host, id: u32) -> Result<bool, Fault> {
    let window = crate::governance::parameter(host, Parameter::downtime_window)?;
    Ok(rewards().signing().entry(id).window().get(host)? != window)
}

/// Counts who signed the parent and who did not; jails whoever missed too much.
///
/// `signed` holds the indices of the signers in the set of the parent's height.
pub(crate) fn count_signatures(
    host: &mut dyn Host,
    params: &ChainParams,
    set: &[Member],
    signed: &BTreeSet<u16>,
) -> Result<(), Fault> {
    let height = host.env().height.saturating_sub(1);
    for (index, member) in (0u16..).zip(set) {
        let missed = !signed.contains(&index);
        if missed {
            let counter = rewards().signing().entry(member.id).epoch_missed();
            let count = counter.get(host)?.plus(1)?;
            counter.set(host, count)?;
        }
        if count_one(host, member.id, height, missed)? {
            punish_downtime(host, params, member.id, set)?;
        }
    }
    Ok(())
}

/// Moves a validator's window on by one block. Gives whether it has missed too much.
fn count_one(host: &mut dyn Host, id: u32, height: u64, missed: bool) -> Result<bool, Fault> {
    let signing = rewards().signing().entry(id);
    let (start, window) = (signing.window_start().get(host)?, signing.window().get(host)?);
    let Some(passed) = height.checked_sub(start) else { return Ok(false) };
    if window == 0 {
        return Ok(false);
    }
    let position = passed.checked_rem(window).unwrap_or(0);
    let (word, bit) = (position >> 8, usize::from((position & 0xff) as u8));
    let slot = signing.bits().entry(word);
    let mut bits = slot.get(host)?;
    // In the first pass what is there comes from an earlier window and does not count.
    let first_pass = passed < window;
    if first_pass && bit == 0 {
        bits = U256::ZERO;
    }
    let before = bits.bit(bit) && !first_pass;
    let mut count = signing.missed().get(host)?;
    if before != missed {
        count = if missed { count.plus(1)? } else { count.minus(1)? };
        signing.missed().set(host, count)?;
    }
    bits.set_bit(bit, missed);
    slot.set(host, bits)?;
    let full = passed.plus(1)? >= window;
    Ok(full && u64::from(count) > window.over(2)?)
}

/// What downtime costs: a slash and jail, or the slash alone where the chain could not do without the validator.
fn punish_downtime(host: &mut dyn Host, params: &ChainParams, id: u32, set: &[Member]) -> Result<(), Fault> {
    let validator = staking().validators().entry(id);
    if validator.jail().get(host)? != FREE {
        return Ok(());
    }
    let jailed = can_do_without(host, params, id, set)?;
    let slashed = slash(host, id, params.downtime_slash_bps, None)?.amount;
    if jailed {
        jail(host, &validator, JAILED, params.downtime_jail_seconds)?;
    }
    restart_window(host, id)?;
    host.note(Event::Downtime { validator: id, slashed: U256::from(slashed), jailed });
    Ok(())
}

/// Whether enough validators and power stay when this one goes.
pub(crate) fn can_do_without(
    host: &mut dyn Host,
    params: &ChainParams,
    id: u32,
    set: &[Member],
) -> Result<bool, Fault> {
    let (mut stay, mut power) = (0u64, 0u64);
    for member in set {
        if member.id != id && staking().validators().entry(member.id).jail().get(host)? == FREE {
            stay = stay.plus(1)?;
            power = power.plus(member.power)?;
        }
    }
    let before = power_a_day_ago(host)?;
    Ok(stay >= params.min_active_validators && u128::from(power).times(3)? >= u128::from(before).times(2)?)
}

/// Jails a validator; its time runs from when its power is gone.
pub(crate) fn jail(host: &mut dyn Host, validator: &Validator, how: u8, seconds: u64) -> Result<(), Fault> {
    let (epoch, now) = (host.env().epoch(), host.env().time_ms);
    validator.jail().set(host, how)?;
    validator.jailed_epoch().set(host, epoch)?;
    validator.jailed_at_ms().set(host, now)?;
    validator.jail_seconds().set(host, seconds)?;
    let in_force = validator.last_set().get(host)? > epoch;
    let until = if in_force { 0 } else { now.plus(seconds.times(1_000)?)? };
    validator.jailed_until_ms().set(host, until)
}

/// What a slash took.
pub(crate) struct Slash {
    /// From the pool, wei.
    pub(crate) amount: u128,
    /// Of it for the reporter, wei.
    pub(crate) reward: u128,
}

/// Takes a share of a pool, and by the slash log of what is on its way out of it.
pub(crate) fn slash(host: &mut dyn Host, id: u32, bps: u64, reporter: Option<Address>) -> Result<Slash, Fault> {
    let validator = staking().validators().entry(id);
    let (tokens, shares) = (validator.tokens().get(host)?, validator.shares().get(host)?);
    let amount = share_bps(tokens, bps)?;
    let owner = validator.owner().get(host)?;
    let own_shares = staking().delegations().entry(id).entry(owner).shares().get(host)?;
    let own_loss = if shares == 0 { 0 } else { mul_div(amount, own_shares, shares)? };
    validator.tokens().set(host, tokens.minus(amount)?)?;
    let total = staking().delegated();
    let sum = total.get(host)?.minus(amount)?;
    total.set(host, sum)?;

    let log = validator.slashes();
    let before = match log.len(host)?.checked_sub(1) {
        None => FACTOR_ONE,
        Some(last) => log.entry(last).get(host)?.factor,
    };
    // Never 0: an entry's worth is a quotient of two factors.
    let factor = mul_div(before, u128::from(10_000u64.minus(bps)?), 10_000)?.max(1);
    let time_ms = host.env().time_ms;
    log.append(host, SlashPoint { time_ms, factor })?;

    let mut reward = 0;
    if let Some(reporter) = reporter {
        let params = parameters(host)?;
        reward = share_bps(own_loss, params.reporter_reward_bps)?.min(wei(params.reporter_reward_max));
        if !host.transfer(STAKING_ADDRESS, reporter, U256::from(reward))? {
            return Err(Fault::Broken("the staking module lacks coins"));
        }
    }
    absorb(host, STAKING_ADDRESS, amount.minus(reward)?)?;
    Ok(Slash { amount, reward })
}

/// `submitEvidence`: checks that a validator signed two things, and slashes it.
pub(crate) fn submit_evidence(host: &mut dyn Host, reporter: Address, bytes: &[u8]) -> Result<(), Fault> {
    let bad = |reason: &str| Fault::revert(IStaking::BadEvidence { reason: reason.to_owned() });
    if bytes.len() > MAX_EVIDENCE_BYTES {
        return Err(bad("it is too long"));
    }
    let mut rest = bytes;
    let evidence = Evidence::decode(&mut rest).map_err(|error| bad(&error.to_string()))?;
    if !rest.is_empty() {
        return Err(bad("bytes follow it"));
    }
    host.charge(RECOVERY_GAS.saturating_mul(2))?;
    let domain = std::sync::Arc::clone(&host.env().domain);
    evidence.verify(&domain).map_err(|error| bad(&error.to_string()))?;
    let height = evidence.height();
    if height == 0 || height > host.env().height {
        return Err(bad("its height is not yet reached"));
    }
    let epoch = host.env().epoch_of(height);
    let set = members(host, epoch)?;
    let Some(member) = set.iter().find(|member| member.key == evidence.validator()) else {
        return Err(bad("its signer was not in the set of its height, or that set is forgotten"));
    };
    // The offence lies before the next epoch's first block. Stake that left with that block is bound as long.
    let end = staking().sets().entry(epoch.plus(1)?).start_ms().get(host)?;
    let period = crate::governance::parameter(host, Parameter::unbonding_seconds)?.times(1_000)?;
    if end > 0 && end.plus(period)? <= host.env().time_ms {
        return Err(bad("it is older than unbonding"));
    }
    let validator = staking().validators().entry(member.id);
    if validator.jail().get(host)? == TOMBSTONED {
        return Err(bad("the validator was slashed for double signing already"));
    }
    let params = parameters(host)?;
    let slash = slash(host, member.id, params.double_sign_slash_bps, Some(reporter))?;
    jail(host, &validator, TOMBSTONED, 0)?;
    emit(
        host,
        &IStaking::Slashed {
            id: member.id,
            amount: U256::from(slash.amount),
            height,
            reporter,
            reward: U256::from(slash.reward),
        },
    )
}
