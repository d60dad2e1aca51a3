//! A world before its first moment: keys, liars, stakes, chain.

use super::{Event, World};
use crate::byzantine::Byzantine;
use crate::check::{Checker, Standing};
use crate::client::Clients;
use crate::config::{Config, PRECISION_MS};
use crate::fault::{Fault, FaultCounts};
use crate::flood::{Strangers, Watch};
use crate::links::Links;
use crate::node::Node;
use crate::stakes::{EPOCH_BLOCKS, Members, Stakes};
use crate::trace::Trace;
use crate::weather::Weather;
use alloy_primitives::{Address, keccak256};
use bttc_engine::EngineConfig;
use bttc_genesis::{ChainSpec, GenesisValidator, Preset};
use bttc_types::SecretKey;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

/// A node's consensus key.
fn key(index: usize) -> SecretKey {
    let seed = keccak256([b"bttc simulation key".as_slice(), &(index as u64).to_be_bytes()].concat());
    #[allow(clippy::expect_used)] // A hash is below the group order but for one in 2^128.
    SecretKey::from_bytes(&seed.0).expect("a valid key")
}

impl World {
    /// A world before its first moment.
    pub fn new(config: Config) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let mut liars = draw_liars(&config, &mut rng);
        if let Some(follower) = config.follower {
            liars[follower] = false;
        }
        let mut keys: Vec<SecretKey> = (0..config.nodes).map(key).collect();
        let twins = draw_twins(&config, &mut liars, &mut rng);
        if let Some((first, second)) = twins {
            keys[second] = keys[first].clone();
        }
        let addresses: Vec<Address> = keys.iter().map(SecretKey::address).collect();
        let follower = config.follower.map(|index| addresses[index]);
        let percent = config.byzantine_percent;
        let changing = config.faults.has(Fault::SetChange) && percent.is_none();
        let members = Members { keys: &addresses, byzantine: &liars, percent, follower, changing };
        // Reported liars leave the set: most runs keep them.
        let reports = changing && rng.random_bool(0.3);
        let (stakes, validators) = Stakes::draw(members, reports, &mut rng);
        let honest = liars.iter().all(|liar| !liar);
        let spec = Arc::new(chain_spec(&config, validators, &stakes, honest));
        let links = Links::new(config.nodes, config.topology, &mut rng);
        let mut nodes: Vec<Node> =
            keys.into_iter().zip(&liars).enumerate().map(|(index, (key, liar))| Node::new(index, key, *liar)).collect();
        for node in &mut nodes {
            node.twin = twins.is_some_and(|(first, second)| [first, second].contains(&node.index));
            if let Some(flood) = config.flood {
                node.pool_transactions = flood.pool_transactions();
            }
            let lies = config.flood.is_some() || !config.faults.among(Fault::BYZANTINE).is_empty();
            if node.liar && !node.twin && lies {
                // Where each begins with what it signs, no two say the same.
                node.byzantine = Some(Byzantine { serial: (node.index as u64) << 32, ..Byzantine::default() });
            }
        }
        let genesis = {
            let store = bttc_state::StateStore::open(
                Arc::new(bttc_state::MemoryStore::new()),
                bttc_state::StoreOptions::default(),
            );
            store.ok().and_then(|store| bttc_executor::Executor::open(Arc::new(store), Arc::clone(&spec)).ok())
        };
        #[allow(clippy::expect_used)] // A drawn specification is valid, and memory does not fail.
        let domain = genesis.expect("the genesis block can be built").domain().clone();
        let liars: BTreeSet<Address> = nodes.iter().filter(|node| node.liar).map(|node| node.key.address()).collect();
        #[allow(clippy::expect_used)] // The specification was validated.
        let genesis_set = spec.genesis_set().expect("a valid set");
        let checker = Checker::new(genesis_set, domain.clone(), liars, &config);
        let clients = Clients::new(spec.chain_id(), spec.bttc.params.min_base_fee, config.transaction_bytes);
        let mut world = Self {
            rng,
            now: 0,
            sequence: 0,
            events: BinaryHeap::new(),
            waiting: HashMap::new(),
            nodes,
            links,
            checker,
            stakes,
            faults: FaultCounts::default(),
            trace: Trace::default(),
            clients,
            spec,
            weather: Weather::default(),
            proposed_at: HashMap::new(),
            finality: Vec::new(),
            messages: 0,
            extra_rounds: 0,
            accused: BTreeSet::new(),
            connecting: BTreeSet::new(),
            jailed: BTreeMap::new(),
            tombstoned: BTreeSet::new(),
            jailings: 0,
            members: addresses.clone(),
            domain,
            plan: None,
            standing: Standing::default(),
            strangers: Strangers::default(),
            watch: Watch::default(),
            held: None,
            config,
        };
        world.slow_one();
        world.links.limit(world.config.bandwidth);
        for index in 0..world.nodes.len() {
            world.at(0, Event::Start(index));
        }
        world.at(10_000, Event::Weather);
        world.at(200_000, Event::Clients);
        if world.config.flood.is_some() {
            world.at(crate::flood::BEGINS_US, Event::Flood);
        }
        world
    }

    /// The engine's times: short ones, as in a local network, but wide enough for the world's longest links.
    pub(crate) fn engine_config(&self) -> EngineConfig {
        EngineConfig {
            target_block_time_ms: self.config.target_block_time_ms,
            empty_block_interval_ms: self.config.empty_block_interval_ms(),
            precision_ms: PRECISION_MS,
            message_delay_ms: 1_000,
            propose_timeout_ms: self.config.propose_timeout_ms,
            vote_timeout_ms: 500,
            timeout_delta_ms: 250,
            rebroadcast_ms: 1_000,
            listen_ms: 3_000,
            sync_timeout_ms: 3_000,
        }
    }

    /// Where the pace of heights is at stake, one honest validator is 200 ms further away than its place on the map.
    fn slow_one(&mut self) {
        if self.config.is_steady()
            && let Some(slow) = self.nodes.iter().position(|node| !node.liar)
        {
            self.slow_down(slow, 200_000);
        }
    }
}

/// Which nodes are liars: any number up to what a third of the nodes allows.
fn draw_liars(config: &Config, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let mut liars = vec![false; config.nodes];
    if let Some(flood) = config.flood {
        liars[rng.random_range(0..config.nodes)] = flood.by_a_member();
        return liars;
    }
    let wanted = config.faults.has(Fault::Twin) || !config.faults.among(Fault::BYZANTINE).is_empty();
    if wanted || config.byzantine_percent.is_some() {
        let most = (config.nodes - 1) / 3;
        let count = match config.byzantine_percent {
            Some(percent) => (config.nodes * percent as usize / 100).max(1),
            // A run without liars leaves the faults of disks more room.
            None if rng.random_bool(0.2) => 0,
            None => rng.random_range(1..=most.max(1)).min(most),
        };
        let mut order: Vec<usize> = (0..config.nodes).collect();
        order.shuffle(rng);
        for index in order.into_iter().take(count) {
            liars[index] = true;
        }
    }
    liars
}

/// Two nodes with one key: two of the liars, or a lone liar and a node that becomes one. They hold the power of one.
fn draw_twins(config: &Config, liars: &mut [bool], rng: &mut ChaCha8Rng) -> Option<(usize, usize)> {
    if !config.faults.has(Fault::Twin) || config.byzantine_percent.is_some() || !rng.random_bool(0.5) {
        return None;
    }
    let list: Vec<usize> = (0..config.nodes).filter(|index| liars[*index]).collect();
    match list.as_slice() {
        [] => None,
        [only] => {
            let other = (only + 1) % config.nodes;
            liars[other] = true;
            Some((*only, other))
        }
        [first, .., last] => Some((*first, *last)),
    }
}

fn chain_spec(config: &Config, validators: Vec<GenesisValidator>, stakes: &Stakes, honest: bool) -> ChainSpec {
    #[allow(clippy::expect_used)] // A network with one validator of the preset's kind is valid.
    let mut spec = ChainSpec::new(
        Preset::Local,
        1_699_999_000,
        vec![GenesisValidator {
            address: Address::repeat_byte(1),
            owner: Address::repeat_byte(1),
            power: 1_000,
            bridge: None,
        }],
    )
    .expect("a valid specification");
    let params = &mut spec.bttc.params;
    params.epoch_blocks = EPOCH_BLOCKS;
    params.max_validators = config.nodes.max(10) as u64 + 1;
    params.target_block_time_ms = config.target_block_time_ms;
    params.empty_block_interval_ms = config.empty_block_interval_ms();
    params.message_delay_ms = 1_000;
    params.power_unit = 1;
    params.min_self_stake = 1;
    params.unbonding_seconds = 60;
    params.downtime_window = 40;
    params.downtime_jail_seconds = 5;
    // Where somebody lies, jail for downtime could give the liars a third.
    params.min_active_validators = if honest { 3 } else { params.max_validators - 1 };
    spec.bttc.validators = validators;
    stakes.fund(&mut spec);
    crate::flood::fund(&mut spec);
    #[allow(clippy::expect_used)]
    spec.validate().expect("a valid specification");
    spec
}
