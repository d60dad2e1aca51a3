//! What developers' tools ask of a local node: `evm_*`, `hardhat_*` and `anvil_*`, and accounts that the node signs for.

use super::chain::{DevChain, Edit};
use alloy_dyn_abi::TypedData;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::TransactionRequest;
use bttc_executor::simulate::CallError;
use bttc_genesis::DEV_KEYS;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

fn failed(error: impl std::fmt::Display) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(-32_000, error.to_string(), None::<()>)
}

/// A transaction's failure; a revert with its data, as from `eth_estimateGas`.
fn refused(error: eyre::Report) -> ErrorObjectOwned {
    match error.downcast_ref::<CallError>() {
        Some(error) => bttc_rpc::call_error(error.clone()),
        None => failed(format!("{error:#}")),
    }
}

/// Registers a method that may block.
fn add<T: serde::Serialize + Clone + Send + 'static>(
    module: &mut RpcModule<Arc<DevChain>>,
    names: &[&'static str],
    method: fn(&DevChain, &mut Arguments) -> Result<T>,
) -> std::result::Result<(), RegisterMethodError> {
    for name in names {
        module.register_async_method(name, move |params, chain, _| async move {
            let mut arguments = Arguments::read(&params)?;
            let chain = Arc::clone(&chain);
            let work = tokio::task::spawn_blocking(move || method(&chain, &mut arguments));
            work.await.map_err(failed)?
        })?;
    }
    Ok(())
}

/// The parameters, one after the other.
struct Arguments(std::vec::IntoIter<Value>);

impl Arguments {
    fn read(params: &Params<'_>) -> Result<Self> {
        let list: Vec<Value> =
            if params.is_object() { vec![params.parse()?] } else { params.parse().unwrap_or_default() };
        Ok(Self(list.into_iter()))
    }

    fn optional<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        match self.0.next() {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| ErrorObjectOwned::owned(-32_602, error.to_string(), None::<()>)),
        }
    }

    fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        let missing = || ErrorObjectOwned::owned(-32_602, "a parameter is missing", None::<()>);
        self.optional()?.ok_or_else(missing)
    }

    /// A number as tools send it: plain, decimal or hexadecimal.
    fn optional_number(&mut self) -> Result<Option<u64>> {
        self.optional::<Value>()?.map(|value| number(&value)).transpose()
    }

    fn number(&mut self) -> Result<u64> {
        number(&self.next()?)
    }
}

fn number(value: &Value) -> Result<u64> {
    let parsed = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    };
    parsed.ok_or_else(|| ErrorObjectOwned::owned(-32_602, format!("{value} is no number of 64 bits"), None::<()>))
}

/// The namespaces' methods on a chain.
pub(crate) fn methods(chain: Arc<DevChain>) -> std::result::Result<RpcModule<Arc<DevChain>>, RegisterMethodError> {
    let mut module = RpcModule::new(chain);
    accounts(&mut module)?;
    mining(&mut module)?;
    state(&mut module)?;
    Ok(module)
}

fn accounts(module: &mut RpcModule<Arc<DevChain>>) -> std::result::Result<(), RegisterMethodError> {
    add(module, &["eth_accounts", "eth_requestAccounts"], |_, _| Ok(DEV_KEYS.map(|(address, _)| address).to_vec()))?;
    add(module, &["eth_sendTransaction"], |chain, arguments| {
        let request: TransactionRequest = arguments.next()?;
        chain.send(request).map_err(refused)
    })?;
    add(module, &["eth_signTransaction"], |chain, arguments| {
        let request: TransactionRequest = arguments.next()?;
        chain.signed(request).map(|signed| signed.encoded().clone()).map_err(refused)
    })?;
    add(module, &["eth_sign"], |chain, arguments| {
        let (account, message): (Address, Bytes) = (arguments.next()?, arguments.next()?);
        chain.sign(account, &message).map_err(failed)
    })?;
    add(module, &["personal_sign"], |chain, arguments| {
        let (message, account): (Bytes, Address) = (arguments.next()?, arguments.next()?);
        chain.sign(account, &message).map_err(failed)
    })?;
    add(module, &["eth_signTypedData_v4", "eth_signTypedData"], |chain, arguments| {
        let (account, data): (Address, TypedData) = (arguments.next()?, arguments.next()?);
        let hash = data.eip712_signing_hash().map_err(failed)?;
        chain.sign_hash(account, hash).map_err(failed)
    })?;
    add(module, &["hardhat_impersonateAccount", "anvil_impersonateAccount"], |chain, arguments| {
        chain.impersonate(arguments.next()?, true);
        Ok(true)
    })?;
    add(module, &["hardhat_stopImpersonatingAccount", "anvil_stopImpersonatingAccount"], |chain, arguments| {
        Ok(chain.impersonate(arguments.next()?, false))
    })?;
    add(module, &["anvil_autoImpersonateAccount"], |chain, arguments| {
        chain.impersonate_all(arguments.next()?);
        Ok(Value::Null)
    })
}

fn mining(module: &mut RpcModule<Arc<DevChain>>) -> std::result::Result<(), RegisterMethodError> {
    add(module, &["evm_mine"], |chain, arguments| {
        // A timestamp, or both in an object.
        let (blocks, timestamp) = match arguments.optional::<Value>()? {
            Some(Value::Object(fields)) => {
                let field = |name: &str| fields.get(name).filter(|value| !value.is_null()).map(number).transpose();
                (field("blocks")?.unwrap_or(1), field("timestamp")?)
            }
            Some(value) => (1, Some(number(&value)?)),
            None => (1, None),
        };
        chain.mine(blocks, timestamp, None).map_err(failed)?;
        Ok("0x0")
    })?;
    add(module, &["hardhat_mine", "anvil_mine"], |chain, arguments| {
        let (blocks, interval) = (arguments.optional_number()?.unwrap_or(1), arguments.optional_number()?);
        chain.mine(blocks, None, interval).map_err(failed)?;
        Ok(true)
    })?;
    add(module, &["evm_setAutomine", "anvil_setAutomine"], |chain, arguments| {
        chain.set_automine(arguments.next()?).map_err(failed)?;
        Ok(true)
    })?;
    add(module, &["hardhat_getAutomine", "anvil_getAutomine"], |chain, _| Ok(chain.automine()))?;
    // Milliseconds here, seconds there.
    add(module, &["evm_setIntervalMining"], |chain, arguments| {
        chain.interval.send_replace(arguments.number()?);
        Ok(true)
    })?;
    add(module, &["anvil_setIntervalMining"], |chain, arguments| {
        chain.interval.send_replace(arguments.number()?.saturating_mul(1_000));
        Ok(true)
    })?;
    add(module, &["evm_setNextBlockTimestamp", "anvil_setNextBlockTimestamp"], |chain, arguments| {
        let timestamp = arguments.number()?;
        chain.set_next_timestamp(timestamp).map_err(failed)?;
        Ok(timestamp.to_string())
    })?;
    add(module, &["evm_increaseTime", "anvil_increaseTime"], |chain, arguments| {
        Ok(chain.increase_time(arguments.number()?))
    })?;
    add(module, &["hardhat_setCoinbase", "anvil_setCoinbase"], |chain, arguments| {
        chain.set_beneficiary(arguments.next()?);
        Ok(true)
    })?;
    add(module, &["evm_snapshot", "anvil_snapshot"], |chain, _| chain.snapshot().map(U64::from).map_err(failed))?;
    add(module, &["evm_revert", "anvil_revert"], |chain, arguments| {
        let id = arguments.number()?;
        chain.revert(id).map_err(failed)
    })?;
    add(module, &["hardhat_setLoggingEnabled", "anvil_setLoggingEnabled"], |_, _| Ok(true))?;
    add(module, &["anvil_dropAllTransactions"], |chain, _| {
        chain.pool.clear();
        Ok(Value::Null)
    })?;
    add(module, &["hardhat_metadata", "anvil_metadata", "anvil_nodeInfo"], |chain, _| {
        let head = chain.executor.store().head().ok_or_else(|| failed("there is no head"))?;
        Ok(json!({
            "clientVersion": crate::version(),
            "chainId": chain.executor.spec().chain_id(),
            "instanceId": chain.instance,
            "latestBlockNumber": head.height,
            "latestBlockHash": head.hash,
        }))
    })
}

/// Changes an account and answers `true`, as the tools expect.
fn change(chain: &DevChain, account: Address, work: impl FnOnce(&mut Edit)) -> Result<bool> {
    chain.change(account, work).map_err(failed)?;
    Ok(true)
}

fn state(module: &mut RpcModule<Arc<DevChain>>) -> std::result::Result<(), RegisterMethodError> {
    add(module, &["hardhat_setBalance", "anvil_setBalance"], |chain, arguments| {
        let (account, balance): (Address, U256) = (arguments.next()?, arguments.next()?);
        change(chain, account, |edit| edit.account.balance = balance)
    })?;
    add(module, &["hardhat_setNonce", "anvil_setNonce"], |chain, arguments| {
        let (account, nonce) = (arguments.next()?, arguments.number()?);
        change(chain, account, |edit| edit.account.nonce = nonce)
    })?;
    add(module, &["hardhat_setCode", "anvil_setCode"], |chain, arguments| {
        let (account, code): (Address, Bytes) = (arguments.next()?, arguments.next()?);
        change(chain, account, |edit| edit.code = Some(code))
    })?;
    add(module, &["hardhat_setStorageAt", "anvil_setStorageAt"], |chain, arguments| {
        let (account, slot, value): (Address, U256, B256) = (arguments.next()?, arguments.next()?, arguments.next()?);
        change(chain, account, |edit| {
            edit.storage.insert(slot, value.into());
        })
    })
}
