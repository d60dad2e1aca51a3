//! Ethereum's own state tests through our transaction path and our trie.

mod eest;

use alloy_primitives::{B256, Bytes, U256};
use bttc_executor::{CodeCache, EvmInput, ethereum};
use bttc_types::RecoveredTransaction;
use eest::{genesis_state, number, rules, small, store_with};
use serde_json::Value;

/// Runs one test; the error says what differs.
fn run(test: &Value) -> Result<(), String> {
    let env = &test["env"];
    let base = genesis_state(&test["pre"]);
    let rules = rules(test);
    let chain_id = small(&test["config"]["chainid"]);
    for entry in test["post"]["Osaka"].as_array().ok_or("no Osaka expectation")? {
        let store = store_with(&base, &alloy_consensus::Header::default());
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
    Ok(())
}

#[test]
fn ethereum_state_tests_give_the_expected_roots_and_logs() {
    eest::run_suite("state_tests.tar.xz", "EEST_STATE_TESTS", run);
}
