//! The bridge's ledger (`0x…1001`): what root chains have locked, what is in circulation here, and what this chain says to
//! the gateways.
//!
//! `deposits.rs` credits, `withdrawals.rs` burns and keeps the trees, `buckets.rs` bounds what crosses in a window,
//! `checkpoints.rs` makes checkpoints and hands the bridge set over, `accusations.rs` is wrong signatures and missed ones,
//! `operations.rs` what governance orders, `records.rs` what is stored, `views.rs` what can be read.

mod accusations;
mod buckets;
mod checkpoints;
mod deposits;
pub mod operations;
pub mod records;
pub mod views;
mod withdrawals;

pub(crate) use accusations::{bound_until, carry_out, count_attestations, is_accused};
pub(crate) use checkpoints::{begin_block, binding_power, bound_members, past_members, renew};
pub use operations::{Operation, TokenTerms};
pub(crate) use operations::{execute, initialize, is_protected};
pub(crate) use withdrawals::withdraw_newest;

use crate::call::Call;
use crate::interfaces::IBridge::{self, IBridgeCalls as Calls};
use crate::numbers::{Checked, narrow};
use crate::{Fault, Host};
use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use bttc_bridge_types::GatewayId;
use bttc_genesis::BRIDGE_ADDRESS;
use records::{Gateway, bridge};

/// Emits an event of the ledger.
pub(crate) fn emit(host: &mut dyn Host, event: &impl SolEvent) -> Result<(), Fault> {
    host.log(BRIDGE_ADDRESS, event.encode_log_data())
}

/// A gateway that is registered, with its place.
pub(crate) fn known(host: &mut dyn Host, at: GatewayId) -> Result<(u32, Gateway), Fault> {
    match bridge().places().entry(at.key()).get(host)?.checked_sub(1) {
        Some(place) => Ok((place, bridge().gateways().entry(u64::from(place)))),
        None => Err(Fault::revert(IBridge::UnknownGateway { rootChainId: at.root_chain_id, gateway: at.gateway })),
    }
}

/// Where a gateway is.
pub(crate) fn id_of(host: &mut dyn Host, gateway: &Gateway) -> Result<GatewayId, Fault> {
    Ok(GatewayId { root_chain_id: gateway.root_chain_id().get(host)?, gateway: gateway.gateway().get(host)? })
}

/// An amount in the width in which the ledger keeps sums.
pub(crate) fn units(amount: U256) -> Result<u128, Fault> {
    narrow(amount)
}

/// Serves a call.
pub(crate) fn dispatch(request: Calls, call: &Call<'_>, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    let caller = call.caller;
    let at = |root_chain_id: u64, gateway: Address| GatewayId { root_chain_id, gateway };
    Ok(match request {
        Calls::applyDeposits(args) => {
            deposits::apply(host, at(args.rootChainId, args.gateway), &args.deposits, &args.signatures)?;
            Vec::new()
        }
        Calls::addSignatures(args) => {
            deposits::add_signatures(host, at(args.rootChainId, args.gateway), args.toNonce, &args.signatures)?;
            Vec::new()
        }
        Calls::releaseParked(args) => {
            let paid = deposits::release(host, at(args.rootChainId, args.gateway), args.nonce)?;
            U256::from(paid).abi_encode()
        }
        Calls::returnParked(args) => {
            deposits::give_back(host, at(args.rootChainId, args.gateway), args.nonce)?;
            Vec::new()
        }
        Calls::withdraw(args) => {
            let index =
                withdrawals::withdraw_newest(host, caller, args.token, args.amount, args.recipient, args.relayerFee)?;
            IBridge::withdrawCall::abi_encode_returns(&index)
        }
        Calls::withdrawAt(args) => {
            let (place, _) = known(host, at(args.rootChainId, args.gateway))?;
            let order = withdrawals::Order {
                owner: caller,
                recipient: args.recipient,
                amount: args.amount,
                fee: args.relayerFee,
            };
            let index = withdrawals::withdraw(host, place, args.token, &order)?;
            IBridge::withdrawAtCall::abi_encode_returns(&index)
        }
        Calls::certifyCheckpoint(args) => {
            checkpoints::certify(host, args.seq, &args.signatures)?;
            Vec::new()
        }
        Calls::accuseAttestation(args) => {
            let id = at(args.rootChainId, args.gateway);
            accusations::attestation(host, caller, id, args.toNonce, args.accTo, &args.signature)?;
            Vec::new()
        }
        Calls::accuseConflict(args) => {
            accusations::conflict(host, caller, &args)?;
            Vec::new()
        }
        Calls::accuseCheckpoint(args) => {
            accusations::checkpoint(host, caller, &args.checkpoint, &args.dests, &args.signature)?;
            Vec::new()
        }
        view => views::dispatch(view, host)?,
    })
}

/// Gas of recovering the signers of packed signatures.
pub(crate) fn charge_signatures(host: &mut dyn Host, packed: &[u8]) -> Result<(), Fault> {
    let count = (packed.len() as u64).checked_div(bttc_bridge_types::SIGNATURE_BYTES as u64).unwrap_or(0);
    host.charge(crate::call::RECOVERY_GAS.times(count)?)
}
