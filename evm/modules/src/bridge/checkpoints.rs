//! Checkpoints, and bridge sets that follow one another.

use super::records::{BridgeSetRecord, CheckpointRecord, DestRecord, bridge};
use super::{charge_signatures, emit, id_of};
use crate::governance::parameter;
use crate::interfaces::IBridge;
use crate::numbers::Checked;
use crate::staking::records::{FREE, Member, staking};
use crate::storage::Variable;
use crate::{Event, Fault, Host};
use alloy_primitives::{Address, Bytes};
use bttc_bridge_types::{BridgeMember, BridgeSet, Checkpoint, Dest, GatewayId};
use bttc_genesis::{MAX_BRIDGE_MEMBERS, Parameter};
use std::collections::BTreeMap;

/// The set with this number.
pub(crate) fn set(host: &mut dyn Host, id: u64) -> Result<BridgeSet, Fault> {
    let members = bridge().sets().entry(id).members().values(host)?;
    let members = members.iter().map(|member| BridgeMember { key: member.key, power: member.power }).collect();
    BridgeSet::new(id, members).map_err(|_| Fault::Broken("a stored bridge set is not valid"))
}

/// Power by validator that signs for the bridge now, or will once the hand-over is certified.
pub(crate) fn bound_members(host: &mut dyn Host) -> Result<BTreeMap<u32, u64>, Fault> {
    let mut bound = BTreeMap::new();
    if bridge().gateways().len(host)? == 0 {
        return Ok(bound);
    }
    for id in [bridge().set_id().get(host)?, bridge().next_set_id().get(host)?] {
        for member in bridge().sets().entry(id).members().values(host)? {
            let power = bound.entry(member.id).or_insert(0);
            *power = member.power.max(*power);
        }
    }
    Ok(bound)
}

/// Validators of the set before the one in force: their stake may have become free with the hand-over. A set is taken at an
/// epoch's begin, so that no two hand-overs lie between two of them.
pub(crate) fn past_members(host: &mut dyn Host) -> Result<Vec<u32>, Fault> {
    let before = bridge().previous_set_id().get(host)?;
    let members = bridge().sets().entry(before).members().values(host)?;
    Ok(members.iter().map(|member| member.id).collect())
}

/// As [`bound_members`], of one validator.
pub(crate) fn binding_power(host: &mut dyn Host, id: u32) -> Result<u64, Fault> {
    Ok(bound_members(host)?.get(&id).copied().unwrap_or(0))
}

/// At the start of an epoch: once in a while the bridge set follows the set that signs blocks. Without gateways it is in
/// force at once; otherwise it waits until the set before it has signed the hand-over. Whether a set was taken.
pub(crate) fn renew(host: &mut dyn Host, members: &[Member]) -> Result<bool, Fault> {
    let (now, latest) = (host.env().time_ms, latest_set(host)?);
    let renewal = u64::from(host.env().preset.bridge().renewal).times(1_000)?;
    let due = latest == 0 || bridge().set_taken_ms().get(host)?.plus(renewal)? <= now;
    if !due || bridge().next_set_id().get(host)? != 0 {
        return Ok(false);
    }
    let mut taken = Vec::with_capacity(members.len());
    for member in members {
        let validator = staking().validators().entry(member.id);
        let key = validator.bridge().get(host)?;
        if key != Address::ZERO && validator.jail().get(host)? == FREE && taken.len() < MAX_BRIDGE_MEMBERS {
            taken.push(Member { key, ..*member });
        }
    }
    // Too few to speak for the bridge: those who speak now go on.
    if taken.is_empty() || taken.len() < host.env().preset.bridge().min_signers as usize {
        return Ok(false);
    }
    let id = latest.plus(1)?;
    store(host, id, taken)?;
    bridge().set_taken_ms().set(host, now)?;
    let alone = bridge().gateways().len(host)? == 0 || bridge().set_id().get(host)? == 0;
    if alone {
        bridge().set_id().set(host, id)?;
        bridge().sets().entry(id).since_ms().set(host, now)?;
    } else {
        bridge().next_set_id().set(host, id)?;
    }
    prune(host)?;
    Ok(!alone)
}

/// Number of the set that was taken last.
fn latest_set(host: &mut dyn Host) -> Result<u64, Fault> {
    Ok(bridge().set_id().get(host)?.max(bridge().next_set_id().get(host)?))
}

/// Stores a set by ascending key.
pub(crate) fn store(host: &mut dyn Host, id: u64, mut members: Vec<Member>) -> Result<(), Fault> {
    members.sort_by_key(|member| member.key);
    let record = bridge().sets().entry(id);
    record.members().replace(host, &members)?;
    let hash = set(host, id)?.hash(host.env().bridge_id);
    record.hash().set(host, hash)
}

/// Removes a set whose signatures count no more. One at a time: one is added at a time.
fn prune(host: &mut dyn Host) -> Result<(), Fault> {
    let lowest = bridge().lowest_set().get(host)?.max(1);
    let next: BridgeSetRecord = bridge().sets().entry(lowest.plus(1)?);
    let since = next.since_ms().get(host)?;
    let unbonding = parameter(host, Parameter::unbonding_seconds)?.times(1_000)?;
    if since > 0 && lowest.plus(1)? < bridge().set_id().get(host)? && since.plus(unbonding)? < host.env().time_ms {
        bridge().sets().entry(lowest).clear(host)?;
        bridge().lowest_set().set(host, lowest.plus(1)?)?;
    }
    Ok(())
}

/// At the start of a block: what the blocks so far say to the gateways, if there is something new and it is time.
pub(crate) fn begin_block(host: &mut dyn Host, set_taken: bool) -> Result<(), Fault> {
    let parent = host.env().height.saturating_sub(1);
    if parent == 0 || bridge().gateways().len(host)? == 0 || bridge().set_id().get(host)? == 0 {
        return Ok(());
    }
    let interval = parameter(host, Parameter::checkpoint_interval)?;
    let time = parent.checked_rem(interval) == Some(0);
    if set_taken || (time && bridge().unsaid().get(host)?) { make(host) } else { Ok(()) }
}

/// Makes a checkpoint of the state after the parent block.
fn make(host: &mut dyn Host) -> Result<(), Fault> {
    let env = host.env();
    let (bridge_id, last_block, last_block_hash) = (env.bridge_id, env.height.saturating_sub(1), env.parent_hash);
    let timestamp = env.parent_time_ms.over(1_000)?;
    let seq = bridge().checkpoint_count().get(host)?.plus(1)?;
    let record = bridge().checkpoints().entry(seq);
    let (set_id, next_set_id) = (bridge().set_id().get(host)?, bridge().next_set_id().get(host)?);
    let set_hash = bridge().sets().entry(set_id).hash().get(host)?;
    let next_set_hash =
        if next_set_id == 0 { set_hash } else { bridge().sets().entry(next_set_id).hash().get(host)? };
    let mut dests = Vec::new();
    for place in 0..bridge().gateways().len(host)? {
        let gateway = bridge().gateways().entry(place);
        let at = id_of(host, &gateway)?;
        for tree_id in 1..=gateway.tree_id().get(host)? {
            let tree = gateway.trees().entry(tree_id);
            let (count, withdrawal_root) = (tree.count().get(host)?, tree.root().get(host)?);
            if count > 0 {
                dests.push(Dest { at, tree_id, withdrawal_root, count });
            }
        }
    }
    for dest in &dests {
        let row: DestRecord = record.dests().push(host)?;
        row.gateway().set(host, dest.at.gateway)?;
        row.root_chain_id().set(host, dest.at.root_chain_id)?;
        row.tree_id().set(host, dest.tree_id)?;
        row.count().set(host, dest.count)?;
        row.root().set(host, dest.withdrawal_root)?;
    }
    let checkpoint = Checkpoint { seq, last_block, last_block_hash, timestamp, dests, set_hash, next_set_hash };
    let digest = checkpoint.digest(bridge_id);
    record.digest().set(host, digest)?;
    record.last_block().set(host, last_block)?;
    record.last_block_hash().set(host, last_block_hash)?;
    record.timestamp().set(host, timestamp)?;
    record.set_id().set(host, set_id)?;
    record.next_set_id().set(host, next_set_id)?;
    record.set_hash().set(host, set_hash)?;
    record.next_set_hash().set(host, next_set_hash)?;
    bridge().checkpoint_count().set(host, seq)?;
    bridge().unsaid().set(host, false)?;
    host.note(Event::Checkpoint { seq, digest });
    Ok(())
}

/// Reads a checkpoint back.
pub(crate) fn read(host: &mut dyn Host, seq: u64) -> Result<Option<(Checkpoint, CheckpointRecord)>, Fault> {
    if seq == 0 || seq > bridge().checkpoint_count().get(host)? {
        return Ok(None);
    }
    let record = bridge().checkpoints().entry(seq);
    let mut dests = Vec::new();
    for index in 0..record.dests().len(host)? {
        let row = record.dests().entry(index);
        dests.push(Dest {
            at: GatewayId { root_chain_id: row.root_chain_id().get(host)?, gateway: row.gateway().get(host)? },
            tree_id: row.tree_id().get(host)?,
            withdrawal_root: row.root().get(host)?,
            count: row.count().get(host)?,
        });
    }
    let checkpoint = Checkpoint {
        seq,
        last_block: record.last_block().get(host)?,
        last_block_hash: record.last_block_hash().get(host)?,
        timestamp: record.timestamp().get(host)?,
        dests,
        set_hash: record.set_hash().get(host)?,
        next_set_hash: record.next_set_hash().get(host)?,
    };
    Ok(Some((checkpoint, record)))
}

/// `certifyCheckpoint`: the set in force has signed that the next one follows.
pub(crate) fn certify(host: &mut dyn Host, seq: u64, signatures: &Bytes) -> Result<(), Fault> {
    let count = bridge().checkpoint_count().get(host)?;
    if seq == 0 || seq > count {
        return Err(Fault::revert(IBridge::UnknownCheckpoint { seq }));
    }
    let record = bridge().checkpoints().entry(seq);
    let (set_id, next) = (bridge().set_id().get(host)?, bridge().next_set_id().get(host)?);
    if next == 0 || record.set_id().get(host)? != set_id || record.next_set_id().get(host)? != next {
        return Err(Fault::revert(IBridge::NoHandOver { seq }));
    }
    charge_signatures(host, signatures)?;
    let digest = record.digest().get(host)?;
    let least = host.env().preset.bridge().min_signers as usize;
    set(host, set_id)?
        .verify(digest, signatures, least)
        .map_err(|error| Fault::revert(IBridge::BadCertificate { reason: error.to_string() }))?;
    bridge().previous_set_id().set(host, set_id)?;
    bridge().set_id().set(host, next)?;
    bridge().next_set_id().set(host, 0)?;
    let now = host.env().time_ms;
    let record = bridge().sets().entry(next);
    record.since_ms().set(host, now)?;
    let set_hash = record.hash().get(host)?;
    emit(host, &IBridge::SetSwitched { setId: next, setHash: set_hash })
}
