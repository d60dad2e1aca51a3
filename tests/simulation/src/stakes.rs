//! Owners of validators: they stake, unstake, unjail and report by transactions, so that the validator set changes as it does
//! on a real chain.

use crate::client::Sender;
use alloy_primitives::{Address, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;
use bttc_genesis::{BTT, ChainSpec, GenesisValidator, STAKING_ADDRESS};
use bttc_modules::interfaces::IStaking;
use bttc_types::{Evidence, RecoveredTransaction, SecretKey};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks in an epoch of a simulated chain.
pub const EPOCH_BLOCKS: u64 = 10;

/// Power of the smallest validator; coarse enough that a slash for downtime does not cost a third of anybody's power.
const LEAST_POWER: u64 = 1_000;

/// Who is a validator at the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// Everybody's key.
    pub keys: &'a [Address],
    /// Who lies: together they hold less than a third of the power at all times, or `percent` of it.
    pub byzantine: &'a [bool],
    /// For scenarios that must fail.
    pub percent: Option<u64>,
    /// Who is no validator.
    pub follower: Option<Address>,
    /// Whether stake will change.
    pub changing: bool,
}

/// Signs a call of a sender: recipient, coins in wei, input.
pub type Maker<'a> = dyn FnMut(&mut Sender, Address, u128, Bytes) -> Option<Arc<RecoveredTransaction>> + 'a;

/// One owner.
#[derive(Debug)]
struct Owner {
    sender: Sender,
    /// Number of the validator.
    id: u32,
    liar: bool,
    /// Power that it never goes below while it takes part.
    base: u64,
    /// Power beyond that.
    extra: u64,
    /// It took all its stake out.
    out: bool,
}

/// All owners, and a reporter of evidence.
#[derive(Debug)]
pub struct Stakes {
    owners: Vec<Owner>,
    reporter: Option<Sender>,
    changing: bool,
    /// Epoch in which stake was changed last.
    epoch: u64,
}

fn owner_key(index: usize) -> SecretKey {
    let seed = keccak256([b"bttc simulation owner".as_slice(), &(index as u64).to_be_bytes()].concat());
    #[allow(clippy::expect_used)] // A hash is below the group order but for one in 2^128.
    SecretKey::from_bytes(&seed.0).expect("a valid key")
}

impl Stakes {
    /// Draws the genesis validators. `reports`: whether evidence is reported, which removes liars.
    pub fn draw(members: Members<'_>, reports: bool, rng: &mut ChaCha8Rng) -> (Self, Vec<GenesisValidator>) {
        let mut chosen: Vec<(Address, bool)> = Vec::new();
        for (key, liar) in members.keys.iter().zip(members.byzantine) {
            // Twins have one key and are one validator.
            if Some(*key) != members.follower && !chosen.iter().any(|(other, _)| other == key) {
                chosen.push((*key, *liar));
            }
        }
        let liars = chosen.iter().filter(|(_, liar)| *liar).count() as u64;
        let draw = |rng: &mut ChaCha8Rng| match members.changing {
            true => LEAST_POWER * rng.random_range(1..=10),
            false => LEAST_POWER,
        };
        let mut powers: Vec<u64> = chosen.iter().map(|(_, liar)| if *liar { 0 } else { draw(rng) }).collect();
        let honest: u64 = powers.iter().sum();
        // Of all: a fifth where stake moves, so that nobody's leaving gives the liars a third.
        let most = match (members.percent, members.changing) {
            (Some(percent), _) => honest * percent / (100 - percent.min(99)),
            (None, true) => honest / 4,
            (None, false) => honest.saturating_sub(1) / 2,
        };
        let each = most.checked_div(liars).unwrap_or(0).max(1);
        for (power, (_, liar)) in powers.iter_mut().zip(&chosen) {
            if *liar {
                *power = if members.percent.is_some() { each } else { rng.random_range(each / 2..=each).max(1) };
            }
        }
        let mut owners = Vec::new();
        let mut validators = Vec::new();
        for (index, ((address, liar), power)) in chosen.into_iter().zip(powers).enumerate() {
            let sender = Sender::new(owner_key(index));
            validators.push(GenesisValidator { address, owner: sender.address(), power, bridge: None });
            owners.push(Owner { sender, id: index as u32 + 1, liar, base: power, extra: 0, out: false });
        }
        let reporter = reports.then(|| Sender::new(owner_key(10_000)));
        (Self { owners, reporter, changing: members.changing, epoch: 0 }, validators)
    }

    /// Everybody who may stake or report, with coins for a long time.
    pub fn fund(&self, spec: &mut ChainSpec) {
        let senders = self.owners.iter().map(|owner| &owner.sender).chain(&self.reporter);
        for sender in senders {
            let account = spec.genesis.alloc.entry(sender.address()).or_default();
            account.balance = U256::from(1_000_000_000u64) * U256::from(BTT);
        }
    }

    /// Accounts that may have stake.
    pub fn delegators(&self) -> Vec<Address> {
        self.owners.iter().map(|owner| owner.sender.address()).collect()
    }

    /// What owners do now, once an epoch: stake more, take some back, leave, come back, withdraw, claim, unjail.
    pub fn act(
        &mut self,
        height: u64,
        jailed: &BTreeMap<Address, bool>,
        rng: &mut ChaCha8Rng,
        make: &mut Maker<'_>,
    ) -> Vec<Arc<RecoveredTransaction>> {
        let epoch = height / EPOCH_BLOCKS;
        let mut made = Vec::new();
        if !self.changing || epoch == self.epoch {
            return made;
        }
        self.epoch = epoch;
        // What honest validators keep in any case must be more than twice what liars have, with a margin for slashes.
        let honest: u64 = self.owners.iter().filter(|owner| !owner.liar && !owner.out).map(|owner| owner.base).sum();
        let lies: u64 = self.owners.iter().filter(|owner| owner.liar).map(|owner| owner.base).sum();
        let staying = self.owners.iter().filter(|owner| !owner.liar && !owner.out).count();
        let somebody_out = self.owners.iter().any(|owner| owner.out);
        for owner in &mut self.owners {
            let (value, call) = if jailed.get(&owner.sender.address()).copied().unwrap_or(false) {
                (0, IStaking::unjailCall {}.abi_encode())
            } else if owner.liar || rng.random_bool(0.5) {
                continue;
            } else if owner.out {
                // Long enough after it left that all its stake is back.
                if rng.random_bool(0.7) {
                    continue;
                }
                owner.out = false;
                owner.extra = 0;
                (owner.base, IStaking::delegateCall { id: owner.id }.abi_encode())
            } else {
                match rng.random_range(0..6) {
                    0 if !somebody_out
                        && staying > 3
                        && (honest - owner.base) * 4 > lies * 9
                        && rng.random_bool(0.3) =>
                    {
                        owner.out = true;
                        (0, IStaking::undelegateCall { id: owner.id, amount: U256::MAX }.abi_encode())
                    }
                    0..=2 => {
                        let more = rng.random_range(1..=owner.base);
                        owner.extra += more;
                        (more, IStaking::delegateCall { id: owner.id }.abi_encode())
                    }
                    3 if owner.extra > 0 => {
                        let less = rng.random_range(1..=owner.extra);
                        owner.extra -= less;
                        let amount = U256::from(less) * U256::from(BTT);
                        (0, IStaking::undelegateCall { id: owner.id, amount }.abi_encode())
                    }
                    4 => (0, IStaking::withdrawCall { delegator: owner.sender.address() }.abi_encode()),
                    _ => (0, IStaking::claimRewardsCall { id: owner.id }.abi_encode()),
                }
            };
            let wei = u128::from(value) * BTT;
            made.extend(make(&mut owner.sender, STAKING_ADDRESS, wei, call.into()));
        }
        made
    }

    /// A report of evidence, if somebody reports.
    pub fn report(&mut self, evidence: &Evidence, make: &mut Maker<'_>) -> Option<Arc<RecoveredTransaction>> {
        let call = IStaking::submitEvidenceCall { evidence: alloy_rlp::encode(evidence).into() };
        make(self.reporter.as_mut()?, STAKING_ADDRESS, 0, call.abi_encode().into())
    }
}
