//! How a pool without an index makes room.

use super::{Item, Naive, Worth};
use crate::Error;
use crate::types::AccountState;
use alloy_primitives::Address;
use std::cmp::Reverse;

impl Naive {
    pub(super) fn make_room(&mut self, item: &Item, leaving: Option<&Item>, pending: bool) -> Result<(), Error> {
        let share = self.config.queued_share();
        let excess = |naive: &Self| {
            let count = naive.items.len() + 1 - usize::from(leaving.is_some());
            let bytes: usize = naive.items.iter().map(|item| item.bytes).sum();
            let bytes = bytes + item.bytes - leaving.map_or(0, |leaving| leaving.bytes);
            let max = naive.config;
            (count.saturating_sub(max.max_transactions), bytes.saturating_sub(max.max_bytes))
        };
        let worth = |naive: &Self| {
            let before = naive.pending(item.sender).into_iter().filter(|other| other.nonce != item.nonce);
            let price = before.map(|other| other.fee).chain([item.fee]).min().unwrap();
            let first = item.nonce - naive.accounts[&item.sender].nonce < naive.config.first_per_sender as u64;
            (first, price)
        };
        let worth = worth(self);
        let mut victims = Vec::new();
        if pending {
            let queued_leaving =
                leaving.filter(|leaving| self.queued(item.sender).iter().any(|queued| queued.hash == leaving.hash));
            let queued = self.all_queued();
            let queued_count = queued.count - usize::from(queued_leaving.is_some());
            let queued_bytes = queued.bytes - queued_leaving.map_or(0, |leaving| leaving.bytes);
            let reserved = self.reserved(item);
            loop {
                let (count, bytes) = excess(self);
                if count <= queued_count && bytes <= queued_bytes {
                    break;
                }
                let cheapest = self.cheapest_tail(item.sender);
                let Some((_, last)) = cheapest.clone().filter(|(other, _)| reserved || *other < worth) else {
                    self.restore(victims);
                    let (first, minimum) = cheapest.map_or(worth, |(worth, _)| worth);
                    let (limit, what) = (self.config.first_per_sender, "transactions that others make way for");
                    return Err(if first && !worth.0 {
                        Error::SenderLimit { sender: item.sender, limit, what }
                    } else {
                        Error::Full { minimum }
                    });
                };
                victims.push((self.accounts[&last.sender], last.clone()));
                self.remove(last.sender, last.nonce);
            }
            while excess(self) != (0, 0) {
                let own = self.queued(item.sender).last().map(|last| last.nonce);
                let own = own.is_some() && own == leaving.map(|leaving| leaving.nonce);
                let Some((_, last)) = self.most_queued(own.then_some(item.sender)) else { break };
                self.remove(last.sender, last.nonce);
            }
            return Ok(());
        }
        loop {
            let (count, bytes) = excess(self);
            let queued = self.all_queued();
            let own = queued.count + 1 - usize::from(leaving.is_some());
            let own_bytes = queued.bytes + item.bytes - leaving.map_or(0, |leaving| leaving.bytes);
            if count == 0 && bytes == 0 && own <= share.count && own_bytes <= share.bytes {
                return Ok(());
            }
            let own = self.queued(item.sender).into_iter();
            let own: Vec<&Item> = own.filter(|own| Some(own.hash) != leaving.map(|leaving| leaving.hash)).collect();
            let own = self.weight(&[own, vec![item]].concat());
            let most = self.most_queued(Some(item.sender));
            let victim = most.filter(|(weight, last)| *weight > own || (*weight == own && last.fee < worth.1));
            let Some((_, last)) = victim else {
                self.restore(victims);
                return Err(Error::QueuedFull);
            };
            victims.push((self.accounts[&last.sender], last.clone()));
            self.remove(last.sender, last.nonce);
        }
    }

    fn reserved(&self, item: &Item) -> bool {
        let protected = self.protected_of(item.sender);
        let others: Vec<&&Item> = protected.iter().filter(|other| other.nonce != item.nonce).collect();
        let room = self.room_for_local(item.sender);
        let first = self.accounts[&item.sender].nonce;
        let bytes: usize = others.iter().map(|other| other.bytes).sum();
        item.local
            && item.nonce <= first + protected.len() as u64
            && others.len() < room.count
            && bytes + item.bytes <= room.bytes
    }

    /// The last transaction of the sender whose last pending one is worth least, and that worth.
    fn cheapest_tail(&self, except: Address) -> Option<(Worth, Item)> {
        let tails = self.senders().into_iter().filter(|sender| *sender != except).filter_map(|sender| {
            let pending = self.pending(sender);
            let last = *pending.last().filter(|_| pending.len() > self.protected_of(sender).len())?;
            let first = pending.len() <= self.config.first_per_sender;
            Some(((first, pending.iter().map(|item| item.fee).min()?), last.clone()))
        });
        tails.min_by_key(|(worth, last)| (*worth, Reverse(last.sequence), last.sender))
    }

    fn restore(&mut self, victims: Vec<(AccountState, Item)>) {
        for (account, item) in victims.into_iter().rev() {
            let sender = item.sender;
            self.accounts.insert(sender, account);
            self.items.push(item);
            self.settle(sender);
        }
    }
}
