//! Members who signed what is not so, and members who did not sign.

use super::records::{Accusation, bridge};
use super::{emit, known};
use crate::call::RECOVERY_GAS;
use crate::governance::{parameter, parameters};
use crate::interfaces::IBridge;
use crate::numbers::Checked;
use crate::slashing;
use crate::staking::members;
use crate::staking::records::{FREE, TOMBSTONED, staking};
use crate::storage::Variable;
use crate::{Event, Fault, Host};
use alloy_primitives::{Address, B256, Bytes, U256};
use bttc_bridge_types::{Attest, Checkpoint, Dest, GatewayId};
use bttc_genesis::Parameter;
use bttc_types::{Signature, recover};

/// Certificates counted in one block.
const COUNTED: u64 = 4;

fn bad(reason: &str) -> Fault {
    Fault::revert(IBridge::BadEvidence { reason: reason.to_owned() })
}

/// Validator whose key signed a digest.
fn signer(host: &mut dyn Host, digest: B256, bytes: &Bytes) -> Result<u32, Fault> {
    host.charge(RECOVERY_GAS)?;
    let mut bytes = <[u8; 65]>::try_from(bytes.as_ref()).map_err(|_| bad("a signature has 65 bytes"))?;
    if let Some(v @ (27 | 28)) = bytes.last_mut() {
        *v = v.saturating_sub(27);
    }
    let key = recover(digest, &Signature::from_bytes(bytes)).map_err(|_| bad("not a signature"))?;
    match staking().keys().entry(key).get(host)? {
        0 => Err(bad("its signer never was a validator's key")),
        id => Ok(id),
    }
}

/// `accuseAttestation`: it differs from what was applied.
pub(crate) fn attestation(
    host: &mut dyn Host,
    reporter: Address,
    at: GatewayId,
    to_nonce: u64,
    acc_to: B256,
    signature: &Bytes,
) -> Result<(), Fault> {
    let (_, gateway) = known(host, at)?;
    let applied = gateway.boundaries().entry(to_nonce).acc().get(host)?;
    if applied.is_zero() {
        return Err(bad("no certificate with this number was applied"));
    }
    if applied == acc_to {
        return Err(bad("it says what was applied"));
    }
    let digest = Attest { at, to_nonce, acc_to }.digest(host.env().bridge_id);
    let id = signer(host, digest, signature)?;
    accuse(host, id, reporter)
}

/// `accuseConflict`: one key, one number, two running hashes.
pub(crate) fn conflict(
    host: &mut dyn Host,
    reporter: Address,
    args: &IBridge::accuseConflictCall,
) -> Result<(), Fault> {
    let at = GatewayId { root_chain_id: args.rootChainId, gateway: args.gateway };
    known(host, at)?;
    if args.accA == args.accB {
        return Err(bad("both say the same"));
    }
    let bridge_id = host.env().bridge_id;
    let digest = |acc_to| Attest { at, to_nonce: args.toNonce, acc_to }.digest(bridge_id);
    let (first, second) = (digest(args.accA), digest(args.accB));
    let id = signer(host, first, &args.signatureA)?;
    if id != signer(host, second, &args.signatureB)? {
        return Err(bad("two validators signed"));
    }
    accuse(host, id, reporter)
}

/// `accuseCheckpoint`: the ledger made another one with this number, or none yet.
pub(crate) fn checkpoint(
    host: &mut dyn Host,
    reporter: Address,
    claimed: &IBridge::Checkpoint,
    dests: &[IBridge::Dest],
    signature: &Bytes,
) -> Result<(), Fault> {
    if dests.len() > 256 {
        return Err(bad("too many destinations"));
    }
    let dests = dests
        .iter()
        .map(|dest| Dest {
            at: GatewayId { root_chain_id: dest.rootChainId, gateway: dest.gateway },
            tree_id: dest.treeId,
            withdrawal_root: dest.withdrawalRoot,
            count: dest.count,
        })
        .collect();
    let checkpoint = Checkpoint {
        seq: claimed.seq,
        last_block: claimed.lastBlock,
        last_block_hash: claimed.lastBlockHash,
        timestamp: claimed.timestamp,
        dests,
        set_hash: claimed.setHash,
        next_set_hash: claimed.nextSetHash,
    };
    let digest = checkpoint.digest(host.env().bridge_id);
    let made = bridge().checkpoints().entry(claimed.seq).digest().get(host)?;
    if digest == made {
        return Err(bad("the ledger made this checkpoint"));
    }
    let id = signer(host, digest, signature)?;
    accuse(host, id, reporter)
}

/// Opens an accusation. Until it is carried out or cancelled the validator's stake stays where it is.
fn accuse(host: &mut dyn Host, id: u32, reporter: Address) -> Result<(), Fault> {
    let validator = staking().validators().entry(id);
    if validator.jail().get(host)? == TOMBSTONED {
        return Err(bad("the validator is out for ever already"));
    }
    let accusation = bridge().accusations().entry(id);
    if accusation.due_ms().get(host)? != 0 {
        return Err(bad("the validator stands accused already"));
    }
    let wait = parameter(host, Parameter::accusation_seconds)?.times(1_000)?;
    let due = host.env().time_ms.plus(wait)?;
    accusation.due_ms().set(host, due)?;
    let now = host.env().time_ms;
    accusation.opened_ms().set(host, now)?;
    accusation.reporter().set(host, reporter)?;
    bridge().accused().append(host, id)?;
    halt_if_many(host)?;
    emit(host, &IBridge::Accused { id, dueMs: due, reporter })
}

/// More than a third of the power cannot be wrong by itself: the root chain may have lied.
fn halt_if_many(host: &mut dyn Host) -> Result<(), Fault> {
    let accused = bridge().accused().values(host)?;
    let set_id = bridge().set_id().get(host)?;
    let (mut power, mut total) = (0u64, 0u64);
    for member in bridge().sets().entry(set_id).members().values(host)? {
        total = total.plus(member.power)?;
        if accused.contains(&member.id) {
            power = power.plus(member.power)?;
        }
    }
    if u128::from(power).times(3)? > u128::from(total) {
        bridge().halted().set(host, true)?;
    }
    Ok(())
}

/// Whether a validator stands accused.
pub(crate) fn is_accused(host: &mut dyn Host, id: u32) -> Result<bool, Fault> {
    Ok(bridge().accusations().entry(id).due_ms().get(host)? != 0)
}

/// Forgets an accusation; whether there was one. The bridge goes on when governance has cancelled the last one.
pub(crate) fn dismiss(host: &mut dyn Host, id: u32) -> Result<bool, Fault> {
    let accusation: Accusation = bridge().accusations().entry(id);
    if accusation.due_ms().get(host)? == 0 {
        return Ok(false);
    }
    accusation.clear(host)?;
    let list = bridge().accused();
    let position = list.values(host)?.iter().position(|other| *other == id);
    if let Some(position) = position {
        list.swap_remove(host, position as u64)?;
    }
    if list.len(host)? == 0 {
        bridge().halted().set(host, false)?;
    }
    Ok(true)
}

/// At the end of a block: one accusation whose time has come, unless the bridge is halted.
pub(crate) fn carry_out(host: &mut dyn Host) -> Result<(), Fault> {
    if bridge().accused().len(host)? == 0 || bridge().halted().get(host)? {
        return Ok(());
    }
    let now = host.env().time_ms;
    for id in bridge().accused().values(host)? {
        let accusation = bridge().accusations().entry(id);
        if accusation.due_ms().get(host)? > now {
            continue;
        }
        return punish(host, id);
    }
    Ok(())
}

/// Until when slashes reach stake that matures at a time: one that was waiting then reaches it later.
pub(crate) fn bound_until(host: &mut dyn Host, id: u32, maturity: u64) -> Result<u64, Fault> {
    let accusation = bridge().accusations().entry(id);
    let punished = accusation.punished_ms().get(host)?;
    if punished > maturity && accusation.opened_ms().get(host)? <= maturity { Ok(punished) } else { Ok(maturity) }
}

/// Carries an accusation out: the slash.
pub(crate) fn punish(host: &mut dyn Host, id: u32) -> Result<(), Fault> {
    let accusation = bridge().accusations().entry(id);
    let (reporter, opened) = (accusation.reporter().get(host)?, accusation.opened_ms().get(host)?);
    dismiss(host, id)?;
    let now = host.env().time_ms;
    accusation.opened_ms().set(host, opened)?;
    accusation.punished_ms().set(host, now)?;
    let validator = staking().validators().entry(id);
    if validator.jail().get(host)? == TOMBSTONED {
        return Ok(());
    }
    let bps = parameter(host, Parameter::bridge_slash_bps)?;
    let slash = slashing::slash(host, id, bps, Some(reporter))?;
    slashing::jail(host, &validator, TOMBSTONED, 0)?;
    host.note(Event::BridgeSlashed { validator: id, slashed: U256::from(slash.amount), reporter });
    Ok(())
}

/// At the start of a block: counts who signed certificates to which nobody can add any more.
pub(crate) fn count_attestations(host: &mut dyn Host) -> Result<(), Fault> {
    let (first, end) = (bridge().uncounted_first().get(host)?, bridge().uncounted_end().get(host)?);
    if first == end {
        return Ok(());
    }
    let params = parameters(host)?;
    let (now, grace) = (host.env().time_ms, params.attest_grace_seconds.times(1_000)?);
    let mut number = first;
    while number < end.min(first.plus(COUNTED)?) {
        let applied = bridge().uncounted().entry(number);
        let gateway = bridge().gateways().entry(u64::from(applied.place().get(host)?));
        let boundary = gateway.boundaries().entry(applied.to_nonce().get(host)?);
        if boundary.applied_ms().get(host)?.plus(grace)? > now {
            break;
        }
        let signers = boundary.signers().get(host)?;
        let set_id = boundary.set_id().get(host)?;
        for (index, member) in bridge().sets().entry(set_id).members().values(host)?.iter().enumerate() {
            if count_one(host, member.id, !signers.bit(index), params.attest_window)? {
                punish_absence(host, member.id)?;
            }
        }
        applied.clear(host)?;
        number = number.plus(1)?;
    }
    bridge().uncounted_first().set(host, number)
}

/// Notes one certificate in a validator's window; whether more than half of a full window is missed.
fn count_one(host: &mut dyn Host, id: u32, missed: bool, window: u64) -> Result<bool, Fault> {
    let record = bridge().attesting().entry(id);
    if record.window().get(host)? != window {
        // What an earlier, longer window counted would never be taken back.
        record.counted().set(host, 0)?;
        record.missed().set(host, 0)?;
        record.window().set(host, window)?;
    }
    let passed = record.counted().get(host)?;
    let position = passed.checked_rem(window).unwrap_or(0);
    let slot = record.bits().entry(position >> 8);
    let bit = usize::from((position & 0xff) as u8);
    let mut bits = slot.get(host)?;
    let before = passed >= window && bits.bit(bit);
    let mut count = record.missed().get(host)?;
    if before != missed {
        count = if missed { count.plus(1)? } else { count.saturating_sub(1) };
        record.missed().set(host, count)?;
    }
    bits.set_bit(bit, missed);
    slot.set(host, bits)?;
    record.counted().set(host, passed.plus(1)?)?;
    Ok(passed.plus(1)? >= window && u64::from(count) > window.over(2)?)
}

/// Who does not attest is jailed as for downtime, unless the chain could not do without it.
fn punish_absence(host: &mut dyn Host, id: u32) -> Result<(), Fault> {
    let record = bridge().attesting().entry(id);
    record.counted().set(host, 0)?;
    record.missed().set(host, 0)?;
    let validator = staking().validators().entry(id);
    if validator.jail().get(host)? != FREE {
        return Ok(());
    }
    let params = parameters(host)?;
    let epoch = host.env().epoch();
    let set = members(host, epoch)?;
    let jailed = slashing::can_do_without(host, &params, id, &set)?;
    if jailed {
        slashing::jail(host, &validator, crate::staking::records::JAILED, params.downtime_jail_seconds)?;
    }
    host.note(Event::NotAttesting { validator: id, jailed });
    Ok(())
}
