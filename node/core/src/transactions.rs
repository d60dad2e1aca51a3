//! Transactions from peers: who is blamed for what, and the accounts that the pool judges by.

use alloy_consensus::Transaction as _;
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
            let coded = account.code_hash != EMPTY_CODE_HASH;
            let delegated =
                coded && view.code(account.code_hash)?.is_some_and(|code| code.starts_with(&[0xef, 0x01, 0x00]));
            let contract = coded && !delegated;
            Ok(AccountState { nonce: account.nonce, balance: account.balance, contract, delegated })
        });
        read.and_then(|result: Result<AccountState, bttc_state::Error>| result).map_err(|error| error.to_string())
    }
}

/// What can be said of a transaction before its sender's account is looked at. Only what is invalid on this chain for
/// ever is blamed on the peer, for only that is passed on by no honest node: what depends on the state or on parameters
/// that governance changes may look otherwise at another height.
///
/// # Errors
/// The verdict on the message, when it is not to be taken in.
pub fn judge_transaction(pool: &Pool, bytes: &[u8]) -> Result<RecoveredTransaction, Verdict> {
    let reject = |error: &dyn std::fmt::Display| Verdict::Reject(format!("transaction: {error}"));
    let transaction = decode_transaction(bytes).map_err(|error| reject(&error))?;
    let checked = pool.check_stateless(&transaction).and_then(|()| pool.check_price(&transaction));
    checked.map_err(|error| if invalid_for_ever(&error) { reject(&error) } else { Verdict::Ignore })?;
    RecoveredTransaction::recover(transaction).map_err(|error| reject(&error))
}

/// Whether a transaction that the pool refuses can never be in a block of this chain, whatever the state and whatever
/// governance decides.
fn invalid_for_ever(error: &PoolError) -> bool {
    match error {
        PoolError::Blobs
        | PoolError::ChainId { .. }
        | PoolError::TipAboveFeeCap
        | PoolError::GasCap { .. }
        | PoolError::InitCode { .. }
        | PoolError::NoAuthorizations
        | PoolError::IntrinsicGas { .. }
        | PoolError::Malformed(_) => true,
        PoolError::AlreadyKnown
        | PoolError::NonceTooLow { .. }
        | PoolError::NonceTooHigh { .. }
        | PoolError::ReplacementUnderpriced { .. }
        | PoolError::Underpriced { .. }
        | PoolError::Full { .. }
        | PoolError::TooManyVictims { .. }
        | PoolError::QueuedFull
        | PoolError::SenderLimit { .. }
        | PoolError::InFlightLimit(_)
        | PoolError::AuthorityReserved(_)
        | PoolError::InsufficientFunds { .. }
        | PoolError::GasLimit { .. }
        | PoolError::SenderIsContract(_)
        | PoolError::Journal { .. }
        | PoolError::State(_) => false,
    }
}

/// Whether a refusal by the pool means that the transaction's work, the recovery of its sender, was for nothing and cost
/// its sender nothing. What this node has already, or cannot judge, is no such. Honest nodes disagree about some of it: the common
/// budget is there for that.
fn useless(error: &PoolError) -> bool {
    !matches!(error, PoolError::AlreadyKnown | PoolError::State(_))
}

/// How many recoveries of signers a transaction that the pool refuses has cost for nothing: that of its sender if it was
/// useless, and those of its authorizations, of which there may be hundreds, if the pool came to them.
pub fn wasted(error: &PoolError, transaction: &RecoveredTransaction) -> usize {
    let recovered = matches!(
        error,
        PoolError::AuthorityReserved(_)
            | PoolError::InFlightLimit(_)
            | PoolError::Full { .. }
            | PoolError::QueuedFull
            | PoolError::SenderLimit { .. }
            | PoolError::TooManyVictims { .. }
    );
    usize::from(useless(error)) + if recovered { authorizations(transaction) } else { 0 }
}

/// How many authorizations (EIP-7702) a transaction carries, each with a signature.
pub fn authorizations(transaction: &RecoveredTransaction) -> usize {
    transaction.transaction().authorization_list().map_or(0, <[_]>::len)
}
