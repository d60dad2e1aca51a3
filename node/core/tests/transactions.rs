//! Transactions from peers: who is blamed for what; and what a committed block does to the pool.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip4844, TxEip7702};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, uint};
use bttc_engine::Input;
use bttc_executor::Executor;
use bttc_genesis::{ChainSpec, DEV_KEYS, GenesisValidator, Preset};
use bttc_network::Verdict;
use bttc_node::{Answer, Application, HeadAccounts, Request, judge_transaction};
use bttc_pool::{AccountLookup, ChainLimits, Pool, PoolConfig};
use bttc_state::{MemoryStore, StateRead, StateStore, StoreOptions};
use bttc_types::{Certificate, MAX_TRANSACTION_BYTES, RecoveredTransaction, SecretKey, Transaction};
use std::sync::Arc;

const CHAIN_ID: u64 = 1337;
const GAS_CAP: u64 = 1 << 24;
const GWEI: u128 = 1_000_000_000;
/// Of secp256k1.
const GROUP_ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

fn limits(min_base_fee: u64) -> ChainLimits {
    ChainLimits { chain_id: CHAIN_ID, gas_cap: GAS_CAP, gas_limit: 500_000_000, min_base_fee }
}

fn key(account: usize) -> SecretKey {
    SecretKey::from_bytes(&DEV_KEYS[account].1.0).unwrap()
}

fn signature(account: usize, hash: alloy_primitives::B256) -> Signature {
    let signed = key(account).sign(hash);
    let bytes = signed.as_bytes();
    Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1)
}

fn signed<T: SignableTransaction<Signature>>(account: usize, transaction: T) -> Transaction
where
    Transaction: From<alloy_consensus::Signed<T>>,
{
    let signature = signature(account, transaction.signature_hash());
    Transaction::from(transaction.into_signed(signature))
}

fn plain() -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        gas_limit: 21_000,
        max_fee_per_gas: 100 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        ..TxEip1559::default()
    }
}

fn bytes(transaction: TxEip1559) -> Vec<u8> {
    signed(0, transaction).encoded_2718()
}

/// The first account's authorization of somebody's code.
fn authorization(address: Address) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address, nonce: 0 };
    let proof = signature(0, authorization.signature_hash());
    SignedAuthorization::new_unchecked(authorization, u8::from(proof.v()), proof.r(), proof.s())
}

fn set_code(authorization_list: Vec<SignedAuthorization>) -> TxEip7702 {
    TxEip7702 {
        chain_id: CHAIN_ID,
        gas_limit: 100_000,
        max_fee_per_gas: 100 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: Address::repeat_byte(0x77),
        authorization_list,
        ..TxEip7702::default()
    }
}

#[test]
fn only_what_is_invalid_for_ever_is_blamed_on_the_peer() {
    let pool = Pool::new(PoolConfig::default(), limits(1_000_000_000));
    assert!(judge_transaction(&pool, &bytes(plain())).is_ok());
    let blob =
        TxEip4844 { chain_id: CHAIN_ID, blob_versioned_hashes: vec![Default::default()], ..TxEip4844::default() };
    let high_s = {
        let transaction = plain();
        let low = signature(0, transaction.signature_hash());
        Transaction::from(transaction.into_signed(Signature::new(low.r(), GROUP_ORDER - low.s(), !low.v())))
    };
    let init_code =
        TxEip1559 { gas_limit: 16_000_000, to: TxKind::Create, input: Bytes::from(vec![1; 49_153]), ..plain() };
    let cases: [(&str, Vec<u8>); 11] = [
        ("no transaction", vec![2, 0xc0]),
        ("not one transaction exactly", [bytes(plain()), vec![0]].concat()),
        ("too large", vec![2; MAX_TRANSACTION_BYTES + 1]),
        ("blobs", signed(0, blob).encoded_2718()),
        ("another chain", bytes(TxEip1559 { chain_id: 1, ..plain() })),
        ("tip above cap", bytes(TxEip1559 { max_priority_fee_per_gas: 101 * GWEI, ..plain() })),
        ("more gas than any transaction", bytes(TxEip1559 { gas_limit: GAS_CAP + 1, ..plain() })),
        ("init code", bytes(init_code)),
        ("no authorizations", signed(0, set_code(Vec::new())).encoded_2718()),
        ("intrinsic gas", bytes(TxEip1559 { gas_limit: 20_999, ..plain() })),
        ("high s", high_s.encoded_2718()),
    ];
    for (name, bytes) in cases {
        let verdict = judge_transaction(&pool, &bytes);
        assert!(matches!(verdict, Err(Verdict::Reject(_))), "{name}: {verdict:?}");
    }
}

#[test]
fn what_honest_nodes_see_otherwise_at_another_height_is_ignored() {
    let pool = Pool::new(PoolConfig::default(), limits(1_000_000_000));
    let (much_gas, cheap) = (
        bytes(TxEip1559 { gas_limit: 8_000_000, ..plain() }),
        bytes(TxEip1559 { max_fee_per_gas: GWEI, max_priority_fee_per_gas: 0, ..plain() }),
    );
    assert!(judge_transaction(&pool, &much_gas).is_ok());
    assert!(judge_transaction(&pool, &cheap).is_ok());
    // Governance lowers the gas limit of blocks and raises the lowest base fee.
    pool.set_limits(5_000_000, 2_000_000_000);
    assert_eq!(judge_transaction(&pool, &much_gas), Err(Verdict::Ignore));
    assert_eq!(judge_transaction(&pool, &cheap), Err(Verdict::Ignore));
    // And what is wrong for ever is so whatever else is the matter.
    let both = TxEip1559 { chain_id: 1, gas_limit: 8_000_000, max_fee_per_gas: GWEI, ..plain() };
    assert!(matches!(judge_transaction(&pool, &bytes(both)), Err(Verdict::Reject(_))));
}

#[test]
fn what_the_pool_knows_or_has_no_room_for_is_ignored_before_its_sender_is_recovered() {
    let chain = Chain::new(1);
    let accounts = HeadAccounts(Arc::clone(&chain.executor));
    let add = |transaction: TxEip1559| {
        let recovered = RecoveredTransaction::recover(signed(0, transaction)).unwrap();
        chain.pool.add(Arc::new(recovered), false, 0, &accounts).unwrap();
    };
    add(plain());
    assert_eq!(judge_transaction(&chain.pool, &bytes(plain())), Err(Verdict::Ignore));
    let other = |fee: u128| TxEip1559 { max_fee_per_gas: fee, ..plain() };
    assert_eq!(judge_transaction(&chain.pool, &signed(1, other(99 * GWEI)).encoded_2718()), Err(Verdict::Ignore));
    assert!(judge_transaction(&chain.pool, &signed(1, other(101 * GWEI)).encoded_2718()).is_ok());
}

/// A chain of one validator.
struct Chain {
    executor: Arc<Executor>,
    pool: Arc<Pool>,
    min_base_fee: u64,
}

impl Chain {
    fn new(max_transactions: usize) -> Self {
        let validator = key(9);
        let entry =
            GenesisValidator { address: validator.address(), owner: validator.address(), power: 1_000, bridge: None };
        let spec = ChainSpec::new(Preset::Local, 1_700_000_000, vec![entry]).unwrap();
        let min_base_fee = spec.bttc.params.min_base_fee;
        let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
        let executor = Arc::new(Executor::open(Arc::new(store), Arc::new(spec)).unwrap());
        let config = PoolConfig { max_transactions, ..PoolConfig::default() };
        Self { executor, pool: Arc::new(Pool::new(config, limits(min_base_fee))), min_base_fee }
    }

    fn application(&self, pool: &Arc<Pool>) -> Application {
        let executor = Arc::clone(&self.executor);
        Application { executor, pool: Arc::clone(pool), beneficiary: Address::repeat_byte(0xbe) }
    }

    /// Makes a block final that another node has built of these transactions.
    fn commit(&self, transactions: Vec<Transaction>) {
        let accounts = HeadAccounts(Arc::clone(&self.executor));
        let other = Arc::new(Pool::new(PoolConfig::default(), limits(self.min_base_fee)));
        let count = transactions.len();
        for transaction in transactions {
            let recovered = RecoveredTransaction::recover(transaction).unwrap();
            other.add(Arc::new(recovered), false, 0, &accounts).unwrap();
        }
        let height = self.executor.head_header().unwrap().number + 1;
        let last_commit = self.executor.store().certificate(height - 1).unwrap();
        let last_commit = last_commit.unwrap_or_else(|| Certificate::genesis(self.executor.head_hash().unwrap()));
        let request = Request::Propose { height, round: 0, last_commit, time_ms: 1_700_000_001_000 };
        let served = self.application(&other).serve(request, &mut || false);
        let Some(Answer::Input(Input::Proposed { hash, bytes, .. })) = served.answer else {
            panic!("{:?}", served.answer)
        };
        let mut certificate = Certificate { height, round: 0, block_hash: hash, signatures: Vec::new() };
        let digest = self.executor.domain().vote_digest(&certificate.vote(key(9).address()));
        certificate.insert(0, key(9).sign(digest));
        let request = Request::Commit { hash, bytes, certificate, durable: true, synced: false };
        let served = self.application(&self.pool).serve(request, &mut || false);
        assert_eq!(served.committed.unwrap().executed.transactions.len(), count);
    }
}

#[test]
fn an_authority_whose_nonce_anothers_transaction_moves_stays_executable() {
    let chain = Chain::new(100);
    let accounts = HeadAccounts(Arc::clone(&chain.executor));
    let (authority, base_fee) = (DEV_KEYS[0].0, chain.executor.next_base_fee().unwrap());
    let mut hashes = Vec::new();
    for nonce in 0..3 {
        let recovered = RecoveredTransaction::recover(signed(0, TxEip1559 { nonce, ..plain() })).unwrap();
        hashes.push(recovered.hash());
        assert!(chain.pool.add(Arc::new(recovered), false, 0, &accounts).unwrap().pending);
    }
    // For no code, so that it is an account as any other afterwards.
    chain.commit(vec![signed(1, set_code(vec![authorization(Address::ZERO)]))]);
    assert_eq!(chain.executor.store().account(authority).unwrap().unwrap().nonce, 1, "the authorization was used");

    assert_eq!(chain.pool.next_nonce(&authority), Some(3));
    let status = chain.pool.status();
    assert_eq!((status.pending, status.queued), (2, 0));
    assert!(chain.pool.has_executable(base_fee));
    assert!(chain.pool.get(&hashes[0]).is_none(), "its nonce is used");
    assert!(chain.pool.get(&hashes[1]).is_some());
}

#[test]
fn an_account_that_is_delegated_keeps_one_transaction_in_the_pool() {
    let chain = Chain::new(100);
    let accounts = HeadAccounts(Arc::clone(&chain.executor));
    let authority = DEV_KEYS[0].0;
    let add = |nonce: u64| {
        let recovered = RecoveredTransaction::recover(signed(0, TxEip1559 { nonce, ..plain() })).unwrap();
        chain.pool.add(Arc::new(recovered), false, 0, &accounts).map(|added| added.pending)
    };
    (0..4).for_each(|nonce| assert_eq!(add(nonce), Ok(true)));
    assert!(!accounts.account(authority).unwrap().delegated);
    chain.commit(vec![signed(1, set_code(vec![authorization(Address::repeat_byte(0x44))]))]);
    let account = accounts.account(authority).unwrap();
    assert!(account.delegated && !account.contract);
    assert_eq!(chain.pool.content(Some(authority)).len(), 1);
    assert_eq!(add(2), Err(bttc_pool::Error::InFlightLimit(authority)));
}

#[test]
fn a_balance_that_anothers_transaction_moves_is_followed() {
    let chain = Chain::new(100);
    let accounts = HeadAccounts(Arc::clone(&chain.executor));
    // An account that has what two transactions cost, and then gets more.
    let poor = SecretKey::from_bytes(&[0x55; 32]).unwrap();
    let cost = U256::from(100 * GWEI) * U256::from(21_000u64);
    let pay =
        |nonce: u64, value: U256| signed(1, TxEip1559 { nonce, to: TxKind::Call(poor.address()), value, ..plain() });
    chain.commit(vec![pay(0, cost * U256::from(2))]);
    let of_poor = |nonce: u64, value: U256| {
        let transaction = TxEip1559 { nonce, value, ..plain() };
        let signed = poor.sign(transaction.signature_hash());
        let bytes = signed.as_bytes();
        let signature = Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1);
        Arc::new(RecoveredTransaction::recover(Transaction::from(transaction.into_signed(signature))).unwrap())
    };
    assert!(!chain.pool.add(of_poor(1, cost), false, 0, &accounts).unwrap().pending);
    assert!(chain.pool.add(of_poor(0, U256::ZERO), false, 0, &accounts).unwrap().pending);
    assert_eq!(chain.pool.next_nonce(&poor.address()), Some(1), "the second one is not payable after the first");
    chain.commit(vec![pay(1, cost)]);
    assert_eq!(chain.pool.next_nonce(&poor.address()), Some(2));
    assert_eq!((chain.pool.status().pending, chain.pool.status().queued), (2, 0));
}
