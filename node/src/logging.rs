//! Structured logs: readable on a terminal, JSON for machines.

use crate::config::LogSection;
use eyre::{Context, bail};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error.
pub(crate) fn start(section: &LogSection) -> eyre::Result<()> {
    // The core tells of every vote at `info`, the RPC server of every client's mistake at `warn`; who wants that names it in log.level, which comes last and wins.
    let quiet = "arc_malachitebft_core_consensus=warn,arc_malachitebft_core_driver=warn,jsonrpsee-server=error";
    let filter = EnvFilter::try_new(format!("{quiet},{}", section.level))
        .wrap_err_with(|| format!("log.level {:?}", section.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match section.format.as_str() {
        "text" => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        "json" => builder.json().init(),
        other => bail!("log.format is {other:?}: use text or json"),
    }
    Ok(())
}
