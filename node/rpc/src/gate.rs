//! What stands before every method: the client's budget; and behind it: errors in the words that Ethereum's tools know.

use crate::budget::{Budgets, Client, weight};
use crate::errors;
use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee::core::server::{BatchResponseBuilder, MethodResponse};
use jsonrpsee::types::error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE, METHOD_NOT_FOUND_CODE};
use jsonrpsee::types::{ErrorObject, ErrorObjectOwned};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// A connection's methods behind the gate.
#[derive(Clone)]
pub(crate) struct Gate<S> {
    pub(crate) inner: S,
    /// Nothing: everybody may ask for everything.
    pub(crate) budgets: Option<Arc<Budgets>>,
    pub(crate) max_response_bytes: usize,
    /// Calls of this connection at the same time; further ones wait.
    pub(crate) at_once: Arc<Semaphore>,
}

/// Calls of a connection at the same time.
pub(crate) const CALLS_AT_ONCE: usize = 16;

/// Bytes of an answer for a unit.
const BYTES_OF_UNIT: usize = 4_096;

impl<S> Gate<S> {
    /// Why a call is refused, if it is.
    fn refusal(&self, request: &Request<'_>) -> Option<ErrorObjectOwned> {
        let budgets = self.budgets.as_ref()?;
        let client = *request.extensions().get::<Client>()?;
        let wait = budgets.take(client, weight(request.method_name()), Instant::now()).err()?;
        let data = serde_json::json!({ "retryAfterMs": wait });
        Some(errors::limit("this client's budget is used up: ask less often", data))
    }
}

impl<S> RpcServiceT for Gate<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            BatchResponse = MethodResponse,
            NotificationResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (refusal, inner) = (self.refusal(&request), self.inner.clone());
        let (budgets, at_once) = (self.budgets.clone(), Arc::clone(&self.at_once));
        async move {
            if let Some(refusal) = refusal {
                return MethodResponse::error(request.id.clone(), refusal).with_extensions(request.extensions);
            }
            let (id, method) = (request.id.clone(), request.method.clone());
            let client = request.extensions().get::<Client>().copied();
            // Who waits for a receipt keeps nobody from anything.
            let waits = request.method_name() == "eth_sendRawTransactionSync";
            let permit = if waits { None } else { at_once.acquire_owned().await.ok() };
            let response = inner.call(request).await;
            drop(permit);
            if let (Some(budgets), Some(client)) = (budgets, client) {
                let units = response.as_json().get().len() / BYTES_OF_UNIT;
                budgets.charge(client, u32::try_from(units).unwrap_or(u32::MAX), Instant::now());
            }
            // Whether accepted or refused, the subscriber has been told.
            if response.is_subscription() {
                return response;
            }
            let error = match response.as_error_code() {
                Some(METHOD_NOT_FOUND_CODE) => {
                    // Libraries look for these words, geth's, before they try another method.
                    let words = format!("the method {method:.64} does not exist/is not available");
                    ErrorObject::owned(METHOD_NOT_FOUND_CODE, words, None::<()>)
                }
                Some(INTERNAL_ERROR_CODE) if method.ends_with("_subscribe") || method.ends_with("_unsubscribe") => {
                    ErrorObject::owned(METHOD_NOT_FOUND_CODE, "notifications not supported: use WebSocket", None::<()>)
                }
                Some(INVALID_PARAMS_CODE) => match in_one_line(response.as_json().get()) {
                    Some(words) => ErrorObject::owned(INVALID_PARAMS_CODE, words, None::<()>),
                    None => return response,
                },
                _ => return response,
            };
            MethodResponse::error(id, error).with_extensions(response.extensions().clone())
        }
    }

    /// As the library serves a batch, but each call through the gate.
    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let gate = self.clone();
        async move {
            let mut responses = BatchResponseBuilder::new_with_limit(gate.max_response_bytes);
            let mut notified = false;
            for entry in batch {
                let response = match entry {
                    Ok(BatchEntry::Call(request)) => gate.call(request).await,
                    Ok(BatchEntry::Notification(notification)) => {
                        notified = true;
                        gate.notification(notification).await;
                        continue;
                    }
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                if let Err(too_large) = responses.append(response) {
                    return too_large;
                }
            }
            if responses.is_empty() && notified {
                return MethodResponse::notification();
            }
            MethodResponse::from_batch(responses.finish())
        }
    }

    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.inner.notification(notification)
    }
}

/// The library's error about parameters says what is wrong in `data`; other nodes say it in the message, and have no data. Nothing:
/// the error is another's.
fn in_one_line(response: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Response {
        error: Failure,
    }
    #[derive(Deserialize)]
    struct Failure {
        message: String,
        data: String,
    }
    let Failure { message, data } = serde_json::from_str::<Response>(response).ok()?.error;
    Some(format!("{}: {data}", message.to_lowercase()))
}
