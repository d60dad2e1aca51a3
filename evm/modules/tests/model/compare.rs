//! What must agree between the modules and the model.

use crate::naive::{self, Fine, Jail, Status, fine};
use crate::{Run, big};
use bttc_genesis::{GOVERNANCE_ADDRESS, REWARDS_ADDRESS, STAKING_ADDRESS};
use bttc_modules::interfaces::{IGovernance, IRewards, IStaking};
use bttc_modules::{check_invariants, staking};

/// What rounding may take from an account over a whole run, wei: a few for each of its operations.
const DUST: u128 = 5_000;

impl Run {
    /// What must agree after every block.
    pub(crate) fn compare(&mut self) {
        let height = self.host.env.height;
        let epoch = self.host.env.epoch();
        for epoch in [epoch, epoch + 1, epoch + 2] {
            let set = staking::members(&mut self.host, epoch).unwrap();
            let ours: Vec<_> = set.iter().map(|member| (member.id, member.key, member.power)).collect();
            let set = self.model.sets.get(epoch as usize).cloned().unwrap_or_default();
            let theirs: Vec<_> = set.iter().map(|member| (member.id, member.key, member.power)).collect();
            assert_eq!(ours, theirs, "set of epoch {epoch} at height {height}");
        }
        let (mut delegated, mut unbonding) = (0u128, 0u128);
        for (id, pool) in self.model.pools.clone() {
            let info = self.read(STAKING_ADDRESS, IStaking::validatorCall { id });
            assert_eq!(
                (info.tokens, info.shares),
                (big(pool.tokens), big(pool.shares)),
                "validator {id}, height {height}"
            );
            let jail = (info.jailed, info.tombstoned, info.exiting);
            assert_eq!(jail, (pool.jail != Jail::Free, pool.jail == Jail::Tombstoned, pool.exiting), "validator {id}");
            if pool.jail == Jail::Jailed {
                assert_eq!(info.jailedUntil, pool.jailed_until, "jail of validator {id} at height {height}");
            }
            delegated += pool.tokens;
        }
        for entry in &self.model.leaving {
            unbonding += entry.amount;
        }
        let totals = self.read(STAKING_ADDRESS, IStaking::totalsCall {});
        assert_eq!((totals.delegated, totals.unbonding), (big(delegated), big(unbonding)), "height {height}");
        let pool: u128 = self.read(REWARDS_ADDRESS, IRewards::rewardPoolCall {}).to();
        assert!(near(pool, self.model.reward_pool), "the reward pool at height {height}");
        let outstanding: u128 = self.read(REWARDS_ADDRESS, IRewards::outstandingCall {}).to();
        assert!(near(outstanding, self.model.outstanding), "outstanding rewards at height {height}");
    }

    /// What is compared account by account.
    pub(crate) fn compare_accounts(&mut self) {
        check_invariants(&mut self.host, &self.accounts).unwrap();
        for account in self.accounts.clone() {
            let model = self.model.balances.get(&account).copied().unwrap_or_default();
            assert!(near(self.balance(account), model), "balance of {account}");
            let mut ours: Vec<(u32, u128, u64)> = self
                .read(STAKING_ADDRESS, IStaking::unbondingsCall { delegator: account })
                .into_iter()
                .map(|entry| (entry.validator, entry.value.to(), entry.maturity))
                .collect();
            let unbonding = self.model.params.unbonding_seconds * 1_000;
            let mut theirs: Vec<(u32, u128, u64)> = self
                .model
                .leaving
                .iter()
                .filter(|entry| entry.delegator == account)
                .map(|entry| (entry.validator, naive::floor(entry.value), entry.start.map_or(0, |at| at + unbonding)))
                .collect();
            ours.sort();
            theirs.sort();
            assert_eq!(ours.len(), theirs.len(), "entries of {account}");
            for (our, their) in ours.iter().zip(&theirs) {
                assert!((our.0, our.2) == (their.0, their.2) && our.1.abs_diff(their.1) <= 2, "{our:?} {their:?}");
            }
        }
        for ((id, delegator), stake) in self.model.stakes.clone() {
            let found = self.read(STAKING_ADDRESS, IStaking::delegationCall { id, delegator });
            assert_eq!(found.shares, big(stake.shares), "shares of {delegator} at {id}");
            let pool = &self.model.pools[&id];
            let due = if pool.owner == delegator { pool.commission_due } else { 0 };
            let rewards = stake.rewards + fine(due);
            assert!(near(found.rewards.to(), rewards), "rewards of {delegator} at {id}");
        }
        for index in 0..self.model.proposals.len() {
            let ours = self.read(GOVERNANCE_ADDRESS, IGovernance::proposalCall { id: index as u64 + 1 });
            let theirs = &self.model.proposals[index];
            assert_eq!(ours.status, theirs.status as u8, "status of proposal {}", index + 1);
            if theirs.status > Status::Voting {
                let sums = [ours.yes, ours.no, ours.abstain, ours.veto];
                assert_eq!(sums, theirs.sums.map(big), "votes of proposal {}", index + 1);
            }
        }
    }
}

/// Rounding takes a little from whoever is paid, and never gives.
pub(crate) fn near(ours: u128, theirs: Fine) -> bool {
    let theirs = naive::floor(theirs);
    ours.abs_diff(theirs) <= DUST
}
