//! A network of each preset, made with flags only: nothing in a file is edited, and blocks become final on the preset's own parameters.

use crate::cluster::{Cluster, Plan, run};
use crate::harness::{call, height, quantity, transfer_on, until};
use crate::joining::client_height;
use alloy_primitives::{Address, U256};
use bttc_genesis::{ChainSpec, DEV_KEYS, Preset};
use serde_json::json;
use std::process::Command;

/// Coins of the account that sends a transaction, BTT.
const FUND: u64 = 1_000;

async fn finalizes(preset: Preset, validators: usize, genesis: &[&str]) {
    let (account, key) = DEV_KEYS[0];
    let fund = format!("{account}={FUND}");
    let mut flags = genesis.to_vec();
    if preset != Preset::Local {
        flags.extend(["--fund", fund.as_str()]);
    }
    let mut cluster = Cluster::new(&Plan { preset: Some(preset), validators, genesis: &flags, ..Plan::default() });
    let said = run(Command::new(env!("CARGO_BIN_EXE_bttc")).args(["genesis", "validate"]).arg(cluster.genesis()));
    assert!(said.contains("valid: chain id"), "{said}");
    let spec = ChainSpec::from_json(&std::fs::read_to_string(cluster.genesis()).unwrap()).unwrap();
    assert_eq!((spec.bttc.preset, spec.bttc.params), (preset, preset.params()));
    for figure in [spec.supply_figures().unwrap().issued, spec.supply_figures().unwrap().tron_supply] {
        assert!(said.contains(&bttc_genesis::format_btt(figure)), "{said}");
    }

    cluster.start_all();
    let client = cluster.members[0].client();
    until("it answers", 60, async || client_height(&client).await.is_some()).await;
    // The second block after a transaction comes when the empty-block interval is over.
    let fee = u128::from(preset.params().min_base_fee) * 2;
    let (hash, raw) = transfer_on(preset.chain_id(), fee, &key, 0, Address::repeat_byte(0x66), 7);
    until("blocks", 90, async || height(&client).await >= 1).await;
    assert_eq!(call(&client, "eth_sendRawTransaction", json!([raw])).await, json!(hash));
    until("the transaction is final", 60, async || {
        !call(&client, "eth_getTransactionReceipt", json!([hash])).await.is_null()
    })
    .await;
    until("all nodes are there", 60, async || {
        for member in &cluster.members {
            if client_height(&member.client()).await.is_none_or(|height| height < 3) {
                return false;
            }
        }
        true
    })
    .await;
    let block = call(&client, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(quantity(&block["gasLimit"]), preset.params().gas_limit);
    assert!(quantity(&block["baseFeePerGas"]) >= preset.params().min_base_fee);
    assert_eq!(quantity(&call(&client, "eth_chainId", json!([])).await), preset.chain_id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_network_is_made_with_flags_only() {
    finalizes(Preset::Local, 4, &[]).await;
}

/// As many as the bridge's gateways need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_network_is_made_with_flags_only() {
    finalizes(Preset::Donau, 5, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_main_network_is_made_with_flags_only() {
    let flags = ["--reward-pool", "1_000_000_000", "--supply", "990_000_000_000_000"];
    finalizes(Preset::Mainnet, 5, &flags).await;
}

#[test]
fn a_supply_that_does_not_suffice_is_refused_with_the_flag_that_helps() {
    let new = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bttc"));
        let key = |number: u8| Address::with_last_byte(number);
        let validator = format!("{}:{}:1000000", key(1), key(1));
        command.args(["genesis", "new", "--preset", "mainnet", "--validator", &validator]).args(flags);
        command.output().unwrap()
    };
    let output = new(&["--supply", "5"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--supply 1,000,000,000,000 BTT or more"), "{said}");
    let output = new(&["--tron-locked", "5"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--tron-locked 1,000,000,000,000 BTT or more"), "{said}");
    let output = new(&["--reward-pool", "3"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for figure in ["accounts", "reward pool", "3 BTT", "locked on TRON", "1,000,000,000,003 BTT"] {
        assert!(said.contains(figure), "{said}");
    }
    let spec = ChainSpec::from_json(&String::from_utf8_lossy(&output.stdout)).unwrap();
    assert_eq!(spec.bttc.supply.tron_locked, U256::from(1_000_000_000_003u64) * U256::from(bttc_genesis::BTT));
}
