//! Other people's tools, unmodified, against a network of four: viem, ethers and cast (`check.mjs`, `traces.mjs`), web3.py, forge, hardhat,
//! Ponder, OpenZeppelin's and Uniswap's contracts, anvil's traces of the same transactions; the native modules through their ABI files
//! alone (`staking.mjs`); the bridge with viem and tronweb (`bridge*.mjs`); viem's test client on `bttc dev`.

#[path = "../networks/harness.rs"]
#[allow(dead_code)]
mod harness;

use bttc_genesis::Preset;
use harness::Devnet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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

/// Exchanges of the execution-apis that this node does not repeat, with the reason.
const OTHERWISE: [(&str, &str); 6] = [
    ("eth_sendRawTransaction/send-blob-tx", "the pool has no place for blobs"),
    ("eth_simulateV1/ethSimulate-use-as-many-features-as-possible", "counts logs across blocks, against the schema"),
    ("testing_buildBlockV1/build-block-empty-transactions", "blocks are built by consensus"),
    ("testing_buildBlockV1/build-block-from-mempool", "blocks are built by consensus"),
    ("testing_buildBlockV1/build-block-invalid-transaction", "blocks are built by consensus"),
    ("testing_buildBlockV1/build-block-with-transactions", "blocks are built by consensus"),
];

/// The chain of the execution-apis, imported and served, answers as other nodes did.
#[test]
fn recorded_exchanges_are_repeated_on_the_imported_chain() {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    let shared = clients.join("../../../shared/conformance/execution_apis");
    let python = clients.join(".venv/bin/python");
    if !shared.exists() || !python.exists() {
        println!("skipped: {} or the check's libraries are not here", shared.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    let tar = tar.arg("xJf").arg(shared.join("tests.tar.xz")).arg("-C").arg(folder.path());
    assert!(tar.status().unwrap().success());
    let tests = folder.path().join("tests");
    let (genesis, chain) = (tests.join("genesis.json"), tests.join("chain.rlp"));
    let (_node, line, url) = dev(&["--import-chain".as_ref(), genesis.as_ref(), chain.as_ref()]);
    assert!(line.contains("up to block 54"), "{line}");
    let mut check = Command::new(python);
    check.arg(shared.join("rpc_io_check.py")).args(["-v", "--rpc", &url, "--tests"]).arg(&tests);
    let output = check.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let failed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("FAIL ")?.split(' ').next()).collect();
    let expected: Vec<&str> = OTHERWISE.iter().map(|(name, _)| *name).collect();
    assert_eq!(failed, expected, "{text}");
    assert!(text.contains("226 passed, 6 failed"), "{text}");
}

#[test]
fn unmodified_wallet_libraries_work_against_four_validators() {
    run(&["check.mjs", "traces.mjs"], "");
}

#[test]
fn every_method_and_subscription_says_the_same_of_a_block_right_after_finality_under_load() {
    run(&["consistency.mjs"], "");
}

#[test]
fn contracts_of_others_work_as_on_ethereum() {
    run(&["contracts.mjs", "uniswap.mjs", "predeploys.mjs"], "");
}

#[test]
fn developers_tools_work_against_four_validators() {
    run(&["hardhat.mjs", "forge.mjs"], "");
}

#[test]
fn an_indexer_follows_the_chain() {
    run(&["ponder.mjs"], "");
}

#[test]
fn web3_py_works_against_four_validators() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/.venv/bin/python");
    if !python.exists() {
        println!("skipped: no {}; scripts/test makes it", python.display());
        return;
    }
    run(&["web3py.mjs"], "");
}

/// In full with `BTTC_ANVIL_TRANSACTIONS=1000`.
#[test]
fn receipts_and_traces_equal_those_of_anvil_for_the_same_transactions() {
    let count = std::env::var("BTTC_ANVIL_TRANSACTIONS").unwrap_or_else(|_| "120".into());
    if let Some(folder) = clients() {
        let devnet = Devnet::start(4, "");
        execute(&folder, "anvil.mjs", &[&count], &devnet);
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts `bttc dev` on a free port: the process, its first line, and the address of its RPC.
fn dev(arguments: &[&OsStr]) -> (Running, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bttc"));
    let command = command.args(["dev", "--rpc", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped());
    let mut node = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    (node, line, url)
}

#[test]
fn a_developers_chain_does_what_their_tools_expect() {
    let Some(folder) = clients() else { return };
    let (_node, _, url) = dev(&[]);
    let output = Command::new("node").arg("dev.mjs").arg(url).current_dir(folder).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    println!("{text}");
}

#[test]
fn the_native_modules_work_with_their_abi_files_alone() {
    // Ten minutes of unbonding and blocks every two seconds would be a long test.
    run(&["staking.mjs"], "--param unbondingSeconds=20 --param emptyBlockIntervalMs=200");
}
