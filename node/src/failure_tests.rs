//! Real processes that panic: this test binary, run again for one job, named by the environment.

use super::*;
use crate::config::LogSection;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What the job is.
const JOB: &str = "BTTC_TEST_JOB";
/// Arguments of the job's command line, one on each line.
const ARGUMENTS: &str = "BTTC_TEST_ARGUMENTS";
/// Of the keys of the node under test.
const PASSWORD: &str = "a password";

fn child(job: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["failure::tests::does_its_job", "--exact", "--ignored", "--nocapture"]);
    command.env(JOB, job).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[test]
#[ignore = "the other tests run it in a process of its own"]
fn does_its_job() {
    let Ok(job) = std::env::var(JOB) else { return };
    end_on_panic();
    match job.as_str() {
        "thread" => {
            let _ = std::thread::Builder::new().name("worker".into()).spawn(|| panic!("by a thread")).unwrap().join();
        }
        "task" => runtime().block_on(async {
            let _ = tokio::spawn(async { panic!("by a task") }).await;
        }),
        "blocking" => runtime().block_on(async {
            let _ = tokio::task::spawn_blocking(|| panic!("by blocking work")).await;
        }),
        "pool" => {
            rayon::join::<_, _, (), ()>(|| panic!("by a pool"), || ());
        }
        "caught" => {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
        }
        "twice" => {
            for _ in 0..8 {
                std::thread::spawn(|| panic!("one of many"));
            }
        }
        "unread" => {
            crate::logging::start(&LogSection::default()).unwrap();
            for number in 0..20_000 {
                tracing::info!(number, "a line that nobody reads, on its way into a pipe that is full");
            }
            panic!("behind a full pipe");
        }
        "command" => {
            let arguments = std::env::var(ARGUMENTS).unwrap();
            let code = crate::run(arguments.lines().map(Into::into));
            std::process::exit(i32::from(code));
        }
        other => unreachable!("{other}"),
    }
    // Whatever happened, this thread does not end the process.
    loop {
        std::thread::park();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The exit code of a process that must end by itself.
fn code_of(child: &mut Child, seconds: u64) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it still ran after {seconds} s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn said_by(child: &mut Child) -> String {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_panic_anywhere_ends_the_process_with_its_reason_and_its_code() {
    for (job, reason) in [
        ("thread", "panic in thread worker at"),
        ("task", "by a task"),
        ("blocking", "by blocking work"),
        ("pool", "by a pool"),
        ("caught", "caught"),
        ("twice", "one of many"),
    ] {
        let mut child = child(job).spawn().unwrap();
        let code = code_of(&mut child, 20);
        let said = said_by(&mut child);
        assert_eq!(code, Some(70), "{job}: {said}");
        assert!(said.contains(reason) && said.contains("failure_tests.rs"), "{job}: {said}");
        assert_eq!(said.matches("panic in thread").count(), 1, "{job}: {said}");
    }
}

#[test]
fn a_panic_ends_the_process_though_nobody_reads_its_log() {
    let mut child = child("unread").spawn().unwrap();
    // The pipe stays open and unread until the process has ended.
    assert_eq!(code_of(&mut child, 30), Some(70));
}

/// Runs the program's command line in a process of its own; must succeed.
fn bttc(arguments: &[&str]) -> String {
    let mut command = child("command");
    let arguments = [&["bttc"], arguments].concat().join("\n");
    let output = command.env(ARGUMENTS, arguments).stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A home of the only validator of a network.
fn home(dir: &Path) -> String {
    let text = |path: std::path::PathBuf| path.display().to_string();
    let (home, password) = (text(dir.join("home")), text(dir.join("password")));
    std::fs::write(&password, PASSWORD).unwrap();
    bttc(&["init", "--preset", "local", "--validator", "--home", &home, "--password-file", &password]);
    let shown = bttc(&["keys", "show", "--home", &home]);
    // The test harness speaks before and after it.
    let shown = &shown[shown.find('{').unwrap()..=shown.rfind('}').unwrap()];
    let keys: serde_json::Value = serde_json::from_str(shown).unwrap();
    let validator = format!("{}:{}:1000", keys["consensus"].as_str().unwrap(), keys["owner"].as_str().unwrap());
    let genesis = text(dir.join("home").join("genesis.json"));
    bttc(&["genesis", "new", "--validator", &validator, "--out", &genesis]);
    home
}

#[test]
fn a_node_ends_when_one_of_its_threads_or_tasks_panics() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let arguments = [
        "bttc",
        "start",
        "--home",
        &home,
        "--rpc.listen",
        "127.0.0.1:0",
        "--ops.listen",
        "127.0.0.1:0",
        "--p2p.listen",
        "/ip4/127.0.0.1/tcp/0",
    ];
    for place in ["engine", "application", "task", "blocking"] {
        let mut command = child("command");
        command.env(ARGUMENTS, arguments.join("\n")).env("BTTC_TEST_PANIC", place);
        let mut child =
            command.stderr(Stdio::from(std::fs::File::create(dir.path().join("log")).unwrap())).spawn().unwrap();
        let code = code_of(&mut child, 60);
        let said = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(code, Some(70), "{place}: {said}");
        assert!(said.contains(&format!("a panic was ordered at {place}")), "{place}: {said}");
        assert!(said.contains("starting"), "{place}: it was a running node: {said}");
    }
}

#[test]
fn an_error_that_no_restart_mends_has_its_own_code() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing").display().to_string();
    let mut command = child("command");
    let mut child = command.env(ARGUMENTS, ["bttc", "start", "--home", &missing].join("\n")).spawn().unwrap();
    assert_eq!(code_of(&mut child, 30), Some(78));
    assert!(said_by(&mut child).contains("bttc init"));
    let mut command = self::child("command");
    let mut child = command.env(ARGUMENTS, ["bttc", "db", "stats", "--home", &missing].join("\n")).spawn().unwrap();
    assert_eq!(code_of(&mut child, 30), Some(1));
}
