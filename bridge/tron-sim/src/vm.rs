//! Execution: revm with TRON's energy, addresses of new contracts, and bound of time.

use crate::precompiles::TronPrecompiles;
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256, keccak256};
use revm::bytecode::opcode::{GASPRICE, SELFDESTRUCT};
use revm::context::result::{ExecutionResult, HaltReason, Output};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::CreateScheme;
use revm::context_interface::cfg::gas_params::GasId;
use revm::database::InMemoryDB;
use revm::handler::instructions::EthInstructions;
use revm::inspector::Inspector;
use revm::interpreter::instructions::{block_info, gas_table, instruction_table};
use revm::interpreter::{CreateInputs, CreateOutcome, Instruction};
use revm::primitives::hardfork::SpecId;
use revm::{DatabaseCommit, InspectEvm, MainBuilder, MainContext};

/// Milliseconds that a signature recovered by itself takes on a warm node.
const RECOVERY_MS: f64 = 0.6;
/// Time that a transaction has, milliseconds.
const TIME_MS: f64 = 80.0;

/// A block's surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    pub(crate) chain_id: u64,
    pub(crate) number: u64,
    /// Milliseconds.
    pub(crate) timestamp: u64,
    /// Sun for a unit of energy.
    pub(crate) price: u64,
}

/// A message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) caller: Address,
    /// Nothing: a deployment.
    pub(crate) to: Option<Address>,
    /// Sun.
    pub(crate) value: u64,
    pub(crate) data: Bytes,
    pub(crate) energy_limit: u64,
    /// The transaction, from which addresses of new contracts follow.
    pub(crate) id: B256,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// `SUCCESS`, `REVERT`, `OUT_OF_ENERGY`, `OUT_OF_TIME`, ...
    pub(crate) result: &'static str,
    pub(crate) energy: u64,
    pub(crate) output: Bytes,
    pub(crate) logs: Vec<Log>,
    pub(crate) contract: Option<Address>,
}

/// Gives new contracts TRON's addresses.
struct Addresses {
    id: B256,
    count: u64,
    depth: usize,
}

fn low20(hash: B256) -> Address {
    Address::from_slice(&hash[12..])
}

/// Address of a contract that a transaction deploys.
pub(crate) fn deployed_address(id: B256, owner: Address) -> Address {
    let mut bytes = id.to_vec();
    bytes.push(0x41);
    bytes.extend_from_slice(owner.as_slice());
    low20(keccak256(bytes))
}

impl<CTX> Inspector<CTX> for Addresses {
    fn create(&mut self, _: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        let address = match inputs.scheme() {
            CreateScheme::Create if self.depth == 0 => deployed_address(self.id, inputs.caller()),
            CreateScheme::Create => {
                let mut bytes = self.id.to_vec();
                bytes.extend_from_slice(&self.count.to_be_bytes());
                self.count += 1;
                low20(keccak256(bytes))
            }
            CreateScheme::Create2 { salt } => {
                let mut bytes = vec![0x41];
                bytes.extend_from_slice(inputs.caller().as_slice());
                bytes.extend_from_slice(&salt.to_be_bytes::<32>());
                bytes.extend_from_slice(inputs.init_code_hash().as_slice());
                low20(keccak256(bytes))
            }
            CreateScheme::Custom { address } => address,
        };
        inputs.set_scheme(CreateScheme::Custom { address });
        self.depth += 1;
        None
    }

    fn call(&mut self, _: &mut CTX, _: &mut revm::interpreter::CallInputs) -> Option<revm::interpreter::CallOutcome> {
        self.depth += 1;
        None
    }
}

fn config(chain_id: u64) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(SpecId::CANCUN).with_chain_id(chain_id);
    cfg.disable_nonce_check = true;
    cfg.disable_base_fee = true;
    cfg.disable_block_gas_limit = true;
    cfg.disable_eip3607 = true;
    // What a transaction costs besides execution is bandwidth; storage has one price, and nothing is given back.
    cfg.gas_params.override_gas([
        (GasId::tx_base_stipend(), 0),
        (GasId::tx_token_cost(), 0),
        (GasId::tx_create_cost(), 0),
        (GasId::tx_initcode_cost(), 0),
        (GasId::initcode_per_word(), 0),
        (GasId::tx_access_list_address_cost(), 0),
        (GasId::tx_access_list_storage_key_cost(), 0),
        (GasId::cold_account_additional_cost(), 0),
        (GasId::cold_storage_additional_cost(), 0),
        (GasId::cold_storage_cost(), 0),
        (GasId::warm_storage_read_cost(), 0),
        (GasId::sstore_static(), 5_000),
        (GasId::sstore_set_without_load_cost(), 15_000),
        (GasId::sstore_reset_without_cold_load_cost(), 0),
        (GasId::sstore_clearing_slot_refund(), 0),
        (GasId::sstore_set_refund(), 0),
        (GasId::sstore_reset_refund(), 0),
        (GasId::selfdestruct_refund(), 0),
        (GasId::max_refund_quotient(), 1_000_000),
    ]);
    cfg
}

/// Runs a message on a state, which changes only when the message succeeds.
pub(crate) fn run(state: &mut InMemoryDB, around: Surroundings, message: &Message) -> Result<Outcome, String> {
    let block = BlockEnv {
        number: U256::from(around.number),
        timestamp: U256::from(around.timestamp / 1_000),
        gas_limit: 0,
        basefee: around.price,
        difficulty: U256::ZERO,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    };
    let transaction = TxEnv {
        caller: message.caller,
        kind: message.to.map_or(TxKind::Create, TxKind::Call),
        value: U256::from(message.value),
        data: message.data.clone(),
        gas_limit: message.energy_limit,
        gas_price: 0,
        chain_id: Some(around.chain_id),
        ..TxEnv::default()
    };
    let inspector = Addresses { id: message.id, count: 0, depth: 0 };
    let mut context =
        Context::mainnet().with_db(std::mem::take(state)).with_cfg(config(around.chain_id)).with_block(block);
    context.chain = ();
    let mut evm = context.build_mainnet_with_inspector(inspector).with_precompiles(TronPrecompiles::new());
    let mut instructions = EthInstructions::new(instruction_table(), gas_table(), SpecId::CANCUN);
    instructions.insert_instruction(GASPRICE, Instruction::new(block_info::basefee), 2);
    instructions.insert_gas(SELFDESTRUCT, 5_000);
    evm.instruction = instructions;
    let result = evm.inspect_one_tx(transaction);
    let recoveries = evm.precompiles.recoveries;
    let changes = revm::ExecuteEvm::finalize(&mut evm);
    *state = std::mem::take(&mut evm.ctx.journaled_state.database);
    let result = result.map_err(|error| error.to_string())?;
    let mut outcome = match result {
        ExecutionResult::Success { output, logs, gas, .. } => {
            let contract = match &output {
                Output::Create(_, address) => *address,
                Output::Call(_) => None,
            };
            let energy = gas.tx_gas_used();
            Outcome { result: "SUCCESS", energy, output: output.into_data(), logs, contract }
        }
        ExecutionResult::Revert { output, gas, .. } => {
            Outcome { result: "REVERT", energy: gas.tx_gas_used(), output, logs: Vec::new(), contract: None }
        }
        ExecutionResult::Halt { reason, .. } => Outcome {
            result: match reason {
                HaltReason::OutOfGas(_) => "OUT_OF_ENERGY",
                HaltReason::InvalidJump => "BAD_JUMP_DESTINATION",
                HaltReason::StackOverflow => "STACK_TOO_LARGE",
                HaltReason::StackUnderflow => "STACK_TOO_SMALL",
                HaltReason::PrecompileError => "PRECOMPILED_CONTRACT",
                HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode => "ILLEGAL_OPERATION",
                _ => "UNKNOWN",
            },
            energy: message.energy_limit,
            output: Bytes::new(),
            logs: Vec::new(),
            contract: None,
        },
    };
    if recoveries as f64 * RECOVERY_MS > TIME_MS {
        outcome = Outcome {
            result: "OUT_OF_TIME",
            energy: message.energy_limit,
            output: Bytes::new(),
            logs: Vec::new(),
            contract: None,
        };
    }
    if outcome.result == "SUCCESS" {
        state.commit(changes);
    }
    Ok(outcome)
}
