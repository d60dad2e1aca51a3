//! Proofs that a validator's keys belong to its owner: made where the keys are, used where the owner is.

use crate::home::Home;
use crate::keys::{self, KeyRole};
use alloy_primitives::{Address, Bytes};
use bttc_executor::genesis_header;
use bttc_modules::staking::{BRIDGE_ROLE, CONSENSUS_ROLE, key_digest};
use bttc_types::{SecretKey, SigningDomain};
use eyre::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A key's address and its signature for an owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyProof {
    /// Address of the key.
    pub(crate) key: Address,
    /// Its signature, 65 bytes.
    pub(crate) proof: Bytes,
}

/// Both keys of a validator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyProofs {
    /// For whom they signed.
    pub(crate) owner: Address,
    /// Signs proposals and votes.
    pub(crate) consensus: KeyProof,
    /// Signs for the bridge.
    pub(crate) bridge: KeyProof,
}

impl KeyProofs {
    /// Signs with the keys of a home. What is signed is computed here, from the home's genesis file: a key that votes signs
    /// nothing that a node asks it to.
    ///
    /// # Errors
    /// When a key or the genesis file is missing.
    pub(crate) fn make(home: &Home, password: &str, owner: Address) -> eyre::Result<Self> {
        let spec = crate::commands::read_spec(&home.genesis()).wrap_err("the proofs are bound to the network")?;
        let domain = SigningDomain::new(spec.chain_id(), genesis_header(&spec)?.hash_slow());
        let prove = |role: KeyRole, number: u8| -> eyre::Result<KeyProof> {
            if !role.path(home).exists() {
                bail!("{} does not exist: `bttc keys new {}`", role.path(home).display(), role.name());
            }
            let key = SecretKey::from_bytes(&keys::load(home, role, password)?)?;
            let signature = key.sign(key_digest(&domain, owner, number));
            Ok(KeyProof { key: key.address(), proof: signature.as_bytes().to_vec().into() })
        };
        let consensus = prove(KeyRole::Consensus, CONSENSUS_ROLE)?;
        let bridge = prove(KeyRole::Bridge, BRIDGE_ROLE)?;
        Ok(Self { owner, consensus, bridge })
    }

    /// Reads what [`Self::make`] gave elsewhere.
    ///
    /// # Errors
    /// When the file is no such thing, or for another owner.
    pub(crate) fn read(path: &Path, owner: Address) -> eyre::Result<Self> {
        let text = std::fs::read_to_string(path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
        let proofs: Self = serde_json::from_str(&text)
            .wrap_err_with(|| format!("{} is not what `bttc stake prove` prints", path.display()))?;
        if proofs.owner != owner {
            bail!("{} was made for the owner {}, the sender is {owner}", path.display(), proofs.owner);
        }
        Ok(proofs)
    }
}
