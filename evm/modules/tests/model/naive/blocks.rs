//! What blocks do by themselves: signatures counted, epochs paid, sets chosen.

use super::{Fine, Jail, Member, Model, div, fine, floor};
use alloy_primitives::{Address, U256};
use std::collections::{BTreeMap, BTreeSet};

impl Model {
    pub(crate) fn begin_block(&mut self, signers: &BTreeSet<u16>, proposer: u32) {
        let signed = self.epoch_of(self.height - 1);
        let begins = (self.height - 1).is_multiple_of(self.params.epoch_blocks);
        if self.height > 1 {
            let set = self.sets[signed as usize].clone();
            let (mut included, mut total) = (0u64, 0u64);
            for (index, member) in (0u16..).zip(&set) {
                total += member.power;
                if signers.contains(&index) {
                    included += member.power;
                }
                self.count_signature(member.id, !signers.contains(&index), &set);
            }
            let pool = self.pools.get_mut(&proposer).unwrap();
            // A newcomer that proposes an epoch's first block has no part in the epoch before.
            let member = set.iter().any(|member| member.id == proposer);
            pool.bonus += u128::from(member) * u128::from((included * 3).saturating_sub(total * 2));
        }
        if begins {
            if self.height > 1 {
                self.pay(signed);
            }
            self.begin_epoch();
        }
    }

    fn count_signature(&mut self, id: u32, missed: bool, set: &[Member]) {
        let length = self.params.downtime_window as usize;
        let pool = self.pools.get_mut(&id).unwrap();
        pool.missed_in_epoch += u64::from(missed);
        pool.window.push(missed);
        let Some(start) = pool.window.len().checked_sub(length) else { return };
        let count = pool.window[start..].iter().filter(|missed| **missed).count();
        if count <= length / 2 || pool.jail != Jail::Free {
            return;
        }
        let free: Vec<u64> = set
            .iter()
            .filter(|member| member.id != id && self.pools[&member.id].jail == Jail::Free)
            .map(|member| member.power)
            .collect();
        let before: u64 = self.sets[self.oldest_set].iter().map(|member| member.power).sum();
        let enough =
            free.len() as u64 >= self.params.min_active_validators && free.iter().sum::<u64>() * 3 >= before * 2;
        self.slash(id, self.params.downtime_slash_bps);
        if enough {
            self.put_in_jail(id, Jail::Jailed);
        }
        self.pools.get_mut(&id).unwrap().window.clear();
    }

    fn pay(&mut self, epoch: u64) {
        let set = self.sets[epoch as usize].clone();
        let total: u64 = set.iter().map(|member| member.power).sum();
        let elapsed = (self.parent - self.paid_until).min(6 * 3_600_000);
        self.paid_until = self.parent;
        let big = |number: u64| U256::from(number);
        let bonded = big(total) * U256::from(self.unit());
        let reward = bonded * big(self.params.reward_rate_bps) * big(elapsed) / (big(10_000) * big(31_536_000_000));
        let available = (reward + U256::from(std::mem::take(&mut self.fees))).min(U256::from(floor(self.reward_pool)));
        let bonus = available * big(self.params.proposer_bonus_bps) / big(10_000);
        let weights = big(total) * big(self.params.epoch_blocks);
        for member in set {
            let pool = self.pools.get_mut(&member.id).unwrap();
            let signed = self.params.epoch_blocks - std::mem::take(&mut pool.missed_in_epoch);
            let included = U256::from(std::mem::take(&mut pool.bonus));
            let part = (available - bonus) * big(member.power) * big(signed) / weights + bonus * included / weights;
            let part: u128 = part.to();
            if pool.shares == 0 || part == 0 || pool.jail == Jail::Tombstoned {
                continue;
            }
            let commission = div(part, pool.commission_bps.into(), 10_000);
            pool.commission_due += commission;
            let shares = Fine::from(pool.shares);
            for ((_, _), stake) in
                self.stakes.range_mut((member.id, Address::ZERO)..=(member.id, Address::repeat_byte(255)))
            {
                stake.rewards += fine(part - commission) * Fine::from(stake.shares) / shares;
            }
            self.reward_pool -= fine(part);
            self.outstanding += fine(part);
        }
    }

    fn begin_epoch(&mut self) {
        let (epoch, now) = (self.epoch(), self.now);
        self.starts.push(now);
        assert_eq!(self.starts.len() as u64, epoch + 1);
        for entry in &mut self.leaving {
            let due = entry.start.is_none() && entry.epoch + 2 <= epoch;
            if due && !self.cut.contains(&(epoch, entry.validator)) {
                entry.start = Some(now);
            }
        }
        let ids: Vec<u32> = self.pools.keys().copied().collect();
        for id in ids {
            let inside = self.is_member(epoch, id);
            let newcomer = inside && (epoch == 0 || !self.is_member(epoch - 1, id));
            let seconds = self.params.downtime_jail_seconds;
            let pool = self.pools.get_mut(&id).unwrap();
            if pool.jail == Jail::Jailed && pool.jailed_until == 0 && (!inside || pool.jailed_epoch + 2 <= epoch) {
                pool.jailed_until = now + seconds * 1_000;
            }
            if newcomer {
                pool.window.clear();
            }
        }
        // Sets that no evidence can name any more are forgotten, at most four an epoch.
        for _ in 0..4 {
            let next = self.oldest_set + 1;
            let kept = next as u64 + 2 >= epoch || self.starts[next] + self.params.unbonding_seconds * 1_000 >= now;
            if kept {
                break;
            }
            self.oldest_set = next;
        }
    }

    pub(crate) fn end_block(&mut self, fees: u128) {
        self.fees += fees;
        self.reward_pool += fine(fees);
        if self.height.is_multiple_of(self.params.epoch_blocks) {
            self.choose_set();
        }
        self.execute();
        self.tally();
        self.open();
    }

    /// The set of the epoch after next.
    fn choose_set(&mut self) {
        let epoch = self.epoch() + 2;
        let current = self.sets[epoch as usize - 1].clone();
        let most = self.params.max_validators as usize;
        let mut ranking: Vec<(u128, u32)> = self
            .pools
            .iter()
            .filter(|(id, pool)| pool.jail == Jail::Free && !pool.exiting && self.owner_stakes_enough(**id))
            .map(|(id, pool)| (pool.tokens, *id))
            .collect();
        ranking.sort_by_key(|(tokens, id)| (std::cmp::Reverse(*tokens), *id));
        ranking.truncate(most);
        let goal = |id: u32| -> u64 {
            ranking.iter().find(|(_, other)| *other == id).map_or(0, |(tokens, _)| (tokens / self.unit()) as u64)
        };
        let budget = (current.iter().map(|member| member.power).sum::<u64>() / 3).max(1);

        let mut staying: Vec<(u32, u64)> = current
            .iter()
            .filter(|member| self.pools[&member.id].jail == Jail::Free)
            .map(|member| (member.id, member.power))
            .collect();
        staying.sort();
        let mut next = BTreeMap::new();
        let mut cut = BTreeSet::new();
        let nobody = ranking.iter().all(|(_, id)| goal(*id) == 0);
        if nobody {
            // Everything stays as it is, and bound.
            next = staying.iter().copied().collect();
            cut = current.iter().map(|member| (epoch, member.id)).collect();
            staying.clear();
        }
        let losses: Vec<u64> = staying.iter().map(|(id, power)| power.saturating_sub(goal(*id))).collect();
        for (((id, power), want), loss) in staying.iter().zip(&losses).zip(ration(&losses, budget)) {
            if loss < *want {
                cut.insert((epoch, *id));
            }
            if power - loss > 0 {
                next.insert(*id, power - loss);
            }
        }
        let mut places = most.saturating_sub(next.len());
        let mut rising = Vec::new();
        for (_, id) in &ranking {
            match next.get(id) {
                Some(power) if goal(*id) > *power => rising.push((*id, goal(*id) - power)),
                None if goal(*id) > 0 && places > 0 && !cut.contains(&(epoch, *id)) => {
                    places -= 1;
                    rising.push((*id, goal(*id)));
                }
                _ => {}
            }
        }
        let wants: Vec<u64> = rising.iter().map(|(_, want)| *want).collect();
        for ((id, _), gain) in rising.iter().zip(ration(&wants, budget)) {
            if gain > 0 {
                *next.entry(*id).or_default() += gain;
            }
        }
        if next.is_empty() {
            next = current.iter().map(|member| (member.id, member.power)).collect();
        }
        self.cut.extend(cut);
        let mut set: Vec<Member> =
            next.into_iter().map(|(id, power)| Member { id, key: self.pools[&id].key, power }).collect();
        set.sort_by_key(|member| (std::cmp::Reverse(member.power), member.key));
        self.sets.push(set);
    }
}

/// Spreads a budget over wishes: in proportion, rounded down, what is left over to the first that want more.
fn ration(wishes: &[u64], budget: u64) -> Vec<u64> {
    let sum: u128 = wishes.iter().map(|wish| u128::from(*wish)).sum();
    if sum <= u128::from(budget) {
        return wishes.to_vec();
    }
    let mut granted: Vec<u64> =
        wishes.iter().map(|wish| (u128::from(*wish) * u128::from(budget) / sum) as u64).collect();
    let mut left = budget - granted.iter().sum::<u64>();
    for (part, wish) in granted.iter_mut().zip(wishes) {
        let more = left.min(wish - *part);
        *part += more;
        left -= more;
    }
    granted
}
