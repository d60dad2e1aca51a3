//! What happens to proposals at the end of blocks: opening, counting, carrying out. One of each a block.

use super::proposals::{Changes, changed};
use super::records::{Proposal, governance, kind, status};
use super::{MAX_VOTING, voting};
use crate::bridge::{self, Operation};
use crate::interfaces::IGovernance;
use crate::numbers::{Checked, narrow};
use crate::rewards::rewards;
use crate::staking::members;
use crate::staking::records::{FREE, staking};
use crate::storage::{List, Slot};
use crate::{Event, Fault, Host, btt};
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolValue;
use bttc_genesis::{ChainParams, GOVERNANCE_ADDRESS, ParameterInfo};

/// Moves proposals on.
pub(crate) fn end_block(host: &mut dyn Host, params: &ChainParams) -> Result<(), Fault> {
    execute_one(host)?;
    tally_one(host, params)?;
    open_one(host, params)
}

/// The first of a list that satisfies a condition, with its position.
fn first(
    host: &mut dyn Host,
    list: &List<Slot<u64>>,
    due: impl Fn(&mut dyn Host, &Proposal) -> Result<bool, Fault>,
) -> Result<Option<(u64, u64, Proposal)>, Fault> {
    for (position, id) in (0u64..).zip(list.values(host)?) {
        let proposal = governance().proposals().entry(id);
        if due(host, &proposal)? {
            return Ok(Some((position, id, proposal)));
        }
    }
    Ok(None)
}

/// Opens the voting on the waiting proposal with the largest deposit, if there is a place.
fn open_one(host: &mut dyn Host, params: &ChainParams) -> Result<(), Fault> {
    let waiting = governance().waiting();
    let list = waiting.values(host)?;
    if list.is_empty() || governance().voting().len(host)? >= MAX_VOTING {
        return Ok(());
    }
    let mut best: Option<(u64, u64, u128)> = None;
    for (position, id) in (0u64..).zip(list) {
        let deposit = governance().proposals().entry(id).deposit().get(host)?;
        // The list is not in order once something was taken out of it: of equal deposits the older proposal comes first.
        if best.is_none_or(|(_, other, most)| deposit > most || (deposit == most && id < other)) {
            best = Some((position, id, deposit));
        }
    }
    let Some((position, id, _)) = best else { return Ok(()) };
    waiting.swap_remove(host, position)?;
    let proposal = governance().proposals().entry(id);
    let now = host.env().time_ms;
    proposal.status().set(host, status::VOTING)?;
    proposal.voting_start_ms().set(host, now)?;
    proposal.voting_end_ms().set(host, now.plus(params.voting_seconds.times(1_000)?)?)?;
    freeze(host, &proposal)?;
    governance().voting().append(host, id)?;
    host.note(Event::VotingOpened { proposal: id });
    Ok(())
}

/// Notes the pools of the set in force: what each delegation of this moment is worth in this vote.
fn freeze(host: &mut dyn Host, proposal: &Proposal) -> Result<(), Fault> {
    let epoch = host.env().epoch();
    let mut bonded = 0u128;
    for member in members(host, epoch)? {
        let validator = staking().validators().entry(member.id);
        let (tokens, shares) = (validator.tokens().get(host)?, validator.shares().get(host)?);
        let pool = proposal.pools().entry(member.id);
        pool.tokens().set(host, tokens)?;
        pool.shares().set(host, shares)?;
        proposal.electors().append(host, member.id)?;
        bonded = bonded.plus(tokens)?;
    }
    proposal.bonded().set(host, bonded)
}

/// Counts the votes of one proposal whose voting is over.
fn tally_one(host: &mut dyn Host, params: &ChainParams) -> Result<(), Fault> {
    let voting = governance().voting();
    let now = host.env().time_ms;
    let over = |host: &mut dyn Host, proposal: &Proposal| Ok(proposal.voting_end_ms().get(host)? <= now);
    let Some((position, id, proposal)) = first(host, &voting, over)? else { return Ok(()) };
    voting.swap_remove(host, position)?;
    count_validators(host, &proposal)?;
    let outcome = outcome(host, &proposal, params)?;
    proposal.status().set(host, outcome)?;
    match outcome {
        status::VETOED | status::NO_QUORUM => burn_deposit(host, &proposal)?,
        status::PASSED => schedule(host, id, &proposal, params)?,
        _ => {}
    }
    let status = proposal.status().get(host)?;
    host.note(Event::Tallied { proposal: id, status });
    Ok(())
}

/// Adds the validators' votes: their pools without the delegators who voted themselves. A vote from before the validator
/// was jailed does not count.
fn count_validators(host: &mut dyn Host, proposal: &Proposal) -> Result<(), Fault> {
    for id in proposal.electors().values(host)? {
        let pool = proposal.pools().entry(id);
        let voted = pool.voted_ms().get(host)?;
        let validator = staking().validators().entry(id);
        let jailed = validator.jail().get(host)? != FREE || validator.jailed_at_ms().get(host)? >= voted;
        if voted == 0 || jailed {
            continue;
        }
        // Each delegator's weight is rounded down, so their sum is at most the pool.
        let rest = pool.tokens().get(host)?.minus(pool.overridden().get(host)?)?;
        let split = pool.split().get(host)?;
        voting::count(host, proposal, rest, split, true)?;
    }
    Ok(())
}

/// What the votes decide.
fn outcome(host: &mut dyn Host, proposal: &Proposal, params: &ChainParams) -> Result<u8, Fault> {
    let read = |slot: Slot<u128>, host: &mut dyn Host| slot.get(host).map(U256::from);
    let bonded = read(proposal.bonded(), host)?;
    let (yes, no) = (read(proposal.yes(), host)?, read(proposal.no(), host)?);
    let (abstain, veto) = (read(proposal.abstain(), host)?, read(proposal.veto(), host)?);
    let against = no.plus(veto)?;
    let taking_part = yes.plus(against)?.plus(abstain)?;
    let exceeds = |part: U256, bps: u64, whole: U256| -> Result<bool, Fault> {
        Ok(part.times(U256::from(10_000))? > whole.times(U256::from(bps))?)
    };
    if taking_part.times(U256::from(10_000))? < bonded.times(U256::from(params.quorum_bps))? {
        return Ok(status::NO_QUORUM);
    }
    if exceeds(veto, params.veto_bps, taking_part)? {
        return Ok(status::VETOED);
    }
    let enough = if is_protected(host, proposal)? {
        two_thirds(yes, bonded)?
    } else {
        exceeds(yes, params.threshold_bps, yes.plus(against)?)?
    };
    Ok(if enough { status::PASSED } else { status::REJECTED })
}

fn two_thirds(yes: U256, bonded: U256) -> Result<bool, Fault> {
    Ok(yes.times(U256::from(3))? > bonded.times(U256::from(2))?)
}

/// What a parameter proposal changes.
fn changes(host: &mut dyn Host, proposal: &Proposal) -> Result<Changes, Fault> {
    let payload = proposal.payload().get(host)?;
    Changes::abi_decode(&payload).map_err(|_| Fault::Broken("a proposal's payload is malformed"))
}

/// Whether more than two thirds of all bonded power must say yes.
fn is_protected(host: &mut dyn Host, proposal: &Proposal) -> Result<bool, Fault> {
    Ok(match proposal.kind().get(host)? {
        kind::UPGRADE | kind::PAYMENT => true,
        kind::BRIDGE => {
            let operation = operation(host, proposal)?;
            bridge::is_protected(host, &operation)?
        }
        kind::PARAMETERS => changes(host, proposal)?
            .iter()
            .any(|(id, _)| ParameterInfo::by_id(*id).is_none_or(|info| info.group.is_protected())),
        _ => false,
    })
}

/// Sets the time at which a proposal is carried out. Texts have nothing to wait for.
fn schedule(host: &mut dyn Host, id: u64, proposal: &Proposal, params: &ChainParams) -> Result<(), Fault> {
    let kind = proposal.kind().get(host)?;
    if kind == kind::TEXT {
        return proposal.status().set(host, status::EXECUTED);
    }
    let (yes, bonded) = (proposal.yes().get(host)?, proposal.bonded().get(host)?);
    let hurried = proposal.expedited().get(host)? && two_thirds(U256::from(yes), U256::from(bonded))?;
    let delay = match kind {
        kind::PAYMENT => params.protected_delay_seconds,
        kind::BRIDGE if is_protected(host, proposal)? => {
            // Pausing may hurry; what loosens the bridge never does, but for an accusation that must not wait.
            let operation = operation(host, proposal)?;
            if hurried && matches!(operation, Operation::Dismiss(_) | Operation::Unpause(_) | Operation::Resume) {
                0
            } else {
                params.protected_delay_seconds
            }
        }
        _ if hurried => 0,
        _ => params.execution_delay_seconds,
    };
    let at = host.env().time_ms.plus(delay.times(1_000)?)?;
    proposal.execute_at_ms().set(host, at)?;
    governance().passed().append(host, id)
}

/// The deposit of a bad proposal is gone.
fn burn_deposit(host: &mut dyn Host, proposal: &Proposal) -> Result<(), Fault> {
    let deposit = proposal.deposit().get(host)?;
    let held = governance().deposits().get(host)?.minus(deposit)?;
    governance().deposits().set(host, held)?;
    host.burn(GOVERNANCE_ADDRESS, U256::from(deposit))?;
    btt::burned(host, U256::from(deposit))
}

/// Carries out one proposal whose time has come. One that cannot be carried out has failed and has no effect: each kind is
/// checked as a whole before it writes.
fn execute_one(host: &mut dyn Host) -> Result<(), Fault> {
    let passed = governance().passed();
    let now = host.env().time_ms;
    let due = |host: &mut dyn Host, proposal: &Proposal| Ok(proposal.execute_at_ms().get(host)? <= now);
    let Some((position, id, proposal)) = first(host, &passed, due)? else { return Ok(()) };
    passed.swap_remove(host, position)?;
    let success = match proposal.kind().get(host)? {
        kind::PARAMETERS => change_parameters(host, &proposal)?,
        kind::UPGRADE => schedule_upgrade(host, &proposal)?,
        kind::PAYMENT => make_payment(host, &proposal)?,
        kind::BRIDGE => {
            let operation = operation(host, &proposal)?;
            bridge::execute(host, &operation)?
        }
        _ => false,
    };
    proposal.status().set(host, if success { status::EXECUTED } else { status::FAILED })?;
    host.note(Event::Executed { proposal: id, success });
    Ok(())
}

/// The bridge operation of a proposal.
fn operation(host: &mut dyn Host, proposal: &Proposal) -> Result<Operation, Fault> {
    let payload = proposal.payload().get(host)?;
    let decoded = IGovernance::BridgeOperation::abi_decode(&payload).ok();
    decoded.and_then(|raw| Operation::decode(&raw)).ok_or(Fault::Broken("a proposal's payload is malformed"))
}

fn change_parameters(host: &mut dyn Host, proposal: &Proposal) -> Result<bool, Fault> {
    let changes = changes(host, proposal)?;
    match changed(host, &changes)? {
        Err(_) => Ok(false),
        Ok(params) => {
            governance().params().replace(host, &params.values())?;
            Ok(true)
        }
    }
}

fn schedule_upgrade(host: &mut dyn Host, proposal: &Proposal) -> Result<bool, Fault> {
    let payload = proposal.payload().get(host)?;
    let (name, height) =
        <(String, u64)>::abi_decode(&payload).map_err(|_| Fault::Broken("a proposal's payload is malformed"))?;
    if height <= host.env().height {
        return Ok(false);
    }
    let upgrade = governance().upgrades().push(host)?;
    upgrade.height().set(host, height)?;
    upgrade.name().set(host, name.as_bytes())?;
    Ok(true)
}

fn make_payment(host: &mut dyn Host, proposal: &Proposal) -> Result<bool, Fault> {
    let payload = proposal.payload().get(host)?;
    let (recipient, amount) =
        <(Address, U256)>::abi_decode(&payload).map_err(|_| Fault::Broken("a proposal's payload is malformed"))?;
    let amount: u128 = narrow(amount)?;
    let Some(left) = rewards().pool().get(host)?.checked_sub(U256::from(amount)) else { return Ok(false) };
    rewards().pool().set(host, left)?;
    host.mint(recipient, U256::from(amount))?;
    Ok(true)
}
