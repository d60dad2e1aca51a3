//! `bttc signer`: takes a key's last signature from one machine to another, so that the key never signs twice.

use crate::home::Home;
use alloy_primitives::{Address, B256};
use bttc_engine::{FileGuard, Guard, LastSigned, Step};
use bttc_executor::genesis_header;
use bttc_genesis::ChainSpec;
use eyre::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name and version of the format.
const FORMAT: &str = "bttc-signer-1";

/// The interchange file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Interchange {
    format: String,
    genesis_hash: B256,
    keys: Vec<Entry>,
}

/// A key and what it signed last; null when it has never signed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    address: Address,
    last_signed: Option<Signed>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Signed {
    height: u64,
    round: u32,
    step: StepName,
    digest: B256,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StepName {
    Proposal,
    Prevote,
    Precommit,
}

fn genesis_hash(home: &Home) -> eyre::Result<B256> {
    let path = home.genesis();
    let text = std::fs::read_to_string(&path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    Ok(genesis_header(&ChainSpec::from_json(&text)?)?.hash_slow())
}

/// Prints the interchange file of a stopped node.
pub(crate) fn export(home: &Path) -> eyre::Result<()> {
    let home = Home::new(home);
    let path = home.guard();
    let address = FileGuard::key_of(&path)?;
    // Opening locks it: nothing can be signed between the export and the end of this command.
    let guard = FileGuard::open(&path, address)?;
    let last_signed = guard.last().map(|last| Signed {
        height: last.height,
        round: last.round,
        step: match last.step {
            Step::Proposal => StepName::Proposal,
            Step::Prevote => StepName::Prevote,
            Step::Precommit => StepName::Precommit,
        },
        digest: last.digest,
    });
    let file = Interchange {
        format: FORMAT.into(),
        genesis_hash: genesis_hash(&home)?,
        keys: vec![Entry { address, last_signed }],
    };
    println!("{}", serde_json::to_string_pretty(&file)?);
    eprintln!("Do not start the node with this key here again: from now on it may sign elsewhere.");
    Ok(())
}

/// Creates or raises the guard of this home from an interchange file.
pub(crate) fn import(home: &Path, file: &Path) -> eyre::Result<()> {
    let home = Home::new(home);
    /// An interchange file has a few hundred bytes.
    const MOST: u64 = 64 << 10;
    let length = std::fs::metadata(file).wrap_err_with(|| format!("cannot read {}", file.display()))?.len();
    if length > MOST {
        bail!("{} has {length} bytes: that is no signer interchange file", file.display());
    }
    let text = std::fs::read_to_string(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
    let parsed: Interchange =
        serde_json::from_str(&text).wrap_err_with(|| format!("{} is no signer interchange file", file.display()))?;
    if parsed.format != FORMAT {
        bail!("{} has format {:?}; this program knows {FORMAT:?}", file.display(), parsed.format);
    }
    let ours = genesis_hash(&home)?;
    if parsed.genesis_hash != ours {
        bail!("{} is for the network with genesis {}, this home is for {ours}", file.display(), parsed.genesis_hash);
    }
    let [entry] = parsed.keys.as_slice() else {
        bail!("{} holds {} keys; a home has one consensus key", file.display(), parsed.keys.len());
    };
    let last = entry.last_signed.as_ref().map(|signed| LastSigned {
        height: signed.height,
        round: signed.round,
        step: match signed.step {
            StepName::Proposal => Step::Proposal,
            StepName::Prevote => Step::Prevote,
            StepName::Precommit => Step::Precommit,
        },
        digest: signed.digest,
    });
    FileGuard::import(&home.guard(), entry.address, last)?;
    match last {
        Some(last) => println!("the guard of {} stands at {last}; the node listens before it signs", entry.address),
        None => println!("the guard of {} is fresh: the key has never signed", entry.address),
    }
    Ok(())
}
