//! viem, ethers and cast against a network of four (see `check.mjs`).

#[path = "../networks/harness.rs"]
#[allow(dead_code)]
mod harness;

use harness::Devnet;
use std::path::Path;
use std::process::Command;

#[test]
fn unmodified_wallet_libraries_work_against_four_validators() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    if !folder.join("node_modules").exists() {
        println!("skipped: no client libraries; `npm install` in tests/clients installs them (scripts/test does)");
        return;
    }
    let devnet = Devnet::start(4, "");
    let output = Command::new("node").arg("check.mjs").arg(devnet.file()).current_dir(&folder).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    println!("{text}");
}
