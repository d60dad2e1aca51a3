//! Rewards (`0x…1003`): the reward pool, what an epoch pays, and views.

use crate::governance::parameters;
use crate::interfaces::IRewards::{self, IRewardsCalls as Calls};
use crate::numbers::{Checked, narrow};
use crate::slashing::Signing;
use crate::staking::records::{Member, TOMBSTONED, staking};
use crate::staking::{REWARD_SHIFT, known, members, views};
use crate::storage::{Mapping, Place, Slot, Variable};
use crate::{Event, Fault, Host};
use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolValue};
use bttc_genesis::REWARDS_ADDRESS;

/// Milliseconds of the year that the rate is for.
const YEAR_MS: u64 = 31_536_000_000;
/// Longest time that one epoch's reward pays for: a chain that stood still does not pay for it.
const LONGEST_EPOCH_MS: u64 = 6 * 3_600_000;

crate::storage! {
    /// The account's variables.
    pub struct Rewards {
        /// Pays rewards and the treasury, wei. A counter and no balance: anybody can push coins into an account.
        pool: Slot<U256>,
        /// Allocated to validators and not claimed yet, wei.
        outstanding: Slot<U256>,
        /// Claimed since the beginning, wei.
        paid: Slot<U256>,
        /// Fees that came into the pool since the epoch began, wei.
        epoch_fees: Slot<U256>,
        /// Time of the last block of the last epoch that was paid.
        paid_until_ms: Slot<u64>,
        /// Signatures of validators, by number.
        signing: Mapping<u32, Signing>,
    }
}

/// The rewards module's variables.
pub fn rewards() -> Rewards {
    Rewards::at(Place::root(REWARDS_ADDRESS))
}

/// Takes coins of an account into the reward pool.
pub(crate) fn absorb(host: &mut dyn Host, from: Address, amount: u128) -> Result<(), Fault> {
    if amount == 0 {
        return Ok(());
    }
    let amount = U256::from(amount);
    host.burn(from, amount)?;
    let pool = rewards().pool().get(host)?.plus(amount)?;
    rewards().pool().set(host, pool)
}

/// Pays allocated rewards out.
pub(crate) fn pay(host: &mut dyn Host, to: Address, amount: u128) -> Result<(), Fault> {
    let amount = U256::from(amount);
    let left = rewards().outstanding().get(host)?.checked_sub(amount);
    rewards().outstanding().set(host, left.ok_or(Fault::Broken("more rewards are claimed than were allocated"))?)?;
    let paid = rewards().paid().get(host)?.plus(amount)?;
    rewards().paid().set(host, paid)?;
    host.mint(to, amount)
}

/// Adds a block's fees.
pub(crate) fn collect_fees(host: &mut dyn Host, amount: U256) -> Result<(), Fault> {
    if amount.is_zero() {
        return Ok(());
    }
    let pool = rewards().pool().get(host)?.plus(amount)?;
    rewards().pool().set(host, pool)?;
    let fees = rewards().epoch_fees().get(host)?.plus(amount)?;
    rewards().epoch_fees().set(host, fees)
}

/// Counts the proposer's bonus for the signatures that it included: by how much the signers' power exceeds two thirds.
pub(crate) fn count_bonus(host: &mut dyn Host, proposer: u32, included: u64, total: u64) -> Result<(), Fault> {
    let (included, total) = (u128::from(included), u128::from(total));
    let Some(excess) = included.times(3)?.checked_sub(total.times(2)?) else { return Ok(()) };
    if excess == 0 {
        return Ok(());
    }
    let bonus = rewards().signing().entry(proposer).bonus();
    let sum = bonus.get(host)?.plus(excess)?;
    bonus.set(host, sum)
}

/// In the first block of an epoch, after the signatures for the last block of the one before: pays that epoch.
///
/// Of the yearly reward for the time between the epochs' last blocks and of the epoch's fees, the bonus part goes to
/// proposers by included signatures, the rest by power times blocks signed. Everything is rounded down and what nobody
/// earned stays in the pool, so that an absent signer's share never raises another's.
pub(crate) fn pay_epoch(host: &mut dyn Host, epoch: u64) -> Result<(), Fault> {
    let params = parameters(host)?;
    let set = members(host, epoch)?;
    let total = set.iter().try_fold(0u64, |sum, member| sum.plus(member.power))?;
    let end = host.env().parent_time_ms;
    let elapsed = end.saturating_sub(rewards().paid_until_ms().get(host)?).min(LONGEST_EPOCH_MS);
    rewards().paid_until_ms().set(host, end)?;
    let fees = rewards().epoch_fees().get(host)?;
    rewards().epoch_fees().set(host, U256::ZERO)?;

    let bonded = U256::from(total).times(U256::from(host.env().power_unit))?;
    let reward = bonded
        .times(U256::from(params.reward_rate_bps))?
        .times(U256::from(elapsed))?
        .over(U256::from(10_000u64).times(U256::from(YEAR_MS))?)?;
    let pool = rewards().pool().get(host)?;
    let available = reward.plus(fees)?.min(pool);
    let bonus = available.times(U256::from(params.proposer_bonus_bps))?.over(U256::from(10_000))?;
    let main = available.minus(bonus)?;

    let blocks = host.env().epoch_blocks;
    let weights = U256::from(total).times(U256::from(blocks))?;
    let mut allocated = U256::ZERO;
    for member in &set {
        let signing = rewards().signing().entry(member.id);
        let missed = u64::from(signing.epoch_missed().get(host)?);
        let excess = signing.bonus().get(host)?;
        signing.epoch_missed().set(host, 0)?;
        signing.bonus().set(host, 0)?;
        let weight = U256::from(member.power).times(U256::from(blocks.saturating_sub(missed)))?;
        let part = main.times(weight)?.over(weights)?.plus(bonus.times(U256::from(excess))?.over(weights)?)?;
        // The parts never exceed what is there; should they, a hook must not be what finds out.
        let part = part.min(available.saturating_sub(allocated));
        if allocate(host, member, narrow(part)?)? {
            allocated = allocated.plus(part)?;
        }
    }
    let left = pool.checked_sub(allocated).ok_or(Fault::Broken("rewards exceed the pool"))?;
    rewards().pool().set(host, left)?;
    let outstanding = rewards().outstanding().get(host)?.plus(allocated)?;
    rewards().outstanding().set(host, outstanding)?;
    host.note(Event::Rewarded { epoch, reward, fees, allocated });
    Ok(())
}

/// Gives a validator its part: commission to the owner, the rest to all shares alike. False when nobody is there to take
/// it.
fn allocate(host: &mut dyn Host, member: &Member, part: u128) -> Result<bool, Fault> {
    let validator = staking().validators().entry(member.id);
    let shares = validator.shares().get(host)?;
    if shares == 0 || part == 0 || validator.jail().get(host)? == TOMBSTONED {
        return Ok(false);
    }
    let commission = crate::numbers::share_bps(part, u64::from(validator.commission_bps().get(host)?))?;
    let due = validator.commission_due().get(host)?.plus(commission)?;
    validator.commission_due().set(host, due)?;
    let rest =
        U256::from(part.minus(commission)?).wrapping_shl(REWARD_SHIFT).plus(validator.reward_remainder().get(host)?)?;
    let each = rest.over(U256::from(shares))?;
    let sum = validator.reward_per_share().get(host)?.plus(each)?;
    validator.reward_per_share().set(host, sum)?;
    validator.reward_remainder().set(host, rest.minus(each.times(U256::from(shares))?)?)?;
    Ok(true)
}

/// Serves a call: reads only.
pub(crate) fn dispatch(request: Calls, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    Ok(match request {
        Calls::rewardPool(_) => rewards().pool().get(host)?.abi_encode(),
        Calls::outstanding(_) => rewards().outstanding().get(host)?.abi_encode(),
        Calls::paid(_) => rewards().paid().get(host)?.abi_encode(),
        Calls::epochFees(_) => rewards().epoch_fees().get(host)?.abi_encode(),
        Calls::pendingRewards(args) => U256::from(views::rewards_of(host, args.id, args.delegator)?).abi_encode(),
        Calls::slashes(args) => {
            let log = known(host, args.id)?.slashes().values(host)?;
            let times = log.iter().map(|point| point.time_ms).collect();
            let factors = log.iter().map(|point| U256::from(point.factor)).collect();
            IRewards::slashesCall::abi_encode_returns(&IRewards::slashesReturn { times, factors })
        }
        Calls::missed(args) => {
            known(host, args.id)?;
            let signing = rewards().signing().entry(args.id);
            let blocks = u64::from(signing.missed().get(host)?);
            (blocks, signing.window().get(host)?, signing.window_start().get(host)?).abi_encode()
        }
    })
}
