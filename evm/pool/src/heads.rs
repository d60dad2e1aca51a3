//! What changes with a new head, with time, and with what the builder finds.

use crate::Error;
use crate::pool::Pool;
use crate::types::{AccountLookup, DropReason};
use alloy_primitives::{Address, B256};
use bttc_types::RecoveredTransaction;
use std::collections::HashSet;
use std::sync::Arc;

/// Transactions that expire in one hold of the lock.
const EXPIRED_AT_ONCE: usize = 256;

impl Pool {
    /// Takes over a new head: forgets what was included or became impossible. `changed` are the accounts that the block
    /// changed: a nonce moves without the account sending by an EIP-7702 authorization, and balances move anyway. Costs
    /// in proportion to the block, not to the pool.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn on_block(
        &self,
        included: &[Arc<RecoveredTransaction>],
        changed: impl IntoIterator<Item = Address>,
        accounts: &dyn AccountLookup,
    ) -> Result<(), Error> {
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
        Ok(())
    }

    /// Drops transactions that waited too long. Call it every few seconds.
    pub fn expire(&self, now_ms: u64) {
        let mut more = true;
        while more {
            let mut inner = self.inner.lock();
            for _ in 0..EXPIRED_AT_ONCE {
                let due = inner.deadlines.first().copied().filter(|(deadline, ..)| *deadline < now_ms);
                more = due.is_some();
                let Some((_, sender, nonce)) = due else { break };
                if inner.remove(sender, nonce, Some(DropReason::Expired)).is_none() {
                    return;
                }
                inner.bound_queued();
            }
        }
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
