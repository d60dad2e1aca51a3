//! A small JSON-RPC client of our own nodes, for commands.

use crate::home::Home;
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_sol_types::SolCall;
use bttc_genesis::STAKING_ADDRESS;
use bttc_modules::interfaces::IStaking;
use eyre::{Context, bail, eyre};
use jsonrpsee::core::ClientError;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::core::params::ArrayParams;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use jsonrpsee::rpc_params;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a node may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a node.
pub(crate) struct Client {
    http: HttpClient,
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl Client {
    /// A client for an address, or for the node of a home directory.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn new(url: Option<&str>, home: &Home) -> eyre::Result<Self> {
        let url = match url {
            Some(url) => crate::secrets::resolve(url)?,
            None if home.config().exists() => {
                format!(
                    "http://{}",
                    crate::config::load(&home.config(), None)?.rpc.listen.replace("0.0.0.0", "127.0.0.1")
                )
            }
            None => bail!("which node? name its JSON-RPC with --rpc, or its home directory with --home"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let http = HttpClientBuilder::default()
            .request_timeout(PATIENCE)
            .build(&url)
            // What the library says of it, and the address itself, may hold a password.
            .map_err(|_| eyre!("this is no address of a node: write http://host:port"))?;
        Ok(Self { http, runtime, url: bttc_root_chains::redact(&url) })
    }

    /// Asks for one thing.
    ///
    /// # Errors
    /// When the node cannot be reached, or refuses; a revert is put into words.
    pub(crate) fn ask<T: DeserializeOwned>(&self, method: &str, params: ArrayParams) -> eyre::Result<T> {
        self.runtime.block_on(self.http.request(method, params)).map_err(|error| self.explain(method, error))
    }

    fn explain(&self, method: &str, error: ClientError) -> eyre::Report {
        match error {
            ClientError::Call(error) => {
                let data: Option<String> = error.data().and_then(|data| serde_json::from_str(data.get()).ok());
                let data = data.and_then(|data| hex::decode(data).ok());
                match data.and_then(|data| bttc_modules::explain(&data)) {
                    // Contracts choose these words: they must not steer the terminal.
                    Some(reason) => eyre!("refused: {}", reason.escape_debug()),
                    None => eyre!("the node refuses {method}: {}", error.message().escape_debug()),
                }
            }
            other => eyre!(bttc_root_chains::redact(&other.to_string()))
                .wrap_err(format!("no answer from {}: is the node running?", self.url)),
        }
    }

    /// Calls a view of a contract at the head.
    ///
    /// # Errors
    /// As [`Self::ask`], and when the answer is not what the interface says.
    pub(crate) fn view<C: SolCall>(&self, to: Address, call: &C) -> eyre::Result<C::Return> {
        let input = Bytes::from(call.abi_encode());
        let answer: Bytes = self.ask("eth_call", rpc_params![json!({ "to": to, "input": input }), "latest"])?;
        C::abi_decode_returns(&answer)
            .wrap_err_with(|| format!("{} gave an answer that {} has not", self.url, C::SIGNATURE))
    }

    /// Time of the head, seconds.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) fn head_seconds(&self) -> eyre::Result<u64> {
        let head: Value = self.ask("eth_getBlockByNumber", rpc_params!["latest", false])?;
        Ok(quantity(&head, "timestamp").saturating_to())
    }

    /// The number of a validator that is named by number, owner or key.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn validator(&self, name: &str) -> eyre::Result<u32> {
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let account: Address =
            name.parse().map_err(|_| eyre!("{name:?} is neither a validator's number nor an address"))?;
        match self.view(STAKING_ADDRESS, &IStaking::validatorOfCall { account })? {
            0 => bail!("{account} is neither the owner nor a key of a validator"),
            id => Ok(id),
        }
    }
}

/// A number in an answer; 0 when it is not there.
pub(crate) fn quantity(value: &Value, name: &str) -> U256 {
    value.get(name).and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
}
