//! Signing what is due, and taking in what others sign.

use super::{Bridge, Offence};
use crate::clock;
use bttc_bridge_types::{BridgeVote, Subject};
use bttc_modules::bridge::views;
use bttc_network::{Lane, Ticket, Verdict};
use bttc_types::Signature;
use bttc_watcher::{Inserted, LedgerView, due};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

/// At least so often the ledger is looked at; every new block wakes it sooner.
const LOOK: Duration = Duration::from_millis(500);
/// How often own votes are told again: a peer may have missed them.
const REPEAT: Duration = Duration::from_secs(10);
/// Votes told again, or told to a new peer.
const MAX_REPEATED: usize = 512;

/// A message of a peer, or a new peer.
pub(crate) enum BridgeEvent {
    /// A vote.
    Vote {
        /// From whom.
        peer: u64,
        /// Its ticket, for the verdict.
        number: Ticket,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Somebody who may have none of the votes.
    Connected(u64),
}

impl Bridge {
    /// Signs what is due whenever a block is final, until the node ends.
    pub(crate) async fn sign_on<T: Clone + Send + 'static>(self: Arc<Self>, mut heads: broadcast::Receiver<T>) {
        let mut repeated = Instant::now();
        loop {
            if let Ok(Err(RecvError::Closed)) = tokio::time::timeout(LOOK, heads.recv()).await {
                return;
            }
            let bridge = Arc::clone(&self);
            let repeat = repeated.elapsed() >= REPEAT;
            if repeat {
                repeated = Instant::now();
            }
            match tokio::task::spawn_blocking(move || bridge.tick(repeat)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the bridge could not be served"),
                // The runtime takes no more work: the node ends.
                Err(error) if error.is_cancelled() => return,
                Err(error) => tracing::error!(%error, "serving the bridge failed; it goes on"),
            }
            // Votes within a block's time need no look of their own.
            while heads.try_recv().is_ok() {}
        }
    }

    fn tick(&self, repeat: bool) -> eyre::Result<()> {
        let Some(view) = self.look()? else { return Ok(()) };
        self.sign_due(&view)?;
        self.compare_applied(&view)?;
        if repeat {
            let is_hand_over = |seq| {
                // One that cannot be read now stays.
                self.read(|host| views::checkpoint(host, seq))
                    .map_or(true, |found| found.is_none_or(|(_, _, next)| next != 0))
            };
            self.book.lock().prune(&view, is_hand_over)?;
            if let (Some(network), Some(key)) = (&self.network, &self.key) {
                let open = self.book.lock().open_votes(&view, usize::MAX);
                let own = open.into_iter().filter(|vote| vote.signer(view.bridge_id) == Ok(key.address()));
                for vote in own.take(MAX_REPEATED) {
                    network.broadcast(Lane::Attestations, vote.encode());
                }
            }
        }
        Ok(())
    }

    /// Signs what this node's key has not signed.
    fn sign_due(&self, view: &LedgerView) -> eyre::Result<()> {
        let Some(key) = &self.key else { return Ok(()) };
        if view.set.index_of(key.address()).is_none() {
            return Ok(());
        }
        let list = due(view, &self.followers.read());
        for (subject, value) in list {
            if self.book.lock().holds(&subject, key.address(), value) {
                continue;
            }
            // On disk before the signature exists.
            let allowed = match self.guard.lock().as_mut() {
                Some(guard) => guard.allow(subject, value),
                None => return Ok(()),
            };
            if let Err(error) = allowed {
                self.alarm("signing", &error.to_string());
                continue;
            }
            let mut vote = BridgeVote { subject, value, signature: Signature::from_bytes([0; 65]) };
            vote.signature = key.sign(vote.digest(view.bridge_id));
            self.book.lock().insert(&vote, key.address(), &self.members.read(), view)?;
            self.metrics.bridge_signed.inc();
            self.votes.send((key.address(), vote)).ok();
            if let Some(network) = &self.network {
                network.broadcast(Lane::Attestations, vote.encode());
            }
        }
        Ok(())
    }

    /// Looks for signatures that differ from what the ledger applied.
    fn compare_applied(&self, view: &LedgerView) -> eyre::Result<()> {
        for gateway in &view.gateways {
            let seen =
                self.followers.read().get(&gateway.at).and_then(|follower| follower.acc_at(gateway.deposit_nonce));
            let name = format!("{}, as applied", gateway.name);
            if seen.is_some_and(|acc| acc != gateway.deposit_acc) {
                // Two thirds saw something else: our own endpoints are the likelier liars.
                self.alarm(&name, "the ledger applied other deposits than this node was shown: look at its endpoints");
            } else {
                self.calm(&name);
            }
            let subject = Subject::Deposits { at: gateway.at, to_nonce: gateway.deposit_nonce };
            for (signer, vote) in self.book.lock().votes_on(&subject) {
                if vote.value != gateway.deposit_acc {
                    self.offend(signer, Offence::Differs(vote));
                }
            }
        }
        Ok(())
    }

    /// Takes in what peers send, until the node ends.
    pub(crate) async fn listen(self: Arc<Self>, mut incoming: mpsc::Receiver<BridgeEvent>) {
        while let Some(event) = incoming.recv().await {
            let bridge = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || bridge.take(event)).await {
                Ok(()) => {}
                Err(error) if error.is_cancelled() => return,
                Err(error) => tracing::error!(%error, "taking in a bridge vote failed"),
            }
        }
    }

    fn take(&self, event: BridgeEvent) {
        let Some(network) = &self.network else { return };
        let Some(view) = self.view.read().clone() else {
            // No bridge, or no set yet: nothing to judge it by.
            if let BridgeEvent::Vote { peer, number, bytes } = event {
                network.verdict(peer, Lane::Attestations, number, bytes, Verdict::Ignore);
            }
            return;
        };
        match event {
            BridgeEvent::Connected(peer) => {
                for vote in self.book.lock().open_votes(&view, MAX_REPEATED) {
                    network.send(peer, Lane::Attestations, vote.encode());
                }
            }
            BridgeEvent::Vote { number, .. } if number.is_void() => {}
            BridgeEvent::Vote { peer, number, bytes } => {
                let verdict = self.judge(&bytes, &view);
                // What is new is told once; of the rest nobody knows whose signature it is before that was recovered.
                if matches!(verdict, Verdict::Ignore) {
                    self.useless.lock().charge(peer, clock::now().mono_ms);
                }
                network.verdict(peer, Lane::Attestations, number, bytes, verdict);
            }
        }
    }

    fn judge(&self, bytes: &[u8], view: &LedgerView) -> Verdict {
        let Ok(vote) = BridgeVote::decode(bytes) else { return Verdict::Reject("malformed bridge vote".into()) };
        let Ok(signer) = vote.signer(view.bridge_id) else { return Verdict::Reject("bad bridge signature".into()) };
        let inserted = self.book.lock().insert(&vote, signer, &self.members.read(), view);
        match inserted {
            Ok(Inserted::New) => {
                self.votes.send((signer, vote)).ok();
                if self.differs(&vote) {
                    self.offend(signer, Offence::Differs(vote));
                }
                Verdict::Accept
            }
            Ok(Inserted::Contradiction(pair)) => {
                // Of checkpoints and commands only the digest is here: it may be of anything.
                if matches!(vote.subject, Subject::Deposits { .. }) {
                    self.offend(signer, Offence::Contradicts(*pair));
                }
                Verdict::Accept
            }
            Ok(Inserted::Known) => Verdict::Ignore,
            Err(error) => {
                tracing::error!(%error, "a bridge vote could not be kept");
                Verdict::Ignore
            }
        }
    }

    /// Whether a vote differs from what was applied for its number.
    fn differs(&self, vote: &BridgeVote) -> bool {
        let Subject::Deposits { at, to_nonce } = vote.subject else { return false };
        let applied = self.read(|host| views::boundary(host, at, to_nonce));
        applied.is_ok_and(|(acc, ..)| !acc.is_zero() && acc != vote.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;
    use crate::metrics::Metrics;
    use bttc_executor::Executor;
    use bttc_genesis::{ChainSpec, GenesisValidator, Preset};
    use bttc_state::{MemoryStore, StateStore, StoreOptions};
    use std::collections::BTreeMap;

    fn bridge(home: &Home) -> Arc<Bridge> {
        let address = alloy_primitives::Address::repeat_byte(1);
        let entry = GenesisValidator { address, owner: address, power: 1_000, bridge: None };
        let spec = ChainSpec::new(Preset::Local, 1_700_000_000, vec![entry]).unwrap();
        let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
        let executor = Executor::open(Arc::new(store), Arc::new(spec)).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        Bridge::open(home, Arc::new(executor), None, metrics, None, BTreeMap::new()).unwrap()
    }

    #[test]
    fn signing_ends_with_its_runtime() {
        let dir = tempfile::tempdir().unwrap();
        let bridge = bridge(&Home::new(dir.path()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        // A head is there, so it begins its work, and the runtime takes none.
        let (sender, heads) = broadcast::channel(4);
        sender.send(1).unwrap();
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _context = handle.enter();
            futures::executor::block_on(bridge.sign_on(heads));
            let _ = done.send(());
        });
        wait.recv_timeout(Duration::from_secs(30)).expect("it ends");
        drop(sender);
    }
}
