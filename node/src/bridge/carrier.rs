//! What members owe the ledger is sent from here, paid by the home's reporting key: hand-overs, late signatures, and
//! accusations. Everybody with such a key does so, one after the other.

use super::{Bridge, Offence};
use crate::clock;
use crate::gossip::Intake;
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{TransactionInput, TransactionRequest};
use alloy_sol_types::SolCall;
use bttc_bridge_types::{Subject, pack_signatures};
use bttc_executor::simulate::{CallContext, CallError, TRANSACTION_GAS_CAP};
use bttc_genesis::BRIDGE_ADDRESS;
use bttc_modules::bridge::views;
use bttc_modules::interfaces::IBridge;
use bttc_state::StateRead;
use bttc_types::{RecoveredTransaction, SecretKey};
use bttc_watcher::LedgerView;
use eyre::eyre;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked for work.
const LOOK: Duration = Duration::from_secs(1);
/// Between the turns of two carriers.
const TURN_MS: u64 = 2_000;
/// Longest wait for a turn.
const LONGEST_TURN_MS: u64 = 20_000;
/// After an attempt, how long until the next one at the same thing.
const RETRY_MS: u64 = 20_000;
/// How long a certificate is applied before own missing signatures are added: relayers bring most of them.
const LATE_MS: u64 = 2_000;
/// Least tip, wei.
const LEAST_TIP: u64 = 1_000_000_000;

/// Something to be sent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Certify(u64),
    AddSignature(Subject),
    Accuse(Address),
}

/// Sends what members owe.
pub(crate) struct Carrier {
    pub(crate) key: SecretKey,
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) intake: Arc<Intake>,
}

impl Carrier {
    /// Looks for work until the node ends.
    pub(crate) async fn run(self) {
        let carrier = Arc::new(self);
        let mut turns: BTreeMap<Task, u64> = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK).await;
            let worker = Arc::clone(&carrier);
            match tokio::task::spawn_blocking(move || worker.look(turns)).await {
                Ok(next) => turns = next,
                Err(error) => {
                    tracing::error!(%error, "looking for bridge work failed; it is begun anew");
                    turns = BTreeMap::new();
                }
            }
        }
    }

    fn look(&self, mut turns: BTreeMap<Task, u64>) -> BTreeMap<Task, u64> {
        let now = clock::now().mono_ms;
        let Some(view) = self.bridge.view.read().clone() else { return turns };
        let work = match self.work(&view) {
            Ok(work) => work,
            Err(error) => {
                tracing::debug!(%error, "no bridge work can be found now");
                return turns;
            }
        };
        turns.retain(|task, _| work.iter().any(|(other, _)| other == task));
        for (task, input) in work {
            let turn = match task {
                // Nobody else can add our signature.
                Task::AddSignature(_) => 0,
                _ => self.turn_ms(&view),
            };
            let at = *turns.entry(task).or_insert_with(|| now.saturating_add(turn));
            if at > now {
                continue;
            }
            turns.insert(task, now.saturating_add(RETRY_MS));
            match self.send(input) {
                Ok(hash) => tracing::info!(?task, %hash, "sent to the bridge ledger"),
                Err(error) => tracing::debug!(?task, %error, "not sent to the bridge ledger"),
            }
        }
        turns
    }

    fn turn_ms(&self, view: &LedgerView) -> u64 {
        let own = self.bridge.key.as_ref().and_then(|key| view.set.index_of(key.address()));
        own.map_or(LONGEST_TURN_MS, |place| (u64::from(place) * TURN_MS).min(LONGEST_TURN_MS))
    }

    /// What is to be sent now.
    fn work(&self, view: &LedgerView) -> eyre::Result<Vec<(Task, Vec<u8>)>> {
        let mut work = Vec::new();
        if view.next_set != 0
            && let Some(found) = self.hand_over(view)?
        {
            work.push(found);
        }
        self.late_signatures(view, &mut work)?;
        let offences: Vec<(Address, Offence)> = self.bridge.offences.lock().iter().copied().collect();
        for (signer, offence) in offences {
            work.push((Task::Accuse(signer), accusation(offence)));
        }
        let mut finished = Vec::new();
        for (task, _) in &work {
            if let Task::Accuse(signer) = task
                && self.is_accused(*signer)?
            {
                finished.push(*signer);
            }
        }
        work.retain(|(task, _)| !matches!(task, Task::Accuse(signer) if finished.contains(signer)));
        self.bridge.offences.lock().retain(|(signer, _)| !finished.contains(signer));
        Ok(work)
    }

    /// The latest checkpoint by which the set in force hands over, once enough have signed it.
    fn hand_over(&self, view: &LedgerView) -> eyre::Result<Option<(Task, Vec<u8>)>> {
        for (seq, (digest, set)) in view.digests.iter().rev() {
            if *set != view.set.set_id {
                break;
            }
            let next = self.bridge.read(|host| views::checkpoint(host, *seq))?.map_or(0, |(_, _, next)| next);
            if next != view.next_set {
                continue;
            }
            let subject = Subject::Checkpoint { seq: *seq };
            let book = self.bridge.book.lock();
            if let Some(list) = book.certificate(&subject, *digest, &view.set, view.least_signers) {
                let signatures = pack_signatures(&list).into();
                let input = IBridge::certifyCheckpointCall { seq: *seq, signatures }.abi_encode();
                return Ok(Some((Task::Certify(*seq), input)));
            }
        }
        Ok(None)
    }

    /// Own signatures that the carrier of an applied certificate left out.
    fn late_signatures(&self, view: &LedgerView, work: &mut Vec<(Task, Vec<u8>)>) -> eyre::Result<()> {
        let Some(key) = &self.bridge.key else { return Ok(()) };
        for gateway in &view.gateways {
            let at = gateway.at;
            let known = self.bridge.book.lock().attested(key.address(), at, gateway.deposit_nonce);
            for (subject, value) in known {
                let Subject::Deposits { to_nonce, .. } = subject else { continue };
                let found = self.bridge.read(|host| {
                    let (acc, set_id, signers) = views::boundary(host, at, to_nonce)?;
                    let open = views::takes_signatures(host, at, to_nonce, LATE_MS)?;
                    Ok((acc == value && open).then_some((views::set(host, set_id)?, signers)))
                })?;
                let Some((Some(set), signers)) = found else { continue };
                let Some(place) = set.index_of(key.address()) else { continue };
                if signers.bit(usize::from(place)) {
                    continue;
                }
                let list = self.bridge.book.lock().signatures(&subject, value, &set);
                // All that are missing, so that one transaction serves everybody.
                let missing: Vec<_> = list.into_iter().filter(|(index, _)| !signers.bit(usize::from(*index))).collect();
                let input = IBridge::addSignaturesCall {
                    rootChainId: at.root_chain_id,
                    gateway: at.gateway,
                    toNonce: to_nonce,
                    signatures: pack_signatures(&missing).into(),
                };
                work.push((Task::AddSignature(subject), input.abi_encode()));
            }
        }
        Ok(())
    }

    /// Whether a key's validator stands accused, or is out for ever.
    fn is_accused(&self, signer: Address) -> eyre::Result<bool> {
        self.bridge.read(|host| {
            let Some(info) = bttc_modules::staking::views::by_account(host, signer)? else { return Ok(true) };
            let accused = views::accused(host)?.iter().any(|(id, _)| *id == info.id);
            Ok(accused || info.tombstoned)
        })
    }

    /// Sends a call of the ledger, if it works at the head.
    fn send(&self, input: Vec<u8>) -> eyre::Result<B256> {
        let executor = &self.bridge.executor;
        let header = executor.head_header()?;
        let sender = self.key.address();
        let (gas, nonce) = executor.store().view(Some(header.number), |view| -> eyre::Result<(u64, u64)> {
            let call = CallContext {
                state: view,
                header: &header,
                spec: executor.spec(),
                env: executor.env_of(&header, 0),
                code_cache: executor.code_cache(),
                state_overrides: None,
                block_overrides: None,
                gas_cap: TRANSACTION_GAS_CAP,
            };
            let data = TransactionInput::new(Bytes::copy_from_slice(&input));
            let request = TransactionRequest::default().from(sender).to(BRIDGE_ADDRESS).input(data);
            let gas = call.estimate_gas(request).map_err(|error| match error {
                CallError::Reverted(data) => {
                    eyre!("refused: {}", bttc_modules::explain(&data).unwrap_or_else(|| data.to_string()))
                }
                other => eyre!(other),
            })?;
            Ok((gas, view.account(sender)?.map_or(0, |account| account.nonce)))
        })??;
        let base_fee = u128::from(executor.next_base_fee()?);
        let tip = u128::from(LEAST_TIP).max(base_fee / 10);
        let transaction = TxEip1559 {
            chain_id: executor.spec().chain_id(),
            nonce: self.intake.pool.next_nonce(&sender).unwrap_or(nonce),
            gas_limit: gas.saturating_mul(5) / 4,
            max_fee_per_gas: base_fee.saturating_mul(2).saturating_add(tip),
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(BRIDGE_ADDRESS),
            value: U256::ZERO,
            access_list: Default::default(),
            input: input.into(),
        };
        let signed = RecoveredTransaction::recover(crate::wallet::sign(transaction, &self.key))?;
        Ok(self.intake.local(signed)?)
    }
}

/// The call by which an offence is reported.
fn accusation(offence: Offence) -> Vec<u8> {
    let bytes = |signature: &bttc_types::Signature| Bytes::copy_from_slice(signature.as_bytes());
    match offence {
        Offence::Differs(vote) => {
            let Subject::Deposits { at, to_nonce } = vote.subject else { return Vec::new() };
            IBridge::accuseAttestationCall {
                rootChainId: at.root_chain_id,
                gateway: at.gateway,
                toNonce: to_nonce,
                accTo: vote.value,
                signature: bytes(&vote.signature),
            }
            .abi_encode()
        }
        Offence::Contradicts(pair) => {
            let Subject::Deposits { at, to_nonce } = pair.first.subject else { return Vec::new() };
            IBridge::accuseConflictCall {
                rootChainId: at.root_chain_id,
                gateway: at.gateway,
                toNonce: to_nonce,
                accA: pair.first.value,
                signatureA: bytes(&pair.first.signature),
                accB: pair.second.value,
                signatureB: bytes(&pair.second.signature),
            }
            .abi_encode()
        }
    }
}
