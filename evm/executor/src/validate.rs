//! Validating a block: everyone else's part. Every byte of a block is covered by a check here.

use crate::bttc::{begin_block, end_block, next_base_fee};
use crate::build::transactions_root;
use crate::cpu::{StageTimes, thread_time, timed};
use crate::executor::{BlockEnd, ExecutedBlock, Executor, Parts};
use crate::run::Outcome;
use crate::{Error, EvmInput, Invalid};
use alloy_consensus::Header;
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B64, B256, Bloom, U256};
use bttc_types::{Block, Certificate, ExtraData, MAX_BLOCK_BYTES, RecoveredTransaction, block_time_ms, mix_hash};
use rayon::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// Finds transactions whose sender the node already knows.
pub type Known<'a> = &'a (dyn Fn(&B256) -> Option<Arc<RecoveredTransaction>> + Sync);

impl Executor {
    /// Checks a block that claims to follow the head, executes it and keeps the result for the commit. A block that
    /// was built or validated before is not executed again.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the block is bad; anything else means that this node could not tell.
    pub fn validate(&self, encoded: Vec<u8>, known: Known<'_>) -> Result<Arc<ExecutedBlock>, Error> {
        if encoded.len() > MAX_BLOCK_BYTES {
            return Err(Invalid::TooLarge { got: encoded.len(), limit: MAX_BLOCK_BYTES }.into());
        }
        let block = Block::decode(&encoded).map_err(Invalid::LastCommit)?;
        if let Some(done) = self.executed(&block.hash())
            && *done.encoded == *encoded
        {
            return Ok(done);
        }
        let mut times = StageTimes::default();
        let parent = self.head_header()?;
        let parent_hash = self.head_hash()?;
        self.check_before_execution(&block, &parent, parent_hash)?;
        self.check_last_commit(&block.last_commit, &parent, parent_hash)?;
        let transactions = recover_senders(&block, known, &mut times.recovery)?;
        let roots = transactions_root(&transactions);
        expect("transactionsRoot", block.header.transactions_root, roots)?;

        let start = self.block_start(&block.header, &parent, &block.last_commit)?;
        let base_fee = block.header.base_fee_per_gas.unwrap_or(0);
        let mut run = self.begin(EvmInput::from_header(&block.header), &start);
        let (gas_used, receipts, diff, end) = timed(&mut times.execution, || {
            let mut events = begin_block(&mut run, &start)?;
            for (index, transaction) in transactions.iter().enumerate() {
                if let Outcome::Refused(reason) = run.execute(transaction)? {
                    return Err(Error::Invalid(Invalid::Transaction {
                        index,
                        hash: transaction.hash(),
                        reason: reason.to_string(),
                    }));
                }
            }
            let next_params = end_block(&mut run, &start.env, base_fee, &mut events)?;
            let receipts = std::mem::take(&mut run.receipts);
            let end = BlockEnd { next_params, events };
            Ok::<_, Error>((run.gas_used, receipts, run.into_state().into_diff(), end))
        })?;
        expect("gasUsed", block.header.gas_used, gas_used)?;
        let (receipts_root, logs_bloom) = crate::receipts::root_and_bloom(&receipts);
        expect("receiptsRoot", block.header.receipts_root, receipts_root)?;
        if block.header.logs_bloom != logs_bloom {
            return Err(mismatch("logsBloom", bloom_digest(&block.header.logs_bloom), bloom_digest(&logs_bloom)).into());
        }
        let prepared = timed(&mut times.root, || self.store().prepare(block.header.number, &diff))?;
        expect("stateRoot", block.header.state_root, prepared.root())?;
        Ok(self.keep(Parts { block, encoded, transactions, receipts, prepared, times, end }))
    }

    /// Header fields that follow from the parent and the chain's parameters.
    fn check_before_execution(&self, block: &Block, parent: &Header, parent_hash: B256) -> Result<(), Error> {
        let header = &block.header;
        let params = &self.head_params()?;
        expect("parentHash", header.parent_hash, parent_hash)?;
        expect("number", header.number, parent.number + 1)?;
        expect("sha3Uncles", header.ommers_hash, EMPTY_OMMER_ROOT_HASH)?;
        expect("difficulty", header.difficulty, U256::ZERO)?;
        expect("nonce", header.nonce, B64::ZERO)?;
        expect("gasLimit", header.gas_limit, params.gas_limit)?;
        expect("baseFeePerGas", header.base_fee_per_gas, Some(next_base_fee(parent, params)))?;
        expect("withdrawalsRoot", header.withdrawals_root, Some(EMPTY_WITHDRAWALS))?;
        expect("blobGasUsed", header.blob_gas_used, Some(0))?;
        expect("excessBlobGas", header.excess_blob_gas, Some(0))?;
        expect("requestsHash", header.requests_hash, Some(EMPTY_REQUESTS_HASH))?;
        expect("blockAccessListHash", header.block_access_list_hash, None)?;
        expect("slotNumber", header.slot_number, None)?;
        expect("parentBeaconBlockRoot", header.parent_beacon_block_root, Some(block.last_commit.hash()))?;
        let randao = mix_hash(parent.mix_hash, header.number, header.beneficiary);
        expect("mixHash", header.mix_hash, randao)?;
        if ExtraData::decode(&header.extra_data).is_err() {
            return Err(mismatch("extraData", &header.extra_data, "version 1 of this protocol").into());
        }
        let (time, parent_time) = (block_time_ms(header), block_time_ms(parent));
        if time <= parent_time {
            return Err(mismatch("timestamp", time, format!("more than the parent's {parent_time} ms")).into());
        }
        Ok(())
    }

    /// The parent's certificate: for the parent, by its set, every signature good.
    fn check_last_commit(&self, commit: &Certificate, parent: &Header, parent_hash: B256) -> Result<(), Error> {
        if parent.number == 0 {
            let expected = Certificate::genesis(parent_hash);
            return if *commit == expected { Ok(()) } else { Err(mismatch("lastCommit", commit.height, 0).into()) };
        }
        expect("lastCommit.height", commit.height, parent.number)?;
        expect("lastCommit.blockHash", commit.block_hash, parent_hash)?;
        let set = self.validator_set(parent.number)?;
        commit.verify(&set, self.domain()).map_err(Invalid::LastCommit)?;
        Ok(())
    }
}

/// Senders of a block's transactions: from the pool where it knows them, recovered on all cores otherwise.
fn recover_senders(
    block: &Block,
    known: Known<'_>,
    time: &mut Duration,
) -> Result<Vec<Arc<RecoveredTransaction>>, Error> {
    let work =
        |(index, transaction): (usize, &bttc_types::Transaction)| {
            if let Some(found) = known(transaction.tx_hash()) {
                return Ok((found, Duration::ZERO));
            }
            let start = thread_time();
            let recovered = RecoveredTransaction::recover(transaction.clone()).map_err(|error| {
                Invalid::Transaction { index, hash: *transaction.tx_hash(), reason: error.to_string() }
            })?;
            Ok((Arc::new(recovered), thread_time().saturating_sub(start)))
        };
    // Below this, handing work to other threads costs more than it saves.
    let results: Vec<(Arc<RecoveredTransaction>, Duration)> = if block.transactions.len() < 8 {
        block.transactions.iter().enumerate().map(work).collect::<Result<_, Invalid>>()?
    } else {
        block.transactions.par_iter().enumerate().map(work).collect::<Result<_, Invalid>>()?
    };
    let mut transactions = Vec::with_capacity(results.len());
    for (transaction, spent) in results {
        *time += spent;
        transactions.push(transaction);
    }
    Ok(transactions)
}

fn mismatch(field: &'static str, got: impl std::fmt::Debug, expected: impl std::fmt::Debug) -> Invalid {
    Invalid::Header { field, got: format!("{got:?}"), expected: format!("{expected:?}") }
}

fn expect<T: PartialEq + std::fmt::Debug>(field: &'static str, got: T, expected: T) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(mismatch(field, got, expected).into()) }
}

/// Blooms have 256 bytes; a message shows their hash.
fn bloom_digest(bloom: &Bloom) -> B256 {
    alloy_primitives::keccak256(bloom)
}
