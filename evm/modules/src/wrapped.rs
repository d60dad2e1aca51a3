//! Wrapped tokens (`0xb77c…`): ERC-20 with permit; the bridge's ledger mints and burns.

use crate::bridge::records::bridge;
use crate::bridge::{TokenTerms, withdraw_newest};
use crate::call::Call;
use crate::interfaces::IWrapped::{self, IWrappedCalls as Calls};
use crate::numbers::Checked;
use crate::permit::{self, Permit, Refusal};
use crate::storage::{Mapping, Place, Slot, Text, Variable};
use crate::{Fault, Host};
use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use bttc_genesis::BTT_ADDRESS;

crate::storage! {
    /// A wrapped token's variables, in its own account.
    pub struct Wrapped {
        /// The token on its root chain.
        root: Slot<Address>,
        /// That chain.
        root_chain_id: Slot<u64>,
        /// Digits after the point.
        decimals: Slot<u8>,
        /// The account is a wrapped token.
        registered: Slot<bool>,
        /// Place of its newest gateway.
        place: Slot<u32>,
        /// In circulation.
        supply: Slot<U256>,
        /// By holder.
        balances: Mapping<Address, Slot<U256>>,
        /// What spenders may take, by owner and spender.
        allowances: Mapping<Address, Mapping<Address, Slot<U256>>>,
        /// Permits used, by owner.
        nonces: Mapping<Address, Slot<U256>>,
        /// For people.
        name: Text,
        /// For people.
        symbol: Text,
    }
}

/// The variables of a token.
pub(crate) fn at(token: Address) -> Wrapped {
    Wrapped::at(Place::root(token))
}

/// Whether an account is a wrapped token.
pub(crate) fn exists(host: &mut dyn Host, token: Address) -> Result<bool, Fault> {
    at(token).registered().get(host)
}

/// The token on the root chain behind one here; nothing when it is no token of the bridge.
pub(crate) fn root_of(host: &mut dyn Host, token: Address) -> Result<Option<Address>, Fault> {
    if token == BTT_ADDRESS {
        let root = bridge().native_root().get(host)?;
        return Ok((root != Address::ZERO).then_some(root));
    }
    if exists(host, token)? { Ok(Some(at(token).root().get(host)?)) } else { Ok(None) }
}

/// Name, symbol and decimals of a token of the bridge.
///
/// # Errors
/// The host's.
pub fn describe(host: &mut dyn Host, token: Address) -> Result<(String, String, u8), Fault> {
    if token == BTT_ADDRESS {
        return Ok((crate::btt::NAME.to_owned(), crate::btt::SYMBOL.to_owned(), 18));
    }
    let record = at(token);
    Ok((record.name().read(host)?, record.symbol().read(host)?, record.decimals().get(host)?))
}

/// Notes which token of TRON is the native coin.
pub(crate) fn set_native_root(host: &mut dyn Host, root: Address) -> Result<(), Fault> {
    bridge().native_root().set(host, root)
}

/// Makes a token, or moves one that exists to a newer gateway.
pub(crate) fn register(
    host: &mut dyn Host,
    token: Address,
    root_chain_id: u64,
    place: u32,
    terms: &TokenTerms,
) -> Result<(), Fault> {
    let record = at(token);
    if !exists(host, token)? {
        if !host.create(token)? {
            return Err(Fault::reason("the token's account is in use"));
        }
        record.registered().set(host, true)?;
        record.root().set(host, terms.root)?;
        record.root_chain_id().set(host, root_chain_id)?;
        record.decimals().set(host, terms.decimals)?;
        record.name().set(host, terms.name.as_bytes())?;
        record.symbol().set(host, terms.symbol.as_bytes())?;
    }
    record.place().set(host, place)
}

/// Makes tokens out of a deposit.
pub(crate) fn mint(host: &mut dyn Host, token: Address, to: Address, value: U256) -> Result<(), Fault> {
    let record = at(token);
    let supply = record.supply().get(host)?.plus(value)?;
    record.supply().set(host, supply)?;
    let slot = record.balances().entry(to);
    let balance = slot.get(host)?.plus(value)?;
    slot.set(host, balance)?;
    host.log(token, IWrapped::Transfer { from: Address::ZERO, to, value }.encode_log_data())
}

/// Burns tokens for a withdrawal.
pub(crate) fn burn(host: &mut dyn Host, token: Address, from: Address, value: U256) -> Result<(), Fault> {
    let record = at(token);
    lower(host, token, from, value)?;
    let supply = record.supply().get(host)?.minus(value)?;
    record.supply().set(host, supply)?;
    host.log(token, IWrapped::Transfer { from, to: Address::ZERO, value }.encode_log_data())
}

fn lower(host: &mut dyn Host, token: Address, sender: Address, needed: U256) -> Result<(), Fault> {
    let slot = at(token).balances().entry(sender);
    let balance = slot.get(host)?;
    match balance.checked_sub(needed) {
        Some(left) => slot.set(host, left),
        None => Err(Fault::revert(IWrapped::ERC20InsufficientBalance { sender, balance, needed })),
    }
}

/// Serves a call of a token.
pub(crate) fn dispatch(token: Address, request: Calls, call: &Call<'_>, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    let record = at(token);
    Ok(match request {
        Calls::name(_) => IWrapped::nameCall::abi_encode_returns(&record.name().read(host)?),
        Calls::symbol(_) => IWrapped::symbolCall::abi_encode_returns(&record.symbol().read(host)?),
        Calls::decimals(_) => U256::from(record.decimals().get(host)?).abi_encode(),
        Calls::totalSupply(_) => record.supply().get(host)?.abi_encode(),
        Calls::balanceOf(args) => record.balances().entry(args.account).get(host)?.abi_encode(),
        Calls::allowance(args) => record.allowances().entry(args.owner).entry(args.spender).get(host)?.abi_encode(),
        Calls::nonces(args) => record.nonces().entry(args.owner).get(host)?.abi_encode(),
        Calls::DOMAIN_SEPARATOR(_) => {
            let name = record.name().get(host)?;
            permit::domain_separator(host, token, &name)?.abi_encode()
        }
        Calls::transfer(args) => {
            transfer(host, token, call.caller, args.to, args.value)?;
            true.abi_encode()
        }
        Calls::approve(args) => {
            approve(host, token, call.caller, args.spender, args.value)?;
            true.abi_encode()
        }
        Calls::transferFrom(args) => {
            spend(host, token, args.from, call.caller, args.value)?;
            transfer(host, token, args.from, args.to, args.value)?;
            true.abi_encode()
        }
        Calls::permit(args) => {
            let name = record.name().get(host)?;
            let request = Permit {
                owner: args.owner,
                spender: args.spender,
                value: args.value,
                deadline: args.deadline,
                v: args.v,
                r: args.r,
                s: args.s,
            };
            match permit::check(host, token, &name, &record.nonces().entry(args.owner), &request)? {
                Ok(()) => approve(host, token, args.owner, args.spender, args.value)?,
                Err(Refusal::Expired(deadline)) => {
                    return Err(Fault::revert(IWrapped::ERC2612ExpiredSignature { deadline }));
                }
                Err(Refusal::Signer(signer)) => {
                    return Err(Fault::revert(IWrapped::ERC2612InvalidSigner { signer, owner: args.owner }));
                }
            }
            Vec::new()
        }
        Calls::withdrawTo(args) => {
            let index = withdraw_newest(host, call.caller, token, args.amount, args.recipient, U256::ZERO)?;
            IWrapped::withdrawToCall::abi_encode_returns(&index)
        }
        Calls::origin(_) => (record.root_chain_id().get(host)?, record.root().get(host)?).abi_encode(),
    })
}

fn transfer(host: &mut dyn Host, token: Address, from: Address, to: Address, value: U256) -> Result<(), Fault> {
    if to == Address::ZERO {
        return Err(Fault::revert(IWrapped::ERC20InvalidReceiver { receiver: to }));
    }
    lower(host, token, from, value)?;
    let slot = at(token).balances().entry(to);
    let balance = slot.get(host)?.plus(value)?;
    slot.set(host, balance)?;
    host.log(token, IWrapped::Transfer { from, to, value }.encode_log_data())
}

fn approve(host: &mut dyn Host, token: Address, owner: Address, spender: Address, value: U256) -> Result<(), Fault> {
    if spender == Address::ZERO {
        return Err(Fault::revert(IWrapped::ERC20InvalidSpender { spender }));
    }
    at(token).allowances().entry(owner).entry(spender).set(host, value)?;
    host.log(token, IWrapped::Approval { owner, spender, value }.encode_log_data())
}

/// Uses an allowance; the largest one is never used up.
fn spend(host: &mut dyn Host, token: Address, owner: Address, spender: Address, needed: U256) -> Result<(), Fault> {
    let slot = at(token).allowances().entry(owner).entry(spender);
    let allowance = slot.get(host)?;
    if allowance == U256::MAX {
        return Ok(());
    }
    match allowance.checked_sub(needed) {
        Some(left) => slot.set(host, left),
        None => Err(Fault::revert(IWrapped::ERC20InsufficientAllowance { spender, allowance, needed })),
    }
}
