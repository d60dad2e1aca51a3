//! Transactions from peers, and the accounts that the pool judges them by.

use alloy_primitives::Address;
use bttc_executor::Executor;
use bttc_network::Verdict;
use bttc_pool::{AccountLookup, AccountState, Error as PoolError, Pool};
use bttc_state::{EMPTY_CODE_HASH, StateRead};
use bttc_types::{RecoveredTransaction, decode_transaction};
use std::sync::Arc;

/// Accounts at the head, for the pool.
#[derive(Clone, Debug)]
pub struct HeadAccounts(pub Arc<Executor>);

impl AccountLookup for HeadAccounts {
    fn account(&self, address: Address) -> Result<AccountState, String> {
        let read = self.0.store().view(None, |view| {
            let Some(account) = view.account(address)? else { return Ok(AccountState::default()) };
            let contract = account.code_hash != EMPTY_CODE_HASH
                && !view.code(account.code_hash)?.is_some_and(|code| code.starts_with(&[0xef, 0x01, 0x00]));
            Ok(AccountState { nonce: account.nonce, balance: account.balance, contract })
        });
        read.and_then(|result: Result<AccountState, bttc_state::Error>| result).map_err(|error| error.to_string())
    }
}

/// What can be said of a transaction before its sender's account is looked at. Only what no honest node passes on is
/// blamed on the peer.
///
/// # Errors
/// The verdict on the message, when it is not to be taken in.
pub fn judge_transaction(pool: &Pool, bytes: &[u8]) -> Result<RecoveredTransaction, Verdict> {
    let reject = |error: &dyn std::fmt::Display| Verdict::Reject(format!("transaction: {error}"));
    let transaction = decode_transaction(bytes).map_err(|error| reject(&error))?;
    pool.check_stateless(&transaction).map_err(|error| match error {
        PoolError::AlreadyKnown | PoolError::Underpriced { .. } => Verdict::Ignore,
        other => reject(&other),
    })?;
    RecoveredTransaction::recover(transaction).map_err(|error| reject(&error))
}
