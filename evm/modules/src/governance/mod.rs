//! Governance (`0x…1002`): proposals, deposits, votes, and the chain's parameters.
//!
//! `proposals.rs` is making proposals and their deposits, `voting.rs` votes, `tally.rs` what happens to proposals at the end
//! of blocks, `records.rs` what is stored, `views.rs` what can be read.

mod proposals;
pub mod records;
mod tally;
pub mod views;
mod voting;

pub(crate) use tally::end_block;

use crate::call::Call;
use crate::interfaces::IGovernance::IGovernanceCalls as Calls;
use crate::numbers::narrow;
use crate::{Fault, Host};
use alloy_primitives::U256;
use alloy_sol_types::{SolEvent, SolValue};
use bttc_genesis::{ChainParams, GOVERNANCE_ADDRESS, PARAMETERS, Parameter};
use proposals::Draft;
use records::governance;

/// Proposals in voting at one time: counting and listing them is bounded work.
pub const MAX_VOTING: u64 = 32;
/// Proposals with a complete deposit that wait for a place.
pub const MAX_WAITING: u64 = 32;
/// Changes in one proposal.
pub const MAX_CHANGES: usize = 32;

/// Emits an event of the module.
pub(crate) fn emit(host: &mut dyn Host, event: &impl SolEvent) -> Result<(), Fault> {
    host.log(GOVERNANCE_ADDRESS, event.encode_log_data())
}

/// Writes the parameters of the genesis block.
pub(crate) fn initialize(host: &mut dyn Host, params: &ChainParams) -> Result<(), Fault> {
    governance().params().replace(host, &params.values())
}

/// The value of a parameter.
///
/// # Errors
/// The host's.
pub fn parameter(host: &mut dyn Host, which: Parameter) -> Result<u64, Fault> {
    governance().params().entry(which as u64).get(host)
}

/// All parameters.
///
/// # Errors
/// The host's.
pub fn parameters(host: &mut dyn Host) -> Result<ChainParams, Fault> {
    let preset = host.env().preset;
    let stored = governance().params().len(host)?.min(narrow(PARAMETERS.len())?);
    let mut values = Vec::new();
    for index in 0..stored {
        values.push(governance().params().entry(index).get(host)?);
    }
    Ok(ChainParams::from_values(preset, &values))
}

/// Deposits that the module holds, wei.
///
/// # Errors
/// The host's.
pub fn deposits(host: &mut dyn Host) -> Result<U256, Fault> {
    Ok(U256::from(governance().deposits().get(host)?))
}

/// Serves a call.
pub(crate) fn dispatch(request: Calls, call: &Call<'_>, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    let caller = call.caller;
    Ok(match request {
        Calls::proposeText(args) => {
            let draft = Draft::text(&args.title, &args.description);
            proposals::propose(host, caller, call.stake()?, &draft)?.abi_encode()
        }
        Calls::proposeParameters(args) => {
            let draft = Draft::parameters(host, &args)?;
            proposals::propose(host, caller, call.stake()?, &draft)?.abi_encode()
        }
        Calls::proposeUpgrade(args) => {
            let draft = Draft::upgrade(host, &args)?;
            proposals::propose(host, caller, call.stake()?, &draft)?.abi_encode()
        }
        Calls::proposePayment(args) => {
            let draft = Draft::payment(&args)?;
            proposals::propose(host, caller, call.stake()?, &draft)?.abi_encode()
        }
        Calls::proposeBridge(args) => {
            let draft = Draft::bridge(host, &args)?;
            proposals::propose(host, caller, call.stake()?, &draft)?.abi_encode()
        }
        Calls::deposit(args) => {
            proposals::add_deposit(host, args.id, caller, call.stake()?)?;
            Vec::new()
        }
        Calls::withdrawDeposit(args) => U256::from(proposals::withdraw(host, args.id, caller)?).abi_encode(),
        Calls::vote(args) => {
            U256::from(voting::vote(host, caller, args.id, &args.validators, &args.split)?).abi_encode()
        }
        Calls::voteAsValidator(args) => {
            voting::vote_as_validator(host, caller, args.id, &args.split)?;
            Vec::new()
        }
        view => views::dispatch(view, host)?,
    })
}
