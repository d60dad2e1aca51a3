//! Validator sets: computed at the end of an epoch, in force one epoch later.

use super::records::{FREE, JAILED, Member, TOMBSTONED, Validator, staking};
use super::{delegation, unbonding};
use crate::governance::{parameter, parameters};
use crate::numbers::{Checked, narrow};
use crate::{Event, Fault, Host, bridge, slashing};
use bttc_genesis::Parameter;
use bttc_types::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};

/// A day, for how much power downtime may remove.
const DAY_MS: u64 = 86_400_000;

/// The members of an epoch's set, in canonical order; none when it is not known (any more).
///
/// # Errors
/// The host's.
pub fn members(host: &mut dyn Host, epoch: u64) -> Result<Vec<Member>, Fault> {
    staking().sets().entry(epoch).members().values(host)
}

/// The set of an epoch as consensus wants it, priorities zero; nothing when it is not known (any more).
///
/// # Errors
/// The host's; [`Fault::Broken`] when the members are no valid set.
pub fn validator_set(host: &mut dyn Host, epoch: u64) -> Result<Option<ValidatorSet>, Fault> {
    let members = members(host, epoch)?;
    if members.is_empty() {
        return Ok(None);
    }
    consensus_set(host, &members).map(Some)
}

fn consensus_set(host: &mut dyn Host, members: &[Member]) -> Result<ValidatorSet, Fault> {
    let mut validators = Vec::with_capacity(members.len());
    for member in members {
        let owner = staking().validators().entry(member.id).owner().get(host)?;
        validators.push(bttc_types::Validator { address: member.key, owner, power: member.power });
    }
    ValidatorSet::new(validators).map_err(|_| Fault::Broken("a stored validator set is not valid"))
}

/// Stores a set in canonical order, and its hash.
pub(crate) fn store(host: &mut dyn Host, epoch: u64, mut members: Vec<Member>) -> Result<(), Fault> {
    members.sort_by(|a, b| b.power.cmp(&a.power).then(a.key.cmp(&b.key)));
    let record = staking().sets().entry(epoch);
    let mut power = 0u64;
    for member in &members {
        power = power.plus(member.power)?;
        staking().validators().entry(member.id).last_set().set(host, epoch.plus(1)?)?;
    }
    record.members().replace(host, &members)?;
    record.power().set(host, power)?;
    let hash = consensus_set(host, &members)?.hash();
    staking().next_set_hash().set(host, hash)?;
    host.note(Event::SetComputed { epoch, hash });
    Ok(())
}

/// A candidate as the computation sees it.
struct Candidate {
    id: u32,
    tokens: u128,
}

/// Candidates that may be in a set, by descending stake. Those who signed twice or are below the minimum leave the list.
fn eligible(host: &mut dyn Host) -> Result<Vec<Candidate>, Fault> {
    let list = staking().candidates();
    let (mut found, mut staying) = (Vec::new(), Vec::new());
    let all = list.values(host)?;
    for id in &all {
        let validator = staking().validators().entry(*id);
        let jail = validator.jail().get(host)?;
        if jail == TOMBSTONED
            || validator.exiting().get(host)?
            || !delegation::owner_stakes_enough(host, *id, &validator)?
        {
            validator.candidate().set(host, false)?;
            continue;
        }
        staying.push(*id);
        if jail == FREE {
            found.push(Candidate { id: *id, tokens: validator.tokens().get(host)? });
        }
    }
    if staying.len() < all.len() {
        list.replace(host, &staying)?;
    }
    found.sort_by(|a, b| b.tokens.cmp(&a.tokens).then(a.id.cmp(&b.id)));
    Ok(found)
}

/// Spreads a budget over wanted changes in proportion, what is left over by order; each at most what it wants.
fn spread(wanted: &[(u32, u64)], budget: u64) -> Result<Vec<(u32, u64)>, Fault> {
    let sum = wanted.iter().try_fold(0u128, |sum, (_, want)| sum.plus(u128::from(*want)))?;
    if sum <= u128::from(budget) {
        return Ok(wanted.to_vec());
    }
    let mut granted = Vec::with_capacity(wanted.len());
    let mut left = budget;
    for (id, want) in wanted {
        let part: u64 = narrow(crate::numbers::mul_div(u128::from(*want), u128::from(budget), sum)?)?;
        left = left.minus(part)?;
        granted.push((*id, part));
    }
    for ((_, part), (_, want)) in granted.iter_mut().zip(wanted) {
        let more = left.min(want.minus(*part)?);
        *part = part.plus(more)?;
        left = left.minus(more)?;
    }
    Ok(granted)
}

/// The members of the next set: towards what stake says, by at most a third of the power.
///
/// `wanted` is by descending stake. `jailed` members of `current` go at once, whatever they hold. Gives the powers and who
/// lost less than it should.
pub(crate) fn step(
    current: &BTreeMap<u32, u64>,
    wanted: &[(u32, u64)],
    jailed: &BTreeSet<u32>,
    most: usize,
) -> Result<(BTreeMap<u32, u64>, BTreeSet<u32>), Fault> {
    let total = current.values().try_fold(0u64, |sum, power| sum.plus(*power))?;
    let budget = total.over(3)?.max(1);
    let target: BTreeMap<u32, u64> = wanted.iter().copied().collect();
    let mut next: BTreeMap<u32, u64> =
        current.iter().filter(|(id, _)| !jailed.contains(id)).map(|(id, power)| (*id, *power)).collect();
    let mut losses = Vec::new();
    for (id, power) in &next {
        let goal = target.get(id).copied().unwrap_or(0);
        if goal < *power {
            losses.push((*id, power.minus(goal)?));
        }
    }
    let mut stepped = BTreeSet::new();
    for ((id, loss), (_, want)) in spread(&losses, budget)?.into_iter().zip(&losses) {
        if let Some(power) = next.get_mut(&id) {
            *power = power.minus(loss)?;
        }
        if loss < *want {
            stepped.insert(id);
        }
    }
    next.retain(|_, power| *power > 0);
    // Who comes in needs a place; those with most stake get them first.
    let mut gains = Vec::new();
    let mut places = most.saturating_sub(next.len());
    for (id, goal) in wanted {
        match next.get(id) {
            Some(power) if *goal > *power => gains.push((*id, goal.minus(*power)?)),
            Some(_) => {}
            None if places > 0 && !stepped.contains(id) => {
                places = places.saturating_sub(1);
                gains.push((*id, *goal));
            }
            None => {}
        }
    }
    for (id, gain) in spread(&gains, budget)? {
        if gain > 0 {
            let power = next.entry(id).or_insert(0);
            *power = power.plus(gain)?;
        }
    }
    Ok((next, stepped))
}

/// At the end of an epoch: computes the set of the epoch after next.
pub(crate) fn compute(host: &mut dyn Host) -> Result<(), Fault> {
    let epoch = host.env().epoch().plus(unbonding::DELAY_EPOCHS)?;
    let unit = host.env().power_unit;
    let params = parameters(host)?;
    let before = members(host, epoch.minus(1)?)?;
    let current: BTreeMap<u32, u64> = before.iter().map(|member| (member.id, member.power)).collect();
    let mut jailed = BTreeSet::new();
    for member in &before {
        if staking().validators().entry(member.id).jail().get(host)? != FREE {
            jailed.insert(member.id);
        }
    }
    let most: usize = narrow(params.max_validators)?;
    let mut wanted = Vec::new();
    for candidate in eligible(host)?.into_iter().take(most) {
        let power: u64 = narrow(candidate.tokens.over(unit)?)?;
        if power > 0 {
            wanted.push((candidate.id, power));
        }
    }
    let (next, stepped) = if wanted.is_empty() {
        // Nobody may come in or stay: the members go on as they are, and their stake stays bound, rather than that the set
        // melts away to its last key.
        let staying = current.iter().filter(|(id, _)| !jailed.contains(id)).map(|(id, power)| (*id, *power)).collect();
        (staying, current.keys().copied().collect())
    } else {
        step(&current, &wanted, &jailed, most)?
    };
    for id in &stepped {
        let validator = staking().validators().entry(*id);
        let earlier = validator.stepped_epoch().get(host)?;
        validator.stepped_earlier().set(host, earlier)?;
        validator.stepped_epoch().set(host, epoch)?;
    }
    // A set is never empty: when nobody is left, those who were there go on.
    let powers = if next.is_empty() { current } else { next };
    let mut members = Vec::with_capacity(powers.len());
    for (id, power) in powers {
        let key = staking().validators().entry(id).consensus().get(host)?;
        members.push(Member { key, id, power });
    }
    store(host, epoch, members)
}

/// At the start of an epoch: its set comes into force. Whether the bridge took a set that waits for its hand-over.
pub(crate) fn activate(host: &mut dyn Host) -> Result<bool, Fault> {
    let (epoch, now) = (host.env().epoch(), host.env().time_ms);
    let record = staking().sets().entry(epoch);
    record.start_ms().set(host, now)?;
    let members = members(host, epoch)?;
    if members.is_empty() {
        return Err(Fault::Broken("an epoch has no validator set"));
    }
    let power = record.power().get(host)?;
    host.note(Event::EpochStarted { epoch, validators: members.len() as u64, power });
    let inside: BTreeSet<u32> = members.iter().map(|member| member.id).collect();
    let mut affected = inside.clone();
    let mut previous = BTreeSet::new();
    for back in 1..=unbonding::DELAY_EPOCHS {
        if let Some(earlier) = epoch.checked_sub(back) {
            let ids: BTreeSet<u32> = self::members(host, earlier)?.iter().map(|member| member.id).collect();
            affected.extend(&ids);
            if back == 1 {
                previous = ids;
            }
        }
    }
    // Who speaks for the bridge with more power than it signs blocks with is bound by that.
    let bound = bridge::bound_members(host)?;
    affected.extend(bound.keys());
    affected.extend(bridge::past_members(host)?);
    let powers: BTreeMap<u32, u64> = members.iter().map(|member| (member.id, member.power)).collect();
    for id in affected {
        let validator = staking().validators().entry(id);
        let power = powers.get(&id).copied().unwrap_or(0);
        if bound.get(&id).copied().unwrap_or(0) <= power {
            unbonding::start_clocks(host, &validator)?;
        }
        start_jail(host, &validator, inside.contains(&id))?;
        if inside.contains(&id) && (!previous.contains(&id) || slashing::window_changed(host, id)?) {
            slashing::restart_window(host, id)?;
        }
    }
    let taken = bridge::renew(host, &members)?;
    prune(host)?;
    Ok(taken)
}

/// Jail time runs from when the power is gone (or, when the set could not do without it, from two epochs later).
fn start_jail(host: &mut dyn Host, validator: &Validator, inside: bool) -> Result<(), Fault> {
    let waits = validator.jail().get(host)? == JAILED && validator.jailed_until_ms().get(host)? == 0;
    let (epoch, now) = (host.env().epoch(), host.env().time_ms);
    if waits && (!inside || validator.jailed_epoch().get(host)?.plus(unbonding::DELAY_EPOCHS)? <= epoch) {
        let until = now.plus(validator.jail_seconds().get(host)?.times(1_000)?)?;
        validator.jailed_until_ms().set(host, until)?;
    }
    Ok(())
}

/// Removes sets that evidence no longer needs, and moves the mark of a day ago.
fn prune(host: &mut dyn Host) -> Result<(), Fault> {
    /// More than one an epoch, so that a shorter unbonding catches up.
    const MOST: usize = 4;
    /// An epoch passes once; after a long stop the mark needs a few epochs.
    const MOST_MARKS: usize = 64;
    let (epoch, now) = (host.env().epoch(), host.env().time_ms);
    let unbonding = parameter(host, Parameter::unbonding_seconds)?.times(1_000)?;
    let mut lowest = staking().lowest_set().get(host)?;
    for _ in 0..MOST {
        let next = lowest.plus(1)?;
        // The clock of undelegations looks two epochs back.
        if next.plus(unbonding::DELAY_EPOCHS)? >= epoch {
            break;
        }
        let end = staking().sets().entry(next).start_ms().get(host)?;
        if end.plus(unbonding)? >= now {
            break;
        }
        crate::storage::Variable::clear(&staking().sets().entry(lowest), host)?;
        lowest = next;
    }
    staking().lowest_set().set(host, lowest)?;
    let mut mark = staking().day_ago_epoch().get(host)?.max(lowest);
    for _ in 0..MOST_MARKS {
        let next = mark.plus(1)?;
        if next > epoch || staking().sets().entry(next).start_ms().get(host)?.plus(DAY_MS)? > now {
            break;
        }
        mark = next;
    }
    staking().day_ago_epoch().set(host, mark)
}

/// Total power a day ago, or at the beginning.
pub(crate) fn power_a_day_ago(host: &mut dyn Host) -> Result<u64, Fault> {
    let mark = staking().day_ago_epoch().get(host)?;
    staking().sets().entry(mark).power().get(host)
}

/// Puts a validator back into the list of candidates when it may be there.
pub(crate) fn reconsider(host: &mut dyn Host, id: u32) -> Result<(), Fault> {
    let validator = staking().validators().entry(id);
    if validator.candidate().get(host)?
        || validator.exiting().get(host)?
        || validator.jail().get(host)? == TOMBSTONED
        || !delegation::owner_stakes_enough(host, id, &validator)?
    {
        return Ok(());
    }
    validator.candidate().set(host, true)?;
    staking().candidates().append(host, id)
}

/// Whether somebody else could carry the chain on.
pub(crate) fn has_another(host: &mut dyn Host, id: u32) -> Result<bool, Fault> {
    for other in staking().candidates().values(host)? {
        let validator = staking().validators().entry(other);
        if other != id
            && validator.jail().get(host)? == FREE
            && !validator.exiting().get(host)?
            && delegation::owner_stakes_enough(host, other, &validator)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
