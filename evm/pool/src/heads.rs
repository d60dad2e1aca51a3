//! What changes with a new head, with time, and with what the builder finds.

use crate::Error;
use crate::index::Inner;
use crate::pool::Pool;
use crate::types::{AccountLookup, DropReason};
use alloy_primitives::{Address, B256};
use bttc_types::RecoveredTransaction;
use std::collections::HashSet;
use std::sync::Arc;

/// Transactions that come, go or are moved in one hold of the lock before expired ones are looked for in the next. The
/// last expired one may go beyond by what is behind it, which is a sender's share.
const MOVES_AT_ONCE: u64 = 256;

impl Pool {
    /// Takes over a new head: forgets what was included or became impossible. `changed` are the accounts that the block
    /// changed: a nonce moves without the account sending by an EIP-7702 authorization, and balances move anyway. Costs
    /// in proportion to the block, not to the pool.
    ///
    /// Gives the transactions that can be executed only now, of whatever sender.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn on_block(
        &self,
        included: &[Arc<RecoveredTransaction>],
        changed: impl IntoIterator<Item = Address>,
        accounts: &dyn AccountLookup,
    ) -> Result<Vec<Arc<RecoveredTransaction>>, Error> {
        let mut touched: Vec<Address> = included.iter().map(|transaction| transaction.sender()).collect();
        touched.extend(changed);
        touched.sort_unstable();
        touched.dedup();
        let hashes: HashSet<B256> = included.iter().map(|transaction| transaction.hash()).collect();
        {
            let mut inner = self.inner.lock();
            inner.blocks = inner.blocks.wrapping_add(1);
            touched.retain(|sender| inner.queues.contains_key(sender));
        }
        for sender in touched {
            let account = accounts.account(sender).map_err(Error::State)?;
            let mut inner = self.inner.lock();
            inner.set_account(sender, account, &hashes);
            inner.bound_queued();
        }
        let mut inner = self.inner.lock();
        for hash in &hashes {
            // It may have been given up for another reason before this head was known.
            inner.dropped.pop(hash);
        }
        Ok(std::mem::take(&mut inner.promoted))
    }

    /// Drops transactions that waited too long, by the clock of [`Pool::add`]. Call it every few seconds.
    pub fn expire(&self, now_ms: u64) {
        while self.inner.lock().expire_some(now_ms) {}
    }

    /// Drops one transaction that turned out invalid, and looks at its sender's account again: its nonce may have moved
    /// without the sender sending (an EIP-7702 authorization, or delegated code that creates).
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn drop_invalid(
        &self,
        transaction: &RecoveredTransaction,
        reason: String,
        accounts: &dyn AccountLookup,
    ) -> Result<(), Error> {
        let sender = transaction.sender();
        let account = accounts.account(sender).map_err(Error::State)?;
        let mut inner = self.inner.lock();
        inner.set_account(sender, account, &HashSet::new());
        if inner.by_hash.contains_key(&transaction.hash()) {
            inner.remove(sender, transaction.nonce(), Some(DropReason::Invalid(reason)));
        }
        inner.bound_queued();
        Ok(())
    }
}

impl Inner {
    /// Drops expired transactions until it was work enough for one hold of the lock. Gives whether there may be more.
    fn expire_some(&mut self, now_ms: u64) -> bool {
        let before = self.moves;
        while self.moves - before < MOVES_AT_ONCE {
            let due = self.deadlines.first().copied().filter(|(deadline, ..)| *deadline < now_ms);
            let Some((_, sender, nonce)) = due else { return false };
            if self.remove(sender, nonce, Some(DropReason::Expired)).is_none() {
                return false;
            }
            self.bound_queued();
        }
        true
    }
}

#[cfg(test)]
mod tests;
