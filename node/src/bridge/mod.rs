//! The bridge in a node: root chains are followed, what is seen and what the ledger says is signed, and everybody's
//! signatures are collected and served.
//!
//! `chains.rs` reads root chains, `signing.rs` signs and takes in votes, `carrier.rs` sends what members owe the ledger,
//! `settings.rs` reads the configuration. Nothing here is waited for by consensus.

mod carrier;
mod chains;
mod settings;
mod signing;

pub(crate) use carrier::Carrier;
pub(crate) use settings::{ChainSettings, chain_settings, node_address, shown as shown_chain, split_chains};
pub(crate) use signing::BridgeEvent;

use crate::home::Home;
use crate::metrics::Metrics;
use alloy_primitives::{Address, B256};
use bttc_bridge_types::{BridgeSet, BridgeVote, GatewayId, Subject};
use bttc_executor::{Executor, ReadHost};
use bttc_modules::bridge::views;
use bttc_modules::{Fault, Host};
use bttc_network::NetworkHandle;
use bttc_node::UselessBudget;
use bttc_rpc::{BridgeApi, DepositCertificate, VoteEvent, deposit_json};
use bttc_types::{SecretKey, Signature};
use bttc_watcher::{Contradiction, Follower, LedgerGateway, LedgerView, SignGuard, VoteBook, boundaries};
use eyre::eyre;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Checkpoints and commands of a gateway that are signed: of more, a gateway that is so far behind waits for its turn.
const RECENT: u64 = 64;
/// Votes that wait for a slow subscriber, before it loses its subscription.
const VOTE_EVENTS: usize = 4_096;
/// Pieces of evidence that wait to be reported.
const MAX_EVIDENCE: usize = 256;

/// A wrong signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    /// It differs from what the ledger applied.
    Differs(BridgeVote),
    /// Two values of one key for one subject.
    Contradicts(Contradiction),
}

/// The node's part of the bridge.
pub(crate) struct Bridge {
    pub(crate) executor: Arc<Executor>,
    pub(crate) network: Option<NetworkHandle>,
    pub(crate) metrics: Arc<Metrics>,
    key: Option<SecretKey>,
    guard: Mutex<Option<SignGuard>>,
    book: Mutex<VoteBook>,
    followers: RwLock<BTreeMap<GatewayId, Follower>>,
    /// Chains that this node follows, by id, with their names.
    followed: BTreeMap<u64, String>,
    /// What needs a person, by root chain.
    alarms: RwLock<BTreeMap<String, String>>,
    view: RwLock<Option<Arc<LedgerView>>>,
    /// Keys whose word counts: of the set in force, the one before and the one that waits.
    members: RwLock<BTreeSet<Address>>,
    offences: Mutex<VecDeque<(Address, Offence)>>,
    votes: broadcast::Sender<VoteEvent>,
    /// What votes of nobody, and known ones, may cost.
    pub(crate) useless: Arc<Mutex<UselessBudget>>,
    folder: std::path::PathBuf,
}

impl Bridge {
    /// Opens the bridge's files. `key` signs, where there is one.
    pub(crate) fn open(
        home: &Home,
        executor: Arc<Executor>,
        network: Option<NetworkHandle>,
        metrics: Arc<Metrics>,
        key: Option<SecretKey>,
        followed: BTreeMap<u64, String>,
    ) -> eyre::Result<Arc<Self>> {
        let folder = home.data().join("bridge");
        std::fs::create_dir_all(&folder)?;
        // Beside the key: who copies the key without it signs nothing twice.
        let guard = match &key {
            Some(_) => Some(SignGuard::open(&home.keys().join("bridge.guard"))?),
            None => None,
        };
        let book = VoteBook::open(&folder.join("votes"))?;
        let bridge = Arc::new(Self {
            executor,
            network,
            metrics,
            key,
            guard: Mutex::new(guard),
            book: Mutex::new(book),
            followers: RwLock::default(),
            followed,
            alarms: RwLock::default(),
            view: RwLock::default(),
            members: RwLock::default(),
            offences: Mutex::default(),
            votes: broadcast::Sender::new(VOTE_EVENTS),
            useless: Arc::default(),
            folder,
        });
        bridge.look()?;
        Ok(bridge)
    }

    /// Reads the ledger at the head.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&mut dyn Host) -> Result<T, Fault>) -> eyre::Result<T> {
        let header = self.executor.head_header()?;
        let result = self.executor.store().view(Some(header.number), |view| {
            let mut host = ReadHost::new(self.executor.env_of(&header, 0), view);
            look(&mut host)
        })?;
        result.map_err(|fault| match fault {
            Fault::Revert(data) => eyre!(bttc_modules::explain(&data).unwrap_or_else(|| "refused".into())),
            other => eyre!(other),
        })
    }

    /// Reads the ledger's state anew; nothing while there is no bridge.
    fn look(&self) -> eyre::Result<Option<Arc<LedgerView>>> {
        if self.executor.spec().bttc.bridge.bridge_id.is_zero() {
            return Ok(None);
        }
        // What was said once stays so: only what is new is read.
        let before = self.view.read().clone();
        let known_command = |at: GatewayId, nonce: u64| {
            let gateway = before.as_ref()?.gateways.iter().find(|gateway| gateway.at == at)?;
            gateway.commands.get(&nonce).copied()
        };
        let known_digest = |seq: u64| before.as_ref()?.digests.get(&seq).copied();
        let read = self.read(|host| {
            let (set_id, next_set, checkpoints, _) = views::state(host)?;
            let Some(set) = views::set(host, set_id)? else { return Ok(None) };
            let mut members: BTreeSet<Address> = set.members.iter().map(|member| member.key).collect();
            for other in [set_id.saturating_sub(1), next_set] {
                if other != 0
                    && let Some(other) = views::set(host, other)?
                {
                    members.extend(other.members.iter().map(|member| member.key));
                }
            }
            let bridge_id = host.env().bridge_id;
            let mut gateways = Vec::new();
            for info in views::gateways(host)? {
                let at = GatewayId { root_chain_id: info.rootChainId, gateway: info.gateway };
                let mut commands = BTreeMap::new();
                // From what the gateway has done on; a node that does not follow it takes the latest.
                let done = self.followers.read().get(&at).map(Follower::commands_done);
                let done = done.unwrap_or(info.commands.saturating_sub(RECENT));
                for nonce in done.saturating_add(1)..=info.commands.min(done.saturating_add(RECENT)) {
                    let digest = match known_command(at, nonce) {
                        Some(digest) => Some(digest),
                        None => views::command(host, at, nonce)?.map(|command| command.digest(bridge_id)),
                    };
                    commands.extend(digest.map(|digest| (nonce, digest)));
                }
                gateways.push(LedgerGateway {
                    at,
                    name: info.name,
                    deposit_nonce: info.depositNonce,
                    deposit_acc: info.depositAcc,
                    commands,
                });
            }
            let mut digests = BTreeMap::new();
            for seq in checkpoints.saturating_sub(RECENT).saturating_add(1)..=checkpoints {
                if let Some(known) = known_digest(seq) {
                    digests.insert(seq, known);
                } else if let Some((checkpoint, set_id, _)) = views::checkpoint(host, seq)? {
                    digests.insert(seq, (checkpoint.digest(bridge_id), set_id));
                }
            }
            let least_signers = host.env().preset.bridge().min_signers as usize;
            let view = LedgerView { bridge_id, least_signers, set, next_set, gateways, checkpoints, digests };
            Ok(Some((view, members)))
        })?;
        let Some((view, members)) = read else { return Ok(None) };
        let view = Arc::new(view);
        *self.members.write() = members;
        *self.view.write() = Some(Arc::clone(&view));
        self.open_followers(&view)?;
        Ok(Some(view))
    }

    fn open_followers(&self, view: &LedgerView) -> eyre::Result<()> {
        for gateway in &view.gateways {
            let at = gateway.at;
            if !self.followed.contains_key(&at.root_chain_id) || self.followers.read().contains_key(&at) {
                continue;
            }
            let acc = bttc_bridge_types::first_accumulator(view.bridge_id, at);
            let follower = Follower::open(&self.folder, at, acc, 0)?;
            if let Some(reason) = follower.halted() {
                self.alarm(&gateway.name, reason);
            }
            self.followers.write().insert(at, follower);
        }
        Ok(())
    }

    fn alarm(&self, chain: &str, reason: &str) {
        let news = self.alarms.write().insert(chain.to_owned(), reason.to_owned()).is_none_or(|old| old != reason);
        self.metrics.bridge_alarm.with_label_values(&[chain]).set(1);
        if news {
            tracing::error!(chain, reason, "the bridge needs an operator");
        }
    }

    /// What needs a person on a root chain.
    fn alarm_of(&self, chain: &str) -> Option<String> {
        let alarms = self.alarms.read();
        alarms.get(chain).or_else(|| alarms.get(&format!("{chain}, as applied"))).cloned()
    }

    fn calm(&self, chain: &str) {
        if self.alarms.write().remove(chain).is_some() {
            self.metrics.bridge_alarm.with_label_values(&[chain]).set(0);
            tracing::info!(chain, "the root chain is well again");
        }
    }

    fn offend(&self, signer: Address, offence: Offence) {
        let mut list = self.offences.lock();
        let known = list.iter().any(|(other, _)| *other == signer);
        // Our own key is not reported: the guard has kept it from what it was not meant to sign.
        if known || list.len() >= MAX_EVIDENCE || self.key.as_ref().is_some_and(|key| key.address() == signer) {
            return;
        }
        tracing::warn!(%signer, ?offence, "a wrong bridge signature");
        list.push_back((signer, offence));
    }
}

impl BridgeApi for Bridge {
    fn deposit_certificate(
        &self,
        at: GatewayId,
        cursor: u64,
        set: &BridgeSet,
        least: usize,
    ) -> Option<DepositCertificate> {
        let followers = self.followers.read();
        let follower = followers.get(&at)?;
        let book = self.book.lock();
        // The furthest boundary that fits one transaction; the certificate of each holds for all before it.
        let fits = |nonce: u64| nonce.saturating_sub(cursor) <= bttc_bridge_types::BOUNDARY;
        let all = boundaries(follower, cursor);
        let found = all.iter().rev().filter(|(nonce, _)| fits(*nonce)).find_map(|(nonce, acc)| {
            let subject = Subject::Deposits { at, to_nonce: *nonce };
            book.certificate(&subject, *acc, set, least).map(|signatures| (*nonce, *acc, signatures))
        });
        let (to_nonce, acc_to, signatures) = found?;
        let list = follower.deposits().iter().filter(|log| (cursor + 1..=to_nonce).contains(&log.deposit.nonce));
        let deposits = list.map(|log| deposit_json(&log.deposit, log.acc, log.transaction, log.block.height)).collect();
        Some(DepositCertificate { to_nonce, acc_to, deposits, signatures })
    }

    fn signatures(&self, subject: &Subject, value: B256, set: &BridgeSet) -> Vec<(u8, Signature)> {
        self.book.lock().signatures(subject, value, set)
    }

    fn deposit(&self, at: GatewayId, nonce: u64) -> Value {
        let followers = self.followers.read();
        let log =
            followers.get(&at).and_then(|follower| follower.deposits().iter().find(|log| log.deposit.nonce == nonce));
        log.map_or(Value::Null, |log| deposit_json(&log.deposit, log.acc, log.transaction, log.block.height))
    }

    fn votes(&self) -> broadcast::Receiver<VoteEvent> {
        self.votes.subscribe()
    }

    fn watched(&self, at: GatewayId) -> Value {
        let followers = self.followers.read();
        let Some(follower) = followers.get(&at) else { return Value::Null };
        let name = self.followed.get(&at.root_chain_id).cloned().unwrap_or_default();
        let progress = follower.progress();
        json!({
            "finalizedHeight": alloy_primitives::U64::from(progress.block.height),
            "finalizedHash": progress.block.hash,
            "deposits": alloy_primitives::U64::from(progress.nonce),
            "commandsDone": alloy_primitives::U64::from(follower.commands_done()),
            "gateway": follower.state().map(|state| json!({
                "lastSeq": alloy_primitives::U64::from(state.last_seq), "setHash": state.set_hash,
                "setExpiresAt": alloy_primitives::U64::from(state.expires_at), "frozen": state.frozen,
                "pausedUntil": alloy_primitives::U64::from(state.paused_until),
            })),
            "halted": follower.halted(),
            "alarm": self.alarm_of(&name),
        })
    }
}
