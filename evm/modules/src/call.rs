//! Calls into modules: who handles them, and what every module has in common.

use crate::interfaces::{IBridge, IBtt, IGovernance, IRewards, IStaking};
use crate::{Fault, Host, bridge, btt, governance, rewards, staking, wrapped};
use alloy_json_abi::{JsonAbi, StateMutability};
use alloy_primitives::{Address, Selector, U256};
use alloy_sol_types::{ContractError, SolInterface};
use bttc_genesis::{BRIDGE_ADDRESS, BTT_ADDRESS, GOVERNANCE_ADDRESS, REWARDS_ADDRESS, STAKING_ADDRESS, WRAPPED_PREFIX};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Gas of a call besides what it does to state: decoding, and a look at the selector.
const BASE_GAS: u64 = 200;
/// Gas of each word of input.
const INPUT_WORD_GAS: u64 = 6;
/// Gas of recovering a signer, as the precompile asks.
pub(crate) const RECOVERY_GAS: u64 = 3_000;

/// A call of a module. The value was transferred to the module already.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who calls.
    pub caller: Address,
    /// Coins that came with it, wei.
    pub value: U256,
    /// Selector and arguments.
    pub input: &'a [u8],
}

impl Call<'_> {
    /// The value as stake: no amount of coins exceeds 128 bits.
    pub(crate) fn stake(&self) -> Result<u128, Fault> {
        crate::numbers::narrow(self.value)
    }
}

/// Functions that take coins, by module; the interface files say which.
fn takes_value(module: Address, selector: Selector) -> bool {
    static PAYABLE: OnceLock<BTreeMap<(Address, Selector), bool>> = OnceLock::new();
    let table = PAYABLE.get_or_init(|| {
        let modules: [(Address, JsonAbi); 4] = [
            (STAKING_ADDRESS, IStaking::abi::contract()),
            (GOVERNANCE_ADDRESS, IGovernance::abi::contract()),
            (REWARDS_ADDRESS, IRewards::abi::contract()),
            (BTT_ADDRESS, IBtt::abi::contract()),
        ];
        let mut table = BTreeMap::new();
        for (address, abi) in modules {
            for function in abi.functions() {
                table.insert((address, function.selector()), function.state_mutability == StateMutability::Payable);
            }
        }
        table
    });
    table.get(&(module, selector)).copied().unwrap_or(false)
}

/// Calls a module.
///
/// # Errors
/// [`Fault`]: everything that the caller did wrong is a revert.
pub fn call(module: Address, call: &Call<'_>, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    let words = (call.input.len() as u64).div_ceil(32);
    host.charge(BASE_GAS.saturating_add(words.saturating_mul(INPUT_WORD_GAS)))?;
    let Some((selector, _)) = call.input.split_first_chunk::<4>() else {
        return Err(Fault::reason("a module has no fallback function"));
    };
    if !call.value.is_zero() && !takes_value(module, Selector::from(*selector)) {
        return Err(Fault::reason("the function takes no BTT"));
    }
    match module {
        STAKING_ADDRESS => staking::dispatch(decode(call.input)?, call, host),
        GOVERNANCE_ADDRESS => governance::dispatch(decode(call.input)?, call, host),
        REWARDS_ADDRESS => rewards::dispatch(decode(call.input)?, host),
        BTT_ADDRESS => btt::dispatch(decode(call.input)?, call, host),
        BRIDGE_ADDRESS => bridge::dispatch(decode(call.input)?, call, host),
        token if token.starts_with(&WRAPPED_PREFIX) => wrapped::dispatch(token, decode(call.input)?, call, host),
        _ => Err(Fault::reason("the module has no such function")),
    }
}

/// Strictly decodes a call: the encoding must be the canonical one of known arguments.
fn decode<T: SolInterface>(input: &[u8]) -> Result<T, Fault> {
    T::abi_decode_validate(input).map_err(|error| Fault::reason(&format!("malformed call: {error}")))
}

/// Decodes revert data of any module, for people.
pub fn explain(data: &[u8]) -> Option<String> {
    if let Ok(error) = ContractError::<IStaking::IStakingErrors>::abi_decode(data) {
        return Some(describe(error));
    }
    if let Ok(error) = ContractError::<IGovernance::IGovernanceErrors>::abi_decode(data) {
        return Some(describe(error));
    }
    if let Ok(error) = ContractError::<IBridge::IBridgeErrors>::abi_decode(data) {
        return Some(describe(error));
    }
    // Wrapped tokens have the BTT token's errors.
    ContractError::<IBtt::IBttErrors>::abi_decode(data).ok().map(describe)
}

fn describe<T: std::fmt::Debug + SolInterface>(error: ContractError<T>) -> String {
    match error {
        ContractError::CustomError(error) => {
            // `NoValidator(NoValidator { caller: .. })`: the inner name is enough.
            let text = format!("{error:?}");
            text.split_once('(').map_or(text.clone(), |(_, inner)| inner.trim_end_matches(')').to_owned())
        }
        ContractError::Revert(revert) => revert.reason,
        ContractError::Panic(panic) => panic.to_string(),
    }
}
