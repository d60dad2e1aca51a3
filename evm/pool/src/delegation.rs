//! Accounts whose code is delegated (EIP-7702), or is about to be.
//!
//! Whoever may call such an account may empty it, and ends with one cheap call all transactions that wait for it.
//! Places in the pool are taken by transactions, so such an account has one at a time.

use crate::Error;
use crate::index::Inner;
use crate::queue::{Entry, Queue};
use crate::types::{AccountLookup, AccountState};
use alloy_consensus::Transaction as _;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, U256};
use bttc_types::{RecoveredTransaction, Signature};
use std::collections::{BTreeMap, BTreeSet};

/// How many transactions in the pool name an account as their authority. An authorization has more than 64 bytes, so
/// there are fewer names than the pool has bytes for, divided by that.
#[derive(Debug, Default)]
pub(crate) struct Authorities(BTreeMap<Address, usize>);

impl Authorities {
    pub(crate) fn contains(&self, account: &Address) -> bool {
        self.0.contains_key(account)
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        for authority in &entry.authorities {
            *self.0.entry(*authority).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        for authority in &entry.authorities {
            let Some(count) = self.0.get_mut(authority) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(authority);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn counts(&self) -> &BTreeMap<Address, usize> {
        &self.0
    }
}

impl Inner {
    /// Whether an account may have one transaction only.
    pub(crate) fn is_limited(&self, sender: &Address, account: &AccountState) -> bool {
        account.delegated || self.authorities.contains(sender)
    }

    /// Whether one more transaction keeps to one for each delegated account: its sender's and those that it delegates.
    pub(crate) fn check_in_flight(&self, sender: Address, queue: &Queue, entry: &Entry) -> Result<(), Error> {
        let limited = self.limits(sender, queue, entry);
        let held = queue.entries.keys().find(|nonce| **nonce != entry.nonce());
        if limited && held.is_some() && self.overtaken(sender, queue, entry).is_none() {
            return Err(Error::InFlightLimit(sender));
        }
        let others = entry.authorities.iter().filter(|authority| **authority != sender);
        let held = |authority: &Address| self.queues.get(authority).map_or(0, |queue| queue.entries.len());
        match others.into_iter().find(|authority| held(authority) > 1) {
            Some(authority) => Err(Error::AuthorityReserved(*authority)),
            None => Ok(()),
        }
    }

    /// The one transaction of a limited sender, when it waits for earlier nonces and a new one with an earlier one
    /// comes: otherwise one that came out of order would keep its predecessor out.
    pub(crate) fn overtaken<'a>(&self, sender: Address, queue: &'a Queue, entry: &Entry) -> Option<&'a Entry> {
        let alone = self.limits(sender, queue, entry) && queue.entries.len() == 1;
        queue.last_queued().filter(|last| alone && last.nonce() > entry.nonce())
    }

    /// Whether a sender may have one transaction only once this one is there.
    fn limits(&self, sender: Address, queue: &Queue, entry: &Entry) -> bool {
        self.is_limited(&sender, &queue.account) || entry.authorities.contains(&sender)
    }
}

/// The accounts that a transaction may delegate, each once. Left out is what can never take effect: authorizations for
/// another chain, with a bad signature, or with a nonce that was used. Anybody may copy those from elsewhere, and would
/// otherwise choose whose transactions are limited.
///
/// Costs a recovery for each authorization, so it comes after all else that can be checked.
///
/// # Errors
/// [`Error::State`].
pub(crate) fn authorities(
    transaction: &RecoveredTransaction,
    chain_id: u64,
    accounts: &dyn AccountLookup,
) -> Result<Vec<Address>, Error> {
    let mut found = BTreeSet::new();
    for authorization in transaction.transaction().authorization_list().unwrap_or_default() {
        let Some(authority) = authority(authorization, chain_id) else { continue };
        if accounts.account(authority).map_err(Error::State)?.nonce <= authorization.nonce() {
            found.insert(authority);
        }
    }
    Ok(found.into_iter().collect())
}

/// Who signed an authorization for this chain, or for any.
fn authority(authorization: &SignedAuthorization, chain_id: u64) -> Option<Address> {
    let here = *authorization.chain_id() == U256::ZERO || *authorization.chain_id() == U256::from(chain_id);
    if !here || authorization.y_parity() > 1 {
        return None;
    }
    let mut bytes = [0u8; 65];
    let (r, rest) = bytes.split_at_mut(32);
    let (s, v) = rest.split_at_mut(32);
    r.copy_from_slice(&authorization.r().to_be_bytes::<32>());
    s.copy_from_slice(&authorization.s().to_be_bytes::<32>());
    v.fill(authorization.y_parity());
    bttc_types::recover(authorization.signature_hash(), &Signature::from_bytes(bytes)).ok()
}
