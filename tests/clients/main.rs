//! viem, ethers and cast against a network of four (see `check.mjs`), and the native modules through their ABI files alone
//! (see `staking.mjs`); the bridge with viem and tronweb (`bridge*.mjs`).

#[path = "../networks/harness.rs"]
#[allow(dead_code)]
mod harness;

use harness::Devnet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a script against a new network of four.
fn run(script: &str, genesis_flags: &str) {
    if let Some(folder) = clients() {
        execute(&folder, script, &[], &Devnet::start(4, genesis_flags));
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

#[test]
fn unmodified_wallet_libraries_work_against_four_validators() {
    run("check.mjs", "");
}

#[test]
fn the_native_modules_work_with_their_abi_files_alone() {
    // Ten minutes of unbonding and blocks every two seconds would be a long test.
    run("staking.mjs", "--param unbondingSeconds=20 --param emptyBlockIntervalMs=200");
}
