//! Execution under Ethereum's rules: for other people's test suites and chains.
//!
//! Here the base fee is burned, forks come by height and time, and blobs exist.

use crate::block_state::{BlockState, CodeCache};
use crate::receipts::logs_hash;
use crate::run::{BlockRun, Outcome};
use crate::{Error, EvmInput};
use alloy_primitives::B256;
use bttc_genesis::Rules;
use bttc_state::{StateDiff, StateRead};
use bttc_types::RecoveredTransaction;
use std::sync::Arc;

/// What one transaction did to a state.
#[derive(Clone, Debug)]
pub struct SingleOutcome {
    /// Changes of the state; none when the transaction was refused.
    pub diff: StateDiff,
    /// `keccak(rlp(logs))`.
    pub logs_hash: B256,
    /// Why the transaction was refused, if it was.
    pub refused: Option<String>,
}

/// Executes one transaction in a block of its own, without system calls and rewards: an Ethereum state test.
///
/// # Errors
/// The store's and the EVM's.
pub fn execute_single(
    state: &dyn StateRead,
    input: EvmInput,
    rules: &Rules,
    chain_id: u64,
    code_cache: &Arc<CodeCache>,
    transaction: &RecoveredTransaction,
) -> Result<SingleOutcome, Error> {
    let mut run = BlockRun::new(BlockState::new(state, Arc::clone(code_cache)), input, rules, chain_id);
    match run.execute(transaction)? {
        Outcome::Refused(reason) => Ok(SingleOutcome {
            diff: StateDiff::default(),
            logs_hash: logs_hash(&[]),
            refused: Some(reason.to_string()),
        }),
        Outcome::Included => {
            let logs = run.receipts.last().map(|receipt| logs_hash(&receipt.logs)).unwrap_or_default();
            Ok(SingleOutcome { diff: run.into_state().into_diff(), logs_hash: logs, refused: None })
        }
    }
}
