//! What owners do with their validators.

use super::records::{JAILED, TOMBSTONED, Validator, staking};
use super::{delegation, emit, known, sets};
use crate::call::RECOVERY_GAS;
use crate::governance::parameter;
use crate::interfaces::IStaking;
use crate::numbers::{Checked, wei};
use crate::{Fault, Host};
use alloy_primitives::{Address, B256, U256, keccak256};
use bttc_genesis::{Parameter, STAKING_ADDRESS};
use bttc_types::{Signature, SigningDomain, recover};

/// The role of a key that signs votes.
pub const CONSENSUS_ROLE: u8 = 1;
/// The role of a key that signs for the bridge.
pub const BRIDGE_ROLE: u8 = 2;

/// Most that a commission rises at a time, 1/10,000.
const COMMISSION_STEP: u16 = 500;
/// Between two rises.
const COMMISSION_WAIT_MS: u64 = 86_400_000;

/// What a key signs to be registered: it belongs to whoever registers it, for this owner and role, on this network.
///
/// An owner has one validator, so the owner's address stands for the validator.
pub fn key_digest(domain: &SigningDomain, owner: Address, role: u8) -> B256 {
    let mut bytes = b"bttc-key:".to_vec();
    bytes.extend_from_slice(domain.name().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(owner.as_slice());
    bytes.push(role);
    keccak256(bytes)
}

/// Arguments of `createValidator`.
pub(crate) struct New<'a> {
    pub(crate) owner: Address,
    pub(crate) consensus: Address,
    pub(crate) bridge: Address,
    pub(crate) commission_bps: u16,
    pub(crate) name: &'a str,
    pub(crate) stake: u128,
}

/// Checks a key and its proof, and registers it.
pub(crate) fn register_key(
    host: &mut dyn Host,
    owner: Address,
    id: u32,
    role: u8,
    key: Address,
    proof: &[u8],
) -> Result<(), Fault> {
    let taken = staking().keys().entry(key).get(host)? != 0 || staking().owners().entry(key).get(host)? != 0;
    if taken || key == owner || key == Address::ZERO {
        return Err(Fault::revert(IStaking::KeyInUse { key }));
    }
    host.charge(RECOVERY_GAS)?;
    let digest = key_digest(&host.env().domain, owner, role);
    let signature = <[u8; 65]>::try_from(proof).map(|mut bytes| {
        // Wallet libraries write 27 or 28 for v.
        if let Some(v @ (27 | 28)) = bytes.last_mut() {
            *v = v.saturating_sub(27);
        }
        Signature::from_bytes(bytes)
    });
    let good = signature.is_ok_and(|signature| recover(digest, &signature).is_ok_and(|signer| signer == key));
    if !good {
        return Err(Fault::revert(IStaking::BadProof { key }));
    }
    staking().keys().entry(key).set(host, id)
}

/// Makes a validator's record with its owner's stake, which the module's account holds already.
pub(crate) fn insert(host: &mut dyn Host, id: u32, new: &New<'_>) -> Result<(), Fault> {
    let validator = staking().validators().entry(id);
    validator.owner().set(host, new.owner)?;
    validator.consensus().set(host, new.consensus)?;
    validator.bridge().set(host, new.bridge)?;
    validator.commission_bps().set(host, new.commission_bps)?;
    let now = host.env().time_ms;
    validator.commission_changed_ms().set(host, now)?;
    validator.name().set(host, new.name.as_bytes())?;
    staking().owners().entry(new.owner).set(host, id)?;
    staking().validator_count().set(host, id)?;
    let shares = delegation::bond(host, id, new.owner, new.stake)?;
    validator.candidate().set(host, true)?;
    staking().candidates().append(host, id)?;
    let (owner, name) = (new.owner, new.name.to_owned());
    emit(host, &IStaking::ValidatorCreated { id, owner, consensusKey: new.consensus, bridgeKey: new.bridge, name })?;
    let (amount, shares) = (U256::from(new.stake), U256::from(shares));
    emit(host, &IStaking::Delegated { id, delegator: owner, amount, shares })
}

/// `createValidator`.
pub(crate) fn create(
    host: &mut dyn Host,
    new: &New<'_>,
    consensus_proof: &[u8],
    bridge_proof: &[u8],
) -> Result<u32, Fault> {
    let owned = staking().owners().entry(new.owner).get(host)?;
    if owned != 0 {
        return Err(Fault::revert(IStaking::ValidatorExists { id: owned }));
    }
    if staking().keys().entry(new.owner).get(host)? != 0 {
        return Err(Fault::revert(IStaking::KeyInUse { key: new.owner }));
    }
    check_name(new.name)?;
    if new.commission_bps > 10_000 {
        return Err(Fault::revert(IStaking::BadCommission { commissionBps: new.commission_bps }));
    }
    let minimum = wei(parameter(host, Parameter::min_self_stake)?);
    if new.stake < minimum {
        let (amount, minimum) = (U256::from(new.stake), U256::from(minimum));
        return Err(Fault::revert(IStaking::AmountTooSmall { amount, minimum }));
    }
    let id = staking().validator_count().get(host)?.plus(1)?;
    register_key(host, new.owner, id, CONSENSUS_ROLE, new.consensus, consensus_proof)?;
    register_key(host, new.owner, id, BRIDGE_ROLE, new.bridge, bridge_proof)?;
    insert(host, id, new)?;
    Ok(id)
}

fn check_name(name: &str) -> Result<(), Fault> {
    if (1..=64).contains(&name.len()) { Ok(()) } else { Err(Fault::revert(IStaking::BadName {})) }
}

/// The caller's validator.
fn own(host: &mut dyn Host, caller: Address) -> Result<(u32, Validator), Fault> {
    match staking().owners().entry(caller).get(host)? {
        0 => Err(Fault::revert(IStaking::NoValidator { caller })),
        id => Ok((id, known(host, id)?)),
    }
}

/// `editValidator`.
pub(crate) fn edit(host: &mut dyn Host, caller: Address, commission_bps: u16, name: &str) -> Result<(), Fault> {
    let (id, validator) = own(host, caller)?;
    check_name(name)?;
    let old = validator.commission_bps().get(host)?;
    if commission_bps != old {
        let now = host.env().time_ms;
        let rested = validator.commission_changed_ms().get(host)?.plus(COMMISSION_WAIT_MS)? <= now;
        let rises = commission_bps > old;
        if commission_bps > 10_000 || (rises && (!rested || commission_bps > old.saturating_add(COMMISSION_STEP))) {
            return Err(Fault::revert(IStaking::BadCommission { commissionBps: commission_bps }));
        }
        validator.commission_bps().set(host, commission_bps)?;
        validator.commission_changed_ms().set(host, now)?;
    }
    validator.name().set(host, name.as_bytes())?;
    emit(host, &IStaking::ValidatorEdited { id, commissionBps: commission_bps, name: name.to_owned() })
}

/// `rotateKey`. A consensus key takes over with the next set that is computed.
pub(crate) fn rotate(host: &mut dyn Host, caller: Address, role: u8, key: Address, proof: &[u8]) -> Result<(), Fault> {
    let (id, validator) = own(host, caller)?;
    let slot = match role {
        CONSENSUS_ROLE => validator.consensus(),
        BRIDGE_ROLE => validator.bridge(),
        _ => return Err(Fault::revert(IStaking::BadRole { role })),
    };
    register_key(host, caller, id, role, key, proof)?;
    slot.set(host, key)?;
    emit(host, &IStaking::KeyRotated { id, role, key })
}

/// `unjail`.
pub(crate) fn unjail(host: &mut dyn Host, caller: Address) -> Result<(), Fault> {
    let (id, validator) = own(host, caller)?;
    match validator.jail().get(host)? {
        JAILED => {}
        TOMBSTONED => return Err(Fault::revert(IStaking::Tombstoned { id })),
        _ => return Err(Fault::revert(IStaking::NotJailed { id })),
    }
    let until = validator.jailed_until_ms().get(host)?;
    if until == 0 || until > host.env().time_ms {
        return Err(Fault::revert(IStaking::StillJailed { until }));
    }
    validator.jail().set(host, super::records::FREE)?;
    validator.jailed_until_ms().set(host, 0)?;
    crate::slashing::restart_window(host, id)?;
    sets::reconsider(host, id)?;
    emit(host, &IStaking::Unjailed { id })
}

/// `exit`.
pub(crate) fn exit(host: &mut dyn Host, caller: Address) -> Result<(), Fault> {
    let (id, validator) = own(host, caller)?;
    if validator.exiting().get(host)? {
        return Err(Fault::revert(IStaking::NotAccepting { id }));
    }
    if !sets::has_another(host, id)? {
        return Err(Fault::revert(IStaking::LastValidator {}));
    }
    validator.exiting().set(host, true)?;
    emit(host, &IStaking::Exiting { id })?;
    if staking().delegations().entry(id).entry(caller).shares().get(host)? > 0 {
        delegation::undelegate(host, id, caller, U256::MAX, 0)?;
    }
    Ok(())
}

/// The coins of stake lie in this account.
pub const STAKE_ACCOUNT: Address = STAKING_ADDRESS;
