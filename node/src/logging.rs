//! Structured logs: readable on a terminal, JSON for machines.

use crate::config::LogSection;
use eyre::{Context, bail};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error.
pub(crate) fn start(section: &LogSection) -> eyre::Result<()> {
    let filter = EnvFilter::try_new(&section.level).wrap_err_with(|| format!("log.level {:?}", section.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match section.format.as_str() {
        "text" => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        "json" => builder.json().init(),
        other => bail!("log.format is {other:?}: use text or json"),
    }
    Ok(())
}
