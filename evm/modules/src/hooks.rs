//! What happens at the start and the end of each block, outside any transaction: bounded work, whatever the number of
//! delegators and proposals. A fault here is a broken invariant and halts the node.

use crate::governance::{self, parameters};
use crate::numbers::Checked;
use crate::staking::records::staking;
use crate::{Fault, Host, bridge, btt, rewards, slashing, staking as staking_module};
use alloy_primitives::{Address, U256};
use bttc_genesis::ChainParams;
use std::collections::BTreeSet;

/// The certificate that a block carries for its parent, and who put it there.
#[derive(Clone, Debug, Default)]
pub struct LastCommit {
    /// Indices of the signers in the set of the parent's height, in canonical order.
    pub signers: Vec<u16>,
    /// Consensus key of the proposer that built the block; nobody at height 1.
    pub proposer: Address,
}

/// At the start of a block: counts the signatures for its parent; in the first block of an epoch pays the one before and
/// puts the new set into force.
///
/// # Errors
/// [`Fault`].
pub fn begin_block(host: &mut dyn Host, last_commit: &LastCommit) -> Result<(), Fault> {
    let env = host.env();
    let (height, epoch, begins) = (env.height, env.epoch(), env.begins_epoch());
    let mut set_taken = false;
    let signed_epoch = env.epoch_of(height.saturating_sub(1));
    if height > 1 {
        let params = parameters(host)?;
        let set = staking_module::members(host, signed_epoch)?;
        let signed: BTreeSet<u16> = last_commit.signers.iter().copied().collect();
        slashing::count_signatures(host, &params, &set, &signed)?;
        let (mut included, mut total) = (0u64, 0u64);
        for (index, member) in (0u16..).zip(&set) {
            total = total.plus(member.power)?;
            if signed.contains(&index) {
                included = included.plus(member.power)?;
            }
        }
        let proposer = staking().keys().entry(last_commit.proposer).get(host)?;
        // Who was not in the set that signed has no part in that epoch's reward.
        if set.iter().any(|member| member.id == proposer) {
            rewards::count_bonus(host, proposer, included, total)?;
        }
    }
    if begins {
        if height > 1 {
            rewards::pay_epoch(host, signed_epoch)?;
        }
        debug_assert_eq!(epoch, host.env().epoch());
        set_taken = staking_module::activate(host)?;
    }
    bridge::count_attestations(host)?;
    bridge::begin_block(host, set_taken)
}

/// At the end of a block: takes its base fees, computes a set at the end of an epoch, moves proposals on. Gives the
/// parameters of the next block.
///
/// # Errors
/// [`Fault`].
pub fn end_block(host: &mut dyn Host, base_fees: U256) -> Result<ChainParams, Fault> {
    let params = parameters(host)?;
    if !base_fees.is_zero() {
        let burned = base_fees.times(U256::from(params.burn_ratio_bps))?.over(U256::from(10_000))?;
        btt::burned(host, burned)?;
        rewards::collect_fees(host, base_fees.minus(burned)?)?;
    }
    if host.env().ends_epoch() {
        staking_module::compute(host)?;
    }
    bridge::carry_out(host)?;
    governance::end_block(host, &params)?;
    parameters(host)
}
