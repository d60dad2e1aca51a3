//! The genesis block.

use crate::Error;
use crate::ethereum::INITIAL_BASE_FEE;
use crate::modules::hook_error;
use crate::receipts::encode_receipts;
use alloy_consensus::Header;
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_RECEIPTS, EMPTY_TRANSACTIONS, EMPTY_WITHDRAWALS};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, U256, keccak256};
use bttc_genesis::{ChainSpec, EvmFork, MODULE_STUB};
use bttc_state::{
    Account, AccountChange, BlockRecord, EMPTY_CODE_HASH, MemoryStore, StateDiff, StateStore, StoreOptions,
};
use bttc_types::{Block, Certificate};
use std::sync::Arc;

/// The state that a genesis file allocates.
fn genesis_state(spec: &ChainSpec) -> Result<StateDiff, Error> {
    let mut diff = StateDiff::default();
    for (address, entry) in &spec.genesis.alloc {
        let code_hash = match &entry.code {
            Some(code) if !code.is_empty() => {
                let hash = keccak256(code);
                diff.code.insert(hash, code.clone());
                hash
            }
            Some(_) | None => EMPTY_CODE_HASH,
        };
        let storage = entry.storage.iter().flatten();
        let change = AccountChange {
            account: Some(Account {
                nonce: entry.nonce.unwrap_or(0),
                balance: entry.balance,
                code_hash,
                ..Account::default()
            }),
            wiped: false,
            storage: storage.map(|(slot, value)| (U256::from_be_bytes(slot.0), U256::from_be_bytes(value.0))).collect(),
        };
        diff.accounts.insert(*address, change);
    }
    if spec.rules.is_bttc() {
        let modules = bttc_modules::genesis::genesis_state(spec).map_err(hook_error(0))?;
        for ((address, slot), value) in modules.storage {
            diff.accounts.entry(address).or_default().storage.insert(slot, value);
        }
        for address in modules.created {
            let account = diff.accounts.entry(address).or_default().account.get_or_insert_default();
            (account.nonce, account.code_hash) = (1, keccak256(MODULE_STUB));
        }
        for (address, balance) in modules.balances {
            let account = diff.accounts.entry(address).or_default().account.get_or_insert_default();
            account.balance = account.balance.saturating_add(balance);
        }
    }
    Ok(diff)
}

fn header_with_root(spec: &ChainSpec, state_root: B256) -> Header {
    let genesis = &spec.genesis;
    let fork = spec.rules.fork_at(0, genesis.timestamp);
    let from = |first: EvmFork| fork >= first;
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: genesis.coinbase,
        state_root,
        transactions_root: EMPTY_TRANSACTIONS,
        receipts_root: EMPTY_RECEIPTS,
        difficulty: genesis.difficulty,
        number: 0,
        gas_limit: genesis.gas_limit,
        timestamp: genesis.timestamp,
        // The chain's own parameters are part of its identity: two networks that differ in them have different
        // genesis hashes, so their nodes do not talk and their votes do not mix.
        extra_data: if spec.rules.is_bttc() {
            keccak256(serde_json::to_vec(&spec.bttc).unwrap_or_default()).0.into()
        } else {
            genesis.extra_data.clone()
        },
        mix_hash: genesis.mix_hash,
        nonce: genesis.nonce.into(),
        base_fee_per_gas: from(EvmFork::London)
            .then(|| genesis.base_fee_per_gas.map_or(INITIAL_BASE_FEE, |fee| u64::try_from(fee).unwrap_or(u64::MAX))),
        withdrawals_root: from(EvmFork::Shanghai).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: from(EvmFork::Cancun).then_some(genesis.blob_gas_used.unwrap_or(0)),
        excess_blob_gas: from(EvmFork::Cancun).then_some(genesis.excess_blob_gas.unwrap_or(0)),
        parent_beacon_block_root: from(EvmFork::Cancun).then_some(B256::ZERO),
        requests_hash: from(EvmFork::Prague).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// The genesis header, computed from the specification alone.
///
/// # Errors
/// The store's.
pub fn genesis_header(spec: &ChainSpec) -> Result<Header, Error> {
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default())?;
    let prepared = store.prepare(0, &genesis_state(spec)?)?;
    Ok(header_with_root(spec, prepared.root()))
}

fn block_of(header: Header) -> Block {
    // Nobody certifies what comes before the beginning.
    Block { header, transactions: Vec::new(), last_commit: Certificate::genesis(B256::ZERO) }
}

/// The genesis block, computed from the specification alone.
///
/// # Errors
/// The store's.
pub fn genesis_block(spec: &ChainSpec) -> Result<Block, Error> {
    genesis_header(spec).map(block_of)
}

/// Puts the genesis block into an empty store, or checks that the store's genesis block is this one. Returns its
/// header and hash.
///
/// # Errors
/// [`Error::OtherGenesis`] or the store's.
pub fn initialize_genesis(store: &StateStore, spec: &ChainSpec) -> Result<(Header, B256), Error> {
    if let Some(found) = store.genesis_hash()? {
        let header = genesis_header(spec)?;
        let expected = header.hash_slow();
        return if found == expected { Ok((header, found)) } else { Err(Error::OtherGenesis { found, expected }) };
    }
    let prepared = store.prepare(0, &genesis_state(spec)?)?;
    let header = header_with_root(spec, prepared.root());
    let hash = header.hash_slow();
    let block = block_of(header.clone());
    let record = BlockRecord {
        header: &header,
        hash,
        block: &block.encode(),
        receipts: &encode_receipts(&[]),
        senders: &[],
        transactions: &[],
        certificate: None,
        events: &[],
    };
    store.commit(record, prepared, true)?;
    Ok((header, hash))
}
