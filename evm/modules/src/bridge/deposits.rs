//! Deposits: certified, strictly in order, each credited or parked exactly once.

use super::records::{Gateway, Parked, Token, bridge};
use super::{buckets, charge_signatures, checkpoints, emit, id_of, known, units, withdrawals};
use crate::governance::parameter;
use crate::interfaces::IBridge;
use crate::numbers::Checked;
use crate::storage::Variable;
use crate::{Fault, Host, wrapped};
use alloy_primitives::{Address, Bytes, U256};
use bttc_bridge_types::{Attest, BOUNDARY, Deposit, GatewayId, accumulate};
use bttc_genesis::{BTT_ADDRESS, MODULE_ADDRESSES, Parameter, WRAPPED_PREFIX};

/// Why a credit is parked.
pub(crate) mod reason {
    /// The token is not mapped (any more).
    pub(crate) const UNMAPPED: u8 = 1;
    /// The recipient is a module, which could never spend it.
    pub(crate) const RECIPIENT: u8 = 2;
    /// The gateway is paused.
    pub(crate) const PAUSED: u8 = 3;
    /// The bucket is empty, or holds a part only.
    pub(crate) const BUCKET: u8 = 4;
    /// The reserve does not hold so much BTT.
    pub(crate) const RESERVE: u8 = 5;
}

/// `applyDeposits`.
pub(crate) fn apply(
    host: &mut dyn Host,
    at: GatewayId,
    list: &[IBridge::Deposit],
    signatures: &Bytes,
) -> Result<(), Fault> {
    if bridge().halted().get(host)? {
        return Err(Fault::revert(IBridge::BridgeHalted {}));
    }
    let (place, gateway) = known(host, at)?;
    if list.is_empty() || list.len() as u64 > BOUNDARY {
        let (got, limit) = (U256::from(list.len()), U256::from(BOUNDARY));
        return Err(Fault::revert(IBridge::TooManyDeposits { got, limit }));
    }
    let bridge_id = host.env().bridge_id;
    let (mut nonce, mut acc) = (gateway.deposit_nonce().get(host)?, gateway.deposit_acc().get(host)?);
    let mut deposits = Vec::with_capacity(list.len());
    for entry in list {
        nonce = nonce.plus(1)?;
        let deposit = Deposit {
            nonce,
            token: entry.token,
            sender: entry.sender,
            recipient: entry.recipient,
            amount: entry.amount,
        };
        host.charge(200)?;
        acc = accumulate(acc, deposit.hash(bridge_id, at));
        deposits.push(deposit);
    }
    charge_signatures(host, signatures)?;
    let digest = Attest { at, to_nonce: nonce, acc_to: acc }.digest(bridge_id);
    let set_id = bridge().set_id().get(host)?;
    let set = checkpoints::set(host, set_id)?;
    let least = host.env().preset.bridge().min_signers as usize;
    let signers = set
        .verify(digest, signatures, least)
        .map_err(|error| Fault::revert(IBridge::BadCertificate { reason: error.to_string() }))?;
    gateway.deposit_nonce().set(host, nonce)?;
    gateway.deposit_acc().set(host, acc)?;
    let boundary = gateway.boundaries().entry(nonce);
    boundary.acc().set(host, acc)?;
    let now = host.env().time_ms;
    boundary.applied_ms().set(host, now)?;
    boundary.set_id().set(host, set_id)?;
    boundary.signers().set(host, bits(&signers))?;
    let end = bridge().uncounted_end().get(host)?;
    let entry = bridge().uncounted().entry(end);
    entry.place().set(host, place)?;
    entry.to_nonce().set(host, nonce)?;
    bridge().uncounted_end().set(host, end.plus(1)?)?;
    for deposit in &deposits {
        credit(host, at, &gateway, deposit)?;
    }
    Ok(())
}

/// Places as bits.
fn bits(signers: &[u8]) -> U256 {
    let mut word = U256::ZERO;
    for index in signers {
        word.set_bit(usize::from(*index), true);
    }
    word
}

/// Credits a deposit as far as it can be, and parks the rest. Never fails for what the deposit says.
fn credit(host: &mut dyn Host, at: GatewayId, gateway: &Gateway, deposit: &Deposit) -> Result<(), Fault> {
    let token = gateway.tokens().entry(deposit.token);
    // The gateway's sums have 112 bits.
    let amount = units(deposit.amount)?;
    let locked = token.locked().get(host)?.plus(amount)?;
    token.locked().set(host, locked)?;
    let (paid, why) = pay(host, gateway, &token, deposit.recipient, amount)?;
    let rest = amount.minus(paid)?;
    if rest > 0 {
        let parked = gateway.parked().entry(deposit.nonce);
        parked.token().set(host, deposit.token)?;
        parked.sender().set(host, deposit.sender)?;
        parked.recipient().set(host, deposit.recipient)?;
        parked.amount().set(host, rest)?;
        let sum = token.parked().get(host)?.plus(rest)?;
        token.parked().set(host, sum)?;
    }
    let here = token.wrapped().get(host)?;
    emit(
        host,
        &IBridge::DepositApplied {
            rootChainId: at.root_chain_id,
            gateway: at.gateway,
            nonce: deposit.nonce,
            recipient: deposit.recipient,
            token: here,
            amount: deposit.amount,
            credited: U256::from(paid),
        },
    )?;
    if rest > 0 {
        let (root_chain, nonce) = (at.root_chain_id, deposit.nonce);
        let amount = U256::from(rest);
        emit(host, &IBridge::Parked { rootChainId: root_chain, gateway: at.gateway, nonce, amount, reason: why })?;
    }
    Ok(())
}

/// Whether coins of a recipient could never be moved again: modules and wrapped tokens spend nothing.
fn is_refused(host: &mut dyn Host, recipient: Address) -> Result<bool, Fault> {
    if recipient == Address::ZERO || MODULE_ADDRESSES.contains(&recipient) {
        return Ok(true);
    }
    Ok(recipient.starts_with(&WRAPPED_PREFIX) && wrapped::exists(host, recipient)?)
}

/// Pays as much as can be paid now, and says why not all of it.
fn pay(
    host: &mut dyn Host,
    gateway: &Gateway,
    token: &Token,
    recipient: Address,
    amount: u128,
) -> Result<(u128, u8), Fault> {
    if !token.mapped().get(host)? {
        return Ok((0, reason::UNMAPPED));
    }
    if is_refused(host, recipient)? {
        return Ok((0, reason::RECIPIENT));
    }
    if gateway.paused().get(host)? {
        return Ok((0, reason::PAUSED));
    }
    let here = token.wrapped().get(host)?;
    let mut most = buckets::available(host, token, amount)?;
    let mut why = reason::BUCKET;
    if here == BTT_ADDRESS {
        let reserve = bridge().reserve().get(host)?;
        if reserve < U256::from(most) {
            most = reserve.saturating_to();
            why = reason::RESERVE;
        }
    }
    if most == 0 {
        return Ok((0, why));
    }
    let paid = buckets::take(host, token, most)?;
    let minted = token.minted().get(host)?.plus(paid)?;
    token.minted().set(host, minted)?;
    let value = U256::from(paid);
    if here == BTT_ADDRESS {
        let left = bridge().reserve().get(host)?.minus(value)?;
        bridge().reserve().set(host, left)?;
        host.mint(recipient, value)?;
    } else {
        wrapped::mint(host, here, recipient, value)?;
    }
    Ok((paid, why))
}

fn parked(host: &mut dyn Host, gateway: &Gateway, nonce: u64) -> Result<(Parked, u128), Fault> {
    let parked = gateway.parked().entry(nonce);
    match parked.amount().get(host)? {
        0 => Err(Fault::revert(IBridge::NothingParked { nonce })),
        amount => Ok((parked, amount)),
    }
}

/// `releaseParked`.
pub(crate) fn release(host: &mut dyn Host, at: GatewayId, nonce: u64) -> Result<u128, Fault> {
    if bridge().halted().get(host)? {
        return Err(Fault::revert(IBridge::BridgeHalted {}));
    }
    let (_, gateway) = known(host, at)?;
    let (entry, amount) = parked(host, &gateway, nonce)?;
    let root = entry.token().get(host)?;
    let token = gateway.tokens().entry(root);
    let recipient = entry.recipient().get(host)?;
    let (paid, why) = pay(host, &gateway, &token, recipient, amount)?;
    if paid == 0 {
        return Err(Fault::revert(IBridge::StillParked { reason: why }));
    }
    let rest = amount.minus(paid)?;
    if rest == 0 {
        entry.clear(host)?
    } else {
        entry.amount().set(host, rest)?
    }
    let sum = token.parked().get(host)?.minus(paid)?;
    token.parked().set(host, sum)?;
    let (amount, remaining) = (U256::from(paid), U256::from(rest));
    emit(host, &IBridge::Released { rootChainId: at.root_chain_id, gateway: at.gateway, nonce, amount, remaining })?;
    Ok(paid)
}

/// Whether a parked credit can never be made: its token is not mapped or its recipient is refused.
pub(crate) fn is_returnable(host: &mut dyn Host, gateway: &Gateway, entry: &Parked) -> Result<bool, Fault> {
    let (root, recipient) = (entry.token().get(host)?, entry.recipient().get(host)?);
    let mapped = gateway.tokens().entry(root).mapped().get(host)?;
    Ok(!mapped || is_refused(host, recipient)?)
}

/// `returnParked`: a withdrawal to whoever deposited.
pub(crate) fn give_back(host: &mut dyn Host, at: GatewayId, nonce: u64) -> Result<(), Fault> {
    if bridge().halted().get(host)? {
        return Err(Fault::revert(IBridge::BridgeHalted {}));
    }
    let (_, gateway) = known(host, at)?;
    if gateway.paused().get(host)? {
        return Err(Fault::revert(IBridge::GatewayPaused {}));
    }
    let (entry, amount) = parked(host, &gateway, nonce)?;
    if !is_returnable(host, &gateway, &entry)? {
        return Err(Fault::revert(IBridge::NotReturnable { nonce }));
    }
    let (root, sender) = (entry.token().get(host)?, entry.sender().get(host)?);
    entry.clear(host)?;
    let token = gateway.tokens().entry(root);
    let sum = token.parked().get(host)?.minus(amount)?;
    token.parked().set(host, sum)?;
    let locked = token.locked().get(host)?.minus(amount)?;
    token.locked().set(host, locked)?;
    let order = withdrawals::Order { owner: sender, recipient: sender, amount: U256::from(amount), fee: U256::ZERO };
    withdrawals::append(host, &gateway, root, &order)?;
    emit(
        host,
        &IBridge::Returned { rootChainId: at.root_chain_id, gateway: at.gateway, nonce, amount: U256::from(amount) },
    )
}

/// `addSignatures`: late ones, judged by the set that was in force when the certificate was applied.
pub(crate) fn add_signatures(
    host: &mut dyn Host,
    at: GatewayId,
    to_nonce: u64,
    signatures: &Bytes,
) -> Result<(), Fault> {
    let bad = |reason: &str| Fault::revert(IBridge::BadCertificate { reason: reason.to_owned() });
    let (_, gateway) = known(host, at)?;
    let boundary = gateway.boundaries().entry(to_nonce);
    let acc_to = boundary.acc().get(host)?;
    if acc_to.is_zero() {
        return Err(bad("no certificate with this number was applied"));
    }
    let grace = parameter(host, Parameter::attest_grace_seconds)?.times(1_000)?;
    if boundary.applied_ms().get(host)?.plus(grace)? <= host.env().time_ms {
        return Err(bad("it was counted already"));
    }
    charge_signatures(host, signatures)?;
    let set_id = boundary.set_id().get(host)?;
    let set = checkpoints::set(host, set_id)?;
    let id = id_of(host, &gateway)?;
    let digest = Attest { at: id, to_nonce, acc_to }.digest(host.env().bridge_id);
    let signers = set.verify_each(digest, signatures).map_err(|error| bad(&error.to_string()))?;
    let word = boundary.signers().get(host)? | bits(&signers);
    boundary.signers().set(host, word)
}
