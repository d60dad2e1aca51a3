//! Simulated finality: how long from the request for a block until a validator has committed it, beside what the speed
//! of light and cables allows.

use crate::config::{Config, Costs, Topology};
use crate::fault::FaultSet;
use crate::links::base_delay_us;
use crate::world::World;
use alloy_primitives::{B256, keccak256};
use bttc_executor::Executor;
use bttc_genesis::{ChainSpec, GenesisValidator, Preset};
use bttc_node::{Answer, Application, HeadAccounts, Request};
use bttc_pool::{ChainLimits, Pool, PoolConfig};
use bttc_state::{MemoryStore, StateStore, StoreOptions};
use bttc_types::{Certificate, SecretKey, recover};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Instant;

/// Transactions in a block.
const TRANSACTIONS: usize = 500;

/// Calldata of each: blocks have about 160 kB.
const CALLDATA: usize = 200;

/// Bytes of a transaction beside its calldata.
const OVERHEAD: usize = 120;

/// A load and the links that carry it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Bytes of a block; `None`: about 160 kB.
    pub block_bytes: Option<usize>,
    /// Bits a second that each node can send; `None`: no limit.
    pub bandwidth: Option<u64>,
}

impl Load {
    fn calldata(self) -> usize {
        self.block_bytes.map_or(CALLDATA, |bytes| (bytes / TRANSACTIONS).saturating_sub(OVERHEAD))
    }

    /// How long one copy of a block takes to leave its proposer, milliseconds.
    pub fn serialisation_ms(self) -> f64 {
        let bytes = TRANSACTIONS * (self.calldata() + OVERHEAD);
        self.bandwidth.map_or(0.0, |bandwidth| bytes as f64 * 8_000.0 / bandwidth as f64)
    }
}

/// What one network size gave.
#[derive(Clone, Copy, Debug)]
pub struct Finality {
    /// Validators.
    pub nodes: usize,
    /// Link delays alone, and the time in which one copy of the block leaves its proposer, milliseconds.
    pub floor_ms: f64,
    /// Median, milliseconds.
    pub median_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// Heights and transactions measured.
    pub heights: u64,
    /// Transactions in a block on average.
    pub transactions: f64,
    /// Violations; there must be none.
    pub violations: usize,
}

/// Measures this machine's CPU costs.
///
/// # Errors
/// In words, when a part of the node refuses to be measured.
pub fn measure() -> Result<Costs, String> {
    bttc_types::remember_recoveries(0);
    let key = SecretKey::from_bytes(&[3; 32]).map_err(|error| error.to_string())?;
    let signatures: Vec<_> =
        (0..200u8).map(|index| (B256::repeat_byte(index), key.sign(B256::repeat_byte(index)))).collect();
    let start = Instant::now();
    for (digest, signature) in &signatures {
        recover(*digest, signature).map_err(|error| error.to_string())?;
    }
    let recovery = nanoseconds(start) / signatures.len() as u64;
    let bytes = vec![7u8; 4 << 20];
    let start = Instant::now();
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    // A part is hashed once to know it again and once to prove that it belongs to its block.
    std::hint::black_box((hasher.hash_one(&bytes), keccak256(&bytes)));
    let byte = (nanoseconds(start) / bytes.len() as u64).max(1);
    let empty = block_time(&key, 0)?;
    let full = block_time(&key, TRANSACTIONS)?;
    let transaction = full.saturating_sub(empty) / TRANSACTIONS as u64;
    Ok(Costs { recovery, byte, transaction, block: empty, ..Costs::default() })
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// How long building a block of so many transactions takes: the best of five.
fn block_time(key: &SecretKey, transactions: usize) -> Result<u64, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let validator = GenesisValidator { address: key.address(), owner: key.address(), power: 1_000, bridge: None };
    let spec = ChainSpec::new(Preset::Local, 1_699_999_000, vec![validator]).map_err(|error| text(&error))?;
    let limits = ChainLimits {
        chain_id: spec.chain_id(),
        gas_cap: spec.bttc.params.gas_limit,
        gas_limit: spec.bttc.params.gas_limit,
        min_base_fee: spec.bttc.params.min_base_fee,
    };
    let mut clients = crate::client::Clients::new(spec.chain_id(), limits.min_base_fee, CALLDATA);
    let store =
        StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).map_err(|error| text(&error))?;
    let executor = Arc::new(Executor::open(Arc::new(store), Arc::new(spec)).map_err(|error| text(&error))?);
    let pool = Arc::new(Pool::new(PoolConfig::default(), limits));
    for index in 0..transactions {
        if let Some(transaction) = clients.make(index, 0) {
            pool.add(transaction, true, 0, &HeadAccounts(Arc::clone(&executor))).map_err(|error| text(&error))?;
        }
    }
    let genesis = executor.head_hash().map_err(|error| text(&error))?;
    let application = Application { executor, pool, beneficiary: key.address() };
    let mut best = u64::MAX;
    for attempt in 0..5 {
        let request = Request::Propose {
            height: 1,
            round: 0,
            last_commit: Certificate::genesis(genesis),
            time_ms: 1_700_000_000_000 + attempt,
        };
        let start = Instant::now();
        let served = application.serve(request, &mut || false);
        best = best.min(nanoseconds(start));
        if !matches!(served.answer, Some(Answer::Input(_))) {
            return Err("no block was built".into());
        }
    }
    Ok(best)
}

/// Median over proposers and validators of the time that three legs to a quorum take at least: the proposal to each,
/// prevotes from a quorum to each, precommits from a quorum to each. Milliseconds.
pub fn floor_ms(nodes: usize) -> f64 {
    let quorum = nodes * 2 / 3 + 1;
    // When each has heard from a quorum, if each speaks at its own time.
    let heard = |spoken: &[u64]| -> Vec<u64> {
        (0..nodes)
            .map(|to| {
                let mut arrivals: Vec<u64> = (0..nodes)
                    .map(|from| spoken[from] + if from == to { 0 } else { base_delay_us(from, to) })
                    .collect();
                arrivals.sort_unstable();
                arrivals[quorum - 1]
            })
            .collect()
    };
    let mut all = Vec::new();
    for proposer in 0..nodes {
        let proposal: Vec<u64> =
            (0..nodes).map(|to| if to == proposer { 0 } else { base_delay_us(proposer, to) }).collect();
        all.extend(heard(&heard(&proposal)));
    }
    all.sort_unstable();
    all[all.len() / 2] as f64 / 1_000.0
}

/// Runs a network without faults, full blocks, on the measured costs.
pub fn finality(nodes: usize, heights: u64, costs: Costs, load: Load) -> Finality {
    let mut config = Config::new(1, nodes, heights, FaultSet::none());
    config.costs = costs;
    config.topology = if nodes <= 10 { Topology::Mesh } else { Topology::Random(10) };
    config.target_block_time_ms = 500;
    config.transactions_per_second = 1_200.0;
    config.transaction_bytes = load.calldata();
    config.bandwidth = load.bandwidth;
    if load.bandwidth.is_some() {
        // What is measured is how long it takes, not whether it takes too long.
        config.propose_timeout_ms = 120_000;
    }
    config.transactions_everywhere = true;
    config.block_transactions = TRANSACTIONS;
    let report = World::new(config).run();
    let at = |share: f64| {
        let index = (report.finality_us.len() as f64 * share) as usize;
        report.finality_us.get(index).map_or(0.0, |us| *us as f64 / 1_000.0)
    };
    Finality {
        nodes,
        floor_ms: floor_ms(nodes) + load.serialisation_ms(),
        median_ms: at(0.5),
        p99_ms: at(0.99),
        heights: report.height,
        transactions: report.transactions as f64 / report.height as f64,
        violations: report.violations.len(),
    }
}
