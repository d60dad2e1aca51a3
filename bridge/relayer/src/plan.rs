//! Finds what is to be done, by looking at both sides. Nothing here remembers: what was done shows on the chains.

use crate::Error;
use crate::abi::IBridge;
use crate::node::{GatewayView, LEDGER, NodeClient, SignedCheckpoint};
use crate::sender::now_ms;
use crate::store::{Intent, IntentState, Store, WithdrawalRecord};
use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall;
use bttc_bridge_types::GatewayId;
use bttc_root_chains::contracts::{EvmGateway, submit_checkpoint};
use bttc_root_chains::{GatewayState, RootChain};
use std::collections::BTreeMap;

/// Checkpoints looked at in one round.
const LOOK_AHEAD: u64 = 256;
/// Claims made in one round.
const CLAIMS: usize = 64;

/// Which withdrawals are claimed for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimPolicy {
    /// All.
    All,
    /// Those with a fee of at least so many ten-thousandths of the amount.
    Paid(u64),
}

impl ClaimPolicy {
    fn takes(self, record: &WithdrawalRecord) -> bool {
        match self {
            Self::All => true,
            Self::Paid(bps) => {
                let fee = record.withdrawal.relayer_fee;
                !fee.is_zero()
                    && fee.saturating_mul(U256::from(10_000))
                        >= record.withdrawal.amount.saturating_mul(U256::from(bps))
            }
        }
    }
}

/// Adds an intent, unless it is there. One that is done is there too.
fn add(store: &Store, id: String, lane: &str, to: Address, input: Vec<u8>) -> Result<bool, Error> {
    if store.intent(&id)?.is_some() {
        return Ok(false);
    }
    let now = now_ms();
    tracing::info!(intent = %id, "found");
    store.put(&Intent {
        id,
        lane: lane.to_owned(),
        to,
        input: Bytes::from(input),
        state: IntentState::Building,
        attempts: Vec::new(),
        failures: 0,
        not_before_ms: 0,
        error: None,
        created_ms: now,
        updated_ms: now,
    })?;
    Ok(true)
}

/// Deposits that the ledger can apply.
pub(crate) async fn deposits(node: &NodeClient, at: GatewayId, store: &Store) -> Result<(), Error> {
    let Some(found) = node.deposits(at).await? else { return Ok(()) };
    let deposits = found
        .deposits
        .iter()
        .map(|deposit| IBridge::Deposit {
            token: deposit.token,
            sender: deposit.sender,
            recipient: deposit.recipient,
            amount: deposit.amount,
        })
        .collect();
    let call = IBridge::applyDepositsCall {
        rootChainId: at.root_chain_id,
        gateway: at.gateway,
        deposits,
        signatures: found.signatures,
    };
    // The next run begins where this one ends: one at a time.
    let id = format!("apply:{}:{}", at.root_chain_id, found.to_nonce);
    let first = found.deposits.first().map_or(0, |deposit| deposit.nonce);
    let prefix = format!("apply:{}:", at.root_chain_id);
    let busy = store.open_intents()?.iter().any(|intent| {
        intent.id.starts_with(&prefix)
            && !intent.is_done()
            && intent
                .id
                .rsplit(':')
                .next()
                .and_then(|nonce| nonce.parse::<u64>().ok())
                .is_some_and(|nonce| nonce >= first)
    });
    if busy {
        return Ok(());
    }
    // The same run may have been applied by somebody else and come again with another set: it is tried before it is sent.
    if store.intent(&id)?.is_some_and(|intent| intent.is_done()) {
        store.forget(&id)?;
    }
    add(store, id, "bttc", LEDGER, call.abi_encode())?;
    Ok(())
}

/// What a relayer knows of checkpoints, so that each is asked for once.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints(BTreeMap<u64, SignedCheckpoint>);

impl Checkpoints {
    async fn get(&mut self, node: &NodeClient, seq: u64) -> Result<Option<&SignedCheckpoint>, Error> {
        let complete = self.0.get(&seq).is_some_and(|found| found.certificate.is_some());
        if !complete && let Some(found) = node.checkpoint(seq).await? {
            self.0.insert(seq, found);
        }
        while self.0.len() > 4 * LOOK_AHEAD as usize {
            self.0.pop_first();
        }
        Ok(self.0.get(&seq))
    }
}

/// The checkpoint that a gateway needs next: the earliest by which its set hands over, as long as it does not know the set in
/// force; otherwise the latest, if it has withdrawals that the gateway does not know.
pub(crate) async fn next_checkpoint(
    node: &NodeClient,
    cache: &mut Checkpoints,
    at: GatewayId,
    state: &GatewayState,
    trees: &BTreeMap<u32, u64>,
    last: u64,
) -> Result<Option<SignedCheckpoint>, Error> {
    let mut best = None;
    for seq in state.last_seq + 1..=last.min(state.last_seq + LOOK_AHEAD) {
        let Some(found) = cache.get(node, seq).await? else { continue };
        if found.certificate.is_none() || found.checkpoint.set_hash != state.set_hash {
            continue;
        }
        if found.checkpoint.is_hand_over() {
            return Ok(Some(found.clone()));
        }
        let news = found
            .checkpoint
            .dests
            .iter()
            .any(|dest| dest.at == at && dest.count > trees.get(&dest.tree_id).copied().unwrap_or(0));
        if news {
            best = Some(found.clone());
        }
    }
    Ok(best)
}

/// What a gateway needs: commands, checkpoints, claims.
pub(crate) struct GatewayWork<'a> {
    pub(crate) node: &'a NodeClient,
    pub(crate) chain: &'a RootChain,
    pub(crate) lane: &'a str,
    pub(crate) policy: ClaimPolicy,
    pub(crate) store: &'a Store,
}

impl GatewayWork<'_> {
    /// Finds it. Gives where the gateway stands.
    pub(crate) async fn find(
        &self,
        view: &GatewayView,
        last: u64,
        cache: &mut Checkpoints,
    ) -> Result<GatewayState, Error> {
        let at = view.at();
        // Final state: what is there only at the head is tried before it is sent again.
        let state = self.chain.gateway(at.gateway).await?;
        self.command(view, &state).await?;
        let mut trees = BTreeMap::new();
        let tree = self.chain.view(at.gateway, &EvmGateway::treeCall { treeId: 1 }).await?;
        trees.insert(1u32, tree.count);
        if let Some(found) = next_checkpoint(self.node, cache, at, &state, &trees, last).await?
            && let Some((set, signatures)) = found.certificate
        {
            let input = submit_checkpoint(&found.checkpoint, set, signatures).abi_encode();
            let id = format!("checkpoint:{}:{}", at.root_chain_id, found.checkpoint.seq);
            add(self.store, id, self.lane, at.gateway, input)?;
        }
        self.claims(at, &state, tree.count).await?;
        Ok(state)
    }

    async fn command(&self, view: &GatewayView, state: &GatewayState) -> Result<(), Error> {
        let at = view.at();
        let nonce = state.commands + 1;
        if nonce > view.commands.to::<u64>() {
            return Ok(());
        }
        let Some(found) = self.node.command(at, nonce).await? else { return Ok(()) };
        let (Some(set), Some(signatures)) = (found.set, found.signatures) else { return Ok(()) };
        let call = EvmGateway::executeCall {
            commandNonce: nonce,
            kind: found.kind.to(),
            payload: found.payload,
            set,
            signatures,
        };
        add(self.store, format!("command:{}:{nonce}", at.root_chain_id), self.lane, at.gateway, call.abi_encode())?;
        Ok(())
    }

    async fn claims(&self, at: GatewayId, state: &GatewayState, count: u64) -> Result<(), Error> {
        let mut made = 0;
        for record in self.store.open_withdrawals()? {
            let withdrawal = record.withdrawal;
            if withdrawal.at != at || withdrawal.index >= count || made >= CLAIMS || !self.policy.takes(&record) {
                continue;
            }
            let (tree, index) = (withdrawal.tree_id, withdrawal.index);
            let id = format!("claim:{}:{tree}:{index}", at.root_chain_id);
            match self.store.intent(&id)? {
                Some(intent) if !intent.is_done() => continue,
                Some(_) => {
                    self.rest(at, &record).await?;
                    continue;
                }
                None => {}
            }
            let Some(proof) = self.node.proof(&withdrawal, state.last_seq).await? else { continue };
            let call = EvmGateway::claimCall {
                treeId: tree,
                index,
                token: withdrawal.token,
                sender: withdrawal.sender,
                recipient: withdrawal.recipient,
                amount: withdrawal.amount,
                relayerFee: withdrawal.relayer_fee,
                proof,
            };
            made += usize::from(add(self.store, id, self.lane, at.gateway, call.abi_encode())?);
        }
        Ok(())
    }

    /// What is left of a claimed withdrawal: a large one that waits, or a part that the bucket did not give.
    async fn rest(&self, at: GatewayId, record: &WithdrawalRecord) -> Result<(), Error> {
        let withdrawal = &record.withdrawal;
        let (tree, index) = (withdrawal.tree_id, withdrawal.index);
        let claimed = self.chain.view(at.gateway, &EvmGateway::isClaimedCall { treeId: tree, index }).await?;
        if !claimed {
            return Ok(());
        }
        let pending = self.chain.view(at.gateway, &EvmGateway::pendingCall { treeId: tree, index }).await?;
        let remaining: u128 = pending.remaining.to();
        if remaining == 0 {
            return self.store.settle(withdrawal);
        }
        if pending.availableAt * 1_000 > now_ms() {
            return Ok(());
        }
        // Only what pays: the bucket may be empty.
        let available = EvmGateway::availableCall { token: withdrawal.token, amount: U256::from(remaining) };
        if self.chain.view(at.gateway, &available).await?.is_zero() {
            return Ok(());
        }
        let call = EvmGateway::releaseCall { treeId: tree, index };
        let id = format!("release:{}:{tree}:{index}:{remaining}", at.root_chain_id);
        add(self.store, id, self.lane, at.gateway, call.abi_encode())?;
        Ok(())
    }
}
