//! What this chain does at the start and the end of a block beyond Ethereum's transactions, and its header rules.

use crate::Error;
use crate::modules::{BlockHost, hook_error};
use crate::run::{BlockRun, total_base_fee};
use alloy_consensus::Header;
use alloy_eips::{eip2935, eip4788};
use alloy_primitives::B256;
use bttc_genesis::{ChainParams, SYSTEM_CALLER};
use bttc_modules::hooks::{self, LastCommit};
use bttc_modules::{Env, Event};

/// Before the first transaction: system calls with the parent's hash (EIP-2935) and the hash of `last_commit` (in the
/// place of Ethereum's beacon block root, EIP-4788), then the modules' hook.
pub(crate) fn begin_block(run: &mut BlockRun<'_>, start: &BlockStart) -> Result<Vec<Event>, Error> {
    run.system_call(SYSTEM_CALLER, eip2935::HISTORY_STORAGE_ADDRESS, start.parent_hash.0.into())?;
    run.system_call(SYSTEM_CALLER, eip4788::BEACON_ROOTS_ADDRESS, start.last_commit.0.into())?;
    let height = start.env.height;
    let mut host = BlockHost { env: start.env.clone(), state: run.state(), events: Vec::new() };
    hooks::begin_block(&mut host, &start.commit).map_err(hook_error(height))?;
    Ok(host.events)
}

/// What a block begins with.
pub(crate) struct BlockStart {
    pub(crate) parent_hash: B256,
    /// Hash of the certificate.
    pub(crate) last_commit: B256,
    /// Who signed it.
    pub(crate) commit: LastCommit,
    pub(crate) env: Env,
}

/// After the last transaction: base fees that are not burned go to the reward pool, and the modules' hook. Gives the
/// parameters of the next block.
pub(crate) fn end_block(
    run: &mut BlockRun<'_>,
    env: &Env,
    base_fee: u64,
    events: &mut Vec<Event>,
) -> Result<ChainParams, Error> {
    let collected = total_base_fee(base_fee, run.gas_used);
    let mut host = BlockHost { env: env.clone(), state: run.state(), events: std::mem::take(events) };
    let params = hooks::end_block(&mut host, collected).map_err(hook_error(env.height))?;
    *events = host.events;
    Ok(params)
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
