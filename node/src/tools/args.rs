//! Arguments of `bridge`, `relayer` and `tron-sim`.

use crate::cli::{HomeArgs, PasswordArgs};
use crate::wallet::{ReadArgs, SendArgs};
use alloy_primitives::Address;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `bridge` commands. Amounts are in the token's own units (`12.5`) unless they end in `wei`, its smallest ones. Accounts on
/// TRON are written `T…`, others `0x…`.
#[derive(Debug, Subcommand)]
pub(crate) enum BridgeCommand {
    /// Deploy a gateway on a root chain, with the first set and the durations of a genesis file.
    Deploy(DeployArgs),
    /// Lock tokens in a gateway without crediting anybody: what circulates from the first block, or what a loss left open.
    Fund(FundArgs),
    /// Put the set in force into a gateway that is frozen or expired: by the recovery signers, after the waiting time.
    Recover(RecoverArgs),
    /// List gateways and tokens, with what is locked, in circulation and parked.
    Tokens(ReadArgs),
    /// Show how the bridge fares, or what became of a deposit or withdrawal.
    Status(StatusArgs),
    /// Burn tokens here, to be paid out on their root chain.
    Withdraw(WithdrawArgs),
    /// Lock tokens on a root chain, to be credited here.
    Deposit(DepositArgs),
    /// Claim a withdrawal on its root chain, or what is left of it.
    Claim(ClaimArgs),
}

/// Which root chain, and who pays there.
#[derive(Debug, Args)]
pub(crate) struct RootArgs {
    /// The root chain as `NAME evm|tron CHAIN_ID ENDPOINT`; `env:NAME` and `file:PATH` name where an endpoint stands.
    #[arg(long)]
    pub(crate) chain: String,
    /// Keystore file of the key that signs there; the home's relayer key when left out.
    #[arg(long)]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// `bridge deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) home: HomeArgs,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    /// The genesis file of the network.
    #[arg(long)]
    pub(crate) genesis: PathBuf,
    /// An account that may pause; may be given many times.
    #[arg(long = "pauser")]
    pub(crate) pausers: Vec<Address>,
    /// A recovery signer; may be given many times.
    #[arg(long = "recoverer", required = true)]
    pub(crate) recoverers: Vec<Address>,
    /// Recovery signers that must agree.
    #[arg(long, default_value_t = 1)]
    pub(crate) recovery_threshold: u64,
    /// Write the gateway into the genesis file.
    #[arg(long)]
    pub(crate) write: bool,
    /// Deploy test tokens too, map them, and give some to these accounts: local networks only.
    #[arg(long = "test-tokens-for")]
    pub(crate) test_tokens: Vec<Address>,
}

/// `bridge fund`.
#[derive(Debug, Args)]
pub(crate) struct FundArgs {
    #[command(flatten)]
    pub(crate) home: HomeArgs,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    /// The genesis file of the network, which names the gateway and its tokens.
    #[arg(long)]
    pub(crate) genesis: PathBuf,
    /// Symbol of the token there; BTT when left out.
    #[arg(long, default_value = "BTT")]
    pub(crate) token: String,
    /// Smallest units; for BTT what the genesis file says is locked on TRON, when left out.
    #[arg(long)]
    pub(crate) amount: Option<alloy_primitives::U256>,
}

/// `bridge recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) root: RootArgs,
}

/// `bridge status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Name of a root chain.
    #[arg(long)]
    pub(crate) chain: Option<String>,
    /// A deposit there, by its number.
    #[arg(long, requires = "chain")]
    pub(crate) deposit: Option<u64>,
}

/// `bridge withdraw`.
#[derive(Debug, Args)]
pub(crate) struct WithdrawArgs {
    /// Symbol or address of the token; `BTT` for the coin.
    pub(crate) token: String,
    /// How much.
    pub(crate) amount: String,
    /// Who gets it on the root chain.
    pub(crate) recipient: String,
    /// Of it for whoever brings the claim.
    #[arg(long, default_value = "0")]
    pub(crate) fee: String,
    #[command(flatten)]
    pub(crate) send: SendArgs,
}

/// `bridge deposit`.
#[derive(Debug, Args)]
pub(crate) struct DepositArgs {
    /// Symbol or root address of the token, as `bridge tokens` shows it.
    pub(crate) token: String,
    /// How much.
    pub(crate) amount: String,
    /// Who is credited here.
    pub(crate) recipient: Address,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// `bridge claim`.
#[derive(Debug, Args)]
pub(crate) struct ClaimArgs {
    /// The withdrawal's place in its tree.
    pub(crate) index: u64,
    /// The tree.
    #[arg(long, default_value_t = 1)]
    pub(crate) tree: u32,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// `relayer` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum RelayerCommand {
    /// Carry certificates and claims both ways.
    Start(RelayerArgs),
    /// Show how the relayer of a home fares.
    Status(HomeArgs),
    /// Show what it has not finished.
    Pending(HomeArgs),
    /// Try an intent at once.
    Retry {
        /// Its name, as `pending` shows it.
        id: String,
        #[command(flatten)]
        home: HomeArgs,
    },
    /// Read the logs of withdrawals from the first block.
    Rescan(HomeArgs),
}

/// `relayer start`.
#[derive(Debug, Args)]
pub(crate) struct RelayerArgs {
    #[command(flatten)]
    pub(crate) home: HomeArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// JSON-RPC of a BTTC node that follows the root chains; `env:NAME` or `file:PATH` name where it stands.
    #[arg(long, env = "BTTC_RPC", hide_env_values = true)]
    pub(crate) rpc: String,
    /// A root chain as `NAME evm|tron CHAIN_ID ENDPOINT`; may be given many times. An endpoint is `https://host`, `https://host|Header: value`, or
    /// `env:NAME` or `file:PATH` where it stands: what is typed here is seen by every process of the machine.
    #[arg(long = "chain", required = true)]
    pub(crate) chains: Vec<String>,
    /// Send nothing: watch both sides and raise alarms.
    #[arg(long)]
    pub(crate) watch_only: bool,
    /// Claim for others only where the fee is at least so many ten-thousandths of the amount. Without it: claim everything.
    #[arg(long)]
    pub(crate) min_fee_bps: Option<u64>,
    /// Milliseconds between two rounds.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) poll_ms: u64,
    /// Address for status and metrics.
    #[arg(long, default_value = "127.0.0.1:6070")]
    pub(crate) ops: std::net::SocketAddr,
}

/// `tron-sim`.
#[derive(Debug, Args)]
pub(crate) struct TronSimArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub(crate) listen: std::net::SocketAddr,
    /// Milliseconds between blocks.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) block_time_ms: u64,
    /// Blocks that must lie above a solid one.
    #[arg(long, default_value_t = 2)]
    pub(crate) solid_lag: u64,
    /// The last four bytes of the genesis block's id.
    #[arg(long, default_value_t = 728_126_428)]
    pub(crate) chain_id: u32,
    /// An account with a billion TRX from the beginning; may be given many times.
    #[arg(long = "fund")]
    pub(crate) funded: Vec<Address>,
    /// File that keeps the chain; without it everything is gone at the end.
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
}
