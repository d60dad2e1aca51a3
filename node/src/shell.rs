//! The engine's thread: takes events, runs the state machine, carries out what it wants.

use crate::clock;
use crate::evidence::EvidenceBook;
use crate::metrics::Metrics;
use bttc_engine::{BlocksRequest, Engine, Event, HeadInfo, Input, Message, Output, Signing, Verdict};
use bttc_network::{Lane, NetworkHandle, Ticket};
use bttc_node::{PeerRequest, Request, lane_of};
use bttc_types::Evidence;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Events that wait for the engine. When it is full their senders wait, and with them the peers.
pub(crate) const ENGINE_QUEUE: usize = 2_048;

/// Something for the engine.
#[derive(Debug)]
pub(crate) enum EngineEvent {
    /// An input of the state machine.
    Input(Input),
    /// A message from a peer.
    Message { peer: u64, lane: Lane, number: Ticket, bytes: Vec<u8> },
    /// The node must stop.
    Halt(String),
}

/// What others read of the engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct EngineView {
    pub(crate) height: u64,
    pub(crate) round: u32,
    pub(crate) syncing: bool,
    pub(crate) best_peer_height: u64,
    pub(crate) signing: String,
    pub(crate) evidence: EvidenceBook,
    /// When the head last moved, monotonic milliseconds.
    pub(crate) head_moved_ms: u64,
}

/// The shell.
pub(crate) struct Shell {
    pub(crate) engine: Engine,
    pub(crate) network: Option<NetworkHandle>,
    pub(crate) application: mpsc::UnboundedSender<(Request, Instant)>,
    pub(crate) view: Arc<RwLock<EngineView>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether the engine knows that transactions wait; reset with each height.
    pub(crate) told_waiting: Arc<AtomicBool>,
    /// Whether the pool holds a transaction for the next block.
    pub(crate) transactions_waiting: Box<dyn Fn() -> bool + Send>,
    /// Where the reason of a halt goes.
    pub(crate) halt: mpsc::Sender<String>,
    /// A head that peers have not been told of yet.
    pub(crate) untold_head: Option<HeadInfo>,
    /// When they were told last, monotonic milliseconds.
    pub(crate) told_head_ms: u64,
    /// Looks for signs that this machine's clock is off.
    pub(crate) clock_watch: clock::ClockWatch,
}

/// Peers are told of a new head at most this often: a node that syncs passes hundreds of heights a second.
const STATUS_INTERVAL_MS: u64 = 50;

/// Shortest wait for an event. A deadline that has passed and is still there waits for something else.
const MIN_WAIT_MS: u64 = 2;

impl Shell {
    /// Runs until every sender is gone or the engine halts.
    pub(crate) fn run(mut self, runtime: &tokio::runtime::Handle, mut events: mpsc::Receiver<EngineEvent>) {
        let outputs = self.engine.start(clock::now());
        if !self.perform(outputs) {
            return;
        }
        loop {
            crate::failure::point("engine");
            let now = clock::now().mono_ms;
            let wait = self.engine.next_deadline().map_or(1_000, |deadline| deadline.saturating_sub(now));
            let longest = if self.untold_head.is_some() { STATUS_INTERVAL_MS } else { 1_000 };
            let wait = wait.clamp(MIN_WAIT_MS, longest);
            let next =
                runtime.block_on(async { tokio::time::timeout(Duration::from_millis(wait), events.recv()).await });
            let outputs = match next {
                Err(_) => self.engine.handle(Input::Tick, clock::now()),
                Ok(None) => return,
                Ok(Some(EngineEvent::Halt(reason))) => {
                    let _ = self.halt.blocking_send(reason);
                    return;
                }
                Ok(Some(EngineEvent::Input(mut input))) => {
                    if let Input::Committed { head, transactions_waiting, .. } = &mut input {
                        self.view.write().head_moved_ms = now;
                        self.untold_head = Some(*head);
                        // First forget that we were told, then look: whatever comes after the look is told again.
                        self.told_waiting.store(false, Ordering::Release);
                        *transactions_waiting = (self.transactions_waiting)();
                    }
                    self.engine.handle(input, clock::now())
                }
                Ok(Some(EngineEvent::Message { peer, lane, number, bytes })) => {
                    self.on_message(peer, lane, number, bytes)
                }
            };
            if !self.perform(outputs) {
                return;
            }
            self.tell_head();
        }
    }

    fn tell_head(&mut self) {
        let now = clock::now().mono_ms;
        if now.saturating_sub(self.told_head_ms) >= STATUS_INTERVAL_MS
            && let Some(head) = self.untold_head.take()
            && let Some(network) = &self.network
        {
            network.status(head.height, head.hash);
            self.told_head_ms = now;
        }
    }

    fn on_message(&mut self, peer: u64, lane: Lane, number: Ticket, bytes: Vec<u8>) -> Vec<Output> {
        let (verdict, outputs) = match Message::decode(&bytes) {
            Ok(message) if lane_of(&message) == lane => self.engine.handle_message(message, clock::now()),
            Ok(_) => (Verdict::Reject("a message in the wrong lane".into()), Vec::new()),
            Err(error) => (Verdict::Reject(error.to_string()), Vec::new()),
        };
        let (label, verdict) = match verdict {
            Verdict::Accept => ("accept", bttc_network::Verdict::Accept),
            Verdict::Ignore => ("ignore", bttc_network::Verdict::Ignore),
            Verdict::Drop => ("drop", bttc_network::Verdict::Drop),
            Verdict::Reject(reason) => ("reject", bttc_network::Verdict::Reject(reason)),
        };
        self.metrics.messages.with_label_values(&[lane.name(), label]).inc();
        if let Some(network) = &self.network {
            network.verdict(peer, lane, number, bytes, verdict);
        }
        outputs
    }

    /// Carries out outputs; false when the engine has halted.
    fn perform(&mut self, outputs: Vec<Output>) -> bool {
        for output in outputs {
            match output {
                Output::Broadcast(message) => {
                    if let Some(network) = &self.network {
                        network.broadcast(lane_of(&message), message.encode());
                    }
                }
                Output::Send(peer, message) => {
                    if let Some(network) = &self.network {
                        network.send(peer, lane_of(&message), message.encode());
                    }
                }
                Output::Propose { height, round, last_commit, time_ms } => {
                    self.ask(Request::Propose { height, round, last_commit, time_ms });
                }
                Output::Validate { height, hash, bytes } => self.ask(Request::Validate { height, hash, bytes }),
                Output::Commit { hash, bytes, certificate, durable, synced } => {
                    self.ask(Request::Commit { hash, bytes, certificate, durable, synced });
                }
                Output::BetterCertificate(certificate) => self.ask(Request::BetterCertificate(certificate)),
                Output::RequestBlocks { peer, from, count } => {
                    if let Some(network) = &self.network {
                        network.request(peer, from, PeerRequest::Blocks(BlocksRequest { from, count }).encode());
                    }
                }
                Output::Misbehaved { peer, reason } => {
                    tracing::warn!(peer, reason, "peer misbehaved");
                    if let Some(network) = &self.network {
                        network.fault(peer, reason);
                    }
                }
                Output::Evidence { evidence, found_here } => self.on_evidence(evidence, found_here),
                Output::Halt(reason) => {
                    let _ = self.halt.blocking_send(reason);
                    return false;
                }
                Output::Event(event) => self.on_event(&event),
            }
        }
        self.publish();
        true
    }

    fn ask(&self, request: Request) {
        if self.application.send((request, Instant::now())).is_err() {
            // Only a panic ends the application before the engine.
            let _ = self.halt.try_send("the application thread has ended".into());
        }
    }

    fn publish(&self) {
        let (height, round) = self.engine.position();
        let (syncing, best) = (self.engine.is_syncing(), self.engine.best_peer_height());
        self.metrics.round.set(i64::from(round));
        self.metrics.syncing.set(i64::from(syncing));
        self.metrics.best_peer_height.set(i64::try_from(best).unwrap_or(i64::MAX));
        let mut view = self.view.write();
        view.height = height;
        view.round = round;
        view.syncing = syncing;
        view.best_peer_height = best;
    }

    fn on_evidence(&self, evidence: Evidence, found_here: bool) {
        let mut view = self.view.write();
        if !view.evidence.keep(evidence.clone(), found_here) {
            return;
        }
        tracing::error!(
            validator = %evidence.validator(),
            height = evidence.height(),
            hash = %evidence.hash(),
            "a validator signed two different messages for one step"
        );
        self.metrics.evidence.inc();
        // What a peer brought is passed on to those who lack it by its verdict.
        if found_here && let Some(network) = &self.network {
            network.broadcast(Lane::Evidence, Message::Evidence(Box::new(evidence.clone())).encode());
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::HeightStarted(_) => {}
            Event::RoundStarted { height, round, proposer } => {
                self.metrics.rounds.inc();
                self.clock_watch.round();
                if *round > 0 {
                    tracing::warn!(height, round, %proposer, "a further round");
                }
            }
            Event::Decided { height, round, hash } => tracing::debug!(height, round, %hash, "decided"),
            Event::Refused(reason) => tracing::warn!(reason, "a signature was refused"),
            Event::Signing(signing) => {
                self.show_signing(signing);
            }
            Event::Untimely { height, round, block_ms, received_ms } => {
                self.metrics.untimely.inc();
                tracing::warn!(
                    height,
                    round,
                    block_ms,
                    received_ms,
                    "a proposal's time is off; it is withheld for the round"
                );
                let now = clock::now().mono_ms;
                if let Some(ahead_ms) = self.clock_watch.untimely(*block_ms, *received_ms, now) {
                    tracing::error!(
                        ahead_ms,
                        "this machine's clock is off against those of the other validators, so its votes come late or \
                         not at all: set it, for example with chrony or systemd-timesyncd"
                    );
                }
            }
            Event::InvalidBlock { height, hash, reason } => {
                self.metrics.invalid_blocks.inc();
                tracing::error!(height, %hash, reason, "a proposed block is invalid");
            }
            Event::LogKept { height, next } => tracing::warn!(
                height,
                next,
                "the write-ahead log is of a later height than the database: it is kept, and this key signs nothing before \
                 the chain is there"
            ),
            Event::Replayed { height, records, torn } => {
                tracing::info!(height, records, torn_bytes = torn, "write-ahead log replayed");
            }
        }
    }

    /// Logs and publishes whether the node signs.
    pub(crate) fn show_signing(&self, signing: &Signing) {
        let text = match signing {
            Signing::NoKey => "no key".to_owned(),
            Signing::Ready => "ready".to_owned(),
            Signing::Listening { .. } => "listening: the guard is older than the chain".to_owned(),
            Signing::Off(reason) => {
                tracing::error!(reason, "this node does not sign until it is restarted; it follows the chain");
                format!("off: {reason}")
            }
        };
        self.metrics.signing.set(i64::from(*signing == Signing::Ready));
        self.view.write().signing = text;
    }
}
