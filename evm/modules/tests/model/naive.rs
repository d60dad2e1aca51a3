//! The rules of `docs/protocol.md`, written as slowly and plainly as possible: every slash and every reward goes to each
//! delegator at once, every vote is counted from a copy of everybody's stake, nothing is remembered that can be looked for.
//! Amounts that the protocol rounds are whole wei; what it leaves to the implementation has 64 bits of fraction.

use alloy_primitives::{Address, U256, Uint};
use bttc_genesis::{BTT, ChainParams};
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

    // ---- Blocks ----

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

    // ---- Governance ----

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

    fn open(&mut self) {
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

    fn tally(&mut self) {
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

    fn execute(&mut self) {
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
