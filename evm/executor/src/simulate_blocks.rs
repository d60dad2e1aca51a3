//! Blocks that nobody proposed: `eth_simulateV1` of execution-apis, with geth's error codes.

use crate::block_state::BlockState;
use crate::modules::{MoveError, MovedPrecompiles};
use crate::receipts::{StoredReceipt, root_and_bloom};
use crate::replay::Replay;
use crate::simulate::{CallContext, CallError, evm_error_code, halt_reason, revert_reason};
use crate::watchdog::{Budget, Watchdog};
use crate::{Error, EvmInput};
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_consensus::{Header, Transaction as _, TxEip4844, TxEip4844Variant, Typed2718, TypedTransaction};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_eips::{eip2935, eip4788};
use alloy_evm::overrides::{OverrideBlockHashes, apply_state_overrides};
use alloy_primitives::{Address, B256, Bytes, Log, LogData, Signature, U256};
use alloy_rpc_types_eth::simulate::{MAX_SIMULATE_BLOCKS, SimBlock, SimulatePayload};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest};
use bttc_genesis::{EvmFork, SYSTEM_CALLER};
use bttc_state::StateDiff;
use bttc_types::Transaction;
use revm::Inspector;
use revm::context::result::ExecutionResult;
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::{ContextTr, JournalTr};
use revm::interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome};
use revm_inspectors::transfer::{TRANSFER_EVENT_TOPIC, TRANSFER_LOG_EMITTER, TransferInspector};
use std::sync::Arc;

/// Computes the state root after changes on the base state.
pub type RootOf<'a> = &'a dyn Fn(&StateDiff) -> Result<B256, Error>;

/// Why a simulation gave no result, with execution-apis' code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SimulateFailure {
    /// JSON-RPC error code.
    pub code: i32,
    /// In words.
    pub message: String,
}

impl SimulateFailure {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<CallError> for SimulateFailure {
    fn from(error: CallError) -> Self {
        Self::new(-32_000, error.to_string())
    }
}

impl From<Error> for SimulateFailure {
    fn from(error: Error) -> Self {
        Self::new(-32_603, error.to_string())
    }
}

/// One call's result.
#[derive(Clone, Debug)]
pub struct SimulatedCall {
    /// What it returned.
    pub output: Bytes,
    /// Its logs, and with `traceTransfers` those of coins on the move.
    pub logs: Vec<Log>,
    /// Gas that it paid for.
    pub gas_used: u64,
    /// Gas before refunds.
    pub max_gas_used: u64,
    /// Code and words, when it failed, with the revert's data.
    pub error: Option<(i32, String, Option<Bytes>)>,
}

/// One simulated block.
#[derive(Clone, Debug)]
pub struct SimulatedBlock {
    /// Header.
    pub header: Header,
    /// Its transactions, unsigned, with who they pretend to be from.
    pub transactions: Vec<(Transaction, Address)>,
    /// What they gave.
    pub calls: Vec<SimulatedCall>,
    /// Whether the block's rules have withdrawals.
    pub withdrawals: bool,
}

/// A run of simulated blocks.
struct Simulation<'c, 'a> {
    context: &'c CallContext<'a>,
    validation: bool,
    transfers: bool,
    gas_left: u64,
    budget: &'c Budget,
}

impl CallContext<'_> {
    /// Runs the blocks of a payload on this context's state, one after the other.
    ///
    /// # Errors
    /// [`SimulateFailure`]: a block cannot be made, or a call cannot be a transaction in it.
    pub fn simulate(
        &self,
        payload: SimulatePayload,
        root_of: RootOf<'_>,
        budget: &Budget,
    ) -> Result<Vec<SimulatedBlock>, SimulateFailure> {
        let blocks = self.complete(payload.block_state_calls)?;
        let mut simulation = Simulation {
            context: self,
            validation: payload.validation,
            transfers: payload.trace_transfers,
            gas_left: self.gas_cap,
            budget,
        };
        let mut state = BlockState::new(self.state, Arc::clone(self.code_cache));
        let mut parent = self.header.clone();
        let mut results = Vec::with_capacity(blocks.len());
        for block in blocks {
            let done;
            (state, done) = simulation.block(state, &parent, block, root_of)?;
            parent = done.header.clone();
            state.override_block_hashes([(parent.number, parent.hash_slow())].into());
            results.push(done);
        }
        Ok(results)
    }

    /// Numbers and times of all blocks, and those in between that were left out.
    fn complete(&self, given: Vec<SimBlock>) -> Result<Vec<SimBlock>, SimulateFailure> {
        // The least time between two blocks: one slot on Ethereum.
        let step = if self.spec.rules.is_bttc() { 1 } else { 12 };
        let (mut number, mut time) = (self.header.number, self.header.timestamp);
        let mut all = Vec::with_capacity(given.len());
        for mut block in given {
            let overrides = block.block_overrides.get_or_insert_default();
            let wanted = overrides.number.map_or(number.saturating_add(1), |wanted| wanted.saturating_to());
            if wanted <= number {
                let message = format!("block numbers must be in order: {wanted} <= {number}");
                return Err(SimulateFailure::new(-38_020, message));
            }
            if wanted - self.header.number > MAX_SIMULATE_BLOCKS {
                return Err(SimulateFailure::new(-38_026, "too many blocks"));
            }
            for between in number + 1..wanted {
                time = time.saturating_add(step);
                let overrides =
                    BlockOverrides { number: Some(U256::from(between)), time: Some(time), ..BlockOverrides::default() };
                all.push(SimBlock { block_overrides: Some(overrides), ..SimBlock::default() });
            }
            let wanted_time = overrides.time.unwrap_or(time.saturating_add(step));
            if wanted_time <= time {
                let message = format!("block timestamps must be in order: {wanted_time} <= {time}");
                return Err(SimulateFailure::new(-38_021, message));
            }
            (number, time) = (wanted, wanted_time);
            overrides.number = Some(U256::from(wanted));
            overrides.time = Some(wanted_time);
            all.push(block);
        }
        Ok(all)
    }
}

fn move_failure(error: MoveError) -> SimulateFailure {
    match error {
        MoveError::NoPrecompile(address) => {
            SimulateFailure::new(-32_000, format!("account {address} is not a precompile"))
        }
        MoveError::ToItself => SimulateFailure::new(-38_022, "a precompile cannot be moved to its own address"),
    }
}

impl Simulation<'_, '_> {
    /// The header of a block before its transactions.
    fn header(&self, parent: &Header, overrides: &BlockOverrides) -> Header {
        let context = self.context;
        let (number, timestamp): (u64, u64) =
            (overrides.number.unwrap_or_default().saturating_to(), overrides.time.unwrap_or_default());
        let fork = context.spec.rules.fork_at(number, timestamp);
        let base_fee = || match overrides.base_fee {
            Some(fee) => fee.saturating_to(),
            None if !self.validation => 0,
            None if context.spec.rules.is_bttc() => self.next_base_fee(parent),
            None => crate::ethereum::next_base_fee(&context.spec.rules, parent, fork).unwrap_or(0),
        };
        let (cancun, prague) = (fork >= EvmFork::Cancun, fork >= EvmFork::Prague);
        Header {
            parent_hash: parent.hash_slow(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: overrides.coinbase.unwrap_or(parent.beneficiary),
            difficulty: if fork >= EvmFork::Merge { U256::ZERO } else { parent.difficulty },
            number,
            gas_limit: overrides.gas_limit.unwrap_or(parent.gas_limit),
            timestamp,
            mix_hash: overrides.random.unwrap_or_default(),
            base_fee_per_gas: (fork >= EvmFork::London).then(base_fee),
            withdrawals_root: (fork >= EvmFork::Shanghai).then_some(EMPTY_WITHDRAWALS),
            blob_gas_used: cancun.then_some(0),
            excess_blob_gas: cancun.then(|| self.excess_blob_gas(parent, timestamp)),
            parent_beacon_block_root: cancun.then_some(B256::ZERO),
            requests_hash: prague.then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }

    fn next_base_fee(&self, parent: &Header) -> u64 {
        let fee = parent.base_fee_per_gas.unwrap_or(0);
        BaseFeeParams::ethereum().next_block_base_fee(parent.gas_used, parent.gas_limit, fee)
    }

    fn excess_blob_gas(&self, parent: &Header, timestamp: u64) -> u64 {
        let Some(schedule) = self.context.spec.rules.blobs_at(timestamp) else { return 0 };
        let fork = self.context.spec.rules.fork_at(parent.number + 1, timestamp);
        crate::ethereum::next_excess_blob_gas(parent, schedule, fork)
    }

    fn block<'s>(
        &mut self,
        mut state: BlockState<'s>,
        parent: &Header,
        block: SimBlock,
        root_of: RootOf<'_>,
    ) -> Result<(BlockState<'s>, SimulatedBlock), SimulateFailure> {
        let overrides = block.block_overrides.unwrap_or_default();
        let mut header = self.header(parent, &overrides);
        let spec = self.context.spec;
        let (mut cfg, mut env) = EvmInput::from_header(&header).environment(&spec.rules, spec.chain_id());
        if let Some(price) = overrides.blob_base_fee {
            let excess_blob_gas = header.excess_blob_gas.unwrap_or(0);
            env.blob_excess_gas_and_price =
                Some(BlobExcessGasAndPrice { excess_blob_gas, blob_gasprice: price.saturating_to() });
        }
        // A block begins with the precompiles where they belong.
        let mut moved = MovedPrecompiles::default();
        if let Some(overridden) = block.state_overrides {
            moved = MovedPrecompiles::by(&overridden, cfg.spec).map_err(move_failure)?;
            apply_state_overrides(overridden, &mut state)
                .map_err(|error| SimulateFailure::new(-32_602, error.to_string()))?;
        }
        if !self.validation {
            (cfg.disable_nonce_check, cfg.disable_eip3607) = (true, true);
        }
        // A call without a gas limit takes what is left of the block.
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        let modules = spec.rules.is_bttc().then(|| bttc_modules::Env {
            height: header.number,
            time_ms: header.timestamp.saturating_mul(1_000),
            parent_hash: header.parent_hash,
            ..self.context.env.clone()
        });
        let mut replay = Replay::new(state, cfg, env, modules);
        replay.set_moved(moved);
        if header.requests_hash.is_some() {
            let input = header.parent_hash.0.into();
            replay.system_call(SYSTEM_CALLER, eip2935::HISTORY_STORAGE_ADDRESS, input)?;
        }
        if let Some(root) = header.parent_beacon_block_root {
            replay.system_call(SYSTEM_CALLER, eip4788::BEACON_ROOTS_ADDRESS, root.0.into())?;
        }
        let mut done = SimulatedBlock {
            header: Header::default(),
            transactions: Vec::with_capacity(block.calls.len()),
            calls: Vec::with_capacity(block.calls.len()),
            withdrawals: header.withdrawals_root.is_some(),
        };
        let mut receipts = Vec::with_capacity(block.calls.len());
        for request in block.calls {
            if let Some(reason) = self.budget.exceeded(0) {
                return Err(SimulateFailure::new(-32_016, reason));
            }
            let (transaction, from) = self.transaction(&mut replay, &header, request)?;
            let call = self.call(&mut replay, &transaction, from)?;
            if let (Some(used), Some(blobs)) = (&mut header.blob_gas_used, transaction.blob_versioned_hashes()) {
                *used = used.saturating_add(DATA_GAS_PER_BLOB.saturating_mul(blobs.len() as u64));
            }
            header.gas_used = header.gas_used.saturating_add(call.gas_used);
            receipts.push(StoredReceipt {
                kind: transaction.ty(),
                success: call.error.is_none(),
                cumulative_gas: header.gas_used,
                // Coins on the move are told to the caller; the block has no such logs.
                logs: call.logs.iter().filter(|log| log.address != TRANSFER_LOG_EMITTER).cloned().collect(),
                post_state: None,
            });
            done.transactions.push((transaction, from));
            done.calls.push(call);
        }
        let mut state = replay.into_state()?;
        if !spec.rules.is_bttc() {
            let fork = spec.rules.fork_at(header.number, header.timestamp);
            for (address, amount) in crate::ethereum::rewards(fork, &header, &[]) {
                state.add_balance(address, amount).map_err(CallError::from)?;
            }
        }
        (header.receipts_root, header.logs_bloom) = root_and_bloom(&receipts);
        let encoded = done
            .transactions
            .iter()
            .map(|(transaction, _)| alloy_eips::eip2718::Encodable2718::encoded_2718(transaction));
        header.transactions_root = alloy_trie::root::ordered_trie_root_encoded(&encoded.collect::<Vec<_>>());
        header.state_root = root_of(&state.clone().into_diff())?;
        done.header = header;
        Ok((state, done))
    }

    /// The transaction that a call stands for.
    fn transaction(
        &self,
        replay: &mut Replay<'_>,
        header: &Header,
        mut request: TransactionRequest,
    ) -> Result<(Transaction, Address), SimulateFailure> {
        let from = request.from.unwrap_or_default();
        let invalid = |error: CallError| SimulateFailure::new(-32_602, error.to_string());
        if request.nonce.is_none() {
            request.nonce = Some(replay.nonce(from).map_err(invalid)?);
        }
        let room = header.gas_limit.saturating_sub(header.gas_used);
        let gas = request.gas.unwrap_or(room);
        if gas > room {
            let message = format!("block gas limit reached: {} >= {}", header.gas_used, header.gas_limit);
            return Err(SimulateFailure::new(-38_015, message));
        }
        request.gas = Some(gas.min(self.gas_left));
        if request.gas_price.is_none() {
            request.max_fee_per_gas.get_or_insert_default();
            request.max_priority_fee_per_gas.get_or_insert_default();
        }
        if request.max_priority_fee_per_gas > request.max_fee_per_gas {
            return Err(SimulateFailure::new(-32_602, "max priority fee per gas higher than max fee per gas"));
        }
        request.chain_id = Some(self.context.spec.chain_id());
        request.to.get_or_insert(alloy_primitives::TxKind::Create);
        request.value.get_or_insert_default();
        request.input.normalize_input();
        if self.validation && request.nonce == Some(u64::MAX) {
            let message = format!("err: nonce has max value: address {from}, nonce: {} (supplied gas {gas})", u64::MAX);
            return Err(SimulateFailure::new(-32_603, message));
        }
        let typed = if request.blob_versioned_hashes.is_some() {
            if self.context.spec.rules.is_bttc() {
                let message = "transactions with blobs (type 3) do not exist on this chain";
                return Err(SimulateFailure::new(-32_602, message));
            }
            TypedTransaction::Eip4844(TxEip4844Variant::TxEip4844(blob_transaction(request)?))
        } else {
            let no_type = |_| SimulateFailure::new(-32_602, "the call is no transaction of any type");
            request.build_typed_tx().map_err(no_type)?
        };
        let unsigned = Signature::new(U256::ZERO, U256::ZERO, false);
        let envelope = typed.into_envelope(unsigned);
        Ok((Transaction::from(envelope), from))
    }

    fn call(
        &mut self,
        replay: &mut Replay<'_>,
        transaction: &Transaction,
        from: Address,
    ) -> Result<SimulatedCall, SimulateFailure> {
        let mut environment = crate::replay::environment_of(transaction, from);
        // Without validation the nonce after the last is the first, which the EVM refuses to count to.
        let counts_to_last = !self.validation && environment.nonce == u64::MAX;
        let last_nonce = counts_to_last && transaction.kind().is_call() && replay.nonce(from)? == u64::MAX;
        if counts_to_last {
            environment.nonce = u64::MAX - 1;
        }
        // Without validation a call of a type that the fork does not know yet is what it would be without types.
        crate::simulate::forget_later_type(&mut environment, replay.cfg().spec);
        let supplied = transaction.gas_limit();
        replay.set_free(!self.validation && transaction.max_fee_per_gas() == 0);
        let inspector = CoinLogs {
            inner: TransferInspector::new(false).with_logs(self.transfers),
            logs: self.transfers,
            left: Vec::new(),
        };
        let watched = Watchdog::new(inspector, self.budget.clone());
        let result = replay.inspect(environment, watched, |seen| seen.result.result);
        let result = result.map_err(|error| match error {
            CallError::Node(error) => error.into(),
            error => {
                let (code, message) = evm_error_code(&error, from, transaction, replay.block().basefee);
                SimulateFailure::new(code, format!("err: {message} (supplied gas {supplied})"))
            }
        })?;
        if last_nonce {
            replay.state_mut()?.set_nonce(from, 0).map_err(CallError::from)?;
        }
        let (gas_used, max_gas_used) = (result.tx_gas_used(), result.tx_gas_used() + result.gas().final_refunded());
        self.gas_left = self.gas_left.saturating_sub(gas_used);
        let (output, logs, error) = match result {
            ExecutionResult::Success { output, logs, .. } => (output.into_data(), logs, None),
            ExecutionResult::Revert { output, .. } => {
                let message = match revert_reason(&output) {
                    Some(reason) => format!("execution reverted: {reason}"),
                    None => "execution reverted".to_owned(),
                };
                (Bytes::new(), Vec::new(), Some((3, message, Some(output))))
            }
            ExecutionResult::Halt { reason, .. } => {
                (Bytes::new(), Vec::new(), Some((-32_015, halt_reason(&reason), None)))
            }
        };
        Ok(SimulatedCall { output, logs, gas_used, max_gas_used, error })
    }
}

/// A call with blobs as a transaction; the blobs themselves are not needed.
fn blob_transaction(request: TransactionRequest) -> Result<TxEip4844, SimulateFailure> {
    let to = request.to.and_then(|kind| kind.to().copied());
    let to = to.ok_or_else(|| SimulateFailure::new(-32_602, "a transaction with blobs must have a recipient"))?;
    Ok(TxEip4844 {
        chain_id: request.chain_id.unwrap_or_default(),
        nonce: request.nonce.unwrap_or_default(),
        gas_limit: request.gas.unwrap_or_default(),
        max_fee_per_gas: request.max_fee_per_gas.unwrap_or_default(),
        max_priority_fee_per_gas: request.max_priority_fee_per_gas.unwrap_or_default(),
        to,
        value: request.value.unwrap_or_default(),
        access_list: request.access_list.unwrap_or_default(),
        blob_versioned_hashes: request.blob_versioned_hashes.unwrap_or_default(),
        max_fee_per_blob_gas: request.max_fee_per_blob_gas.unwrap_or_default(),
        input: request.input.input.unwrap_or_default(),
    })
}

/// Logs coins on the move, those of a contract that destroys itself too: that hook sees no journal, so its log waits for the end
/// of the frame, which follows at once.
struct CoinLogs {
    inner: TransferInspector,
    logs: bool,
    left: Vec<(Address, Address, U256)>,
}

impl CoinLogs {
    fn settle<CTX: ContextTr>(&mut self, context: &mut CTX) {
        for (from, to, value) in self.left.drain(..) {
            let topics = vec![TRANSFER_EVENT_TOPIC, from.into_word(), to.into_word()];
            let data = LogData::new_unchecked(topics, value.to_be_bytes_vec().into());
            context.journal_mut().log(Log { address: TRANSFER_LOG_EMITTER, data });
        }
    }
}

impl<CTX: ContextTr> Inspector<CTX> for CoinLogs {
    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.inner.call(context, inputs)
    }

    fn call_end(&mut self, context: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        if !outcome.result.is_ok() {
            self.left.clear();
        }
        self.settle(context);
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.inner.create(context, inputs)
    }

    fn create_end(&mut self, context: &mut CTX, _: &CreateInputs, outcome: &mut CreateOutcome) {
        if !outcome.result.is_ok() {
            self.left.clear();
        }
        self.settle(context);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        if !value.is_zero() && self.logs {
            self.left.push((contract, target, value));
        }
    }
}
