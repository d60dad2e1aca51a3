//! Making room in a full pool: queued transactions go first, then pending ones that are worth less than the new one.

use crate::Error;
use crate::config::PoolConfig;
use crate::index::Inner;
use crate::queue::{Entry, Totals, Worth};
use crate::types::{AccountState, DropReason};
use alloy_primitives::Address;

/// Pending transactions, or queued ones of others, that one new transaction may push out, if it brings no more bytes
/// than as many: more would be one fee for many, and much work for one that is refused in the end.
const VICTIMS: usize = 64;

/// For each so many bytes that a transaction brings, it may push out one: no transaction is smaller, since two numbers
/// of its signature alone have so many. A limit that did not grow with the bytes would let small ones shield a pool
/// that is full by bytes from every larger one.
const BYTES_PER_VICTIM: usize = 64;

/// What room is needed for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) sender: Address,
    pub(crate) bytes: usize,
    pub(crate) worth: Worth,
    /// Whether it will be pending.
    pub(crate) pending: bool,
    /// Whether it takes a place of the share for local transactions.
    pub(crate) reserved: bool,
    /// The sender's own transaction that leaves for it anyway.
    pub(crate) leaving: Option<Leaving>,
}

impl Room {
    /// How many of others it may push out.
    fn max_victims(&self) -> usize {
        VICTIMS.max(self.bytes / BYTES_PER_VICTIM)
    }

    /// Number and bytes of what leaves anyway.
    fn credit(&self) -> (usize, usize) {
        self.leaving.map_or((0, 0), |leaving| (1, leaving.bytes))
    }

    /// Number and bytes of what leaves anyway and is queued.
    fn queued_credit(&self) -> (usize, usize) {
        self.leaving.filter(|leaving| leaving.queued).map_or((0, 0), |leaving| (1, leaving.bytes))
    }

    /// Whether a pending one that is worth so much makes way.
    fn beats(&self, worth: Worth) -> bool {
        self.reserved || worth < self.worth
    }

    /// Why a pending transaction finds no room, when the least that another one is worth is this.
    fn refused(&self, config: &PoolConfig, least: Option<Worth>) -> Error {
        match least {
            Some(least) if self.beats(least) => Error::TooManyVictims { limit: self.max_victims() },
            Some(least) if least.first && !self.worth.first => {
                let what = "transactions that others make way for";
                Error::SenderLimit { sender: self.sender, limit: config.first_per_sender, what }
            }
            least => Error::Full { minimum: least.unwrap_or(self.worth).price },
        }
    }
}

/// A transaction that leaves when the new one comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) nonce: u64,
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
    /// [`Error::Full`], [`Error::SenderLimit`], [`Error::QueuedFull`], [`Error::TooManyVictims`].
    pub(crate) fn make_room(&mut self, room: &Room) -> Result<(), Error> {
        let (credit, credit_bytes) = room.credit();
        let count = self.totals.count() + 1 - credit;
        let bytes = self.totals.bytes() + room.bytes - credit_bytes;
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
        let (credit, credit_bytes) = room.queued_credit();
        let mut beyond = Excess {
            count: excess.count.saturating_sub(self.totals.queued - credit),
            bytes: excess.bytes.saturating_sub(self.totals.queued_bytes - credit_bytes),
        };
        let mut victims = Vec::new();
        while beyond.some() {
            let cheapest = self.tails.iter().find(|(.., sender)| *sender != room.sender).copied();
            let may = victims.len() < room.max_victims();
            let Some((.., sender)) = cheapest.filter(|(worth, ..)| may && room.beats(*worth)) else {
                self.restore(victims);
                return Err(room.refused(&self.config, cheapest.map(|(worth, ..)| worth)));
            };
            let Some(victim) = self.take_last_pending(sender) else { break };
            beyond.less(&victim.entry);
            excess.less(&victim.entry);
            victims.push(victim);
        }
        self.remember(&victims, &DropReason::Evicted);
        while excess.some() {
            let leaves = |sender: &Address| {
                let last = self.queues.get(sender).and_then(|queue| queue.last_queued()).map(Entry::nonce);
                *sender == room.sender && last.is_some() && last == room.leaving.map(|leaving| leaving.nonce)
            };
            let Some((.., sender)) = self.queued.iter().find(|(.., sender)| !leaves(sender)).copied() else { break };
            let Some(victim) = self.take_last_queued(sender) else { break };
            excess.less(&victim.entry);
            self.remember(&[victim], &DropReason::TooManyQueued);
        }
        Ok(())
    }

    /// A queued transaction pushes out only queued ones: of senders that take more of the share for such, or as much
    /// for less.
    fn room_for_queued(&mut self, room: &Room, mut excess: Excess) -> Result<(), Error> {
        let (share, (credit, credit_bytes)) = (self.config.queued_share(), room.credit());
        let count = self.totals.queued + 1 - credit;
        let bytes = self.totals.queued_bytes + room.bytes - credit_bytes;
        excess.count = excess.count.max(count.saturating_sub(share.count));
        excess.bytes = excess.bytes.max(bytes.saturating_sub(share.bytes));
        let own = self.queues.get(&room.sender).map_or(Totals::default(), |queue| *queue.totals());
        let own = share.weight(own.queued + 1 - credit, own.queued_bytes + room.bytes - credit_bytes);
        let mut victims = Vec::new();
        while excess.some() {
            let most = self.queued.iter().find(|(.., sender)| *sender != room.sender).copied();
            let victim =
                most.filter(|(weight, price, ..)| weight.0 > own || (weight.0 == own && *price < room.worth.price));
            let Some((.., sender)) = victim.filter(|_| victims.len() < room.max_victims()) else {
                self.restore(victims);
                let limit = room.max_victims();
                return Err(if victim.is_some() { Error::TooManyVictims { limit } } else { Error::QueuedFull });
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
