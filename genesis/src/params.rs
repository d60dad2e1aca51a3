//! Presets and chain parameters (`docs/protocol.md` section 1).

use serde::{Deserialize, Serialize};

/// The three kinds of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Production: chain id 199.
    Mainnet,
    /// Public test network: chain id 1029, parameters of `mainnet`.
    Donau,
    /// `scripts/devnet` and `bttc dev`: chain id 1337, short times, funded accounts.
    Local,
}

impl Preset {
    /// The chain id of networks of this kind.
    pub const fn chain_id(self) -> u64 {
        match self {
            Self::Mainnet => 199,
            Self::Donau => 1029,
            Self::Local => 1337,
        }
    }

    /// Most validators that a network of this kind can be given: what the bridge's contracts take at a bearable price, or
    /// for simulations what certificates can hold.
    pub const fn validator_cap(self) -> u16 {
        match self {
            Self::Mainnet | Self::Donau => 64,
            Self::Local => 255,
        }
    }
}

/// Durations of the bridge, seconds: fixed for a kind of network, and what its gateways are deployed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BridgeSettings {
    /// Signers that a certificate needs besides two thirds of the power.
    pub min_signers: u32,
    /// Between two hand-overs at a gateway.
    pub min_rotation: u32,
    /// How long the previous set still speaks.
    pub overlap: u32,
    /// How long a set speaks, from the time of the checkpoint that installed it.
    pub expiry: u32,
    /// How long large claims wait.
    pub large_delay: u32,
    /// In which a bucket fills.
    pub bucket_window: u32,
    /// How long an upgrade of a gateway waits.
    pub upgrade_delay: u32,
    /// How long a recovery waits.
    pub recovery_delay: u32,
    /// How long a pauser's pause lasts.
    pub pause_seconds: u32,
    /// Between two pauses of one pauser.
    pub pause_rest: u32,
    /// After which the set is renewed.
    pub renewal: u32,
}

/// Members of a bridge set at most, until it is measured what TRON's time for a transaction allows.
pub const MAX_BRIDGE_MEMBERS: usize = 64;

impl Preset {
    /// Durations of the bridge.
    pub const fn bridge(self) -> BridgeSettings {
        const DAY: u32 = 86_400;
        match self {
            Self::Mainnet | Self::Donau => BridgeSettings {
                min_signers: 5,
                min_rotation: 600,
                overlap: DAY,
                expiry: 14 * DAY,
                large_delay: DAY,
                bucket_window: DAY,
                upgrade_delay: 7 * DAY,
                recovery_delay: 14 * DAY,
                pause_seconds: 3 * DAY,
                pause_rest: 30 * DAY,
                renewal: DAY,
            },
            Self::Local => BridgeSettings {
                min_signers: 1,
                min_rotation: 0,
                overlap: 120,
                expiry: 360,
                large_delay: 5,
                bucket_window: 60,
                upgrade_delay: 10,
                recovery_delay: 10,
                pause_seconds: 30,
                pause_rest: 60,
                renewal: 60,
            },
        }
    }
}

/// Who may change a parameter, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Set in the genesis file for ever: what a light client, or a proposer's turn, is computed from.
    Fixed,
    /// Governance, by an ordinary majority.
    Chain,
    /// Governance, by more than two thirds of all bonded power.
    Staking,
    /// As `Staking`.
    Slashing,
    /// As `Staking`.
    Governance,
}

impl Group {
    /// Whether more than two thirds of all bonded power must agree to a change.
    pub const fn is_protected(self) -> bool {
        matches!(self, Self::Staking | Self::Slashing | Self::Governance)
    }
}

/// What is known of a parameter apart from its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Position in the table: its number in proposals and in state. Never reused.
    pub id: u16,
    /// Name in genesis files and in RPC, in camel case.
    pub name: &'static str,
    /// Words with the unit, as `docs/protocol.md` has them.
    pub title: &'static str,
    /// Who may change it.
    pub group: Group,
    /// Smallest value.
    pub min: u64,
    /// Largest value.
    pub max: u64,
}

/// Declares the table of parameters once: the struct, its defaults, its checks and the look-up by number.
macro_rules! parameters {
    ($($(#[$doc:meta])* $field:ident $name:literal $title:literal $group:ident $min:literal ..= $max:literal,
        $main:expr, $local:expr;)*) => {
        /// Parameters of a chain. A genesis file may override a preset's values; governance changes those that are not
        /// [`Group::Fixed`]. Amounts of coins are in whole BTT unless a name says wei.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct ChainParams {
            $($(#[$doc])* pub $field: u64,)*
        }

        /// The parameters by name; `as u16` gives the number.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Parameter { $($(#[$doc])* $field,)* }

        /// All parameters, by number.
        pub const PARAMETERS: &[ParameterInfo] = &[$(ParameterInfo {
            id: Parameter::$field as u16,
            name: $name,
            title: $title,
            group: Group::$group,
            min: $min,
            max: $max,
        },)*];

        impl Preset {
            /// The default parameters.
            pub const fn params(self) -> ChainParams {
                match self {
                    Self::Mainnet | Self::Donau => ChainParams { $($field: $main,)* },
                    Self::Local => ChainParams { $($field: $local,)* },
                }
            }
        }

        impl ChainParams {
            /// The value of a parameter by its number.
            pub const fn get(&self, id: u16) -> Option<u64> {
                $(if id == Parameter::$field as u16 { return Some(self.$field); })*
                None
            }

            /// Sets a value by number, unchecked; false when there is no such parameter.
            pub const fn set(&mut self, id: u16, value: u64) -> bool {
                $(if id == Parameter::$field as u16 { self.$field = value; return true; })*
                false
            }

            /// All values, by number.
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$field,)*]
            }
        }
    };
}

parameters! {
    /// Gas limit of every block.
    gas_limit "gasLimit" "gas limit" Chain 5_000_000..=10_000_000_000, 60_000_000, 500_000_000;
    /// Lowest base fee, wei.
    min_base_fee "minBaseFee" "minimum base fee, wei" Chain 0..=1_000_000_000_000_000_000, 300_000 * GWEI, GWEI;
    /// Share of the base fee that is burned, in 1/10,000; the rest goes to the reward pool.
    burn_ratio_bps "burnRatioBps" "burned share of the base fee, 1/10000" Chain 0..=10_000, 0, 0;
    /// Smallest distance between two blocks, milliseconds.
    target_block_time_ms "targetBlockTimeMs" "target block time, ms" Chain 10..=60_000, 500, 100;
    /// Longest distance between two blocks when nothing is to be included, milliseconds.
    empty_block_interval_ms "emptyBlockIntervalMs" "empty block interval, ms" Chain 10..=600_000, 5_000, 2_000;
    /// How long a proposal may travel, milliseconds.
    message_delay_ms "messageDelayMs" "message delay, ms" Chain 1..=60_000, 3_000, 3_000;
    /// How far clocks of honest validators may differ, milliseconds.
    precision_ms "precisionMs" "precision, ms" Fixed 1..=60_000, 500, 500;
    /// Blocks in an epoch; proposer priorities restart with each. Fixed, so that the epoch of a height is known from the
    /// height alone.
    epoch_blocks "epochBlocks" "epoch, blocks" Fixed 2..=1_000_000, 3_600, 20;
    /// Stake behind one unit of voting power, BTT. Fixed, since changing it would change everybody's power at once.
    power_unit "powerUnit" "stake of one unit of power, BTT" Fixed 1..=1_000_000_000_000, 1_000_000, 1_000;
    /// Most validators in the active set.
    max_validators "maxValidators" "validators at most" Staking 1..=255, 50, 10;
    /// Least stake of a validator's owner in its own pool, BTT.
    min_self_stake "minSelfStake" "minimum self-stake, BTT" Staking 1..=1_000_000_000_000_000, 1_000_000_000_000, 1_000_000;
    /// Least delegation, BTT.
    min_delegation "minDelegation" "minimum delegation, BTT" Staking 1..=1_000_000_000_000, 1_000, 1;
    /// Time between the end of stake's power and its payout; evidence is accepted for as long, seconds.
    unbonding_seconds "unbondingSeconds" "unbonding, s" Staking 1..=63_072_000, 1_814_400, 600;
    /// Yearly reward on bonded stake, in 1/10,000.
    reward_rate_bps "rewardRateBps" "yearly reward, 1/10000" Staking 0..=10_000, 300, 300;
    /// Share of rewards and fees that proposers get for the signatures they include, in 1/10,000.
    proposer_bonus_bps "proposerBonusBps" "proposers' bonus, 1/10000" Staking 0..=5_000, 500, 500;
    /// Share of a pool that a double signature costs, in 1/10,000.
    double_sign_slash_bps "doubleSignSlashBps" "double sign, 1/10000 of the pool" Slashing 1..=9_999, 500, 500;
    /// Share of a pool that downtime costs, in 1/10,000.
    downtime_slash_bps "downtimeSlashBps" "downtime, 1/10000 of the pool" Slashing 0..=1_000, 10, 10;
    /// Blocks over which missed signatures are counted; more than half missed is downtime.
    downtime_window "downtimeWindow" "downtime window, blocks" Slashing 10..=100_000, 10_000, 200;
    /// How long downtime keeps a validator out, seconds.
    downtime_jail_seconds "downtimeJailSeconds" "jailed for downtime, s" Slashing 1..=31_536_000, 600, 10;
    /// Downtime removes nobody when fewer than this many validators would stay.
    min_active_validators "minActiveValidators" "validators that downtime leaves" Slashing 1..=64, 7, 3;
    /// Reporter's reward, in 1/10,000 of what a slash takes from the validator's own stake.
    reporter_reward_bps "reporterRewardBps" "reporter's reward, 1/10000 of the slashed self-stake" Slashing 0..=500, 500, 500;
    /// Largest reporter's reward, BTT.
    reporter_reward_max "reporterRewardMax" "reporter's reward at most, BTT" Slashing 0..=1_000_000_000, 1_000_000, 1_000_000;
    /// Deposit that opens the voting on a proposal, BTT.
    proposal_deposit "proposalDeposit" "proposal deposit, BTT" Governance 1..=10_000_000_000_000, 10_000_000_000, 100;
    /// Time to collect it, seconds.
    deposit_seconds "depositSeconds" "time for the deposit, s" Governance 1..=2_592_000, 172_800, 300;
    /// Time for voting, seconds.
    voting_seconds "votingSeconds" "voting, s" Governance 1..=2_592_000, 432_000, 30;
    /// Share of bonded power that must take part, in 1/10,000.
    quorum_bps "quorumBps" "quorum, 1/10000" Governance 1_000..=9_000, 3_340, 3_340;
    /// Share of yes against no that a proposal must exceed, in 1/10,000.
    threshold_bps "thresholdBps" "threshold, 1/10000" Governance 5_000..=9_000, 5_000, 5_000;
    /// Share of vetoes among the votes that must not be exceeded, in 1/10,000.
    veto_bps "vetoBps" "veto, 1/10000" Governance 1_000..=5_000, 3_340, 3_340;
    /// Time between a vote and its execution, seconds.
    execution_delay_seconds "executionDelaySeconds" "execution delay, s" Governance 1..=2_592_000, 86_400, 5;
    /// The same for treasury payments and what loosens the bridge; no expedited vote shortens it, seconds.
    protected_delay_seconds "protectedDelaySeconds" "execution delay of payments, s" Governance 1..=2_592_000, 172_800, 10;
    /// Blocks between two bridge checkpoints, when there is something new.
    checkpoint_interval "checkpointInterval" "checkpoint interval, blocks" Chain 1..=1_000_000, 600, 20;
    /// Share of a pool that a wrong attestation or checkpoint signature costs, in 1/10,000.
    bridge_slash_bps "bridgeSlashBps" "wrong bridge signature, 1/10000 of the pool" Slashing 1..=9_999, 500, 500;
    /// Time between an accusation and its slash, in which governance may cancel it, seconds.
    accusation_seconds "accusationSeconds" "wait before a bridge slash, s" Slashing 1..=2_592_000, 604_800, 30;
    /// Applied deposit certificates over which missed attestations are counted; more than half missed jails.
    attest_window "attestWindow" "attestation window, certificates" Slashing 10..=10_000, 200, 20;
    /// How long after a certificate was applied late signatures are taken, seconds.
    attest_grace_seconds "attestGraceSeconds" "time for late attestations, s" Slashing 1..=604_800, 86_400, 60;
}

const GWEI: u64 = 1_000_000_000;

/// Wei in one BTT.
pub const BTT: u128 = 1_000_000_000_000_000_000;

impl ParameterInfo {
    /// The parameter with this number.
    pub fn by_id(id: u16) -> Option<&'static Self> {
        PARAMETERS.get(usize::from(id))
    }

    /// The parameter with this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PARAMETERS.iter().find(|info| info.name == name)
    }
}

impl ChainParams {
    /// The table from its values by number; missing ones (a state written before they existed) are the preset's.
    pub fn from_values(preset: Preset, values: &[u64]) -> Self {
        let mut params = preset.params();
        for (info, value) in PARAMETERS.iter().zip(values) {
            params.set(info.id, *value);
        }
        params
    }

    /// Checks that who signed for the bridge stays bound as long as the signature counts.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`].
    pub fn validate_bridge(&self, preset: Preset) -> Result<(), crate::Error> {
        let settings = preset.bridge();
        let least = u64::from(settings.expiry).saturating_add(u64::from(settings.overlap));
        if self.unbonding_seconds <= least {
            let reason = format!("must exceed {least}: expiry and overlap of the bridge's sets");
            return Err(crate::Error::invalid("bttc.params.unbondingSeconds", reason));
        }
        if self.accusation_seconds >= self.unbonding_seconds {
            let reason = "must be below unbonding, or the stake of the accused is gone".to_owned();
            return Err(crate::Error::invalid("bttc.params.accusationSeconds", reason));
        }
        Ok(())
    }

    /// Checks ranges, and values against each other.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with the range that would be accepted.
    pub fn validate(&self, preset: Preset) -> Result<(), crate::Error> {
        let invalid = |name: &str, reason: String| Err(crate::Error::invalid(&format!("bttc.params.{name}"), reason));
        for (info, value) in PARAMETERS.iter().zip(self.values()) {
            if !(info.min..=info.max).contains(&value) {
                return invalid(info.name, format!("is {value}, must be {} to {}", info.min, info.max));
            }
        }
        if self.empty_block_interval_ms < self.target_block_time_ms {
            return invalid("emptyBlockIntervalMs", "must not be below the target block time".into());
        }
        if self.max_validators > u64::from(preset.validator_cap()) {
            return invalid("maxValidators", format!("must be 1 to {}", preset.validator_cap()));
        }
        if self.min_active_validators >= self.max_validators {
            return invalid(
                "minActiveValidators",
                "must be below the validators at most, or downtime jails nobody".into(),
            );
        }
        if self.min_self_stake < self.power_unit {
            return invalid("minSelfStake", "must be at least one unit of power".into());
        }
        if self.min_delegation > self.min_self_stake {
            return invalid("minDelegation", "must not exceed the minimum self-stake".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_document_states_the_presets() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (main, local) = (Preset::Mainnet.params(), Preset::Local.params());
        assert_eq!(Preset::Donau.params(), main);
        for info in PARAMETERS {
            let (a, b) = (main.get(info.id).unwrap(), local.get(info.id).unwrap());
            let group = format!("{:?}", info.group).to_lowercase();
            let line = format!("| {} | {} | {a} | {b} | {group} |", info.id, info.title);
            assert!(text.contains(&line), "docs/protocol.md lacks the row {line}");
        }
        for preset in [Preset::Mainnet, Preset::Donau, Preset::Local] {
            let name = serde_json::to_string(&preset).unwrap();
            let line = format!("| {} | {} |", name.trim_matches('"'), preset.chain_id());
            assert!(text.contains(&line), "docs/protocol.md lacks the row {line}");
        }
    }

    #[test]
    fn numbers_names_and_values_belong_together() {
        let params = Preset::Local.params();
        params.validate(Preset::Local).unwrap();
        Preset::Mainnet.params().validate(Preset::Mainnet).unwrap();
        let json = serde_json::to_value(params).unwrap();
        assert_eq!(json.as_object().unwrap().len(), PARAMETERS.len());
        for (position, info) in PARAMETERS.iter().enumerate() {
            assert_eq!(usize::from(info.id), position);
            assert_eq!(json[info.name].as_u64(), params.get(info.id), "{}", info.name);
            assert_eq!(ParameterInfo::by_name(info.name), ParameterInfo::by_id(info.id));
            for (value, good) in [(info.min, None), (info.max.saturating_add(1), Some(false))] {
                let mut changed = params;
                assert!(changed.set(info.id, value));
                if good == Some(false) {
                    assert!(changed.validate(Preset::Local).is_err(), "{} takes {value}", info.name);
                }
            }
        }
        assert_eq!(ChainParams::from_values(Preset::Local, &params.values()), params);
        assert_eq!(params.get(PARAMETERS.len() as u16), None);
    }
}
