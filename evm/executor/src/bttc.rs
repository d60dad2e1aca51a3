//! What this chain does at the start and the end of a block beyond Ethereum's transactions, and its header rules.

use crate::Error;
use crate::block_state::StateError;
use crate::run::{BlockRun, total_base_fee};
use alloy_consensus::Header;
use alloy_eips::{eip2935, eip4788};
use alloy_primitives::{B256, U256};
use bttc_genesis::{ChainParams, REWARD_POOL_SLOT, REWARDS_ADDRESS, SYSTEM_CALLER};
use revm::database_interface::Database;

/// System calls before the first transaction: the parent's hash (EIP-2935) and the hash of `last_commit` (in the
/// place of Ethereum's beacon block root, EIP-4788).
pub(crate) fn begin_block(run: &mut BlockRun<'_>, parent_hash: B256, last_commit: B256) -> Result<(), Error> {
    run.system_call(SYSTEM_CALLER, eip2935::HISTORY_STORAGE_ADDRESS, parent_hash.0.into())?;
    run.system_call(SYSTEM_CALLER, eip4788::BEACON_ROOTS_ADDRESS, last_commit.0.into())?;
    Ok(())
}

/// After the last transaction: base fees that are not burned go to the reward pool counter.
pub(crate) fn end_block(run: &mut BlockRun<'_>, params: &ChainParams, base_fee: u64) -> Result<(), Error> {
    let collected = total_base_fee(base_fee, run.gas_used);
    let burned = collected * U256::from(params.burn_ratio_bps) / U256::from(10_000);
    let share = collected - burned;
    if share.is_zero() {
        return Ok(());
    }
    let slot = U256::from_be_bytes(REWARD_POOL_SLOT.0);
    let store = |StateError(error)| Error::Store(error);
    let state = run.state();
    let pool = state.storage(REWARDS_ADDRESS, slot).map_err(store)?;
    let pool = pool
        .checked_add(share)
        .ok_or_else(|| Error::Evm { height: 0, reason: "the reward pool counter overflows".into() })?;
    state.set_storage(REWARDS_ADDRESS, slot, pool).map_err(store)
}

/// Base fee of the block after `parent`: EIP-1559, but never below the chain's minimum. Computed in 128 bits: with this
/// chain's prices some hundred full blocks in a row would overflow 64.
pub(crate) fn next_base_fee(parent: &Header, params: &ChainParams) -> u64 {
    const ELASTICITY: u64 = 2;
    const DENOMINATOR: u128 = 8;
    let fee = u128::from(parent.base_fee_per_gas.unwrap_or(params.min_base_fee));
    let target = parent.gas_limit / ELASTICITY;
    let next = match parent.gas_used.cmp(&target) {
        std::cmp::Ordering::Equal => fee,
        _ if target == 0 => fee,
        std::cmp::Ordering::Greater => {
            let over = u128::from(parent.gas_used - target);
            fee.saturating_add((fee.saturating_mul(over) / u128::from(target) / DENOMINATOR).max(1))
        }
        std::cmp::Ordering::Less => {
            let under = u128::from(target - parent.gas_used);
            fee.saturating_sub(fee.saturating_mul(under) / u128::from(target) / DENOMINATOR)
        }
    };
    u64::try_from(next).unwrap_or(u64::MAX).max(params.min_base_fee)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_eips::eip1559::BaseFeeParams;
    use bttc_genesis::Preset;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_base_fee_is_that_of_eip_1559_above_the_minimum(
            used in 0u64..=500_000_000,
            fee in 1_000_000_000u64..1_000_000_000_000_000,
        ) {
            let params = Preset::Local.params();
            let parent = Header {
                gas_used: used,
                gas_limit: 500_000_000,
                base_fee_per_gas: Some(fee),
                ..Header::default()
            };
            let expected = BaseFeeParams::ethereum().next_block_base_fee(used, 500_000_000, fee);
            prop_assert_eq!(next_base_fee(&parent, &params), expected.max(params.min_base_fee));
        }
    }

    #[test]
    fn an_absurd_base_fee_does_not_wrap() {
        let params = Preset::Local.params();
        let parent = Header {
            gas_used: 500_000_000,
            gas_limit: 500_000_000,
            base_fee_per_gas: Some(u64::MAX),
            ..Header::default()
        };
        assert_eq!(next_base_fee(&parent, &params), u64::MAX);
    }
}
