//! Peers: who is connected, how far they are, and what they are told.

use super::{Engine, Output, PeerKey, Phase};
use crate::message::Message;
use alloy_primitives::Address;
use bttc_types::Height;
use std::collections::BTreeSet;

impl Engine {
    /// A peer opened a session.
    pub(super) fn on_peer_connected(&mut self, peer: PeerKey, validator: Option<Address>, greet: bool) {
        self.peers.insert(peer, validator);
        if greet {
            self.greet(peer);
        }
    }

    /// A peer says how far it is.
    pub(super) fn on_peer_status(&mut self, peer: PeerKey, height: Height) {
        self.sync.peer_status(peer, height);
        if self.boot_until_ms.is_some() && self.hears_the_head() {
            self.boot_until_ms = Some(self.env.now.mono_ms);
        }
    }

    /// A peer's session ended.
    pub(super) fn on_peer_gone(&mut self, peer: PeerKey) {
        self.peers.remove(&peer);
        self.sync.peer_gone(peer, self.env.now.mono_ms);
    }

    /// Whether validators with more than a third of the power say that the chain is where our head is. A peer that is behind says
    /// nothing about where it is, and a stranger may say anything.
    fn hears_the_head(&self) -> bool {
        let head = self.head.height;
        self.next_set.has_honest(self.power_of_peers(|height| height == head))
    }

    /// Whether validators with more than a third of the power say that they are ahead of us: at least one of them is honest.
    pub(super) fn is_left_behind(&self) -> bool {
        let head = self.head.height;
        self.next_set.has_honest(self.power_of_peers(|height| height > head))
    }

    /// Power of the connected validators whose height is of interest.
    fn power_of_peers(&self, of_interest: impl Fn(Height) -> bool) -> u64 {
        let own = self.env.address();
        let validators: BTreeSet<&Address> = self
            .peers
            .iter()
            .filter(|(peer, _)| self.sync.height_of(**peer).is_some_and(&of_interest))
            .filter_map(|(_, validator)| validator.as_ref())
            .filter(|validator| **validator != own)
            .collect();
        let members = validators.into_iter().filter_map(|validator| self.next_set.set.find(validator));
        members.fold(0, |sum: u64, (_, validator)| sum.saturating_add(validator.power))
    }

    /// Tells a new peer what we said in this round, so that it does not have to wait for the next rebroadcast.
    fn greet(&mut self, peer: PeerKey) {
        if self.phase == Phase::Waiting {
            return;
        }
        let votes: Vec<Message> = self.env.own_votes.iter().cloned().map(Message::Vote).collect();
        let proposal = self.env.own_proposal.as_ref().filter(|(round, _)| *round == self.env.round);
        let messages: Vec<Message> =
            proposal.map(|(_, messages)| messages.clone()).into_iter().flatten().chain(votes).collect();
        self.env.outputs.extend(messages.into_iter().map(|message| Output::Send(peer, message)));
    }
}
