//! Going out: whom to dial, whom to ask for addresses, and who has been silent for too long.

use crate::addresses::{MAX_TOLD, Teller};
use crate::control::Control;
use crate::lane::Lane;
use crate::router::PeerId64;
use crate::service::Service;
use crate::setup::IDENTIFY;
use alloy_primitives::Bytes;
use libp2p::PeerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use std::time::{Duration, Instant};

/// Strangers dialled at once.
const DIALS: usize = 8;
/// How long a stranger may be connected without a session, and one of our own peers, which may have dead connections.
const SILENCE: Duration = Duration::from_secs(5);
const SILENCE_OWN: Duration = Duration::from_secs(20);
/// How often a node that looks for peers asks one of those that it has.
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// How often a peer is told addresses.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

impl Service {
    /// Whether this node should find further peers: only those that it chose itself count.
    pub(crate) fn wants_peers(&self) -> bool {
        self.config.looks_for_peers() && self.chosen_peers() < self.config.target_peers
    }

    fn chosen_peers(&self) -> usize {
        self.sessions.values().filter(|session| session.info.outbound).count()
    }

    /// What is to be done every half second.
    pub(crate) fn tick(&mut self) {
        self.close_silent();
        self.open_wanted();
        self.dial();
        if self.wants_peers() {
            let longest_ago = self.sessions.values().min_by_key(|session| session.asked);
            let due = longest_ago.filter(|session| session.asked.is_none_or(|asked| asked.elapsed() >= ASK_INTERVAL));
            if let Some(peer) = due.map(|session| session.info.peer) {
                self.ask_addresses(peer);
            }
        }
    }

    /// Closes connections of peers that have said no hello.
    fn close_silent(&mut self) {
        let mut silent = Vec::new();
        for (id, link) in &mut self.links {
            let limit = if self.swarm.behaviour().admission.is_own(id) { SILENCE_OWN } else { SILENCE };
            if !link.closing && !self.by_id.contains_key(id) && link.silent_since.elapsed() >= limit {
                link.closing = true;
                silent.push(*id);
            }
        }
        for id in silent {
            tracing::debug!(peer = %id, "no hello in time");
            self.book.failed(&id, Instant::now());
            let _ = self.swarm.disconnect_peer_id(id);
        }
    }

    /// Opens streams that could not be opened before.
    fn open_wanted(&mut self) {
        let wanted = self.links.iter().filter(|(id, link)| {
            !link.closing && (link.wants_stream || (link.hellos == 0 && !self.by_id.contains_key(*id)))
        });
        let wanted: Vec<PeerId> = wanted.map(|(id, _)| *id).collect();
        for id in wanted {
            self.open_if_ours(id);
        }
    }

    fn dial(&mut self) {
        let strangers = if self.wants_peers() {
            self.config.target_peers.saturating_sub(self.chosen_peers()).min(DIALS)
        } else {
            0
        };
        let now = self.now();
        let (by_id, router) = (&self.by_id, &mut self.router);
        let mut due = self.book.due(strangers, |id| by_id.contains_key(id), Instant::now());
        due.retain(|(id, _)| !router.is_banned(id, now));
        for (id, address) in due {
            let options = DialOpts::peer_id(id)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(vec![address])
                .build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::trace!(peer = %id, %error, "dial");
            }
        }
    }

    /// A peer says something of itself, or asks.
    pub(crate) async fn on_control(&mut self, peer: PeerId64, control: Control) {
        match control {
            Control::Status { height, .. } => {
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.info.height = height;
                }
                let _ = self.incoming.send(crate::Incoming::Status { peer, height }).await;
            }
            Control::AskAddresses => self.tell_addresses(peer),
            Control::Addresses(addresses) => self.learn_addresses(peer, &addresses),
        }
    }

    fn tell_addresses(&mut self, peer: PeerId64) {
        // A validator tells nothing of the peers behind which it hides.
        if !self.config.looks_for_peers() {
            return;
        }
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if session.told.is_some_and(|told| told.elapsed() < TELL_INTERVAL) {
            return;
        }
        session.told = Some(Instant::now());
        let private = &self.private;
        let addresses = self.book.to_tell(|id| private.contains(id));
        let addresses = addresses.iter().map(|address| Bytes::from(address.to_vec())).collect();
        session.outbox.push(Lane::Control, Control::Addresses(addresses).encode());
    }

    /// Only answers to what was asked.
    fn learn_addresses(&mut self, peer: PeerId64, addresses: &[Bytes]) {
        let wants = self.wants_peers();
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if !std::mem::replace(&mut session.awaits_addresses, false) || !wants {
            return;
        }
        let teller = Teller { id: session.info.id, subnet: session.subnet };
        let local = *self.swarm.local_peer_id();
        for address in addresses.iter().take(MAX_TOLD) {
            self.book.learn(address, teller, &local, Instant::now());
        }
    }

    /// A peer says what it speaks, before any hello. Nodes of different versions do not find a common stream, so this is
    /// where they learn why.
    pub(crate) fn on_identified(&mut self, id: PeerId, speaks: &str) {
        if speaks == IDENTIFY {
            return;
        }
        let theirs: String = speaks.chars().take(64).collect();
        tracing::warn!(peer = %id, theirs, ours = IDENTIFY, "peer refused: it speaks another version");
        self.book.failed(&id, Instant::now());
        let _ = self.swarm.disconnect_peer_id(id);
    }
}
