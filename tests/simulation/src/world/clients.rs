//! What clients and owners of validators send.

use super::{Event, World};
use crate::node::Item;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

impl World {
    /// Clients send new transactions, and old ones that are not final yet again.
    pub(super) fn on_clients(&mut self) {
        /// How long a client waits for a block before it sends again.
        const PATIENCE_US: u64 = 5_000_000;
        let rate = self.config.transactions_per_second;
        if rate <= 0.0 {
            return;
        }
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|index| self.nodes[*index].running.is_some()).collect();
        self.clients.open.retain(|sent| self.checker.included(&sent.transaction.hash()).is_none());
        if !alive.is_empty() {
            let mut batch = Vec::new();
            // The clients stop when the run is about to end, so that all they sent can become final.
            if self.least_height() < self.config.heights {
                for _ in 0..self.batch_size() {
                    let account = self.rng.random_range(0..10);
                    batch.extend(self.clients.make(account, self.now));
                }
                batch.extend(self.stake_transactions());
            }
            let now = self.now;
            for sent in self.clients.open.iter_mut().filter(|sent| now.saturating_sub(sent.at) > PATIENCE_US) {
                sent.at = now;
                batch.push(Arc::clone(&sent.transaction));
            }
            for transaction in batch {
                let targets =
                    if self.config.transactions_everywhere { alive.clone() } else { alive.choose_one(&mut self.rng) };
                for to in targets {
                    let incarnation = self.nodes[to].incarnation;
                    let item = Item::Submitted(Arc::clone(&transaction));
                    self.at(self.now + 1_000, Event::Arrive { to, incarnation, item });
                }
            }
        }
        let pause = (1_000_000.0 * self.batch_size() as f64 / rate) as u64;
        self.at(self.now + pause.max(1), Event::Clients);
    }

    /// What owners of validators do now.
    fn stake_transactions(&mut self) -> Vec<Arc<bttc_types::RecoveredTransaction>> {
        let (clients, now) = (&mut self.clients, self.now);
        self.stakes.act(self.checker.height(), &self.jailed, &mut self.rng, &mut |sender, to, value, input| {
            clients.call(sender, to, value, input, now)
        })
    }

    /// Transactions that are sent at once: more than one when there are many.
    fn batch_size(&self) -> u64 {
        ((self.config.transactions_per_second / 20.0) as u64).max(1)
    }
}

/// One of several.
trait ChooseOne {
    fn choose_one(&self, rng: &mut ChaCha8Rng) -> Vec<usize>;
}

impl ChooseOne for Vec<usize> {
    fn choose_one(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        vec![self[rng.random_range(0..self.len())]]
    }
}
