//! Structured logs: readable on a terminal, JSON for machines. A log that cannot be written loses lines, and nothing else.

use crate::config::LogSection;
use crate::lines::{Lines, QUEUE_BYTES};
use eyre::{Context, bail};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer as FormatWriter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The log of this process, once it is started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    lines: Arc<Lines>,
    json: bool,
}

/// Starts logging to standard error.
///
/// # Errors
/// When the section makes no sense, or the system gives no thread.
pub(crate) fn start(section: &LogSection) -> eyre::Result<()> {
    // The core tells of every vote at `info`, the RPC server of every client's mistake at `warn`; who wants that names it in log.level, which comes last and wins.
    let quiet = "arc_malachitebft_core_consensus=warn,arc_malachitebft_core_driver=warn,jsonrpsee-server=error";
    let filter = EnvFilter::try_new(format!("{quiet},{}", section.level))
        .wrap_err_with(|| format!("log.level {:?}", section.level))?;
    if !matches!(section.format.as_str(), "text" | "json") {
        bail!("log.format is {:?}: use text or json", section.format);
    }
    // The descriptor itself: the handle of the standard library is a lock that a write which hangs would hold.
    let descriptor = std::io::stderr().as_fd().try_clone_to_owned().wrap_err("standard error cannot be used")?;
    let tell = |lost| tracing::warn!(lost, "log lines could not be written and are lost; now it works again");
    let lines = Lines::start(File::from(descriptor), QUEUE_BYTES, tell)?;
    let json = section.format == "json";
    let log = Arc::clone(&LOG.get_or_init(|| Log { lines, json }).lines);
    let writer = move || Writer(Arc::clone(&log));
    // Its internal errors would go to standard error, and panic when that cannot be written.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false).with_writer(writer);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
    }
    Ok(())
}

/// One event's way into the queue.
struct Writer(Arc<Lines>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Says why the program ends, or what it cannot do, on standard error, whatever the level of the log. What cannot be written is lost.
pub(crate) fn say(text: &str) {
    match LOG.get() {
        Some(log) if log.json => log.lines.push(format!("{}\n", json_line(text)).as_bytes()),
        Some(log) => log.lines.push(format!("{text}\n").as_bytes()),
        None => {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// As the events of the log are written.
fn json_line(text: &str) -> serde_json::Value {
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut FormatWriter::new(&mut time));
    serde_json::json!({ "timestamp": time, "level": "ERROR", "fields": { "message": text }, "target": "bttc" })
}

/// Waits until everything is written, but not long: a reader that does not read must not keep the process.
pub(crate) fn flush(patience: Duration) {
    if let Some(log) = LOG.get() {
        log.lines.flush(patience);
    }
}

/// Log lines that could not be written since this was asked last: for a counter.
pub(crate) fn lost_since() -> u64 {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let lost = LOG.get().map_or(0, |log| log.lines.lost());
    lost.saturating_sub(TOLD.fetch_max(lost, Ordering::AcqRel))
}
