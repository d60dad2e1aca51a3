//! What a start reads of an old chain: whether the key has signed elsewhere, at the cost of few reads.

use alloy_primitives::{Address, B256};
use bttc_executor::{BuildInput, Executor, TransactionSource, Verdict};
use bttc_genesis::{ChainSpec, GenesisValidator, Preset};
use bttc_node::own_signature_above;
use bttc_state::{Batch, Entry, Error, Kv, KvRead, MemoryStore, StateStore, StoreOptions, Table, Visitor};
use bttc_types::{Certificate, RecoveredTransaction, SecretKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A store that counts how many certificates are read.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStore,
    certificates: AtomicU64,
}

impl KvRead for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if table == Table::Certificates {
            self.certificates.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.get(table, key)
    }

    fn seek(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.inner.seek(table, key)
    }

    fn scan(&self, table: Table, start: &[u8], visit: &mut Visitor<'_>) -> Result<(), Error> {
        self.inner.scan(table, start, visit)
    }
}

impl Kv for Counting {
    fn write(&self, batch: Batch, durable: bool) -> Result<(), Error> {
        self.inner.write(batch, durable)
    }

    fn with_snapshot(&self, read: &mut dyn FnMut(&dyn KvRead) -> Result<(), Error>) -> Result<(), Error> {
        self.inner.with_snapshot(read)
    }
}

struct Nothing;

impl TransactionSource for Nothing {
    fn next(&mut self) -> Option<Arc<RecoveredTransaction>> {
        None
    }
    fn refuse(&mut self, _: &Arc<RecoveredTransaction>, _: Verdict) {}
}

/// A chain of empty blocks that the first of two validators makes final alone.
struct Chain {
    executor: Executor,
    kv: Arc<Counting>,
    last: Certificate,
}

fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32]).unwrap()
}

impl Chain {
    fn new(options: StoreOptions) -> Self {
        let entry = |number, power| {
            let address = key(number).address();
            GenesisValidator { address, owner: address, power, bridge: None }
        };
        let spec = ChainSpec::new(Preset::Local, 1_700_000_000, vec![entry(1, 9_000), entry(2, 1_000)]).unwrap();
        let kv = Arc::new(Counting::default());
        let store = Arc::new(StateStore::open(kv.clone(), options).unwrap());
        let executor = Executor::open(store, Arc::new(spec)).unwrap();
        let last = Certificate::genesis(executor.head_hash().unwrap());
        Self { executor, kv, last }
    }

    /// Adds blocks; the second validator signs where it is told to.
    fn grow(&mut self, count: u64, second_signs: impl Fn(u64) -> bool) {
        for _ in 0..count {
            let height = self.last.height + 1;
            let input = BuildInput {
                round: 0,
                time_ms: 1_700_000_001_000 + height,
                beneficiary: Address::ZERO,
                last_commit: self.last.clone(),
                out_of_time: &mut || false,
                source: &mut Nothing,
            };
            let executed = self.executor.build(input).unwrap();
            let mut certificate = Certificate { height, round: 0, block_hash: executed.hash, signatures: Vec::new() };
            for (index, number) in [(0, 1), (1, 2)] {
                if number == 1 || second_signs(height) {
                    let vote = certificate.vote(key(number).address());
                    certificate.insert(index, key(number).sign(self.executor.domain().vote_digest(&vote)));
                }
            }
            self.executor.commit(&executed, &certificate, true).unwrap();
            self.last = certificate;
        }
    }

    /// Looks as a start does. Gives what was found and how many certificates were read.
    fn look(&self, number: u8, guard: u64) -> (Option<u64>, u64) {
        let before = self.kv.certificates.load(Ordering::Relaxed);
        let found = own_signature_above(&self.executor, key(number).address(), guard).unwrap();
        (found, self.kv.certificates.load(Ordering::Relaxed) - before)
    }
}

#[test]
fn a_key_that_was_in_no_set_costs_no_certificate() {
    let mut chain = Chain::new(StoreOptions::default());
    chain.grow(210, |_| false);
    assert_eq!(chain.look(3, 0), (None, 0));
}

#[test]
fn a_key_that_signs_elsewhere_is_found_at_once_at_every_start() {
    let mut chain = Chain::new(StoreOptions::default());
    chain.grow(210, |height| height > 50);
    for _ in 0..2 {
        let (found, reads) = chain.look(2, 0);
        assert_eq!(found, Some(210));
        assert!(reads <= 2, "{reads} certificates were read");
    }
}

#[test]
fn each_certificate_is_looked_at_once() {
    let mut chain = Chain::new(StoreOptions::default());
    chain.grow(210, |height| height <= 100);
    let (found, reads) = chain.look(2, 100);
    assert_eq!((found, reads), (None, 110));
    // Only the head's may have changed since.
    assert!(chain.look(2, 100).1 <= 1);
    chain.grow(5, |_| false);
    let (found, reads) = chain.look(2, 100);
    assert_eq!(found, None);
    assert!(reads <= 6, "{reads} certificates were read");
    // What came since is seen, and stays seen.
    chain.grow(3, |height| height == 216);
    chain.grow(3, |_| false);
    for _ in 0..2 {
        assert_eq!(chain.look(2, 100).0, Some(216));
    }
}

#[test]
fn a_guard_that_was_set_back_is_found_out() {
    let mut chain = Chain::new(StoreOptions::default());
    chain.grow(210, |height| height <= 100);
    assert_eq!(chain.look(2, 100).0, None);
    let (found, reads) = chain.look(2, 40);
    assert_eq!(found, Some(100), "the heights above are known, those below the note are not");
    assert!(reads <= 3, "{reads} certificates were read");
    // The note of one key says nothing of another.
    assert_eq!(chain.look(1, 0).0, Some(210));
}

#[test]
fn what_is_not_kept_is_not_looked_for() {
    let mut chain = Chain::new(StoreOptions { block_history: Some(30), ..StoreOptions::default() });
    chain.grow(210, |_| false);
    let (found, reads) = chain.look(2, 0);
    assert_eq!(found, None);
    assert!(reads <= 31, "{reads} certificates were read");
    assert_eq!(chain.look(2, 0).1, 1);
    assert_ne!(chain.executor.head_hash().unwrap(), B256::ZERO);
}
