//! What gives access to endpoints appears nowhere: canaries in user, password, path, query and header, in front of endpoints that repeat in
//! their answers what they were asked with.

use crate::cluster::{Cluster, Plan};
use crate::harness::{call, until};
use crate::joining::client_height;
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// In every secret.
const CANARY: &str = "canary5ecret";
/// `canary5ecretuser:canary5ecretword` as it is sent.
const CANARY_BASE64: &str = "Y2FuYXJ5NWVjcmV0dXNlcjpjYW5hcnk1ZWNyZXR3b3Jk";

/// An endpoint that gives back what it was asked with, in every form of a failure. Counts requests that hold all secrets.
async fn parrot(asked: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut turn = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            turn += 1;
            let mut request = vec![0; 16 << 10];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            if request.contains("canary5ecretpath") && request.contains("canary5ecretheader") {
                asked.fetch_add(1, Ordering::AcqRel);
            }
            let (status, body) = match turn % 6 {
                0 => ("403 Forbidden", request.clone()),
                1 => ("200 OK", json!({ "error": { "code": -32_000, "message": request } }).to_string()),
                2 => ("200 OK", json!({ "Error": request }).to_string()),
                3 => ("200 OK", json!({ "result": request }).to_string()),
                4 => ("500 Internal Server Error", request.clone()),
                // Another chain: an alarm.
                _ => ("200 OK", json!({ "result": "0x77" }).to_string()),
            };
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address.to_string()
}

/// An endpoint with secrets in every place.
fn endpoint(address: &str) -> String {
    format!(
        "http://canary5ecretuser:canary5ecretword@{address}/v2/canary5ecretpath?key=canary5ecretquery\
         |X-Key: Bearer canary5ecretheader, canary5ecretmore"
    )
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    let lower = text.to_lowercase();
    let found = lower.find(CANARY).or_else(|| text.find(CANARY_BASE64));
    if let Some(at) = found {
        let line = lower.get(..at).unwrap_or_default().matches('\n').count();
        panic!("{what} holds a secret: {}", text.lines().nth(line).unwrap_or_default());
    }
}

fn bttc(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bttc"));
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

fn text_of(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

fn command_line(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().replace('\0', " ")
}

/// A network of one validator whose configuration file holds chains, too.
fn one() -> Cluster {
    let settings = [("BTTC_LOG_LEVEL", "trace")];
    Cluster::new(&Plan { validators: 1, settings: &settings, ..Plan::default() })
}

/// Runs the node until it has asked the endpoints often, and looks everywhere.
async fn watch(cluster: &mut Cluster, asked: &AtomicU64) {
    let before = asked.load(Ordering::Acquire);
    cluster.members[0].start();
    let client = cluster.members[0].client();
    until("it answers", 60, async || client_height(&client).await.is_some()).await;
    until("it asks its endpoints", 60, async || asked.load(Ordering::Acquire) > before + 12).await;
    until("an alarm", 60, async || cluster.members[0].log().contains("needs an operator")).await;
    for path in ["/metrics", "/status", "/health", "/ready"] {
        assert_clean(path, &cluster.members[0].ops(path).await);
    }
    assert_clean("bttc_status", &call(&client, "bttc_status", json!([])).await.to_string());
    cluster.members[0].stop();
    let log = cluster.members[0].log();
    assert!(log.contains("ethereum") && log.contains("127.0.0.1"), "the log names the chain and where its endpoint is");
    assert_clean("the log", &log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_nobody_its_keys() {
    let asked = Arc::new(AtomicU64::new(0));
    let (first, second) = (parrot(Arc::clone(&asked)).await, parrot(Arc::clone(&asked)).await);
    let lines = [
        format!("ethereum evm 1 {} {} quorum=1 poll=10 timeout=2000", endpoint(&first), endpoint(&second)),
        format!("tron tron 728126428 \"{}\" poll=10", endpoint(&second)),
    ];

    // In the file.
    let mut cluster = one();
    let file = cluster.members[0].home.join("config.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    let with = |chains: &str| written.replace("\nchains = []", &format!("\nchains = {chains}"));
    std::fs::write(&file, with(&format!("{lines:?}"))).unwrap();
    let home = cluster.members[0].home.display().to_string();
    let show = ["config", "show", "--home", &home];
    let shown = text_of(&bttc(&show, &[]));
    assert!(shown.contains(&format!("ethereum evm 1 http://{first}/…|x-key: … http://{second}")), "{shown}");
    assert_clean("config show", &shown);
    watch(&mut cluster, &asked).await;
    std::fs::write(&file, &written).unwrap();

    // In the environment.
    let list = lines.join(",");
    assert_clean("config show", &text_of(&bttc(&show, &[("BTTC_BRIDGE_CHAINS", &list)])));
    assert_clean("help", &text_of(&bttc(&["start", "--help"], &[("BTTC_BRIDGE_CHAINS", &list)])));
    cluster.members[0].set("BTTC_BRIDGE_CHAINS", &list);
    watch(&mut cluster, &asked).await;
    cluster.members[0].set("BTTC_BRIDGE_CHAINS", "");

    // As a flag, with references: the list of processes shows those.
    let secret = cluster.members[0].home.join("endpoint");
    std::fs::write(&secret, format!("{}\n", endpoint(&first))).unwrap();
    let flag = format!(
        "ethereum evm 1 file:{} env:ENDPOINT http://{second}/|Authorization: env:HEADER quorum=1 poll=10",
        secret.display()
    );
    cluster.members[0].set("ENDPOINT", &endpoint(&second));
    cluster.members[0].set("HEADER", "Bearer canary5ecretheader");
    cluster.members[0].arguments = vec!["--bridge.chains".into(), flag.clone()];
    cluster.members[0].start();
    let client = cluster.members[0].client();
    until("it answers", 60, async || client_height(&client).await.is_some()).await;
    let line = command_line(cluster.members[0].pid());
    assert!(line.contains("env:ENDPOINT") && line.contains("env:HEADER"), "{line}");
    assert_clean("the list of processes", &line);
    cluster.members[0].stop();
    watch(&mut cluster, &asked).await;
    let shown = text_of(&bttc(&[&show[..], &["--bridge.chains", &flag]].concat(), &[]));
    assert!(shown.contains("env:ENDPOINT"), "{shown}");
    assert_clean("config show", &shown);

    // Wrong ones, wherever they are written.
    let start = ["start", "--home", &home];
    for wrong in wrong_lines() {
        for arguments in [&start[..], &show] {
            let given = text_of(&bttc(&[arguments, &["--bridge.chains", &wrong]].concat(), &[]));
            assert_clean(&wrong, &given);
            assert_clean(&wrong, &text_of(&bttc(arguments, &[("BTTC_BRIDGE_CHAINS", &wrong)])));
            for chains in [format!("[{wrong:?}]"), format!("{wrong:?}"), format!("[\"{wrong}"), wrong.clone()] {
                std::fs::write(&file, with(&chains)).unwrap();
                assert_clean(&chains, &text_of(&bttc(arguments, &[])));
            }
            std::fs::write(&file, &written).unwrap();
        }
        let output = bttc(&[&start[..], &["--bridge.chains", &wrong]].concat(), &[]);
        assert_eq!(output.status.code(), Some(78), "{wrong}: {}", text_of(&output));
    }
    let output = bttc(&["start", "https://canary5ecretuser@h/canary5ecretpath"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_clean("what was not expected", &text_of(&output));
}

fn wrong_lines() -> Vec<String> {
    [
        "ethereum evm 1 https//u:CANARY@h/CANARY",
        "ethereum evm 1 ftp://u:CANARY@h/CANARY",
        "ethereum evm 1 h|X-Key: CANARY",
        "ethereum evm 1 https://h|CANARY",
        "ethereum evm 1 https://h|X Key: CANARY",
        "ethereum evm 1 https://h/CANARY|X-Key: CANARY quorum=7",
        "ethereum evm 1 https://h/CANARY colour=1",
        "ethereum btc 1 https://h/CANARY",
        "ethereum evm CANARY https://h/CANARY",
        "ethereum evm 1 env:NAME|Authorization: Bearer CANARY",
        "ethereum evm 1 \"env:NAME|Authorization: Bearer CANARY\"",
        "ethereum evm 1 file:/nowhere|X-Key: CANARY",
        "ethereum evm 1 env:NA-ME|X-Key: CANARY",
        "ethereum evm 1 env:CANARY/CANARY",
        "https://h/CANARY",
        "CANARY:CANARY@h",
    ]
    .map(|line| line.replace("CANARY", CANARY))
    .to_vec()
}

/// A relayer that ends with the value.
struct Relayer(Child);

impl Drop for Relayer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn relayer(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bttc"));
    command.args(["relayer", "start", "--watch-only", "--ops", "127.0.0.1:0", "--home"]).arg(home);
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayer_tells_nobody_its_keys() {
    let asked = Arc::new(AtomicU64::new(0));
    let address = parrot(Arc::clone(&asked)).await;
    let dir = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let arguments = [
        ["--rpc", "env:NODE"],
        ["--chain", "ethereum evm 1 env:ENDPOINT"],
        ["--chain", &format!("tron tron 728126428 http://{address}/|X-Key: env:HEADER")],
        ["--poll-ms", "50"],
    ];
    let secret = endpoint(&address);
    let variables = [("NODE", secret.as_str()), ("ENDPOINT", &secret), ("HEADER", "canary5ecretheader")];
    let mut command = relayer(dir.path(), arguments.as_flattened(), &variables);
    let running = Relayer(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    until("it asks", 60, async || asked.load(Ordering::Acquire) > 12).await;
    assert_clean("the list of processes", &command_line(running.0.id()));
    let home = dir.path().display().to_string();
    let status = bttc(&["relayer", "status", "--home", &home], &[]);
    assert!(status.status.success(), "{}", text_of(&status));
    assert_clean("its status", &text_of(&status));
    assert_clean("what is pending", &text_of(&bttc(&["relayer", "pending", "--home", &home], &[])));
    drop(running);
    let said = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(said.contains("127.0.0.1"), "{said}");
    assert_clean("its log", &said);

    for wrong in wrong_lines() {
        let output = relayer(dir.path(), &["--rpc", "http://127.0.0.1:9", "--chain", &wrong], &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{wrong}: {}", text_of(&output));
        assert_clean(&wrong, &text_of(&output));
    }
    for node in ["https//u:CANARY@h", "CANARY", "u:CANARY@h:1", "ftp://CANARY@h", "env:NAME|X-Key: CANARY"] {
        let node = node.replace("CANARY", CANARY);
        let good = ["--chain", "ethereum evm 1 http://127.0.0.1:9"];
        let output = relayer(dir.path(), &[&["--rpc", &node], &good[..]].concat(), &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{node}: {}", text_of(&output));
        assert_clean(&node, &text_of(&output));
        assert_clean(&node, &text_of(&bttc(&["stake", "validators", "--rpc", &node], &[])));
    }
    let two = ["--rpc", "http://127.0.0.1:9", "--chain", "ethereum evm 1 http://127.0.0.1:9 http://127.0.0.1:10"];
    let output = relayer(dir.path(), &two, &[]).output().unwrap();
    assert!(text_of(&output).contains("one endpoint"), "{}", text_of(&output));
}
