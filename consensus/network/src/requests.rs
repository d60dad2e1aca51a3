//! Requests for blocks and snapshots, ours and those of peers.

use crate::answers::Answers;
use crate::handle::{Incoming, RequestId};
use crate::router::PeerId64;
use crate::service::Service;
use libp2p::PeerId;
use libp2p::request_response::{Event, InboundRequestId, Message, OutboundRequestId, ResponseChannel};
use std::collections::HashMap;
use std::sync::Arc;

/// A peer's request whose answer the node has not given yet.
struct Awaiting {
    channel: ResponseChannel<Vec<u8>>,
    request: InboundRequestId,
    /// Goes with this: then nobody needs the answer.
    _asker: Arc<()>,
}

/// What is asked and not answered yet.
pub(crate) struct Requests {
    /// Ours: whom we asked, and the node's tag.
    outgoing: HashMap<OutboundRequestId, (PeerId64, u64)>,
    /// Peers': those that wait for the node.
    awaiting: HashMap<RequestId, Awaiting>,
    numbers: HashMap<InboundRequestId, RequestId>,
    answers: Answers<InboundRequestId>,
    next: RequestId,
}

impl Requests {
    /// Nothing is asked.
    pub(crate) fn new(answers: Answers<InboundRequestId>) -> Self {
        Self { outgoing: HashMap::new(), awaiting: HashMap::new(), numbers: HashMap::new(), answers, next: 1 }
    }

    fn is_over(&mut self, request: &InboundRequestId) {
        self.answers.leave(request);
        if let Some(number) = self.numbers.remove(request) {
            self.awaiting.remove(&number);
        }
    }
}

impl Service {
    /// Asks a peer for the node.
    pub(crate) fn ask(&mut self, peer: PeerId64, tag: u64, bytes: Vec<u8>) {
        match self.sessions.get(&peer) {
            Some(session) => {
                let id = self.swarm.behaviour_mut().blocks.send_request(&session.info.id, bytes);
                self.requests.outgoing.insert(id, (peer, tag));
            }
            None => {
                let result = Err("the peer is not connected".to_owned());
                let _ = self.incoming.try_send(Incoming::Response { peer, tag, result });
            }
        }
    }

    /// Gives a peer the node's answer. The peer's place is taken until the answer is sent: whoever does not read gets
    /// nothing more. A channel that is dropped tells the peer that there is no answer.
    pub(crate) fn answer(&mut self, id: RequestId, bytes: Vec<u8>) {
        let Some(Awaiting { channel, request, .. }) = self.requests.awaiting.remove(&id) else { return };
        if self.requests.answers.send(&request, bytes.len()) {
            let _ = self.swarm.behaviour_mut().blocks.send_response(channel, bytes);
        }
    }

    /// What happened to requests.
    pub(crate) async fn on_blocks(&mut self, event: Event<Vec<u8>, Vec<u8>>) {
        match event {
            Event::Message { peer, message: Message::Request { request_id, request, channel }, .. } => {
                self.on_request(peer, request_id, request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some((peer, tag)) = self.requests.outgoing.remove(&request_id) {
                    let _ = self.incoming.send(Incoming::Response { peer, tag, result: Ok(response) }).await;
                }
            }
            Event::OutboundFailure { request_id, error, .. } => {
                if let Some((peer, tag)) = self.requests.outgoing.remove(&request_id) {
                    let result = Err(error.to_string());
                    let _ = self.incoming.send(Incoming::Response { peer, tag, result }).await;
                }
            }
            Event::InboundFailure { request_id, .. } | Event::ResponseSent { request_id, .. } => {
                self.requests.is_over(&request_id);
            }
        }
    }

    fn on_request(&mut self, id: PeerId, request: InboundRequestId, bytes: Vec<u8>, channel: ResponseChannel<Vec<u8>>) {
        let Some(peer) = self.by_id.get(&id).copied() else { return };
        let subnet = self.sessions.get(&peer).and_then(|session| session.subnet);
        if !self.requests.answers.enter(request, id, subnet) {
            tracing::debug!(peer = %id, "a request finds no place");
            return;
        }
        let number = self.requests.next;
        self.requests.next += 1;
        let alive = Arc::new(());
        let asker = Arc::downgrade(&alive);
        if self.incoming.try_send(Incoming::Request { peer, id: number, bytes, asker }).is_ok() {
            self.requests.awaiting.insert(number, Awaiting { channel, request, _asker: alive });
            self.requests.numbers.insert(request, number);
        }
        // Otherwise the channel is dropped, and with the event that tells so the place is free again.
    }
}
