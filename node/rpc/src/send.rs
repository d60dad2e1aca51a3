//! Sending transactions.

use crate::blocks::receipt;
use crate::context::RpcContext;
use crate::convert::RpcReceipt;
use crate::errors;
use alloy_primitives::{B256, Bytes};
use bttc_types::decode_transaction;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// EIP-7966: wait when the caller names no time.
const DEFAULT_WAIT_MS: u64 = 2_000;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_async_method("eth_sendRawTransaction", |params, context, _| async move {
        let bytes: Bytes = params.one()?;
        submit(&context, bytes).await
    })?;
    module.register_async_method("eth_sendRawTransactionSync", |params, context, _| async move {
        let mut sequence = params.sequence();
        let bytes: Bytes = sequence.next()?;
        let wait: Option<Value> = sequence.optional_next()?;
        submit_and_wait(&context, bytes, wait).await
    })?;
    Ok(())
}

/// Checks what needs no sender, recovers the sender on a worker thread, and hands the transaction to the node.
async fn submit(context: &Arc<RpcContext>, bytes: Bytes) -> Result<B256> {
    if bytes.first() == Some(&3) {
        return Err(errors::server(bttc_pool::Error::Blobs.to_string()));
    }
    let transaction = decode_transaction(&bytes).map_err(|error| errors::server(error.to_string()))?;
    context.pool.check_stateless(&transaction).map_err(|error| errors::server(error.to_string()))?;
    let context = Arc::clone(context);
    let work = tokio::task::spawn_blocking(move || context.node.submit(transaction).map_err(errors::server));
    work.await.map_err(errors::internal)?
}

/// EIP-7966: answers with the receipt once the transaction is final.
async fn submit_and_wait(context: &Arc<RpcContext>, bytes: Bytes, wait: Option<Value>) -> Result<RpcReceipt> {
    let wait = match wait {
        None | Some(Value::Null) => 0,
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
        Some(Value::String(text)) => u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0),
        Some(_) => return Err(errors::invalid_params("the timeout must be a number of milliseconds")),
    };
    let wait = if wait == 0 { DEFAULT_WAIT_MS } else { wait.min(context.config.max_sync_wait_ms) };
    // Listen before submitting, or the block could come in between.
    let mut heads = context.heads.subscribe();
    let hash = submit(context, bytes).await?;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(wait);
    loop {
        if let Some(found) = receipt(context, hash)? {
            return Ok(found);
        }
        let next = tokio::time::timeout_at(deadline, heads.recv()).await;
        if next.is_err() {
            let message = format!(
                "The transaction was added to the mempool but wasn't processed in {:?}.",
                Duration::from_millis(wait)
            );
            return Err(ErrorObjectOwned::owned(4, message, Some(hash)));
        }
    }
}
