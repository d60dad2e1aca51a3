//! How the process ends when something in it fails: with a reason, soon, and with an exit code that a supervisor can tell apart.

use crate::logging;
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// An error, at the start or later.
const CODE_ERROR: u8 = 1;
/// A panic in any thread or task: a bug. `EX_SOFTWARE` of sysexits.h.
const CODE_PANIC: u8 = 70;
/// What it was started with cannot work: a restart does not help. `EX_CONFIG` of sysexits.h.
const CODE_SETUP: u8 = 78;

/// How long the reason of a panic may take to be written.
const TELL: Duration = Duration::from_secs(2);
/// How long the end of the process may take after that, before it is forced.
const EXIT: Duration = Duration::from_secs(2);

/// Marks an error that no restart mends: somebody must change what the program was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadSetup;

impl fmt::Display for BadSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this cannot be started as it is set up")
    }
}

impl std::error::Error for BadSetup {}

/// Writes an error with the whole chain of its causes, one on each line, and gives the exit code.
pub(crate) fn report(error: &eyre::Report) -> u8 {
    logging::say(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        logging::say(&format!("  because: {cause}"));
    }
    if error.downcast_ref::<BadSetup>().is_some() { CODE_SETUP } else { CODE_ERROR }
}

/// From now on a panic in any thread or task ends the process within five seconds.
///
/// The thread that panics goes no further: nothing it held is let go, so nobody sees what it has left half changed, and it signs and
/// writes nothing more. A node without one of its threads looks alive and does nothing, which no supervisor notices.
pub(crate) fn end_on_panic() {
    static FAILED: AtomicBool = AtomicBool::new(false);
    std::panic::set_hook(Box::new(|info| {
        if !FAILED.swap(true, Ordering::AcqRel) {
            let reason = reason(info);
            let started = std::thread::Builder::new().name("panic".into()).spawn(move || end(reason));
            if started.is_err() {
                std::process::exit(i32::from(CODE_PANIC));
            }
        }
        loop {
            std::thread::park();
        }
    }));
}

/// What happened, where, in which thread, and how it came there if the environment asks for that.
fn reason(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name").to_owned();
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    format!("panic in thread {name} at {place}: {message}{trace}")
}

/// Tells the reason and ends the process, whatever hangs.
fn end(reason: String) {
    let (told, wait) = mpsc::channel();
    // On a thread of its own: the one that panicked may hold a lock that is needed for it.
    let teller = std::thread::Builder::new().name("panic report".into()).spawn(move || {
        logging::say(&format!("error: {reason}\nthis is a bug; the process ends with code {CODE_PANIC}"));
        logging::flush(TELL);
        let _ = told.send(());
    });
    if teller.is_ok() {
        let _ = wait.recv_timeout(TELL);
    }
    // What the libraries do at the end of a process may wait for the thread that panicked.
    let _ = std::thread::Builder::new().name("panic abort".into()).spawn(|| {
        std::thread::sleep(EXIT);
        std::process::abort();
    });
    std::process::exit(i32::from(CODE_PANIC));
}

/// A place where tests may make a thread panic; nothing in the program itself.
#[cfg(not(test))]
pub(crate) const fn point(_: &str) {}

/// A place where tests may make a thread panic: when the environment names it.
#[cfg(test)]
pub(crate) fn point(name: &str) {
    if std::env::var("BTTC_TEST_PANIC").is_ok_and(|wanted| wanted == name) {
        panic!("a panic was ordered at {name}");
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
