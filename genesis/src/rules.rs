//! Whose rules a chain follows: this protocol's, or Ethereum's for other people's test suites and chains.

use alloy_primitives::{Address, address};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Main net's deposit contract.
const MAINNET_DEPOSIT_CONTRACT: Address = address!("00000000219ab540356cbb839cbe05303d7705fa");

/// Ethereum's hard forks as far as they change execution.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EvmFork {
    Frontier,
    Homestead,
    Tangerine,
    SpuriousDragon,
    Byzantium,
    Petersburg,
    Istanbul,
    Berlin,
    London,
    Merge,
    Shanghai,
    Cancun,
    Prague,
    Osaka,
}

/// Blob parameters of a fork (EIP-7840).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobSchedule {
    /// Blobs a block aims at.
    pub target: u64,
    /// Most blobs in a block.
    pub max: u64,
    /// Denominator of the blob fee's growth.
    pub update_fraction: u64,
}

/// The Ethereum-rules profile: forks by height and time, base fee burned, blobs, withdrawals and requests executed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EthereumRules {
    /// Forks that start at a height, ascending.
    pub by_height: Vec<(u64, EvmFork)>,
    /// Forks that start at a timestamp, ascending.
    pub by_time: Vec<(u64, EvmFork)>,
    /// Blob parameters from a timestamp on.
    pub blobs: BTreeMap<u64, BlobSchedule>,
    /// Contract whose logs are deposits (EIP-6110); main net's when nothing is said.
    pub deposit_contract: Option<Address>,
}

/// What the executor branches on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// This chain: Osaka from genesis, no blobs, base fee shared with the reward pool, certificates in blocks.
    Bttc,
    /// Ethereum.
    Ethereum(EthereumRules),
}

impl Rules {
    /// The EVM's fork for a block.
    pub fn fork_at(&self, height: u64, timestamp: u64) -> EvmFork {
        match self {
            Self::Bttc => EvmFork::Osaka,
            Self::Ethereum(rules) => {
                let latest = |forks: &[(u64, EvmFork)], at: u64| {
                    forks.iter().filter(|(from, _)| *from <= at).map(|(_, fork)| *fork).max()
                };
                latest(&rules.by_time, timestamp).max(latest(&rules.by_height, height)).unwrap_or(EvmFork::Frontier)
            }
        }
    }

    /// Blob parameters in force at a time; `None` where blobs do not exist.
    pub fn blobs_at(&self, timestamp: u64) -> Option<BlobSchedule> {
        match self {
            Self::Bttc => None,
            Self::Ethereum(rules) => rules.blobs.range(..=timestamp).next_back().map(|(_, schedule)| *schedule),
        }
    }

    /// Contract whose logs are deposits (EIP-6110).
    pub fn deposit_contract(&self) -> Address {
        let named = match self {
            Self::Bttc => None,
            Self::Ethereum(rules) => rules.deposit_contract,
        };
        named.unwrap_or(MAINNET_DEPOSIT_CONTRACT)
    }

    /// Whether these are this chain's own rules.
    pub fn is_bttc(&self) -> bool {
        matches!(self, Self::Bttc)
    }
}
