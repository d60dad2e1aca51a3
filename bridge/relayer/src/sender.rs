//! From an intent to a transaction in a final block, whatever happens in between.

use crate::Error;
use crate::evm::EvmLane;
use crate::store::{Intent, IntentState, Store};
use crate::tron::TronLane;
use alloy_primitives::{Address, Bytes, U256};
use std::time::{SystemTime, UNIX_EPOCH};

/// Transactions of one chain that are on their way at a time.
pub(crate) const OUTSTANDING: usize = 16;
/// First wait after a failure, milliseconds; it doubles.
const FIRST_WAIT_MS: u64 = 1_000;
/// Longest wait after a failure, milliseconds.
const LONGEST_WAIT_MS: u64 = 60_000;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// A chain on which intents are carried out.
#[derive(Debug)]
pub enum Lane {
    /// Ethereum, BNB Chain, BTTC.
    Evm(EvmLane),
    /// TRON.
    Tron(TronLane),
}

/// What trying a call showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// It works, with this much gas or energy.
    Works(u64),
    /// It reverts with this data.
    Reverts(Bytes),
}

impl Lane {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Evm(lane) => &lane.name,
            Self::Tron(lane) => &lane.name,
        }
    }

    /// The account that pays.
    pub fn account(&self) -> Address {
        match self {
            Self::Evm(lane) => lane.key.address(),
            Self::Tron(lane) => lane.key.address(),
        }
    }

    /// What the account has.
    ///
    /// # Errors
    /// The chain's.
    pub async fn balance(&self) -> Result<U256, Error> {
        Ok(match self {
            Self::Evm(lane) => lane.client.balance(lane.key.address()).await?,
            Self::Tron(lane) => lane.client.balance(lane.key.address()).await?,
        })
    }

    /// Brings intents of this chain on: looks what became of those on their way, then sends waiting ones, old and new in
    /// turn, so that a backlog does not starve fresh work.
    ///
    /// # Errors
    /// The store's. What goes wrong on the chain is noted with the intent.
    pub async fn advance(&mut self, store: &Store) -> Result<(), Error> {
        let mut open: Vec<Intent> =
            store.open_intents()?.into_iter().filter(|intent| intent.lane == self.name()).collect();
        open.sort_by_key(|intent| intent.created_ms);
        let mut outstanding = 0usize;
        for intent in open.iter_mut().filter(|intent| !intent.attempts.is_empty()) {
            let before = intent.clone();
            let result = match self {
                Self::Evm(lane) => lane.check(intent, store).await,
                Self::Tron(lane) => lane.check(intent, store).await,
            };
            if let Err(error) = result {
                match error {
                    Error::Store { .. } => return Err(error),
                    other => intent.error = Some(other.to_string()),
                }
            }
            if *intent != before {
                intent.updated_ms = now_ms();
                store.put(intent)?;
            }
            outstanding += usize::from(intent.state == IntentState::Submitted);
        }
        let now = now_ms();
        let mut waiting: Vec<Intent> = open
            .into_iter()
            .filter(|intent| intent.state == IntentState::Building && intent.not_before_ms <= now)
            .collect();
        let mut oldest_next = true;
        while outstanding < OUTSTANDING && !waiting.is_empty() {
            let mut intent =
                if oldest_next { waiting.remove(0) } else { waiting.pop().unwrap_or_else(|| waiting.remove(0)) };
            oldest_next = !oldest_next;
            match self.start(&mut intent, store).await {
                Ok(true) => outstanding += 1,
                Ok(false) => {}
                Err(error @ Error::Store { .. }) => return Err(error),
                Err(error) => {
                    // The chain does not answer: the others would fare the same.
                    intent.error = Some(error.to_string());
                    store.put(&intent)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tries an intent and sends it; whether a transaction is on its way.
    async fn start(&mut self, intent: &mut Intent, store: &Store) -> Result<bool, Error> {
        let trial = match self {
            Self::Evm(lane) => lane.try_out(intent).await?,
            Self::Tron(lane) => lane.try_out(intent).await?,
        };
        let amount = match trial {
            Trial::Works(amount) => amount,
            Trial::Reverts(data) => {
                match refusal(&data) {
                    Refusal::Done(reason) => intent.state = IntentState::Superseded { reason: reason.to_owned() },
                    Refusal::Stale => return store.forget(&intent.id).map(|()| false),
                    Refusal::Later(reason) => postpone(intent, reason),
                }
                intent.updated_ms = now_ms();
                store.put(intent)?;
                return Ok(false);
            }
        };
        match self {
            Self::Evm(lane) => lane.send(intent, amount, store).await?,
            Self::Tron(lane) => lane.send(intent, amount, store).await?,
        }
        Ok(true)
    }
}

/// Lets an intent wait, longer each time.
pub(crate) fn postpone(intent: &mut Intent, reason: String) {
    let wait = FIRST_WAIT_MS.saturating_mul(1 << intent.failures.min(6)).min(LONGEST_WAIT_MS);
    intent.failures = intent.failures.saturating_add(1);
    intent.not_before_ms = now_ms() + wait;
    intent.error = Some(reason);
    intent.state = IntentState::Building;
}

/// What a revert means for an intent.
pub(crate) enum Refusal {
    /// It was done by somebody else.
    Done(&'static str),
    /// It was built for a state that has passed: build it anew.
    Stale,
    /// It may work later.
    Later(String),
}

fn refusal(data: &[u8]) -> Refusal {
    use crate::abi::IBridge::IBridgeErrors;
    use alloy_sol_types::SolInterface;
    use bttc_root_chains::contracts::EvmGateway::EvmGatewayErrors as Gateway;
    if let Ok(error) = Gateway::abi_decode(data) {
        return match error {
            Gateway::AlreadyClaimed(_) => Refusal::Done("claimed already"),
            Gateway::NothingPending(_) => Refusal::Done("paid already"),
            Gateway::BadSequence(found) if found.got <= found.last => Refusal::Done("a later one is there"),
            Gateway::UnknownRoot(_) | Gateway::UnknownSet(_) => Refusal::Stale,
            other => Refusal::Later(format!("the gateway refuses: {other:?}")),
        };
    }
    if let Ok(error) = IBridgeErrors::abi_decode(data) {
        return match error {
            // The cursor has moved, or the set has changed: whatever is certified now is looked up anew.
            IBridgeErrors::BadCertificate(_) => Refusal::Stale,
            IBridgeErrors::NoHandOver(_) => Refusal::Done("handed over already"),
            other => Refusal::Later(format!("the ledger refuses: {other:?}")),
        };
    }
    Refusal::Later(format!("reverted with {}", alloy_primitives::hex::encode_prefixed(data)))
}
