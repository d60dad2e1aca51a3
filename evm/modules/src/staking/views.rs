//! Reading validators, delegations, unbonding stake and sets: for contracts and for RPC.

use super::records::{FREE, TOMBSTONED, staking};
use super::{delegation, find, known, members, unbonding};
use crate::interfaces::IStaking::{self, IStakingCalls as Calls, MemberInfo, UnbondingInfo, ValidatorInfo};
use crate::rewards::rewards;
use crate::{Fault, Host};
use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolValue};

/// Serves a read.
pub(crate) fn dispatch(request: Calls, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    Ok(match request {
        Calls::validatorCount(_) => staking().validator_count().get(host)?.abi_encode(),
        Calls::validator(args) => {
            let info = validator(host, args.id)?;
            IStaking::validatorCall::abi_encode_returns(&info)
        }
        Calls::validatorOf(args) => find(host, args.account)?.abi_encode(),
        Calls::delegation(args) => {
            let (shares, amount, rewards) = delegation_of(host, args.id, args.delegator)?;
            (U256::from(shares), U256::from(amount), U256::from(rewards)).abi_encode()
        }
        Calls::delegationsOf(args) => {
            IStaking::delegationsOfCall::abi_encode_returns(&staking().delegators().entry(args.delegator).values(host)?)
        }
        Calls::unbondings(args) => IStaking::unbondingsCall::abi_encode_returns(&unbondings(host, args.delegator)?),
        Calls::epoch(_) => host.env().epoch().abi_encode(),
        Calls::validatorSet(args) => {
            let members = members(host, args.epochNumber)?;
            let members: Vec<MemberInfo> = members
                .into_iter()
                .map(|member| MemberInfo { id: member.id, consensusKey: member.key, power: member.power })
                .collect();
            IStaking::validatorSetCall::abi_encode_returns(&members)
        }
        Calls::nextSetHash(_) => staking().next_set_hash().get(host)?.abi_encode(),
        Calls::totals(_) => {
            let (delegated, unbonding) = (staking().delegated().get(host)?, staking().unbonding().get(host)?);
            (U256::from(delegated), U256::from(unbonding)).abi_encode()
        }
        Calls::keyDigest(args) => super::key_digest(&host.env().domain, args.owner, args.role).abi_encode(),
        _ => return Err(Fault::reason("the function is no read")),
    })
}

/// Power of a validator in an epoch's set; 0 when it is not in it.
///
/// # Errors
/// The host's.
pub fn power_in(host: &mut dyn Host, id: u32, epoch: u64) -> Result<u64, Fault> {
    // Only a validator of this set or a later one is worth the search.
    if staking().validators().entry(id).last_set().get(host)? <= epoch {
        return Ok(0);
    }
    let members = members(host, epoch)?;
    Ok(members.iter().find(|member| member.id == id).map_or(0, |member| member.power))
}

/// A validator.
///
/// # Errors
/// A revert when there is none; the host's.
pub fn validator(host: &mut dyn Host, id: u32) -> Result<ValidatorInfo, Fault> {
    let record = known(host, id)?;
    let epoch = host.env().epoch();
    let jail = record.jail().get(host)?;
    Ok(ValidatorInfo {
        id,
        owner: record.owner().get(host)?,
        consensusKey: record.consensus().get(host)?,
        bridgeKey: record.bridge().get(host)?,
        commissionBps: record.commission_bps().get(host)?,
        power: power_in(host, id, epoch)?,
        tokens: U256::from(record.tokens().get(host)?),
        shares: U256::from(record.shares().get(host)?),
        selfStake: U256::from(delegation::self_stake(host, id, &record)?),
        candidate: record.candidate().get(host)?,
        jailed: jail != FREE,
        tombstoned: jail == TOMBSTONED,
        exiting: record.exiting().get(host)?,
        jailedUntil: record.jailed_until_ms().get(host)?,
        missedBlocks: rewards().signing().entry(id).missed().get(host)?.into(),
        name: record.name().read(host)?,
    })
}

/// The validator with this owner or key.
///
/// # Errors
/// The host's.
pub fn by_account(host: &mut dyn Host, account: Address) -> Result<Option<ValidatorInfo>, Fault> {
    match find(host, account)? {
        0 => Ok(None),
        id => validator(host, id).map(Some),
    }
}

/// Shares of a delegation, what they are worth and the rewards that wait, wei.
///
/// # Errors
/// A revert when there is no such validator; the host's.
pub fn delegation_of(host: &mut dyn Host, id: u32, delegator: Address) -> Result<(u128, u128, u128), Fault> {
    let record = known(host, id)?;
    let delegation = staking().delegations().entry(id).entry(delegator);
    let shares = delegation.shares().get(host)?;
    let amount = delegation::worth(host, &record, shares)?;
    let rewards = rewards_of(host, id, delegator)?;
    Ok((shares, amount, rewards))
}

/// What `claimRewards` would pay, wei.
///
/// # Errors
/// A revert when there is no such validator; the host's.
pub fn rewards_of(host: &mut dyn Host, id: u32, delegator: Address) -> Result<u128, Fault> {
    let record = known(host, id)?;
    let delegation = staking().delegations().entry(id).entry(delegator);
    let rewards = delegation::pending(host, &record, &delegation)?;
    let commission = if record.owner().get(host)? == delegator { record.commission_due().get(host)? } else { 0 };
    Ok(rewards.saturating_add(commission))
}

/// Validators to which an account delegates.
///
/// # Errors
/// The host's.
pub fn delegations_of(host: &mut dyn Host, delegator: Address) -> Result<Vec<u32>, Fault> {
    staking().delegators().entry(delegator).values(host)
}

/// Stake of an account on its way out.
///
/// # Errors
/// The host's.
pub fn unbondings(host: &mut dyn Host, delegator: Address) -> Result<Vec<UnbondingInfo>, Fault> {
    let list = staking().unbondings().entry(delegator);
    let length = list.len(host)?;
    let mut found = Vec::new();
    for index in 0..length {
        let entry = list.entry(index);
        let maturity = unbonding::maturity(host, &entry)?;
        found.push(UnbondingInfo {
            validator: entry.validator().get(host)?,
            target: entry.target().get(host)?,
            amount: U256::from(entry.amount().get(host)?),
            value: U256::from(unbonding::value(host, &entry, maturity)?),
            maturity: maturity.unwrap_or(0),
        });
    }
    Ok(found)
}
