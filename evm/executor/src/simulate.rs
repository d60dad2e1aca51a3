//! Calls without consequences: `eth_call`, `eth_estimateGas`, `eth_createAccessList`.

use crate::block_state::{BlockState, CodeCache, StateError};
use crate::modules::{MoveError, MovedPrecompiles};
use crate::replay::{Inspected, InspectedContext, Replay};
use crate::run::{ChainEvm, chain_evm};
use crate::{Error, EvmInput};
use alloy_consensus::{Header, Transaction as _};
use alloy_eips::eip2930::AccessList;
use alloy_evm::overrides::{apply_block_overrides, apply_state_overrides};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest};
use bttc_genesis::{ChainSpec, EvmFork};
use bttc_modules::Env;
use bttc_state::StateRead;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction};
use revm::context::{BlockEnv, CfgEnv, ContextTr, TxEnv};
use revm::context_interface::either::Either;
use revm::database_interface::Database;
use revm::primitives::hardfork::SpecId;
use revm::{ExecuteEvm, InspectEvm, Inspector};
use revm_inspectors::access_list::AccessListInspector;
use std::sync::Arc;

/// Gas that one transaction may use at most (EIP-7825).
pub const TRANSACTION_GAS_CAP: u64 = 1 << 24;

/// What a call runs on.
pub struct CallContext<'a> {
    /// State after the block.
    pub state: &'a dyn StateRead,
    /// The block.
    pub header: &'a Header,
    /// The chain.
    pub spec: &'a ChainSpec,
    /// The native modules' surroundings in the block.
    pub env: Env,
    /// Analysed code.
    pub code_cache: &'a Arc<CodeCache>,
    /// Changes to the state before the call.
    pub state_overrides: Option<StateOverride>,
    /// Changes to the block environment.
    pub block_overrides: Option<BlockOverrides>,
    /// Most gas that a call may use.
    pub gas_cap: u64,
}

/// Why a call gave no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The call could not be made into a transaction that may run.
    #[error("{0}")]
    Invalid(String),
    /// The transaction may not run where it stands.
    #[error("{words}")]
    Refused {
        /// In geth's words.
        words: String,
        /// revm's reason.
        reason: Box<InvalidTransaction>,
    },
    /// The callee reverted.
    #[error("execution reverted")]
    Reverted(Bytes),
    /// The EVM stopped (out of gas, invalid opcode, ...).
    #[error("execution halted: {0}")]
    Halted(String),
    /// Estimation: even the most gas allowed is not enough.
    #[error("gas required exceeds allowance ({0})")]
    GasExceedsAllowance(u64),
    /// This node failed.
    #[error(transparent)]
    Node(#[from] Error),
}

impl From<StateError> for CallError {
    fn from(StateError(error): StateError) -> Self {
        Self::Node(Error::Store(error))
    }
}

/// An access list, the gas used with it, and the failure if the call failed.
#[derive(Clone, Debug)]
pub struct AccessListOutcome {
    /// What the call touches.
    pub access_list: AccessList,
    /// Gas used with that list.
    pub gas_used: u64,
    /// Revert or halt, in words.
    pub error: Option<String>,
}

struct Prepared<'a> {
    state: BlockState<'a>,
    cfg: CfgEnv,
    block: BlockEnv,
    transaction: TxEnv,
    env: Option<Env>,
    moved: MovedPrecompiles,
}

impl CallContext<'_> {
    /// The modules' surroundings, where there are modules.
    fn module_env(&self) -> Option<Env> {
        self.spec.rules.is_bttc().then(|| self.env.clone())
    }

    /// Runs a call.
    ///
    /// # Errors
    /// [`CallError`]; a revert is [`CallError::Reverted`] with the callee's data.
    pub fn call(&self, request: TransactionRequest) -> Result<Bytes, CallError> {
        let prepared = self.prepare(request, self.gas_cap)?;
        output_of(run(prepared)?)
    }

    /// The least gas limit with which the transaction succeeds, within 1.5 %.
    ///
    /// # Errors
    /// [`CallError`]; the call's own failure when it fails with the most gas allowed, too.
    pub fn estimate_gas(&self, request: TransactionRequest) -> Result<u64, CallError> {
        let fork = self.spec.rules.fork_at(self.header.number, self.header.timestamp);
        let transaction_cap = if fork >= EvmFork::Osaka { TRANSACTION_GAS_CAP } else { u64::MAX };
        let cap = self.gas_cap.min(transaction_cap).min(self.header.gas_limit);
        let mut highest = request.gas.filter(|gas| *gas >= 21_000).unwrap_or(cap).min(cap);
        let mut prepared = self.prepare(request, cap)?;
        prepared.transaction.gas_limit = highest;
        if prepared.transaction.gas_price > 0 {
            let allowance = alloy_evm::call::caller_gas_allowance(&mut prepared.state, &prepared.transaction)
                .map_err(|error| CallError::Invalid(error.to_string()))?;
            highest = highest.min(allowance);
            prepared.transaction.gas_limit = highest;
        }
        if self.is_plain_transfer(&mut prepared)? && highest >= 21_000 {
            prepared.transaction.gas_limit = 21_000;
            let mut attempt = Attempt::new(prepared);
            if let Some(ExecutionResult::Success { .. }) = attempt.run(21_000)? {
                return Ok(21_000);
            }
            prepared = attempt.into_prepared();
        }
        let mut attempt = Attempt::new(prepared);
        let first = match attempt.run(highest)? {
            None => return Err(CallError::GasExceedsAllowance(highest)),
            Some(result) => result,
        };
        let used = first.tx_gas_used();
        let refunded = first.gas().inner_refunded();
        match first {
            ExecutionResult::Success { .. } => {}
            ExecutionResult::Revert { output, .. } => return Err(CallError::Reverted(output)),
            ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => {
                return Err(CallError::GasExceedsAllowance(highest));
            }
            ExecutionResult::Halt { reason, .. } => return Err(CallError::Halted(halt_reason(&reason))),
        }
        let mut lowest = used.saturating_sub(1);
        // What 63/64 of gas passed on, the call stipend and refunds can hide.
        let optimistic = used.saturating_add(refunded).saturating_add(2_300).saturating_mul(64) / 63;
        if optimistic < highest {
            if attempt.succeeds(optimistic)? {
                highest = optimistic;
            } else {
                lowest = optimistic;
            }
        }
        while lowest + 1 < highest {
            if (highest - lowest).saturating_mul(1_000) < highest.saturating_mul(15) {
                break;
            }
            // Most transactions need little more than the lower bound: look near it first.
            let middle = (lowest + (highest - lowest) / 2).min(lowest.saturating_mul(2).max(lowest + 1));
            if attempt.succeeds(middle)? {
                highest = middle;
            } else {
                lowest = middle;
            }
        }
        Ok(highest)
    }

    /// The access list that makes the call cheapest to predict, and the gas used with it.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn access_list(&self, request: TransactionRequest) -> Result<AccessListOutcome, CallError> {
        let first = self.prepare(request.clone(), self.gas_cap)?;
        let Prepared { state, cfg, block, transaction, env, moved } = first;
        let inspector = AccessListInspector::new(transaction.access_list.clone());
        let mut evm = chain_evm(state, cfg, block, env, inspector);
        evm.precompiles.set_moved(&moved);
        evm.inspect_one_tx(transaction).map_err(evm_error)?;
        let access_list = evm.inspector.into_access_list();
        let mut request = request;
        request.access_list = Some(access_list.clone());
        let result = run(self.prepare(request, self.gas_cap)?)?;
        let gas_used = result.tx_gas_used();
        let error = output_of(result).err().map(|error| error.to_string());
        Ok(AccessListOutcome { access_list, gas_used, error })
    }

    /// The state on which calls run one after the other, each seeing what those before it did.
    ///
    /// # Errors
    /// [`CallError`], about the overrides.
    pub fn sequence(&self) -> Result<Replay<'_>, CallError> {
        let (state, cfg, block, moved) = self.surroundings()?;
        let mut replay = Replay::new(state, cfg, block, self.module_env());
        replay.set_moved(moved);
        Ok(replay)
    }

    /// Runs a call in a sequence before the eyes of an inspector.
    ///
    /// # Errors
    /// [`CallError`], when it cannot run. A revert is a result.
    pub fn inspect<'a, I: Inspector<InspectedContext<'a>>, T>(
        &self,
        sequence: &mut Replay<'a>,
        request: TransactionRequest,
        inspector: I,
        look: impl FnOnce(Inspected<'_, 'a, I>) -> T,
    ) -> Result<T, CallError> {
        let block = sequence.block().clone();
        let mut transaction = self.transaction(request, sequence.state_mut()?, &block, self.gas_cap)?;
        forget_later_type(&mut transaction, sequence.cfg().spec);
        sequence.set_free(transaction.gas_price == 0);
        sequence.inspect(transaction, inspector, look)
    }

    fn is_plain_transfer(&self, prepared: &mut Prepared<'_>) -> Result<bool, CallError> {
        let transaction = &prepared.transaction;
        let TxKind::Call(to) = transaction.kind else { return Ok(false) };
        if !transaction.data.is_empty()
            || !transaction.access_list.is_empty()
            || !transaction.authorization_list.is_empty()
        {
            return Ok(false);
        }
        Ok(prepared.state.basic(to)?.is_none_or(|account| account.is_empty_code_hash()))
    }

    fn prepare(&self, request: TransactionRequest, gas_cap: u64) -> Result<Prepared<'_>, CallError> {
        let (mut state, cfg, mut block, moved) = self.surroundings()?;
        let mut transaction = self.transaction(request, &mut state, &block, gas_cap)?;
        forget_later_type(&mut transaction, cfg.spec);
        // Without a price the call is free, and the block's base fee must not refuse it; BASEFEE reads 0 then, as
        // it does in geth.
        if transaction.gas_price == 0 {
            block.basefee = 0;
        }
        Ok(Prepared { state, cfg, block, transaction, env: self.module_env(), moved })
    }

    /// State, rules, block and precompiles, with the overrides.
    fn surroundings(&self) -> Result<(BlockState<'_>, CfgEnv, BlockEnv, MovedPrecompiles), CallError> {
        let mut state = BlockState::new(self.state, Arc::clone(self.code_cache));
        let (mut cfg, mut block) =
            EvmInput::from_header(self.header).environment(&self.spec.rules, self.spec.chain_id());
        if let Some(overrides) = self.block_overrides.clone() {
            apply_block_overrides(overrides, &mut state, &mut block);
        }
        let mut moved = MovedPrecompiles::default();
        if let Some(overrides) = self.state_overrides.clone() {
            moved = MovedPrecompiles::by(&overrides, cfg.spec).map_err(|error| match error {
                MoveError::NoPrecompile(address) => {
                    CallError::Invalid(format!("account {address} is not a precompile"))
                }
                MoveError::ToItself => CallError::Invalid("a precompile cannot be moved to its own address".into()),
            })?;
            apply_state_overrides(overrides, &mut state).map_err(|error| CallError::Invalid(error.to_string()))?;
        }
        cfg.disable_nonce_check = true;
        cfg.disable_eip3607 = true;
        cfg.disable_block_gas_limit = true;
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        Ok((state, cfg, block, moved))
    }

    fn transaction(
        &self,
        request: TransactionRequest,
        state: &mut BlockState<'_>,
        block: &BlockEnv,
        gas_cap: u64,
    ) -> Result<TxEnv, CallError> {
        let invalid = |reason: &str| CallError::Invalid(reason.to_owned());
        let blob_hashes = request.blob_versioned_hashes.unwrap_or_default();
        if self.spec.rules.is_bttc() && (!blob_hashes.is_empty() || request.max_fee_per_blob_gas.is_some()) {
            return Err(invalid("transactions with blobs (type 3) do not exist on this chain"));
        }
        if request.gas_price.is_some()
            && (request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some())
        {
            return Err(invalid("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"));
        }
        let caller = request.from.unwrap_or(Address::ZERO);
        let (gas_price, tip) = match request.gas_price {
            Some(price) => (price, None),
            None => {
                let tip = request.max_priority_fee_per_gas;
                let price = match request.max_fee_per_gas {
                    Some(fee) => fee,
                    None => tip.map_or(0, |tip| tip.saturating_add(u128::from(block.basefee))),
                };
                (price, tip)
            }
        };
        if tip.is_some_and(|tip| tip > gas_price) {
            return Err(invalid("max priority fee per gas higher than max fee per gas"));
        }
        if gas_price > 0 && gas_price < u128::from(block.basefee) {
            return Err(CallError::Invalid(format!(
                "max fee per gas less than block base fee: address {caller}, maxFeePerGas: {gas_price}, baseFee: {}",
                block.basefee
            )));
        }
        let nonce = match request.nonce {
            Some(nonce) => nonce,
            None => state.basic(caller)?.map_or(0, |account| account.nonce),
        };
        let data = match (&request.input.input, &request.input.data) {
            (Some(input), Some(data)) if input != data => {
                return Err(invalid(
                    "both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data",
                ));
            }
            (Some(bytes), _) | (None, Some(bytes)) => bytes.clone(),
            (None, None) => Bytes::new(),
        };
        let authorizations = request.authorization_list.unwrap_or_default();
        let access_list = request.access_list.unwrap_or_default();
        let kind = request.to.unwrap_or(TxKind::Create);
        if !authorizations.is_empty() && kind.is_create() {
            return Err(invalid("a set-code transaction must have a recipient"));
        }
        let tx_type = if !authorizations.is_empty() {
            4
        } else if !blob_hashes.is_empty() {
            3
        } else if tip.is_some() || request.max_fee_per_gas.is_some() {
            2
        } else {
            u8::from(!access_list.is_empty())
        };
        let mut transaction = TxEnv {
            tx_type,
            caller,
            gas_limit: request.gas.unwrap_or(gas_cap).min(gas_cap),
            gas_price,
            kind,
            value: request.value.unwrap_or_default(),
            data,
            nonce,
            chain_id: Some(request.chain_id.unwrap_or(self.spec.chain_id())),
            access_list,
            gas_priority_fee: (tx_type >= 2).then(|| tip.unwrap_or(0)),
            blob_hashes,
            max_fee_per_blob_gas: request.max_fee_per_blob_gas.unwrap_or(0),
            authorization_list: authorizations.into_iter().map(Either::Left).collect(),
        };
        if gas_price > 0 && request.gas.is_none() {
            let allowance = alloy_evm::call::caller_gas_allowance(state, &transaction)
                .map_err(|error| CallError::Invalid(error.to_string()))?;
            // Who cannot pay for any transaction is told that, and not that its gas is too low.
            if allowance >= 21_000 {
                transaction.gas_limit = transaction.gas_limit.min(allowance);
            }
        }
        Ok(transaction)
    }
}

/// Repeated runs of one transaction with different gas limits; the state is not changed by them.
struct Attempt<'a> {
    evm: ChainEvm<'a>,
    transaction: TxEnv,
    env: Option<Env>,
    moved: MovedPrecompiles,
}

impl<'a> Attempt<'a> {
    fn new(prepared: Prepared<'a>) -> Self {
        let Prepared { state, cfg, block, transaction, env, moved } = prepared;
        let mut evm = chain_evm(state, cfg, block, env.clone(), ());
        evm.precompiles.set_moved(&moved);
        Self { evm, transaction, env, moved }
    }

    fn into_prepared(self) -> Prepared<'a> {
        Prepared {
            cfg: self.evm.ctx.cfg().clone(),
            block: self.evm.ctx.block().clone(),
            state: self.evm.ctx.journaled_state.database,
            transaction: self.transaction,
            env: self.env,
            moved: self.moved,
        }
    }

    /// The result with this gas limit; `None` when it does not even pay for the transaction's own size.
    fn run(&mut self, gas_limit: u64) -> Result<Option<ExecutionResult>, CallError> {
        let mut transaction = self.transaction.clone();
        transaction.gas_limit = gas_limit;
        let result = self.evm.transact_one(transaction);
        drop(self.evm.finalize());
        match result {
            Ok(result) => Ok(Some(result)),
            Err(EVMError::Transaction(
                InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
                | InvalidTransaction::GasFloorMoreThanGasLimit { .. },
            )) => Ok(None),
            Err(error) => Err(evm_error(error)),
        }
    }

    fn succeeds(&mut self, gas_limit: u64) -> Result<bool, CallError> {
        Ok(self.run(gas_limit)?.is_some_and(|result| result.is_success()))
    }
}

/// Makes a call whose type came with a later fork one without a type: what is asked is what the call would do, and geth does not look at
/// the type, either.
pub(crate) fn forget_later_type(transaction: &mut TxEnv, spec: SpecId) {
    let since = match transaction.tx_type {
        1 => SpecId::BERLIN,
        2 => SpecId::LONDON,
        _ => return,
    };
    if !spec.is_enabled_in(since) {
        transaction.tx_type = 0;
        transaction.gas_priority_fee = None;
        transaction.access_list = AccessList::default();
    }
}

fn run(prepared: Prepared<'_>) -> Result<ExecutionResult, CallError> {
    let Prepared { state, cfg, block, transaction, env, moved } = prepared;
    let mut evm = chain_evm(state, cfg, block, env, ());
    evm.precompiles.set_moved(&moved);
    evm.transact_one(transaction).map_err(evm_error)
}

/// Why the EVM stopped, in geth's words where there are some.
pub(crate) fn halt_reason(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".into(),
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID".into(),
        HaltReason::OpcodeNotFound => "invalid opcode".into(),
        HaltReason::CallTooDeep => "max call depth exceeded".into(),
        HaltReason::InvalidJump => "invalid jump destination".into(),
        HaltReason::StackUnderflow => "stack underflow".into(),
        HaltReason::StackOverflow => "stack limit reached 1024".into(),
        HaltReason::CreateCollision => "contract address collision".into(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".into(),
        HaltReason::CreateContractStartingWithEF => "invalid code: must not begin with 0xef".into(),
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded".into(),
        HaltReason::NonceOverflow => "nonce uint64 overflow".into(),
        other => format!("{other:?}"),
    }
}

fn output_of(result: ExecutionResult) -> Result<Bytes, CallError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(CallError::Reverted(output)),
        ExecutionResult::Halt { reason, .. } => Err(CallError::Halted(halt_reason(&reason))),
    }
}

pub(crate) fn evm_error(error: EVMError<StateError, InvalidTransaction>) -> CallError {
    let reason = match error {
        EVMError::Database(error) => return error.into(),
        EVMError::Transaction(reason) => reason,
        other => return CallError::Invalid(other.to_string()),
    };
    let words = match &reason {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: have {balance} want {fee}")
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        other => other.to_string(),
    };
    CallError::Refused { words, reason: Box::new(reason) }
}

/// The code of execution-apis for a transaction that may not run, and geth's words.
pub(crate) fn evm_error_code(
    error: &CallError,
    from: Address,
    transaction: &bttc_types::Transaction,
    base_fee: u64,
) -> (i32, String) {
    let CallError::Refused { words, reason } = error else { return (-32_000, error.to_string()) };
    match reason.as_ref() {
        InvalidTransaction::NonceTooLow { tx, state } => {
            (-38_010, format!("nonce too low: address {from}, tx: {tx} state: {state}"))
        }
        InvalidTransaction::NonceTooHigh { tx, state } => {
            (-38_011, format!("nonce too high: address {from}, tx: {tx} state: {state}"))
        }
        InvalidTransaction::NonceOverflowInTransaction => {
            (-32_603, format!("nonce has max value: address {from}, nonce: {}", transaction.nonce()))
        }
        InvalidTransaction::GasPriceLessThanBasefee => {
            let fee = transaction.max_fee_per_gas();
            let message = "max fee per gas less than block base fee";
            (-38_012, format!("{message}: address {from}, maxFeePerGas: {fee}, baseFee: {base_fee}"))
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas: want, gas_limit: have }
        | InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor: want, gas_limit: have } => {
            (-38_013, format!("intrinsic gas too low: have {have}, want {want}"))
        }
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            let message = "insufficient funds for gas * price + value";
            (-38_014, format!("{message}: address {from} have {balance} want {fee}"))
        }
        InvalidTransaction::RejectCallerWithCode => (-38_024, format!("sender not an eoa: address {from}")),
        InvalidTransaction::CreateInitCodeSizeLimit => (-38_025, words.clone()),
        _ => (-32_000, words.clone()),
    }
}

/// What a code of Solidity's `Panic(uint256)` means, in geth's words.
fn panic_reason(code: U256) -> String {
    let words = match u8::try_from(code).unwrap_or(u8::MAX) {
        0x00 => "generic panic",
        0x01 => "assert(false)",
        0x11 => "arithmetic underflow or overflow",
        0x12 => "division or modulo by zero",
        0x21 => "enum overflow",
        0x22 => "invalid encoded storage byte array accessed",
        0x31 => "out-of-bounds array access; popping on an empty array",
        0x32 => "out-of-bounds access of an array or bytesN",
        0x41 => "out of memory",
        0x51 => "uninitialized function",
        _ => return format!("unknown panic code: {code:#x}"),
    };
    words.to_owned()
}

/// The revert reason in a call's output, if it is Solidity's `Error(string)` or `Panic(uint256)`.
pub fn revert_reason(output: &[u8]) -> Option<String> {
    const ERROR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
    const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];
    let (selector, body) = output.split_first_chunk::<4>()?;
    let word = |index: usize| body.get(index * 32..(index + 1) * 32).map(U256::from_be_slice);
    if *selector == PANIC {
        return Some(panic_reason(word(0)?));
    }
    if *selector != ERROR {
        return None;
    }
    let offset = usize::try_from(word(0)?).ok()?;
    let tail = body.get(offset..)?;
    let length = usize::try_from(U256::from_be_slice(tail.get(..32)?)).ok()?;
    let text = tail.get(32..32usize.checked_add(length)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}
