//! What a block's hooks and a claim cost as the number of delegators grows: reads and writes of state, which must not grow,
//! and time.
//!
//! `cargo bench -p bttc-modules` prints the table and fails when the accesses grow.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolCall;
use bttc_genesis::{BTT, ChainSpec, GenesisValidator, Preset, STAKING_ADDRESS};
use bttc_modules::hooks::{LastCommit, begin_block, end_block};
use bttc_modules::interfaces::IStaking;
use bttc_modules::{Call, MemoryHost, call, staking};
use std::time::{Duration, Instant};

const VALIDATORS: u8 = 50;
/// Two epochs and more are measured, with payments, sets and a slash for downtime among them.
const BLOCKS: u64 = 50;

/// Accesses to state, and time.
#[derive(Clone, Copy, Default)]
struct Cost {
    accesses: u64,
    time: Duration,
}

fn measured(host: &mut MemoryHost, work: impl FnOnce(&mut MemoryHost)) -> Cost {
    let (before, start) = (host.accesses, Instant::now());
    work(host);
    Cost { accesses: host.accesses - before, time: start.elapsed() }
}

fn send(host: &mut MemoryHost, caller: Address, value: u128, request: &impl SolCall) {
    *host.balances.entry(STAKING_ADDRESS).or_default() += U256::from(value);
    let input = request.abi_encode();
    call(STAKING_ADDRESS, &Call { caller, value: U256::from(value), input: &input }, host).expect("the call is good");
}

fn block(host: &mut MemoryHost) {
    host.env.parent_time_ms = host.env.time_ms;
    host.env.height += 1;
    host.env.time_ms += 500;
    let signed = host.env.epoch_of(host.env.height - 1);
    let set = staking::members(host, signed).unwrap();
    // One is always away.
    let signers = (0u16..).zip(&set).filter(|(_, member)| member.id != 7).map(|(index, _)| index).collect();
    let proposer = set.first().map(|member| member.key).unwrap_or_default();
    begin_block(host, &LastCommit { signers, proposer }).unwrap();
    end_block(host, U256::from(1_000_000u64)).unwrap();
}

fn run(delegators: u32) -> [Cost; 3] {
    let validators = (1..=VALIDATORS)
        .map(|index| GenesisValidator {
            address: Address::with_last_byte(index),
            owner: Address::repeat_byte(index),
            power: 1_000,
            bridge: None,
        })
        .collect();
    let mut spec = network(validators);
    spec.bttc.params.downtime_window = 20;
    let mut host = bttc_modules::genesis::genesis_state(&spec).unwrap();
    host.env = bttc_modules::genesis::environment(&spec, B256::repeat_byte(9));
    block(&mut host);
    let account = |index: u32| Address::from_word(keccak256(index.to_be_bytes()));
    for index in 0..delegators {
        let id = index % u32::from(VALIDATORS) + 1;
        send(&mut host, account(index), 1_000 * BTT, &IStaking::delegateCall { id });
    }
    let blocks = measured(&mut host, |host| (0..BLOCKS).for_each(|_| block(host)));
    let claim = measured(&mut host, |host| send(host, account(0), 0, &IStaking::claimRewardsCall { id: 1 }));
    let leave = measured(&mut host, |host| {
        send(host, account(0), 0, &IStaking::undelegateCall { id: 1, amount: U256::MAX });
    });
    [blocks, claim, leave]
}

/// More validators than the preset's table allows at first.
fn network(validators: Vec<GenesisValidator>) -> ChainSpec {
    let mut spec = ChainSpec::new(Preset::Local, 1_700_000_000, validators.iter().copied().take(10).collect()).unwrap();
    spec.bttc.params.max_validators = u64::from(VALIDATORS);
    spec.bttc.validators = validators;
    spec.validate().unwrap();
    spec
}

fn main() {
    println!(
        "{:>10}  {:>18}  {:>12}  {:>14}  {:>18}",
        "delegators", "accesses a block", "us a block", "accesses/claim", "accesses/undelegate"
    );
    let mut first: Option<[u64; 3]> = None;
    for delegators in [100, 1_000, 10_000, 100_000] {
        let costs = run(delegators);
        let [blocks, claim, leave] = costs;
        println!(
            "{delegators:>10}  {:>18.1}  {:>12.1}  {:>14}  {:>18}",
            blocks.accesses as f64 / BLOCKS as f64,
            blocks.time.as_secs_f64() * 1e6 / BLOCKS as f64,
            claim.accesses,
            leave.accesses
        );
        let accesses = costs.map(|cost| cost.accesses);
        assert_eq!(*first.get_or_insert(accesses), accesses, "the work grows with the delegators");
    }
}
