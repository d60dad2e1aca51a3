//! What is to be signed.

use crate::follower::Follower;
use alloy_primitives::B256;
use bttc_bridge_types::{BOUNDARY, BridgeSet, GatewayId, Subject};
use std::collections::BTreeMap;

/// Boundaries signed ahead of the ledger's cursor, so that a backlog does not flood the network.
const AHEAD: usize = 64;
/// Deposits behind the cursor whose boundaries are still signed by who was too late.
const RECENT: u64 = 32;

/// A gateway as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerGateway {
    /// Where it is.
    pub at: GatewayId,
    /// Its name.
    pub name: String,
    /// The last applied deposit.
    pub deposit_nonce: u64,
    /// The running hash after it.
    pub deposit_acc: B256,
    /// Digests of the latest commands, by number.
    pub commands: BTreeMap<u64, B256>,
}

/// What the watcher needs of the ledger's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerView {
    /// What names the bridge.
    pub bridge_id: B256,
    /// Signers that a certificate needs besides two thirds of the power.
    pub least_signers: usize,
    /// The set in force.
    pub set: BridgeSet,
    /// Number of the set that waits for its hand-over; 0 when none does.
    pub next_set: u64,
    /// The gateways.
    pub gateways: Vec<LedgerGateway>,
    /// Number of the last checkpoint.
    pub checkpoints: u64,
    /// Digests of the latest checkpoints, by number, with the number of the set that signs them.
    pub digests: BTreeMap<u64, (B256, u64)>,
}

/// Boundaries above a cursor with their running hashes: every number divisible by 64, and the last one of each root block.
pub fn boundaries(follower: &Follower, cursor: u64) -> Vec<(u64, B256)> {
    let list = follower.deposits();
    let mut found = Vec::new();
    for (index, log) in list.iter().enumerate() {
        let nonce = log.deposit.nonce;
        let ends_block = list.get(index + 1).is_none_or(|next| next.block.height != log.block.height);
        if nonce > cursor && (nonce % BOUNDARY == 0 || ends_block) {
            found.push((nonce, log.acc));
        }
    }
    found
}

/// What a member signs now: boundaries above the ledger's cursor, checkpoints of its own set, commands that a gateway has not
/// carried out. Members sign as long as it is due, so that one that joined later signs too.
pub fn due(view: &LedgerView, followers: &BTreeMap<GatewayId, Follower>) -> Vec<(Subject, B256)> {
    let mut list = Vec::new();
    for gateway in &view.gateways {
        let at = gateway.at;
        let Some(follower) = followers.get(&at).filter(|follower| follower.halted().is_none()) else { continue };
        // The ledger applied something else than what is seen here: the certificates of others cannot be followed.
        let known = follower.acc_at(gateway.deposit_nonce);
        if known.is_none_or(|acc| acc == gateway.deposit_acc) {
            // The latest applied ones too: the running hash says that they are the same, and a late signature can be added.
            let from = match known {
                Some(_) => gateway.deposit_nonce.saturating_sub(RECENT),
                None => gateway.deposit_nonce,
            };
            let above = boundaries(follower, from);
            list.extend(above.into_iter().take(AHEAD).map(|(to_nonce, acc)| (Subject::Deposits { at, to_nonce }, acc)));
        }
        let done = follower.commands_done();
        for (nonce, digest) in gateway.commands.range(done.saturating_add(1)..) {
            list.push((Subject::Command { at, nonce: *nonce }, *digest));
        }
    }
    for (seq, (digest, set)) in &view.digests {
        if *set == view.set.set_id {
            list.push((Subject::Checkpoint { seq: *seq }, *digest));
        }
    }
    list
}
