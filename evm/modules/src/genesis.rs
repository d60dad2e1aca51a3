//! What modules hold in the genesis block: validators with their stake, parameters, counters.

use crate::numbers::{Checked, wei};
use crate::staking::records::{Member, staking};
use crate::staking::{New, STAKE_ACCOUNT, insert, store};
use crate::{Env, Fault, Host, MemoryHost, bridge, btt, governance, rewards};
use alloy_primitives::{Address, B256, U256};
use bttc_genesis::ChainSpec;
use bttc_types::SigningDomain;
use std::sync::Arc;

/// The surroundings of a module in a block of this network. `genesis_hash` is zero while the genesis block is made.
pub fn environment(spec: &ChainSpec, genesis_hash: B256) -> Env {
    Env {
        preset: spec.bttc.preset,
        chain_id: spec.chain_id(),
        domain: Arc::new(SigningDomain::new(spec.chain_id(), genesis_hash)),
        bridge_id: spec.bttc.bridge.bridge_id,
        epoch_blocks: spec.bttc.params.epoch_blocks,
        power_unit: wei(spec.bttc.params.power_unit),
        height: 0,
        time_ms: spec.genesis.timestamp.saturating_mul(1_000),
        parent_time_ms: 0,
        parent_hash: B256::ZERO,
    }
}

/// Storage and balances of the module accounts in the genesis block.
///
/// # Errors
/// [`Fault`] when the specification was not validated.
pub fn genesis_state(spec: &ChainSpec) -> Result<MemoryHost, Fault> {
    let mut host = MemoryHost::new(environment(spec, B256::ZERO));
    let params = &spec.bttc.params;
    governance::initialize(&mut host, params)?;
    let mut members = Vec::new();
    for (id, entry) in (1u32..).zip(&spec.bttc.validators) {
        let stake = u128::from(entry.power).times(host.env.power_unit)?;
        host.mint(STAKE_ACCOUNT, U256::from(stake))?;
        let name = format!("validator {id}");
        let new = New {
            owner: entry.owner,
            consensus: entry.address,
            bridge: entry.bridge.unwrap_or(Address::ZERO),
            commission_bps: 0,
            name: &name,
            stake,
        };
        staking().keys().entry(entry.address).set(&mut host, id)?;
        if let Some(bridge) = entry.bridge {
            staking().keys().entry(bridge).set(&mut host, id)?;
        }
        insert(&mut host, id, &new)?;
        members.push(Member { key: entry.address, id, power: entry.power });
    }
    // What is computed takes effect an epoch later, so the first two epochs have the genesis set.
    store(&mut host, 0, members.clone())?;
    store(&mut host, 1, members)?;

    let supply = &spec.bttc.supply;
    rewards::rewards().pool().set(&mut host, supply.reward_pool)?;
    let start = host.env.time_ms;
    rewards::rewards().paid_until_ms().set(&mut host, start)?;
    let allocated = spec
        .genesis
        .alloc
        .values()
        .map(|account| account.balance)
        .chain(host.balances.values().copied())
        .try_fold(supply.reward_pool.plus(supply.reserve)?, Checked::plus)?;
    btt::btt().supply().set(&mut host, allocated)?;
    bridge::initialize(&mut host, spec)?;
    host.logs.clear();
    host.events.clear();
    Ok(host)
}
