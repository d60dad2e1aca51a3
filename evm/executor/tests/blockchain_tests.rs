//! Ethereum's own blockchain tests through our block validation in the Ethereum-rules profile.

mod eest;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes};
use alloy_rlp::Decodable;
use bttc_executor::ethereum::{EthereumBlock, execute_block};
use bttc_executor::{CodeCache, encode_receipts, initialize_genesis};
use bttc_genesis::{ChainSpec, Rules};
use bttc_state::{BlockRecord, MemoryStore, StateStore, StoreOptions};
use eest::{genesis_state, rules, small, store_with};
use serde_json::Value;
use std::sync::Arc;

fn bytes(value: &Value) -> Bytes {
    value.as_str().unwrap_or_default().parse().unwrap()
}

/// Imports one block on the head; the error says why it is invalid.
fn import(store: &StateStore, parent: &Header, rlp: &Bytes, test: &Value) -> Result<Header, String> {
    let mut rest = rlp.as_ref();
    let block = EthereumBlock::decode(&mut rest).map_err(|error| error.to_string())?;
    if !rest.is_empty() || alloy_rlp::encode(&block) != rlp.as_ref() {
        return Err("the block is not in canonical form".into());
    }
    execute(store, parent, block, &rules(test), small(&test["config"]["chainid"]))
}

fn execute(
    store: &StateStore,
    parent: &Header,
    block: EthereumBlock,
    rules: &Rules,
    chain_id: u64,
) -> Result<Header, String> {
    let outcome = execute_block(store, rules, chain_id, &CodeCache::new(64), parent, &block)
        .map_err(|error| error.to_string())?;
    let prepared = store.prepare(block.header.number, &outcome.diff).map_err(|error| error.to_string())?;
    if prepared.root() != block.header.state_root {
        return Err(format!("state root {}, the header has {}", prepared.root(), block.header.state_root));
    }
    let record = BlockRecord {
        header: &block.header,
        hash: block.header.hash_slow(),
        block: &[],
        receipts: &encode_receipts(&outcome.receipts),
        senders: &[],
        transactions: &[],
        certificate: None,
        events: &[],
    };
    store.commit(record, prepared, false).map_err(|error| error.to_string())?;
    Ok(block.header)
}

fn run(test: &Value) -> Result<(), String> {
    let genesis = EthereumBlock::decode(&mut bytes(&test["genesisRLP"]).as_ref()).map_err(|error| error.to_string())?;
    let store = store_with(&genesis_state(&test["pre"]), &genesis.header);
    if store.head().map(|head| head.state_root) != Some(genesis.header.state_root) {
        return Err("the genesis state has another root".into());
    }
    let mut head = genesis.header;
    for (index, block) in test["blocks"].as_array().ok_or("no blocks")?.iter().enumerate() {
        let result = import(&store, &head, &bytes(&block["rlp"]), test);
        match (result, block.get("expectException")) {
            (Ok(header), None) => head = header,
            (Err(_), Some(_)) => {}
            (Ok(_), Some(expected)) => return Err(format!("block {index} was accepted, expected {expected}")),
            (Err(reason), None) => return Err(format!("block {index} was refused: {reason}")),
        }
    }
    let expected: B256 = test["lastblockhash"].as_str().unwrap_or_default().parse().map_err(|_| "no last hash")?;
    if head.hash_slow() != expected {
        return Err(format!("the last block is {}, expected {expected}", head.hash_slow()));
    }
    Ok(())
}

#[test]
fn ethereum_blockchain_tests_are_imported_or_refused_as_expected() {
    eest::run_suite("blockchain_tests.tar.xz", "EEST_BLOCKCHAIN_TESTS", run);
}

/// The chain of the execution-apis' recorded exchanges: from Homestead's rules through every fork to the second change of blob parameters.
#[test]
fn a_chain_through_every_fork_is_imported() {
    let Some(folder) = eest::unpack("execution_apis/tests.tar.xz") else { return };
    let read = |name: &str| {
        let places = [folder.path().join("tests").join(name), folder.path().join(name)];
        std::fs::read(places.into_iter().find(|place| place.exists()).expect(name)).unwrap()
    };
    let spec = ChainSpec::ethereum(&String::from_utf8(read("genesis.json")).unwrap()).unwrap();
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
    let (mut head, _) = initialize_genesis(&store, &spec).unwrap();
    let chain = read("chain.rlp");
    let mut rest = chain.as_slice();
    while !rest.is_empty() {
        let block = EthereumBlock::decode(&mut rest).unwrap();
        let number = block.header.number;
        head =
            execute(&store, &head, block, &spec.rules, spec.chain_id()).unwrap_or_else(|why| panic!("{number}: {why}"));
    }
    let expected: Value = serde_json::from_slice(&read("headfcu.json")).unwrap();
    assert_eq!(Value::from(head.hash_slow().to_string()), expected["params"][0]["headBlockHash"]);
    println!("imported {} blocks", head.number);
}
