//! `eth_subscribe`: new heads, logs, receipts, new pending transactions, syncing.

use crate::context::RpcContext;
use crate::convert::{pending_transaction, rpc_header, rpc_receipts};
use crate::logs::matching;
use alloy_primitives::{Address, B256, U64};
use alloy_rpc_types_eth::Filter;
use jsonrpsee::core::{RegisterMethodError, SubscriptionResult};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{PendingSubscriptionSink, RpcModule, SubscriptionSink};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// A subscriber that does not take a notification for so long is dropped: its connection's buffer is full.
const SLOW_CONSUMER: Duration = Duration::from_secs(5);

/// How often a change of `syncing` is looked for.
const SYNC_LOOK: Duration = Duration::from_millis(500);
/// Transactions whose receipts one subscription may wait for.
const MAX_RECEIPT_HASHES: usize = 200;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> Result<(), RegisterMethodError> {
    module.register_subscription(
        "eth_subscribe",
        "eth_subscription",
        "eth_unsubscribe",
        |params, pending, context, _| subscribe(params, pending, context),
    )?;
    Ok(())
}

/// Ends with an error when the subscriber lost something: it is told so as the last notification.
async fn subscribe(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    context: Arc<RpcContext>,
) -> SubscriptionResult {
    let mut sequence = params.sequence();
    let kind: String = match sequence.next() {
        Ok(kind) => kind,
        Err(error) => {
            pending.reject(error).await;
            return Ok(());
        }
    };
    let options: Option<Value> = match sequence.optional_next() {
        Ok(options) => options,
        Err(error) => {
            pending.reject(error).await;
            return Ok(());
        }
    };
    match kind.as_str() {
        "newHeads" => return heads(pending, context).await,
        "logs" => {
            let filter = options.filter(|options| !options.is_null()).map(serde_json::from_value::<Filter>).transpose();
            let Ok(filter) = filter else {
                pending.reject(crate::errors::invalid_params("logs takes a filter")).await;
                return Ok(());
            };
            let filter = filter.unwrap_or_default();
            if let Err(error) = crate::logs::check_size(&filter) {
                pending.reject(error).await;
                return Ok(());
            }
            return logs(pending, context, filter).await;
        }
        "syncing" => syncing(pending, context).await,
        "transactionReceipts" => {
            let wanted = match wanted_receipts(options) {
                Ok(wanted) => wanted,
                Err(error) => {
                    pending.reject(error).await;
                    return Ok(());
                }
            };
            return receipts(pending, context, wanted).await;
        }
        "newPendingTransactions" => {
            let whole = options == Some(Value::Bool(true));
            transactions(pending, context, whole).await;
        }
        other => {
            let message = format!("no \"{other}\" subscription in eth namespace");
            pending.reject(ErrorObjectOwned::owned(-32_601, message, None::<()>)).await;
        }
    }
    Ok(())
}

/// What a subscriber is told that was too slow.
pub(crate) fn lagged() -> SubscriptionResult {
    Err("this subscription ended because its reader was too slow: subscribe again".into())
}

/// Sends one notification; false when the subscriber is gone or too slow.
pub(crate) async fn notify(sink: &SubscriptionSink, item: &impl Serialize) -> bool {
    match serde_json::value::to_raw_value(item) {
        Ok(raw) => sink.send_timeout(raw, SLOW_CONSUMER).await.is_ok(),
        Err(_) => false,
    }
}

async fn heads(pending: PendingSubscriptionSink, context: Arc<RpcContext>) -> SubscriptionResult {
    // Subscribe before the answer goes out, so that nothing falls between.
    let mut heads = context.heads.subscribe();
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    loop {
        tokio::select! {
            () = sink.closed() => return Ok(()),
            head = heads.recv() => match head {
                Ok(executed) => {
                    let header = rpc_header(executed.block.header.clone(), executed.hash, Some(executed.encoded.len()));
                    if !notify(&sink, &header).await {
                        return lagged();
                    }
                }
                // Rather no subscription than one with holes.
                Err(RecvError::Lagged(_)) => return lagged(),
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

async fn logs(pending: PendingSubscriptionSink, context: Arc<RpcContext>, filter: Filter) -> SubscriptionResult {
    let mut heads = context.heads.subscribe();
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    loop {
        tokio::select! {
            () = sink.closed() => return Ok(()),
            head = heads.recv() => match head {
                Ok(executed) => {
                    let header = &executed.block.header;
                    if !filter.matches_bloom(header.logs_bloom) {
                        continue;
                    }
                    let hashes: Vec<B256> = executed.transactions.iter().map(|transaction| transaction.hash()).collect();
                    let deadline = tokio::time::Instant::now() + SLOW_CONSUMER;
                    for log in matching(&filter, header, executed.hash, &hashes, &executed.receipts) {
                        // One deadline for all logs of a block: a consumer cannot hold blocks in memory one log at a time.
                        if tokio::time::Instant::now() > deadline || !notify(&sink, &log).await {
                            return lagged();
                        }
                    }
                }
                Err(RecvError::Lagged(_)) => return lagged(),
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

/// Whether blocks are being fetched, whenever that changes.
async fn syncing(pending: PendingSubscriptionSink, context: Arc<RpcContext>) {
    let Ok(sink) = pending.accept().await else { return };
    let mut last = None;
    loop {
        let status = context.node.status();
        if last != Some(status.syncing) {
            last = Some(status.syncing);
            let told = if status.syncing {
                let head = U64::from(context.head_height());
                let highest = U64::from(status.best_peer_height).max(head);
                let start = U64::from(status.start_height);
                let progress = json!({ "startingBlock": start, "currentBlock": head, "highestBlock": highest });
                notify(&sink, &json!({ "syncing": true, "status": progress })).await
            } else {
                notify(&sink, &false).await
            };
            if !told {
                return;
            }
        }
        tokio::select! {
            () = sink.closed() => return,
            () = tokio::time::sleep(SYNC_LOOK) => {}
        }
    }
}

/// Receipts of which transactions are wanted: `{"transactionHashes": [..]}`, all when there is none.
fn wanted_receipts(options: Option<Value>) -> Result<Option<HashSet<B256>>, ErrorObjectOwned> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wanted {
        transaction_hashes: Option<HashSet<B256>>,
    }
    let Some(options) = options.filter(|options| !options.is_null()) else { return Ok(None) };
    let wanted: Wanted =
        serde_json::from_value(options).map_err(|error| crate::errors::invalid_params(error.to_string()))?;
    let wanted = wanted.transaction_hashes.filter(|hashes| !hashes.is_empty());
    if wanted.as_ref().is_some_and(|hashes| hashes.len() > MAX_RECEIPT_HASHES) {
        let data = json!({ "limit": MAX_RECEIPT_HASHES });
        return Err(crate::errors::limit(format!("at most {MAX_RECEIPT_HASHES} transactions"), data));
    }
    Ok(wanted)
}

/// Each block's receipts in one notification; blocks without wanted ones are left out.
async fn receipts(
    pending: PendingSubscriptionSink,
    context: Arc<RpcContext>,
    wanted: Option<HashSet<B256>>,
) -> SubscriptionResult {
    let mut heads = context.heads.subscribe();
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    loop {
        let executed = tokio::select! {
            () = sink.closed() => return Ok(()),
            head = heads.recv() => match head {
                Ok(executed) => executed,
                Err(RecvError::Lagged(_)) => return lagged(),
                Err(RecvError::Closed) => return Ok(()),
            },
        };
        let senders: Vec<Address> = executed.transactions.iter().map(|transaction| transaction.sender()).collect();
        let mut all = rpc_receipts((&executed.block, executed.hash), &senders, &executed.receipts, None);
        if let Some(wanted) = &wanted {
            all.retain(|receipt| wanted.contains(&receipt.transaction_hash));
        }
        if !all.is_empty() && !notify(&sink, &all).await {
            return lagged();
        }
    }
}

async fn transactions(pending: PendingSubscriptionSink, context: Arc<RpcContext>, whole: bool) {
    let mut incoming = context.pending.subscribe();
    let Ok(sink) = pending.accept().await else { return };
    loop {
        tokio::select! {
            () = sink.closed() => return,
            next = incoming.recv() => match next {
                Ok(transaction) => {
                    let sent = if whole {
                        notify(&sink, &pending_transaction(&transaction)).await
                    } else {
                        notify(&sink, &transaction.hash()).await
                    };
                    if !sent {
                        return;
                    }
                }
                // Pending transactions are a sample by nature: go on after a gap.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}
