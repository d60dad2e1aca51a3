//! A network of real validator processes on loopback, made by `scripts/devnet` and ended with the value.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Address of its RPC over HTTP.
    pub rpc: String,
    /// Address of its RPC over WebSocket.
    pub ws: String,
}

/// A running network.
#[derive(Debug)]
pub struct Network {
    dir: tempfile::TempDir,
    script: PathBuf,
    bttc: PathBuf,
    /// Its validators.
    pub nodes: Vec<Node>,
}

impl Network {
    /// Starts `validators` processes of the binary `bttc` with a new genesis block; returns when they finalize blocks.
    ///
    /// # Errors
    /// What the script says, with the ends of the nodes' logs.
    pub fn start(script: &Path, bttc: &Path, validators: usize, genesis: &[String]) -> eyre::Result<Self> {
        let mut network =
            Self { dir: tempfile::tempdir()?, script: script.into(), bttc: bttc.into(), nodes: Vec::new() };
        let count = validators.to_string();
        network
            .run(&["up", "--detach", "--no-bridge", "--validators", &count], &genesis.join(" "))
            .map_err(|error| eyre::eyre!("{error}\n{}", network.logs()))?;
        let file: Value = serde_json::from_slice(&std::fs::read(network.dir.path().join("devnet.json"))?)?;
        for entry in file["validators"].as_array().into_iter().flatten() {
            let text = |key: &str| {
                entry[key].as_str().map(ToOwned::to_owned).ok_or_else(|| eyre::eyre!("devnet.json has no {key}"))
            };
            let pid = entry["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            let pid = pid.ok_or_else(|| eyre::eyre!("devnet.json has no pid"))?;
            network.nodes.push(Node { name: text("name")?, pid, rpc: text("rpc")?, ws: text("ws")? });
        }
        Ok(network)
    }

    fn run(&self, arguments: &[&str], genesis: &str) -> eyre::Result<()> {
        let output = Command::new(&self.script)
            .args(arguments)
            .arg("--dir")
            .arg(self.dir.path())
            .env("BTTC_BIN", &self.bttc)
            .env("BTTC_DEVNET_GENESIS", genesis)
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        eyre::bail!("{} {arguments:?}: {}", self.script.display(), String::from_utf8_lossy(&output.stderr))
    }

    /// The ends of the nodes' logs.
    pub fn logs(&self) -> String {
        const LINES: usize = 10;
        let mut text = String::new();
        for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            if let Ok(log) = std::fs::read_to_string(entry.path().join("node.log")) {
                let lines: Vec<&str> = log.lines().collect();
                let end = &lines[lines.len().saturating_sub(LINES)..];
                text.push_str(&format!("--- {}\n{}\n", entry.path().display(), end.join("\n")));
            }
        }
        text
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["down"], "") {
            eprintln!("the network in {} may still run: {error}", self.dir.path().display());
        }
    }
}
