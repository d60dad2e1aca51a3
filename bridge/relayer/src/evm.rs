//! Sending on chains with Ethereum's transactions: numbers, fees that rise, every hash kept until one is final.

use crate::Error;
use crate::sender::{Trial, now_ms, postpone};
use crate::store::{Attempt, Intent, IntentState, Store};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, TxKind, U256};
use bttc_root_chains::{Error as ChainError, EvmClient, Fees};
use bttc_types::SecretKey;

/// Gas beyond the estimate, in hundredths.
const MARGIN: u64 = 120;

/// A chain with Ethereum's transactions.
#[derive(Debug)]
pub struct EvmLane {
    /// Its name.
    pub name: String,
    /// Its endpoint.
    pub client: EvmClient,
    /// Its id.
    pub chain_id: u64,
    /// Who pays.
    pub key: SecretKey,
    /// Least tip, wei.
    pub least_tip: u128,
    /// Most that a unit of gas may cost, wei.
    pub fee_cap: u128,
    /// Most gas of a transaction.
    pub gas_cap: u64,
    /// After so long a transaction that is not in a block gets a higher fee, milliseconds.
    pub bump_ms: u64,
    /// The number of the next transaction, once it is known.
    pub next_nonce: Option<u64>,
}

/// Revert data of a failed call, if that is what it was.
fn reverted(error: &ChainError) -> Option<Bytes> {
    match error {
        ChainError::Refused { data: Some(data), .. } => Some(data.clone()),
        ChainError::Refused { code: 3, .. } => Some(Bytes::new()),
        _ => None,
    }
}

impl EvmLane {
    pub(crate) async fn try_out(&self, intent: &Intent) -> Result<Trial, Error> {
        let sender = self.key.address();
        match self.client.estimate(sender, Some(intent.to), U256::ZERO, &intent.input).await {
            Ok(gas) => Ok(Trial::Works((gas.saturating_mul(MARGIN) / 100).min(self.gas_cap))),
            Err(error) => match reverted(&error) {
                Some(data) => Ok(Trial::Reverts(data)),
                None => Err(error.into()),
            },
        }
    }

    fn attempt(&self, intent: &Intent, nonce: u64, gas: u64, fees: Fees) -> Attempt {
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: gas,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip,
            to: TxKind::Call(intent.to),
            value: U256::ZERO,
            access_list: Default::default(),
            input: intent.input.clone(),
        };
        let signature = self.key.sign(transaction.signature_hash());
        let (rs, v) = signature.as_bytes().split_at(64);
        let signature = alloy_primitives::Signature::from_bytes_and_parity(rs, v == [1]);
        let signed = transaction.into_signed(signature);
        let hash = *signed.hash();
        let raw = alloy_consensus::TxEnvelope::Eip1559(signed).encoded_2718().into();
        Attempt { hash, raw, nonce, max_fee: fees.max_fee, tip: fees.tip, expiration_ms: gas, made_ms: now_ms() }
    }

    /// Makes a transaction, writes it down, and sends it.
    pub(crate) async fn send(&mut self, intent: &mut Intent, gas: u64, store: &Store) -> Result<(), Error> {
        let sender = self.key.address();
        let nonce = match self.next_nonce {
            Some(nonce) => nonce,
            None => {
                // What is on its way has its numbers; the chain may not know of it (any more).
                let chain = self.client.nonce(sender, "latest").await?;
                let own = store
                    .open_intents()?
                    .iter()
                    .filter(|other| other.lane == self.name && other.state == IntentState::Submitted)
                    .filter_map(|other| other.attempts.last().map(|attempt| attempt.nonce + 1))
                    .max();
                chain.max(own.unwrap_or(0))
            }
        };
        let mut fees = self.client.fees(self.least_tip).await?;
        fees.max_fee = fees.max_fee.min(self.fee_cap);
        fees.tip = fees.tip.min(fees.max_fee);
        let attempt = self.attempt(intent, nonce, gas, fees);
        let raw = attempt.raw.clone();
        intent.attempts.push(attempt);
        intent.state = IntentState::Submitted;
        intent.error = None;
        intent.updated_ms = now_ms();
        store.put(intent)?;
        self.next_nonce = Some(nonce + 1);
        if let Err(error) = self.client.send(&raw).await {
            // It is written down and is sent again.
            intent.error = Some(error.to_string());
            store.put(intent)?;
        }
        Ok(())
    }

    /// Looks what became of an intent's transactions.
    pub(crate) async fn check(&mut self, intent: &mut Intent, store: &Store) -> Result<(), Error> {
        for attempt in intent.attempts.iter().rev() {
            let Some(receipt) = self.client.receipt(attempt.hash).await? else { continue };
            let height: u64 = receipt.block_number.to();
            if receipt.status.is_zero() {
                // Somebody was faster, or the state changed under it; the next trial tells.
                intent.attempts.clear();
                postpone(intent, format!("transaction {} reverted in block {height}", attempt_hash(&receipt)));
                return Ok(());
            }
            let finalized = self.client.finalized().await?.height;
            intent.state = if height <= finalized { IntentState::Finalized } else { IntentState::Included { height } };
            intent.error = None;
            return Ok(());
        }
        let Some(last) = intent.attempts.last().cloned() else { return Ok(()) };
        // Not in a block (any more).
        intent.state = IntentState::Submitted;
        let settled = self.client.nonce(self.key.address(), "latest").await?;
        if settled > last.nonce {
            // The block with its receipt may have come between the two looks.
            for attempt in &intent.attempts {
                if self.client.receipt(attempt.hash).await?.is_some() {
                    return Ok(());
                }
            }
            tracing::error!(chain = %self.name, nonce = last.nonce, "another program uses the relayer's key: its number is taken");
            intent.attempts.clear();
            self.next_nonce = None;
            postpone(intent, format!("number {} was used by another transaction", last.nonce));
            return Ok(());
        }
        if now_ms().saturating_sub(last.made_ms) < self.bump_ms {
            return Ok(());
        }
        // Sent again with an eighth more, up to the cap; the same bytes where the cap is reached.
        let current = self.client.fees(self.least_tip).await?;
        let fees = Fees {
            max_fee: (last.max_fee.saturating_mul(9) / 8 + 1).max(current.max_fee).min(self.fee_cap),
            tip: (last.tip.saturating_mul(9) / 8 + 1).max(current.tip).min(self.fee_cap),
        };
        let raw = if fees.max_fee > last.max_fee && fees.tip > last.tip {
            let attempt = self.attempt(intent, last.nonce, last.expiration_ms, fees);
            let raw = attempt.raw.clone();
            intent.attempts.push(attempt);
            store.put(intent)?;
            raw
        } else {
            last.raw.clone()
        };
        if let Err(error) = self.client.send(&raw).await {
            intent.error = Some(error.to_string());
        }
        if let Some(last) = intent.attempts.last_mut() {
            last.made_ms = now_ms();
        }
        Ok(())
    }
}

fn attempt_hash(receipt: &bttc_root_chains::Receipt) -> String {
    format!("with {} gas", receipt.gas_used)
}
