//! Calls of native modules with any input, by several accounts, with blocks in between: whatever is asked, nothing panics, no
//! invariant breaks and no coin is made or lost.
#![no_main]

use alloy_primitives::{Address, B256, U256};
use bttc_genesis::{BTT, BTT_ADDRESS, GOVERNANCE_ADDRESS, REWARDS_ADDRESS, STAKING_ADDRESS};
use bttc_modules::hooks::{LastCommit, begin_block, end_block};
use bttc_modules::{Call, Fault, MemoryHost, call, check_invariants, staking};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const MODULES: [Address; 4] = [STAKING_ADDRESS, GOVERNANCE_ADDRESS, REWARDS_ADDRESS, BTT_ADDRESS];
const ACCOUNTS: u8 = 4;
const BALANCE: u64 = 10_000_000;

fn account(index: u8) -> Address {
    // The validator's owner is one of them.
    if index == 0 { bttc_fuzz::key().address() } else { Address::with_last_byte(index) }
}

static GENESIS: LazyLock<MemoryHost> = LazyLock::new(|| {
    let spec = bttc_fuzz::spec();
    let mut host = bttc_modules::genesis::genesis_state(&spec).expect("a valid specification");
    host.env = bttc_modules::genesis::environment(&spec, B256::repeat_byte(9));
    for index in 0..ACCOUNTS {
        host.balances.insert(account(index), U256::from(BALANCE) * U256::from(BTT));
    }
    block(&mut host);
    host
});

fn block(host: &mut MemoryHost) {
    host.env.parent_time_ms = host.env.time_ms;
    host.env.height += 1;
    host.env.time_ms += 60_000;
    let signed = host.env.epoch_of(host.env.height - 1);
    let set = staking::members(host, signed).expect("memory reads");
    let signers = (0..set.len() as u16).collect();
    let proposer = set.first().map(|member| member.key).unwrap_or_default();
    begin_block(host, &LastCommit { signers, proposer }).expect("the hooks hold");
    end_block(host, U256::from(1_000u64)).expect("the hooks hold");
}

/// Coins of all accounts and counters; the fees that the hooks are told of come from nowhere.
fn coins(host: &mut MemoryHost) -> U256 {
    let mut sum = host.balances.values().fold(U256::ZERO, |sum, balance| sum + *balance);
    let rewards = bttc_modules::rewards::rewards();
    sum += rewards.pool().get(host).expect("memory reads") + rewards.outstanding().get(host).expect("memory reads");
    sum - U256::from(host.env.height * 1_000)
}

fn supply_of(host: &mut MemoryHost) -> U256 {
    bttc_modules::btt::btt().supply().get(host).expect("memory reads")
}

fuzz_target!(|bytes: &[u8]| {
    let mut host = GENESIS.clone();
    let before = coins(&mut host);
    let supply = supply_of(&mut host);
    let mut rest = bytes;
    let mut calls = 0;
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        calls += 1;
        if calls > 32 {
            break;
        }
        let [kind, caller, value, high, low] = *head;
        if kind >= 0xf0 {
            block(&mut host);
            rest = tail;
            continue;
        }
        let length = usize::from(u16::from_be_bytes([high, low])).min(tail.len());
        let (input, after) = tail.split_at(length);
        rest = after;
        let (module, caller) = (MODULES[usize::from(kind % 4)], account(caller % ACCOUNTS));
        // Nothing, or from one BTT to more than anybody has.
        let value = U256::from(if value == 0 { 0 } else { BTT << (value % 32) });
        let balance = host.balances.get(&caller).copied().unwrap_or_default();
        let Some(left) = balance.checked_sub(value) else { continue };
        let saved = host.clone();
        host.balances.insert(caller, left);
        *host.balances.entry(module).or_default() += value;
        match call(module, &Call { caller, value, input }, &mut host) {
            Ok(_) => {}
            Err(Fault::Revert(_) | Fault::OutOfGas) => host = saved,
            Err(fault) => panic!("{fault}"),
        }
    }
    block(&mut host);
    let accounts: Vec<Address> = (0..ACCOUNTS).map(account).collect();
    check_invariants(&mut host, &accounts).expect("the sums hold");
    let burned = supply - supply_of(&mut host);
    assert_eq!(coins(&mut host) + burned, before, "coins");
});
