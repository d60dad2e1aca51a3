//! Staking (`0x…1000`): validators, delegations, unbonding, sets.
//!
//! `validators.rs` is what owners do, `delegation.rs` shares and rewards of delegators, `unbonding.rs` stake on its way
//! out, `sets.rs` who signs when, `records.rs` what is stored, `views.rs` what can be read.

mod delegation;
pub mod records;
mod sets;
mod unbonding;
mod validators;
pub mod views;

pub use sets::{members, validator_set};
pub use validators::{BRIDGE_ROLE, CONSENSUS_ROLE, STAKE_ACCOUNT, key_digest};

pub(crate) use delegation::{REWARD_SHIFT, shares_at};
pub(crate) use sets::{activate, compute, power_a_day_ago, store};
pub(crate) use validators::{New, insert};

use crate::call::Call;
use crate::governance::parameter;
use crate::interfaces::IStaking::{self, IStakingCalls as Calls};
use crate::numbers::wei;
use crate::{Fault, Host, slashing};
use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use bttc_genesis::{Parameter, STAKING_ADDRESS};
use records::{Validator, staking};

/// Validators to which one account may delegate: its votes and reads go over all of them.
pub const MAX_DELEGATIONS: u64 = 64;
/// Entries of stake on its way out that one account may have: `withdraw` goes over all of them.
pub const MAX_UNBONDINGS: u64 = 64;

/// Emits an event of the module.
pub(crate) fn emit(host: &mut dyn Host, event: &impl SolEvent) -> Result<(), Fault> {
    host.log(STAKING_ADDRESS, event.encode_log_data())
}

/// The record of a validator that exists.
pub(crate) fn known(host: &mut dyn Host, id: u32) -> Result<Validator, Fault> {
    let validator = staking().validators().entry(id);
    if id == 0 || id > staking().validator_count().get(host)? {
        return Err(Fault::revert(IStaking::UnknownValidator { id }));
    }
    Ok(validator)
}

/// Serves a call.
pub(crate) fn dispatch(request: Calls, call: &Call<'_>, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    let caller = call.caller;
    Ok(match request {
        Calls::createValidator(args) => {
            let new = New {
                owner: caller,
                consensus: args.consensusKey,
                bridge: args.bridgeKey,
                commission_bps: args.commissionBps,
                name: &args.name,
                stake: call.stake()?,
            };
            let id = validators::create(host, &new, &args.consensusProof, &args.bridgeProof)?;
            IStaking::createValidatorCall::abi_encode_returns(&id)
        }
        Calls::editValidator(args) => {
            validators::edit(host, caller, args.commissionBps, &args.name)?;
            Vec::new()
        }
        Calls::rotateKey(args) => {
            validators::rotate(host, caller, args.role, args.key, &args.proof)?;
            Vec::new()
        }
        Calls::delegate(args) => delegate(host, args.id, call)?.abi_encode(),
        Calls::undelegate(args) => {
            U256::from(delegation::undelegate(host, args.id, caller, args.amount, 0)?).abi_encode()
        }
        Calls::redelegate(args) => {
            let target = known(host, args.to)?;
            if args.from == args.to || !delegation::accepts(host, &target)? {
                return Err(Fault::revert(IStaking::NotAccepting { id: args.to }));
            }
            U256::from(delegation::undelegate(host, args.from, caller, args.amount, args.to)?).abi_encode()
        }
        Calls::withdraw(args) => U256::from(unbonding::withdraw(host, args.delegator)?).abi_encode(),
        Calls::claimRewards(args) => U256::from(delegation::claim(host, args.id, caller)?).abi_encode(),
        Calls::unjail(_) => {
            validators::unjail(host, caller)?;
            Vec::new()
        }
        Calls::exit(_) => {
            validators::exit(host, caller)?;
            Vec::new()
        }
        Calls::submitEvidence(args) => {
            slashing::submit_evidence(host, caller, &args.evidence)?;
            Vec::new()
        }
        view => views::dispatch(view, host)?,
    })
}

/// `delegate`.
fn delegate(host: &mut dyn Host, id: u32, call: &Call<'_>) -> Result<U256, Fault> {
    let amount = call.stake()?;
    let minimum = wei(parameter(host, Parameter::min_delegation)?);
    if amount < minimum {
        let (amount, minimum) = (U256::from(amount), U256::from(minimum));
        return Err(Fault::revert(IStaking::AmountTooSmall { amount, minimum }));
    }
    let shares = U256::from(delegation::bond(host, id, call.caller, amount)?);
    sets::reconsider(host, id)?;
    emit(host, &IStaking::Delegated { id, delegator: call.caller, amount: U256::from(amount), shares })?;
    Ok(shares)
}

/// Number of the validator with this owner or key; 0 when there is none.
pub(crate) fn find(host: &mut dyn Host, account: Address) -> Result<u32, Fault> {
    match staking().owners().entry(account).get(host)? {
        0 => staking().keys().entry(account).get(host),
        id => Ok(id),
    }
}
