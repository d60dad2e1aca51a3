//! `bttc_subscribe`: final blocks with their certificates, bridge signatures, checkpoints.

use crate::context::RpcContext;
use crate::subscriptions::{lagged, notify};
use crate::{bridge, bttc};
use alloy_primitives::{Address, U64};
use bttc_bridge_types::{BridgeVote, Subject};
use bttc_modules::bridge::views;
use jsonrpsee::core::{RegisterMethodError, SubscriptionResult};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{PendingSubscriptionSink, RpcModule};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Checkpoints whose certificate a subscriber waits for.
const OPEN_CHECKPOINTS: usize = 64;

/// A bridge signature that the node made or took in, and whose it is.
pub type VoteEvent = (Address, BridgeVote);

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> Result<(), RegisterMethodError> {
    module.register_subscription(
        "bttc_subscribe",
        "bttc_subscription",
        "bttc_unsubscribe",
        |params, pending, context, _| subscribe(params, pending, context),
    )?;
    Ok(())
}

async fn subscribe(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    context: Arc<RpcContext>,
) -> SubscriptionResult {
    let kind: String = match params.sequence().next() {
        Ok(kind) => kind,
        Err(error) => {
            pending.reject(error).await;
            return Ok(());
        }
    };
    match kind.as_str() {
        "finalized" => finalized(pending, context).await,
        "attestations" => attestations(pending, context).await,
        "checkpoints" => checkpoints(pending, context).await,
        other => {
            let message = format!("no {other:?} subscription in bttc namespace: finalized, attestations, checkpoints");
            pending.reject(ErrorObjectOwned::owned(-32_601, message, None::<()>)).await;
            Ok(())
        }
    }
}

/// Each block with the certificate that decided it.
async fn finalized(pending: PendingSubscriptionSink, context: Arc<RpcContext>) -> SubscriptionResult {
    let mut heads = context.heads.subscribe();
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    loop {
        let head = tokio::select! {
            () = sink.closed() => return Ok(()),
            head = heads.recv() => head,
        };
        let executed = match head {
            Ok(executed) => executed,
            Err(RecvError::Lagged(_)) => return lagged(),
            Err(RecvError::Closed) => return Ok(()),
        };
        let (number, hash) = (executed.block.header.number, executed.hash);
        let timestamp = executed.block.header.timestamp;
        let certificate = context.heavy(move |context| bttc::certificate_at(context, number)).await;
        let certificate = certificate.map_err(|error| error.message().to_owned())?;
        let item = json!({
            "number": U64::from(number), "hash": hash, "timestamp": U64::from(timestamp), "certificate": certificate,
        });
        if !notify(&sink, &item).await {
            return lagged();
        }
    }
}

/// Each signature of a member on deposits, checkpoints and commands, once.
async fn attestations(pending: PendingSubscriptionSink, context: Arc<RpcContext>) -> SubscriptionResult {
    let Some(mut votes) = context.bridge.as_ref().map(|bridge| bridge.votes()) else {
        pending.reject(crate::errors::server("this node takes no part in the bridge")).await;
        return Ok(());
    };
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    loop {
        let vote = tokio::select! {
            () = sink.closed() => return Ok(()),
            vote = votes.recv() => vote,
        };
        match vote {
            Ok((signer, vote)) => {
                if !notify(&sink, &vote_json(signer, &vote)).await {
                    return lagged();
                }
            }
            Err(RecvError::Lagged(_)) => return lagged(),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn vote_json(signer: Address, vote: &BridgeVote) -> Value {
    let mut item = match vote.subject {
        Subject::Deposits { at, to_nonce } => json!({
            "kind": "deposits", "rootChainId": U64::from(at.root_chain_id), "gateway": at.gateway,
            "toNonce": U64::from(to_nonce),
        }),
        Subject::Checkpoint { seq } => json!({ "kind": "checkpoint", "seq": U64::from(seq) }),
        Subject::Command { at, nonce } => json!({
            "kind": "command", "rootChainId": U64::from(at.root_chain_id), "gateway": at.gateway,
            "commandNonce": U64::from(nonce),
        }),
    };
    if let Some(fields) = item.as_object_mut() {
        fields.insert("value".into(), json!(vote.value));
        fields.insert("signer".into(), json!(signer));
        fields.insert("signature".into(), json!(alloy_primitives::hex::encode_prefixed(vote.signature.as_bytes())));
    }
    item
}

/// Each checkpoint when it is made, and again when its certificate is complete; as `bttc_checkpoint` shows it.
async fn checkpoints(pending: PendingSubscriptionSink, context: Arc<RpcContext>) -> SubscriptionResult {
    let mut heads = context.heads.subscribe();
    let mut votes = context.bridge.as_ref().map(|bridge| bridge.votes());
    let made =
        |context: &RpcContext| crate::staking::read(context, None, |host| views::state(host).map(|state| state.2));
    let mut last = context.heavy(made).await.map_err(|error| error.message().to_owned())?;
    let mut open = BTreeSet::new();
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    loop {
        tokio::select! {
            () = sink.closed() => return Ok(()),
            head = heads.recv() => match head {
                // Checkpoints are counted: a block that was missed hides none.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            vote = next_vote(&mut votes) => match vote {
                Ok((_, vote)) if !matches!(vote.subject, Subject::Checkpoint { seq } if open.contains(&seq)) => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => votes = None,
            },
        }
        let waiting = open.clone();
        let (now, items) = context
            .heavy(move |context| {
                let now = made(context)?;
                let numbers = waiting.into_iter().map(|seq| (seq, false));
                let numbers = numbers.chain((last + 1..=now).map(|seq| (seq, true)));
                let items = numbers.map(|(seq, new)| Ok((seq, new, bridge::checkpoint(context, seq)?)));
                Ok((now, items.collect::<Result<Vec<_>, ErrorObjectOwned>>()?))
            })
            .await
            .map_err(|error| error.message().to_owned())?;
        last = now;
        for (seq, new, item) in items {
            let certified = item.get("signatures").is_some_and(|signatures| !signatures.is_null());
            if (new || certified) && !notify(&sink, &item).await {
                return lagged();
            }
            if certified {
                open.remove(&seq);
            } else {
                open.insert(seq);
            }
        }
        while open.len() > OPEN_CHECKPOINTS {
            open.pop_first();
        }
    }
}

/// The next vote; never, without a bridge.
async fn next_vote(votes: &mut Option<tokio::sync::broadcast::Receiver<VoteEvent>>) -> Result<VoteEvent, RecvError> {
    match votes {
        Some(votes) => votes.recv().await,
        None => std::future::pending().await,
    }
}
