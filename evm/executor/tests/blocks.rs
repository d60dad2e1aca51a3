//! Building, validating and committing blocks of this chain.

use alloy_consensus::{Header, SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Bloom, Bytes, Signature, TxKind, U256};
use bttc_executor::{BuildInput, Error, Executor, Invalid, TransactionSource, Verdict};
use bttc_genesis::{
    ChainSpec, DEV_KEYS, GenesisValidator, LightClient, Preset, REWARD_POOL_SLOT, REWARDS_ADDRESS, SetChange,
};
use bttc_state::{MemoryFaults, MemoryStore, StateRead, StateStore, StoreOptions};
use bttc_types::{
    Block, Certificate, ExtraData, MAX_ROUND, RecoveredTransaction, SecretKey, Transaction, rotation_steps,
};
use std::sync::Arc;

struct Queue(Vec<Arc<RecoveredTransaction>>, Vec<Verdict>);

impl TransactionSource for Queue {
    fn next(&mut self) -> Option<Arc<RecoveredTransaction>> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }
    fn refuse(&mut self, _: &Arc<RecoveredTransaction>, verdict: Verdict) {
        self.1.push(verdict);
    }
}

fn validator() -> SecretKey {
    SecretKey::from_bytes(&[9; 32]).unwrap()
}

fn chain() -> (Executor, Arc<MemoryStore>) {
    let entry =
        GenesisValidator { address: validator().address(), owner: validator().address(), power: 1_000, bridge: None };
    let spec = ChainSpec::new(Preset::Local, 1_700_000_000, vec![entry]).unwrap();
    let kv = Arc::new(MemoryStore::new());
    let store = Arc::new(StateStore::open(kv.clone(), StoreOptions::default()).unwrap());
    (Executor::open(store, Arc::new(spec)).unwrap(), kv)
}

fn transfer(account: usize, nonce: u64) -> Arc<RecoveredTransaction> {
    let transaction = TxEip1559 {
        chain_id: 1337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 7,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::from(5),
        ..TxEip1559::default()
    };
    let signed = SecretKey::from_bytes(&DEV_KEYS[account].1.0).unwrap().sign(transaction.signature_hash());
    let bytes = signed.as_bytes();
    let signature = Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1);
    Arc::new(RecoveredTransaction::recover(Transaction::from(transaction.into_signed(signature))).unwrap())
}

fn build(
    executor: &Executor,
    last_commit: Certificate,
    transactions: Vec<Arc<RecoveredTransaction>>,
) -> (Block, Vec<Verdict>) {
    let mut queue = Queue(transactions, Vec::new());
    let input = BuildInput {
        round: 0,
        time_ms: 1_700_000_001_000,
        beneficiary: Address::repeat_byte(0xbe),
        last_commit,
        out_of_time: &mut || false,
        source: &mut queue,
    };
    let block = executor.build(input).unwrap().block.clone();
    (block, queue.1)
}

fn certify(executor: &Executor, block: &Block) -> Certificate {
    let mut certificate =
        Certificate { height: block.header.number, round: 0, block_hash: block.hash(), signatures: vec![] };
    let digest = executor.domain().vote_digest(&certificate.vote(validator().address()));
    certificate.insert(0, validator().sign(digest));
    certificate
}

fn genesis_certificate(executor: &Executor) -> Certificate {
    Certificate::genesis(executor.head_hash().unwrap())
}

#[test]
fn fees_go_where_the_protocol_says() {
    let (executor, _) = chain();
    let pool = |executor: &Executor| {
        executor.store().storage(REWARDS_ADDRESS, U256::from_be_bytes(REWARD_POOL_SLOT.0)).unwrap()
    };
    let before = pool(&executor);
    let (block, refused) = build(&executor, genesis_certificate(&executor), vec![transfer(0, 0), transfer(0, 1)]);
    assert!(refused.is_empty());
    let executed = executor.executed(&block.hash()).unwrap();
    executor.commit(&executed, &certify(&executor, &block), true).unwrap();
    let base_fee = U256::from(block.header.base_fee_per_gas.unwrap());
    assert_eq!(pool(&executor) - before, base_fee * U256::from(42_000));
    let tips = executor.store().account(Address::repeat_byte(0xbe)).unwrap().unwrap().balance;
    assert_eq!(tips, U256::from(42_000 * 7));
    assert_eq!(executor.store().account(Address::repeat_byte(0x77)).unwrap().unwrap().balance, U256::from(10));
}

#[test]
fn the_builder_skips_what_does_not_fit_and_says_what_to_drop() {
    let (executor, _) = chain();
    let transactions = vec![transfer(1, 1), transfer(0, 0), transfer(0, 0)];
    let (block, refused) = build(&executor, genesis_certificate(&executor), transactions);
    assert_eq!(block.transactions.len(), 1);
    assert_eq!(refused[0], Verdict::Later, "a gap may be filled");
    assert!(matches!(&refused[1], Verdict::Never(reason) if reason.contains("nonce")), "{refused:?}");
}

#[test]
fn another_node_accepts_the_block_and_reaches_the_same_state() {
    let (a, _) = chain();
    let (b, _) = chain();
    let mut last = genesis_certificate(&a);
    for height in 0..5u64 {
        let (block, _) = build(&a, last, (0..3).map(|index| transfer(index, height)).collect());
        let validated = b.validate(block.encode(), &|_| None).unwrap();
        let certificate = certify(&a, &block);
        for (executor, executed) in [(&a, a.executed(&block.hash()).unwrap()), (&b, validated)] {
            executor.commit(&executed, &certificate, true).unwrap();
        }
        assert_eq!(a.store().head(), b.store().head());
        last = certificate;
    }
}

#[test]
fn every_header_field_is_checked() {
    let (a, _) = chain();
    let (b, _) = chain();
    let (block, _) = build(&a, genesis_certificate(&a), vec![transfer(0, 0)]);
    b.validate(block.encode(), &|_| None).unwrap();
    type Change = fn(&mut alloy_consensus::Header);
    let changes: [(&str, Change); 20] = [
        ("parent_hash", |header| header.parent_hash = B256::ZERO),
        ("ommers_hash", |header| header.ommers_hash = B256::ZERO),
        ("beneficiary", |header| header.beneficiary = Address::ZERO),
        ("state_root", |header| header.state_root = B256::ZERO),
        ("transactions_root", |header| header.transactions_root = B256::ZERO),
        ("receipts_root", |header| header.receipts_root = B256::ZERO),
        ("logs_bloom", |header| header.logs_bloom = Bloom::repeat_byte(1)),
        ("difficulty", |header| header.difficulty = U256::from(1)),
        ("number", |header| header.number = 2),
        ("gas_limit", |header| header.gas_limit += 1),
        ("gas_used", |header| header.gas_used += 1),
        ("timestamp", |header| header.timestamp = 1_600_000_000),
        ("extra_data", |header| header.extra_data = Bytes::from_static(&[9])),
        ("mix_hash", |header| header.mix_hash = B256::ZERO),
        ("base_fee", |header| header.base_fee_per_gas = Some(1)),
        ("withdrawals_root", |header| header.withdrawals_root = Some(B256::ZERO)),
        ("blob_gas_used", |header| header.blob_gas_used = Some(1)),
        ("excess_blob_gas", |header| header.excess_blob_gas = Some(1)),
        ("parent_beacon_block_root", |header| header.parent_beacon_block_root = Some(B256::ZERO)),
        ("requests_hash", |header| header.requests_hash = Some(B256::ZERO)),
    ];
    for (name, change) in changes {
        let mut changed = block.clone();
        change(&mut changed.header);
        let result = b.validate(changed.encode(), &|_| None);
        assert!(matches!(result, Err(Error::Invalid(_))), "{name}: {result:?}");
    }
}

/// Its proposer is found by counting to the round that a block names, so that number is bounded before anybody counts.
#[test]
fn a_block_of_an_absurd_round_costs_nothing() {
    let (a, _) = chain();
    let (b, _) = chain();
    let (block, _) = build(&a, genesis_certificate(&a), vec![]);
    for round in [MAX_ROUND + 1, 5_000_000, u32::MAX] {
        let mut changed = block.clone();
        changed.header.extra_data = ExtraData { round, millis: 0 }.encode();
        let before = rotation_steps();
        let result = b.validate(changed.encode(), &|_| None);
        assert!(matches!(result, Err(Error::Invalid(Invalid::Header { .. }))), "{round}: {result:?}");
        assert!(rotation_steps() - before < 10, "nobody counts to {round}");
    }
}

#[test]
fn last_commit_must_be_the_parents_and_signed_by_its_set() {
    let (a, _) = chain();
    let (b, _) = chain();
    let (first, _) = build(&a, genesis_certificate(&a), vec![]);
    let certificate = certify(&a, &first);
    for executor in [&a, &b] {
        let executed = executor.validate(first.encode(), &|_| None).unwrap();
        executor.commit(&executed, &certificate, true).unwrap();
    }
    let stranger = SecretKey::from_bytes(&[8; 32]).unwrap();
    let mut forged = certificate.clone();
    forged.signatures[0].signature = stranger.sign(a.domain().vote_digest(&forged.vote(stranger.address())));
    let (bad, _) = build(&a, forged, vec![]);
    assert!(matches!(b.validate(bad.encode(), &|_| None), Err(Error::Invalid(Invalid::LastCommit(_)))));
    let mut empty = certificate.clone();
    empty.signatures.clear();
    let (bad, _) = build(&a, empty, vec![]);
    assert!(matches!(b.validate(bad.encode(), &|_| None), Err(Error::Invalid(Invalid::LastCommit(_)))));
    let (good, _) = build(&a, certificate, vec![]);
    b.validate(good.encode(), &|_| None).unwrap();
}

#[test]
fn a_failed_commit_changes_nothing_and_the_block_can_be_committed_later() {
    let (executor, kv) = chain();
    let (block, _) = build(&executor, genesis_certificate(&executor), vec![transfer(0, 0)]);
    let certificate = certify(&executor, &block);
    let executed = executor.executed(&block.hash()).unwrap();
    kv.set_faults(MemoryFaults { fail_writes_from: Some(0) });
    assert!(executor.commit(&executed, &certificate, true).is_err());
    assert_eq!(executor.head_header().unwrap().number, 0);
    kv.set_faults(MemoryFaults::default());
    let executed = executor.validate(block.encode(), &|_| None).unwrap();
    executor.commit(&executed, &certificate, true).unwrap();
    assert_eq!(executor.head_header().unwrap().number, 1);
}

/// Recovery must run on libsecp256k1: the fallback is five times slower. The two are compared in the same run, so the
/// machine's speed does not matter.
#[test]
fn senders_are_recovered_by_the_fast_library() {
    use k256::ecdsa::{RecoveryId, Signature as Ecdsa, VerifyingKey};
    let transaction = transfer(0, 0).transaction().clone();
    let hash = transaction.signature_hash();
    let signature = *transaction.signature();
    let ecdsa = Ecdsa::from_slice(&signature.as_bytes()[..64]).unwrap();
    let recovery = RecoveryId::new(signature.v(), false);
    let measure = |work: &dyn Fn()| {
        (0..5)
            .map(|_| {
                let start = std::time::Instant::now();
                (0..100).for_each(|_| work());
                start.elapsed()
            })
            .min()
            .unwrap()
    };
    let ours = measure(&|| {
        RecoveredTransaction::recover(transaction.clone()).unwrap();
    });
    let slow = measure(&|| {
        VerifyingKey::recover_from_prehash(hash.as_slice(), &ecdsa, recovery).unwrap();
    });
    println!("recovery: ours {ours:?}, k256 {slow:?} for 100");
    assert!(ours * 2 < slow, "recovery takes {ours:?} for 100, k256 {slow:?}: the fast library is not in use");
}

/// Compiles only while the recovery precompile is libsecp256k1's: the module exists with that feature of revm alone. The
/// senders of transactions are recovered by `bttc_types::recover`, which calls the library itself.
#[test]
fn the_recovery_precompile_is_the_fast_one() {
    use alloy_primitives::B512;
    use revm::precompile::secp256k1::bitcoin_secp256k1::ecrecover;
    let digest = B256::repeat_byte(3);
    let signature = validator().sign(digest);
    let (rs, v) = signature.as_bytes().split_at(64);
    let found = ecrecover(&B512::from_slice(rs), v[0], &digest).unwrap();
    assert_eq!(Address::from_word(found), validator().address());
    assert_eq!(bttc_types::recover(digest, &signature).unwrap(), validator().address());
}

#[test]
fn the_oldest_candidate_goes_and_can_still_be_decided() {
    let (executor, _) = chain();
    let mut candidates = Vec::new();
    for index in 0..12u64 {
        let input = BuildInput {
            round: 0,
            time_ms: 1_700_000_001_000 + index * 1_000,
            beneficiary: Address::repeat_byte(0xbe),
            last_commit: genesis_certificate(&executor),
            out_of_time: &mut || false,
            source: &mut Queue(vec![transfer(0, 0)], Vec::new()),
        };
        candidates.push(executor.build(input).unwrap().block.clone());
    }
    let kept = candidates.iter().filter(|block| executor.executed(&block.hash()).is_some()).count();
    assert_eq!(kept, 8);
    let first = &candidates[0];
    assert!(executor.executed(&first.hash()).is_none());
    let executed = executor.validate(first.encode(), &|_| None).unwrap();
    executor.commit(&executed, &certify(&executor, first), true).unwrap();
    assert_eq!(executor.head_hash().unwrap(), first.hash());
}

/// The chain of one validator, so many empty blocks long.
fn chain_of(blocks: u64) -> Executor {
    let (executor, _) = chain();
    let mut last = genesis_certificate(&executor);
    for _ in 0..blocks {
        let (block, _) = build(&executor, last, vec![]);
        let executed = executor.executed(&block.hash()).unwrap();
        last = certify(&executor, &block);
        executor.commit(&executed, &last, true).unwrap();
    }
    executor
}

#[test]
fn a_light_client_takes_what_proves_itself_and_nothing_else() {
    let executor = chain_of(65);
    let genesis = executor.store().genesis_hash().unwrap().unwrap();
    let mut light = LightClient::new(executor.spec(), genesis).unwrap();
    for epoch in 2..=4 {
        let change = executor.set_change(epoch).unwrap().expect("the set of each epoch has a proof");
        let refused = |light: &LightClient, what: &str, spoil: &dyn Fn(&mut SetChange)| {
            let mut spoiled = change.clone();
            spoil(&mut spoiled);
            assert_ne!(spoiled, change, "{what}");
            let mut light = light.clone();
            assert!(light.apply(&spoiled).is_err(), "{what} of epoch {epoch} passes");
            assert_eq!(light.epoch(), epoch - 1);
        };
        refused(&light, "another state root", &|change| change.header.state_root = B256::repeat_byte(1));
        refused(&light, "another height", &|change| change.header.number += 1);
        refused(&light, "another round", &|change| change.certificate.round += 1);
        refused(&light, "no signature", &|change| change.certificate.signatures.clear());
        refused(&light, "more power", &|change| change.validators[0].power += 1);
        refused(&light, "another validator", &|change| change.validators[0].address = Address::repeat_byte(2));
        refused(&light, "nobody", &|change| change.validators.clear());
        for field in [0, 1, 2] {
            // Every byte of the proofs counts.
            let length = |change: &SetChange| match field {
                0 => change.account.len(),
                1 => change.account_proof.iter().map(|node| node.len()).sum(),
                _ => change.storage_proof.iter().map(|node| node.len()).sum::<usize>(),
            };
            for position in 0..length(&change) {
                refused(&light, "a flipped byte", &|change| {
                    let parts: Vec<&mut Bytes> = match field {
                        0 => vec![&mut change.account],
                        1 => change.account_proof.iter_mut().collect(),
                        _ => change.storage_proof.iter_mut().collect(),
                    };
                    let mut left = position;
                    for part in parts {
                        if left < part.len() {
                            let mut bytes = part.to_vec();
                            bytes[left] ^= 1;
                            *part = bytes.into();
                            return;
                        }
                        left -= part.len();
                    }
                });
            }
        }
        // Not in order either.
        if let Some(next) = executor.set_change(epoch + 1).unwrap() {
            assert!(light.clone().apply(&next).is_err());
        }
        light.apply(&change).unwrap();
        assert!(light.apply(&change).is_err(), "twice");
    }
    let head = executor.head_header().unwrap();
    let certificate = executor.store().certificate(head.number).unwrap().unwrap();
    light.verify_header(&head, &certificate).unwrap();
    let other = Header { gas_used: 1, ..head };
    assert!(light.verify_header(&other, &certificate).is_err());
}
