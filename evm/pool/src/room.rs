//! Making room in a full pool: queued transactions go first, then pending ones that are worth less than the new one.

use crate::Error;
use crate::index::Inner;
use crate::queue::Entry;
use crate::types::{AccountState, DropReason};
use alloy_primitives::Address;

/// Pending transactions, or queued ones of others, that one new transaction may push out. More would be one fee for
/// many, and much work for one that is refused in the end.
const MAX_VICTIMS: usize = 64;

/// What room is needed for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) sender: Address,
    pub(crate) nonce: u64,
    pub(crate) bytes: usize,
    /// What the transaction is worth: its fee cap, or that of a cheaper one that must be included before it.
    pub(crate) price: u128,
    /// Whether it will be pending.
    pub(crate) pending: bool,
    /// Whether it takes a place of the share for local transactions.
    pub(crate) reserved: bool,
    /// What leaves for it anyway.
    pub(crate) credit: Credit,
}

/// A transaction that leaves when the new one comes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Credit {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    /// Whether it is queued.
    pub(crate) queued: bool,
}

/// By how much a bound would be exceeded.
#[derive(Clone, Copy, Debug)]
struct Excess {
    count: usize,
    bytes: usize,
}

impl Excess {
    fn some(self) -> bool {
        self.count > 0 || self.bytes > 0
    }

    fn less(&mut self, entry: &Entry) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(entry.bytes());
    }
}

/// What was taken out, with its sender's account in case that it must be put back.
struct Victim {
    account: AccountState,
    entry: Entry,
}

impl Inner {
    /// Makes room. Nothing is evicted when it would not be enough.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::QueuedFull`].
    pub(crate) fn make_room(&mut self, room: &Room) -> Result<(), Error> {
        let count = self.totals.count() + 1 - room.credit.count;
        let bytes = self.totals.bytes() + room.bytes - room.credit.bytes;
        let excess = Excess {
            count: count.saturating_sub(self.config.max_transactions),
            bytes: bytes.saturating_sub(self.config.max_bytes),
        };
        if room.pending { self.room_for_pending(room, excess) } else { self.room_for_queued(room, excess) }
    }

    /// First the pending ones that must go even if all queued ones go, then as many queued ones as needed.
    fn room_for_pending(&mut self, room: &Room, mut excess: Excess) -> Result<(), Error> {
        if !excess.some() {
            return Ok(());
        }
        let (credit, credit_bytes) = if room.credit.queued { (room.credit.count, room.credit.bytes) } else { (0, 0) };
        let mut beyond = Excess {
            count: excess.count.saturating_sub(self.totals.queued - credit),
            bytes: excess.bytes.saturating_sub(self.totals.queued_bytes - credit_bytes),
        };
        let mut victims = Vec::new();
        while beyond.some() {
            let cheapest = self.tails.iter().find(|(.., sender)| *sender != room.sender).copied();
            let victim = cheapest.filter(|(price, ..)| room.reserved || *price < room.price);
            let Some((.., sender)) = victim.filter(|_| victims.len() < MAX_VICTIMS) else {
                self.restore(victims);
                return Err(Error::Full { minimum: cheapest.map_or(room.price, |(price, ..)| price) });
            };
            let Some(victim) = self.take_last_pending(sender) else { break };
            beyond.less(&victim.entry);
            excess.less(&victim.entry);
            victims.push(victim);
        }
        self.remember(&victims, &DropReason::Evicted);
        while excess.some() {
            let replaced = |sender: &Address| {
                *sender == room.sender
                    && self.queues.get(sender).and_then(|queue| queue.last_queued()).map(Entry::nonce)
                        == Some(room.nonce)
            };
            let Some((.., sender)) = self.queued.iter().find(|(.., sender)| !replaced(sender)).copied() else { break };
            let Some(victim) = self.take_last_queued(sender) else { break };
            excess.less(&victim.entry);
            self.remember(&[victim], &DropReason::TooManyQueued);
        }
        Ok(())
    }

    /// A queued transaction pushes out only queued ones: of senders with more of them, or with as many for less.
    fn room_for_queued(&mut self, room: &Room, mut excess: Excess) -> Result<(), Error> {
        let share = self.config.queued_share();
        let count = self.totals.queued + 1 - room.credit.count;
        let bytes = self.totals.queued_bytes + room.bytes - room.credit.bytes;
        excess.count = excess.count.max(count.saturating_sub(share.count));
        excess.bytes = excess.bytes.max(bytes.saturating_sub(share.bytes));
        let own = self.queues.get(&room.sender).map_or(0, |queue| queue.totals().queued) + 1 - room.credit.count;
        let mut victims = Vec::new();
        while excess.some() {
            let most = self.queued.iter().find(|(.., sender)| *sender != room.sender).copied();
            let victim = most.filter(|(count, price, ..)| count.0 > own || (count.0 == own && *price < room.price));
            let Some((.., sender)) = victim.filter(|_| victims.len() < MAX_VICTIMS) else {
                self.restore(victims);
                return Err(Error::QueuedFull);
            };
            let Some(victim) = self.take_last_queued(sender) else { break };
            excess.less(&victim.entry);
            victims.push(victim);
        }
        self.remember(&victims, &DropReason::TooManyQueued);
        Ok(())
    }

    fn take_last_pending(&mut self, sender: Address) -> Option<Victim> {
        let queue = self.queues.get(&sender)?;
        let (account, nonce) = (queue.account, queue.next_nonce().checked_sub(1)?);
        self.remove(sender, nonce, None).map(|entry| Victim { account, entry })
    }

    fn take_last_queued(&mut self, sender: Address) -> Option<Victim> {
        let queue = self.queues.get(&sender)?;
        let (account, nonce) = (queue.account, queue.last_queued()?.nonce());
        self.remove(sender, nonce, None).map(|entry| Victim { account, entry })
    }

    fn remember(&mut self, victims: &[Victim], reason: &DropReason) {
        for victim in victims {
            self.dropped.put(victim.entry.transaction.hash(), reason.clone());
        }
    }

    /// Puts back what was taken out for nothing.
    fn restore(&mut self, victims: Vec<Victim>) {
        for Victim { account, mut entry } in victims.into_iter().rev() {
            entry.indexed = None;
            self.insert(entry.transaction.sender(), account, entry);
        }
    }
}
