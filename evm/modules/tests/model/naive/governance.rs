//! Proposals, votes and what comes of them.

use super::{Jail, Model, Outcome, div, fine, must, wei};
use alloy_primitives::{Address, U256};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Split(pub(crate) [u64; 4]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Deposit = 1,
    Waiting,
    Voting,
    Rejected,
    Vetoed,
    NoQuorum,
    Passed,
    Executed,
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Matter {
    Text,
    Fee { value: u64, expedited: bool },
    Payment(Address, u128),
}

/// The stake at the opening of a vote.
#[derive(Clone, Debug, Default)]
struct Frozen {
    pools: BTreeMap<u32, (u128, u128)>,
    stakes: BTreeMap<(u32, Address), u128>,
}

#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    matter: Matter,
    pub(crate) status: Status,
    deposit_end: u64,
    deposit: u128,
    depositors: BTreeMap<Address, u128>,
    opened: u64,
    end: u64,
    execute_at: u64,
    frozen: Frozen,
    votes: BTreeMap<(Address, u32), (u128, Split)>,
    validator_votes: BTreeMap<u32, (Split, u64)>,
    pub(crate) sums: [u128; 4],
}

impl Model {
    pub(crate) fn propose(&mut self, caller: Address, value: u128, matter: Matter) -> Outcome<()> {
        must(value >= wei(self.params.proposal_deposit) / 10, "deposit")?;
        must(value < wei(self.params.proposal_deposit) || self.waiting.len() < 32, "queue")?;
        self.proposals.push(Proposal {
            matter,
            status: Status::Deposit,
            deposit_end: self.now + self.params.deposit_seconds * 1_000,
            deposit: 0,
            depositors: BTreeMap::new(),
            opened: 0,
            end: 0,
            execute_at: 0,
            frozen: Frozen::default(),
            votes: BTreeMap::new(),
            validator_votes: BTreeMap::new(),
            sums: [0; 4],
        });
        self.deposit(caller, self.proposals.len() - 1, value)
    }

    pub(crate) fn deposit(&mut self, caller: Address, index: usize, value: u128) -> Outcome<()> {
        let proposal = self.proposals.get(index).ok_or("unknown")?;
        let collecting = proposal.status == Status::Deposit && self.now <= proposal.deposit_end;
        must((collecting || proposal.status == Status::Waiting) && value > 0, "status")?;
        let complete = collecting && proposal.deposit + value >= wei(self.params.proposal_deposit);
        must(!complete || self.waiting.len() < 32, "queue")?;
        self.take_balance(caller, value);
        let proposal = &mut self.proposals[index];
        proposal.deposit += value;
        *proposal.depositors.entry(caller).or_default() += value;
        if complete {
            proposal.status = Status::Waiting;
            self.waiting.push(index);
        }
        Ok(())
    }

    pub(crate) fn deposit_back(&mut self, caller: Address, index: usize) -> Outcome<()> {
        let now = self.now;
        let proposal = self.proposals.get_mut(index).ok_or("unknown")?;
        let expired = proposal.status == Status::Deposit && now > proposal.deposit_end;
        let ended = matches!(proposal.status, Status::Rejected | Status::Passed | Status::Executed | Status::Failed);
        must(expired || ended, "status")?;
        let amount = proposal.depositors.remove(&caller).ok_or("no deposit")?;
        self.add_balance(caller, fine(amount));
        Ok(())
    }

    fn is_open(&self, index: usize) -> bool {
        self.proposals.get(index).is_some_and(|p| p.status == Status::Voting && self.now <= p.end)
    }

    pub(crate) fn vote(&mut self, caller: Address, index: usize, named: &[u32], split: Split) -> Outcome<()> {
        must(self.is_open(index), "status")?;
        let list = if named.is_empty() { self.delegations_of(caller) } else { named.to_vec() };
        let frozen = &self.proposals[index].frozen;
        let weight = |id: u32| {
            let (tokens, shares) = frozen.pools.get(&id).copied().unwrap_or_default();
            let own = frozen.stakes.get(&(id, caller)).copied().unwrap_or(0);
            if shares == 0 { 0 } else { div(own, tokens, shares) }
        };
        let votes: Vec<(u32, u128)> = list.iter().map(|id| (*id, weight(*id))).collect();
        must(named.is_empty() || votes.iter().all(|(_, weight)| *weight > 0), "no weight")?;
        must(votes.iter().any(|(_, weight)| *weight > 0), "no weight at all")?;
        for (id, weight) in votes.into_iter().filter(|(_, weight)| *weight > 0) {
            self.proposals[index].votes.insert((caller, id), (weight, split));
        }
        Ok(())
    }

    pub(crate) fn vote_as_validator(&mut self, caller: Address, index: usize, split: Split) -> Outcome<()> {
        must(self.is_open(index), "status")?;
        let id = self.own(caller).ok_or("no validator")?;
        let now = self.now;
        let proposal = &mut self.proposals[index];
        must(proposal.frozen.pools.get(&id).is_some_and(|(_, shares)| *shares > 0), "not in the set")?;
        proposal.validator_votes.insert(id, (split, now));
        Ok(())
    }

    pub(super) fn open(&mut self) {
        if self.voting.len() >= 32 {
            return;
        }
        let best = self
            .waiting
            .iter()
            .copied()
            .max_by_key(|index| (self.proposals[*index].deposit, std::cmp::Reverse(*index)));
        let Some(index) = best else { return };
        self.waiting.retain(|other| *other != index);
        let mut frozen = Frozen::default();
        for member in &self.sets[self.epoch() as usize] {
            let pool = &self.pools[&member.id];
            frozen.pools.insert(member.id, (pool.tokens, pool.shares));
        }
        frozen.stakes = self.stakes.iter().map(|(key, stake)| (*key, stake.shares)).collect();
        let proposal = &mut self.proposals[index];
        proposal.status = Status::Voting;
        proposal.opened = self.now;
        proposal.end = self.now + self.params.voting_seconds * 1_000;
        proposal.frozen = frozen;
        self.voting.push(index);
    }

    pub(super) fn tally(&mut self) {
        let now = self.now;
        let Some(place) = self.voting.iter().position(|index| self.proposals[*index].end <= now) else { return };
        let index = self.voting.swap_remove(place);
        let params = self.params;
        let proposal = &self.proposals[index];
        let mut sums = [0u128; 4];
        let mut add = |weight: u128, split: Split| {
            for (sum, bps) in sums.iter_mut().zip(split.0) {
                *sum += div(weight, bps.into(), 10_000);
            }
        };
        for (weight, split) in proposal.votes.values() {
            add(*weight, *split);
        }
        for (id, (split, voted)) in &proposal.validator_votes {
            let pool = &self.pools[id];
            if pool.jail == Jail::Free && pool.jailed_at < *voted {
                let own: u128 =
                    proposal.votes.iter().filter(|((_, at), _)| at == id).map(|(_, (weight, _))| weight).sum();
                add(proposal.frozen.pools[id].0 - own, *split);
            }
        }
        let [yes, no, abstain, veto] = sums.map(U256::from);
        let bonded: U256 = proposal.frozen.pools.values().map(|(tokens, _)| U256::from(*tokens)).sum();
        let part = |of: U256| of * U256::from(10_000);
        let all = yes + no + abstain + veto;
        let two_thirds = yes * U256::from(3) > bonded * U256::from(2);
        let status = if part(all) < bonded * U256::from(params.quorum_bps) {
            Status::NoQuorum
        } else if part(veto) > all * U256::from(params.veto_bps) {
            Status::Vetoed
        } else if match proposal.matter {
            Matter::Payment(..) => two_thirds,
            _ => part(yes) > (yes + no + veto) * U256::from(params.threshold_bps),
        } {
            Status::Passed
        } else {
            Status::Rejected
        };
        let proposal = &mut self.proposals[index];
        proposal.sums = sums;
        proposal.status = status;
        match status {
            Status::NoQuorum | Status::Vetoed => {
                proposal.depositors.clear();
                self.burned += proposal.deposit;
            }
            Status::Passed => {
                let delay = match proposal.matter {
                    Matter::Text => {
                        proposal.status = Status::Executed;
                        return;
                    }
                    Matter::Payment(..) => params.protected_delay_seconds,
                    Matter::Fee { expedited: true, .. } if two_thirds => 0,
                    Matter::Fee { .. } => params.execution_delay_seconds,
                };
                proposal.execute_at = now + delay * 1_000;
                self.passed.push(index);
            }
            _ => {}
        }
    }

    pub(super) fn execute(&mut self) {
        let now = self.now;
        let Some(place) = self.passed.iter().position(|index| self.proposals[*index].execute_at <= now) else { return };
        let index = self.passed.swap_remove(place);
        match self.proposals[index].matter {
            Matter::Fee { value, .. } => self.params.min_base_fee = value,
            Matter::Payment(_, amount) if self.reward_pool < fine(amount) => {
                self.proposals[index].status = Status::Failed;
                return;
            }
            Matter::Payment(to, amount) => {
                self.reward_pool -= fine(amount);
                self.add_balance(to, fine(amount));
            }
            Matter::Text => unreachable!("nothing to carry out"),
        }
        self.proposals[index].status = Status::Executed;
    }
}
