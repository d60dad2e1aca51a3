//! BTT as an ERC-20 token (`0x…1010`): the native balances with allowances and `permit`.

use crate::bridge::withdraw_newest;
use crate::call::Call;
use crate::interfaces::IBtt::{self, IBttCalls as Calls};
use crate::numbers::Checked;
use crate::permit::{self, Permit, Refusal};
use crate::storage::{Mapping, Place, Slot, Variable};
use crate::{Fault, Host};
use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use bttc_genesis::BTT_ADDRESS;

/// The token's name.
pub const NAME: &str = "BitTorrent";
/// The token's symbol.
pub const SYMBOL: &str = "BTT";

crate::storage! {
    /// The account's variables.
    pub struct Btt {
        /// All coins of this chain, wei: balances, reserve and reward pool. Burning lowers it.
        supply: Slot<U256>,
        /// What spenders may take, by owner and spender.
        allowances: Mapping<Address, Mapping<Address, Slot<U256>>>,
        /// Permits used, by owner.
        nonces: Mapping<Address, Slot<U256>>,
    }
}

/// The token's variables.
pub fn btt() -> Btt {
    Btt::at(Place::root(BTT_ADDRESS))
}

/// Coins that are gone for ever.
pub(crate) fn burned(host: &mut dyn Host, amount: U256) -> Result<(), Fault> {
    if amount.is_zero() {
        return Ok(());
    }
    let supply = btt().supply().get(host)?.minus(amount)?;
    btt().supply().set(host, supply)
}

/// Serves a call.
pub(crate) fn dispatch(request: Calls, call: &Call<'_>, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    Ok(match request {
        Calls::name(_) => IBtt::nameCall::abi_encode_returns(&NAME.to_owned()),
        Calls::symbol(_) => IBtt::symbolCall::abi_encode_returns(&SYMBOL.to_owned()),
        Calls::decimals(_) => U256::from(18).abi_encode(),
        Calls::totalSupply(_) => btt().supply().get(host)?.abi_encode(),
        Calls::balanceOf(args) => host.balance(args.account)?.abi_encode(),
        Calls::allowance(args) => btt().allowances().entry(args.owner).entry(args.spender).get(host)?.abi_encode(),
        Calls::nonces(args) => btt().nonces().entry(args.owner).get(host)?.abi_encode(),
        Calls::DOMAIN_SEPARATOR(_) => permit::domain_separator(host, BTT_ADDRESS, NAME.as_bytes())?.abi_encode(),
        Calls::transfer(args) => {
            transfer(host, call.caller, args.to, args.value)?;
            true.abi_encode()
        }
        Calls::approve(args) => {
            approve(host, call.caller, args.spender, args.value)?;
            true.abi_encode()
        }
        Calls::transferFrom(args) => {
            spend(host, args.from, call.caller, args.value)?;
            transfer(host, args.from, args.to, args.value)?;
            true.abi_encode()
        }
        Calls::permit(args) => {
            let request = Permit {
                owner: args.owner,
                spender: args.spender,
                value: args.value,
                deadline: args.deadline,
                v: args.v,
                r: args.r,
                s: args.s,
            };
            match permit::check(host, BTT_ADDRESS, NAME.as_bytes(), &btt().nonces().entry(args.owner), &request)? {
                Ok(()) => approve(host, args.owner, args.spender, args.value)?,
                Err(Refusal::Expired(deadline)) => {
                    return Err(Fault::revert(IBtt::ERC2612ExpiredSignature { deadline }));
                }
                Err(Refusal::Signer(signer)) => {
                    return Err(Fault::revert(IBtt::ERC2612InvalidSigner { signer, owner: args.owner }));
                }
            }
            Vec::new()
        }
        Calls::withdrawTo(args) => {
            let index = withdraw_newest(host, call.caller, BTT_ADDRESS, args.amount, args.recipient, U256::ZERO)?;
            IBtt::withdrawToCall::abi_encode_returns(&index)
        }
    })
}

fn transfer(host: &mut dyn Host, from: Address, to: Address, value: U256) -> Result<(), Fault> {
    if to == Address::ZERO {
        return Err(Fault::revert(IBtt::ERC20InvalidReceiver { receiver: to }));
    }
    if !host.transfer(from, to, value)? {
        let balance = host.balance(from)?;
        return Err(Fault::revert(IBtt::ERC20InsufficientBalance { sender: from, balance, needed: value }));
    }
    host.log(BTT_ADDRESS, IBtt::Transfer { from, to, value }.encode_log_data())
}

fn approve(host: &mut dyn Host, owner: Address, spender: Address, value: U256) -> Result<(), Fault> {
    if spender == Address::ZERO {
        return Err(Fault::revert(IBtt::ERC20InvalidSpender { spender }));
    }
    btt().allowances().entry(owner).entry(spender).set(host, value)?;
    host.log(BTT_ADDRESS, IBtt::Approval { owner, spender, value }.encode_log_data())
}

/// Uses an allowance; the largest one is never used up.
fn spend(host: &mut dyn Host, owner: Address, spender: Address, value: U256) -> Result<(), Fault> {
    let slot = btt().allowances().entry(owner).entry(spender);
    let allowance = slot.get(host)?;
    if allowance == U256::MAX {
        return Ok(());
    }
    match allowance.checked_sub(value) {
        Some(left) => slot.set(host, left),
        None => Err(Fault::revert(IBtt::ERC20InsufficientAllowance { spender, allowance, needed: value })),
    }
}
