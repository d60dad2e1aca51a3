//! What the suites of Ethereum's own tests share: reading, unpacking, drawing.

use alloy_primitives::{Address, Bytes, U256};
use bttc_genesis::{BlobSchedule, EthereumRules, EvmFork, Rules};
use bttc_state::{
    Account, AccountChange, BlockRecord, EMPTY_CODE_HASH, MemoryStore, StateDiff, StateStore, StoreOptions,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn number(value: &Value) -> U256 {
    value.as_str().map_or(U256::ZERO, |text| text.parse().unwrap())
}

pub(crate) fn small(value: &Value) -> u64 {
    number(value).to()
}

pub(crate) fn genesis_state(pre: &Value) -> StateDiff {
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
pub(crate) fn store_with(state: &StateDiff, header: &alloy_consensus::Header) -> StateStore {
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
    let prepared = store.prepare(0, state).unwrap();
    let record = BlockRecord {
        header,
        hash: header.hash_slow(),
        block: &[],
        receipts: &[],
        senders: &[],
        transactions: &[],
        certificate: None,
        events: &[],
    };
    store.commit(record, prepared, false).unwrap();
    store
}

/// Osaka with a test's blob schedule.
pub(crate) fn rules(test: &Value) -> Rules {
    let schedule = &test["config"]["blobSchedule"]["Osaka"];
    let blobs = BlobSchedule {
        target: small(&schedule["target"]),
        max: small(&schedule["max"]),
        update_fraction: small(&schedule["baseFeeUpdateFraction"]),
    };
    Rules::Ethereum(EthereumRules {
        by_height: vec![],
        by_time: vec![(0, EvmFork::Osaka)],
        blobs: BTreeMap::from([(0, blobs)]),
        ..EthereumRules::default()
    })
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

/// Unpacks an archive of the conformance material. Says so when it is not there.
pub(crate) fn unpack(archive: &str) -> Option<tempfile::TempDir> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance").join(archive);
    if !shared.exists() {
        println!("skipped: {} is not here", shared.display());
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut tar = std::process::Command::new("tar");
    assert!(tar.arg("xJf").arg(&shared).arg("-C").arg(folder.path()).status().expect("tar runs").success());
    Some(folder)
}

/// Runs a seeded selection of 300 tests of a suite with at least one from every folder, or all with `EEST_ALL=1`; `EEST_SEED` repeats
/// a selection. The suite is an archive of the conformance material, or all tests below the folder that the variable `folder` names.
pub(crate) fn run_suite(archive: &str, folder: &str, run: impl Fn(&Value) -> Result<(), String> + Sync) {
    let given = std::env::var_os(folder).map(PathBuf::from);
    let unpacked = if given.is_some() { None } else { unpack(&format!("eest/{archive}")) };
    let Some(place) = given.clone().or_else(|| unpacked.as_ref().map(|folder| folder.path().to_owned())) else {
        return;
    };
    let mut all = Vec::new();
    files(&place, &mut all);
    all.sort();
    assert!(!all.is_empty(), "{} has no tests", place.display());
    let seed = std::env::var("EEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs());
    println!("{}, seed {seed}: EEST_SEED={seed} repeats this selection", place.display());
    let mut random = Random(seed);
    let mut chosen: Vec<(PathBuf, Option<u64>)> = Vec::new();
    if given.is_some() || std::env::var("EEST_ALL").is_ok() {
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
    let results: Vec<(usize, Vec<String>)> =
        chosen.par_iter().map(|(path, only)| run_file(path, *only, &run)).collect();
    let count: usize = results.iter().map(|(count, _)| count).sum();
    let failures: Vec<String> = results.into_iter().flat_map(|(_, failures)| failures).collect();
    println!("{count} tests, {} failed", failures.len());
    assert!(count >= 300 || given.is_some());
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
}

/// Runs every test of a file, or one drawn from it; returns how many ran and what failed.
fn run_file(
    path: &Path,
    only: Option<u64>,
    run: &(impl Fn(&Value) -> Result<(), String> + Sync),
) -> (usize, Vec<String>) {
    let content: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let tests = content.as_object().unwrap();
    let chosen = only.map(|number| (number % tests.len() as u64) as usize);
    let mut failures = Vec::new();
    let mut count = 0;
    for (index, (name, test)) in tests.iter().enumerate() {
        if chosen.is_none_or(|chosen| chosen == index) {
            count += 1;
            if let Err(reason) = run(test) {
                failures.push(format!("{name}: {reason}"));
            }
        }
    }
    (count, failures)
}
