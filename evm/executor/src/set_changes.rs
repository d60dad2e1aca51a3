//! Records of set changes: made at the end of each epoch, kept for ever, so that anybody can follow the sets from the
//! genesis block on.

use crate::Error;
use crate::executor::Executor;
use crate::modules::{ReadHost, hook_error};
use alloy_consensus::Header;
use alloy_rlp::Decodable;
use bttc_genesis::{NEXT_SET_SLOT, STAKING_ADDRESS, SetChange};
use bttc_modules::staking;
use bttc_types::{Certificate, ValidatorSet};

/// A set that is computed in one epoch is in force two later.
const DELAY_EPOCHS: u64 = 2;

impl Executor {
    /// The record of the change to the set of an epoch, if it is there: epochs 0 and 1 have the genesis set.
    ///
    /// # Errors
    /// The store's.
    pub fn set_change(&self, epoch: u64) -> Result<Option<SetChange>, Error> {
        let Some(bytes) = self.store().set_change(epoch)? else { return Ok(None) };
        let change = SetChange::decode(&mut bytes.as_slice()).map_err(|error| bttc_state::Error::Corrupt {
            table: "set_changes",
            key: epoch.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Some(change))
    }

    /// The set of an epoch by its record.
    pub(crate) fn recorded_set(&self, epoch: u64) -> Result<Option<ValidatorSet>, Error> {
        if epoch < DELAY_EPOCHS {
            return Ok(Some(self.spec().genesis_set()?));
        }
        let Some(change) = self.set_change(epoch)? else { return Ok(None) };
        let set = ValidatorSet::new(change.validators).map_err(|error| bttc_state::Error::Corrupt {
            table: "set_changes",
            key: epoch.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Some(set))
    }

    /// After the commit of an epoch's last block, which is the head: keeps the proof of the set that it fixed.
    pub(crate) fn record_set_change(&self, header: &Header, certificate: &Certificate) -> Result<(), Error> {
        let blocks = self.spec().bttc.params.epoch_blocks;
        if header.number == 0 || !header.number.is_multiple_of(blocks) {
            return Ok(());
        }
        let epoch = self.spec().epoch(header.number) + DELAY_EPOCHS;
        let change = self.store().view(Some(header.number), |view| {
            let mut host = ReadHost::new(self.env_of(header, 0), view);
            let set = staking::validator_set(&mut host, epoch)
                .map_err(hook_error(header.number))?
                .ok_or(Error::NoSet { epoch })?;
            let window = self.store().proof_window();
            let (account, account_proof, storage) = view.prove(STAKING_ADDRESS, &[NEXT_SET_SLOT], window)?;
            Ok::<_, Error>(SetChange {
                header: header.clone(),
                certificate: certificate.clone(),
                validators: set.validators().to_vec(),
                account: alloy_rlp::encode(account.unwrap_or_default()).into(),
                account_proof: account_proof.nodes,
                storage_proof: storage.into_iter().next().map(|proof| proof.nodes).unwrap_or_default(),
            })
        })??;
        self.store().put_set_change(epoch, &alloy_rlp::encode(change))?;
        Ok(())
    }

    /// At the start: a process that died between a commit and the record of its set change left the record out.
    pub(crate) fn complete_set_changes(&self) -> Result<(), Error> {
        let blocks = self.spec().bttc.params.epoch_blocks;
        let head = self.head_header()?.number;
        let last = head - head % blocks;
        if last == 0 || self.store().set_change(self.spec().epoch(last) + DELAY_EPOCHS)?.is_some() {
            return Ok(());
        }
        let (Some(header), Some(certificate)) = (self.store().header(last)?, self.store().certificate(last)?) else {
            // A node that joined by a snapshot gets the records with it.
            return Ok(());
        };
        match self.record_set_change(&header, &certificate) {
            Err(Error::Store(
                error @ (bttc_state::Error::StateUnavailable { .. } | bttc_state::Error::ProofUnavailable { .. }),
            )) => {
                tracing::warn!(%error, height = last, "the proof of a set change cannot be made any more");
                Ok(())
            }
            result => result,
        }
    }
}
