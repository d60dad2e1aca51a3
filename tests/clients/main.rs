//! viem, ethers and cast against a network of four (see `check.mjs` and `traces.mjs`), and the native modules through their ABI files alone
//! (see `staking.mjs`); the bridge with viem and tronweb (`bridge*.mjs`).

#[path = "../networks/harness.rs"]
#[allow(dead_code)]
mod harness;

use bttc_genesis::Preset;
use harness::Devnet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs scripts, one after the other, against a new network of four.
fn run(scripts: &[&str], genesis_flags: &str) {
    if let Some(folder) = clients() {
        let devnet = Devnet::start(4, genesis_flags);
        for script in scripts {
            execute(&folder, script, &[], &devnet);
        }
    }
}

/// Runs scripts, one after the other, against a new network of four with root chains.
fn run_bridged(scripts: &[(&str, &[&str])]) {
    if let Some(folder) = clients() {
        let devnet = Devnet::bridged();
        for (script, arguments) in scripts {
            execute(&folder, script, arguments, &devnet);
        }
    }
}

/// The folder of the scripts, if their libraries are installed.
fn clients() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    if !folder.join("node_modules").exists() {
        println!("skipped: no client libraries; `npm install` in tests/clients installs them (scripts/test does)");
        return None;
    }
    Some(folder)
}

fn execute(folder: &Path, script: &str, arguments: &[&str], devnet: &Devnet) {
    let mut command = Command::new("node");
    command.arg(script).arg(devnet.file()).args(arguments).current_dir(folder);
    command.env("BTTC_BIN", env!("CARGO_BIN_EXE_bttc"));
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{}", devnet.logs());
    println!("{text}");
}

#[test]
fn tokens_cross_the_bridge_with_each_chains_own_library_and_what_cannot_does_no_harm() {
    run_bridged(&[("bridge.mjs", &[]), ("bridge-cases.mjs", &[])]);
}

#[test]
fn transfers_end_once_whatever_goes_away() {
    run_bridged(&[("bridge-chaos.mjs", &["--transfers", "24"])]);
}

#[test]
fn a_validator_that_attests_falsely_achieves_nothing_and_is_slashed() {
    run_bridged(&[("bridge-liar.mjs", &[])]);
}

/// The schema check of execution-apis' specification, while transfers fill blocks.
#[test]
fn every_answer_has_the_specified_form_also_under_load() {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    let check = clients.join("../../../shared/conformance/rpc_schema_check/rpc_schema_check.py");
    let python = clients.join(".venv/bin/python");
    if !check.exists() || !python.exists() {
        println!("skipped: {} or its libraries are not here", check.display());
        return;
    }
    let devnet = Devnet::start(4, "");
    let text = std::fs::read_to_string(devnet.file()).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let url = file["validators"][0]["rpc"].as_str().unwrap();
    let key = |index: usize| file["accounts"][index]["privateKey"].as_str().unwrap().to_owned();
    let floor = Preset::Local.params().min_base_fee.to_string();
    let mut load = Command::new("node");
    let mut load = load.arg("load.mjs").arg(devnet.file()).arg("9").current_dir(&clients).spawn().unwrap();
    let mut command = Command::new(python);
    command.arg(check).args(["--rpc", url, "--key", &key(0), "--min-base-fee", &floor]);
    let output = command.output().unwrap();
    let ended = load.try_wait().unwrap();
    load.kill().ok();
    load.wait().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{}", devnet.logs());
    assert!(ended.is_none(), "the load ended before the check: {ended:?}");
    println!("{text}");
}

#[test]
fn unmodified_wallet_libraries_work_against_four_validators() {
    run(&["check.mjs", "traces.mjs"], "");
}

#[test]
fn the_native_modules_work_with_their_abi_files_alone() {
    // Ten minutes of unbonding and blocks every two seconds would be a long test.
    run(&["staking.mjs"], "--param unbondingSeconds=20 --param emptyBlockIntervalMs=200");
}
