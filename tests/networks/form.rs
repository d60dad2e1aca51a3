//! How long, how much, with which accounts and on which kind of network strangers attack.
//!
//! `BTTC_HOSTILE_SECONDS` (and `BTTC_HOSTILE_RATE`, transactions a second) chooses the long form, `BTTC_HOSTILE_ATTACKS` names the
//! attacks, separated by commas, `BTTC_HOSTILE_SEED` their order, and `BTTC_HOSTILE_PRESET` the kind of network, `local` or `mainnet`.

use crate::attacks::Attack;
use crate::town::RETURN;
use bttc_bench::load::{self, Sender, Terms};
use bttc_genesis::Preset;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use std::time::Duration;

/// How much of everything.
pub(crate) struct Form {
    /// Kind of network.
    pub(crate) preset: Preset,
    pub(crate) validators: usize,
    pub(crate) attack: Duration,
    pub(crate) baseline: Duration,
    /// Before and after a validator is started anew.
    pub(crate) settle: Duration,
    pub(crate) rate: u32,
    pub(crate) senders: usize,
    /// Accounts, and transactions of each, behind a gap.
    pub(crate) gapped: (usize, u64),
    /// Places of the pools; the default when none.
    pub(crate) pool: Option<usize>,
    /// Below this a p99 of finality is not told from the noise of a few transactions.
    pub(crate) floor: Duration,
    pub(crate) unpayable_bytes: usize,
    pub(crate) attacks: Vec<Attack>,
}

impl Form {
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seed = number("BTTC_HOSTILE_SEED").unwrap_or(1);
        let mut attacks = Attack::ALL.to_vec();
        if let Ok(names) = std::env::var("BTTC_HOSTILE_ATTACKS") {
            let names: Vec<&str> = names.split(',').collect();
            attacks.retain(|attack| names.contains(&attack.name().as_str()));
            assert_eq!(attacks.len(), names.len(), "the attacks are {:?}", Attack::ALL.map(Attack::name));
        }
        attacks.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
        let preset = match std::env::var("BTTC_HOSTILE_PRESET").as_deref() {
            Ok("mainnet") => Preset::Mainnet,
            Ok("local") | Err(_) => Preset::Local,
            Ok(other) => panic!("{other} is neither local nor mainnet"),
        };
        // As many as the bridge's gateways need.
        let validators = if preset == Preset::Mainnet { 5 } else { 4 };
        eprintln!("seed {seed}, attacks {}", attacks.iter().map(|attack| attack.name()).collect::<Vec<_>>().join(","));
        match number("BTTC_HOSTILE_SECONDS") {
            Some(seconds) => Self {
                preset,
                validators,
                floor: Duration::ZERO,
                attack: Duration::from_secs(seconds),
                baseline: Duration::from_secs(seconds),
                settle: Duration::from_secs(5),
                rate: number("BTTC_HOSTILE_RATE").unwrap_or(500) as u32,
                senders: 1_000,
                gapped: (32, 4_095),
                pool: None,
                unpayable_bytes: 10 << 20,
                attacks,
            },
            None => Self {
                preset,
                validators,
                floor: Duration::from_secs(1),
                attack: Duration::from_millis(1_500),
                baseline: Duration::from_secs(5),
                settle: Duration::from_secs(1),
                rate: 40,
                senders: 200,
                gapped: (2, 1_500),
                pool: Some(2_000),
                unpayable_bytes: 1 << 20,
                attacks,
            },
        }
    }

    /// The validator that is started anew in the middle of an attack. Users do not send to it.
    pub(crate) fn restarted(&self) -> usize {
        self.validators - 1
    }

    /// What all transactions have in common: fees with room for full blocks.
    pub(crate) fn terms(&self) -> Terms {
        let least = u128::from(self.preset.params().min_base_fee);
        Terms { chain_id: self.preset.chain_id(), fee_cap: 100 * least }
    }

    /// Arguments of `bttc genesis new` for this kind of network.
    pub(crate) fn genesis(&self) -> &'static [&'static str] {
        match self.preset {
            Preset::Mainnet | Preset::Donau => &["--reward-pool", "1_000_000_000", "--supply", "990_000_000_000_000"],
            // Long enough that two cores execute 500 transactions a second with time left for the strangers.
            Preset::Local => &["--param", "targetBlockTimeMs=500"],
        }
    }

    /// How long transactions can be sent for: longer than the run should take.
    pub(crate) fn longest(&self) -> Duration {
        let attacks = (self.attack + Duration::from_secs(5)) * self.attacks.len() as u32;
        self.baseline + attacks + 2 * (RETURN + self.settle)
    }
}

/// The accounts of a run.
pub(crate) struct Accounts {
    pub(crate) users: Vec<Sender>,
    /// They send what waits behind a gap.
    pub(crate) gapped: Vec<Sender>,
    /// Its transactions wait behind a gap from the beginning.
    pub(crate) marker: Sender,
    /// Sends large transactions.
    pub(crate) large: Sender,
    /// They have nothing.
    pub(crate) poor: Vec<Sender>,
    pub(crate) genesis: Vec<String>,
}

impl Accounts {
    pub(crate) fn new(form: &Form) -> Self {
        let mut funded = load::senders(form.senders + form.gapped.0 + 2 + 16);
        let poor = funded.split_off(funded.len() - 16);
        let genesis = load::genesis_flags(&funded, 1_000_000);
        let large = funded.pop().unwrap();
        let marker = funded.pop().unwrap();
        let gapped = funded.split_off(form.senders);
        Self { users: funded, gapped, marker, large, poor, genesis }
    }
}
