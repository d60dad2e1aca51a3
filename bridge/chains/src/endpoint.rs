//! One RPC address: requests with a time budget, answers with a size budget, no credentials in messages.

use crate::{EndpointAddress, Error};
use alloy_primitives::Bytes;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Largest answer that is read, as java-tron's own limit.
const MAX_ANSWER: usize = 32 << 20;
/// Letters of an endpoint's own words in a message.
pub(crate) const WORDS: usize = 300;

/// An address that answers HTTP.
pub struct Endpoint {
    http: reqwest::Client,
    url: String,
    name: String,
    secrets: Vec<String>,
    next_id: AtomicU64,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// A client of an address.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn new(address: &EndpointAddress, timeout: Duration) -> Result<Self, Error> {
        let headers: HeaderMap = address.header().cloned().into_iter().collect();
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .default_headers(headers)
            // A redirect could lead credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| Error::BadAddress("no client can be made for it"))?;
        let (name, url, secrets) = (address.place(), address.url().to_owned(), address.secrets());
        Ok(Self { http, name, url, secrets, next_id: AtomicU64::new(1) })
    }

    /// Its name in messages: where it is, without what gives access.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Words of the endpoint for a message: without what gives access to it, which some repeat, and not too long.
    pub(crate) fn words(&self, text: &str, longest: usize) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(secret.as_str(), "…");
        }
        clean.chars().take(longest).collect()
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let reason = if error.is_timeout() {
            "timed out".to_owned()
        } else if error.is_connect() {
            "no connection".to_owned()
        } else {
            // reqwest's own text names the whole address.
            "the connection broke".to_owned()
        };
        Error::Unreachable { endpoint: self.name.clone(), reason }
    }

    /// Posts JSON to a path below the address.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let url = format!("{}{path}", self.url);
        let mut response = self.http.post(url).json(body).send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                let message = format!("the answer exceeds {MAX_ANSWER} bytes");
                return Err(Error::TooMuch { endpoint: self.name.clone(), message });
            }
            bytes.extend_from_slice(&chunk);
        }
        let words = || self.words(&String::from_utf8_lossy(&bytes), WORDS);
        if matches!(status.as_u16(), 403 | 429 | 502 | 503 | 504) {
            return Err(Error::Busy { endpoint: self.name.clone(), reason: format!("{status} {}", words()) });
        }
        if status.as_u16() == 413 {
            return Err(Error::TooMuch { endpoint: self.name.clone(), message: words() });
        }
        serde_json::from_slice(&bytes).map_err(|_| Error::Malformed {
            endpoint: self.name.clone(),
            reason: format!("{status}, not JSON: {}", words()),
        })
    }

    /// A JSON-RPC call at a path below the address.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn call<T: DeserializeOwned>(&self, path: &str, method: &str, params: Value) -> Result<T, Error> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let answer = self.post(path, &body).await?;
        let endpoint = || self.name.clone();
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
            let message = self.words(error.get("message").and_then(Value::as_str).unwrap_or(""), WORDS);
            let lower = message.to_lowercase();
            if ["block range", "range", "too many results", "response size", "more than", "limit exceeded"]
                .iter()
                .any(|text| lower.contains(text))
            {
                return Err(Error::TooMuch { endpoint: endpoint(), message });
            }
            if code == 429 || lower.contains("rate limit") || lower.contains("too many requests") {
                return Err(Error::Busy { endpoint: endpoint(), reason: message });
            }
            let data: Option<Bytes> = error.get("data").and_then(|data| serde_json::from_value(data.clone()).ok());
            return Err(Error::Refused { endpoint: endpoint(), code, message, data });
        }
        if let Some(reason) = answer.get("Error").and_then(Value::as_str) {
            return Err(Error::Busy { endpoint: endpoint(), reason: self.words(reason, WORDS) });
        }
        let result = answer
            .get("result")
            .cloned()
            .ok_or_else(|| Error::Malformed { endpoint: endpoint(), reason: "no result".into() })?;
        serde_json::from_value(result).map_err(|error| Error::Malformed {
            endpoint: endpoint(),
            reason: self.words(&format!("{method}: {error}"), WORDS),
        })
    }
}
