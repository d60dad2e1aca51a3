//! `eth_subscribe`: new heads, logs, new pending transactions.

use crate::context::RpcContext;
use crate::convert::{pending_transaction, rpc_header};
use crate::logs::matching;
use alloy_primitives::B256;
use alloy_rpc_types_eth::Filter;
use alloy_rpc_types_eth::pubsub::Params as SubscriptionParams;
use jsonrpsee::core::{RegisterMethodError, SubscriptionResult};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{PendingSubscriptionSink, RpcModule, SubscriptionSink};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// A subscriber that does not take a notification for so long is dropped: its connection's buffer is full.
const SLOW_CONSUMER: Duration = Duration::from_secs(5);

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
    let options: SubscriptionParams = match sequence.optional_next() {
        Ok(options) => options.unwrap_or(SubscriptionParams::None),
        Err(error) => {
            pending.reject(error).await;
            return Ok(());
        }
    };
    match kind.as_str() {
        "newHeads" => return heads(pending, context).await,
        "logs" => {
            let filter = match options {
                SubscriptionParams::None => Filter::default(),
                SubscriptionParams::Logs(filter) => *filter,
                _ => {
                    pending.reject(crate::errors::invalid_params("logs takes a filter")).await;
                    return Ok(());
                }
            };
            if let Err(error) = crate::logs::check_size(&filter) {
                pending.reject(error).await;
                return Ok(());
            }
            return logs(pending, context, filter).await;
        }
        "newPendingTransactions" => {
            let whole = matches!(options, SubscriptionParams::Bool(true));
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
