//! The operations port: metrics, health, readiness, status. Bind it to a private address.

use crate::metrics::Metrics;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bttc_rpc::NodeApi;
use eyre::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the endpoints read.
#[derive(Clone)]
pub(crate) struct Ops {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node: Arc<dyn NodeApi>,
    /// Height of the head.
    pub(crate) head: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Whether the head moved within the time in which it should have.
    pub(crate) alive: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Serves until `stop` changes; the port is free when the returned task has ended.
pub(crate) async fn start(
    address: SocketAddr,
    ops: Ops,
    mut stop: watch::Receiver<bool>,
) -> eyre::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .wrap_err_with(|| format!("the operations port cannot listen on {address}"))?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route(
            "/metrics",
            get({
                let ops = ops.clone();
                move || async move {
                    match ops.metrics.render() {
                        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
                        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
                    }
                }
            }),
        )
        .route(
            "/health",
            get({
                let ops = ops.clone();
                move || async move {
                    if (ops.alive)() {
                        (StatusCode::OK, "ok\n")
                    } else {
                        (StatusCode::SERVICE_UNAVAILABLE, "stalled\n")
                    }
                }
            }),
        )
        .route(
            "/ready",
            get({
                let ops = ops.clone();
                move || async move {
                    let status = ops.node.status();
                    let behind = status.best_peer_height.saturating_sub((ops.head)());
                    if status.syncing || behind > 2 {
                        (StatusCode::SERVICE_UNAVAILABLE, format!("syncing: {behind} blocks behind\n"))
                    } else if !(ops.alive)() {
                        (StatusCode::SERVICE_UNAVAILABLE, "stalled\n".to_owned())
                    } else {
                        (StatusCode::OK, "ready\n".to_owned())
                    }
                }
            }),
        )
        .route(
            "/status",
            get(move || async move {
                let status = ops.node.status();
                let body = serde_json::json!({
                    "head": (ops.head)(),
                    "height": status.height,
                    "round": status.round,
                    "syncing": status.syncing,
                    "bestPeerHeight": status.best_peer_height,
                    "peers": status.peers,
                    "validator": status.validator,
                    "signing": status.signing,
                });
                ([(header::CONTENT_TYPE, "application/json")], body.to_string())
            }),
        );
    let served = tokio::spawn(async move {
        let shutdown = async move {
            let _ = stop.changed().await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(shutdown).await {
            tracing::error!(%error, "the operations port failed");
        }
    });
    Ok((bound, served))
}
