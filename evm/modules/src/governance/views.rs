//! Reading proposals, parameters and upgrades: for contracts and for RPC.

use super::parameters;
use super::proposals::known;
use super::records::governance;
use crate::interfaces::IGovernance::{self, IGovernanceCalls as Calls, ProposalInfo};
use crate::{Fault, Host};
use alloy_primitives::U256;
use alloy_sol_types::{SolCall, SolValue};

/// Serves a read.
pub(crate) fn dispatch(request: Calls, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    Ok(match request {
        Calls::proposalCount(_) => governance().proposal_count().get(host)?.abi_encode(),
        Calls::proposal(args) => {
            let info = proposal(host, args.id)?;
            IGovernance::proposalCall::abi_encode_returns(&info)
        }
        Calls::parameter(args) => {
            let value = parameters(host)?.get(args.number);
            value.ok_or_else(|| Fault::reason("there is no such parameter"))?.abi_encode()
        }
        Calls::parameters(_) => IGovernance::parametersCall::abi_encode_returns(&parameters(host)?.values()),
        Calls::upgrades(_) => {
            let (names, heights) = upgrades(host)?.into_iter().unzip();
            IGovernance::upgradesCall::abi_encode_returns(&IGovernance::upgradesReturn { names, heights })
        }
        _ => return Err(Fault::reason("the function is no read")),
    })
}

/// How many proposals there ever were.
///
/// # Errors
/// The host's.
pub fn proposal_count(host: &mut dyn Host) -> Result<u64, Fault> {
    governance().proposal_count().get(host)
}

/// A proposal.
///
/// # Errors
/// A revert when there is none; the host's.
pub fn proposal(host: &mut dyn Host, id: u64) -> Result<ProposalInfo, Fault> {
    let record = known(host, id)?;
    Ok(ProposalInfo {
        id,
        proposer: record.proposer().get(host)?,
        kind: record.kind().get(host)?,
        status: record.status().get(host)?,
        expedited: record.expedited().get(host)?,
        depositEnd: record.deposit_end_ms().get(host)?,
        votingStart: record.voting_start_ms().get(host)?,
        votingEnd: record.voting_end_ms().get(host)?,
        executeAt: record.execute_at_ms().get(host)?,
        deposit: U256::from(record.deposit().get(host)?),
        bonded: U256::from(record.bonded().get(host)?),
        yes: U256::from(record.yes().get(host)?),
        no: U256::from(record.no().get(host)?),
        abstain: U256::from(record.abstain().get(host)?),
        veto: U256::from(record.veto().get(host)?),
        title: record.title().read(host)?,
        payload: record.payload().get(host)?.into(),
    })
}

/// Upgrades that were decided: names and heights.
///
/// # Errors
/// The host's.
pub fn upgrades(host: &mut dyn Host) -> Result<Vec<(String, u64)>, Fault> {
    let list = governance().upgrades();
    let length = list.len(host)?;
    let mut found = Vec::new();
    for index in 0..length {
        let upgrade = list.entry(index);
        found.push((upgrade.name().read(host)?, upgrade.height().get(host)?));
    }
    Ok(found)
}
