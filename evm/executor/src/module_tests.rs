//! How other people's tools see calls of native modules: in traces, and through state overrides.

use crate::run::chain_evm;
use crate::simulate::CallContext;
use crate::{BlockState, EvmInput, Executor};
use alloy_primitives::{Address, Bytes, TxKind, U256, map::AddressMap};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_eth::state::AccountOverride;
use alloy_sol_types::SolCall;
use bttc_genesis::{ChainSpec, DEV_KEYS, GenesisValidator, Preset, STAKING_ADDRESS};
use bttc_modules::interfaces::IStaking;
use bttc_state::{MemoryStore, StateStore, StoreOptions};
use revm::InspectEvm;
use revm::context::TxEnv;
use revm_inspectors::tracing::types::CallKind;
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use std::sync::Arc;

fn executor() -> Executor {
    let key = Address::repeat_byte(9);
    let entry = GenesisValidator { address: key, owner: key, power: 1_000, bridge: None };
    let spec = ChainSpec::new(Preset::Local, 1_700_000_000, vec![entry]).unwrap();
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
    Executor::open(Arc::new(store), Arc::new(spec)).unwrap()
}

/// Init code that calls the staking module with a selector and stops.
fn calling(selector: [u8; 4]) -> Bytes {
    let [high, low] = [STAKING_ADDRESS.0[18], STAKING_ADDRESS.0[19]];
    let mut code = vec![0x63];
    code.extend_from_slice(&selector);
    // SHL by 224, MSTORE at 0; then CALL(gas, module, 0, 0, 4, 32, 32).
    code.extend_from_slice(&[0x60, 0xe0, 0x1b, 0x5f, 0x52]);
    code.extend_from_slice(&[0x60, 0x20, 0x60, 0x20, 0x60, 0x04, 0x5f, 0x5f, 0x61, high, low, 0x5a, 0xf1, 0x00]);
    code.into()
}

#[test]
fn a_tracer_sees_a_call_of_a_module_as_a_call() {
    let executor = executor();
    let header = executor.head_header().unwrap();
    let selector = IStaking::validatorCountCall::SELECTOR;
    let traces = executor.store().view(None, |view| {
        let state = BlockState::new(view, Arc::clone(executor.code_cache()));
        let spec = executor.spec();
        let (cfg, block) = EvmInput::from_header(&header).environment(&spec.rules, spec.chain_id());
        let inspector = TracingInspector::new(TracingInspectorConfig::default_parity());
        let env = Some(executor.env_of(&header, 0));
        let mut evm = chain_evm(state, cfg, block, env, inspector);
        let transaction = TxEnv {
            caller: DEV_KEYS[0].0,
            kind: TxKind::Create,
            data: calling(selector),
            gas_limit: 1_000_000,
            gas_price: 10_000_000_000,
            chain_id: Some(spec.chain_id()),
            ..TxEnv::default()
        };
        let result = evm.inspect_one_tx(transaction).unwrap();
        assert!(result.is_success(), "{result:?}");
        evm.inspector.into_traces()
    });
    let traces = traces.unwrap();
    let nodes = traces.nodes();
    assert_eq!(nodes.len(), 2);
    let call = &nodes[1].trace;
    assert_eq!((call.kind, call.address, call.depth), (CallKind::Call, STAKING_ADDRESS, 1));
    assert_eq!(call.data.as_ref(), selector);
    assert_eq!(U256::from_be_slice(&call.output), U256::ONE);
    assert!(call.success && call.gas_used > 2_000, "{call:?}");
}

#[test]
fn overridden_code_runs_in_the_place_of_a_module() {
    let executor = executor();
    let header = executor.head_header().unwrap();
    let ask = |code: Option<Vec<u8>>| {
        let overrides = code.map(|code| {
            let account = AccountOverride { code: Some(code.into()), ..AccountOverride::default() };
            AddressMap::from_iter([(STAKING_ADDRESS, account)])
        });
        let request = TransactionRequest::default()
            .to(STAKING_ADDRESS)
            .input(Bytes::from(IStaking::validatorCountCall {}.abi_encode()).into());
        executor.store().view(None, |view| {
            let call = CallContext {
                state: view,
                header: &header,
                spec: executor.spec(),
                env: executor.env_of(&header, 0),
                code_cache: executor.code_cache(),
                state_overrides: overrides,
                block_overrides: None,
                gas_cap: 1_000_000,
            };
            U256::from_be_slice(&call.call(request).unwrap())
        })
    };
    assert_eq!(ask(None).unwrap(), U256::ONE);
    // PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN.
    assert_eq!(ask(Some(vec![0x60, 42, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3])).unwrap(), U256::from(42));
}
