//! Blocks run again, transaction by transaction, with whatever looks on: for traces.

use crate::block_state::BlockState;
use crate::bttc::begin_block;
use crate::modules::MovedPrecompiles;
use crate::run::{BlockRun, chain_evm};
use crate::simulate::{CallError, evm_error};
use crate::{Error, EvmInput, Executor};
use alloy_evm::FromRecoveredTx;
use alloy_primitives::{Address, Bytes, U256};
use bttc_modules::Env;
use bttc_state::StateView;
use bttc_types::{Block, Transaction};
use revm::context::result::{ExecutionResult, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database_interface::{Database, DatabaseCommit};
use revm::handler::MainnetContext;
use revm::{ExecuteEvm, InspectEvm, Inspector, SystemCallEvm};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What inspectors see.
pub type InspectedContext<'a> = MainnetContext<BlockState<'a>>;

/// A block from the store with its senders.
#[derive(Clone, Debug)]
pub struct KnownBlock {
    /// The block.
    pub block: Block,
    /// Its hash.
    pub hash: alloy_primitives::B256,
    /// Who sent its transactions.
    pub senders: Vec<Address>,
}

/// A state on which one transaction runs after the other.
pub struct Replay<'a> {
    /// Taken while a transaction runs.
    state: Option<BlockState<'a>>,
    cfg: CfgEnv,
    block: BlockEnv,
    env: Option<Env>,
    /// The block's base fee while a free call runs without one.
    base_fee: Option<u64>,
    moved: MovedPrecompiles,
}

/// What a transaction did, before it is written into the state.
pub struct Inspected<'r, 'a, I> {
    /// Who looked on.
    pub inspector: I,
    /// Its result, and every account and slot that it touched.
    pub result: ResultAndState,
    /// The transaction as the EVM saw it.
    pub transaction: &'r TxEnv,
    /// The block as the EVM saw it.
    pub block: &'r BlockEnv,
    /// The state before the transaction.
    pub before: &'r BlockState<'a>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(state: BlockState<'a>, cfg: CfgEnv, block: BlockEnv, env: Option<Env>) -> Self {
        Self { state: Some(state), cfg, block, env, base_fee: None, moved: MovedPrecompiles::default() }
    }

    /// The block as the EVM sees it.
    pub fn block(&self) -> &BlockEnv {
        &self.block
    }

    /// Whether the next transactions pay no base fee: calls without a price, for which BASEFEE reads 0, as in geth.
    pub(crate) fn set_free(&mut self, free: bool) {
        let base_fee = *self.base_fee.get_or_insert(self.block.basefee);
        self.block.basefee = if free { 0 } else { base_fee };
    }

    /// The rules in force.
    pub fn cfg(&self) -> &CfgEnv {
        &self.cfg
    }

    /// Runs a transaction before the eyes of an inspector, lets `look` read what it saw, and writes the changes.
    ///
    /// # Errors
    /// [`CallError`], when the transaction cannot run.
    pub fn inspect<I: Inspector<InspectedContext<'a>>, T>(
        &mut self,
        transaction: TxEnv,
        inspector: I,
        look: impl FnOnce(Inspected<'_, 'a, I>) -> T,
    ) -> Result<T, CallError> {
        let state = self.take()?;
        let mut evm = chain_evm(state, self.cfg.clone(), self.block.clone(), self.env.clone(), inspector);
        evm.precompiles.set_moved(&self.moved);
        let result = evm.inspect_one_tx(transaction.clone());
        let changes = evm.finalize();
        let inspector = evm.inspector;
        let mut state = evm.ctx.journaled_state.database;
        let result = match result {
            Ok(result) => ResultAndState { result, state: changes },
            Err(error) => {
                self.state = Some(state);
                return Err(evm_error(error));
            }
        };
        let changes = result.state.clone();
        let seen = look(Inspected { inspector, result, transaction: &transaction, block: &self.block, before: &state });
        state.commit(changes);
        self.state = Some(state);
        Ok(seen)
    }
}

impl<'a> Replay<'a> {
    /// Runs a transaction that nobody looks at.
    ///
    /// # Errors
    /// [`CallError`], when it cannot run.
    pub fn skip(&mut self, transaction: TxEnv) -> Result<ExecutionResult, CallError> {
        let state = self.take()?;
        let mut evm = chain_evm(state, self.cfg.clone(), self.block.clone(), self.env.clone(), ());
        let result = evm.transact_one(transaction);
        let changes = evm.finalize();
        let mut state = evm.ctx.journaled_state.database;
        if result.is_ok() {
            state.commit(changes);
        }
        self.state = Some(state);
        result.map_err(evm_error)
    }

    /// Calls a contract as the system: no fee, no nonce.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) fn system_call(&mut self, caller: Address, target: Address, data: Bytes) -> Result<(), CallError> {
        let state = self.take()?;
        let mut evm = chain_evm(state, self.cfg.clone(), self.block.clone(), self.env.clone(), ());
        let result = evm.system_call_one_with_caller(caller, target, data);
        let changes = evm.finalize();
        let mut state = evm.ctx.journaled_state.database;
        if result.is_ok() {
            state.commit(changes);
        }
        self.state = Some(state);
        result.map(drop).map_err(evm_error)
    }

    /// An account's nonce.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) fn nonce(&mut self, account: Address) -> Result<u64, CallError> {
        Ok(self.state_mut()?.basic(account)?.map_or(0, |account| account.nonce))
    }

    /// What becomes of precompiles.
    pub(crate) fn set_moved(&mut self, moved: MovedPrecompiles) {
        self.moved = moved;
    }

    /// Slots of an account that were set since the block began, and whether those before are gone.
    ///
    /// # Errors
    /// [`CallError`], after a panic in an inspector.
    pub fn changed_slots(&mut self, account: Address) -> Result<(bool, BTreeMap<U256, U256>), CallError> {
        let change = self.state_mut()?.clone().into_diff().accounts.remove(&account);
        Ok(change.map(|change| (change.wiped, change.storage)).unwrap_or_default())
    }

    /// The state after everything that ran.
    ///
    /// # Errors
    /// [`CallError`], after a panic in an inspector.
    pub(crate) fn into_state(mut self) -> Result<BlockState<'a>, CallError> {
        self.take()
    }

    /// The state between two transactions.
    ///
    /// # Errors
    /// [`CallError`], after a panic in an inspector.
    pub(crate) fn state_mut(&mut self) -> Result<&mut BlockState<'a>, CallError> {
        self.state.as_mut().ok_or_else(lost)
    }

    fn take(&mut self) -> Result<BlockState<'a>, CallError> {
        self.state.take().ok_or_else(lost)
    }
}

fn lost() -> CallError {
    CallError::Invalid("the state was lost in an earlier call".into())
}

/// A transaction in the EVM's form.
pub fn environment_of(transaction: &Transaction, sender: Address) -> TxEnv {
    TxEnv::from_recovered_tx(transaction, sender)
}

impl Executor {
    /// A block of the store; nothing where it is not kept.
    ///
    /// # Errors
    /// The store's.
    pub fn known_block(&self, height: u64) -> Result<Option<KnownBlock>, Error> {
        let Some(block) = self.store().block(height)? else { return Ok(None) };
        let senders = self.store().senders(height)?.unwrap_or_default();
        Ok(Some(KnownBlock { hash: block.hash(), block, senders }))
    }

    /// Puts the state before a block's first transaction under a [`Replay`], on a view of the parent's state.
    ///
    /// # Errors
    /// [`Error`], among them that the block is the first, which nothing ran in.
    pub fn replay<'a>(&self, view: &'a StateView<'_>, known: &KnownBlock) -> Result<Replay<'a>, Error> {
        let header = &known.block.header;
        let first = || Error::Evm { height: 0, reason: "genesis is not traceable".into() };
        let parent_height = header.number.checked_sub(1).ok_or_else(first)?;
        let missing = || Error::Evm { height: parent_height, reason: "its header is not kept".into() };
        let parent = self.store().header(parent_height)?.ok_or_else(missing)?;
        let (rules, chain_id) = (&self.spec().rules, self.spec().chain_id());
        let input = EvmInput::from_header(header);
        let (cfg, block) = input.environment(rules, chain_id);
        let state = BlockState::new(view, Arc::clone(self.code_cache()));
        if !rules.is_bttc() {
            let mut run = BlockRun::new(state, input, rules, chain_id, None);
            crate::ethereum::begin_block(&mut run, rules.fork_at(header.number, header.timestamp), header)?;
            return Ok(Replay::new(run.into_state(), cfg, block, None));
        }
        let start = self.block_start(header, &parent, &known.block.last_commit)?;
        let mut run = BlockRun::new(state, input, rules, chain_id, Some(start.env.clone()));
        begin_block(&mut run, &start)?;
        Ok(Replay::new(run.into_state(), cfg, block, Some(start.env)))
    }
}
