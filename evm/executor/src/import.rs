//! Ethereum chains: blocks as other clients export them, executed and kept like our own, so that RPC serves them.

use crate::ethereum::{EthereumBlock, blob_params, execute_block, next_base_fee, next_excess_blob_gas};
use crate::receipts::encode_receipts;
use crate::{Error, Executor, Invalid};
use alloy_consensus::{BlockBody, Header};
use alloy_primitives::B256;
use alloy_rlp::Decodable;
use bttc_genesis::EvmFork;
use bttc_state::BlockRecord;
use bttc_types::{Block, Certificate, Transaction};

/// What an Ethereum block has beside its header and transactions; its transactions are empty.
pub type EthereumBody = BlockBody<Transaction>;

/// Seconds to the next block, where nothing is known of it: a slot.
const SLOT_SECONDS: u64 = 12;

impl Executor {
    /// Executes a block on the head and makes it the head. Only on a chain under Ethereum's rules. Proofs of work and of stake are not
    /// checked.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the block is bad, and nothing has changed then; the store's and the EVM's otherwise.
    pub fn import(&self, block: EthereumBlock) -> Result<B256, Error> {
        let spec = self.spec();
        if spec.rules.is_bttc() {
            return Err(Invalid::Header { field: "rules", got: "bttc's".into(), expected: "Ethereum's".into() }.into());
        }
        let parent = self.head_header()?;
        let cache = self.code_cache();
        let outcome = execute_block(self.store(), &spec.rules, spec.chain_id(), cache, &parent, &block)?;
        let EthereumBlock { header, body } = block;
        let prepared = self.store().prepare(header.number, &outcome.diff)?;
        if prepared.root() != header.state_root {
            let (got, expected) = (header.state_root.to_string(), prepared.root().to_string());
            return Err(Invalid::Header { field: "stateRoot", got, expected }.into());
        }
        let hash = header.hash_slow();
        let hashes: Vec<B256> = body.transactions.iter().map(|transaction| *transaction.tx_hash()).collect();
        // Nobody certified it.
        let last_commit = Certificate::genesis(header.parent_hash);
        let kept = Block { header, transactions: body.transactions, last_commit };
        let rest = EthereumBody { transactions: Vec::new(), ommers: body.ommers, withdrawals: body.withdrawals };
        let record = BlockRecord {
            header: &kept.header,
            hash,
            block: &kept.encode(),
            receipts: &encode_receipts(&outcome.receipts),
            senders: &outcome.senders,
            transactions: &hashes,
            certificate: None,
            events: &alloy_rlp::encode(&rest),
        };
        self.store().commit(record, prepared, false)?;
        self.forget_head();
        Ok(hash)
    }

    /// What an Ethereum block has beside its header and transactions; nothing for this chain's blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn ethereum_body(&self, header: &Header) -> Result<Option<EthereumBody>, Error> {
        if self.spec().rules.is_bttc() {
            return Ok(None);
        }
        match self.store().events(header.number)? {
            Some(bytes) => {
                let damaged = |error: alloy_rlp::Error| Error::Evm { height: header.number, reason: error.to_string() };
                EthereumBody::decode(&mut bytes.as_slice()).map(Some).map_err(damaged)
            }
            // The first block.
            None => {
                let withdrawals = header.withdrawals_root.map(|_| Default::default());
                Ok(Some(EthereumBody { withdrawals, ..EthereumBody::default() }))
            }
        }
    }

    /// Price of blob gas in a block; nothing where blobs do not exist.
    pub fn blob_base_fee(&self, header: &Header) -> Option<u128> {
        let schedule = self.spec().rules.blobs_at(header.timestamp)?;
        Some(blob_params(schedule).calc_blob_fee(header.excess_blob_gas?))
    }

    /// Price of blob gas in the block after this one; nothing where blobs do not exist.
    pub fn blob_base_fee_after(&self, header: &Header) -> Option<u128> {
        let (fork, timestamp) = self.fork_after(header);
        let schedule = self.spec().rules.blobs_at(timestamp).filter(|_| fork >= EvmFork::Cancun)?;
        Some(blob_params(schedule).calc_blob_fee(next_excess_blob_gas(header, schedule, fork)))
    }

    /// Share of a block's room for blobs that is used.
    pub fn blob_gas_ratio(&self, header: &Header) -> f64 {
        let schedule = self.spec().rules.blobs_at(header.timestamp);
        let most = schedule.map_or(0, |schedule| blob_params(schedule).max_blob_gas_per_block());
        if most == 0 { 0.0 } else { header.blob_gas_used.unwrap_or(0) as f64 / most as f64 }
    }

    /// Base fee of the block after this one by Ethereum's rules; 0 where there is none.
    pub(crate) fn ethereum_base_fee_after(&self, header: &Header) -> u64 {
        let (fork, _) = self.fork_after(header);
        next_base_fee(&self.spec().rules, header, fork).unwrap_or(0)
    }

    fn fork_after(&self, header: &Header) -> (EvmFork, u64) {
        let timestamp = header.timestamp.saturating_add(SLOT_SECONDS);
        (self.spec().rules.fork_at(header.number.saturating_add(1), timestamp), timestamp)
    }
}
