//! Recorded `eth_simulateV1` exchanges of execution-apis through our simulation: headers (and with them state roots, receipts and
//! transactions) are compared by hash, calls by result, failures by code.

#[allow(dead_code)]
mod eest;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Decodable;
use alloy_rpc_types_eth::simulate::SimulatePayload;
use bttc_executor::CodeCache;
use bttc_executor::ethereum::EthereumBlock;
use bttc_executor::simulate::CallContext;
use bttc_executor::simulate_blocks::{SimulateFailure, SimulatedBlock};
use bttc_executor::watchdog::Budget;
use bttc_genesis::{BlobSchedule, ChainSpec, EthereumRules, EvmFork, GenesisValidator, Preset, Rules};
use bttc_state::{Account, AccountChange, EMPTY_CODE_HASH, StateDiff, StateRead, StateView};
use bttc_types::SecretKey;
use eest::store_with;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The recorded chain's head state, with its block hashes.
struct Recorded<'a> {
    view: &'a StateView<'a>,
    hashes: &'a BTreeMap<u64, B256>,
}

impl StateRead for Recorded<'_> {
    fn account(&self, address: Address) -> Result<Option<Account>, bttc_state::Error> {
        self.view.account(address)
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, bttc_state::Error> {
        self.view.storage(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Option<Bytes>, bttc_state::Error> {
        self.view.code(code_hash)
    }

    fn block_hash(&self, height: u64) -> Result<Option<B256>, bttc_state::Error> {
        Ok(self.hashes.get(&height).copied())
    }
}

fn head_state(dump: &Value) -> StateDiff {
    let mut diff = StateDiff::default();
    for (address, entry) in dump["accounts"].as_object().unwrap() {
        let code: Bytes = entry.get("code").map_or_else(Bytes::new, |code| code.as_str().unwrap().parse().unwrap());
        let code_hash = if code.is_empty() { EMPTY_CODE_HASH } else { alloy_primitives::keccak256(&code) };
        if !code.is_empty() {
            diff.code.insert(code_hash, code);
        }
        let hex = |value: &Value| {
            let text = value.as_str().unwrap();
            U256::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
        };
        let storage = entry.get("storage").and_then(Value::as_object).map_or_else(BTreeMap::new, |storage| {
            storage.iter().map(|(slot, value)| (slot.parse().unwrap(), hex(value))).collect()
        });
        let account = Account {
            nonce: entry["nonce"].as_u64().unwrap(),
            balance: U256::from_str_radix(entry["balance"].as_str().unwrap(), 10).unwrap(),
            code_hash,
            ..Account::default()
        };
        let change = AccountChange { account: Some(account), wiped: false, storage };
        diff.accounts.insert(address.parse().unwrap(), change);
    }
    diff
}

/// The recorded chain's rules from block 54 on: Osaka, and blobs by its second schedule after that.
fn spec(genesis: &Value) -> ChainSpec {
    let blobs = |name: &str| {
        let schedule = &genesis["config"]["blobSchedule"][name];
        let number = |field: &str| schedule[field].as_u64().unwrap();
        let update_fraction = number("baseFeeUpdateFraction");
        BlobSchedule { target: number("target"), max: number("max"), update_fraction }
    };
    let rules = EthereumRules {
        by_height: vec![],
        by_time: vec![(0, EvmFork::Osaka)],
        blobs: BTreeMap::from([(0, blobs("osaka")), (510, blobs("bpo1")), (540, blobs("bpo2"))]),
        ..EthereumRules::default()
    };
    let key = SecretKey::from_bytes(&[9; 32]).unwrap().address();
    let entry = GenesisValidator { address: key, owner: key, power: 1_000, bridge: None };
    let mut spec = ChainSpec::new(Preset::Local, 1_700_000_000, vec![entry]).unwrap();
    spec.genesis.config.chain_id = genesis["config"]["chainId"].as_u64().unwrap();
    spec.rules = Rules::Ethereum(rules);
    spec
}

/// Compares a result with what was recorded; the error says what differs.
fn compare(expected: &Value, got: Result<Vec<SimulatedBlock>, SimulateFailure>) -> Result<(), String> {
    if let Some(error) = expected.get("error") {
        return match got {
            Ok(_) => Err(format!("succeeded, expected {error}")),
            Err(failure) if i64::from(failure.code) == error["code"].as_i64().unwrap() => Ok(()),
            Err(failure) => Err(format!("failed with {} {failure}, expected {error}", failure.code)),
        };
    }
    let blocks = got.map_err(|failure| format!("failed with {} {failure}", failure.code))?;
    let wanted = expected["result"].as_array().unwrap();
    if blocks.len() != wanted.len() {
        return Err(format!("{} blocks, expected {}", blocks.len(), wanted.len()));
    }
    for (block, wanted) in blocks.iter().zip(wanted) {
        let number = block.header.number;
        for (call, wanted) in block.calls.iter().zip(wanted["calls"].as_array().unwrap()) {
            let code = wanted.get("error").map(|error| error["code"].as_i64().unwrap());
            let got = call.error.as_ref().map(|(code, ..)| i64::from(*code));
            if got != code {
                return Err(format!("block {number}: a call's error is {:?}, expected {wanted}", call.error));
            }
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let gas = (format!("0x{:x}", call.gas_used), format!("0x{:x}", call.max_gas_used));
            if gas != (text(&wanted["gasUsed"]), text(&wanted["maxUsedGas"])) {
                return Err(format!("block {number}: gas {gas:?}, expected {wanted}"));
            }
            if call.output.to_string() != text(&wanted["returnData"]) {
                return Err(format!("block {number}: output {}, expected {}", call.output, wanted["returnData"]));
            }
            if call.logs.len() != wanted["logs"].as_array().unwrap().len() {
                return Err(format!("block {number}: {} logs, expected {}", call.logs.len(), wanted["logs"]));
            }
        }
        let hash = block.header.hash_slow().to_string();
        if hash != wanted["hash"].as_str().unwrap() {
            return Err(format!("block {number}: header {:?}, expected {wanted}", block.header));
        }
    }
    Ok(())
}

#[test]
fn recorded_simulations_give_the_same_blocks() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/execution_apis");
    if !shared.exists() {
        println!("skipped: {} is not here", shared.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unpack = |program: &str, arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(program).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    unpack("tar", &["xJf".as_ref(), shared.join("tests.tar.xz").as_ref(), "-C".as_ref(), folder.path().as_ref()]);
    let dump = unpack("xz", &["-dkc".as_ref(), shared.join("headstate.json.xz").as_ref()]);
    let tests = folder.path().join("tests");
    let genesis: Value = serde_json::from_str(&std::fs::read_to_string(tests.join("genesis.json")).unwrap()).unwrap();
    let chain = std::fs::read(tests.join("chain.rlp")).unwrap();
    let mut rest = chain.as_slice();
    let mut headers = Vec::<Header>::new();
    while !rest.is_empty() {
        headers.push(EthereumBlock::decode(&mut rest).unwrap().header);
    }
    let head = headers.last().unwrap().clone();
    let hashes: BTreeMap<u64, B256> =
        headers.iter().map(|header| (header.number, header.hash_slow())).chain([(0, headers[0].parent_hash)]).collect();
    let state = head_state(&serde_json::from_slice(&dump).unwrap());
    // The state is the store's first; the calls are told the real head.
    let store = store_with(&state, &Header { state_root: head.state_root, ..Header::default() });
    let spec = spec(&genesis);

    let mut failures = Vec::new();
    let (mut count, mut elsewhere) = (0, 0);
    let mut files: Vec<_> =
        std::fs::read_dir(tests.join("eth_simulateV1")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let line = |mark: &str| -> Value {
            let line = text.lines().find_map(|line| line.strip_prefix(mark)).unwrap();
            serde_json::from_str(line).unwrap()
        };
        let (request, expected) = (line(">> "), line("<< "));
        let at_head = request["params"].get(1).is_none_or(|block| block == "latest" || block == "0x36");
        if !at_head {
            elsewhere += 1;
            continue;
        }
        count += 1;
        let payload: SimulatePayload = serde_json::from_value(request["params"][0].clone()).unwrap();
        let budget = Budget {
            deadline: Instant::now() + Duration::from_secs(600),
            steps: u64::MAX,
            abandoned: Arc::new(AtomicBool::new(false)),
        };
        let result = store.view(None, |view| {
            assert_eq!(
                view.root_after(&StateDiff::default(), 0).unwrap(),
                head.state_root,
                "the head state is complete"
            );
            let recorded = Recorded { view, hashes: &hashes };
            let context = CallContext {
                state: &recorded,
                header: &head,
                spec: &spec,
                env: bttc_modules::genesis::environment(&spec, B256::ZERO),
                code_cache: &CodeCache::new(64),
                state_overrides: None,
                block_overrides: None,
                gas_cap: 50_000_000,
            };
            context.simulate(payload, &|diff| Ok(view.root_after(diff, 0)?), &budget)
        });
        if let Err(reason) = compare(&expected, result.unwrap()) {
            failures.push(format!("{}: {reason}", file.file_name().unwrap().to_string_lossy()));
        }
    }
    println!("{count} exchanges at the head, {elsewhere} elsewhere, {} differ", failures.len());
    assert!(count > 80);
    assert!(failures.is_empty(), "{} of {count} differ:\n{}", failures.len(), failures.join("\n"));
}
