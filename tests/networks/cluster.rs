//! Networks of real processes under the test's own hand: each node a child process, on loopback or, for tests that cut
//! links, in a network namespace of its own on a bridge. Everything ends with the value.

use alloy_primitives::B256;
use bttc_genesis::Preset;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How a cluster is made.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// Kind of network; `local` when left out.
    pub(crate) preset: Option<Preset>,
    /// Validators.
    pub(crate) validators: usize,
    /// Whether each node has a network namespace. Needs root.
    pub(crate) namespaces: bool,
    /// Further arguments of `bttc genesis new`.
    pub(crate) genesis: &'a [&'a str],
    /// Accounts in the genesis block beside the funded ones.
    pub(crate) accounts: usize,
    /// Configuration of every node, as environment variables.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

/// One node.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    /// Address for peers.
    pub(crate) peer: String,
    pub(crate) peer_id: String,
    pub(crate) rpc: String,
    /// Further arguments of `bttc start`.
    pub(crate) arguments: Vec<String>,
    settings: Vec<(String, String)>,
    namespace: Option<String>,
    child: Option<Child>,
}

/// A network.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    pub(crate) members: Vec<Member>,
    settings: Vec<(String, String)>,
    preset: Preset,
    /// Number of this cluster in names of devices and namespaces.
    bridge: Option<u32>,
}

/// Runs a command that must succeed, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

/// A port that is free now and was not given out before: below those that the system gives to connections, which could
/// take it before the node does.
fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let first = (std::process::id() % 11_000) as u16;
    loop {
        let step = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = 20_000 + (first + step) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether this process may make network namespaces and mounts.
pub(crate) fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

/// As commands take it.
fn name_of(preset: Preset) -> &'static str {
    match preset {
        Preset::Mainnet => "mainnet",
        Preset::Donau => "donau",
        Preset::Local => "local",
    }
}

fn bttc() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bttc"))
}

impl Cluster {
    /// Homes, keys, genesis and configuration; nothing runs yet.
    pub(crate) fn new(plan: &Plan<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("password"), "cluster").unwrap();
        let settings =
            plan.settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
        let bridge = plan.namespaces.then(|| {
            let number = std::process::id() % 10_000;
            ip(&["link", "add", &format!("bttc{number}"), "type", "bridge"]);
            ip(&["addr", "add", "10.77.0.254/24", "dev", &format!("bttc{number}")]);
            ip(&["link", "set", &format!("bttc{number}"), "up"]);
            number
        });
        let preset = plan.preset.unwrap_or(Preset::Local);
        let mut cluster = Self { dir, members: Vec::new(), settings, preset, bridge };
        for index in 0..plan.validators {
            cluster.make(&format!("v{index}"), true);
        }
        let genesis = cluster.dir.path().join("genesis.json");
        let mut command = bttc();
        command.args(["genesis", "new", "--preset", name_of(preset), "--out"]).arg(&genesis).args(plan.genesis);
        let params = preset.params();
        let power = params.min_self_stake.div_ceil(params.power_unit);
        for member in &cluster.members {
            let keys = member.keys();
            let (consensus, owner) = (keys["consensus"].as_str().unwrap(), keys["owner"].as_str().unwrap());
            // Public networks have a bridge set from the first block.
            let bridge = if preset == Preset::Local { None } else { keys["bridge"].as_str() };
            let bridge = bridge.map_or(String::new(), |key| format!(":{key}"));
            command.args(["--validator", &format!("{consensus}:{owner}:{power}{bridge}")]);
            // All of its stake is bonded; leaving jail costs gas.
            command.args(["--fund", &format!("{owner}=1000")]);
        }
        run(&mut command);
        if plan.accounts > 0 {
            cluster.allocate(&genesis, plan.accounts);
        }
        for member in &cluster.members {
            std::fs::copy(&genesis, member.home.join("genesis.json")).unwrap();
        }
        let peers: Vec<String> = cluster.members.iter().map(Member::multiaddress).collect();
        for (index, member) in cluster.members.iter_mut().enumerate() {
            let others: Vec<&str> =
                peers.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, peer)| peer.as_str()).collect();
            member.settings.push(("BTTC_P2P_PERSISTENT_PEERS".into(), others.join(",")));
        }
        cluster
    }

    /// Accounts with balances that have nothing in common.
    fn allocate(&self, genesis: &Path, count: usize) {
        use std::fmt::Write as _;
        let dump = self.dir.path().join("dump.json");
        let mut text = String::from("{\"accounts\":{");
        for index in 0..count {
            let hash = alloy_primitives::keccak256((index as u64).to_be_bytes());
            let comma = if index == 0 { "" } else { "," };
            let address = alloy_primitives::Address::from_slice(&hash[..20]);
            write!(text, "{comma}\"{address}\":{{\"balance\":\"0x{index:x}1\"}}").unwrap();
        }
        text.push_str("}}");
        std::fs::write(&dump, text).unwrap();
        run(bttc().args(["genesis", "import-alloc"]).arg(genesis).arg(&dump));
    }

    fn make(&mut self, name: &str, validator: bool) -> usize {
        let index = self.members.len();
        let home = self.dir.path().join(name);
        let mut command = bttc();
        command
            .args(["init", "--preset", name_of(self.preset), "--password-file"])
            .arg(self.dir.path().join("password"));
        command.arg("--home").arg(&home);
        if validator {
            command.arg("--validator");
        }
        run(&mut command);
        let (address, namespace, ports) = match self.bridge {
            None => ("127.0.0.1".to_owned(), None, [free_port(), free_port(), free_port()]),
            Some(number) => {
                let (namespace, link) = (format!("bttc{number}-{index}"), format!("bt{number}x{index}"));
                let address = format!("10.77.0.{}", index + 1);
                ip(&["netns", "add", &namespace]);
                ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
                ip(&["link", "set", &link, "master", &format!("bttc{number}"), "up"]);
                ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
                ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
                ip(&["-n", &namespace, "link", "set", "lo", "up"]);
                (address, Some(namespace), [30_303, 8_545, 6_060])
            }
        };
        let [peer, rpc, ops] = ports;
        let mut settings = self.settings.clone();
        settings.push(("BTTC_P2P_LISTEN".into(), format!("/ip4/{address}/tcp/{peer}")));
        settings.push(("BTTC_RPC_LISTEN".into(), format!("{address}:{rpc}")));
        settings.push(("BTTC_OPS_LISTEN".into(), format!("{address}:{ops}")));
        let mut member = Member {
            name: name.to_owned(),
            home,
            peer: format!("/ip4/{address}/tcp/{peer}"),
            peer_id: String::new(),
            rpc: format!("http://{address}:{rpc}"),
            arguments: Vec::new(),
            settings,
            namespace,
            child: None,
        };
        member.peer_id = member.keys()["p2p"].as_str().unwrap().to_owned();
        self.members.push(member);
        index
    }

    /// A further node without a validator's role, with these peers; not started. Returns its index.
    pub(crate) fn add(&mut self, name: &str, peers: &[String], settings: &[(&str, &str)]) -> usize {
        let index = self.make(name, false);
        let genesis = self.dir.path().join("genesis.json");
        let member = &mut self.members[index];
        std::fs::copy(genesis, member.home.join("genesis.json")).unwrap();
        member.settings.push(("BTTC_P2P_PERSISTENT_PEERS".into(), peers.join(",")));
        member.settings.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        index
    }

    /// Starts every node that does not run.
    pub(crate) fn start_all(&mut self) {
        for member in &mut self.members {
            if !member.is_running() {
                member.start();
            }
        }
    }

    /// Takes a node off the bridge, or puts it back.
    pub(crate) fn set_link(&self, index: usize, up: bool) {
        let number = self.bridge.expect("the cluster has namespaces");
        ip(&["link", "set", &format!("bt{number}x{index}"), if up { "up" } else { "down" }]);
    }

    /// The genesis file.
    pub(crate) fn genesis(&self) -> PathBuf {
        self.dir.path().join("genesis.json")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.resume();
            member.kill();
            if std::thread::panicking() {
                eprintln!("--- {}\n{}", member.name, member.log_tail(15));
            }
        }
        if let Some(number) = self.bridge {
            for index in 0..self.members.len() {
                let _ = Command::new("ip").args(["netns", "del", &format!("bttc{number}-{index}")]).output();
            }
            let _ = Command::new("ip").args(["link", "del", &format!("bttc{number}")]).output();
        }
    }
}

impl Member {
    fn keys(&self) -> Value {
        let text = run(bttc().args(["keys", "show", "--home"]).arg(&self.home));
        serde_json::from_str(&text).unwrap()
    }

    /// Address and identity, as peers are configured.
    pub(crate) fn multiaddress(&self) -> String {
        format!("{}/p2p/{}", self.peer, self.peer_id)
    }

    /// Starts the process; its output is added to `node.log` in its home.
    pub(crate) fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.home.join("node.log")).unwrap();
        self.start_with(log.try_clone().unwrap().into(), log.into());
    }

    /// Starts the process; its output goes where the test says.
    pub(crate) fn start_with(&mut self, stdout: Stdio, stderr: Stdio) {
        let mut words: Vec<String> = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(str::to_owned));
        }
        words.extend([env!("CARGO_BIN_EXE_bttc"), "start", "--home"].map(str::to_owned));
        let (program, arguments) = words.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.home).args(&self.arguments).stdin(Stdio::null());
        command.stdout(stdout).stderr(stderr);
        command.envs(self.settings.iter().map(|(key, value)| (key, value)));
        self.child = Some(command.spawn().unwrap());
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// Whether the process is there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            // `ip netns exec` replaces itself with the node.
            let _ = Command::new("kill").args([name, &child.id().to_string()]).output();
        }
    }

    /// What its operations port says.
    pub(crate) async fn ops(&self, path: &str) -> String {
        let address = self.settings.iter().find(|(key, _)| key == "BTTC_OPS_LISTEN").map(|(_, value)| value.clone());
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        let mut stream = tokio::net::TcpStream::connect(address.unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Kills the process with -9 and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to end and waits for that.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Stops the process's clock, as it were.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it run again.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// A client with a short patience.
    pub(crate) fn client(&self) -> HttpClient {
        HttpClientBuilder::default().request_timeout(Duration::from_secs(3)).build(&self.rpc).unwrap()
    }

    /// Ends the jail of its validator if it is in one and its time is over, with a transaction through `rpc`. Gives the
    /// transaction's hash.
    pub(crate) fn unjail(&self, rpc: &str) -> Option<B256> {
        let key = self.keys()["consensus"].as_str().unwrap().to_owned();
        let output = bttc().args(["stake", "validator", &key, "--json", "--rpc", rpc]).output().unwrap();
        let state: Value = serde_json::from_slice(&output.stdout).ok()?;
        if state["jailed"] != true {
            return None;
        }
        let mut command = bttc();
        command.args(["stake", "unjail", "--yes", "--json", "--rpc", rpc, "--home"]).arg(&self.home);
        let output = command.output().unwrap();
        let sent: Value = serde_json::from_slice(&output.stdout).ok()?;
        sent["transactionHash"].as_str()?.parse().ok()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("node.log")).unwrap_or_default()
    }

    /// Its last lines.
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Further configuration for the next start.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// The genesis hash, as the binary computes it.
    pub(crate) fn genesis_hash(&self) -> B256 {
        let text = run(bttc().args(["genesis", "hash"]).arg(self.home.join("genesis.json")));
        text.trim().parse().unwrap()
    }
}
