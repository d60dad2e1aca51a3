//! Native modules inside the EVM: who gets a call, and the hosts on which modules run.

use crate::block_state::BlockState;
use alloy_primitives::map::{AddressSet, HashMap, HashSet};
use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256, keccak256};
use alloy_rpc_types_eth::state::StateOverride;
use bttc_genesis::{MODULE_ADDRESSES, MODULE_STUB, WRAPPED_PREFIX};
use bttc_modules::{Call, Env, Event, Fault, Host};
use bttc_state::StateRead;
use revm::bytecode::Bytecode;
use revm::context_interface::cfg::gas::{CALLVALUE, WARM_STORAGE_READ_COST};
use revm::context_interface::journaled_state::account::JournaledAccountTr;
use revm::context_interface::{Block, Cfg, ContextTr, JournalTr};
use revm::database_interface::Database;
use revm::handler::{EthPrecompiles, PrecompileProvider};
use revm::interpreter::{CallInputs, CallValue, Gas, InstructionResult, InterpreterResult};
use revm::primitives::hardfork::SpecId;
use std::sync::LazyLock;

/// Hash of the code that marks a module's account.
static STUB_HASH: LazyLock<B256> = LazyLock::new(|| keccak256(MODULE_STUB));

/// Gas of a log, of each of its topics and of each byte (EVM's `LOG`).
const LOG_GAS: (u64, u64, u64) = (375, 375, 8);
/// Gas for the first look at an account in a transaction, and for later ones (EIP-2929).
const ACCOUNT_GAS: (u64, u64) = (2_600, 100);
/// Gas for coins to an account that does not exist.
const NEW_ACCOUNT_GAS: u64 = 25_000;
/// With this much gas or less `SSTORE` fails (EIP-2200): what a plain transfer of coins hands over must not write.
const STORE_STIPEND: u64 = 2_300;

/// Ethereum's precompiles, and on this chain the modules.
#[derive(Debug)]
pub struct ModulePrecompiles {
    ethereum: EthPrecompiles,
    env: Option<Env>,
    moved: MovedPrecompiles,
}

/// What the overrides of a call do to precompiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct MovedPrecompiles {
    /// From the new address to the old one.
    pub(crate) to: HashMap<Address, Address>,
    /// Addresses where there is none any more: whatever code is there runs.
    pub(crate) gone: HashSet<Address>,
}

/// Why precompiles cannot be moved so.
#[derive(Debug)]
pub(crate) enum MoveError {
    NoPrecompile(Address),
    ToItself,
}

impl MovedPrecompiles {
    /// As geth: whatever is overridden of a precompile's account, there is no precompile any more.
    pub(crate) fn by(overrides: &StateOverride, spec: SpecId) -> Result<Self, MoveError> {
        let mut moved = Self::default();
        for (address, change) in overrides {
            let precompile = is_precompile(spec, *address);
            if let Some(to) = change.move_precompile_to {
                if !precompile {
                    return Err(MoveError::NoPrecompile(*address));
                }
                if to == *address {
                    return Err(MoveError::ToItself);
                }
                moved.to.insert(to, *address);
            }
            if precompile {
                moved.gone.insert(*address);
            }
        }
        Ok(moved)
    }
}

impl ModulePrecompiles {
    /// `env` is nothing under Ethereum's rules, where modules do not exist.
    pub fn new(spec: SpecId, env: Option<Env>) -> Self {
        Self { ethereum: EthPrecompiles::new(spec), env, moved: MovedPrecompiles::default() }
    }

    /// Moves precompiles: for simulations.
    pub(crate) fn set_moved(&mut self, moved: &MovedPrecompiles) {
        self.moved.clone_from(moved);
    }
}

/// Whether one of Ethereum's precompiles is at an address.
pub(crate) fn is_precompile(spec: SpecId, address: Address) -> bool {
    EthPrecompiles::new(spec).precompiles.contains(&address)
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> PrecompileProvider<CTX> for ModulePrecompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        <EthPrecompiles as PrecompileProvider<CTX>>::set_spec(&mut self.ethereum, spec)
    }

    fn run(&mut self, context: &mut CTX, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        if let Some(origin) = self.moved.to.get(&inputs.bytecode_address) {
            let inputs = CallInputs { bytecode_address: *origin, ..inputs.clone() };
            return self.ethereum.run(context, &inputs);
        }
        if self.moved.gone.contains(&inputs.bytecode_address) {
            return Ok(None);
        }
        match &self.env {
            Some(env) if is_native(inputs.bytecode_address) => run_module(env, context, inputs),
            _ => self.ethereum.run(context, inputs),
        }
    }

    // Modules are not in the list: a call of one is as cold as a call of any contract.
    fn warm_addresses(&self) -> &AddressSet {
        <EthPrecompiles as PrecompileProvider<CTX>>::warm_addresses(&self.ethereum)
    }
}

/// Whether native code may run at an address, if its account holds the stub: anyone can grind a prefix.
fn is_native(address: Address) -> bool {
    MODULE_ADDRESSES.contains(&address) || address.starts_with(&WRAPPED_PREFIX)
}

/// Runs a module if its account holds the stub; otherwise whatever code is there runs.
fn run_module<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>>(
    env: &Env,
    context: &mut CTX,
    inputs: &CallInputs,
) -> Result<Option<InterpreterResult>, String> {
    let module = inputs.bytecode_address;
    let code = context.journal_mut().load_account(module).map_err(|error| error.to_string())?.data.info.code_hash;
    if code != *STUB_HASH {
        return Ok(None);
    }
    let mut env = env.clone();
    // A call may pretend another block; the milliseconds are only known of the real one.
    env.height = context.block().number().saturating_to();
    let seconds: u64 = context.block().timestamp().saturating_to();
    if env.time_ms / 1_000 != seconds {
        env.time_ms = seconds.saturating_mul(1_000);
    }
    let input = inputs.input.bytes(context);
    let mut host =
        JournalHost { env, gas: Gas::new(inputs.gas_limit), metered: true, is_static: inputs.is_static, context };
    let result = if inputs.target_address != module {
        // DELEGATECALL, CALLCODE, or an account that delegates here: the caller would be the outer user.
        Err(Fault::reason("modules cannot be called by delegation"))
    } else {
        let value = match inputs.value {
            CallValue::Transfer(value) => value,
            CallValue::Apparent(_) => U256::ZERO,
        };
        bttc_modules::call(module, &Call { caller: inputs.caller, value, input: &input }, &mut host)
    };
    let mut gas = host.gas;
    let (outcome, output) = match result {
        Ok(output) => (InstructionResult::Return, output.into()),
        Err(Fault::Revert(data)) => (InstructionResult::Revert, data),
        Err(Fault::OutOfGas) => {
            gas.spend_all();
            (InstructionResult::PrecompileOOG, Bytes::new())
        }
        Err(fault @ (Fault::Fatal(_) | Fault::Broken(_))) => return Err(fault.to_string()),
    };
    Ok(Some(InterpreterResult::new(outcome, output, gas)))
}

/// A module during a transaction: everything goes through the journal and is undone with the call.
struct JournalHost<'a, CTX> {
    env: Env,
    gas: Gas,
    /// Whether slots cost gas: see [`Host::set_metered`].
    metered: bool,
    is_static: bool,
    context: &'a mut CTX,
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> JournalHost<'_, CTX> {
    fn writes(&self) -> Result<(), Fault> {
        if self.is_static { Err(Fault::reason("a static call cannot change state")) } else { Ok(()) }
    }

    /// Charges for a look at an account; whether it is empty.
    fn touch(&mut self, address: Address) -> Result<bool, Fault> {
        let load = self.context.journal_mut().load_account(address).map_err(fatal)?;
        let (cold, empty) = (load.is_cold, load.data.is_empty());
        self.charge(if cold { ACCOUNT_GAS.0 } else { ACCOUNT_GAS.1 })?;
        Ok(empty)
    }

    fn lower_balance(&mut self, from: Address, amount: U256) -> Result<bool, Fault> {
        let mut account = self.context.journal_mut().load_account_mut(from).map_err(fatal)?;
        let Some(left) = account.data.balance().checked_sub(amount) else { return Ok(false) };
        account.data.set_balance(left);
        account.data.touch();
        Ok(true)
    }
}

fn fatal(error: impl std::fmt::Display) -> Fault {
    Fault::Fatal(error.to_string())
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> Host for JournalHost<'_, CTX> {
    fn env(&self) -> &Env {
        &self.env
    }

    fn load(&mut self, account: Address, slot: U256) -> Result<U256, Fault> {
        // Another module's account may not be loaded yet; its price is in that of the slot.
        self.context.journal_mut().load_account(account).map_err(fatal)?;
        let load = self.context.journal_mut().sload(account, slot).map_err(fatal)?;
        if !self.metered {
            return Ok(load.data);
        }
        let extra = self.context.cfg().gas_params().cold_storage_additional_cost();
        self.charge(WARM_STORAGE_READ_COST.saturating_add(if load.is_cold { extra } else { 0 }))?;
        Ok(load.data)
    }

    fn store(&mut self, account: Address, slot: U256, value: U256) -> Result<(), Fault> {
        self.writes()?;
        if self.metered && self.gas.remaining() <= STORE_STIPEND {
            return Err(Fault::OutOfGas);
        }
        let journal = self.context.journal_mut();
        journal.load_account(account).map_err(fatal)?;
        let load = journal.sstore(account, slot, value).map_err(fatal)?;
        journal.touch_account(account);
        if !self.metered {
            return Ok(());
        }
        let params = self.context.cfg().gas_params();
        let cost = params.sstore_static_gas().saturating_add(params.sstore_dynamic_gas(true, &load.data, load.is_cold));
        let refund = params.sstore_refund(true, &load.data);
        self.charge(cost)?;
        self.gas.record_refund(refund);
        Ok(())
    }

    fn balance(&mut self, account: Address) -> Result<U256, Fault> {
        self.touch(account)?;
        Ok(self.context.journal_mut().load_account(account).map_err(fatal)?.data.info.balance)
    }

    fn transfer(&mut self, from: Address, to: Address, amount: U256) -> Result<bool, Fault> {
        self.writes()?;
        self.touch(from)?;
        let empty = self.touch(to)?;
        if amount.is_zero() {
            return Ok(true);
        }
        self.charge(CALLVALUE.saturating_add(if empty { NEW_ACCOUNT_GAS } else { 0 }))?;
        Ok(self.context.journal_mut().transfer(from, to, amount).map_err(fatal)?.is_none())
    }

    fn mint(&mut self, to: Address, amount: U256) -> Result<(), Fault> {
        self.writes()?;
        let empty = self.touch(to)?;
        if amount.is_zero() {
            return Ok(());
        }
        self.charge(CALLVALUE.saturating_add(if empty { NEW_ACCOUNT_GAS } else { 0 }))?;
        self.context.journal_mut().balance_incr(to, amount).map_err(fatal)
    }

    fn burn(&mut self, from: Address, amount: U256) -> Result<(), Fault> {
        self.writes()?;
        self.touch(from)?;
        if self.lower_balance(from, amount)? { Ok(()) } else { Err(Fault::Broken("a module lacks coins")) }
    }

    fn is_vacant(&mut self, account: Address) -> Result<bool, Fault> {
        self.touch(account)?;
        let info = &self.context.journal_mut().load_account(account).map_err(fatal)?.data.info;
        Ok(info.nonce == 0 && info.is_empty_code_hash())
    }

    fn create(&mut self, account: Address) -> Result<bool, Fault> {
        self.writes()?;
        if !self.is_vacant(account)? {
            return Ok(false);
        }
        self.charge(NEW_ACCOUNT_GAS)?;
        let journal = self.context.journal_mut();
        let code = Bytecode::new_legacy(Bytes::from_static(&MODULE_STUB));
        journal.set_code_with_hash(account, code, *STUB_HASH);
        let mut record = journal.load_account_mut(account).map_err(fatal)?;
        record.data.set_nonce(1);
        record.data.touch();
        Ok(true)
    }

    fn log(&mut self, account: Address, data: LogData) -> Result<(), Fault> {
        self.writes()?;
        let (base, topic, byte) = LOG_GAS;
        let topics = topic.saturating_mul(data.topics().len() as u64);
        self.charge(base.saturating_add(topics).saturating_add(byte.saturating_mul(data.data.len() as u64)))?;
        self.context.journal_mut().log(Log { address: account, data });
        Ok(())
    }

    fn charge(&mut self, gas: u64) -> Result<(), Fault> {
        if self.gas.record_regular_cost(gas) { Ok(()) } else { Err(Fault::OutOfGas) }
    }

    fn set_metered(&mut self, metered: bool) {
        self.metered = metered;
    }

    fn note(&mut self, _: Event) {}
}

/// Modules in a block's hooks: no gas, no logs.
pub(crate) struct BlockHost<'a, 'b> {
    pub(crate) env: Env,
    pub(crate) state: &'a mut BlockState<'b>,
    pub(crate) events: Vec<Event>,
}

impl Host for BlockHost<'_, '_> {
    fn env(&self) -> &Env {
        &self.env
    }

    fn load(&mut self, account: Address, slot: U256) -> Result<U256, Fault> {
        self.state.storage(account, slot).map_err(fatal)
    }

    fn store(&mut self, account: Address, slot: U256, value: U256) -> Result<(), Fault> {
        self.state.set_storage(account, slot, value).map_err(fatal)
    }

    fn balance(&mut self, account: Address) -> Result<U256, Fault> {
        Ok(self.state.basic(account).map_err(fatal)?.map_or(U256::ZERO, |info| info.balance))
    }

    fn transfer(&mut self, from: Address, to: Address, amount: U256) -> Result<bool, Fault> {
        if !self.state.take_balance(from, amount).map_err(fatal)? {
            return Ok(false);
        }
        self.state.add_balance(to, amount).map_err(fatal)?;
        Ok(true)
    }

    fn mint(&mut self, to: Address, amount: U256) -> Result<(), Fault> {
        self.state.add_balance(to, amount).map_err(fatal)
    }

    fn burn(&mut self, from: Address, amount: U256) -> Result<(), Fault> {
        if self.state.take_balance(from, amount).map_err(fatal)? {
            Ok(())
        } else {
            Err(Fault::Broken("a module lacks coins"))
        }
    }

    fn is_vacant(&mut self, account: Address) -> Result<bool, Fault> {
        let info = self.state.basic(account).map_err(fatal)?.unwrap_or_default();
        Ok(info.nonce == 0 && info.is_empty_code_hash())
    }

    fn create(&mut self, account: Address) -> Result<bool, Fault> {
        if !self.is_vacant(account)? {
            return Ok(false);
        }
        self.state.create_native(account, Bytes::from_static(&MODULE_STUB)).map_err(fatal)?;
        Ok(true)
    }

    fn log(&mut self, _: Address, _: LogData) -> Result<(), Fault> {
        Ok(())
    }

    fn charge(&mut self, _: u64) -> Result<(), Fault> {
        Ok(())
    }

    fn note(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// Modules on a state that is only read: for RPC and for the node itself.
pub struct ReadHost<'a> {
    env: Env,
    state: &'a dyn StateRead,
}

impl std::fmt::Debug for ReadHost<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadHost").field("env", &self.env).finish_non_exhaustive()
    }
}

impl<'a> ReadHost<'a> {
    /// Modules after the block of `env`.
    pub fn new(env: Env, state: &'a dyn StateRead) -> Self {
        Self { env, state }
    }
}

const READ_ONLY: &str = "this host is for reading";

impl Host for ReadHost<'_> {
    fn env(&self) -> &Env {
        &self.env
    }

    fn load(&mut self, account: Address, slot: U256) -> Result<U256, Fault> {
        self.state.storage(account, slot).map_err(fatal)
    }

    fn store(&mut self, _: Address, _: U256, _: U256) -> Result<(), Fault> {
        Err(Fault::Fatal(READ_ONLY.into()))
    }

    fn balance(&mut self, account: Address) -> Result<U256, Fault> {
        Ok(self.state.account(account).map_err(fatal)?.map_or(U256::ZERO, |account| account.balance))
    }

    fn transfer(&mut self, _: Address, _: Address, _: U256) -> Result<bool, Fault> {
        Err(Fault::Fatal(READ_ONLY.into()))
    }

    fn mint(&mut self, _: Address, _: U256) -> Result<(), Fault> {
        Err(Fault::Fatal(READ_ONLY.into()))
    }

    fn burn(&mut self, _: Address, _: U256) -> Result<(), Fault> {
        Err(Fault::Fatal(READ_ONLY.into()))
    }

    fn is_vacant(&mut self, account: Address) -> Result<bool, Fault> {
        Ok(self.state.account(account).map_err(fatal)?.is_none_or(|info| info.nonce == 0))
    }

    fn create(&mut self, _: Address) -> Result<bool, Fault> {
        Err(Fault::Fatal(READ_ONLY.into()))
    }

    fn log(&mut self, _: Address, _: LogData) -> Result<(), Fault> {
        Err(Fault::Fatal(READ_ONLY.into()))
    }

    fn charge(&mut self, _: u64) -> Result<(), Fault> {
        Ok(())
    }

    fn note(&mut self, _: Event) {}
}

/// What a fault in a hook is to the executor: the node cannot go on.
pub(crate) fn hook_error(height: u64) -> impl Fn(Fault) -> crate::Error {
    move |fault| crate::Error::Module { height, reason: fault.to_string() }
}
