//! A host in memory: for the genesis state and for tests.

use crate::{Env, Event, Fault, Host};
use alloy_primitives::{Address, LogData, U256};
use std::collections::{BTreeMap, BTreeSet};

/// Accounts, slots and logs in memory. Costs no gas.
#[derive(Clone, Debug)]
pub struct MemoryHost {
    /// The block.
    pub env: Env,
    /// Slots that are not zero.
    pub storage: BTreeMap<(Address, U256), U256>,
    /// Coins.
    pub balances: BTreeMap<Address, U256>,
    /// Accounts that were made.
    pub created: BTreeSet<Address>,
    /// Logs so far.
    pub logs: Vec<(Address, LogData)>,
    /// What hooks did so far.
    pub events: Vec<Event>,
    /// Accesses so far, for tests of bounded work.
    pub accesses: u64,
}

impl MemoryHost {
    /// Nothing yet.
    pub fn new(env: Env) -> Self {
        Self {
            env,
            storage: BTreeMap::new(),
            balances: BTreeMap::new(),
            created: BTreeSet::new(),
            logs: Vec::new(),
            events: Vec::new(),
            accesses: 0,
        }
    }
}

impl Host for MemoryHost {
    fn env(&self) -> &Env {
        &self.env
    }

    fn load(&mut self, account: Address, slot: U256) -> Result<U256, Fault> {
        self.accesses = self.accesses.saturating_add(1);
        Ok(self.storage.get(&(account, slot)).copied().unwrap_or_default())
    }

    fn store(&mut self, account: Address, slot: U256, value: U256) -> Result<(), Fault> {
        self.accesses = self.accesses.saturating_add(1);
        if value.is_zero() {
            self.storage.remove(&(account, slot));
        } else {
            self.storage.insert((account, slot), value);
        }
        Ok(())
    }

    fn balance(&mut self, account: Address) -> Result<U256, Fault> {
        Ok(self.balances.get(&account).copied().unwrap_or_default())
    }

    fn transfer(&mut self, from: Address, to: Address, amount: U256) -> Result<bool, Fault> {
        let Some(left) = self.balance(from)?.checked_sub(amount) else { return Ok(false) };
        self.balances.insert(from, left);
        self.mint(to, amount)?;
        Ok(true)
    }

    fn mint(&mut self, to: Address, amount: U256) -> Result<(), Fault> {
        let balance = self.balances.entry(to).or_default();
        *balance = balance.checked_add(amount).ok_or(Fault::Broken("a balance overflows"))?;
        Ok(())
    }

    fn burn(&mut self, from: Address, amount: U256) -> Result<(), Fault> {
        let left = self.balance(from)?.checked_sub(amount).ok_or(Fault::Broken("a module lacks coins"))?;
        self.balances.insert(from, left);
        Ok(())
    }

    fn is_vacant(&mut self, account: Address) -> Result<bool, Fault> {
        Ok(!self.created.contains(&account))
    }

    fn create(&mut self, account: Address) -> Result<bool, Fault> {
        Ok(self.created.insert(account))
    }

    fn log(&mut self, account: Address, data: LogData) -> Result<(), Fault> {
        self.logs.push((account, data));
        Ok(())
    }

    fn charge(&mut self, _: u64) -> Result<(), Fault> {
        Ok(())
    }

    fn note(&mut self, event: Event) {
        self.events.push(event);
    }
}
