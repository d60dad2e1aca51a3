//! Keys at rest: Web3 keystore v3 files, one a role.

use crate::cli::PasswordArgs;
use crate::home::Home;
use alloy_primitives::{Address, hex};
use bttc_network::Keypair;
use bttc_types::SecretKey;
use eyre::{Context, bail, eyre};
use k256::elliptic_curve::rand_core::{OsRng, RngCore};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What keys are for. Separate, so that the one that is online all the time can lose the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRole {
    /// Signs proposals and votes.
    Consensus,
    /// Signs for the bridge.
    Bridge,
    /// Owns the stake; best kept elsewhere.
    Owner,
    /// Pays the gas of evidence.
    Reporting,
    /// Pays the gas of a relayer, here and on root chains.
    Relayer,
    /// The node's identity (ed25519).
    P2p,
}

impl KeyRole {
    pub(crate) const ALL: [Self; 6] =
        [Self::Consensus, Self::Bridge, Self::Owner, Self::Reporting, Self::Relayer, Self::P2p];

    pub(crate) fn parse(text: &str) -> eyre::Result<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| eyre!("key role {text:?}: use consensus, bridge, owner, reporting, relayer or p2p"))
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Bridge => "bridge",
            Self::Owner => "owner",
            Self::Reporting => "reporting",
            Self::Relayer => "relayer",
            Self::P2p => "p2p",
        }
    }

    pub(crate) fn path(self, home: &Home) -> PathBuf {
        home.keys().join(format!("{}.json", self.name()))
    }
}

/// Where the password comes from: a descriptor, a file, or the terminal.
pub(crate) fn password(args: &PasswordArgs, configured: &str, confirm: bool) -> eyre::Result<String> {
    if let Some(descriptor) = args.password_fd {
        return from_descriptor(descriptor);
    }
    let file = args.password_file.clone().or_else(|| (!configured.is_empty()).then(|| PathBuf::from(configured)));
    if let Some(file) = file {
        let text = std::fs::read_to_string(&file)
            .wrap_err_with(|| format!("cannot read the password file {}", file.display()))?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    if !std::io::stdin().is_terminal() {
        bail!("no password: name a file with --password-file or keys.password_file, or run this on a terminal");
    }
    let password = rpassword::prompt_password("Password of the keys: ")?;
    if confirm && rpassword::prompt_password("Again: ")? != password {
        bail!("the two passwords differ");
    }
    Ok(password)
}

fn from_descriptor(descriptor: u32) -> eyre::Result<String> {
    let text = std::fs::read_to_string(format!("/dev/fd/{descriptor}"))
        .wrap_err_with(|| format!("cannot read the password from descriptor {descriptor}"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// 32 random bytes that name something.
pub(crate) fn random_id() -> alloy_primitives::B256 {
    let mut bytes = [0u8; 32];
    OsRng.fill_bytes(&mut bytes);
    bytes.into()
}

/// Creates a key that is not there yet.
pub(crate) fn create(home: &Home, role: KeyRole, password: &str) -> eyre::Result<[u8; 32]> {
    let secret = loop {
        let mut secret = [0u8; 32];
        OsRng.fill_bytes(&mut secret);
        if SecretKey::from_bytes(&secret).is_ok() {
            break secret;
        }
    };
    store(home, role, &secret, password)?;
    Ok(secret)
}

/// Writes a key; an existing one is never replaced.
pub(crate) fn store(home: &Home, role: KeyRole, secret: &[u8; 32], password: &str) -> eyre::Result<()> {
    let path = role.path(home);
    if path.exists() {
        bail!("{} exists already and is not replaced: move it away first if that is what you want", path.display());
    }
    std::fs::create_dir_all(home.keys())?;
    private(&home.keys(), 0o700)?;
    let name = format!("{}.json", role.name());
    eth_keystore::encrypt_key(home.keys(), &mut OsRng, secret, password, Some(&name))
        .wrap_err_with(|| format!("cannot write {}", path.display()))?;
    private(&path, 0o600)
}

fn private(path: &Path, mode: u32) -> eyre::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .wrap_err_with(|| format!("cannot restrict {}", path.display()))
}

/// Reads a key's 32 bytes.
pub(crate) fn load(home: &Home, role: KeyRole, password: &str) -> eyre::Result<[u8; 32]> {
    load_file(&role.path(home), password)
}

/// Reads the 32 bytes of a keystore file.
pub(crate) fn load_file(path: &Path, password: &str) -> eyre::Result<[u8; 32]> {
    let bytes = eth_keystore::decrypt_key(path, password)
        .map_err(|error| eyre!("{error}"))
        .wrap_err_with(|| format!("cannot open the key {}: is the password right?", path.display()))?;
    bytes.try_into().map_err(|_| eyre!("{} does not hold 32 bytes", path.display()))
}

/// The consensus key, if the home has one.
pub(crate) fn consensus(home: &Home, password: &str) -> eyre::Result<Option<SecretKey>> {
    if !KeyRole::Consensus.path(home).exists() {
        return Ok(None);
    }
    Ok(Some(SecretKey::from_bytes(&load(home, KeyRole::Consensus, password)?)?))
}

/// The node's identity.
pub(crate) fn identity(home: &Home, password: &str) -> eyre::Result<Keypair> {
    let mut secret = load(home, KeyRole::P2p, password)?;
    Keypair::ed25519_from_bytes(&mut secret).wrap_err("the p2p key is not an ed25519 secret")
}

/// A key's address.
pub(crate) fn address(secret: &[u8; 32]) -> eyre::Result<Address> {
    Ok(SecretKey::from_bytes(secret)?.address())
}

/// Reads 32 bytes in hex from a file.
pub(crate) fn read_secret(path: &Path) -> eyre::Result<[u8; 32]> {
    let text = std::fs::read_to_string(path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    let bytes = hex::decode(text.trim()).wrap_err_with(|| format!("{} is not hex", path.display()))?;
    bytes.try_into().map_err(|_| eyre!("{} does not hold 32 bytes", path.display()))
}
