//! Imports from honest, lying and mortal sources.

use super::{Content, Import, Leaf, Piece, Refusal, decode_pieces, serve};
use crate::kv::{Entry, KvRead, MemoryStore, Table};
use crate::{
    Account, AccountChange, BlockRecord, EMPTY_ROOT_HASH, Error, Head, StateDiff, StateStore, StoreOptions, check_full,
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use bttc_types::{Block, Certificate};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store with one block, and that block.
struct Source {
    kv: Arc<MemoryStore>,
    block: Block,
    head: Head,
}

fn source(accounts: u64, slots: u64) -> Source {
    let kv = Arc::new(MemoryStore::new());
    let store = StateStore::open(kv.clone(), StoreOptions::default()).unwrap();
    let mut diff = StateDiff::default();
    for index in 0..accounts {
        let address = Address::from_slice(&keccak256(index.to_be_bytes())[12..]);
        let mut change = AccountChange {
            account: Some(Account { nonce: index, balance: U256::from(index * 7), ..Account::default() }),
            ..AccountChange::default()
        };
        if index % 10 == 3 {
            let code = Bytes::from(vec![(index % 70) as u8; 100]);
            change.account.as_mut().unwrap().code_hash = keccak256(&code);
            diff.code.insert(keccak256(&code), code);
            let count = if index == 3 { slots } else { index % 4 };
            change.storage = (0..count).map(|slot| (U256::from(slot), U256::from(slot * slot + 1))).collect();
        }
        diff.accounts.insert(address, change);
    }
    let prepared = store.prepare(0, &diff).unwrap();
    let header = Header { state_root: prepared.root(), ..Header::default() };
    let hash = header.hash_slow();
    let block = Block { header, transactions: Vec::new(), last_commit: Certificate::genesis(B256::ZERO) };
    let head = Head { height: 0, hash, state_root: block.header.state_root };
    store.commit(record(&block, &block.encode()), prepared, true).unwrap();
    Source { kv, block, head }
}

fn record<'a>(block: &'a Block, encoded: &'a [u8]) -> BlockRecord<'a> {
    BlockRecord {
        header: &block.header,
        hash: block.hash(),
        block: encoded,
        receipts: &[0xc0],
        senders: &[],
        transactions: &[],
        certificate: None,
        events: &[],
    }
}

fn table(kv: &MemoryStore, table: Table) -> Vec<Entry> {
    let mut entries = Vec::new();
    kv.scan(table, &[], &mut |key, value| {
        entries.push((key.to_vec(), value.to_vec()));
        Ok(true)
    })
    .unwrap();
    entries
}

/// Ends an import and compares everything with its source.
fn assert_same(import: Import, kv: &Arc<MemoryStore>, source: &Source) {
    let encoded = source.block.encode();
    import.finish(record(&source.block, &encoded), &[], record(&source.block, &encoded)).unwrap();
    for name in [
        Table::Accounts,
        Table::Storage,
        Table::AccountTrie,
        Table::StorageTrie,
        Table::Code,
        Table::Preimages,
        Table::Meta,
    ] {
        let ours: Vec<_> = table(kv, name).into_iter().filter(|(key, _)| !key.starts_with(b"lowest")).collect();
        assert_eq!(ours, table(&source.kv, name), "{name:?}");
    }
    assert_eq!(check_full(kv.as_ref()).unwrap().problems, Vec::<String>::new());
    let store = StateStore::open(kv.clone(), StoreOptions::default()).unwrap();
    assert_eq!(store.head(), Some(source.head));
    let next = StateDiff {
        accounts: BTreeMap::from([(
            Address::repeat_byte(7),
            AccountChange { account: Some(Account::default()), ..AccountChange::default() },
        )]),
        ..StateDiff::default()
    };
    assert_ne!(store.prepare(1, &next).unwrap().root(), source.head.state_root, "it takes blocks");
}

#[test]
fn an_import_equals_its_source_and_survives_power_cuts() {
    let source = source(20_000, 20_000);
    let kv = Arc::new(MemoryStore::new());
    let mut import = Import::open(kv.clone(), source.head).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut cuts, mut most_wanted) = (0, 0);
    while !import.is_complete() {
        let pieces = import.next_pieces(rng.random_range(1..40));
        let contents = serve(source.kv.as_ref(), &pieces).unwrap();
        assert!(!contents.is_empty());
        if rng.random_bool(0.2) {
            import.give_back(&pieces);
        } else {
            import.accept(&pieces, contents).unwrap();
        }
        most_wanted = most_wanted.max(table(&kv, Table::Meta).len());
        if rng.random_bool(0.05) && cuts < 10 {
            cuts += 1;
            drop(import);
            if rng.random_bool(0.3) {
                kv.crash();
            }
            assert!(matches!(
                Import::open(kv.clone(), Head { height: 9, ..source.head }),
                Err(Error::OtherPivot { found: 0 })
            ));
            import = Import::open(kv.clone(), source.head).unwrap();
        }
        let share = import.progress().share;
        assert!((-1e-9..=1.0 + 1e-9).contains(&share), "{share}");
    }
    assert!(cuts > 2, "{cuts}");
    // One subtree's storages and codes at a time, not those of all accounts.
    assert!(most_wanted < 1_500, "{most_wanted} pieces were wanted at a time");
    assert_same(import, &kv, &source);
}

#[test]
fn a_small_state_and_an_empty_one() {
    for accounts in [1, 2, 5] {
        let source = source(accounts, 3);
        let kv = Arc::new(MemoryStore::new());
        let mut import = Import::open(kv.clone(), source.head).unwrap();
        while !import.is_complete() {
            let pieces = import.next_pieces(10);
            import.accept(&pieces, serve(source.kv.as_ref(), &pieces).unwrap()).unwrap();
        }
        assert_same(import, &kv, &source);
    }
    let empty = Head { height: 3, hash: B256::ZERO, state_root: EMPTY_ROOT_HASH };
    assert!(Import::open(Arc::new(MemoryStore::new()), empty).unwrap().is_complete());
}

/// Every way to lie about a content.
fn lies(contents: &[Content]) -> Vec<Vec<Content>> {
    let mut lies = Vec::new();
    let mut lie = |change: &dyn Fn(&mut Vec<Content>)| {
        let mut lying = contents.to_vec();
        change(&mut lying);
        if lying != contents {
            lies.push(lying);
        }
    };
    let flip = |bytes: &Bytes| {
        let mut changed = bytes.to_vec();
        if let Some(last) = changed.last_mut() {
            *last ^= 1;
        }
        Bytes::from(changed)
    };
    lie(&|all| all[0].bytes = flip(&all[0].bytes));
    lie(&|all| all[0].bytes = Bytes::new());
    lie(&|all| drop(all[0].leaves.pop()));
    lie(&|all| all[0].leaves.clear());
    lie(&|all| {
        if let Some(leaf) = all[0].leaves.first_mut() {
            leaf.value = flip(&leaf.value);
        }
    });
    lie(&|all| {
        if let Some(leaf) = all[0].leaves.first_mut() {
            leaf.key = flip(&leaf.key);
        }
    });
    lie(&|all| {
        if let Some(leaf) = all[0].leaves.first_mut() {
            leaf.key = Bytes::from_static(b"short");
        }
    });
    lie(&|all| all[0].leaves.push(Leaf { key: vec![9; 32].into(), value: vec![1].into() }));
    lie(&|all| {
        let value = Bytes::from(alloy_rlp::encode(Account::default()));
        all[0].leaves.push(Leaf { key: vec![9; 20].into(), value });
    });
    // The truth comes after it and replaces it: all hashes are the truth's.
    lie(&|all| {
        let Some(first) = all[0].leaves.first().cloned() else { return };
        let value = match Account::decode(&mut first.value.as_ref()) {
            Ok(account) => {
                let lying = Account { storage_root: B256::repeat_byte(7), code_hash: B256::repeat_byte(8), ..account };
                Bytes::from(alloy_rlp::encode(lying))
            }
            Err(_) => flip(&first.value),
        };
        all[0].leaves.insert(0, Leaf { value, ..first });
    });
    lie(&|all| {
        let first = all[0].leaves.first().cloned();
        all[0].leaves.extend(first);
    });
    lie(&|all| all[0].leaves.reverse());
    lies
}

#[test]
fn every_lie_is_seen_and_nothing_of_it_is_kept() {
    let source = source(12_000, 200);
    let kv = Arc::new(MemoryStore::new());
    let mut import = Import::open(kv.clone(), source.head).unwrap();
    let (mut told, mut rounds) = (0, 0);
    while !import.is_complete() {
        rounds += 1;
        let pieces = import.next_pieces(3);
        let contents = serve(source.kv.as_ref(), &pieces).unwrap();
        if rounds % 7 == 0 || rounds < 20 {
            import.give_back(&pieces);
            for lying in lies(&contents) {
                let writes = kv.writes();
                let asked = import.next_pieces(3);
                assert_eq!(asked, pieces);
                let refusal = import.accept(&asked, lying).unwrap_err();
                assert!(matches!(refusal, Refusal::Wrong(_)), "{refusal:?}");
                assert_eq!(kv.writes(), writes, "nothing is written");
                told += 1;
            }
            import.next_pieces(3);
        }
        import.accept(&pieces, contents).unwrap();
    }
    assert!(told > 100, "{told} lies");
    assert_same(import, &kv, &source);
}

#[test]
fn more_pieces_than_asked_for_and_pieces_that_nobody_asked_for() {
    let source = source(100, 5);
    let mut import = Import::open(Arc::new(MemoryStore::new()), source.head).unwrap();
    let pieces = import.next_pieces(1);
    let contents = serve(source.kv.as_ref(), &pieces).unwrap();
    let twice = [contents.clone(), contents].concat();
    assert!(matches!(import.accept(&pieces, twice), Err(Refusal::Wrong(_))));
    assert_eq!(import.next_pieces(9), pieces, "it is wanted again");
    let other = [Piece::code(B256::ZERO)];
    import.accept(&other, vec![Content { leaves: Vec::new(), bytes: Bytes::new() }]).unwrap();
    assert!(!import.is_complete());
}

#[test]
fn requests_are_bounded_and_odd_ones_get_nothing() {
    let source = source(3_000, 5);
    let encode = |pieces: &[Piece]| {
        let mut out = Vec::new();
        alloy_rlp::encode_list::<Piece, Piece>(pieces, &mut out);
        out
    };
    let decode = |bytes: &[u8]| decode_pieces(&mut &bytes[..]);
    assert!(decode(&encode(&[Piece::accounts(&[1, 15])])).is_ok());
    assert!(decode(&encode(&[Piece::accounts(&[16])])).is_err());
    assert!(decode(&encode(&[Piece::accounts(&[0; 65])])).is_err());
    assert!(decode(&encode(&vec![Piece::accounts(&[]); 257])).is_err());
    assert!(decode(&encode(&vec![Piece::storage(B256::repeat_byte(1), &[5; 64]); 256])).is_ok());
    assert!(encode(&vec![Piece::storage(B256::repeat_byte(255), &[5; 64]); 256]).len() <= 32 << 10);
    // Storage that is not there, a code that is not there, a path below every leaf.
    for piece in [Piece::storage(B256::ZERO, &[]), Piece::code(B256::ZERO), Piece::accounts(&[1; 64])] {
        assert!(serve(source.kv.as_ref(), &[piece, Piece::accounts(&[])]).unwrap().is_empty());
    }
    // However much is asked for, an answer ends.
    let many = vec![Piece::accounts(&[]); 256];
    assert!(serve(source.kv.as_ref(), &many).unwrap().len() < 10);
}
