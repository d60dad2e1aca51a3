//! `bttc`: a proof-of-stake validator node in one binary.

mod application;
mod bridge;
mod cli;
mod clock;
mod commands;
mod config;
mod dev;
mod genesis_file;
mod gossip;
mod home;
mod join;
mod keys;
mod logging;
mod metrics;
mod node;
mod ops;
mod reporter;
mod search;
mod shell;
mod signer;
mod snapshots;
mod spool;
mod tools;
mod wallet;

use clap::FromArgMatches;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let matches = cli::command().get_matches();
    let result =
        cli::Cli::from_arg_matches(&matches).map_err(eyre::Report::from).and_then(|cli| commands::run(cli, &matches));
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain of causes on one line each: what happened, where, and what to do.
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}

/// Program and version, as peers and tools see it.
fn version() -> String {
    format!("bttc/v{}/{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}
