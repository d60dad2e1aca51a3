//! The trie against `alloy-trie`'s from-scratch root, under random insertions, changes and removals.

use super::*;
use crate::kv::{Batch, Kv, MemoryStore, Table};
use alloy_primitives::{U256, keccak256};
use alloy_trie::{HashBuilder, Nibbles};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Root of all leaves, computed from nothing.
fn oracle(leaves: &BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    builder.root()
}

/// Keys that share long prefixes, so that extensions, splits and merges happen.
fn key(seed: u16, clustered: bool) -> B256 {
    let mut key = keccak256(seed.to_be_bytes());
    if clustered {
        for (index, byte) in key.0.iter_mut().enumerate() {
            *byte = if index < 30 { (seed >> 12) as u8 } else { (seed >> (8 * (31 - index))) as u8 };
        }
    }
    key
}

fn store_account_writes(store: &MemoryStore, writes: &NodeWrites, flat: &BTreeMap<B256, Option<Vec<u8>>>) {
    let mut batch = Batch::default();
    for path in &writes.removed {
        batch.delete(Table::AccountTrie, path.to_vec());
    }
    for (path, rlp) in &writes.puts {
        batch.put(Table::AccountTrie, path.to_vec(), rlp.clone());
    }
    for (key, value) in flat {
        match value {
            Some(value) => batch.put(Table::Accounts, key.to_vec(), value.clone()),
            None => batch.delete(Table::Accounts, key.to_vec()),
        }
    }
    store.write(batch, true).unwrap();
}

#[derive(Clone, Debug)]
struct Step {
    changes: Vec<(u16, bool, Option<u8>)>,
    reload: bool,
    discard_first: bool,
    trim: Option<u8>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0u16..120, any::<bool>(), proptest::option::weighted(0.6, any::<u8>()));
    let step = (proptest::collection::vec(change, 1..40), any::<bool>(), any::<bool>(), proptest::option::of(0u8..6))
        .prop_map(|(changes, reload, discard_first, trim)| Step { changes, reload, discard_first, trim });
    proptest::collection::vec(step, 1..12)
}

fn apply(
    trie: &mut Trie,
    source: &impl NodeSource,
    step: &Step,
    value: impl Fn(u8) -> Vec<u8>,
    writes: &mut NodeWrites,
) {
    for (seed, clustered, change) in &step.changes {
        let path = Nibbles::unpack(key(seed.wrapping_mul(517), *clustered));
        match change {
            Some(byte) => trie.insert(source, &path, value(*byte).into()).unwrap(),
            None => trie.remove(source, &path, &mut writes.removed).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_incremental_root_equals_a_root_from_scratch(steps in steps()) {
        let store = MemoryStore::new();
        let mut leaves: BTreeMap<B256, Vec<u8>> = BTreeMap::new();
        let mut trie = Trie::default();
        let value = |byte: u8| vec![byte; 40 + usize::from(byte % 3)];
        for step in &steps {
            let source = AccountNodes(&store);
            if step.discard_first {
                // A candidate block that is not decided leaves no trace.
                let mut candidate = trie.clone();
                let mut other = step.clone();
                other.changes.reverse();
                apply(&mut candidate, &source, &other, |byte| vec![byte ^ 1; 50], &mut NodeWrites::default());
                seal(&candidate, 1, &mut NodeWrites::default());
            }
            let mut writes = NodeWrites::default();
            apply(&mut trie, &source, step, value, &mut writes);
            let mut flat = BTreeMap::new();
            for (seed, clustered, change) in &step.changes {
                let key = key(seed.wrapping_mul(517), *clustered);
                match change {
                    Some(byte) => { leaves.insert(key, value(*byte)); }
                    None => { leaves.remove(&key); }
                }
                flat.insert(key, change.map(value));
            }
            let root = seal(&trie, step.changes.len(), &mut writes);
            prop_assert_eq!(root, oracle(&leaves));
            store_account_writes(&store, &writes, &flat);
            if step.reload {
                trie = Trie::from_root(root);
            } else if let Some(depth) = step.trim {
                trie = trie.trimmed(usize::from(depth));
            }
            prop_assert_eq!(trie.root_hash(), Some(root));
            let source = AccountNodes(&store);
            for (seed, clustered, _) in step.changes.iter().take(3) {
                let key = key(seed.wrapping_mul(517), *clustered);
                let proof = trie.prove(&source, &Nibbles::unpack(key)).unwrap();
                prop_assert_eq!(proof.value.as_ref(), leaves.get(&key));
                if !leaves.is_empty() {
                    alloy_trie::proof::verify_proof(root, Nibbles::unpack(key), leaves.get(&key).cloned(), &proof.nodes)
                        .map_err(|error| TestCaseError::fail(error.to_string()))?;
                }
            }
        }
        // What is on disk is exactly what the trie needs: no stored node without a place in it.
        let mut stored = 0;
        store.with_snapshot(&mut |reader| {
            reader.scan(Table::AccountTrie, &[], &mut |_, _| { stored += 1; Ok(true) })
        }).unwrap();
        let mut all = NodeWrites::default();
        let mut rebuilt = Trie::default();
        for (key, value) in &leaves {
            rebuilt.insert(&AccountNodes(&MemoryStore::new()), &Nibbles::unpack(key), value.clone().into()).unwrap();
        }
        seal(&rebuilt, 0, &mut all);
        prop_assert_eq!(stored, all.puts.len());
    }

    #[test]
    fn small_values_embed_their_nodes_and_still_give_the_right_root(steps in steps()) {
        let store = MemoryStore::new();
        let owner = B256::repeat_byte(9);
        let mut slots: BTreeMap<B256, U256> = BTreeMap::new();
        let mut trie = Trie::default();
        for step in &steps {
            let source = StorageNodes(&store, owner);
            let mut writes = NodeWrites::default();
            let value = |byte: u8| alloy_rlp::encode(U256::from(byte) + U256::from(1));
            apply(&mut trie, &source, step, value, &mut writes);
            let mut batch = Batch::default();
            for (seed, clustered, change) in &step.changes {
                let key = key(seed.wrapping_mul(517), *clustered);
                let flat = [owner.as_slice(), key.as_slice()].concat();
                match change {
                    Some(byte) => {
                        let number = U256::from(*byte) + U256::from(1);
                        slots.insert(key, number);
                        batch.put(Table::Storage, flat, number.to_be_bytes_trimmed_vec());
                    }
                    None => {
                        slots.remove(&key);
                        batch.delete(Table::Storage, flat);
                    }
                }
            }
            let root = seal(&trie, 0, &mut writes);
            prop_assert_eq!(root, alloy_trie::root::storage_root(slots.iter().map(|(key, value)| (*key, *value))));
            for path in &writes.removed {
                batch.delete(Table::StorageTrie, source::storage_path(owner, path));
            }
            for (path, rlp) in &writes.puts {
                batch.put(Table::StorageTrie, source::storage_path(owner, path), rlp.clone());
            }
            store.write(batch, true).unwrap();
            if step.reload {
                trie = Trie::from_root(root);
            }
        }
    }
}

#[test]
fn a_damaged_node_is_an_error_and_not_a_wrong_root() {
    let store = MemoryStore::new();
    let mut trie = Trie::default();
    let mut flat = BTreeMap::new();
    for seed in 0..200u16 {
        let value = vec![seed as u8; 40];
        trie.insert(&AccountNodes(&store), &Nibbles::unpack(key(seed, false)), value.clone().into()).unwrap();
        flat.insert(key(seed, false), Some(value));
    }
    let mut writes = NodeWrites::default();
    let root = seal(&trie, 0, &mut writes);
    store_account_writes(&store, &writes, &flat);
    let mut batch = Batch::default();
    let (path, mut rlp) = writes.puts.iter().find(|(path, _)| path.len() == 1).cloned().unwrap();
    let last = rlp.len() - 10;
    rlp[last] ^= 1;
    batch.put(Table::AccountTrie, path.to_vec(), rlp);
    store.write(batch, true).unwrap();
    let mut trie = Trie::from_root(root);
    let mut failed = false;
    for seed in 0..200u16 {
        failed |=
            trie.clone().insert(&AccountNodes(&store), &Nibbles::unpack(key(seed, false)), vec![1; 40].into()).is_err();
    }
    assert!(failed);
    assert!(trie.remove(&AccountNodes(&store), &Nibbles::unpack(B256::ZERO), &mut Vec::new()).is_ok() || failed);
}
