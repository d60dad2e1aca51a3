//! How far a gateway has been read, and the deposits that the ledger has not applied.

use crate::Error;
use alloy_primitives::B256;
use bttc_bridge_types::GatewayId;
use bttc_root_chains::{BlockRef, DepositLog, GatewayState, Progress};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Applied deposits that are kept, so that certificates can be compared and late signatures made.
const KEPT: usize = 2_048;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    progress: Progress,
    deposits: Vec<DepositLog>,
    halted: Option<String>,
    commands: u64,
}

/// A gateway's reading.
#[derive(Clone, Debug)]
pub struct Follower {
    path: PathBuf,
    saved: Saved,
    /// What the last look saw of the gateway; not kept.
    state: Option<GatewayState>,
}

impl Follower {
    /// Opens the file of a gateway, or begins after a block.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(folder: &Path, at: GatewayId, first_acc: B256, start: u64) -> Result<Self, Error> {
        let path = folder.join(format!("gateway-{}-{:x}.json", at.root_chain_id, at.gateway));
        let saved = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Error::file(&path, format!("damaged ({error}): remove it, and the gateway is read anew"))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let block = BlockRef { height: start, hash: B256::ZERO };
                let progress = Progress { block, nonce: 0, acc: first_acc };
                Saved { progress, deposits: Vec::new(), halted: None, commands: 0 }
            }
            Err(error) => return Err(Error::file(&path, error)),
        };
        Ok(Self { path, saved, state: None })
    }

    /// How far was read.
    pub fn progress(&self) -> &Progress {
        &self.saved.progress
    }

    /// Deposits that are kept, in order.
    pub fn deposits(&self) -> &[DepositLog] {
        &self.saved.deposits
    }

    /// Why the gateway is not attested any more.
    pub fn halted(&self) -> Option<&str> {
        self.saved.halted.as_deref()
    }

    /// Commands that the gateway has carried out, as far as is known.
    pub fn commands_done(&self) -> u64 {
        self.saved.commands
    }

    /// What was seen of the gateway since the start.
    pub fn state(&self) -> Option<&GatewayState> {
        self.state.as_ref()
    }

    /// The running hash after a deposit, as far as it is known.
    pub fn acc_at(&self, nonce: u64) -> Option<B256> {
        if nonce == self.saved.progress.nonce {
            return Some(self.saved.progress.acc);
        }
        let first = self.saved.deposits.first()?.deposit.nonce;
        let index = usize::try_from(nonce.checked_sub(first)?).ok()?;
        self.saved.deposits.get(index).map(|log| log.acc)
    }

    /// Takes in what was read, and keeps it on disk when there is something new.
    ///
    /// # Errors
    /// [`Error::File`]; nothing may be signed of it then.
    pub fn advance(
        &mut self,
        progress: Progress,
        found: Vec<DepositLog>,
        state: GatewayState,
        applied: u64,
    ) -> Result<(), Error> {
        let news = !found.is_empty()
            || state.commands != self.saved.commands
            || progress.block.height >= self.saved.progress.block.height + 100;
        self.saved.deposits.extend(found);
        let spare = self.saved.deposits.iter().take_while(|log| log.deposit.nonce <= applied).count();
        if spare > 2 * KEPT {
            self.saved.deposits.drain(..spare - KEPT);
        }
        self.saved.progress = progress;
        self.saved.commands = state.commands;
        self.state = Some(state);
        if news { self.save() } else { Ok(()) }
    }

    /// Stops attesting the gateway until an operator decides.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn halt(&mut self, reason: String) -> Result<(), Error> {
        self.saved.halted = Some(reason);
        self.save()
    }

    fn save(&self) -> Result<(), Error> {
        let fail = |error: std::io::Error| Error::file(&self.path, error);
        let part = self.path.with_extension("part");
        let bytes = serde_json::to_vec(&self.saved).map_err(|error| Error::file(&self.path, error))?;
        let mut file = std::fs::File::create(&part).map_err(fail)?;
        std::io::Write::write_all(&mut file, &bytes).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        std::fs::rename(&part, &self.path).map_err(fail)
    }
}
