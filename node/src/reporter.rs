//! Sends the evidence that the node knows to the staking module, paid by the home's reporting key.
//!
//! Every node with such a key does so, one after the other: whoever finds that the offender was slashed already saves the
//! gas.

use crate::clock;
use crate::gossip::Intake;
use crate::metrics::Metrics;
use crate::shell::EngineView;
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, Bytes, TxKind, U256};
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
/// Tip of an evidence transaction, wei for each unit of gas.
const TIP: u64 = 1_000_000_000;

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

/// What was done about an offender.
#[derive(Clone, Copy)]
enum Case {
    /// Monotonic milliseconds of the next attempt.
    Open(u64),
    /// It is slashed.
    Closed,
}

impl Reporter {
    /// Looks at the node's evidence until the node ends.
    pub(crate) async fn run(self) {
        let reporter = Arc::new(self);
        let mut cases: BTreeMap<Address, Case> = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK).await;
            // One piece for each offender is enough: it is slashed once.
            let mut offenders: BTreeMap<Address, Evidence> = BTreeMap::new();
            for evidence in &reporter.view.read().evidence {
                offenders.entry(evidence.validator()).or_insert_with(|| evidence.clone());
            }
            for (validator, evidence) in offenders {
                let now = clock::now().mono_ms;
                let case =
                    *cases.entry(validator).or_insert_with(|| Case::Open(now.saturating_add(reporter.turn_ms())));
                let due = matches!(case, Case::Open(at) if at <= now);
                if !due || reporter.own == Some(validator) {
                    continue;
                }
                let worker = Arc::clone(&reporter);
                let next = match tokio::task::spawn_blocking(move || worker.attempt(&evidence)).await {
                    Ok(Ok(true)) => Case::Closed,
                    Ok(Ok(false)) => Case::Open(now.saturating_add(RETRY_MS)),
                    Ok(Err(error)) => {
                        tracing::warn!(%validator, %error, "evidence cannot be reported now; it is tried again");
                        Case::Open(now.saturating_add(RETRY_MS))
                    }
                    Err(_) => return,
                };
                cases.insert(validator, next);
            }
        }
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

    /// Reports an offender; true when it is slashed already.
    fn attempt(&self, evidence: &Evidence) -> eyre::Result<bool> {
        let header = self.executor.head_header()?;
        let reporter = self.key.address();
        let input = IStaking::submitEvidenceCall { evidence: alloy_rlp::encode(evidence).into() }.abi_encode();
        let needed = self.executor.store().view(Some(header.number), |view| {
            let env = self.executor.env_of(&header, 0);
            let offender = staking::views::by_account(&mut ReadHost::new(env.clone(), view), evidence.validator());
            if offender.map_err(|fault| eyre!("{fault}"))?.is_some_and(|info| info.tombstoned) {
                return Ok(None);
            }
            let call = CallContext {
                state: view,
                header: &header,
                spec: self.executor.spec(),
                env,
                code_cache: self.executor.code_cache(),
                state_overrides: None,
                block_overrides: None,
                gas_cap: TRANSACTION_GAS_CAP,
            };
            let request = TransactionRequest::default()
                .from(reporter)
                .to(STAKING_ADDRESS)
                .input(TransactionInput::new(Bytes::from(input.clone())));
            let gas = call.estimate_gas(request).map_err(|error| match error {
                CallError::Reverted(data) => {
                    eyre!("refused: {}", bttc_modules::explain(&data).unwrap_or_else(|| data.to_string()))
                }
                other => eyre!(other),
            })?;
            let nonce = view.account(reporter)?.map_or(0, |account| account.nonce);
            Ok::<_, eyre::Report>(Some((gas, nonce)))
        })??;
        let Some((gas, nonce)) = needed else { return Ok(true) };
        let base_fee = self.executor.next_base_fee()?;
        let transaction = TxEip1559 {
            chain_id: self.executor.spec().chain_id(),
            nonce: self.intake.pool.next_nonce(&reporter).unwrap_or(nonce),
            gas_limit: gas.saturating_mul(5) / 4,
            max_fee_per_gas: u128::from(base_fee.saturating_mul(2).saturating_add(TIP)),
            max_priority_fee_per_gas: u128::from(TIP),
            to: TxKind::Call(STAKING_ADDRESS),
            value: U256::ZERO,
            access_list: Default::default(),
            input: input.into(),
        };
        let signed = RecoveredTransaction::recover(crate::wallet::sign(transaction, &self.key))?;
        let hash = self.intake.local(signed)?;
        self.metrics.evidence_reported.inc();
        tracing::warn!(validator = %evidence.validator(), height = evidence.height(), %hash, "evidence reported");
        Ok(false)
    }
}
