//! Presets and chain parameters (`docs/protocol.md` sections 1, 2 and 4).

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

    /// The default parameters.
    pub const fn params(self) -> ChainParams {
        match self {
            Self::Mainnet | Self::Donau => ChainParams {
                gas_limit: 60_000_000,
                min_base_fee: 300_000 * GWEI,
                burn_ratio_bps: 0,
                target_block_time_ms: 500,
                empty_block_interval_ms: 5_000,
                epoch_blocks: 3_600,
                precision_ms: 500,
                message_delay_ms: 3_000,
                max_validators: 50,
            },
            Self::Local => ChainParams {
                gas_limit: 500_000_000,
                min_base_fee: GWEI,
                burn_ratio_bps: 0,
                target_block_time_ms: 100,
                empty_block_interval_ms: 2_000,
                epoch_blocks: 20,
                precision_ms: 500,
                message_delay_ms: 3_000,
                max_validators: 10,
            },
        }
    }
}

const GWEI: u64 = 1_000_000_000;

/// Parameters of a chain. A genesis file may override a preset's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainParams {
    /// Gas limit of every block.
    pub gas_limit: u64,
    /// Lowest base fee, wei.
    pub min_base_fee: u64,
    /// Share of the base fee that is burned, in 1/10,000; the rest goes to the reward pool.
    pub burn_ratio_bps: u16,
    /// Smallest distance between two blocks, milliseconds.
    pub target_block_time_ms: u64,
    /// Longest distance between two blocks when nothing is to be included, milliseconds.
    pub empty_block_interval_ms: u64,
    /// Blocks in an epoch; proposer priorities restart with each.
    pub epoch_blocks: u64,
    /// How far clocks of honest validators may differ, milliseconds.
    pub precision_ms: u64,
    /// How long a proposal may travel, milliseconds.
    pub message_delay_ms: u64,
    /// Most validators in the active set.
    pub max_validators: u16,
}

impl ChainParams {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with the range that would be accepted.
    pub fn validate(&self, preset: Preset) -> Result<(), crate::Error> {
        let check = |ok: bool, field, reason: &str| {
            if ok { Ok(()) } else { Err(crate::Error::invalid(field, reason)) }
        };
        check(
            (5_000_000..=10_000_000_000).contains(&self.gas_limit),
            "bttc.params.gasLimit",
            "must be 5,000,000 to 10,000,000,000",
        )?;
        check(
            self.min_base_fee <= 1_000_000_000_000_000_000,
            "bttc.params.minBaseFee",
            "must be at most 10^18 wei (1 BTT a gas)",
        )?;
        check(self.burn_ratio_bps <= 10_000, "bttc.params.burnRatioBps", "must be at most 10,000 (100 %)")?;
        check(
            (10..=60_000).contains(&self.target_block_time_ms),
            "bttc.params.targetBlockTimeMs",
            "must be 10 to 60,000",
        )?;
        check(
            (self.target_block_time_ms..=600_000).contains(&self.empty_block_interval_ms),
            "bttc.params.emptyBlockIntervalMs",
            "must be between the target block time and 600,000",
        )?;
        check((2..=1_000_000).contains(&self.epoch_blocks), "bttc.params.epochBlocks", "must be 2 to 1,000,000")?;
        check((1..=60_000).contains(&self.precision_ms), "bttc.params.precisionMs", "must be 1 to 60,000")?;
        check((1..=60_000).contains(&self.message_delay_ms), "bttc.params.messageDelayMs", "must be 1 to 60,000")?;
        check(
            (1..=preset.validator_cap()).contains(&self.max_validators),
            "bttc.params.maxValidators",
            &format!("must be 1 to {}", preset.validator_cap()),
        )
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
        let row = |name: &str, a: u64, b: u64| {
            let line = format!("| {name} | {a} | {b} |");
            assert!(text.contains(&line), "docs/protocol.md lacks the row {line}");
        };
        row("gas limit", main.gas_limit, local.gas_limit);
        row("minimum base fee, wei", main.min_base_fee, local.min_base_fee);
        row("burned share of the base fee, 1/10000", main.burn_ratio_bps.into(), local.burn_ratio_bps.into());
        row("target block time, ms", main.target_block_time_ms, local.target_block_time_ms);
        row("empty block interval, ms", main.empty_block_interval_ms, local.empty_block_interval_ms);
        row("epoch, blocks", main.epoch_blocks, local.epoch_blocks);
        row("precision, ms", main.precision_ms, local.precision_ms);
        row("message delay, ms", main.message_delay_ms, local.message_delay_ms);
        row("validators at most", main.max_validators.into(), local.max_validators.into());
        for preset in [Preset::Mainnet, Preset::Donau, Preset::Local] {
            let name = serde_json::to_string(&preset).unwrap();
            let line = format!("| {} | {} |", name.trim_matches('"'), preset.chain_id());
            assert!(text.contains(&line), "docs/protocol.md lacks the row {line}");
        }
    }
}
