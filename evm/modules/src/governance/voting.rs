//! Votes: of delegators with their own stake, and of validators with the rest of their pools.

use super::emit;
use super::proposals::known;
use super::records::{Proposal, Split, Vote, status};
use crate::interfaces::IGovernance;
use crate::numbers::{Checked, mul_div, share_bps};
use crate::staking::records::staking;
use crate::staking::{MAX_DELEGATIONS, shares_at};
use crate::{Fault, Host};
use alloy_primitives::{Address, U256};

/// A split of the interface, checked.
fn checked(split: &IGovernance::Split) -> Result<Split, Fault> {
    let IGovernance::Split { yes, no, abstain, veto } = *split;
    let sum = u32::from(yes).saturating_add(no.into()).saturating_add(abstain.into()).saturating_add(veto.into());
    if sum == 10_000 { Ok(Split { yes, no, abstain, veto }) } else { Err(Fault::revert(IGovernance::BadSplit {})) }
}

/// A proposal that is being voted on.
fn in_voting(host: &mut dyn Host, id: u64) -> Result<Proposal, Fault> {
    let proposal = known(host, id)?;
    let state = proposal.status().get(host)?;
    if state != status::VOTING || host.env().time_ms > proposal.voting_end_ms().get(host)? {
        return Err(Fault::revert(IGovernance::WrongStatus { id, status: state }));
    }
    Ok(proposal)
}

/// Adds a divided weight to a proposal's sums, or takes it away.
pub(crate) fn count(
    host: &mut dyn Host,
    proposal: &Proposal,
    weight: u128,
    split: Split,
    add: bool,
) -> Result<(), Fault> {
    let sums = [
        (proposal.yes(), split.yes),
        (proposal.no(), split.no),
        (proposal.abstain(), split.abstain),
        (proposal.veto(), split.veto),
    ];
    for (sum, bps) in sums {
        let part = share_bps(weight, u64::from(bps))?;
        let old = sum.get(host)?;
        sum.set(host, if add { old.plus(part)? } else { old.minus(part)? })?;
    }
    Ok(())
}

/// `vote`. Gives the weight, wei.
pub(crate) fn vote(
    host: &mut dyn Host,
    voter: Address,
    id: u64,
    validators: &[u32],
    split: &IGovernance::Split,
) -> Result<u128, Fault> {
    let proposal = in_voting(host, id)?;
    let split = checked(split)?;
    if validators.len() as u64 > MAX_DELEGATIONS {
        return Err(Fault::revert(IGovernance::TooMany { limit: U256::from(MAX_DELEGATIONS) }));
    }
    let named = !validators.is_empty();
    let list = if named { validators.to_vec() } else { staking().delegators().entry(voter).values(host)? };
    let mut total = 0u128;
    for validator in list {
        let weight = weight(host, &proposal, validator, voter)?;
        if weight == 0 {
            if named {
                return Err(Fault::revert(IGovernance::NoWeight { validator }));
            }
            continue;
        }
        let pool = proposal.pools().entry(validator);
        let vote: Vote = proposal.votes().entry(voter).entry(validator);
        let before = vote.weight().get(host)?;
        if before > 0 {
            let old = vote.split().get(host)?;
            count(host, &proposal, before, old, false)?;
        }
        count(host, &proposal, weight, split, true)?;
        let overridden = pool.overridden().get(host)?.minus(before)?.plus(weight)?;
        pool.overridden().set(host, overridden)?;
        vote.weight().set(host, weight)?;
        vote.split().set(host, split)?;
        total = total.plus(weight)?;
        let IGovernanceSplit(split) = split.into();
        emit(host, &IGovernance::Voted { id, voter, validator, weight: U256::from(weight), split })?;
    }
    if total == 0 {
        return Err(Fault::revert(IGovernance::NoWeight { validator: 0 }));
    }
    Ok(total)
}

/// A voter's stake at a validator when the voting opened, wei.
fn weight(host: &mut dyn Host, proposal: &Proposal, validator: u32, voter: Address) -> Result<u128, Fault> {
    let pool = proposal.pools().entry(validator);
    let all = pool.shares().get(host)?;
    if all == 0 {
        return Ok(0);
    }
    let opened = proposal.voting_start_ms().get(host)?;
    let shares = shares_at(host, validator, voter, opened)?;
    mul_div(shares, pool.tokens().get(host)?, all)
}

/// `voteAsValidator`: by the owner, for what its delegators do not vote themselves.
pub(crate) fn vote_as_validator(
    host: &mut dyn Host,
    caller: Address,
    id: u64,
    split: &IGovernance::Split,
) -> Result<(), Fault> {
    let proposal = in_voting(host, id)?;
    let split = checked(split)?;
    let validator = staking().owners().entry(caller).get(host)?;
    let pool = proposal.pools().entry(validator);
    if validator == 0 || pool.shares().get(host)? == 0 {
        return Err(Fault::revert(IGovernance::NotValidator { caller }));
    }
    pool.split().set(host, split)?;
    let now = host.env().time_ms;
    pool.voted_ms().set(host, now)?;
    let IGovernanceSplit(split) = split.into();
    emit(host, &IGovernance::ValidatorVoted { id, validator, split })
}

/// The interface's form of a split.
struct IGovernanceSplit(IGovernance::Split);

impl From<Split> for IGovernanceSplit {
    fn from(split: Split) -> Self {
        Self(IGovernance::Split { yes: split.yes, no: split.no, abstain: split.abstain, veto: split.veto })
    }
}
