//! The coin's counters of a genesis file: derived from what is allocated, shown, checked.

use crate::params::Preset;
use crate::{BTT, ChainSpec, Error};
use alloy_primitives::{U256, utils::format_units};
use std::fmt;

/// What is said of the supply when a genesis file is made, wei; what is not said is derived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SupplyPlan {
    /// Pays rewards and the treasury.
    pub reward_pool: Option<U256>,
    /// BTT locked in the TRON gateway before the first block; on public networks all that is issued when not said.
    pub tron_locked: Option<U256>,
    /// BTT in existence on TRON, the locked ones included; on public networks what is locked when not said.
    pub tron_supply: Option<U256>,
}

/// Every figure of the supply, wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupplyFigures {
    /// Balances of allocated accounts.
    pub accounts: U256,
    /// Stake of the first validators.
    pub stake: U256,
    /// As [`crate::Supply::reward_pool`].
    pub reward_pool: U256,
    /// Accounts, stake and reward pool: what circulates here from the first block.
    pub issued: U256,
    /// As [`crate::Supply::tron_locked`].
    pub tron_locked: U256,
    /// As [`crate::Supply::reserve`].
    pub reserve: U256,
    /// As [`crate::Supply::tron_supply`].
    pub tron_supply: U256,
}

impl fmt::Display for SupplyFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("accounts", self.accounts),
            ("stake of the validators", self.stake),
            ("reward pool", self.reward_pool),
            ("issued: these three", self.issued),
            ("locked on TRON", self.tron_locked),
            ("reserve: may come from TRON", self.reserve),
            ("supply on TRON", self.tron_supply),
        ];
        let lines = lines.map(|(name, wei)| format!("{name:28}{:>34}", format_btt(wei)));
        f.write_str(&lines.join("\n"))
    }
}

/// `1,234,567.5 BTT`.
pub fn format_btt(wei: U256) -> String {
    let text = format_units(wei, 18).unwrap_or_else(|_| wei.to_string());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if part.is_empty() { format!("{grouped} BTT") } else { format!("{grouped}.{part} BTT") }
}

fn invalid(reason: String) -> Error {
    Error::invalid("bttc.supply", reason)
}

impl ChainSpec {
    /// Every figure of the supply.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a sum exceeds 2^256.
    pub fn supply_figures(&self) -> Result<SupplyFigures, Error> {
        let supply = &self.bttc.supply;
        let overflow = || invalid("the sums exceed 2^256".into());
        let mut balances = self.genesis.alloc.values().map(|account| account.balance);
        let accounts = balances.try_fold(U256::ZERO, U256::checked_add).ok_or_else(overflow)?;
        let unit = U256::from(self.bttc.params.power_unit) * U256::from(BTT);
        let power = self.bttc.validators.iter().fold(U256::ZERO, |sum, entry| sum + U256::from(entry.power));
        let stake = power * unit;
        let issued = accounts.checked_add(stake).and_then(|sum| sum.checked_add(supply.reward_pool));
        Ok(SupplyFigures {
            accounts,
            stake,
            reward_pool: supply.reward_pool,
            issued: issued.ok_or_else(overflow)?,
            tron_locked: supply.tron_locked,
            reserve: supply.reserve,
            tron_supply: supply.tron_supply,
        })
    }

    /// Sets what the plan says, and derives the rest from what is allocated. Counters that were set before are raised where that is
    /// needed, and lowered only by the plan.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what to say instead.
    pub fn plan_supply(&mut self, plan: SupplyPlan) -> Result<(), Error> {
        self.bttc.supply.reward_pool = plan.reward_pool.unwrap_or(self.bttc.supply.reward_pool);
        let figures = self.supply_figures()?;
        // Local networks need no backing: nothing is derived there.
        let backed = self.bttc.preset != Preset::Local;
        let at_least = |set: U256, needed: U256| if backed { set.max(needed) } else { set };
        let locked = plan.tron_locked.unwrap_or_else(|| at_least(figures.tron_locked, figures.issued));
        let total = plan.tron_supply.unwrap_or_else(|| at_least(figures.tron_supply, locked));
        let supply = &mut self.bttc.supply;
        (supply.tron_locked, supply.tron_supply) = (locked, total);
        if backed || plan.tron_supply.is_some() {
            supply.reserve = total.checked_sub(locked).ok_or_else(|| {
                invalid(format!(
                    "the supply on TRON is {}, but {} are to be locked there: give --supply {1} or more, or allocate and lock less",
                    format_btt(total),
                    format_btt(locked)
                ))
            })?;
        }
        Ok(())
    }

    /// On public networks every coin must be backed by a coin locked on TRON.
    pub(crate) fn validate_supply(&self) -> Result<(), Error> {
        let figures = self.supply_figures()?;
        if self.bttc.preset == Preset::Local {
            return Ok(());
        }
        if figures.reserve.checked_add(figures.tron_locked) != Some(figures.tron_supply) {
            return Err(invalid(format!(
                "reserve and tronLocked together must be tronSupply, and are not:\n{figures}\n\
                 `bttc genesis new --tron-locked AMOUNT --supply AMOUNT` sets the reserve to what is left"
            )));
        }
        if figures.issued > figures.tron_locked {
            return Err(invalid(format!(
                "{} are issued, but only {} are locked on TRON to back them:\n{figures}\n\
                 give --tron-locked {0} or more (left out, it is what is issued), or allocate less",
                format_btt(figures.issued),
                format_btt(figures.tron_locked)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChainPlan, GenesisValidator};
    use alloy_genesis::GenesisAccount;
    use alloy_primitives::Address;

    fn btt(units: u64) -> U256 {
        U256::from(units) * U256::from(BTT)
    }

    fn plan(preset: Preset) -> ChainPlan {
        let key = Address::with_last_byte(1);
        let params = preset.params();
        let power = params.min_self_stake.div_ceil(params.power_unit);
        ChainPlan::new(preset, 0, vec![GenesisValidator { address: key, owner: key, power, bridge: None }])
    }

    #[test]
    fn the_supply_of_a_public_network_follows_from_what_is_allocated() {
        for preset in [Preset::Mainnet, Preset::Donau] {
            let mut plan = plan(preset);
            plan.accounts.push((Address::with_last_byte(9), GenesisAccount::default().with_balance(btt(50))));
            plan.supply.reward_pool = Some(btt(7));
            let figures = ChainSpec::of(plan.clone()).unwrap().supply_figures().unwrap();
            let stake = btt(preset.params().min_self_stake);
            assert_eq!((figures.accounts, figures.stake, figures.reward_pool), (btt(50), stake, btt(7)));
            assert_eq!(figures.issued, stake + btt(57));
            assert_eq!((figures.tron_locked, figures.reserve), (figures.issued, U256::ZERO));
            assert_eq!(figures.tron_supply, figures.issued);
            let shown = figures.to_string();
            for wei in [figures.accounts, figures.stake, figures.reward_pool, figures.issued] {
                assert!(shown.contains(&format_btt(wei)), "{shown}");
            }
            // What is said counts, and the reserve is what is left.
            plan.supply.tron_locked = Some(stake + btt(100));
            plan.supply.tron_supply = Some(btt(990_000_000_000_000));
            let figures = ChainSpec::of(plan.clone()).unwrap().supply_figures().unwrap();
            assert_eq!(figures.tron_locked, stake + btt(100));
            assert_eq!(figures.reserve, btt(990_000_000_000_000) - stake - btt(100));
            // What cannot be is refused with what would do.
            plan.supply.tron_locked = Some(stake);
            let said = ChainSpec::of(plan.clone()).unwrap_err().to_string();
            let enough = format!("--tron-locked {}", format_btt(stake + btt(57)));
            assert!(said.contains(&enough), "{said}");
            plan.supply = SupplyPlan { tron_supply: Some(btt(1)), ..SupplyPlan::default() };
            let said = ChainSpec::of(plan).unwrap_err().to_string();
            assert!(said.contains(&format!("--supply {}", format_btt(stake + btt(50)))), "{said}");
        }
    }

    #[test]
    fn accounts_that_are_taken_over_later_are_backed_too() {
        let mut spec = ChainSpec::of(plan(Preset::Mainnet)).unwrap();
        let total = btt(990_000_000_000_000);
        spec.plan_supply(SupplyPlan { tron_supply: Some(total), ..SupplyPlan::default() }).unwrap();
        let before = spec.supply_figures().unwrap();
        let account = (Address::with_last_byte(9), GenesisAccount::default().with_balance(btt(5)));
        spec.import_accounts([account]).unwrap();
        assert!(spec.validate().is_err());
        spec.plan_supply(SupplyPlan::default()).unwrap();
        spec.validate().unwrap();
        let after = spec.supply_figures().unwrap();
        assert_eq!(after.tron_locked, before.tron_locked + btt(5));
        assert_eq!(after.reserve, before.reserve - btt(5), "the supply on TRON stays what it was said to be");
        assert_eq!(after.tron_supply, total);
    }

    #[test]
    fn a_local_network_keeps_its_own_counters() {
        let spec = ChainSpec::of(plan(Preset::Local)).unwrap();
        let figures = spec.supply_figures().unwrap();
        assert_eq!((figures.reserve, figures.reward_pool), (btt(1_000_000_000), btt(1_000_000_000)));
        assert_eq!((figures.tron_locked, figures.tron_supply), (U256::ZERO, U256::ZERO));
        let mut plan = plan(Preset::Local);
        plan.supply = SupplyPlan { reward_pool: Some(btt(3)), tron_locked: Some(btt(4)), tron_supply: Some(btt(10)) };
        let figures = ChainSpec::of(plan).unwrap().supply_figures().unwrap();
        assert_eq!((figures.reward_pool, figures.tron_locked, figures.reserve), (btt(3), btt(4), btt(6)));
    }

    #[test]
    fn counters_that_do_not_add_up_are_refused() {
        let mut spec = ChainSpec::of(plan(Preset::Donau)).unwrap();
        spec.bttc.supply.reserve = U256::ONE;
        assert!(spec.validate().unwrap_err().to_string().contains("--supply"));
        spec.bttc.supply.tron_supply += U256::ONE;
        spec.validate().unwrap();
        spec.bttc.supply.reward_pool = U256::ONE;
        assert!(spec.validate().unwrap_err().to_string().contains("--tron-locked"));
        spec.bttc.supply.reward_pool = U256::MAX;
        assert!(spec.validate().unwrap_err().to_string().contains("2^256"));
    }
}
