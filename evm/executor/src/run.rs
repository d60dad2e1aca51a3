//! Runs transactions one after the other on a block's state.

use crate::Error;
use crate::block_state::{BlockState, StateError};
use crate::environment::EvmInput;
use crate::modules::ModulePrecompiles;
use crate::receipts::StoredReceipt;
use alloy_consensus::{Transaction as _, Typed2718};
use alloy_evm::FromRecoveredTx;
use alloy_primitives::{Address, Bytes, U256};
use bttc_genesis::Rules;
use bttc_modules::Env;
use bttc_types::RecoveredTransaction;
use revm::context::Evm;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::database_interface::DatabaseCommit;
use revm::handler::instructions::EthInstructions;
use revm::handler::{EthFrame, MainnetContext};
use revm::interpreter::interpreter::EthInterpreter;
use revm::{ExecuteEvm, MainBuilder, MainContext, SystemCallEvm};

/// revm over a state, with this chain's modules and instructions.
pub(crate) type ChainEvm<'a, INSP = ()> = Evm<
    MainnetContext<BlockState<'a>>,
    INSP,
    EthInstructions<EthInterpreter, MainnetContext<BlockState<'a>>>,
    ModulePrecompiles,
    EthFrame<EthInterpreter>,
>;

/// revm over a state; `env` is nothing under Ethereum's rules.
pub(crate) fn chain_evm<INSP>(
    state: BlockState<'_>,
    cfg: CfgEnv,
    block: BlockEnv,
    env: Option<Env>,
    inspector: INSP,
) -> ChainEvm<'_, INSP> {
    let spec = cfg.spec;
    let context = Context::mainnet().with_db(state).with_cfg(cfg).with_block(block);
    let mut evm = context.build_mainnet_with_inspector(inspector).with_precompiles(ModulePrecompiles::new(spec, env));
    crate::code_hash::install(&mut evm.instruction, spec);
    evm
}

/// What became of a transaction that was tried.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It ran (successfully or not) and is part of the block.
    Included,
    /// It cannot run here; the state is as before.
    Refused(Refusal),
}

/// Why a transaction cannot run.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Its gas limit does not fit into what is left of the block.
    NoRoom,
    /// It is not valid on this state.
    Invalid(InvalidTransaction),
    /// Its type does not exist on this chain.
    Type,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoRoom => f.write_str("its gas limit exceeds what is left in the block"),
            Self::Invalid(reason) => reason.fmt(f),
            Self::Type => f.write_str("transactions with blobs (type 3) do not exist on this chain"),
        }
    }
}

/// A block in execution.
pub(crate) struct BlockRun<'a> {
    evm: ChainEvm<'a>,
    input: EvmInput,
    allow_blobs: bool,
    pub(crate) gas_used: u64,
    pub(crate) receipts: Vec<StoredReceipt>,
}

impl<'a> BlockRun<'a> {
    /// `env` is nothing under Ethereum's rules, where modules do not exist.
    pub(crate) fn new(state: BlockState<'a>, input: EvmInput, rules: &Rules, chain_id: u64, env: Option<Env>) -> Self {
        let (cfg, block) = input.environment(rules, chain_id);
        let evm = chain_evm(state, cfg, block, env, ());
        Self { evm, input, allow_blobs: !rules.is_bttc(), gas_used: 0, receipts: Vec::new() }
    }

    /// Turns EIP-3607 off.
    pub(crate) fn allow_contract_senders(&mut self) {
        self.evm.ctx.cfg.disable_eip3607 = true;
    }

    /// The state as it is between transactions.
    pub(crate) fn state(&mut self) -> &mut BlockState<'a> {
        &mut self.evm.ctx.journaled_state.database
    }

    pub(crate) fn into_state(self) -> BlockState<'a> {
        self.evm.ctx.journaled_state.database
    }

    /// Gas that is left in the block.
    pub(crate) fn gas_left(&self) -> u64 {
        self.input.gas_limit.saturating_sub(self.gas_used)
    }

    /// Tries one transaction.
    ///
    /// Each is finalized by itself: revm's block-wide journal would take an account that one transaction touched
    /// empty for existing in the next.
    pub(crate) fn execute(&mut self, transaction: &RecoveredTransaction) -> Result<Outcome, Error> {
        if transaction.is_blob() && !self.allow_blobs {
            return Ok(Outcome::Refused(Refusal::Type));
        }
        if transaction.transaction().gas_limit() > self.gas_left() {
            return Ok(Outcome::Refused(Refusal::NoRoom));
        }
        let environment = TxEnv::from_recovered_tx(transaction.transaction(), transaction.sender());
        let result = match self.evm.transact_one(environment) {
            Ok(result) => result,
            Err(EVMError::Transaction(reason)) => {
                // The journal was rolled back by revm; dropping what it loaded is enough.
                drop(self.evm.finalize());
                return Ok(Outcome::Refused(Refusal::Invalid(reason)));
            }
            Err(error) => return Err(self.failed(error)),
        };
        let changes = self.evm.finalize();
        self.state().commit(changes);
        self.gas_used = self.gas_used.saturating_add(result.tx_gas_used());
        self.receipts.push(StoredReceipt {
            kind: transaction.transaction().ty(),
            success: result.is_success(),
            cumulative_gas: self.gas_used,
            logs: if result.is_success() { result.logs().to_vec() } else { Vec::new() },
            post_state: None,
        });
        Ok(Outcome::Included)
    }

    /// Calls a contract as the system (EIP-4788's rules: no fee, not counted in the block's gas).
    pub(crate) fn system_call(
        &mut self,
        caller: Address,
        target: Address,
        data: Bytes,
    ) -> Result<ExecutionResult, Error> {
        let result = match self.evm.system_call_one_with_caller(caller, target, data) {
            Ok(result) => result,
            Err(error) => return Err(self.failed(error)),
        };
        let changes = self.evm.finalize();
        self.state().commit(changes);
        Ok(result)
    }

    fn failed(&self, error: EVMError<StateError, InvalidTransaction>) -> Error {
        match error {
            EVMError::Database(StateError(error)) => Error::Store(error),
            other => Error::Evm { height: self.input.number, reason: other.to_string() },
        }
    }
}

/// What all transactions of a block paid in base fees.
pub(crate) fn total_base_fee(base_fee: u64, gas_used: u64) -> U256 {
    U256::from(base_fee) * U256::from(gas_used)
}
