//! Ethereum's own state tests through our transaction path and our trie.
//!
//! A seeded selection of 300 tests with at least one from every folder; `EEST_SEED` repeats a selection and `EEST_ALL=1`
//! runs every test. Without the material beside the checkout the test says so and ends.

use alloy_primitives::{Address, B256, Bytes, U256};
use bttc_executor::{CodeCache, EvmInput, ethereum};
use bttc_genesis::{BlobSchedule, EthereumRules, EvmFork, Rules};
use bttc_state::{
    Account, AccountChange, BlockRecord, EMPTY_CODE_HASH, MemoryStore, StateDiff, StateStore, StoreOptions,
};
use bttc_types::RecoveredTransaction;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn number(value: &Value) -> U256 {
    value.as_str().map_or(U256::ZERO, |text| text.parse().unwrap())
}

fn small(value: &Value) -> u64 {
    number(value).to()
}

fn genesis_state(pre: &Value) -> StateDiff {
    let mut diff = StateDiff::default();
    for (address, entry) in pre.as_object().unwrap() {
        let code: Bytes = entry["code"].as_str().unwrap().parse().unwrap();
        let code_hash = if code.is_empty() { EMPTY_CODE_HASH } else { alloy_primitives::keccak256(&code) };
        if !code.is_empty() {
            diff.code.insert(code_hash, code);
        }
        let storage = entry["storage"].as_object().unwrap();
        let account = Account {
            nonce: small(&entry["nonce"]),
            balance: number(&entry["balance"]),
            code_hash,
            ..Account::default()
        };
        let change = AccountChange {
            account: Some(account),
            wiped: false,
            storage: storage.iter().map(|(slot, value)| (slot.parse().unwrap(), number(value))).collect(),
        };
        diff.accounts.insert(address.parse::<Address>().unwrap(), change);
    }
    diff
}

/// A store with `state` as its genesis.
fn store_with(state: &StateDiff) -> StateStore {
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
    let prepared = store.prepare(0, state).unwrap();
    let header = alloy_consensus::Header { state_root: prepared.root(), ..Default::default() };
    let record = BlockRecord {
        header: &header,
        hash: header.hash_slow(),
        block: &[],
        receipts: &[],
        senders: &[],
        transactions: &[],
        certificate: None,
    };
    store.commit(record, prepared, false).unwrap();
    store
}

/// Runs one test; the error says what differs.
fn run(test: &Value) -> Result<usize, String> {
    let env = &test["env"];
    let base = genesis_state(&test["pre"]);
    let schedule = &test["config"]["blobSchedule"]["Osaka"];
    let blobs = BlobSchedule {
        target: small(&schedule["target"]),
        max: small(&schedule["max"]),
        update_fraction: small(&schedule["baseFeeUpdateFraction"]),
    };
    let rules = Rules::Ethereum(EthereumRules {
        by_height: vec![],
        by_time: vec![(0, EvmFork::Osaka)],
        blobs: BTreeMap::from([(0, blobs)]),
    });
    let chain_id = small(&test["config"]["chainid"]);
    let mut entries = 0;
    for entry in test["post"]["Osaka"].as_array().ok_or("no Osaka expectation")? {
        entries += 1;
        let store = store_with(&base);
        let input = EvmInput {
            number: small(&env["currentNumber"]),
            timestamp: small(&env["currentTimestamp"]),
            beneficiary: env["currentCoinbase"].as_str().unwrap().parse().unwrap(),
            gas_limit: small(&env["currentGasLimit"]),
            base_fee: small(&env["currentBaseFee"]),
            prev_randao: B256::from(number(&env["currentRandom"])),
            difficulty: U256::ZERO,
            excess_blob_gas: small(&env["currentExcessBlobGas"]),
        };
        let expected_root: B256 = entry["hash"].as_str().unwrap().parse().unwrap();
        let expected_logs: B256 = entry["logs"].as_str().unwrap().parse().unwrap();
        let must_fail = entry.get("expectException").is_some();
        let bytes: Bytes = entry["txbytes"].as_str().unwrap().parse().unwrap();
        let outcome = match RecoveredTransaction::decode(&bytes) {
            Err(error) if must_fail => {
                let _ = error;
                continue;
            }
            Err(error) => return Err(format!("the transaction does not decode: {error}")),
            Ok(transaction) => {
                ethereum::execute_single(&store, input, &rules, chain_id, &CodeCache::new(64), &transaction)
                    .map_err(|error| error.to_string())?
            }
        };
        match (&outcome.refused, must_fail) {
            (Some(reason), false) => return Err(format!("refused: {reason}")),
            (None, true) => return Err(format!("executed, expected {}", entry["expectException"])),
            (Some(_), true) | (None, false) => {}
        }
        let root = store.prepare(1, &outcome.diff).map_err(|error| error.to_string())?.root();
        if root != expected_root {
            return Err(format!("state root {root}, expected {expected_root}"));
        }
        if outcome.logs_hash != expected_logs {
            return Err(format!("logs {}, expected {expected_logs}", outcome.logs_hash));
        }
    }
    Ok(entries)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
}

/// SplitMix64: the same seed gives the same selection on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % limit as u64) as usize
    }
}

/// Runs every test of a file, or one drawn from it; returns how many ran and what failed.
fn run_file(path: &Path, only: Option<u64>) -> (usize, Vec<String>) {
    let content: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let tests = content.as_object().unwrap();
    let chosen = only.map(|number| (number % tests.len() as u64) as usize);
    let mut failures = Vec::new();
    let mut count = 0;
    for (index, (name, test)) in tests.iter().enumerate() {
        if chosen.is_some_and(|chosen| chosen != index) {
            continue;
        }
        count += 1;
        if let Err(reason) = run(test) {
            failures.push(format!("{name}: {reason}"));
        }
    }
    (count, failures)
}

#[test]
fn ethereum_state_tests_give_the_expected_roots_and_logs() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/eest/state_tests.tar.xz");
    if !shared.exists() {
        println!("skipped: {} is not here", shared.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unpacked = std::process::Command::new("tar")
        .arg("xJf")
        .arg(&shared)
        .arg("-C")
        .arg(folder.path())
        .status()
        .expect("tar runs");
    assert!(unpacked.success());
    let mut all = Vec::new();
    files(folder.path(), &mut all);
    all.sort();

    let everything = std::env::var("EEST_ALL").is_ok();
    let seed = std::env::var("EEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs());
    println!("seed {seed}: EEST_SEED={seed} repeats this selection");
    let mut random = Random(seed);
    let mut chosen: Vec<(PathBuf, Option<u64>)> = Vec::new();
    if everything {
        chosen.extend(all.iter().map(|path| (path.clone(), None)));
    } else {
        let mut by_folder: BTreeMap<&Path, Vec<&PathBuf>> = BTreeMap::new();
        for path in &all {
            by_folder.entry(path.parent().unwrap()).or_default().push(path);
        }
        for paths in by_folder.values() {
            chosen.push((paths[random.below(paths.len())].clone(), Some(random.below(1 << 30) as u64)));
        }
        while chosen.len() < 300 {
            chosen.push((all[random.below(all.len())].clone(), Some(random.below(1 << 30) as u64)));
        }
    }
    use rayon::prelude::*;
    let results: Vec<(usize, Vec<String>)> = chosen.par_iter().map(|(path, only)| run_file(path, *only)).collect();
    let count: usize = results.iter().map(|(count, _)| count).sum();
    let failures: Vec<String> = results.into_iter().flat_map(|(_, failures)| failures).collect();
    println!("{count} tests, {} failed", failures.len());
    assert!(count >= 300);
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
}
