//! EIP-2612, for every token of this chain.

use crate::call::RECOVERY_GAS;
use crate::numbers::Checked;
use crate::storage::Slot;
use crate::{Fault, Host};
use alloy_primitives::{Address, B256, U256, b256, keccak256};
use alloy_sol_types::SolValue;
use bttc_types::{Signature, recover};

/// keccak("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)").
const DOMAIN_TYPE: B256 = b256!("8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f");
/// keccak("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)").
const PERMIT_TYPE: B256 = b256!("6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9");

/// The arguments of `permit`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permit {
    pub(crate) owner: Address,
    pub(crate) spender: Address,
    pub(crate) value: U256,
    pub(crate) deadline: U256,
    pub(crate) v: u8,
    pub(crate) r: B256,
    pub(crate) s: B256,
}

/// Why a permit does not count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// Its time is over.
    Expired(U256),
    /// Somebody else signed.
    Signer(Address),
}

/// EIP-712 domain of permits: the token's name, version 1, chain and address.
pub(crate) fn domain_separator(host: &mut dyn Host, token: Address, name: &[u8]) -> Result<B256, Fault> {
    host.charge(100)?;
    let chain = U256::from(host.env().chain_id);
    let fields = (DOMAIN_TYPE, keccak256(name), keccak256("1"), chain, token);
    Ok(keccak256(fields.abi_encode()))
}

/// Checks a permit and uses its number.
pub(crate) fn check(
    host: &mut dyn Host,
    token: Address,
    name: &[u8],
    nonces: &Slot<U256>,
    permit: &Permit,
) -> Result<Result<(), Refusal>, Fault> {
    let now = host.env().time_ms.over(1_000)?;
    if U256::from(now) > permit.deadline {
        return Ok(Err(Refusal::Expired(permit.deadline)));
    }
    host.charge(RECOVERY_GAS)?;
    let nonce = nonces.get(host)?;
    let content = (PERMIT_TYPE, permit.owner, permit.spender, permit.value, nonce, permit.deadline).abi_encode();
    let mut bytes = vec![0x19, 0x01];
    bytes.extend_from_slice(domain_separator(host, token, name)?.as_slice());
    bytes.extend_from_slice(keccak256(content).as_slice());
    let digest = keccak256(bytes);
    let mut signature = [0u8; 65];
    let (r, rest) = signature.split_at_mut(32);
    r.copy_from_slice(permit.r.as_slice());
    let (s, v) = rest.split_at_mut(32);
    s.copy_from_slice(permit.s.as_slice());
    if let Some(v) = v.first_mut() {
        // 27 or 28 on the wire; anything else is no signature.
        *v = permit.v.checked_sub(27).unwrap_or(u8::MAX);
    }
    let signer = recover(digest, &Signature::from_bytes(signature)).unwrap_or_default();
    if signer != permit.owner || signer == Address::ZERO {
        return Ok(Err(Refusal::Signer(signer)));
    }
    nonces.set(host, nonce.plus(U256::ONE)?)?;
    Ok(Ok(()))
}
