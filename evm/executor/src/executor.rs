//! The executor: head of the chain, results of executed blocks, commit.

use crate::block_state::{BlockState, CodeCache};
use crate::cpu::{StageTimes, timed};
use crate::receipts::{StoredReceipt, encode_receipts};
use crate::run::BlockRun;
use crate::{Error, EvmInput, initialize_genesis};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256};
use bttc_genesis::ChainSpec;
use bttc_state::{BlockRecord, PreparedState, StateStore};
use bttc_types::{Block, Certificate, RecoveredTransaction, SigningDomain, ValidatorSet};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A block with everything that executing it gave.
#[derive(Debug)]
pub struct ExecutedBlock {
    /// The block.
    pub block: Block,
    /// Its hash.
    pub hash: B256,
    /// Its encoding.
    pub encoded: Arc<[u8]>,
    /// Its transactions with their senders.
    pub transactions: Vec<Arc<RecoveredTransaction>>,
    /// Its receipts.
    pub receipts: Vec<StoredReceipt>,
    /// CPU time by stage.
    pub times: StageTimes,
    /// Taken by the commit.
    prepared: Mutex<Option<PreparedState>>,
}

/// What [`Executor::keep`] makes an [`ExecutedBlock`] of.
pub(crate) struct Parts {
    pub(crate) block: Block,
    pub(crate) encoded: Vec<u8>,
    pub(crate) transactions: Vec<Arc<RecoveredTransaction>>,
    pub(crate) receipts: Vec<StoredReceipt>,
    pub(crate) prepared: PreparedState,
    pub(crate) times: StageTimes,
}

/// Most candidate blocks kept for one height. A height sees more than a few only under attack; the oldest goes, and
/// should it be decided after all, it is executed again.
const MAX_CANDIDATES: usize = 8;

/// Executes blocks on the head of a store.
pub struct Executor {
    store: Arc<StateStore>,
    spec: Arc<ChainSpec>,
    domain: SigningDomain,
    code_cache: Arc<CodeCache>,
    candidates: Mutex<Candidates>,
    head: Mutex<Option<(Header, B256)>>,
    sets: Mutex<BTreeMap<u64, ValidatorSet>>,
}

#[derive(Default)]
struct Candidates {
    by_hash: BTreeMap<B256, Arc<ExecutedBlock>>,
    order: Vec<B256>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Executor {
    /// Opens the chain in a store; writes the genesis block when the store is empty.
    ///
    /// # Errors
    /// [`Error::OtherGenesis`] or the store's.
    pub fn open(store: Arc<StateStore>, spec: Arc<ChainSpec>) -> Result<Self, Error> {
        let (_, genesis_hash) = initialize_genesis(&store, &spec)?;
        let domain = SigningDomain::new(spec.chain_id(), genesis_hash);
        Ok(Self {
            store,
            spec,
            domain,
            code_cache: CodeCache::new(4_096),
            candidates: Mutex::default(),
            head: Mutex::default(),
            sets: Mutex::default(),
        })
    }

    /// The chain's specification.
    pub fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    /// What signatures of this network are bound to.
    pub fn domain(&self) -> &SigningDomain {
        &self.domain
    }

    /// The store.
    pub fn store(&self) -> &Arc<StateStore> {
        &self.store
    }

    /// Analysed code.
    pub fn code_cache(&self) -> &Arc<CodeCache> {
        &self.code_cache
    }

    /// The header of the head.
    ///
    /// # Errors
    /// The store's.
    pub fn head_header(&self) -> Result<Header, Error> {
        Ok(self.head()?.0)
    }

    /// The hash of the head.
    ///
    /// # Errors
    /// The store's.
    pub fn head_hash(&self) -> Result<B256, Error> {
        Ok(self.head()?.1)
    }

    fn head(&self) -> Result<(Header, B256), Error> {
        let mut cached = self.head.lock();
        if let Some(head) = &*cached {
            return Ok(head.clone());
        }
        let missing = || bttc_state::Error::Corrupt {
            table: "headers",
            key: "head".into(),
            reason: "the head's header is missing".into(),
        };
        let head = self.store.head().ok_or_else(missing)?;
        let header = self.store.header(head.height)?.ok_or_else(missing)?;
        *cached = Some((header.clone(), head.hash));
        Ok((header, head.hash))
    }

    /// The validator set that signs a height.
    ///
    /// # Errors
    /// [`Error::Genesis`].
    pub fn validator_set(&self, height: u64) -> Result<ValidatorSet, Error> {
        /// Sets kept: the current one and its neighbours, which evidence, sync and RPC ask for.
        const KEPT: usize = 64;
        let mut sets = self.sets.lock();
        if let Some(set) = sets.get(&height) {
            return Ok(set.clone());
        }
        // Walking on from the previous height is one step; from the start of the epoch it is many.
        let set = match sets.get(&height.wrapping_sub(1)) {
            Some(previous) if self.spec.epoch_offset(height) > 0 => previous.advanced(1),
            Some(_) | None => self.spec.validator_set(height)?,
        };
        sets.insert(height, set.clone());
        while sets.len() > KEPT {
            sets.pop_first();
        }
        Ok(set)
    }

    pub(crate) fn begin(&self, input: EvmInput) -> BlockRun<'_> {
        let state = BlockState::new(self.store.as_ref(), Arc::clone(&self.code_cache));
        BlockRun::new(state, input, &self.spec.rules, self.spec.chain_id())
    }

    /// The result of a block that was built or validated on the current head.
    pub fn executed(&self, hash: &B256) -> Option<Arc<ExecutedBlock>> {
        self.candidates.lock().by_hash.get(hash).cloned()
    }

    pub(crate) fn keep(&self, parts: Parts) -> Arc<ExecutedBlock> {
        let hash = parts.block.hash();
        let executed = Arc::new(ExecutedBlock {
            block: parts.block,
            hash,
            encoded: parts.encoded.into(),
            transactions: parts.transactions,
            receipts: parts.receipts,
            times: parts.times,
            prepared: Mutex::new(Some(parts.prepared)),
        });
        let mut candidates = self.candidates.lock();
        if candidates.by_hash.insert(hash, Arc::clone(&executed)).is_none() {
            candidates.order.push(hash);
        }
        if candidates.order.len() > MAX_CANDIDATES {
            let oldest = candidates.order.remove(0);
            candidates.by_hash.remove(&oldest);
        }
        executed
    }

    /// Writes an executed block with the certificate that decided it; it becomes the head, and results of other
    /// blocks of its height are dropped. `durable: false` is for runs of synced blocks that end with a durable one.
    ///
    /// # Errors
    /// The store's; nothing has changed then, and the call may be repeated after the block was validated again.
    pub fn commit(
        &self,
        executed: &Arc<ExecutedBlock>,
        certificate: &Certificate,
        durable: bool,
    ) -> Result<StageTimes, Error> {
        let mut times = executed.times;
        let prepared = executed.prepared.lock().take().ok_or_else(|| Error::Evm {
            height: executed.block.header.number,
            reason: "the block was committed before".into(),
        })?;
        let senders: Vec<Address> = executed.transactions.iter().map(|transaction| transaction.sender()).collect();
        let hashes: Vec<B256> = executed.transactions.iter().map(|transaction| transaction.hash()).collect();
        let receipts = encode_receipts(&executed.receipts);
        let record = BlockRecord {
            header: &executed.block.header,
            hash: executed.hash,
            block: &executed.encoded,
            receipts: &receipts,
            senders: &senders,
            transactions: &hashes,
            certificate: Some(certificate),
        };
        let result = timed(&mut times.commit, || self.store.commit(record, prepared, durable));
        // Whatever happened, results on the old head are of no use: after a failure the block is validated again.
        *self.candidates.lock() = Candidates::default();
        result?;
        *self.head.lock() = Some((executed.block.header.clone(), executed.hash));
        Ok(times)
    }
}

impl Executor {
    /// Base fee of the block after the head.
    ///
    /// # Errors
    /// The store's.
    pub fn next_base_fee(&self) -> Result<u64, Error> {
        Ok(self.base_fee_after(&self.head_header()?))
    }

    /// Base fee of the block after `parent`.
    pub fn base_fee_after(&self, parent: &Header) -> u64 {
        crate::bttc::next_base_fee(parent, &self.spec.bttc.params)
    }
}
