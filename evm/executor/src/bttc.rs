//! What this chain does at the start and the end of a block beyond Ethereum's transactions, and its header rules.

use crate::Error;
use crate::block_state::StateError;
use crate::run::{BlockRun, total_base_fee};
use alloy_consensus::Header;
use alloy_eips::eip1559::BaseFeeParams;
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

/// Base fee of the block after `parent`: EIP-1559, but never below the chain's minimum.
pub(crate) fn next_base_fee(parent: &Header, params: &ChainParams) -> u64 {
    let parent_fee = parent.base_fee_per_gas.unwrap_or(params.min_base_fee);
    BaseFeeParams::ethereum()
        .next_block_base_fee(parent.gas_used, parent.gas_limit, parent_fee)
        .max(params.min_base_fee)
}
