//! Random operations on the pool and on a naive model of it, which keeps a list and searches it.

mod invariants;
mod naive;

use crate::types::{AccountLookup, AccountState, ChainLimits};
use crate::{Error, Pool, PoolConfig};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip7702};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Signature, TxKind, U256};
use bttc_types::{RecoveredTransaction, SecretKey, Transaction};
use naive::Naive;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

const SENDERS: u64 = 7;
const MIN_FEE: u128 = 10;

/// A generator whose sequence is the same everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[derive(Default)]
struct Accounts(Mutex<BTreeMap<Address, AccountState>>);

impl AccountLookup for Accounts {
    fn account(&self, address: Address) -> Result<AccountState, String> {
        Ok(self.0.lock().unwrap().get(&address).copied().unwrap_or_default())
    }
}

fn config(random: &mut Random) -> PoolConfig {
    let all = 12 + random.below(30);
    PoolConfig {
        max_per_sender: 4 + usize::try_from(random.below(12)).unwrap(),
        max_bytes_per_sender: 2_500,
        max_transactions: usize::try_from(all).unwrap(),
        max_bytes: usize::try_from(all * (60 + random.below(120))).unwrap(),
        first_per_sender: usize::try_from(random.below(8)).unwrap(),
        max_queued_per_sender: 1 + usize::try_from(random.below(5)).unwrap(),
        queued_percent: usize::try_from(5 + random.below(40)).unwrap(),
        local_percent: usize::try_from(random.below(40)).unwrap(),
        replacement_percent: 10,
        pending_lifetime_ms: 300,
        queued_lifetime_ms: 100,
        remembered_drops: 50,
    }
}

fn transaction(random: &mut Random, accounts: &Accounts, naive: &Naive) -> Arc<RecoveredTransaction> {
    let sender = key(1 + random.below(SENDERS)).address();
    let next = accounts.account(sender).unwrap().nonce;
    // Mostly the one that comes next, so that the pool fills with executable ones.
    let nonce = match random.below(3) {
        0 => (next + random.below(10)).saturating_sub(random.below(2)),
        _ => naive.next_nonce(sender).unwrap_or(next),
    };
    let fee = MIN_FEE + u128::from(random.below(40));
    let size = if random.below(4) == 0 { random.below(400) } else { 0 };
    let value = if random.below(4) == 0 { random.below(60_000_000) } else { 0 };
    let tip = u128::from(random.below(u64::try_from(fee).unwrap() + 1));
    let signature = Signature::new(U256::from_be_slice(sender.as_slice()), U256::ONE, false);
    let transaction = if random.below(12) == 0 {
        let content = TxEip7702 {
            chain_id: 1,
            nonce,
            gas_limit: 1_000_000,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: tip,
            value: U256::from(value),
            authorization_list: (0..1 + random.below(3)).map(|_| authorization(1 + random.below(SENDERS))).collect(),
            ..TxEip7702::default()
        };
        Transaction::from(content.into_signed(signature))
    } else {
        let content = TxEip1559 {
            chain_id: 1,
            nonce,
            gas_limit: 1_000_000,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(Address::ZERO),
            value: U256::from(value),
            input: vec![1; usize::try_from(size).unwrap()].into(),
            ..TxEip1559::default()
        };
        Transaction::from(content.into_signed(signature))
    };
    Arc::new(RecoveredTransaction::with_sender(transaction, sender))
}

fn key(number: u64) -> SecretKey {
    SecretKey::from_bytes(&[u8::try_from(number).unwrap(); 32]).unwrap()
}

/// An authorization of a sender that can take effect some time.
fn authorization(number: u64) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::ZERO, address: Address::ZERO, nonce: 1 << 40 };
    let signed = key(number).sign(authorization.signature_hash());
    let bytes = signed.as_bytes();
    authorization.into_signed(Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1))
}

/// Changes the accounts of some senders as a block might; gives them.
fn change(random: &mut Random, accounts: &Accounts, naive: &Naive) -> Vec<Address> {
    let mut changed = Vec::new();
    let mut accounts = accounts.0.lock().unwrap();
    for (address, account) in accounts.iter_mut() {
        if random.below(4) > 0 {
            continue;
        }
        match random.below(5) {
            0 => account.balance = U256::from(random.below(400_000_000)),
            1 => account.nonce += random.below(3),
            2 => account.nonce = naive.next_nonce(*address).unwrap_or(account.nonce),
            3 => account.delegated = random.below(5) == 0,
            _ => account.balance = account.balance.saturating_add(U256::from(random.below(300_000_000))),
        }
        changed.push(*address);
    }
    changed
}

fn run(seed: u64, steps: u64) -> BTreeMap<&'static str, u64> {
    let mut random = Random(seed);
    let config = config(&mut random);
    let limits = ChainLimits {
        chain_id: 1,
        gas_cap: 1 << 24,
        gas_limit: 1 << 24,
        min_base_fee: u64::try_from(MIN_FEE).unwrap(),
    };
    let pool = Pool::new(config, limits);
    let accounts = Accounts::default();
    for number in 1..=SENDERS {
        let balance = U256::from(50_000_000 + random.below(900_000_000));
        accounts.0.lock().unwrap().insert(key(number).address(), AccountState { balance, ..AccountState::default() });
    }
    let mut naive = Naive::new(config);
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut announced = HashSet::new();
    let mut now_ms = 1_000;
    for step in 0..steps {
        now_ms += random.below(4);
        let at = format!("seed {seed}, step {step}");
        match random.below(20) {
            0 => {
                let changed = change(&mut random, &accounts, &naive);
                let promoted = pool.on_block(&[], changed.iter().copied(), &accounts).unwrap();
                announced.extend(promoted.iter().map(|transaction| transaction.hash()));
                for address in changed {
                    naive.set_account(address, accounts.account(address).unwrap());
                    naive.bound_queued();
                }
            }
            1 => {
                pool.expire(now_ms);
                naive.expire(now_ms);
            }
            2 => {
                let all = pool.content(None);
                if !all.is_empty() {
                    let chosen = usize::try_from(random.below(all.len() as u64)).unwrap();
                    let chosen = Arc::clone(&all[chosen].transaction);
                    pool.drop_invalid(&chosen, "for a test".into(), &accounts).unwrap();
                    naive.remove(chosen.sender(), chosen.nonce());
                    naive.bound_queued();
                }
            }
            _ => {
                let transaction = transaction(&mut random, &accounts, &naive);
                let local = random.below(5) == 0;
                let account = accounts.account(transaction.sender()).unwrap();
                let expected = naive.add(&transaction, local, now_ms, account);
                let got = pool.add(Arc::clone(&transaction), local, now_ms, &accounts);
                *seen.entry(name(got.as_ref().map(|added| added.pending))).or_default() += 1;
                if let Ok(added) = &got {
                    announced.extend(Some(added.hash).filter(|_| added.pending));
                    announced.extend(added.promoted.iter().map(|transaction| transaction.hash()));
                }
                let got = got.map(|added| added.pending);
                assert_eq!(got, expected, "{at}: {}", transaction.nonce());
            }
        }
        naive.assert_same(&pool, &at);
        invariants::check(&pool, &at);
        assert_announced(&pool, &mut announced, &at);
        if step % 8 == 0 {
            invariants::check_order(&pool, 5 + random.below(40), &at);
        }
    }
    seen
}

/// Whoever watches the pool hears of everything that can be executed, each time that it has become so.
fn assert_announced(pool: &Pool, announced: &mut HashSet<B256>, at: &str) {
    let pending: HashSet<B256> =
        pool.content(None).iter().filter(|entry| entry.pending).map(|entry| entry.transaction.hash()).collect();
    announced.retain(|hash| pending.contains(hash));
    let untold: HashSet<B256> = pool.inner.lock().promoted.iter().map(|transaction| transaction.hash()).collect();
    assert!(pending.iter().all(|hash| announced.contains(hash) || untold.contains(hash)), "{at}");
}

fn name(result: Result<bool, &Error>) -> &'static str {
    match result {
        Ok(true) => "pending",
        Ok(false) => "queued",
        Err(Error::Full { .. }) => "full",
        Err(Error::QueuedFull) => "queued full",
        Err(Error::SenderLimit { what: "transactions that others make way for", .. }) => "beyond the first",
        Err(Error::SenderLimit { .. }) => "sender limit",
        Err(Error::InFlightLimit(_)) => "in flight",
        Err(Error::AuthorityReserved(_)) => "reserved",
        Err(Error::InsufficientFunds { .. }) => "funds",
        Err(Error::NonceTooLow { .. }) => "nonce too low",
        Err(Error::NonceTooHigh { .. }) => "nonce too high",
        Err(Error::ReplacementUnderpriced { .. }) => "replacement",
        Err(Error::AlreadyKnown) => "known",
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_pool_does_what_a_naive_one_does() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..200 {
        for (name, count) in run(seed, 300) {
            *seen.entry(name).or_default() += count;
        }
    }
    for name in [
        "pending",
        "queued",
        "full",
        "queued full",
        "beyond the first",
        "sender limit",
        "in flight",
        "reserved",
        "funds",
        "nonce too low",
        "nonce too high",
        "replacement",
    ] {
        assert!(seen.get(name).is_some_and(|count| *count > 100), "{name} was hardly tried: {seen:?}");
    }
}
