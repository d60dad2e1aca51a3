//! What can be read of the bridge.

use super::records::{Gateway, bridge};
use super::{buckets, checkpoints, deposits, id_of, known, withdrawals};
use crate::governance::parameter;
use crate::interfaces::IBridge::{self, IBridgeCalls as Calls};
use crate::numbers::Checked;
use crate::{Fault, Host};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue};
use bttc_bridge_types::{BridgeSet, Checkpoint, Command, GatewayCommand, GatewayId, TREE_DEPTH};
use bttc_genesis::Parameter;

/// A gateway.
///
/// # Errors
/// The host's; reverts when it is not registered.
pub fn gateway(host: &mut dyn Host, at: GatewayId) -> Result<IBridge::GatewayInfo, Fault> {
    let (_, gateway) = known(host, at)?;
    describe(host, &gateway)
}

fn describe(host: &mut dyn Host, gateway: &Gateway) -> Result<IBridge::GatewayInfo, Fault> {
    let at = id_of(host, gateway)?;
    let tree_id = gateway.tree_id().get(host)?;
    let tree = gateway.trees().entry(tree_id);
    Ok(IBridge::GatewayInfo {
        rootChainId: at.root_chain_id,
        gateway: at.gateway,
        name: gateway.name().read(host)?,
        depositNonce: gateway.deposit_nonce().get(host)?,
        depositAcc: gateway.deposit_acc().get(host)?,
        treeId: tree_id,
        withdrawals: tree.count().get(host)?,
        withdrawalRoot: tree.root().get(host)?,
        commands: gateway.command_count().get(host)?,
        paused: gateway.paused().get(host)?,
    })
}

/// All gateways.
///
/// # Errors
/// The host's.
pub fn gateways(host: &mut dyn Host) -> Result<Vec<IBridge::GatewayInfo>, Fault> {
    let count = bridge().gateways().len(host)?;
    (0..count).map(|place| describe(host, &bridge().gateways().entry(place))).collect()
}

/// Tokens of a gateway.
///
/// # Errors
/// The host's; reverts when it is not registered.
pub fn tokens(host: &mut dyn Host, at: GatewayId) -> Result<Vec<IBridge::TokenInfo>, Fault> {
    let (_, gateway) = known(host, at)?;
    let mut list = Vec::new();
    for root in gateway.token_list().values(host)? {
        let token = gateway.tokens().entry(root);
        list.push(IBridge::TokenInfo {
            root,
            wrapped: token.wrapped().get(host)?,
            mapped: token.mapped().get(host)?,
            locked: U256::from(token.locked().get(host)?),
            minted: U256::from(token.minted().get(host)?),
            parked: U256::from(token.parked().get(host)?),
            minimum: U256::from(token.minimum().get(host)?),
            floor: U256::from(token.floor().get(host)?),
            available: U256::from(buckets::available(host, &token, u128::MAX)?),
        });
    }
    Ok(list)
}

/// A parked credit.
///
/// # Errors
/// The host's; reverts when the gateway is not registered.
pub fn parked(host: &mut dyn Host, at: GatewayId, nonce: u64) -> Result<IBridge::ParkedInfo, Fault> {
    let (_, gateway) = known(host, at)?;
    let entry = gateway.parked().entry(nonce);
    let amount = entry.amount().get(host)?;
    let returnable = amount > 0 && deposits::is_returnable(host, &gateway, &entry)?;
    Ok(IBridge::ParkedInfo {
        token: entry.token().get(host)?,
        sender: entry.sender().get(host)?,
        recipient: entry.recipient().get(host)?,
        amount: U256::from(amount),
        returnable,
    })
}

/// Running hash of an applied certificate, zero when there is none with this number, and its signers.
///
/// # Errors
/// The host's; reverts when the gateway is not registered.
pub fn boundary(host: &mut dyn Host, at: GatewayId, to_nonce: u64) -> Result<(B256, u64, U256), Fault> {
    let (_, gateway) = known(host, at)?;
    let boundary = gateway.boundaries().entry(to_nonce);
    Ok((boundary.acc().get(host)?, boundary.set_id().get(host)?, boundary.signers().get(host)?))
}

/// Whether late signatures can still be added to a certificate that was applied at least so long ago.
///
/// # Errors
/// The host's; reverts when the gateway is not registered.
pub fn takes_signatures(host: &mut dyn Host, at: GatewayId, to_nonce: u64, least_ms: u64) -> Result<bool, Fault> {
    let (_, gateway) = known(host, at)?;
    let applied = gateway.boundaries().entry(to_nonce).applied_ms().get(host)?;
    let grace = parameter(host, Parameter::attest_grace_seconds)?.times(1_000)?;
    let now = host.env().time_ms;
    Ok(applied > 0 && applied.plus(least_ms)? <= now && applied.plus(grace)? > now)
}

/// The command with this number; nothing when there is none.
///
/// # Errors
/// The host's; reverts when the gateway is not registered.
pub fn command(host: &mut dyn Host, at: GatewayId, nonce: u64) -> Result<Option<GatewayCommand>, Fault> {
    let (_, gateway) = known(host, at)?;
    let record = gateway.commands().entry(nonce);
    let (kind, payload) = (record.kind().get(host)?, record.payload().get(host)?);
    Ok(Command::from_parts(kind, &payload).map(|command| GatewayCommand { at, command_nonce: nonce, command }))
}

/// Numbers of the set in force, of the one that waits (0: none) and of the last checkpoint; whether the bridge is halted.
///
/// # Errors
/// The host's.
pub fn state(host: &mut dyn Host) -> Result<(u64, u64, u64, bool), Fault> {
    Ok((
        bridge().set_id().get(host)?,
        bridge().next_set_id().get(host)?,
        bridge().checkpoint_count().get(host)?,
        bridge().halted().get(host)?,
    ))
}

/// The set with this number; nothing when it is not known (any more).
///
/// # Errors
/// The host's.
pub fn set(host: &mut dyn Host, id: u64) -> Result<Option<BridgeSet>, Fault> {
    if bridge().sets().entry(id).members().len(host)? == 0 {
        return Ok(None);
    }
    checkpoints::set(host, id).map(Some)
}

/// A checkpoint with the numbers of the set that signs it and of the one that follows (0: none).
///
/// # Errors
/// The host's.
pub fn checkpoint(host: &mut dyn Host, seq: u64) -> Result<Option<(Checkpoint, u64, u64)>, Fault> {
    let Some((checkpoint, record)) = checkpoints::read(host, seq)? else { return Ok(None) };
    Ok(Some((checkpoint, record.set_id().get(host)?, record.next_set_id().get(host)?)))
}

/// A withdrawal's leaf, its siblings, and the root that they give in the tree of a checkpoint: of the given one, or of the
/// latest that holds the leaf. With the checkpoint's number; nothing when none holds it yet.
///
/// # Errors
/// The host's; reverts when the gateway is not registered.
pub fn proof(
    host: &mut dyn Host,
    at: GatewayId,
    tree_id: u32,
    index: u64,
    seq: Option<u64>,
) -> Result<Option<WithdrawalProof>, Fault> {
    let (_, gateway) = known(host, at)?;
    let seq = match seq {
        Some(seq) => seq,
        None => bridge().checkpoint_count().get(host)?,
    };
    let Some((checkpoint, _)) = checkpoints::read(host, seq)? else { return Ok(None) };
    let Some(dest) = checkpoint.dests.iter().find(|dest| dest.at == at && dest.tree_id == tree_id) else {
        return Ok(None);
    };
    let record = gateway.trees().entry(tree_id);
    let found = withdrawals::prove(host, &record, index, dest.count)?;
    Ok(found.map(|(leaf, siblings)| WithdrawalProof { seq, leaf, siblings, root: dest.withdrawal_root }))
}

/// What a claim needs besides the withdrawal itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithdrawalProof {
    /// The checkpoint.
    pub seq: u64,
    /// The leaf.
    pub leaf: B256,
    /// Its siblings, from below.
    pub siblings: [B256; TREE_DEPTH],
    /// The root.
    pub root: B256,
}

/// Validators that stand accused, with when it is carried out, milliseconds.
///
/// # Errors
/// The host's.
pub fn accused(host: &mut dyn Host) -> Result<Vec<(u32, u64)>, Fault> {
    let list = bridge().accused().values(host)?;
    list.into_iter().map(|id| Ok((id, bridge().accusations().entry(id).due_ms().get(host)?))).collect()
}

/// Serves a read.
pub(crate) fn dispatch(request: Calls, host: &mut dyn Host) -> Result<Vec<u8>, Fault> {
    let at = |root_chain_id: u64, gateway: Address| GatewayId { root_chain_id, gateway };
    Ok(match request {
        Calls::gateways(_) => IBridge::gatewaysCall::abi_encode_returns(&gateways(host)?),
        Calls::tokens(args) => {
            IBridge::tokensCall::abi_encode_returns(&tokens(host, at(args.rootChainId, args.gateway))?)
        }
        Calls::parked(args) => {
            let found = parked(host, at(args.rootChainId, args.gateway), args.nonce)?;
            IBridge::parkedCall::abi_encode_returns(&found)
        }
        Calls::state(_) => {
            let (set_id, next, checkpoints, halted) = state(host)?;
            (set_id, next, checkpoints, halted).abi_encode()
        }
        Calls::set(args) => {
            let bytes: Bytes = set(host, args.setId)?.map(|set| set.encode()).unwrap_or_default().into();
            bytes.abi_encode()
        }
        Calls::reserve(_) => bridge().reserve().get(host)?.abi_encode(),
        _ => return Err(Fault::reason("the module has no such function")),
    })
}
