//! The rules of `docs/protocol.md`, written as slowly and plainly as possible: every slash and every reward goes to each
//! delegator at once, every vote is counted from a copy of everybody's stake, nothing is remembered that can be looked for.
//! Amounts that the protocol rounds are whole wei; what it leaves to the implementation has 64 bits of fraction.

mod blocks;
mod governance;

use alloy_primitives::{Address, U256, Uint};
use bttc_genesis::{BTT, ChainParams};
use governance::Proposal;
pub(crate) use governance::{Matter, Split, Status};
use std::collections::{BTreeMap, BTreeSet};

/// Wei with 64 bits of fraction.
pub(crate) type Fine = Uint<512, 8>;

pub(crate) fn fine(wei: u128) -> Fine {
    Fine::from(wei) << 64
}

pub(crate) fn floor(fine: Fine) -> u128 {
    (fine >> 64usize).to()
}

fn div(a: u128, b: u128, c: u128) -> u128 {
    (U256::from(a) * U256::from(b) / U256::from(c)).to()
}

fn div_up(a: u128, b: u128, c: u128) -> u128 {
    let product = U256::from(a) * U256::from(b);
    product.div_ceil(U256::from(c)).to()
}

fn wei(btt: u64) -> u128 {
    u128::from(btt) * BTT
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jail {
    Free,
    Jailed,
    Tombstoned,
}

#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) owner: Address,
    pub(crate) key: Address,
    pub(crate) commission_bps: u64,
    pub(crate) commission_due: u128,
    pub(crate) tokens: u128,
    pub(crate) shares: u128,
    pub(crate) jail: Jail,
    pub(crate) jailed_epoch: u64,
    pub(crate) jailed_at: u64,
    pub(crate) jailed_until: u64,
    pub(crate) exiting: bool,
    slashed_bps: Vec<u64>,
    /// Which of its blocks it missed since its window began.
    window: Vec<bool>,
    missed_in_epoch: u64,
    bonus: u128,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stake {
    pub(crate) shares: u128,
    pub(crate) rewards: Fine,
}

/// Stake on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(crate) delegator: Address,
    pub(crate) validator: u32,
    pub(crate) target: u32,
    pub(crate) amount: u128,
    pub(crate) value: Fine,
    epoch: u64,
    pub(crate) start: Option<u64>,
}

/// A member of a set in canonical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: u32,
    pub(crate) key: Address,
    pub(crate) power: u64,
}

pub(crate) struct Model {
    pub(crate) params: ChainParams,
    pub(crate) height: u64,
    pub(crate) now: u64,
    pub(crate) parent: u64,
    pub(crate) balances: BTreeMap<Address, Fine>,
    pub(crate) pools: BTreeMap<u32, Pool>,
    pub(crate) stakes: BTreeMap<(u32, Address), Stake>,
    pub(crate) leaving: Vec<Leaving>,
    pub(crate) sets: Vec<Vec<Member>>,
    starts: Vec<u64>,
    /// Whose loss of power was cut in which epoch's set.
    cut: BTreeSet<(u64, u32)>,
    oldest_set: usize,
    pub(crate) reward_pool: Fine,
    pub(crate) outstanding: Fine,
    fees: u128,
    paid_until: u64,
    pub(crate) proposals: Vec<Proposal>,
    waiting: Vec<usize>,
    voting: Vec<usize>,
    passed: Vec<usize>,
    pub(crate) burned: u128,
}

type Outcome<T> = Result<T, &'static str>;

fn must(condition: bool, reason: &'static str) -> Outcome<()> {
    if condition { Ok(()) } else { Err(reason) }
}

impl Model {
    pub(crate) fn new(params: ChainParams, now: u64, genesis: &[(Address, Address, u64)], reward_pool: u128) -> Self {
        let mut model = Self {
            params,
            height: 0,
            now,
            parent: 0,
            balances: BTreeMap::new(),
            pools: BTreeMap::new(),
            stakes: BTreeMap::new(),
            leaving: Vec::new(),
            sets: Vec::new(),
            starts: Vec::new(),
            cut: BTreeSet::new(),
            oldest_set: 0,
            reward_pool: fine(reward_pool),
            outstanding: Fine::ZERO,
            fees: 0,
            paid_until: now,
            proposals: Vec::new(),
            waiting: Vec::new(),
            voting: Vec::new(),
            passed: Vec::new(),
            burned: 0,
        };
        let mut set = Vec::new();
        for (owner, key, power) in genesis {
            let id = model.insert(*owner, *key, 0);
            model.add_stake(id, *owner, u128::from(*power) * model.unit());
            set.push(Member { id, key: *key, power: *power });
        }
        set.sort_by_key(|member| (std::cmp::Reverse(member.power), member.key));
        model.sets = vec![set.clone(), set];
        model
    }

    fn unit(&self) -> u128 {
        wei(self.params.power_unit)
    }

    pub(crate) fn epoch_of(&self, height: u64) -> u64 {
        height.saturating_sub(1) / self.params.epoch_blocks
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch_of(self.height)
    }

    pub(crate) fn is_member(&self, epoch: u64, id: u32) -> bool {
        self.sets.get(epoch as usize).is_some_and(|set| set.iter().any(|member| member.id == id))
    }

    fn in_force(&self, id: u32) -> bool {
        self.is_member(self.epoch(), id) || self.is_member(self.epoch() + 1, id)
    }

    pub(crate) fn own(&self, owner: Address) -> Option<u32> {
        self.pools.iter().find(|(_, pool)| pool.owner == owner).map(|(id, _)| *id)
    }

    fn insert(&mut self, owner: Address, key: Address, commission_bps: u64) -> u32 {
        let id = self.pools.len() as u32 + 1;
        let pool = Pool {
            owner,
            key,
            commission_bps,
            commission_due: 0,
            tokens: 0,
            shares: 0,
            jail: Jail::Free,
            jailed_epoch: 0,
            jailed_at: 0,
            jailed_until: 0,
            exiting: false,
            slashed_bps: Vec::new(),
            window: Vec::new(),
            missed_in_epoch: 0,
            bonus: 0,
        };
        self.pools.insert(id, pool);
        id
    }

    pub(crate) fn add_balance(&mut self, account: Address, amount: Fine) {
        *self.balances.entry(account).or_default() += amount;
    }

    fn take_balance(&mut self, account: Address, amount: u128) {
        *self.balances.entry(account).or_default() -= fine(amount);
    }

    fn worth(&self, id: u32, delegator: Address) -> u128 {
        let pool = &self.pools[&id];
        let shares = self.stakes.get(&(id, delegator)).map_or(0, |stake| stake.shares);
        if pool.shares == 0 { 0 } else { div(shares, pool.tokens, pool.shares) }
    }

    /// Whether the owner's stake would be the minimum if there had been no slashes.
    fn owner_stakes_enough(&self, id: u32) -> bool {
        let pool = &self.pools[&id];
        let mut minimum = fine(wei(self.params.min_self_stake));
        for bps in &pool.slashed_bps {
            minimum = minimum * Fine::from(10_000 - bps) / Fine::from(10_000);
        }
        self.worth(id, pool.owner) >= floor(minimum)
    }

    fn delegations_of(&self, delegator: Address) -> Vec<u32> {
        self.pools
            .keys()
            .copied()
            .filter(|id| self.stakes.get(&(*id, delegator)).is_some_and(|stake| stake.shares > 0))
            .collect()
    }

    fn accepts(&self, id: u32) -> bool {
        let pool = &self.pools[&id];
        !pool.exiting && pool.jail != Jail::Tombstoned
    }

    /// Shares that an amount buys, if it can be added.
    fn price(&self, id: u32, delegator: Address, amount: u128) -> Outcome<u128> {
        must(self.accepts(id), "not accepting")?;
        let list = self.delegations_of(delegator);
        must(list.contains(&id) || list.len() < 64, "too many delegations")?;
        let pool = &self.pools[&id];
        must(pool.shares == 0 || pool.tokens > 0, "an empty pool")?;
        let shares = if pool.shares == 0 { amount } else { div(amount, pool.shares, pool.tokens) };
        must(shares > 0, "too small")?;
        Ok(shares)
    }

    fn add_stake(&mut self, id: u32, delegator: Address, amount: u128) {
        let shares = self.price(id, delegator, amount).expect("it was asked before");
        let pool = self.pools.get_mut(&id).unwrap();
        pool.tokens += amount;
        pool.shares += shares;
        self.stakes.entry((id, delegator)).or_default().shares += shares;
    }

    // ---- Operations: all or nothing ----

    pub(crate) fn delegate(&mut self, caller: Address, id: u32, amount: u128) -> Outcome<()> {
        must(amount >= wei(self.params.min_delegation), "below the minimum")?;
        self.price(id, caller, amount)?;
        self.take_balance(caller, amount);
        self.add_stake(id, caller, amount);
        Ok(())
    }

    /// `None` takes all.
    pub(crate) fn undelegate(&mut self, caller: Address, id: u32, amount: Option<u128>, target: u32) -> Outcome<()> {
        let available = self.worth(id, caller);
        let owned = self.stakes.get(&(id, caller)).map_or(0, |stake| stake.shares);
        let pool = &self.pools[&id];
        let taken = amount.unwrap_or(available);
        must(taken > 0 && taken <= available, "amount")?;
        let shares = if amount.is_none() { owned } else { div_up(taken, pool.shares, pool.tokens).min(owned) };
        let (shares_left, mut tokens_left) = (pool.shares - shares, pool.tokens - taken);
        if owned > shares {
            let rest = if shares_left == 0 { 0 } else { div(owned - shares, tokens_left, shares_left) };
            must(rest >= wei(self.params.min_delegation), "remainder")?;
        }
        must(self.leaving.iter().filter(|entry| entry.delegator == caller).count() < 64, "too many entries")?;
        if shares_left == 0 {
            self.reward_pool += fine(tokens_left);
            tokens_left = 0;
        }
        let start = (!self.in_force(id)).then_some(self.now);
        let pool = self.pools.get_mut(&id).unwrap();
        pool.shares = shares_left;
        pool.tokens = tokens_left;
        self.stakes.get_mut(&(id, caller)).unwrap().shares -= shares;
        let (epoch, value) = (self.epoch(), fine(taken));
        self.leaving.push(Leaving { delegator: caller, validator: id, target, amount: taken, value, epoch, start });
        Ok(())
    }

    pub(crate) fn redelegate(&mut self, caller: Address, from: u32, to: u32, amount: u128) -> Outcome<()> {
        must(from != to && self.accepts(to), "not accepting")?;
        self.undelegate(caller, from, Some(amount), to)
    }

    fn maturity(&self, entry: &Leaving) -> Option<u64> {
        entry.start.map(|start| start + self.params.unbonding_seconds * 1_000)
    }

    /// Takes a mature entry out that the module has paid, with what it paid; `target` is where it went.
    pub(crate) fn withdrawn(&mut self, delegator: Address, validator: u32, paid: u128, target: u32) {
        let position = self.leaving.iter().position(|entry| {
            entry.delegator == delegator
                && entry.validator == validator
                && self.maturity(entry).is_some_and(|at| at <= self.now)
                && floor(entry.value).abs_diff(paid) <= 2
                && (target == 0 || entry.target == target)
        });
        let position =
            position.unwrap_or_else(|| panic!("{delegator} got {paid} of {validator} too early, or too much"));
        let entry = self.leaving.swap_remove(position);
        self.reward_pool += fine(entry.amount) - fine(paid);
        if entry.target != 0 {
            let room = self.price(entry.target, delegator, paid).is_ok() && paid > 0;
            assert_eq!(room, target != 0, "where redelegated stake goes");
        }
        if target == 0 {
            self.add_balance(delegator, fine(paid));
        } else {
            self.add_stake(target, delegator, paid);
        }
    }

    pub(crate) fn mature(&self, delegator: Address) -> usize {
        let mature =
            |entry: &&Leaving| entry.delegator == delegator && self.maturity(entry).is_some_and(|at| at <= self.now);
        self.leaving.iter().filter(mature).count()
    }

    /// What `claimRewards` should pay; it is owed no longer.
    pub(crate) fn claim(&mut self, caller: Address, id: u32) -> Fine {
        let mut amount = std::mem::take(&mut self.stakes.entry((id, caller)).or_default().rewards);
        let pool = self.pools.get_mut(&id).unwrap();
        if pool.owner == caller {
            amount += fine(std::mem::take(&mut pool.commission_due));
        }
        amount
    }

    pub(crate) fn create(&mut self, owner: Address, key: Address, commission_bps: u64, stake: u128) -> Outcome<()> {
        must(self.own(owner).is_none(), "exists")?;
        must(stake >= wei(self.params.min_self_stake), "too small")?;
        must(commission_bps <= 10_000, "commission")?;
        let id = self.insert(owner, key, commission_bps);
        self.take_balance(owner, stake);
        self.add_stake(id, owner, stake);
        Ok(())
    }

    pub(crate) fn lower_commission(&mut self, owner: Address, commission_bps: u64) -> Outcome<()> {
        let id = self.own(owner).ok_or("no validator")?;
        let pool = self.pools.get_mut(&id).unwrap();
        must(commission_bps <= pool.commission_bps, "a rise")?;
        pool.commission_bps = commission_bps;
        Ok(())
    }

    pub(crate) fn unjail(&mut self, owner: Address) -> Outcome<()> {
        let id = self.own(owner).ok_or("no validator")?;
        let now = self.now;
        let pool = self.pools.get_mut(&id).unwrap();
        must(pool.jail == Jail::Jailed && pool.jailed_until != 0 && pool.jailed_until <= now, "still jailed")?;
        pool.jail = Jail::Free;
        pool.window.clear();
        Ok(())
    }

    pub(crate) fn exit(&mut self, owner: Address) -> Outcome<()> {
        let id = self.own(owner).ok_or("no validator")?;
        must(!self.pools[&id].exiting, "exits already")?;
        let another = self.pools.iter().any(|(other, pool)| {
            *other != id && pool.jail == Jail::Free && !pool.exiting && self.owner_stakes_enough(*other)
        });
        must(another, "the last one")?;
        if self.stakes.get(&(id, owner)).is_some_and(|stake| stake.shares > 0) {
            self.undelegate(owner, id, None, 0)?;
        }
        self.pools.get_mut(&id).unwrap().exiting = true;
        Ok(())
    }

    /// Two signatures of a key at a height.
    pub(crate) fn evidence(&mut self, reporter: Address, key: Address, height: u64) -> Outcome<()> {
        must(height > 0 && height <= self.height, "height")?;
        let epoch = self.epoch_of(height) as usize;
        let member = self.sets[epoch].iter().find(|member| member.key == key).copied().ok_or("not in the set")?;
        let over = self.starts.get(epoch + 1).is_some_and(|at| at + self.params.unbonding_seconds * 1_000 <= self.now);
        must(!over, "too old")?;
        must(self.pools[&member.id].jail != Jail::Tombstoned, "again")?;
        let (owner, shares) = (self.pools[&member.id].owner, self.pools[&member.id].shares);
        let own = self.stakes.get(&(member.id, owner)).map_or(0, |stake| stake.shares);
        let amount = self.slash(member.id, self.params.double_sign_slash_bps);
        let own_loss = if shares == 0 { 0 } else { div(amount, own, shares) };
        let reward =
            div(own_loss, self.params.reporter_reward_bps.into(), 10_000).min(wei(self.params.reporter_reward_max));
        self.reward_pool -= fine(reward);
        self.add_balance(reporter, fine(reward));
        self.put_in_jail(member.id, Jail::Tombstoned);
        Ok(())
    }

    /// Takes a share of a pool and of everything that left it and is not mature. Gives what the pool lost.
    fn slash(&mut self, id: u32, bps: u64) -> u128 {
        let pool = self.pools.get_mut(&id).unwrap();
        let amount = div(pool.tokens, bps.into(), 10_000);
        pool.tokens -= amount;
        pool.slashed_bps.push(bps);
        self.reward_pool += fine(amount);
        let (now, unbonding) = (self.now, self.params.unbonding_seconds * 1_000);
        for entry in self.leaving.iter_mut().filter(|entry| entry.validator == id) {
            if entry.start.is_none_or(|start| start + unbonding >= now) {
                entry.value = entry.value * Fine::from(10_000 - bps) / Fine::from(10_000);
            }
        }
        amount
    }

    fn put_in_jail(&mut self, id: u32, how: Jail) {
        let (epoch, now, in_force) = (self.epoch(), self.now, self.in_force(id));
        let seconds = self.params.downtime_jail_seconds;
        let pool = self.pools.get_mut(&id).unwrap();
        pool.jail = how;
        pool.jailed_epoch = epoch;
        pool.jailed_at = now;
        pool.jailed_until = if in_force { 0 } else { now + seconds * 1_000 };
    }
}
