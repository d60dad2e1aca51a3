//! viem, ethers and cast against a network of four (see `check.mjs`), and the native modules through their ABI files alone
//! (see `staking.mjs`).

#[path = "../networks/harness.rs"]
#[allow(dead_code)]
mod harness;

use harness::Devnet;
use std::path::Path;
use std::process::Command;

/// Runs a script against a new network of four.
fn run(script: &str, genesis_flags: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    if !folder.join("node_modules").exists() {
        println!("skipped: no client libraries; `npm install` in tests/clients installs them (scripts/test does)");
        return;
    }
    let devnet = Devnet::start(4, genesis_flags);
    let mut command = Command::new("node");
    command.arg(script).arg(devnet.file()).env("BTTC_BIN", env!("CARGO_BIN_EXE_bttc")).current_dir(&folder);
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    println!("{text}");
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
