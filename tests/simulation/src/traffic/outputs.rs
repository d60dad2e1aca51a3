//! What an engine wants done, and how it is done.

use super::gossip::payload;
use crate::byzantine::Audience;
use crate::fault::Fault;
use crate::node::Item;
use crate::world::{Event as WorldEvent, World};
use bttc_engine::{BlocksRequest, Event, Message, Output};
use bttc_network::Consequence;
use bttc_node::{Request, lane_of};
use bttc_types::Mutant;
use std::sync::Arc;

impl World {
    /// Carries out what the engine wants, at `time`.
    pub(crate) fn perform(&mut self, index: usize, outputs: Vec<Output>, time: u64) {
        for output in outputs {
            // A process can die between any two of these.
            if !self.nodes[index].disk.send_point() || self.nodes[index].halted {
                return;
            }
            tracing::debug!(us = time, node = index, output = %brief(&output));
            match output {
                Output::Broadcast(message) => self.broadcast(index, message, time),
                Output::Send(peer, message) => {
                    self.show_to_checker(index, &message);
                    let bytes: Arc<[u8]> = message.encode().into();
                    let payload = payload(lane_of(&message), bytes);
                    self.send(index, peer as usize, time, &payload);
                }
                Output::Propose { height, round, last_commit, time_ms } => {
                    let time_ms = self.proposed_time(index, time_ms);
                    let request = Request::Propose { height, round, last_commit, time_ms };
                    self.nodes[index].inbox.push_back(Item::Work(request));
                }
                Output::Validate { height, hash, bytes } => {
                    self.nodes[index].inbox.push_back(Item::Work(Request::Validate { height, hash, bytes }));
                }
                Output::Commit { hash, bytes, certificate, durable, synced } => {
                    if synced {
                        self.checker.on_synced(index);
                    }
                    let request = Request::Commit { hash, bytes, certificate, durable, synced };
                    self.nodes[index].inbox.push_back(Item::Work(request));
                }
                Output::BetterCertificate(certificate) => {
                    self.nodes[index].inbox.push_back(Item::Work(Request::BetterCertificate(certificate)));
                }
                Output::RequestBlocks { peer, from, count } => {
                    let bytes: Arc<[u8]> = alloy_rlp::encode(BlocksRequest { from, count }).into();
                    self.send_item(index, peer as usize, time, Item::Asked(index, from, bytes));
                }
                Output::Misbehaved { peer, reason } => {
                    let peer = peer as usize;
                    self.blamed(index, peer, time, || format!("node {index} blames node {peer}: {reason}"));
                    let Some(running) = &mut self.nodes[index].running else { return };
                    if running.router.rejected(peer as u64, time / 1_000) == Consequence::Disconnect {
                        self.disconnect(index, peer, time, &reason);
                    }
                }
                Output::Evidence { evidence, found_here } => {
                    if !self.nodes[index].liar {
                        self.checker.on_evidence(index, &evidence);
                    }
                    if self.accused.insert((evidence.validator(), evidence.height())) {
                        self.report(&evidence);
                    }
                    // What a peer brought is passed on to those who lack it by its verdict.
                    if found_here || Mutant::FloodsPassedOn.active() {
                        let message = Message::Evidence(Box::new(evidence));
                        self.gossip(index, lane_of(&message), message.encode().into(), Audience::All, time);
                    }
                }
                Output::Halt(reason) => {
                    self.on_halt(index, &reason);
                    return;
                }
                Output::Event(Event::HeightStarted(height)) => {
                    if !self.nodes[index].liar {
                        self.checker.on_height_started(index, height, time);
                    }
                    self.vote_early(index, height, time);
                }
                Output::Event(Event::RoundStarted { height, round, proposer }) => {
                    self.usurp(index, height, round, proposer, time);
                    self.propose_ahead(index, height, round, time);
                }
                Output::Event(_) => {}
            }
        }
    }

    fn broadcast(&mut self, index: usize, message: Message, time: u64) {
        if self.nodes[index].twin && matches!(message, Message::Vote(_) | Message::Proposal(_)) {
            self.faults.count(Fault::Twin);
        }
        self.show_to_checker(index, &message);
        let Some((lies, lied)) = self.lies_instead(index, &message) else {
            let bytes = message.encode().into();
            self.gossip(index, lane_of(&message), bytes, Audience::All, time);
            return;
        };
        if let Some(kind) = lied {
            self.faults.count(kind);
        }
        for (audience, later, message) in lies {
            if later > 0 {
                let incarnation = self.nodes[index].incarnation;
                self.at(
                    time + later,
                    WorldEvent::Say { from: index, incarnation, audience, message: Box::new(message) },
                );
                continue;
            }
            let bytes = message.encode().into();
            self.gossip(index, lane_of(&message), bytes, audience, time);
        }
    }

    /// The checker sees what a node signed itself.
    fn show_to_checker(&mut self, index: usize, message: &Message) {
        let own = self.nodes[index].key.address();
        match message {
            Message::Vote(vote) if vote.vote.validator == own => self.checker.on_vote(vote),
            Message::Proposal(proposal) if proposal.proposal.proposer == own => self.checker.on_proposal(proposal),
            _ => {}
        }
    }
}

/// An output in a line of a log.
fn brief(output: &Output) -> String {
    let text = format!("{output:?}");
    text.chars().take(300).collect()
}
