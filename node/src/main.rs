//! `bttc`: a proof-of-stake validator node in one binary.

mod application;
mod bridge;
mod cli;
mod clock;
mod commands;
mod config;
mod dev;
mod evidence;
mod failure;
mod genesis_file;
mod gossip;
mod home;
mod join;
mod keys;
mod lines;
mod logging;
mod metrics;
mod node;
mod ops;
mod reporter;
mod search;
mod secrets;
mod shell;
mod signer;
mod snapshots;
mod spool;
mod tools;
mod wallet;

use clap::FromArgMatches;
use std::ffi::OsString;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the last words may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn main() -> std::process::ExitCode {
    failure::end_on_panic();
    std::process::ExitCode::from(run(std::env::args_os()))
}

/// Runs a command line. Gives the exit code.
fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let matches = match cli::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let text = error.render().to_string();
            let clean = bttc_root_chains::redact(&text);
            // Only errors quote what was typed.
            if clean == text || !error.use_stderr() {
                error.exit();
            }
            logging::say(&clean);
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let result =
        cli::Cli::from_arg_matches(&matches).map_err(eyre::Report::from).and_then(|cli| commands::run(cli, &matches));
    let code = result.map_or_else(|error| failure::report(&error), |()| 0);
    logging::flush(LAST_WORDS);
    code
}

/// Program and version, as peers and tools see it.
fn version() -> String {
    format!("bttc/v{}/{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}
