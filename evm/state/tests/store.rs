//! Blocks of random changes through the store: roots, history, proofs, restarts, failures.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, U256, keccak256};
use bttc_state::{
    Account, AccountChange, BlockRecord, EMPTY_ROOT_HASH, Kv, MemoryFaults, MemoryStore, RocksOptions, RocksStore,
    StateDiff, StateRead, StateStore, StoreOptions, check_full, verify_account_proof,
};
use bttc_types::{Block, Certificate};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

type Model = BTreeMap<Address, (Account, BTreeMap<U256, U256>)>;

/// One account's change: kind, balance, slots.
type Change = (u8, u8, u64, Vec<(u8, u8)>);

fn address(index: u8) -> Address {
    Address::with_last_byte(index)
}

/// Applies a block's changes to the model and says them as a diff.
fn apply(model: &mut Model, changes: &[Change]) -> StateDiff {
    let mut diff = StateDiff::default();
    for (who, kind, balance, slots) in changes {
        let who = address(*who);
        if diff.accounts.contains_key(&who) {
            continue;
        }
        if *kind == 0 {
            model.remove(&who);
            diff.accounts.insert(who, AccountChange { account: None, wiped: true, storage: BTreeMap::new() });
            continue;
        }
        let wiped = *kind == 1;
        let entry = model.entry(who).or_default();
        entry.0.balance = U256::from(*balance);
        entry.0.nonce += 1;
        if wiped {
            entry.1.clear();
        }
        let mut storage = BTreeMap::new();
        for (slot, value) in slots {
            storage.insert(U256::from(*slot), U256::from(*value));
        }
        for (slot, value) in &storage {
            if value.is_zero() {
                entry.1.remove(slot);
            } else {
                entry.1.insert(*slot, *value);
            }
        }
        diff.accounts.insert(who, AccountChange { account: Some(entry.0), wiped, storage });
    }
    diff
}

/// State root from nothing, by `alloy-trie`.
fn oracle(model: &Model) -> B256 {
    alloy_trie::root::state_root_unhashed(model.iter().map(|(address, (account, storage))| {
        let storage_root =
            alloy_trie::root::storage_root_unhashed(storage.iter().map(|(slot, value)| (B256::from(*slot), *value)));
        let account = alloy_trie::TrieAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root,
            code_hash: account.code_hash,
        };
        (*address, account)
    }))
}

fn commit(store: &StateStore, height: u64, diff: &StateDiff, durable: bool) -> Result<B256, bttc_state::Error> {
    let prepared = store.prepare(height, diff)?;
    let root = prepared.root();
    let header = Header { number: height, state_root: root, ..Header::default() };
    let block = Block { header: header.clone(), transactions: vec![], last_commit: Certificate::genesis(B256::ZERO) };
    let certificate = Certificate { height, round: 0, block_hash: header.hash_slow(), signatures: vec![] };
    let record = BlockRecord {
        header: &header,
        hash: header.hash_slow(),
        block: &block.encode(),
        receipts: &[],
        senders: &[],
        transactions: &[],
        certificate: Some(&certificate),
        events: &[],
    };
    store.commit(record, prepared, durable)?;
    Ok(root)
}

fn blocks() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = (1u8..20, 0u8..8, 0u64..1_000, proptest::collection::vec((0u8..12, 0u8..4), 0..6));
    proptest::collection::vec(proptest::collection::vec(change, 0..10), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn roots_history_and_proofs_agree_with_a_model(blocks in blocks(), reopen in any::<bool>(), tiny in any::<bool>()) {
        let kv: Arc<dyn Kv> = Arc::new(MemoryStore::new());
        // A tiny trie budget exercises loading of nodes again and again.
        let options = StoreOptions { trie_nodes: if tiny { 4 } else { 1_000 }, ..StoreOptions::default() };
        let mut store = StateStore::open(Arc::clone(&kv), options).unwrap();
        let mut model = Model::new();
        let mut states = Vec::new();
        for (height, changes) in blocks.iter().enumerate() {
            let diff = apply(&mut model, changes);
            // A candidate that is not decided leaves nothing behind.
            store.prepare(height as u64, &StateDiff::default()).unwrap();
            let root = commit(&store, height as u64, &diff, true).unwrap();
            prop_assert_eq!(root, oracle(&model), "block {}", height);
            states.push((root, model.clone()));
            if reopen {
                store = StateStore::open(Arc::clone(&kv), options).unwrap();
            }
        }
        kv.with_snapshot(&mut |reader| {
            assert_eq!(check_full(reader)?.problems, Vec::<String>::new());
            Ok(())
        }).unwrap();
        for (height, (root, model)) in states.iter().enumerate() {
            store.view(Some(height as u64), |view| {
                for index in 1..20 {
                    let address = address(index);
                    let expected = model.get(&address);
                    let got = view.account(address).unwrap();
                    assert_eq!(got.map(|account| (account.nonce, account.balance)), expected.map(|(account, _)| (account.nonce, account.balance)));
                    for slot in 0..12 {
                        let slot = U256::from(slot);
                        let value = expected.and_then(|(_, storage)| storage.get(&slot)).copied().unwrap_or_default();
                        assert_eq!(view.storage(address, slot).unwrap(), value, "height {height}, {address}, {slot}");
                    }
                    let (account, proof, storage) = view.prove(address, &[U256::from(1)], 1_000).unwrap();
                    verify_account_proof(*root, address, account.as_ref(), &proof.nodes).unwrap();
                    if let Some(account) = account
                        && account.storage_root != EMPTY_ROOT_HASH
                    {
                        let key = alloy_trie::Nibbles::unpack(keccak256(B256::from(U256::from(1))));
                        let value = expected.and_then(|(_, storage)| storage.get(&U256::from(1)));
                        alloy_trie::proof::verify_proof(account.storage_root, key, value.map(alloy_rlp::encode), &storage[0].nodes).unwrap();
                    }
                }
            }).unwrap();
        }
    }
}

fn one(balance: u64) -> StateDiff {
    let account = Account { balance: U256::from(balance), ..Account::default() };
    let change = AccountChange { account: Some(account), ..AccountChange::default() };
    StateDiff { accounts: BTreeMap::from([(address(1), change)]), code: BTreeMap::new() }
}

#[test]
fn a_failed_write_changes_nothing_and_can_be_repeated() {
    let kv = Arc::new(MemoryStore::new());
    let store = StateStore::open(kv.clone(), StoreOptions::default()).unwrap();
    commit(&store, 0, &one(1), true).unwrap();
    kv.set_faults(MemoryFaults { fail_writes_from: Some(0) });
    assert!(commit(&store, 1, &one(2), true).is_err());
    assert_eq!(store.head().unwrap().height, 0);
    assert_eq!(store.account(address(1)).unwrap().unwrap().balance, U256::from(1));
    kv.set_faults(MemoryFaults::default());
    commit(&store, 1, &one(2), true).unwrap();
    assert_eq!(store.account(address(1)).unwrap().unwrap().balance, U256::from(2));
}

#[test]
fn a_power_cut_leaves_whole_blocks_only() {
    let kv = Arc::new(MemoryStore::new());
    let store = StateStore::open(kv.clone(), StoreOptions::default()).unwrap();
    commit(&store, 0, &one(1), true).unwrap();
    commit(&store, 1, &one(2), true).unwrap();
    commit(&store, 2, &one(3), false).unwrap();
    kv.crash();
    let store = StateStore::open(kv.clone(), StoreOptions::default()).unwrap();
    assert_eq!(store.head().unwrap().height, 1);
    kv.with_snapshot(&mut |reader| {
        assert!(check_full(reader)?.problems.is_empty());
        Ok(())
    })
    .unwrap();
}

#[test]
fn pruned_heights_are_refused_with_what_is_kept() {
    let options = StoreOptions { state_history: Some(3), ..StoreOptions::default() };
    let store = StateStore::open(Arc::new(MemoryStore::new()), options).unwrap();
    for height in 0..20 {
        commit(&store, height, &one(height + 1), true).unwrap();
    }
    assert_eq!(store.lowest_state().unwrap(), 16);
    let error = store.view(Some(15), |_| ()).unwrap_err();
    assert!(matches!(error, bttc_state::Error::StateUnavailable { height: 15, lowest: 16, head: 19 }), "{error}");
    let balance = store.view(Some(16), |view| view.account(address(1)).unwrap().unwrap().balance).unwrap();
    assert_eq!(balance, U256::from(17));
}

#[test]
fn rocksdb_keeps_everything_across_a_restart_and_refuses_a_second_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    {
        let kv = Arc::new(RocksStore::open(&path, &RocksOptions::default()).unwrap());
        assert!(RocksStore::open(&path, &RocksOptions::default()).is_err());
        let store = StateStore::open(kv, StoreOptions::default()).unwrap();
        for height in 0..30 {
            commit(&store, height, &one(height + 1), height % 2 == 0).unwrap();
        }
    }
    let kv = Arc::new(RocksStore::open(&path, &RocksOptions::default()).unwrap());
    let store = StateStore::open(kv.clone(), StoreOptions::default()).unwrap();
    assert_eq!(store.head().unwrap().height, 29);
    assert_eq!(store.view(Some(7), |view| view.account(address(1)).unwrap().unwrap().balance).unwrap(), U256::from(8));
    assert!(check_full(kv.as_ref()).unwrap().problems.is_empty());
}

#[test]
fn a_proof_that_would_undo_too_much_names_the_lowest_height_that_works() {
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
    commit(&store, 0, &one(1), true).unwrap();
    // 25,000 accounts a block: nine blocks are more than a proof may undo, and it looks before it takes a further one.
    for height in 1..=10u64 {
        let accounts = (0..25_000u64).map(|index| {
            let address = Address::from_slice(&keccak256((height * 25_000 + index).to_be_bytes())[12..]);
            let account = Some(Account { balance: U256::from(index + 1), ..Account::default() });
            (address, AccountChange { account, ..AccountChange::default() })
        });
        commit(&store, height, &StateDiff { accounts: accounts.collect(), code: BTreeMap::new() }, true).unwrap();
    }
    let prove = |height| store.view(Some(height), |view| view.prove(address(1), &[], 1_000).map(|_| ())).unwrap();
    let Err(bttc_state::Error::ProofUnavailable { height: 0, lowest, head: 10 }) = prove(0) else {
        panic!("it was given")
    };
    assert!((1..10).contains(&lowest), "{lowest}");
    prove(lowest).unwrap();
}
