//! The executor: head of the chain, results of executed blocks, commit.

use crate::block_state::{BlockState, CodeCache};
use crate::bttc::BlockStart;
use crate::cpu::{StageTimes, timed};
use crate::modules::{ReadHost, hook_error};
use crate::receipts::{StoredReceipt, encode_receipts};
use crate::run::BlockRun;
use crate::{Error, EvmInput, initialize_genesis};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256};
use bttc_genesis::{ChainParams, ChainSpec};
use bttc_modules::hooks::LastCommit;
use bttc_modules::{Env, Event, governance, staking};
use bttc_state::{BlockRecord, PreparedState, StateStore};
use bttc_types::{
    Block, Certificate, ExtraData, Mutant, RecoveredTransaction, SigningDomain, ValidatorSet, block_time_ms,
};
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
    /// What the modules' hooks did, and the parameters of the next block.
    pub end: BlockEnd,
    /// Taken by the commit.
    prepared: Mutex<Option<PreparedState>>,
}

impl ExecutedBlock {
    /// The accounts that it changes: nonce, balance, code or storage. None once it is committed.
    pub fn changed_accounts(&self) -> Vec<Address> {
        self.prepared.lock().as_ref().map(|prepared| prepared.changed_accounts().collect()).unwrap_or_default()
    }
}

/// What the end of a block gives.
#[derive(Clone, Debug)]
pub struct BlockEnd {
    /// Parameters of the next block.
    pub next_params: ChainParams,
    /// What the modules' hooks did.
    pub events: Vec<Event>,
}

/// What [`Executor::keep`] makes an [`ExecutedBlock`] of.
pub(crate) struct Parts {
    pub(crate) block: Block,
    pub(crate) encoded: Vec<u8>,
    pub(crate) transactions: Vec<Arc<RecoveredTransaction>>,
    pub(crate) receipts: Vec<StoredReceipt>,
    pub(crate) prepared: PreparedState,
    pub(crate) times: StageTimes,
    pub(crate) end: BlockEnd,
}

/// Most candidate blocks kept for one height. A height sees more than a few only under attack; the oldest goes, and
/// should it be decided after all, it is executed again.
const MAX_CANDIDATES: usize = 8;

/// Executes blocks on the head of a store.
pub struct Executor {
    store: Arc<StateStore>,
    spec: Arc<ChainSpec>,
    /// The modules' surroundings, but for the block.
    env: Env,
    code_cache: Arc<CodeCache>,
    candidates: Mutex<Candidates>,
    head: Mutex<Option<HeadState>>,
    sets: Mutex<Sets>,
    /// See [`Executor::allow_contract_senders`].
    contract_senders: bool,
}

/// The head with what the next block needs of it.
#[derive(Clone, Debug)]
struct HeadState {
    header: Header,
    hash: B256,
    params: ChainParams,
    /// Upgrades that governance decided.
    upgrades: Arc<Vec<(String, u64)>>,
}

/// Validator sets that were asked for lately.
#[derive(Debug, Default)]
struct Sets {
    /// By epoch, priorities zero.
    epochs: BTreeMap<u64, ValidatorSet>,
    /// By height.
    heights: BTreeMap<u64, ValidatorSet>,
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
        let env = bttc_modules::genesis::environment(&spec, genesis_hash);
        let executor = Self {
            store,
            spec,
            env,
            code_cache: CodeCache::new(4_096),
            candidates: Mutex::default(),
            head: Mutex::default(),
            sets: Mutex::default(),
            contract_senders: false,
        };
        if executor.spec.rules.is_bttc() {
            executor.complete_set_changes()?;
        }
        Ok(executor)
    }

    /// Lets accounts with code send transactions, against EIP-3607: for development chains, where accounts are impersonated.
    pub fn allow_contract_senders(&mut self) {
        self.contract_senders = true;
    }

    /// Changes the head's state outside any block: see [`StateStore::amend`].
    ///
    /// # Errors
    /// The store's.
    pub fn amend(&self, diff: &bttc_state::StateDiff) -> Result<(), Error> {
        self.store.amend(diff)?;
        self.forget_head();
        Ok(())
    }

    /// Takes the head from the store's tables, which were changed: see [`StateStore::reload`].
    ///
    /// # Errors
    /// The store's.
    pub fn reload(&self) -> Result<(), Error> {
        self.store.reload()?;
        self.forget_head();
        Ok(())
    }

    pub(crate) fn forget_head(&self) {
        *self.candidates.lock() = Candidates::default();
        *self.head.lock() = None;
        *self.sets.lock() = Sets::default();
    }

    /// The chain's specification.
    pub fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    /// What signatures of this network are bound to.
    pub fn domain(&self) -> &SigningDomain {
        &self.env.domain
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
        Ok(self.head()?.header)
    }

    /// The hash of the head.
    ///
    /// # Errors
    /// The store's.
    pub fn head_hash(&self) -> Result<B256, Error> {
        Ok(self.head()?.hash)
    }

    /// The parameters of the block after the head.
    ///
    /// # Errors
    /// The store's.
    pub fn head_params(&self) -> Result<ChainParams, Error> {
        Ok(self.head()?.params)
    }

    /// Upgrades that governance decided: names and the heights from which a program must know them.
    ///
    /// # Errors
    /// The store's.
    pub fn upgrades(&self) -> Result<Arc<Vec<(String, u64)>>, Error> {
        Ok(self.head()?.upgrades)
    }

    fn head(&self) -> Result<HeadState, Error> {
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
        let state = self.head_state(header, head.hash)?;
        *cached = Some(state.clone());
        Ok(state)
    }

    /// Reads from the committed state what the next block needs. For the thread that commits.
    fn head_state(&self, header: Header, hash: B256) -> Result<HeadState, Error> {
        let height = header.number;
        if !self.spec.rules.is_bttc() {
            // There is no governance; what has a counterpart there is the header's.
            let params = ChainParams { gas_limit: header.gas_limit, min_base_fee: 0, ..self.spec.bttc.params };
            return Ok(HeadState { header, hash, params, upgrades: Arc::default() });
        }
        let mut host = ReadHost::new(self.env_of(&header, 0), self.store.as_ref());
        let params = governance::parameters(&mut host).map_err(hook_error(height))?;
        let upgrades = governance::views::upgrades(&mut host).map_err(hook_error(height))?;
        Ok(HeadState { header, hash, params, upgrades: Arc::new(upgrades) })
    }

    /// The modules' surroundings in a block.
    pub fn env_of(&self, header: &Header, parent_time_ms: u64) -> Env {
        Env {
            height: header.number,
            time_ms: block_time_ms(header),
            parent_time_ms,
            parent_hash: header.parent_hash,
            ..self.env.clone()
        }
    }

    /// What a block begins with.
    pub(crate) fn block_start(
        &self,
        header: &Header,
        parent: &Header,
        last_commit: &Certificate,
    ) -> Result<BlockStart, Error> {
        let height = header.number;
        let round = ExtraData::decode(&header.extra_data).map_or(0, |extra| extra.round);
        let proposer = self.validator_set(height)?.proposer(round).address;
        let signers = last_commit.signatures.iter().map(|entry| entry.index).collect();
        Ok(BlockStart {
            parent_hash: header.parent_hash,
            last_commit: last_commit.hash(),
            commit: LastCommit { signers, proposer },
            env: self.env_of(header, block_time_ms(parent)),
        })
    }

    /// The validator set that signs a height, its rotation advanced to it.
    ///
    /// # Errors
    /// [`Error::NoSet`] when it is not computed yet or not known any more; the store's.
    pub fn validator_set(&self, height: u64) -> Result<ValidatorSet, Error> {
        /// Sets kept: the current one and its neighbours, which evidence, sync and RPC ask for.
        const KEPT: usize = 64;
        let previous = {
            let sets = self.sets.lock();
            if let Some(set) = sets.heights.get(&height) {
                return Ok(set.clone());
            }
            sets.heights.get(&height.wrapping_sub(1)).cloned()
        };
        let offset = self.spec.epoch_offset(height);
        // Walking on from the previous height is one step; from the start of the epoch it is many.
        let set = match previous {
            Some(previous) if offset > 0 => previous.advanced(1),
            Some(_) | None => {
                let epoch = self.spec.epoch(height).saturating_sub(u64::from(Mutant::SetOffByOneEpoch.active()));
                self.epoch_set(epoch)?.advanced(offset)
            }
        };
        let mut sets = self.sets.lock();
        sets.heights.insert(height, set.clone());
        while sets.heights.len() > KEPT {
            sets.heights.pop_first();
        }
        Ok(set)
    }

    /// The set of an epoch, priorities zero: from the staking module's state, or from the records of set changes when it is
    /// older than what the state keeps.
    ///
    /// # Errors
    /// [`Error::NoSet`]; the store's.
    pub fn epoch_set(&self, epoch: u64) -> Result<ValidatorSet, Error> {
        const KEPT: usize = 16;
        if let Some(set) = self.sets.lock().epochs.get(&epoch) {
            return Ok(set.clone());
        }
        let in_state = self.store.view(None, |view| {
            let header = view.header(view.height()).ok().flatten().unwrap_or_default();
            let mut host = ReadHost::new(self.env_of(&header, 0), view);
            staking::validator_set(&mut host, epoch).map_err(hook_error(view.height()))
        })??;
        let set = match in_state {
            Some(set) => set,
            None => self.recorded_set(epoch)?.ok_or(Error::NoSet { epoch })?,
        };
        let mut sets = self.sets.lock();
        sets.epochs.insert(epoch, set.clone());
        while sets.epochs.len() > KEPT {
            sets.epochs.pop_first();
        }
        Ok(set)
    }

    pub(crate) fn begin(&self, input: EvmInput, start: &BlockStart) -> BlockRun<'_> {
        let state = BlockState::new(self.store.as_ref(), Arc::clone(&self.code_cache));
        let mut run = BlockRun::new(state, input, &self.spec.rules, self.spec.chain_id(), Some(start.env.clone()));
        if self.contract_senders {
            run.allow_contract_senders();
        }
        run
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
            end: parts.end,
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
            events: &encode_events(&executed.end.events),
        };
        let result = timed(&mut times.commit, || self.store.commit(record, prepared, durable));
        // Whatever happened, results on the old head are of no use: after a failure the block is validated again.
        *self.candidates.lock() = Candidates::default();
        result?;
        *self.head.lock() = Some(self.head_state(executed.block.header.clone(), executed.hash)?);
        self.record_set_change(&executed.block.header, certificate)?;
        Ok(times)
    }
}

/// What hooks did, as it is stored: nothing for most blocks.
fn encode_events(events: &[Event]) -> Vec<u8> {
    if events.is_empty() { Vec::new() } else { serde_json::to_vec(events).unwrap_or_default() }
}

impl Executor {
    /// What the modules' hooks did in a block, as JSON.
    ///
    /// # Errors
    /// The store's.
    pub fn events(&self, height: u64) -> Result<Vec<Event>, Error> {
        if !self.spec.rules.is_bttc() {
            return Ok(Vec::new());
        }
        let Some(bytes) = self.store.events(height)? else { return Ok(Vec::new()) };
        serde_json::from_slice(&bytes).map_err(|error| Error::Evm { height, reason: error.to_string() })
    }

    /// Base fee of the block after the head.
    ///
    /// # Errors
    /// The store's.
    pub fn next_base_fee(&self) -> Result<u64, Error> {
        let head = self.head()?;
        if !self.spec.rules.is_bttc() {
            return Ok(self.ethereum_base_fee_after(&head.header));
        }
        Ok(crate::bttc::next_base_fee(&head.header, &head.params))
    }

    /// Base fee of the block after any block: by the parameters after it where the state is kept, by those of the head
    /// otherwise.
    ///
    /// # Errors
    /// The store's.
    pub fn base_fee_after(&self, header: &Header) -> Result<u64, Error> {
        if !self.spec.rules.is_bttc() {
            return Ok(self.ethereum_base_fee_after(header));
        }
        let head = self.head()?;
        let params = if header.number == head.header.number { head.params } else { self.params_after(header)? };
        Ok(crate::bttc::next_base_fee(header, &params))
    }

    /// What a block after this one would be to a call in it.
    ///
    /// # Errors
    /// The store's.
    pub fn header_after(&self, header: &Header, timestamp: u64) -> Result<Header, Error> {
        Ok(Header {
            base_fee_per_gas: Some(self.base_fee_after(header)?),
            parent_hash: header.hash_slow(),
            number: header.number.saturating_add(1),
            timestamp,
            ..header.clone()
        })
    }

    /// The parameters of the block after this one; those of the head where the state is not kept.
    ///
    /// # Errors
    /// The store's.
    pub fn params_after(&self, header: &Header) -> Result<ChainParams, Error> {
        if !self.spec.rules.is_bttc() {
            return self.head_params();
        }
        let found = self.store.view(Some(header.number), |view| {
            let mut host = ReadHost::new(self.env_of(header, 0), view);
            governance::parameters(&mut host).map_err(hook_error(header.number))
        });
        match found {
            Ok(params) => params,
            Err(bttc_state::Error::StateUnavailable { .. }) => self.head_params(),
            Err(error) => Err(error.into()),
        }
    }
}
