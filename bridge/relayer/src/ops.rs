//! What operators see and may do while the relayer runs: status, pending intents, metrics, retry, rescan.

use crate::Error;
use crate::store::{Intent, Store};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;

/// How a chain fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverviewLane {
    /// When the last round went well, milliseconds.
    pub well_ms: u64,
    /// Why the last round failed.
    pub error: Option<String>,
    /// What needs a person.
    pub alarms: Vec<String>,
    /// Who pays.
    pub account: Option<String>,
    /// What it has, smallest units.
    pub balance: Option<String>,
    /// Deposits at the gateway.
    pub deposits: u64,
    /// Of them applied on BTTC.
    pub applied: u64,
    /// Withdrawals on BTTC.
    pub withdrawals: u64,
    /// Number of the gateway's last checkpoint.
    pub last_seq: u64,
    /// Number of BTTC's last checkpoint.
    pub checkpoints: u64,
}

/// How the relayer fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// By chain.
    pub lanes: BTreeMap<String, OverviewLane>,
    /// Intents that are not done.
    pub open: usize,
    /// The oldest of them, milliseconds since it was found.
    pub oldest_ms: u64,
}

/// What tasks and the operations port share.
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) overview: Mutex<Overview>,
}

impl Shared {
    fn open(&self) -> Result<Vec<Intent>, Error> {
        let mut list: Vec<Intent> = self.store.open_intents()?;
        list.sort_by_key(|intent| intent.created_ms);
        Ok(list)
    }

    fn overview(&self) -> Result<Overview, Error> {
        let open = self.open()?;
        let oldest = open.first().map_or(0, |intent| crate::sender::now_ms().saturating_sub(intent.created_ms));
        Ok(Overview { open: open.len(), oldest_ms: oldest, ..self.overview.lock().clone() })
    }
}

type Answer = (StatusCode, String);

fn answer<T: Serialize>(result: Result<T, Error>) -> Answer {
    match result {
        Ok(value) => (StatusCode::OK, serde_json::to_string_pretty(&value).unwrap_or_default()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Answer {
    answer(shared.overview())
}

async fn pending(State(shared): State<Arc<Shared>>) -> Answer {
    answer(shared.open())
}

async fn retry(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    match shared.store.intent(&id) {
        Ok(Some(mut intent)) => {
            intent.not_before_ms = 0;
            intent.failures = 0;
            answer(shared.store.put(&intent).map(|()| intent))
        }
        Ok(None) => (StatusCode::NOT_FOUND, format!("there is no intent {id}")),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn rescan(State(shared): State<Arc<Shared>>) -> Answer {
    answer(shared.store.put_withdrawals(&[], 0).map(|()| "reading the logs from the first block"))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Answer {
    let overview = match shared.overview() {
        Ok(overview) => overview,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut text = String::new();
    let _ = writeln!(text, "bttc_relayer_open_intents {}", overview.open);
    let _ = writeln!(text, "bttc_relayer_oldest_intent_seconds {}", overview.oldest_ms / 1_000);
    let now = crate::sender::now_ms();
    for (name, lane) in &overview.lanes {
        let mut line = |what: &str, value: String| {
            let _ = writeln!(text, "bttc_relayer_{what}{{chain=\"{name}\"}} {value}");
        };
        line("silent_seconds", (now.saturating_sub(lane.well_ms) / 1_000).to_string());
        line("alarms", lane.alarms.len().to_string());
        line("deposits_waiting", lane.deposits.saturating_sub(lane.applied).to_string());
        line("checkpoints_behind", lane.checkpoints.saturating_sub(lane.last_seq).to_string());
        if let Some(balance) = &lane.balance {
            line("balance", balance.clone());
        }
    }
    (StatusCode::OK, text)
}

/// Serves the operations port, and writes its address down.
pub(crate) async fn serve(address: SocketAddr, file: &FilePath, shared: Arc<Shared>) -> Result<SocketAddr, Error> {
    let fail = |error: std::io::Error| Error::Listen { address: address.to_string(), reason: error.to_string() };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    std::fs::write(file, address.to_string()).map_err(fail)?;
    let app = Router::new()
        .route("/status", get(status))
        .route("/pending", get(pending))
        .route("/metrics", get(metrics))
        .route("/retry/{id}", post(retry))
        .route("/rescan", post(rescan))
        .with_state(shared);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the operations port ended");
        }
    });
    Ok(address)
}

/// Asks a running relayer.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn ask_running(address: &str, path: &str, change: bool) -> Result<String, String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let method = if change { "POST" } else { "GET" };
    let mut stream = tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or("a malformed answer")?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(body.to_owned()) }
}
