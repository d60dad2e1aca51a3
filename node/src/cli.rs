//! The command line. Configuration keys become flags and environment variables by themselves (see `config.rs`).

use crate::config;
use crate::tools::{BridgeCommand, RelayerCommand, TronSimArgs};
use crate::wallet::{Amount, GovCommand, LightCommand, SendCommand, StakeCommand};
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

/// A proof-of-stake validator node for BitTorrent Chain's role.
#[derive(Debug, Parser)]
#[command(name = "bttc", version, about, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a home directory: configuration, keys, signer guard.
    Init(InitArgs),
    /// Keys in the home directory.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Run the node.
    Start(StartArgs),
    /// Run a throw-away chain with funded accounts and blocks on demand.
    Dev(DevArgs),
    /// Genesis files.
    #[command(subcommand)]
    Genesis(GenesisCommand),
    /// Validators and delegations: look, stake, claim, leave.
    #[command(subcommand)]
    Stake(StakeCommand),
    /// Send coins.
    Send(SendCommand),
    /// Proposals, votes and parameters.
    #[command(subcommand)]
    Gov(GovCommand),
    /// The light client.
    #[command(subcommand)]
    Light(LightCommand),
    /// The bridge: deposits, withdrawals, claims; deploying gateways.
    #[command(subcommand)]
    Bridge(BridgeCommand),
    /// Carry certificates and claims between chains.
    #[command(subcommand)]
    Relayer(RelayerCommand),
    /// A local TRON node for development.
    TronSim(TronSimArgs),
    /// The consensus write-ahead log.
    #[command(subcommand)]
    Wal(WalCommand),
    /// What the consensus key signed last, to take to another machine.
    #[command(subcommand)]
    Signer(SignerCommand),
    /// The database of a stopped node.
    #[command(subcommand)]
    Db(DbCommand),
    /// The configuration in force.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version.
    Version,
}

/// Where the node lives.
#[derive(Debug, clap::Args)]
pub(crate) struct HomeArgs {
    /// Home directory of the node.
    #[arg(long, env = "BTTC_HOME", default_value = "bttc-home")]
    pub(crate) home: PathBuf,
}

/// Where the passwords of keys come from. Never an argument: those are seen by every process of the machine.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct PasswordArgs {
    /// File whose first line is the password. Without it (and without `keys.password_file`) the terminal is asked.
    #[arg(long, env = "BTTC_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password from this file descriptor.
    #[arg(long)]
    pub(crate) password_fd: Option<u32>,
}

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) home: HomeArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) home: HomeArgs,
    /// Kind of network: mainnet, donau or local.
    #[arg(long, default_value = "mainnet")]
    pub(crate) preset: String,
    /// Genesis file to copy into the home directory.
    #[arg(long)]
    pub(crate) genesis: Option<PathBuf>,
    /// Create validator keys too: consensus, bridge, owner and reporting.
    #[arg(long)]
    pub(crate) validator: bool,
    /// What is kept: archive (all state, all blocks), full (state of 100,000 heights, 2,000,000 blocks) or minimal (1,000 and 50,000).
    #[arg(long, default_value = "full")]
    pub(crate) history: History,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// How much a node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum History {
    /// Everything.
    Archive,
    /// What most dApps ask for.
    Full,
    /// What a validator needs.
    Minimal,
}

/// `keys` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Show addresses and the peer id, as JSON.
    Show {
        #[command(flatten)]
        home: HomeArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Create a key: consensus, bridge, owner, reporting, relayer or p2p.
    New {
        /// Which.
        role: String,
        #[command(flatten)]
        home: HomeArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Import a key from a file that holds 32 bytes in hex.
    Import {
        /// Which role it gets.
        role: String,
        /// The file.
        #[arg(long)]
        secret_file: PathBuf,
        #[command(flatten)]
        home: HomeArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Create the signer guard of a consensus key that has never signed on this network.
    Guard {
        #[command(flatten)]
        home: HomeArgs,
        #[command(flatten)]
        password: PasswordArgs,
        /// Say that the key has never signed: two signatures of it for one height cost its stake.
        #[arg(long)]
        key_has_never_signed: bool,
    },
}

/// Arguments of `dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Keep the chain in this directory; without it everything is gone at the end.
    #[arg(long)]
    pub(crate) home: Option<PathBuf>,
    /// Address for RPC.
    #[arg(long, default_value = "127.0.0.1:8545")]
    pub(crate) rpc: String,
    /// Make a block every so many milliseconds, transactions or not. Without it: one block as soon as there is a
    /// transaction.
    #[arg(long)]
    pub(crate) block_time_ms: Option<u64>,
    /// What `web3_clientVersion` says. Hardhat's network helpers work only where it begins with a name that they know: `anvil/v1`.
    #[arg(long)]
    pub(crate) client_version: Option<String>,
    /// Serve an Ethereum chain instead: its genesis file in geth's form, and its blocks in RLP, one after the other, as
    /// `geth export` writes them. Every fork up to Osaka is executed; proofs of work and of stake are not checked.
    #[arg(long, num_args = 2, value_names = ["GENESIS", "BLOCKS"], conflicts_with_all = ["home", "block_time_ms"])]
    pub(crate) import_chain: Option<Vec<PathBuf>>,
}

/// `genesis` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum GenesisCommand {
    /// Write a new genesis file.
    New(NewGenesisArgs),
    /// Check a genesis file.
    Validate {
        /// The file.
        file: PathBuf,
    },
    /// Print the hash of the genesis block.
    Hash {
        /// The file.
        file: PathBuf,
    },
    /// Take over accounts from a geth or bor state dump.
    ImportAlloc {
        /// The genesis file, changed in place.
        file: PathBuf,
        /// The dump: `{"accounts": {...}}` or a plain `alloc` object.
        dump: PathBuf,
        #[command(flatten)]
        supply: SupplyArgs,
    },
}

/// Arguments of `genesis new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewGenesisArgs {
    /// Kind of network: mainnet, donau or local.
    #[arg(long, default_value = "local")]
    pub(crate) preset: String,
    /// A validator as `consensus address:owner address:power`, or with `:bridge address` after it; may be given many
    /// times.
    #[arg(long = "validator", required = true)]
    pub(crate) validators: Vec<String>,
    /// Time of the genesis block, seconds since 1970; now when left out.
    #[arg(long)]
    pub(crate) timestamp: Option<u64>,
    /// A parameter as `NAME=VALUE`, instead of the preset's; may be given many times.
    #[arg(long = "param")]
    pub(crate) params: Vec<String>,
    /// Coins for an account as `ADDRESS=AMOUNT` in BTT; may be given many times.
    #[arg(long = "fund")]
    pub(crate) funds: Vec<String>,
    #[command(flatten)]
    pub(crate) supply: SupplyArgs,
    /// Draw no bridge id: the network will never have a bridge.
    #[arg(long)]
    pub(crate) no_bridge: bool,
    /// Where to write it; standard output when left out.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// What backs the coin. What is left out is derived on public networks from what is allocated.
#[derive(Debug, clap::Args)]
pub(crate) struct SupplyArgs {
    /// BTT in the pool that pays rewards and the treasury.
    #[arg(long)]
    pub(crate) reward_pool: Option<Amount>,
    /// BTT that are locked in the TRON gateway before the first block. Left out: accounts, stake and reward pool together.
    #[arg(long)]
    pub(crate) tron_locked: Option<Amount>,
    /// BTT in existence on TRON, the locked ones included: the others may come over the bridge. Left out: what is locked.
    #[arg(long)]
    pub(crate) supply: Option<Amount>,
}

/// `wal` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum WalCommand {
    /// Print the records in readable form.
    Dump(HomeArgs),
}

/// `signer` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum SignerCommand {
    /// Print the last signature of a stopped node's key as JSON.
    Export(HomeArgs),
    /// Take over a last signature: creates this home's guard or raises it, never lowers it.
    Import {
        #[command(flatten)]
        home: HomeArgs,
        /// The file that `export` printed.
        file: PathBuf,
    },
}

/// `db` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Sizes of the tables and the head.
    Stats(HomeArgs),
    /// Recompute the whole state and compare.
    Check(HomeArgs),
}

/// `config` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the effective configuration: file, environment and flags together.
    Show(HomeArgs),
}

/// The command line with a flag for each configuration key where the node's configuration counts.
pub(crate) fn command() -> clap::Command {
    Cli::command()
        .mut_subcommand("start", config::add_flags)
        .mut_subcommand("config", |command| command.mut_subcommand("show", config::add_flags))
}
