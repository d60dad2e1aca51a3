//! Sending on TRON: no numbers, but an end. The same bytes are sent again until they expire; a new transaction is made only
//! when solid time has passed that end and the old one is in no solid block.

use crate::Error;
use crate::sender::{Trial, now_ms, postpone};
use crate::store::{Attempt, Intent, IntentState, Store};
use alloy_primitives::Bytes;
use bttc_root_chains::{ContractCall, TronClient, TronTransaction};
use bttc_types::SecretKey;

/// Energy beyond the trial's, in hundredths.
const MARGIN: u64 = 130;

/// TRON.
#[derive(Debug)]
pub struct TronLane {
    /// Its name.
    pub name: String,
    /// Its endpoint.
    pub client: TronClient,
    /// Who pays.
    pub key: SecretKey,
    /// Most that a transaction may burn, sun.
    pub fee_cap: u64,
    /// How long a transaction may take into a block, milliseconds.
    pub lifetime_ms: u64,
    /// After so long a transaction is sent again, milliseconds.
    pub repeat_ms: u64,
}

impl TronLane {
    pub(crate) async fn try_out(&self, intent: &Intent) -> Result<Trial, Error> {
        let outcome = self.client.simulate(self.key.address(), intent.to, &intent.input, 0).await?;
        Ok(if outcome.success { Trial::Works(outcome.energy) } else { Trial::Reverts(outcome.output) })
    }

    /// Makes a transaction, writes it down, and sends it.
    pub(crate) async fn send(&mut self, intent: &mut Intent, energy: u64, store: &Store) -> Result<(), Error> {
        let (price, most) = self.client.prices().await?;
        let limit = energy.saturating_mul(price).saturating_mul(MARGIN) / 100;
        let call = ContractCall::Trigger {
            owner: self.key.address(),
            contract: intent.to,
            call_value: 0,
            data: intent.input.clone(),
        };
        let limit = limit.min(most).min(self.fee_cap);
        let transaction = self.client.prepare(&call, &self.key, self.lifetime_ms, limit).await?;
        let expiration = transaction.raw_data.as_ref().map_or(0, |raw| raw.expiration.unsigned_abs());
        intent.attempts.push(Attempt {
            hash: transaction.id(),
            raw: Bytes::from(transaction.bytes()),
            nonce: 0,
            max_fee: u128::from(limit),
            tip: 0,
            expiration_ms: expiration,
            made_ms: now_ms(),
        });
        intent.state = IntentState::Submitted;
        intent.error = None;
        intent.updated_ms = now_ms();
        store.put(intent)?;
        if let Err(error) = self.client.broadcast(&transaction).await {
            intent.error = Some(error.to_string());
            store.put(intent)?;
        }
        Ok(())
    }

    /// Looks what became of an intent's transaction.
    pub(crate) async fn check(&mut self, intent: &mut Intent, _: &Store) -> Result<(), Error> {
        let Some(last) = intent.attempts.last().cloned() else { return Ok(()) };
        // The time first: a transaction that is in no block by then will be in none.
        let (_, solid_ms) = self.client.solid_time().await?;
        if let Some(info) = self.client.solid_transaction(last.hash).await? {
            if info.result == "SUCCESS" {
                intent.state = IntentState::Finalized;
                intent.error = None;
            } else {
                intent.attempts.clear();
                postpone(intent, format!("transaction failed with {} in block {}", info.result, info.height));
            }
            return Ok(());
        }
        if let Some(info) = self.client.transaction(last.hash).await? {
            intent.state = IntentState::Included { height: info.height };
            return Ok(());
        }
        intent.state = IntentState::Submitted;
        if solid_ms > last.expiration_ms {
            intent.attempts.clear();
            postpone(intent, "the transaction expired without getting into a block".into());
            return Ok(());
        }
        if now_ms().saturating_sub(last.made_ms) >= self.repeat_ms {
            let transaction = TronTransaction::read(&last.raw)?;
            if let Err(error) = self.client.broadcast(&transaction).await {
                intent.error = Some(error.to_string());
            }
            if let Some(last) = intent.attempts.last_mut() {
                last.made_ms = now_ms();
            }
        }
        Ok(())
    }
}
