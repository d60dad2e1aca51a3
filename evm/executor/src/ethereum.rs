//! Execution under Ethereum's rules: for other people's test suites and chains.
//!
//! Here the base fee is burned, forks come by height and time, and blobs, withdrawals and requests exist.

use crate::block_state::{BlockState, CodeCache, StateError};
use crate::receipts::{StoredReceipt, logs_hash};
use crate::run::{BlockRun, Outcome};
use crate::{Error, EvmInput, Invalid};
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_consensus::proofs::{calculate_ommers_root, calculate_transaction_root, calculate_withdrawals_root};
use alloy_consensus::{Header, SignableTransaction, Transaction as _};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_eips::eip7685::Requests;
use alloy_eips::eip7840::BlobParams;
use alloy_eips::{eip2935, eip4788, eip6110, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, U256, b256};
use bttc_genesis::{BlobSchedule, EvmFork, Rules, SYSTEM_CALLER};
use bttc_state::{StateDiff, StateRead, StateStore};
use bttc_types::{RecoveredTransaction, Transaction};
use revm::context::result::ExecutionResult;
use revm::database_interface::Database;
use std::sync::Arc;

/// An Ethereum block.
pub type EthereumBlock = alloy_consensus::Block<Transaction>;

/// `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// What one transaction did to a state.
#[derive(Clone, Debug)]
pub struct SingleOutcome {
    /// Changes of the state; none when the transaction was refused.
    pub diff: StateDiff,
    /// `keccak(rlp(logs))`.
    pub logs_hash: B256,
    /// Why the transaction was refused, if it was.
    pub refused: Option<String>,
}

/// Executes one transaction in a block of its own, without system calls and rewards: an Ethereum state test.
///
/// # Errors
/// The store's and the EVM's.
pub fn execute_single(
    state: &dyn StateRead,
    input: EvmInput,
    rules: &Rules,
    chain_id: u64,
    code_cache: &Arc<CodeCache>,
    transaction: &RecoveredTransaction,
) -> Result<SingleOutcome, Error> {
    let mut run = BlockRun::new(BlockState::new(state, Arc::clone(code_cache)), input, rules, chain_id, None);
    match run.execute(transaction)? {
        Outcome::Refused(reason) => Ok(SingleOutcome {
            diff: StateDiff::default(),
            logs_hash: logs_hash(&[]),
            refused: Some(reason.to_string()),
        }),
        Outcome::Included => {
            let logs = run.receipts.last().map(|receipt| logs_hash(&receipt.logs)).unwrap_or_default();
            Ok(SingleOutcome { diff: run.into_state().into_diff(), logs_hash: logs, refused: None })
        }
    }
}

/// What executing a block gave.
#[derive(Clone, Debug)]
pub struct BlockOutcome {
    /// Changes of the state.
    pub diff: StateDiff,
    /// Receipts in order.
    pub receipts: Vec<StoredReceipt>,
    /// Who sent its transactions.
    pub senders: Vec<Address>,
}

/// EIP-7934: largest RLP of a block, 10 MiB less 2 MiB for the consensus layer.
const MAX_RLP_BLOCK_BYTES: usize = 8 * 1024 * 1024;

/// EIP-1559: by how much a block's gas limit may differ from its parent's.
const GAS_LIMIT_DIVISOR: u64 = 1_024;

/// Lowest gas limit of a block.
const MIN_GAS_LIMIT: u64 = 5_000;

/// Base fee of London's first block (EIP-1559).
pub(crate) const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// A checked block's surroundings.
struct Surroundings<'a> {
    rules: &'a Rules,
    fork: EvmFork,
    parent: &'a Header,
    block: &'a EthereumBlock,
}

/// Checks and executes a block of any fork: header rules, system calls, transactions, rewards of blocks and uncles, withdrawals and
/// requests. Proofs of work and of stake are not checked. The caller compares the state root, which it computes from the changes.
///
/// # Errors
/// [`Error::Invalid`] when the block is bad; the store's and the EVM's otherwise.
pub fn execute_block(
    store: &StateStore,
    rules: &Rules,
    chain_id: u64,
    code_cache: &Arc<CodeCache>,
    parent: &Header,
    block: &EthereumBlock,
) -> Result<BlockOutcome, Error> {
    let header = &block.header;
    let fork = rules.fork_at(header.number, header.timestamp);
    check_header(&Surroundings { rules, fork, parent, block })?;
    let transactions = recover_all(fork, block)?;
    let input = EvmInput::from_header(header);
    let mut run = BlockRun::new(BlockState::new(store, Arc::clone(code_cache)), input, rules, chain_id, None);
    begin_block(&mut run, fork, header)?;
    for (index, transaction) in transactions.iter().enumerate() {
        if let Outcome::Refused(reason) = run.execute(transaction)? {
            let (hash, reason) = (transaction.hash(), reason.to_string());
            return Err(Invalid::Transaction { index, hash, reason }.into());
        }
        if fork < EvmFork::Byzantium {
            let root = store.prepare(header.number, &run.state().clone().into_diff())?.root();
            if let Some(receipt) = run.receipts.last_mut() {
                receipt.post_state = Some(root);
            }
        }
    }
    for (address, amount) in rewards(fork, header, &block.body.ommers) {
        run.state().add_balance(address, amount).map_err(|StateError(error)| Error::Store(error))?;
    }
    for withdrawal in block.body.withdrawals.iter().flatten() {
        // Gwei to wei.
        let amount = U256::from(withdrawal.amount) * U256::from(1_000_000_000u64);
        run.state().add_balance(withdrawal.address, amount).map_err(|StateError(error)| Error::Store(error))?;
    }
    let requests = (fork >= EvmFork::Prague).then(|| requests_of(&mut run, rules)).transpose()?;
    let requests = requests.map(|requests| requests.requests_hash());
    expect("requestsHash", header.requests_hash, requests)?;
    expect("gasUsed", header.gas_used, run.gas_used)?;
    let (receipts_root, bloom) = crate::receipts::root_and_bloom(&run.receipts);
    expect("receiptsRoot", header.receipts_root, receipts_root)?;
    if header.logs_bloom != bloom {
        return Err(mismatch("logsBloom", "another bloom", "the bloom of the receipts"));
    }
    let receipts = std::mem::take(&mut run.receipts);
    let senders = transactions.iter().map(RecoveredTransaction::sender).collect();
    Ok(BlockOutcome { diff: run.into_state().into_diff(), receipts, senders })
}

/// Before the first transaction: the system calls of EIP-4788 and EIP-2935.
pub(crate) fn begin_block(run: &mut BlockRun<'_>, fork: EvmFork, header: &Header) -> Result<(), Error> {
    if fork >= EvmFork::Cancun {
        let beacon_root = header.parent_beacon_block_root.unwrap_or_default();
        run.system_call(SYSTEM_CALLER, eip4788::BEACON_ROOTS_ADDRESS, beacon_root.0.into())?;
    }
    if fork >= EvmFork::Prague {
        run.system_call(SYSTEM_CALLER, eip2935::HISTORY_STORAGE_ADDRESS, header.parent_hash.0.into())?;
    }
    Ok(())
}

fn recover_all(fork: EvmFork, block: &EthereumBlock) -> Result<Vec<RecoveredTransaction>, Error> {
    let all = block.body.transactions.iter().enumerate().map(|(index, transaction)| {
        let hash = *transaction.tx_hash();
        let recovered = match transaction {
            // EIP-2 came with Homestead: before, the other of the two values of `s` signs as well.
            Transaction::Legacy(signed) if fork < EvmFork::Homestead && signed.signature().normalize_s().is_some() => {
                let signature = signed.signature().normalized_s();
                let low = Transaction::Legacy(signed.tx().clone().into_signed(signature));
                RecoveredTransaction::recover(low)
                    .map(|low| RecoveredTransaction::with_sender(transaction.clone(), low.sender()))
            }
            _ => RecoveredTransaction::recover(transaction.clone()),
        };
        recovered.map_err(|error| Invalid::Transaction { index, hash, reason: error.to_string() }.into())
    });
    all.collect()
}

/// What the end of a block asks of the consensus layer (EIP-7685).
fn requests_of(run: &mut BlockRun<'_>, rules: &Rules) -> Result<Requests, Error> {
    let mut requests = Requests::default();
    let deposits = deposits(&run.receipts, rules.deposit_contract())?;
    if !deposits.is_empty() {
        requests.push_request_with_type(eip6110::DEPOSIT_REQUEST_TYPE, deposits);
    }
    for (kind, address) in [
        (eip7002::WITHDRAWAL_REQUEST_TYPE, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
        (eip7251::CONSOLIDATION_REQUEST_TYPE, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS),
    ] {
        let output = request_call(run, address)?;
        if !output.is_empty() {
            requests.push_request_with_type(kind, output);
        }
    }
    Ok(requests)
}

/// What a block before the merge pays its miner and those of its uncles (yellow paper, section 11.3; EIP-649, EIP-1234).
pub(crate) fn rewards(fork: EvmFork, header: &Header, ommers: &[Header]) -> Vec<(Address, U256)> {
    let ether = U256::from(10u64).pow(U256::from(18u64));
    let base = match fork {
        EvmFork::Frontier | EvmFork::Homestead | EvmFork::Tangerine | EvmFork::SpuriousDragon => U256::from(5) * ether,
        EvmFork::Byzantium => U256::from(3) * ether,
        EvmFork::Petersburg | EvmFork::Istanbul | EvmFork::Berlin | EvmFork::London => U256::from(2) * ether,
        EvmFork::Merge | EvmFork::Shanghai | EvmFork::Cancun | EvmFork::Prague | EvmFork::Osaka => return Vec::new(),
    };
    let mut paid = Vec::new();
    let mut miner = base;
    for uncle in ommers {
        // An uncle is one to six blocks older.
        let left = uncle.number.saturating_add(8).saturating_sub(header.number);
        paid.push((uncle.beneficiary, base * U256::from(left) / U256::from(8)));
        miner += base / U256::from(32);
    }
    paid.push((header.beneficiary, miner));
    paid
}

/// Header rules that follow from the parent and the body.
fn check_header(surroundings: &Surroundings<'_>) -> Result<(), Error> {
    let Surroundings { fork, parent, block, .. } = *surroundings;
    let header = &block.header;
    let bytes = alloy_rlp::Encodable::length(block);
    if fork >= EvmFork::Osaka && bytes > MAX_RLP_BLOCK_BYTES {
        return Err(Invalid::TooLarge { got: bytes, limit: MAX_RLP_BLOCK_BYTES }.into());
    }
    expect("number", header.number, parent.number + 1)?;
    expect("parentHash", header.parent_hash, parent.hash_slow())?;
    if header.timestamp <= parent.timestamp {
        return Err(mismatch("timestamp", header.timestamp, "more than the parent's"));
    }
    if header.extra_data.len() > 32 {
        return Err(mismatch("extraData", header.extra_data.len(), "at most 32 bytes"));
    }
    if fork >= EvmFork::Merge {
        expect("difficulty", header.difficulty, U256::ZERO)?;
        expect("nonce", header.nonce.0, [0; 8])?;
        expect("sha3Uncles", header.ommers_hash, EMPTY_OMMER_ROOT_HASH)?;
        expect("uncles", block.body.ommers.len(), 0)?;
    }
    expect("sha3Uncles", header.ommers_hash, calculate_ommers_root(&block.body.ommers))?;
    check_uncles(block)?;
    if fork < EvmFork::Merge && header.difficulty.is_zero() {
        let words = "more than 0 before the merge, whose height is the genesis file's mergeNetsplitBlock";
        return Err(mismatch("difficulty", 0, words));
    }
    check_fees(surroundings)?;
    expect("transactionsRoot", header.transactions_root, calculate_transaction_root(&block.body.transactions))?;
    let withdrawals = (fork >= EvmFork::Shanghai).then(|| {
        let withdrawals = block.body.withdrawals.as_ref();
        withdrawals.map_or(EMPTY_WITHDRAWALS, |list| calculate_withdrawals_root(list))
    });
    expect("withdrawalsRoot", header.withdrawals_root, withdrawals)?;
    expect("withdrawals", block.body.withdrawals.is_some(), fork >= EvmFork::Shanghai)?;
    expect("parentBeaconBlockRoot", header.parent_beacon_block_root.is_some(), fork >= EvmFork::Cancun)?;
    check_blobs(surroundings)
}

/// At most two uncles of the last six heights, each once (yellow paper, section 11.1). That they were made on this chain is a matter of its
/// proof of work.
fn check_uncles(block: &EthereumBlock) -> Result<(), Error> {
    let (uncles, height) = (&block.body.ommers, block.header.number);
    let recent = |uncle: &Header| uncle.number < height && height - uncle.number <= 6;
    let twice = matches!(uncles.as_slice(), [one, other] if one == other);
    if uncles.len() > 2 || twice || !uncles.iter().all(recent) {
        return Err(mismatch("uncles", uncles.len(), "at most two different ones of the last six heights"));
    }
    Ok(())
}

/// Gas limit and base fee.
fn check_fees(surroundings: &Surroundings<'_>) -> Result<(), Error> {
    let Surroundings { rules, fork, parent, block } = *surroundings;
    let header = &block.header;
    let fees_begin = fork >= EvmFork::London && rules.fork_at(parent.number, parent.timestamp) < EvmFork::London;
    // EIP-1559 doubles the limit where it begins: the target is what the limit was.
    let parent_limit = if fees_begin { parent.gas_limit.saturating_mul(2) } else { parent.gas_limit };
    let bound = parent_limit / GAS_LIMIT_DIVISOR;
    if header.gas_limit.abs_diff(parent_limit) >= bound || header.gas_limit < MIN_GAS_LIMIT {
        return Err(mismatch("gasLimit", header.gas_limit, "close to the parent's"));
    }
    expect("baseFeePerGas", header.base_fee_per_gas, next_base_fee(rules, parent, fork))
}

/// Base fee of the block of this fork after `parent` (EIP-1559); none before London.
pub(crate) fn next_base_fee(rules: &Rules, parent: &Header, fork: EvmFork) -> Option<u64> {
    if fork < EvmFork::London {
        return None;
    }
    if rules.fork_at(parent.number, parent.timestamp) < EvmFork::London {
        return Some(INITIAL_BASE_FEE);
    }
    let parent_fee = parent.base_fee_per_gas.unwrap_or(0);
    Some(BaseFeeParams::ethereum().next_block_base_fee(parent.gas_used, parent.gas_limit, parent_fee))
}

/// Blobs and their gas.
fn check_blobs(surroundings: &Surroundings<'_>) -> Result<(), Error> {
    let Surroundings { rules, fork, parent, block } = *surroundings;
    let header = &block.header;
    let hashes = block.body.transactions.iter().filter_map(|transaction| transaction.blob_versioned_hashes());
    let blobs: u64 = hashes.map(|hashes| hashes.len() as u64).sum();
    let schedule = rules.blobs_at(header.timestamp).filter(|_| fork >= EvmFork::Cancun);
    let Some(schedule) = schedule else {
        expect("blobs", blobs, 0)?;
        expect("blobGasUsed", header.blob_gas_used, None)?;
        return expect("excessBlobGas", header.excess_blob_gas, None);
    };
    expect("blobGasUsed", header.blob_gas_used, Some(blobs * DATA_GAS_PER_BLOB))?;
    if blobs > schedule.max {
        return Err(mismatch("blobGasUsed", blobs, "at most the schedule's maximum of blobs"));
    }
    let excess = next_excess_blob_gas(parent, schedule, fork);
    expect("excessBlobGas", header.excess_blob_gas, Some(excess))
}

/// Excess blob gas of the block of this fork after `parent` (EIP-4844, EIP-7918).
pub(crate) fn next_excess_blob_gas(parent: &Header, schedule: BlobSchedule, fork: EvmFork) -> u64 {
    let (excess, used) = (parent.excess_blob_gas.unwrap_or(0), parent.blob_gas_used.unwrap_or(0));
    if fork < EvmFork::Osaka {
        return excess.saturating_add(used).saturating_sub(schedule.target.saturating_mul(DATA_GAS_PER_BLOB));
    }
    let base_fee = parent.base_fee_per_gas.unwrap_or(0);
    blob_params(schedule).next_block_excess_blob_gas_osaka(excess, used, base_fee)
}

/// A schedule in the library's form.
pub(crate) fn blob_params(schedule: BlobSchedule) -> BlobParams {
    BlobParams {
        target_blob_count: schedule.target,
        max_blob_count: schedule.max,
        update_fraction: u128::from(schedule.update_fraction),
        ..BlobParams::osaka()
    }
}

/// Calls a request contract at the end of a block. It must exist and must not fail (EIP-7002, EIP-7251).
fn request_call(run: &mut BlockRun<'_>, address: Address) -> Result<Bytes, Error> {
    let account = run.state().basic(address).map_err(|StateError(error)| Error::Store(error))?;
    if account.is_none_or(|account| account.is_empty_code_hash()) {
        return Err(Invalid::SystemCall(format!("{address} has no code")).into());
    }
    match run.system_call(SYSTEM_CALLER, address, Bytes::new())? {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => {
            Err(Invalid::SystemCall(format!("{address} failed")).into())
        }
    }
}

/// Deposit requests from the logs of the deposit contract (EIP-6110), whose layout must be exactly the contract's.
fn deposits(receipts: &[StoredReceipt], contract: Address) -> Result<Bytes, Error> {
    /// Offset and length of each field in the event's data: public key, credentials, amount, signature, index.
    const LAYOUT: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];
    const DATA: usize = 576;
    let mut requests = Vec::new();
    let logs = receipts.iter().flat_map(|receipt| &receipt.logs);
    for log in logs.filter(|log| log.address == contract && log.topics().first() == Some(&DEPOSIT_EVENT)) {
        let data = &log.data.data;
        let word = |at: usize| data.get(at..at + 32).map(U256::from_be_slice);
        let bad = || Invalid::SystemCall("a deposit event has another layout".into());
        if data.len() != DATA {
            return Err(bad().into());
        }
        for (index, (offset, length)) in LAYOUT.into_iter().enumerate() {
            if word(index * 32) != Some(U256::from(offset)) || word(offset) != Some(U256::from(length)) {
                return Err(bad().into());
            }
            requests.extend_from_slice(data.get(offset + 32..offset + 32 + length).ok_or_else(bad)?);
        }
    }
    Ok(requests.into())
}

fn mismatch(field: &'static str, got: impl std::fmt::Debug, expected: impl std::fmt::Debug) -> Error {
    Invalid::Header { field, got: format!("{got:?}"), expected: format!("{expected:?}") }.into()
}

fn expect<T: PartialEq + std::fmt::Debug>(field: &'static str, got: T, expected: T) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(mismatch(field, got, expected)) }
}
