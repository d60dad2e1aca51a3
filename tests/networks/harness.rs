//! A devnet of real processes, made by `scripts/devnet` in a directory of its own and ended with the value.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, TxKind, U256, hex};
use bttc_types::SecretKey;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A running devnet.
pub(crate) struct Devnet {
    dir: tempfile::TempDir,
}

impl Devnet {
    /// Starts `validators` processes.
    pub(crate) fn start(validators: usize, genesis_flags: &str) -> Self {
        let devnet = Self { dir: tempfile::tempdir().unwrap() };
        let mut command = devnet.command();
        command.env("BTTC_DEVNET_GENESIS", genesis_flags);
        devnet.run(command.args(["up", "--detach", "--no-bridge", "--validators", &validators.to_string()]));
        devnet
    }

    /// Starts four validators with local root chains, gateways and a relayer.
    pub(crate) fn bridged() -> Self {
        let devnet = Self { dir: tempfile::tempdir().unwrap() };
        let mut command = devnet.command();
        devnet.run(command.args(["up", "--detach"]));
        devnet
    }

    fn command(&self) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/devnet");
        let mut command = Command::new(script);
        command.env("BTTC_BIN", env!("CARGO_BIN_EXE_bttc"));
        command
    }

    fn run(&self, command: &mut Command) {
        let output = command.arg("--dir").arg(self.dir.path()).output().expect("the script runs");
        assert!(
            output.status.success(),
            "{}\n{}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
            self.logs()
        );
    }

    /// The end of every node's log, for failures.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            if let Ok(log) = std::fs::read_to_string(entry.path().join("node.log")) {
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines.len().saturating_sub(15);
                text.push_str(&format!("--- {}\n{}\n", entry.path().display(), lines[tail..].join("\n")));
            }
        }
        text
    }

    pub(crate) fn node(&self, action: &str, name: &str) {
        self.run(self.command().args([action, name]));
    }

    pub(crate) fn add_full(&self, name: &str) {
        self.run(self.command().args(["full", "add", name]));
    }

    /// Takes a validator out of the network.
    pub(crate) fn leave(&self, name: &str) {
        self.run(self.command().args(["validator", "exit", name]));
    }

    /// Runs the node's own command line; its output, or what it says is wrong.
    pub(crate) fn bttc(&self, words: &[&str]) -> Result<String, String> {
        let output =
            Command::new(env!("CARGO_BIN_EXE_bttc")).args(words).current_dir(self.dir.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// As [`Self::bttc`], for commands that print JSON.
    pub(crate) fn json_of(&self, words: &[&str]) -> Value {
        let text = self.bttc(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// The address of a node's RPC.
    pub(crate) fn rpc(&self, name: &str) -> String {
        let json = self.json();
        let nodes = json["validators"].as_array().unwrap();
        nodes.iter().find(|node| node["name"] == name).unwrap()["rpc"].as_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("devnet.json")
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.file()).unwrap()).unwrap()
    }

    /// A client of a node.
    pub(crate) fn client(&self, name: &str) -> HttpClient {
        let json = self.json();
        let lists = [&json["validators"], &json["fullNodes"]];
        let all = lists.into_iter().filter_map(Value::as_array).flatten();
        let node = all.into_iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no node {name}"));
        HttpClientBuilder::default()
            .request_timeout(Duration::from_secs(5))
            .build(node["rpc"].as_str().unwrap())
            .unwrap()
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        if self.file().exists() {
            let _ = self.command().arg("down").arg("--dir").arg(self.dir.path()).output();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

pub(crate) async fn call(client: &HttpClient, method: &str, params: Value) -> Value {
    let list: Vec<Value> = params.as_array().cloned().unwrap_or_default();
    client.request(method, list).await.unwrap_or_else(|error| panic!("{method}: {error}"))
}

pub(crate) fn quantity(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap_or("0x0").trim_start_matches("0x"), 16).unwrap()
}

pub(crate) async fn height(client: &HttpClient) -> u64 {
    quantity(&call(client, "eth_blockNumber", Value::Null).await)
}

/// Waits until `reached`; panics with `what` after `seconds`.
pub(crate) async fn until(what: &str, seconds: u64, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !reached().await {
        assert!(Instant::now() < deadline, "{what}: not within {seconds} s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A signed transfer on a local network.
pub(crate) fn transfer(key: &B256, nonce: u64, to: Address, value: u64) -> (B256, String) {
    transfer_on(1337, 10_000_000_000, key, nonce, to, value)
}

/// A signed transfer on a chain, at a price of gas in wei.
pub(crate) fn transfer_on(
    chain_id: u64,
    max_fee_per_gas: u128,
    key: &B256,
    nonce: u64,
    to: Address,
    value: u64,
) -> (B256, String) {
    let transaction = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(to),
        value: U256::from(value),
        ..TxEip1559::default()
    };
    let signed = SecretKey::from_bytes(&key.0).unwrap().sign(transaction.signature_hash());
    let bytes = signed.as_bytes();
    let signature = Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1);
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    (*envelope.tx_hash(), hex::encode_prefixed(envelope.encoded_2718()))
}
