//! Arguments of the commands that read from and send to a running node: `stake`, `gov`, `light`.

use crate::cli::{HomeArgs, PasswordArgs};
use crate::wallet::amount::{Amount, Share};
use alloy_primitives::Address;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Which node is asked, and how the answer is shown.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// JSON-RPC of a node. Without it: that of the home directory's configuration.
    #[arg(long, env = "BTTC_RPC", hide_env_values = true, global = true)]
    pub(crate) rpc: Option<String>,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) home: HomeArgs,
}

/// Who sends, and whether it is really sent.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Key of the home directory that signs: owner or reporting.
    #[arg(long, default_value = "owner")]
    pub(crate) from: String,
    /// Keystore file of the key that signs, instead of one of the home directory.
    #[arg(long)]
    pub(crate) key_file: Option<PathBuf>,
    /// The network's chain id, where the home directory has no genesis file that says it.
    #[arg(long)]
    pub(crate) chain_id: Option<u64>,
    /// Refuse to send when the fee could be more than this: it follows from what the node says.
    #[arg(long, default_value = "10000")]
    pub(crate) max_fee: Amount,
    /// Ask the node what would happen, and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Send without asking.
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// `send`.
#[derive(Debug, Args)]
pub(crate) struct SendCommand {
    /// To whom.
    pub(crate) recipient: Address,
    /// How much, in BTT unless it ends in `wei`.
    pub(crate) amount: Amount,
    #[command(flatten)]
    pub(crate) send: SendArgs,
}

/// `stake` commands. Amounts are in BTT (`1000`, `0.5`) unless they end in `wei`; validators are named by number, owner or
/// key.
#[derive(Debug, Subcommand)]
pub(crate) enum StakeCommand {
    /// List the validators.
    Validators(ReadArgs),
    /// Show a validator.
    Validator {
        /// Number, owner or key.
        validator: String,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Show an account's delegations, rewards, and stake on its way out.
    Show {
        /// The account; the home's owner when left out.
        account: Option<Address>,
        #[command(flatten)]
        read: ReadArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Sign with the home's consensus and bridge keys that they belong to an owner, and print it for `create --keys`.
    Prove {
        /// The owner's address.
        owner: Address,
        #[command(flatten)]
        home: HomeArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Create the sender's validator, with its own stake.
    Create {
        /// Its own stake.
        #[arg(long)]
        amount: Amount,
        /// Name for people, 1 to 64 bytes.
        #[arg(long)]
        name: String,
        /// Its share of its delegators' rewards, in percent, like `5` or `2.5`.
        #[arg(long)]
        commission: Share,
        /// What `stake prove` printed where the consensus and bridge keys are. Without it they are the home's.
        #[arg(long)]
        keys: Option<PathBuf>,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Change the commission or the name of the sender's validator.
    Edit {
        /// New share of delegators' rewards, in percent.
        #[arg(long)]
        commission: Option<Share>,
        /// New name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Replace a key of the sender's validator with the home's, or another.
    Rotate {
        /// Which.
        role: SigningRole,
        /// What `stake prove` printed where the new key is. Without it the new key is the home's.
        #[arg(long)]
        keys: Option<PathBuf>,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Delegate to a validator.
    Delegate {
        /// Number, owner or key.
        validator: String,
        /// How much.
        amount: Amount,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Take stake back; it can be withdrawn after unbonding.
    Undelegate {
        /// Number, owner or key.
        validator: String,
        /// How much, or `all`.
        amount: Amount,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Move stake to another validator; it arrives after unbonding.
    Redelegate {
        /// From which: number, owner or key.
        from: String,
        /// To which: number, owner or key.
        to: String,
        /// How much, or `all`.
        amount: Amount,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Pay out what has unbonded.
    Withdraw {
        /// Whose; the sender's when left out.
        account: Option<Address>,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Pay out rewards, and the commission of one's own validator.
    Claim {
        /// Of which validator: number, owner or key.
        validator: String,
        #[command(flatten)]
        send: SendArgs,
    },
    /// End the jail of the sender's validator.
    Unjail(SendArgs),
    /// Take the sender's validator out of the network for ever; its stake unbonds.
    Exit(SendArgs),
}

/// Keys that sign for a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SigningRole {
    /// Proposals and votes.
    Consensus,
    /// The bridge.
    Bridge,
}

/// What every proposal has.
#[derive(Debug, Args)]
pub(crate) struct ProposalArgs {
    /// Title, 1 to 128 bytes.
    #[arg(long)]
    pub(crate) title: String,
    /// Description, at most 10,000 bytes.
    #[arg(long, default_value = "")]
    pub(crate) description: String,
    /// Deposit; what voting needs when left out. It is lost when the vote vetoes, or has no quorum.
    #[arg(long)]
    pub(crate) deposit: Option<Amount>,
    #[command(flatten)]
    pub(crate) send: SendArgs,
}

/// `gov propose` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum ProposeCommand {
    /// Propose a text that changes nothing.
    Text(ProposalArgs),
    /// Propose new values of parameters, which take effect in the same block.
    Params {
        /// `NAME=VALUE`, as `gov params` lists them.
        #[arg(required = true)]
        changes: Vec<String>,
        /// Take effect without the waiting time, if more than two thirds of all power agree.
        #[arg(long)]
        expedited: bool,
        #[command(flatten)]
        proposal: ProposalArgs,
    },
    /// Propose that from a height on only programs that know this upgrade go on.
    Upgrade {
        /// The upgrade's name, 1 to 32 bytes.
        name: String,
        /// First height under the new rules.
        height: u64,
        /// Pass without the waiting time, if more than two thirds of all power agree.
        #[arg(long)]
        expedited: bool,
        #[command(flatten)]
        proposal: ProposalArgs,
    },
    /// Propose a payment from the reward pool.
    Payment {
        /// To whom.
        recipient: Address,
        /// How much.
        amount: Amount,
        #[command(flatten)]
        proposal: ProposalArgs,
    },
}

/// `gov` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum GovCommand {
    /// List the latest proposals.
    Proposals(ReadArgs),
    /// Show a proposal.
    Proposal {
        /// Its number.
        id: u64,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// List the chain's parameters with their ranges.
    Params(ReadArgs),
    /// Make a proposal.
    #[command(subcommand)]
    Propose(ProposeCommand),
    /// Add to a proposal's deposit.
    Deposit {
        /// The proposal's number.
        id: u64,
        /// How much.
        amount: Amount,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Take the sender's deposit of a proposal back that ended without a penalty.
    WithdrawDeposit {
        /// The proposal's number.
        id: u64,
        #[command(flatten)]
        send: SendArgs,
    },
    /// Vote with the sender's own stake, or as a validator.
    Vote {
        /// The proposal's number.
        id: u64,
        /// `yes`, `no`, `abstain`, `veto`, or parts in percent like `yes=70,abstain=30`.
        choice: String,
        /// Vote with the stake of the sender's validator, as far as its delegators do not vote themselves.
        #[arg(long, conflicts_with = "at")]
        as_validator: bool,
        /// Vote with the stake at these validators only (number, owner or key).
        #[arg(long)]
        at: Vec<String>,
        #[command(flatten)]
        send: SendArgs,
    },
}

/// `light` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum LightCommand {
    /// Walk from the genesis block to the head with headers, certificates and proofs alone, from a node that need not be
    /// trusted.
    Verify {
        /// The network's genesis file: what is trusted. Without it: the home's.
        #[arg(long)]
        genesis: Option<PathBuf>,
        #[command(flatten)]
        read: ReadArgs,
    },
}
