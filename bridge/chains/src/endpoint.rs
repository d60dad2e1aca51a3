//! One RPC address: requests with a time budget, answers with a size budget, no credentials in messages.

use crate::Error;
use alloy_primitives::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Largest answer that is read, as java-tron's own limit.
const MAX_ANSWER: usize = 32 << 20;

/// An address that answers HTTP.
#[derive(Debug)]
pub struct Endpoint {
    http: reqwest::Client,
    url: String,
    name: String,
    next_id: AtomicU64,
}

impl Endpoint {
    /// An endpoint for `https://host/path`, or `https://host/path|Header: value` with a header that carries a key.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn new(address: &str, timeout: Duration) -> Result<Self, Error> {
        let (url, header) = address.split_once('|').map_or((address, None), |(url, header)| (url, Some(header)));
        let bad = || Error::BadAddress(mask(url));
        let parsed = reqwest::Url::parse(url).map_err(|_| bad())?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(bad());
        }
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header.and_then(|header| header.split_once(':')) {
            let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
            let mut value: HeaderValue = value.trim().parse().map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .default_headers(headers)
            // A redirect could lead credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| bad())?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, name: mask(&url), url, next_id: AtomicU64::new(1) })
    }

    /// Its name in messages: where it is, without what gives access.
    pub fn name(&self) -> &str {
        &self.name
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
        let words = || String::from_utf8_lossy(&bytes).chars().take(200).collect::<String>();
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
            let message: String =
                error.get("message").and_then(Value::as_str).unwrap_or("").chars().take(300).collect();
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
            return Err(Error::Busy { endpoint: endpoint(), reason: reason.chars().take(200).collect() });
        }
        let result = answer
            .get("result")
            .cloned()
            .ok_or_else(|| Error::Malformed { endpoint: endpoint(), reason: "no result".into() })?;
        serde_json::from_value(result)
            .map_err(|error| Error::Malformed { endpoint: endpoint(), reason: format!("{method}: {error}") })
    }
}

/// An address without user, password, path and query: any of them may be a key.
fn mask(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(parsed) => {
            let port = parsed.port().map_or(String::new(), |port| format!(":{port}"));
            let rest = if parsed.path().len() > 1 || parsed.query().is_some() { "/…" } else { "" };
            format!("{}://{}{port}{rest}", parsed.scheme(), parsed.host_str().unwrap_or("?"))
        }
        Err(_) => "(not an address)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_credentials() {
        for (address, name) in [
            ("https://user:pass@host.example/v2/SECRET?key=1", "https://host.example/…"),
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("https://api.example|TRON-PRO-API-KEY: SECRET", "https://api.example"),
        ] {
            assert_eq!(Endpoint::new(address, Duration::from_secs(1)).unwrap().name(), name);
        }
        for bad in ["ftp://host", "host:8545", "", "https://host|bad header"] {
            let made = Endpoint::new(bad, Duration::from_secs(1));
            assert!(bad.contains('|') || made.is_err(), "{bad}");
        }
    }
}
