//! BTT as an ERC-20 token (`0x…1010`): the native balances with allowances and `permit`.

use crate::call::{Call, RECOVERY_GAS};
use crate::interfaces::IBtt::{self, IBttCalls as Calls};
use crate::numbers::Checked;
use crate::storage::{Mapping, Place, Slot, Variable};
use crate::{Fault, Host};
use alloy_primitives::{Address, B256, U256, b256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use bttc_genesis::BTT_ADDRESS;
use bttc_types::{Signature, recover};

/// The token's name.
pub const NAME: &str = "BitTorrent";
/// The token's symbol.
pub const SYMBOL: &str = "BTT";

/// keccak("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)").
const DOMAIN_TYPE: B256 = b256!("8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f");
/// keccak("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)").
const PERMIT_TYPE: B256 = b256!("6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9");

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
        Calls::DOMAIN_SEPARATOR(_) => domain_separator(host)?.abi_encode(),
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
            permit(host, &args)?;
            Vec::new()
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

/// EIP-712 domain of permits: the token's name, version 1, chain and address.
fn domain_separator(host: &mut dyn Host) -> Result<B256, Fault> {
    host.charge(100)?;
    let chain = U256::from(host.env().chain_id);
    let fields = (DOMAIN_TYPE, keccak256(NAME), keccak256("1"), chain, BTT_ADDRESS);
    Ok(keccak256(fields.abi_encode()))
}

/// EIP-2612.
fn permit(host: &mut dyn Host, args: &IBtt::permitCall) -> Result<(), Fault> {
    let now = host.env().time_ms.over(1_000)?;
    if U256::from(now) > args.deadline {
        return Err(Fault::revert(IBtt::ERC2612ExpiredSignature { deadline: args.deadline }));
    }
    host.charge(RECOVERY_GAS)?;
    let nonces = btt().nonces().entry(args.owner);
    let nonce = nonces.get(host)?;
    let content = (PERMIT_TYPE, args.owner, args.spender, args.value, nonce, args.deadline).abi_encode();
    let mut bytes = vec![0x19, 0x01];
    bytes.extend_from_slice(domain_separator(host)?.as_slice());
    bytes.extend_from_slice(keccak256(content).as_slice());
    let digest = keccak256(bytes);
    let mut signature = [0u8; 65];
    let (r, rest) = signature.split_at_mut(32);
    r.copy_from_slice(args.r.as_slice());
    let (s, v) = rest.split_at_mut(32);
    s.copy_from_slice(args.s.as_slice());
    if let Some(v) = v.first_mut() {
        // 27 or 28 on the wire; anything else is no signature.
        *v = args.v.checked_sub(27).unwrap_or(u8::MAX);
    }
    let signer = recover(digest, &Signature::from_bytes(signature)).unwrap_or_default();
    if signer != args.owner || signer == Address::ZERO {
        return Err(Fault::revert(IBtt::ERC2612InvalidSigner { signer, owner: args.owner }));
    }
    nonces.set(host, nonce.plus(U256::ONE)?)?;
    approve(host, args.owner, args.spender, args.value)
}
