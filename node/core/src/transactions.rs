//! Transactions from peers: who is blamed for what, what useless ones cost, and the accounts that the pool judges by.

use alloy_primitives::Address;
use bttc_executor::Executor;
use bttc_network::Verdict;
use bttc_pool::{AccountLookup, AccountState, Error as PoolError, Pool};
use bttc_state::{EMPTY_CODE_HASH, StateRead};
use bttc_types::{RecoveredTransaction, decode_transaction};
use lru::LruCache;
use std::num::NonZeroUsize;
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
        | PoolError::QueuedFull
        | PoolError::SenderLimit { .. }
        | PoolError::InsufficientFunds { .. }
        | PoolError::GasLimit { .. }
        | PoolError::SenderIsContract(_)
        | PoolError::Journal { .. }
        | PoolError::State(_) => false,
    }
}

/// Whether a refusal by the pool means that the transaction's work, the recovery of its sender, was for nothing and cost
/// its sender nothing. What this node has already, or cannot judge, is no such.
pub fn useless(error: &PoolError) -> bool {
    !matches!(error, PoolError::AlreadyKnown | PoolError::State(_))
}

/// Peers whose budgets are kept.
const MAX_BUDGETS: usize = 1_024;

/// How many useless transactions of each peer are worth the recovery of their senders.
///
/// Anybody can sign transactions of accounts that own nothing, and cannot be blamed: an honest peer at another height
/// passes some on, too. So they cost the peer that sent them: each takes from a budget that fills again with time, and
/// while it is empty nothing of this peer is looked at. Honest peers pass on what their own pool took, of which next to
/// nothing is useless, and never notice.
#[derive(Debug)]
pub struct UselessBudget {
    per_second: u32,
    burst: u32,
    peers: LruCache<u64, Budget>,
}

/// A peer's budget, in thousandths of a transaction; below zero when a batch took more than there was.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: i64,
    at_ms: u64,
}

impl Default for UselessBudget {
    /// 200 a second, 2,000 at once: at 50 microseconds each, a hundredth of a core for a peer.
    fn default() -> Self {
        Self::new(200, 2_000)
    }
}

impl UselessBudget {
    /// Budgets that fill by `per_second` transactions a second up to `burst`.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let kept = NonZeroUsize::new(MAX_BUDGETS).unwrap_or(NonZeroUsize::MIN);
        Self { per_second, burst, peers: LruCache::new(kept) }
    }

    /// Whether a transaction of this peer is worth looking at.
    pub fn allows(&self, peer: u64, now_ms: u64) -> bool {
        self.left(peer, now_ms) >= 1_000
    }

    /// A transaction of this peer was useless.
    pub fn charge(&mut self, peer: u64, now_ms: u64) {
        let left = self.left(peer, now_ms).saturating_sub(1_000);
        self.peers.put(peer, Budget { left, at_ms: now_ms });
    }

    fn left(&self, peer: u64, now_ms: u64) -> i64 {
        let full = i64::from(self.burst) * 1_000;
        let Some(budget) = self.peers.peek(&peer) else { return full };
        let elapsed = i64::try_from(now_ms.saturating_sub(budget.at_ms)).unwrap_or(i64::MAX);
        budget.left.saturating_add(elapsed.saturating_mul(i64::from(self.per_second))).min(full)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BUDGETS, UselessBudget};

    /// Transactions of a peer that are looked at within ten seconds, when it sends 1,000 a second of which so many in a
    /// thousand are useless; of all and of the useful ones.
    fn looked_at(budget: &mut UselessBudget, peer: u64, useless: u64) -> (u64, u64) {
        let (mut all, mut useful) = (0, 0);
        for now_ms in 0..10_000u64 {
            if !budget.allows(peer, now_ms) {
                continue;
            }
            all += 1;
            if now_ms % 1_000 < useless { budget.charge(peer, now_ms) } else { useful += 1 }
        }
        (all, useful)
    }

    #[test]
    fn useless_transactions_cost_the_peer_that_sent_them_and_nobody_else() {
        let mut budget = UselessBudget::new(100, 500);
        let (all, _) = looked_at(&mut budget, 1, 1_000);
        assert!((1_400..=1_501).contains(&all), "500 at once and 100 a second, not {all}");
        assert!(!budget.allows(1, 9_999) && budget.allows(2, 9_999));
        // A peer of whose transactions a few are useless loses none.
        assert_eq!(looked_at(&mut UselessBudget::new(100, 500), 3, 50), (10_000, 9_500));
    }

    #[test]
    fn a_budget_fills_again_but_not_above_its_size() {
        let mut budget = UselessBudget::new(100, 500);
        let spend = |budget: &mut UselessBudget, now_ms| {
            (0..1_000)
                .filter(|_| {
                    let allowed = budget.allows(1, now_ms);
                    if allowed {
                        budget.charge(1, now_ms);
                    }
                    allowed
                })
                .count()
        };
        assert_eq!(spend(&mut budget, 0), 500);
        assert_eq!(spend(&mut budget, 9), 0);
        assert_eq!(spend(&mut budget, 1_000), 100);
        assert_eq!(spend(&mut budget, 1_000_000), 500);
        // What a batch took beyond the budget is owed.
        (0..300).for_each(|_| budget.charge(1, 1_000_000));
        assert_eq!(spend(&mut budget, 1_003_000), 0);
        assert_eq!(spend(&mut budget, 1_004_000), 100);
    }

    #[test]
    fn budgets_are_kept_of_so_many_peers_only() {
        let mut budget = UselessBudget::new(1, 1);
        for peer in 0..10_000 {
            budget.charge(peer, 0);
        }
        assert_eq!(budget.peers.len(), MAX_BUDGETS);
        assert!(budget.allows(0, 0) && !budget.allows(9_999, 0));
    }
}
