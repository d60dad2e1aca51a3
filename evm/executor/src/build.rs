//! Building a block: the proposer's part.

use crate::bttc::{begin_block, end_block, next_base_fee};
use crate::cpu::{StageTimes, timed};
use crate::executor::{BlockEnd, ExecutedBlock, Executor, Parts};
use crate::run::{Outcome, Refusal};
use crate::{Error, EvmInput};
use alloy_consensus::Header;
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256};
use bttc_types::{Block, Certificate, MAX_BLOCK_BYTES, RecoveredTransaction, Round, mix_hash, set_block_time};
use revm::context::result::InvalidTransaction;
use std::sync::Arc;

/// Where the builder takes transactions from, best first. Transactions of one sender come in nonce order.
pub trait TransactionSource {
    /// The next transaction.
    fn next(&mut self) -> Option<Arc<RecoveredTransaction>>;

    /// The last one is not part of this block: nothing more of its sender now.
    fn refuse(&mut self, transaction: &Arc<RecoveredTransaction>, verdict: Verdict);
}

/// What a source should do with a transaction that the builder could not include.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it: it may fit into a later block.
    Later,
    /// Drop it, for this reason.
    Never(String),
}

/// What a block is built from. Budgets are inputs: the builder reads no clock.
pub struct BuildInput<'a> {
    /// Round in which it is built.
    pub round: Round,
    /// The block's time in milliseconds; raised above the parent's when necessary.
    pub time_ms: u64,
    /// Fee address of the proposer.
    pub beneficiary: Address,
    /// Certificate of the parent.
    pub last_commit: Certificate,
    /// Called before each transaction: stop adding when it says so.
    pub out_of_time: &'a mut dyn FnMut() -> bool,
    /// The transactions.
    pub source: &'a mut dyn TransactionSource,
}

/// Bytes kept free for header and framing when filling a block.
const FRAMING_BYTES: usize = 4 * 1024;

impl Executor {
    /// Builds and executes a block on the head, and keeps the result for the commit.
    ///
    /// # Errors
    /// The store's and the EVM's.
    pub fn build(&self, input: BuildInput<'_>) -> Result<Arc<ExecutedBlock>, Error> {
        let mut times = StageTimes::default();
        let parent = self.head_header()?;
        let parent_hash = self.head_hash()?;
        let params = &self.head_params()?;
        let height = parent.number + 1;
        let parent_time = bttc_types::block_time_ms(&parent);
        let mut header = Header {
            parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: input.beneficiary,
            number: height,
            gas_limit: params.gas_limit,
            mix_hash: mix_hash(parent.mix_hash, height, input.beneficiary),
            base_fee_per_gas: Some(next_base_fee(&parent, params)),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(input.last_commit.hash()),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        };
        set_block_time(&mut header, input.time_ms.max(parent_time.saturating_add(1)), input.round);

        let mut included: Vec<Arc<RecoveredTransaction>> = Vec::new();
        let commit_bytes = alloy_rlp::Encodable::length(&input.last_commit);
        let mut room = MAX_BLOCK_BYTES.saturating_sub(commit_bytes).saturating_sub(FRAMING_BYTES);
        let base_fee = header.base_fee_per_gas.unwrap_or(0);
        let start = self.block_start(&header, &parent, &input.last_commit)?;
        let mut run = self.begin(EvmInput::from_header(&header), &start);
        let (gas_used, receipts, diff, end) = timed(&mut times.execution, || {
            let mut events = begin_block(&mut run, &start)?;
            while run.gas_left() >= 21_000 && !(input.out_of_time)() {
                let Some(transaction) = input.source.next() else { break };
                // The encoding of a byte string adds at most 4 bytes at this size.
                let bytes = transaction.encoded().len() + 4;
                if bytes > room {
                    input.source.refuse(&transaction, Verdict::Later);
                    continue;
                }
                match run.execute(&transaction)? {
                    Outcome::Included => {
                        room -= bytes;
                        included.push(transaction);
                    }
                    Outcome::Refused(refusal) => {
                        let keep = match &refusal {
                            Refusal::NoRoom => true,
                            Refusal::Type => false,
                            Refusal::Invalid(reason) => may_become_valid(reason),
                        };
                        let verdict = if keep { Verdict::Later } else { Verdict::Never(refusal.to_string()) };
                        input.source.refuse(&transaction, verdict);
                    }
                }
            }
            let next_params = end_block(&mut run, &start.env, base_fee, &mut events)?;
            let receipts = std::mem::take(&mut run.receipts);
            let end = BlockEnd { next_params, events };
            Ok::<_, Error>((run.gas_used, receipts, run.into_state().into_diff(), end))
        })?;
        let prepared = timed(&mut times.root, || self.store().prepare(height, &diff))?;
        let (receipts_root, logs_bloom) = crate::receipts::root_and_bloom(&receipts);
        header.gas_used = gas_used;
        header.state_root = prepared.root();
        header.receipts_root = receipts_root;
        header.logs_bloom = logs_bloom;
        header.transactions_root = transactions_root(&included);
        let block = Block {
            header,
            transactions: included.iter().map(|transaction| transaction.transaction().clone()).collect(),
            last_commit: input.last_commit,
        };
        let encoded = block.encode();
        Ok(self.keep(Parts { block, encoded, transactions: included, receipts, prepared, times, end }))
    }
}

/// Whether a transaction that revm refused here may be valid on a later state without its sender doing anything: a
/// gap before it may be filled, the base fee may fall. Too little balance does not count, or a drained account could
/// make every builder try its transactions in every block.
fn may_become_valid(reason: &InvalidTransaction) -> bool {
    matches!(
        reason,
        InvalidTransaction::NonceTooHigh { .. }
            | InvalidTransaction::GasPriceLessThanBasefee
            | InvalidTransaction::CallerGasLimitMoreThanBlock
    )
}

/// Root of the transaction trie.
pub(crate) fn transactions_root(transactions: &[Arc<RecoveredTransaction>]) -> B256 {
    let encoded: Vec<&[u8]> = transactions.iter().map(|transaction| transaction.encoded().as_ref()).collect();
    alloy_trie::root::ordered_trie_root_encoded(&encoded)
}
