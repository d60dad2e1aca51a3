//! Commands of the bridge: gateways are deployed, tokens cross, a relayer runs, TRON is simulated.

mod args;
mod deploy;
mod relayer;
mod root_wallet;
mod sim;
mod user;

pub(crate) use args::{BridgeCommand, RelayerCommand, TronSimArgs};
pub(crate) use relayer::run as run_relayer;
pub(crate) use sim::run as run_tron_sim;

use crate::cli::PasswordArgs;
use crate::commands::configured_password;
use crate::home::Home;
use crate::keys::{self, KeyRole};
use bttc_types::SecretKey;
use eyre::bail;
use std::path::Path;

/// Runs a bridge command.
pub(crate) fn run_bridge(command: BridgeCommand) -> eyre::Result<()> {
    match command {
        BridgeCommand::Deploy(args) => deploy::run(&args),
        BridgeCommand::Fund(args) => deploy::fund(&args),
        BridgeCommand::Recover(args) => deploy::recover(&args),
        BridgeCommand::Tokens(read) => user::tokens(&read),
        BridgeCommand::Status(args) => user::status(&args),
        BridgeCommand::Withdraw(args) => user::withdraw(&args),
        BridgeCommand::Deposit(args) => user::deposit(&args),
        BridgeCommand::Claim(args) => user::claim(&args),
    }
}

/// A key for root chains: from a file, or the home's relayer key.
fn root_key(home: &Path, key_file: Option<&Path>, password: &PasswordArgs) -> eyre::Result<SecretKey> {
    let home = Home::new(home);
    let secret = match key_file {
        Some(path) => keys::load_file(path, &keys::password(password, "", false)?)?,
        None => {
            let path = KeyRole::Relayer.path(&home);
            if !path.exists() {
                bail!(
                    "{} does not exist: make it with `bttc keys new relayer`, or name a key with --key-file",
                    path.display()
                );
            }
            keys::load(&home, KeyRole::Relayer, &keys::password(password, &configured_password(&home)?, false)?)?
        }
    };
    Ok(SecretKey::from_bytes(&secret)?)
}

/// A runtime for commands.
fn runtime() -> eyre::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
