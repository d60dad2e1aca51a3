//! Sends the evidence that the node knows to the staking module, paid by the home's reporting key.
//!
//! Every node with such a key does so, one after the other: whoever finds that the offender was slashed already saves the
//! gas.

use crate::clock;
use crate::gossip::Intake;
use crate::metrics::Metrics;
use crate::shell::EngineView;
use alloy_consensus::{Header, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{TransactionInput, TransactionRequest};
use alloy_sol_types::SolCall;
use bttc_executor::simulate::{CallContext, CallError, TRANSACTION_GAS_CAP};
use bttc_executor::{Executor, ReadHost};
use bttc_genesis::STAKING_ADDRESS;
use bttc_modules::interfaces::IStaking;
use bttc_modules::staking;
use bttc_state::StateRead;
use bttc_types::{Evidence, RecoveredTransaction, SecretKey};
use eyre::eyre;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often the evidence is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Between the turns of two reporters: time for a transaction to become final.
const TURN_MS: u64 = 3_000;
/// Longest wait for a turn.
const LONGEST_TURN_MS: u64 = 30_000;
/// After a transaction, or a refusal: how long until the next attempt.
const RETRY_MS: u64 = 30_000;
/// Pieces of evidence that are tried at one look.
const MOST_TRIES: usize = 32;
/// Least tip of an evidence transaction, wei for each unit of gas.
const LEAST_TIP: u64 = 1_000_000_000;

/// Reports offenders.
pub(crate) struct Reporter {
    /// Pays the gas, and gets the reward.
    pub(crate) key: SecretKey,
    /// Our own validator, which we do not report.
    pub(crate) own: Option<Address>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) view: Arc<RwLock<EngineView>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The latest transaction of a reporter.
#[derive(Clone, Copy)]
struct Sent {
    hash: B256,
    offender: Address,
    nonce: u64,
    max_fee: u128,
    tip: u128,
}

/// What is known between two looks.
#[derive(Default)]
struct Cases {
    /// When each offender's turn is, monotonic milliseconds; nothing once it is slashed.
    offenders: BTreeMap<Address, Option<u64>>,
    /// When a refused piece may be tried again.
    refused: BTreeMap<B256, u64>,
    sent: Option<Sent>,
}

/// What came of an attempt.
enum Outcome {
    /// It is slashed already.
    Slashed,
    /// A transaction is on its way.
    Sent(Sent),
    /// One is already, and dear enough.
    Waiting,
}

impl Reporter {
    /// Looks at the node's evidence until the node ends.
    pub(crate) async fn run(self) {
        let reporter = Arc::new(self);
        let mut cases = Cases::default();
        loop {
            tokio::time::sleep(LOOK).await;
            if reporter.view.read().evidence.is_empty() {
                continue;
            }
            let worker = Arc::clone(&reporter);
            match tokio::task::spawn_blocking(move || worker.look(cases)).await {
                Ok(next) => cases = next,
                // A node that only cannot report goes on making blocks.
                Err(error) => {
                    tracing::error!(%error, "looking at the evidence failed; it is begun anew");
                    cases = Cases::default();
                }
            }
        }
    }

    /// Tries what is due. An offender can make many pieces of evidence against itself that prove nothing to the chain, so one
    /// that is refused does not hold up the next.
    fn look(&self, mut cases: Cases) -> Cases {
        let now = clock::now().mono_ms;
        cases.refused.retain(|_, until| *until > now);
        let known: Vec<Evidence> = self.view.read().evidence.pieces().cloned().collect();
        let mut tries = 0;
        for evidence in known {
            let offender = evidence.validator();
            let turn = *cases.offenders.entry(offender).or_insert_with(|| Some(now.saturating_add(self.turn_ms())));
            let due = turn.is_some_and(|at| at <= now) && !cases.refused.contains_key(&evidence.hash());
            if !due || self.own == Some(offender) || tries >= MOST_TRIES {
                continue;
            }
            tries += 1;
            match self.attempt(&evidence, cases.sent) {
                Ok(Outcome::Slashed) => {
                    cases.offenders.insert(offender, None);
                }
                Ok(Outcome::Waiting) => {
                    cases.offenders.insert(offender, Some(now.saturating_add(RETRY_MS)));
                }
                Ok(Outcome::Sent(sent)) => {
                    cases.sent = Some(sent);
                    cases.offenders.insert(offender, Some(now.saturating_add(RETRY_MS)));
                }
                Err(error) => {
                    tracing::warn!(validator = %offender, height = evidence.height(), %error, "evidence cannot be reported now");
                    cases.refused.insert(evidence.hash(), now.saturating_add(RETRY_MS));
                }
            }
        }
        cases
    }

    /// How long this node lets others go first: by its place in the set.
    fn turn_ms(&self) -> u64 {
        let height = self.executor.store().head().map_or(0, |head| head.height);
        let place = self.executor.validator_set(height.saturating_add(1)).ok().map(|set| {
            let own = set.validators().iter().position(|entry| Some(entry.address) == self.own);
            own.unwrap_or(set.len()) as u64
        });
        place.unwrap_or(0).saturating_mul(TURN_MS).min(LONGEST_TURN_MS)
    }

    /// Reports an offender, unless it is slashed already or a transaction that does so waits.
    fn attempt(&self, evidence: &Evidence, before: Option<Sent>) -> eyre::Result<Outcome> {
        let header = self.executor.head_header()?;
        let reporter = self.key.address();
        let input = IStaking::submitEvidenceCall { evidence: alloy_rlp::encode(evidence).into() }.abi_encode();
        let Some((gas, nonce)) = self.cost(&header, evidence.validator(), &input)? else { return Ok(Outcome::Slashed) };
        let base_fee = u128::from(self.executor.next_base_fee()?);
        let mut tip = u128::from(LEAST_TIP).max(base_fee / 10);
        let mut max_fee = base_fee.saturating_mul(2).saturating_add(tip);
        let mut nonce = self.intake.pool.next_nonce(&reporter).unwrap_or(nonce);
        if let Some(sent) = before.filter(|sent| self.intake.pool.get(&sent.hash).is_some()) {
            // One at a time; and one that has become too cheap is replaced, which costs an eighth more.
            if sent.offender != evidence.validator() || sent.max_fee >= base_fee.saturating_add(sent.tip) {
                return Ok(Outcome::Waiting);
            }
            nonce = sent.nonce;
            tip = tip.max(sent.tip.saturating_mul(9) / 8 + 1);
            max_fee = max_fee.max(sent.max_fee.saturating_mul(9) / 8 + 1).max(tip);
        }
        let transaction = TxEip1559 {
            chain_id: self.executor.spec().chain_id(),
            nonce,
            gas_limit: gas.saturating_mul(5) / 4,
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(STAKING_ADDRESS),
            value: U256::ZERO,
            access_list: Default::default(),
            input: input.into(),
        };
        let signed = RecoveredTransaction::recover(crate::wallet::sign(transaction, &self.key))?;
        let hash = self.intake.local(signed)?;
        self.metrics.evidence_reported.inc();
        tracing::warn!(validator = %evidence.validator(), height = evidence.height(), %hash, "evidence reported");
        Ok(Outcome::Sent(Sent { hash, offender: evidence.validator(), nonce, max_fee, tip }))
    }

    /// Gas of a report at the head, and the reporter's nonce; nothing when the offender is slashed already.
    fn cost(&self, header: &Header, offender: Address, input: &[u8]) -> eyre::Result<Option<(u64, u64)>> {
        let reporter = self.key.address();
        self.executor.store().view(Some(header.number), |view| {
            let env = self.executor.env_of(header, 0);
            let info = staking::views::by_account(&mut ReadHost::new(env.clone(), view), offender);
            if info.map_err(|fault| eyre!("{fault}"))?.is_some_and(|info| info.tombstoned) {
                return Ok(None);
            }
            let call = CallContext {
                state: view,
                header,
                spec: self.executor.spec(),
                env,
                code_cache: self.executor.code_cache(),
                state_overrides: None,
                block_overrides: None,
                gas_cap: TRANSACTION_GAS_CAP,
            };
            let input = TransactionInput::new(Bytes::copy_from_slice(input));
            let request = TransactionRequest::default().from(reporter).to(STAKING_ADDRESS).input(input);
            let gas = call.estimate_gas(request).map_err(|error| match error {
                CallError::Reverted(data) => {
                    eyre!("refused: {}", bttc_modules::explain(&data).unwrap_or_else(|| data.to_string()))
                }
                other => eyre!(other),
            })?;
            let nonce = view.account(reporter)?.map_or(0, |account| account.nonce);
            Ok(Some((gas, nonce)))
        })?
    }
}
