//! What each command does.

use crate::cli::{Cli, Command, ConfigCommand, DbCommand, HomeArgs, InitArgs, KeysCommand, SignerCommand, WalCommand};
use crate::config::{self, Config, ConsensusSection};
use crate::failure::BadSetup;
use crate::home::Home;
use crate::keys::{self, KeyRole};
use crate::node::{self, Setup};
use crate::{dev, genesis_file, logging, signer, tools, wallet};
use alloy_primitives::Address;
use bttc_engine::{FileGuard, Wal, WalRecord};
use bttc_genesis::{ChainSpec, ParameterInfo, Preset};
use bttc_network::Role;
use bttc_types::SecretKey;
use clap::ArgMatches;
use eyre::{Context, bail, eyre};
use std::path::Path;

/// Runs a command.
pub(crate) fn run(cli: Cli, matches: &ArgMatches) -> eyre::Result<()> {
    raise_file_limit();
    let serves = matches!(cli.command, Command::Start(_) | Command::Dev(_) | Command::Relayer(_) | Command::TronSim(_));
    if !serves {
        // `bttc db stats | head` ends with its reader, as other programs do, and not with a panic.
        sigpipe::reset();
    }
    match cli.command {
        Command::Init(args) => init(&args),
        Command::Keys(command) => run_keys(command),
        Command::Start(args) => start(&args.home, &args.password, matches.subcommand_matches("start")),
        Command::Dev(args) => dev::run(&args),
        Command::Genesis(command) => genesis_file::run(command),
        Command::Stake(command) => wallet::run_stake(command),
        Command::Send(command) => wallet::run_send(&command),
        Command::Gov(command) => wallet::run_gov(command),
        Command::Light(command) => wallet::run_light(command),
        Command::Bridge(command) => tools::run_bridge(command),
        Command::Relayer(command) => tools::run_relayer(&command),
        Command::TronSim(args) => tools::run_tron_sim(&args),
        Command::Wal(WalCommand::Dump(args)) => wal_dump(&args),
        Command::Signer(SignerCommand::Export(args)) => signer::export(&args.home),
        Command::Signer(SignerCommand::Import { home, file }) => signer::import(&home.home, &file),
        Command::Db(command) => db(command),
        Command::Config(ConfigCommand::Show(args)) => {
            let flags = matches.subcommand_matches("config").and_then(|matches| matches.subcommand_matches("show"));
            let config = config::load(&Home::new(&args.home).config(), flags).wrap_err(BadSetup)?;
            print!("{}", config.shown()?);
            Ok(())
        }
        Command::Version => {
            println!("{}", crate::version());
            Ok(())
        }
    }
}

/// A database and a thousand clients have more files open than the usual soft limit of 1,024 allows; a node without free descriptors
/// cannot write its log. Where the limit cannot be raised the operator's stands.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_err() {
        logging::say(&format!("the limit of open files cannot be raised above {:?}", limit.current));
    }
}

pub(crate) fn preset(text: &str) -> eyre::Result<Preset> {
    match text {
        "mainnet" => Ok(Preset::Mainnet),
        "donau" => Ok(Preset::Donau),
        "local" => Ok(Preset::Local),
        other => bail!("preset {other:?}: use mainnet, donau or local"),
    }
}

fn init(args: &InitArgs) -> eyre::Result<()> {
    let home = Home::new(&args.home.home);
    let preset = preset(&args.preset)?;
    if home.config().exists() {
        bail!("{} exists already: this home was initialised before", home.config().display());
    }
    let password = keys::password(&args.password, "", true)?;
    std::fs::create_dir_all(home.data())?;
    let mut config = Config::default();
    if args.validator {
        config.node.role = Role::Validator;
    }
    if preset == Preset::Local {
        config.consensus = ConsensusSection::local();
        config.p2p.accept_strangers = true;
    }
    config.state.keep(args.history);
    if let Some(file) = &args.password.password_file {
        config.keys.password_file = std::fs::canonicalize(file)?.display().to_string();
    }
    keys::create(&home, KeyRole::P2p, &password)?;
    if args.validator {
        for role in [KeyRole::Owner, KeyRole::Reporting, KeyRole::Bridge] {
            keys::create(&home, role, &password)?;
        }
        let secret = keys::create(&home, KeyRole::Consensus, &password)?;
        // The key was made this moment, so it has never signed.
        FileGuard::create(&home.guard(), keys::address(&secret)?)?;
    }
    if let Some(file) = &args.genesis {
        let text = std::fs::read_to_string(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
        ChainSpec::from_json(&text)?;
        std::fs::write(home.genesis(), text)?;
    }
    std::fs::write(home.config(), toml::to_string(&config)?)?;
    eprintln!("initialised {}", home.path().display());
    Ok(())
}

fn run_keys(command: KeysCommand) -> eyre::Result<()> {
    match command {
        KeysCommand::Show { home, password } => {
            let (home, password) = unlocked(&home, &password)?;
            let mut shown = serde_json::Map::new();
            for role in KeyRole::ALL {
                if !role.path(&home).exists() {
                    continue;
                }
                let value = match role {
                    KeyRole::P2p => keys::identity(&home, &password)?.public().to_peer_id().to_string(),
                    KeyRole::Consensus | KeyRole::Bridge | KeyRole::Owner | KeyRole::Reporting | KeyRole::Relayer => {
                        keys::address(&keys::load(&home, role, &password)?)?.to_string()
                    }
                };
                shown.insert(role.name().into(), value.into());
            }
            println!("{}", serde_json::to_string_pretty(&shown)?);
            Ok(())
        }
        KeysCommand::New { role, home, password } => {
            let role = KeyRole::parse(&role)?;
            let (home, password) = unlocked(&home, &password)?;
            let secret = keys::create(&home, role, &password)?;
            if role == KeyRole::Consensus {
                FileGuard::create(&home.guard(), keys::address(&secret)?)?;
            }
            eprintln!("created {}", role.path(&home).display());
            Ok(())
        }
        KeysCommand::Import { role, secret_file, home, password } => {
            let role = KeyRole::parse(&role)?;
            let (home, password) = unlocked(&home, &password)?;
            keys::store(&home, role, &keys::read_secret(&secret_file)?, &password)?;
            eprintln!("imported {}", role.path(&home).display());
            if role == KeyRole::Consensus {
                eprintln!("it has no signer guard yet, so the node will not sign: see `bttc keys guard --help`");
            }
            Ok(())
        }
        KeysCommand::Guard { home, password, key_has_never_signed } => {
            if !key_has_never_signed {
                bail!(
                    "a guard for a key that has signed before would let it sign twice, which costs its stake: repeat \
                     with --key-has-never-signed if you are certain"
                );
            }
            let (home, password) = unlocked(&home, &password)?;
            let key = keys::consensus(&home, &password)?.ok_or_else(|| eyre!("the home has no consensus key"))?;
            FileGuard::create(&home.guard(), key.address())?;
            eprintln!("created {}", home.guard().display());
            Ok(())
        }
    }
}

/// A home directory and the password of its keys.
pub(crate) fn unlocked(args: &HomeArgs, password: &crate::cli::PasswordArgs) -> eyre::Result<(Home, String)> {
    let home = Home::new(&args.home);
    let configured = configured_password(&home)?;
    let password = keys::password(password, &configured, false)?;
    Ok((home, password))
}

/// The password file that a home's configuration names, or nothing.
pub(crate) fn configured_password(home: &Home) -> eyre::Result<String> {
    if home.config().exists() { Ok(config::load(&home.config(), None)?.keys.password_file) } else { Ok(String::new()) }
}

/// Reads and checks a genesis file.
pub(crate) fn read_spec(path: &Path) -> eyre::Result<ChainSpec> {
    let text =
        std::fs::read_to_string(path).wrap_err_with(|| format!("cannot read the genesis file {}", path.display()))?;
    ChainSpec::from_json(&text).wrap_err_with(|| path.display().to_string())
}

fn start(args: &HomeArgs, password: &crate::cli::PasswordArgs, flags: Option<&ArgMatches>) -> eyre::Result<()> {
    let setup = set_up(Home::new(&args.home), password, flags).wrap_err(BadSetup)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async move {
        let mut node = node::start(setup).await?;
        let result = node.run().await;
        node.stop().await;
        result
    });
    // Requests that still run on blocking threads must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(3));
    result
}

/// Reads and checks everything that the node is started with, before anything of it runs.
fn set_up(home: Home, password: &crate::cli::PasswordArgs, flags: Option<&ArgMatches>) -> eyre::Result<Setup> {
    if !home.config().exists() {
        bail!("{} does not exist: create a home with `bttc init`", home.config().display());
    }
    let config = config::load(&home.config(), flags)?;
    logging::start(&config.log)?;
    let spec = read_spec(&home.genesis())?;
    let chains = config.bridge.settings()?;
    let password = keys::password(password, &config.keys.password_file, false)?;
    let identity = Some(keys::identity(&home, &password)?);
    let consensus_key = match config.node.role {
        Role::Validator => {
            let key = keys::consensus(&home, &password)?;
            Some(key.ok_or_else(|| {
                eyre!("the role is validator, but there is no consensus key: `bttc keys new consensus`")
            })?)
        }
        Role::Sentry | Role::Full | Role::Seed => None,
    };
    let beneficiary = match config.consensus.beneficiary.as_str() {
        "" if KeyRole::Owner.path(&home).exists() => keys::address(&keys::load(&home, KeyRole::Owner, &password)?)?,
        "" => consensus_key.as_ref().map_or(Address::ZERO, SecretKey::address),
        text => text.parse().wrap_err_with(|| format!("consensus.beneficiary {text:?} is no address"))?,
    };
    let secret = |role: KeyRole| -> eyre::Result<Option<SecretKey>> {
        if !role.path(&home).exists() {
            return Ok(None);
        }
        Ok(Some(SecretKey::from_bytes(&keys::load(&home, role, &password)?)?))
    };
    let reporting_key = secret(KeyRole::Reporting)?;
    let bridge_key = if config.node.role == Role::Validator { secret(KeyRole::Bridge)? } else { None };
    Ok(Setup { config, home, spec, chains, consensus_key, reporting_key, bridge_key, identity, beneficiary })
}

/// A parameter's number and value from `NAME=VALUE`.
pub(crate) fn parameter(text: &str) -> eyre::Result<(u16, u64)> {
    let (name, value) = text.split_once('=').ok_or_else(|| eyre!("{text:?}: write NAME=VALUE"))?;
    let info = ParameterInfo::by_name(name.trim())
        .ok_or_else(|| eyre!("there is no parameter {:?}: `bttc gov params` lists them", name.trim()))?;
    let value = value.trim().replace('_', "");
    let value = value.parse().map_err(|_| eyre!("{value:?} is no value of {}: write a whole number", info.name))?;
    Ok((info.id, value))
}

fn wal_dump(args: &HomeArgs) -> eyre::Result<()> {
    let path = Home::new(&args.home).wal();
    let Some(content) = Wal::read(&path)? else { bail!("{} does not exist", path.display()) };
    println!("height {}, {} records, {} bytes of torn tail", content.height, content.records.len(), content.torn);
    for (index, bytes) in content.records.iter().enumerate() {
        match WalRecord::decode(bytes) {
            Ok(WalRecord::Block(block)) => println!("{index:5} block of {} bytes", block.len()),
            Ok(record) => println!("{index:5} {record:?}"),
            Err(error) => println!("{index:5} unreadable: {error}"),
        }
    }
    Ok(())
}

fn db(command: DbCommand) -> eyre::Result<()> {
    let (DbCommand::Stats(args) | DbCommand::Check(args)) = &command;
    let home = Home::new(&args.home);
    if !home.database().exists() {
        bail!("{} does not exist", home.database().display());
    }
    let store = bttc_state::RocksStore::open(&home.database(), &bttc_state::RocksOptions::default())
        .wrap_err("the database must not be in use: stop the node first")?;
    match command {
        DbCommand::Stats(_) => {
            for (table, bytes, keys) in store.table_sizes()? {
                println!("{:18} {bytes:>14} bytes  about {keys:>10} keys", table.name());
            }
            let state = bttc_state::StateStore::open(std::sync::Arc::new(store), bttc_state::StoreOptions::default())?;
            match state.head() {
                Some(head) => println!("head {} {}, state root {}", head.height, head.hash, head.state_root),
                None => println!("no head"),
            }
            println!("state from height {}, blocks from height {}", state.lowest_state()?, state.lowest_block()?);
        }
        DbCommand::Check(_) => {
            let report = bttc_state::check_full(&store)?;
            println!("{} accounts and {} slots read", report.accounts, report.slots);
            for problem in &report.problems {
                println!("problem: {problem}");
            }
            if !report.problems.is_empty() {
                bail!("{} problems: sync again into an empty data directory", report.problems.len());
            }
            println!("the state matches its root");
        }
    }
    Ok(())
}
