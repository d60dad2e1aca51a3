//! The engine's state machine: inputs in, outputs out.

mod ballots;
mod blocks;
mod early;
mod effects;
mod heights;
mod messages;
mod offences;
mod peers;
mod proposals;
#[cfg(test)]
mod tests;

use crate::config::{EngineConfig, Timing};
use crate::context::{CoreAddress, CoreHeight, CoreSet, Ctx};
use crate::guard::Guard;
use crate::message::{CertifiedBlock, Message};
use crate::sync::BlockSync;
use crate::wal::Wal;
use alloy_primitives::{Address, B256};
use blocks::Blocks;
use bttc_types::{Certificate, Evidence, Height, Round, SecretKey, SigningDomain, ValidatorSet};
use early::Early;
use effects::Env;
use malachitebft_core_consensus::{Input as CoreInput, Params, State, ValuePayload};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The time, as an input. `mono_ms` never goes back and drives timers; `wall_ms` is what people call the time and only
/// stamps blocks and judges their timeliness, so that a clock jump cannot stop the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since some moment in the past.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// A peer, as the network numbers its connections.
pub type PeerKey = u64;

/// The last committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadInfo {
    /// Height.
    pub height: Height,
    /// Hash.
    pub hash: B256,
}

/// What the engine starts from.
pub struct StartInfo {
    /// The head.
    pub head: HeadInfo,
    /// The certificate with which the head was decided (the genesis certificate at height 0).
    pub head_certificate: Certificate,
    /// Set of the next height.
    pub next_set: ValidatorSet,
    /// Set of the height after that.
    pub following_set: ValidatorSet,
    /// A height above the guard whose certificate carries a signature of our own key: somebody signs with it.
    pub own_signature_above_guard: Option<Height>,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The application built a block that was asked for.
    Proposed {
        /// Height asked for.
        height: Height,
        /// Round asked for.
        round: Round,
        /// Hash of the block.
        hash: B256,
        /// The encoded block.
        bytes: Arc<[u8]>,
    },
    /// The application judged a block that was asked for.
    Validated {
        /// Height of the block.
        height: Height,
        /// Its hash.
        hash: B256,
        /// What it found.
        verdict: BlockVerdict,
    },
    /// The application committed a block.
    Committed {
        /// The new head.
        head: HeadInfo,
        /// Set of the height after it.
        next_set: ValidatorSet,
        /// Set of the height after that.
        following_set: ValidatorSet,
        /// The chain's times from the next height on.
        timing: Timing,
        /// Whether the pool holds a transaction that the next block could include.
        transactions_waiting: bool,
    },
    /// A synced block with a good certificate was refused by the application.
    SyncRefused {
        /// Its height.
        height: Height,
        /// Why.
        reason: String,
    },
    /// The pool holds a transaction that the next block could include.
    TransactionsWaiting,
    /// A peer says how far it is.
    PeerStatus {
        /// The peer.
        peer: PeerKey,
        /// Height of its head.
        height: Height,
    },
    /// A peer is gone.
    PeerGone(PeerKey),
    /// A new peer, or one that opened a new session.
    PeerConnected {
        /// The peer.
        peer: PeerKey,
        /// The validator that it proves to be.
        validator: Option<Address>,
        /// Whether it gets what we said in this round: not when it got that a moment ago.
        greet: bool,
    },
    /// Blocks that were asked for.
    Blocks {
        /// Who sent them.
        peer: PeerKey,
        /// First height asked for.
        from: Height,
        /// The answer.
        blocks: Vec<CertifiedBlock>,
    },
    /// A request for blocks failed.
    BlocksFailed {
        /// Who was asked.
        peer: PeerKey,
        /// First height asked for.
        from: Height,
    },
    /// Time has passed.
    Tick,
}

/// Something must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a message to everybody.
    Broadcast(Message),
    /// Send a message to one peer.
    Send(PeerKey, Message),
    /// Build a block.
    Propose {
        /// Height.
        height: Height,
        /// Round.
        round: Round,
        /// Certificate of the parent, as collected until now.
        last_commit: Certificate,
        /// Time for the block's header.
        time_ms: u64,
    },
    /// Judge a block.
    Validate {
        /// Height.
        height: Height,
        /// Hash of the block.
        hash: B256,
        /// The encoded block.
        bytes: Arc<[u8]>,
    },
    /// Commit a decided block. It may have to be executed first (after a restart, or when it was synced).
    Commit {
        /// Hash of the block.
        hash: B256,
        /// The encoded block.
        bytes: Arc<[u8]>,
        /// Its certificate.
        certificate: Certificate,
        /// Whether it must have reached the disk before the answer.
        durable: bool,
        /// Whether it came by sync and must be judged first; [`Input::SyncRefused`] when it is invalid.
        synced: bool,
    },
    /// Ask a peer for blocks.
    RequestBlocks {
        /// Whom.
        peer: PeerKey,
        /// First height.
        from: Height,
        /// How many.
        count: u64,
    },
    /// A peer broke the rules.
    Misbehaved {
        /// Who.
        peer: PeerKey,
        /// How.
        reason: String,
    },
    /// A validator misbehaved.
    Evidence {
        /// The proof.
        evidence: Evidence,
        /// Whether this node saw it itself. What a peer told is passed on by its verdict, and need not be sent again.
        found_here: bool,
    },
    /// A better certificate for the head: more signatures.
    BetterCertificate(Certificate),
    /// The engine cannot go on; the node must stop.
    Halt(String),
    /// Something an operator or a metric wants to know.
    Event(Event),
}

/// Things to log and count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A height began.
    HeightStarted(Height),
    /// A round began.
    RoundStarted {
        /// Height.
        height: Height,
        /// Round.
        round: Round,
        /// Its proposer.
        proposer: Address,
    },
    /// A block was decided.
    Decided {
        /// Height.
        height: Height,
        /// Round.
        round: Round,
        /// Its hash.
        hash: B256,
    },
    /// The guard refused a signature: the key may have signed something else for that step.
    Refused(String),
    /// Signing changed.
    Signing(Signing),
    /// A first proposal was outside its time window and is withheld for the round's propose timeout.
    Untimely {
        /// Height.
        height: Height,
        /// Round.
        round: Round,
        /// Time in the block.
        block_ms: u64,
        /// When it was received.
        received_ms: u64,
    },
    /// The application found a proposed block invalid.
    InvalidBlock {
        /// Height.
        height: Height,
        /// Its hash.
        hash: B256,
        /// Why.
        reason: String,
    },
    /// The write-ahead log is of a height above the next one and is kept for it; nothing is signed before.
    LogKept {
        /// Height of the log.
        height: Height,
        /// The next height.
        next: Height,
    },
    /// The write-ahead log was replayed.
    Replayed {
        /// Height.
        height: Height,
        /// Number of records.
        records: usize,
        /// Bytes of a torn tail that were cut off.
        torn: u64,
    },
}

/// The application's judgement of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockVerdict {
    /// Every rule is kept.
    Valid,
    /// A rule is broken, for this reason.
    Invalid(String),
    /// The bytes are not what the hash commits to, for this reason: it says nothing about the block that has the hash.
    Forged(String),
    /// This node could not tell.
    Unknown,
}

/// What to do with a message from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good and new: pass it on.
    Accept,
    /// Old, known, or too early: do not pass it on, nobody is to blame. Should it come again, it is looked at again.
    Ignore,
    /// Good, but of no use now or later: do not pass it on, and do not look at it again. Nobody is to blame, least of all who
    /// relayed it.
    Drop,
    /// Its sender is at fault.
    Reject(String),
}

/// A verdict with everything that must be done.
pub type VerdictOn = (Verdict, Vec<Output>);

/// How much the engine holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Whole blocks of this height.
    pub blocks: usize,
    /// Votes of this height.
    pub votes: usize,
    /// Messages of the next height.
    pub early: usize,
    /// Size of the write-ahead log.
    pub log_bytes: u64,
}

/// Whether this node signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// It has no key.
    NoKey,
    /// It signs when it is in the set.
    Ready,
    /// It listens first: its guard is older than the chain, and another node may sign with the key.
    Listening {
        /// At least until this moment, monotonic milliseconds.
        until_ms: u64,
        /// When the chain has stood still for long enough: nobody waits for a height that does not end.
        quiet_until_ms: u64,
        /// While it moves, whole heights are heard, up to this one.
        until_height: Height,
    },
    /// It does not sign until a restart, for this reason.
    Off(String),
}

/// Between two heights, in one, or committing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for a reason to start the next height.
    Waiting,
    /// The core works on `env.height`.
    Running,
    /// A block is decided and being committed.
    Committing,
}

/// The engine.
pub struct Engine {
    core: State<Ctx>,
    env: Env,
    blocks: Blocks,
    phase: Phase,
    head: HeadInfo,
    next_set: CoreSet,
    following_set: CoreSet,
    /// When the last height started here.
    last_start_ms: u64,
    transactions_waiting: bool,
    /// Messages of the next height that arrived before it started.
    early: Early,
    sync: BlockSync,
    /// Connected peers with the validators that they prove to be.
    peers: BTreeMap<PeerKey, Option<Address>>,
    /// Set of the head's height; unknown until a block was committed.
    head_set: Option<CoreSet>,
    /// When peers were told last of a decision whose block is not here, monotonic milliseconds.
    told_decision_ms: Option<u64>,
    /// The height and round that [`Self::enter_round`] saw last.
    seen_round: (Height, Round),
    /// Since when a peer has been ahead of us, as far as we know.
    behind_since_ms: Option<u64>,
    /// The time in the header of the synced block that is being committed.
    syncing_block: Option<u64>,
    /// Until when the node waits, at its start, to hear how far the chain is before it takes part: its disk may have been
    /// restored from an older copy, guard and chain together.
    boot_until_ms: Option<u64>,
    /// When a synced block was committed last.
    last_synced_ms: Option<u64>,
}

impl Engine {
    /// An engine on a head. `key` signs; without one the node follows. Call [`Self::start`] next.
    pub fn new(
        config: EngineConfig,
        domain: SigningDomain,
        key: Option<(SecretKey, Box<dyn Guard>)>,
        wal: Wal,
        start: StartInfo,
        now: Now,
    ) -> Self {
        let next_set = CoreSet::new(start.next_set);
        let following_set = CoreSet::new(start.following_set);
        let address = key.as_ref().map_or(Address::ZERO, |(key, _)| key.address());
        let signing = effects::initial_signing(
            &config,
            key.as_ref().map(|(_, guard)| guard.as_ref()),
            &start.head,
            start.own_signature_above_guard,
            now,
        );
        let params = Params {
            address: CoreAddress(address),
            threshold_params: Default::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: false,
        };
        let height = start.head.height.saturating_add(1);
        // Only messages of the current height are fed to the core, so its own queue stays empty.
        let core = State::new(Ctx, CoreHeight(height), next_set.clone(), params, 1, 1);
        let env = Env::new(config, domain, key, signing, wal, next_set.clone(), height, start.head_certificate);
        Self {
            core,
            env,
            blocks: Blocks::default(),
            phase: Phase::Waiting,
            head: start.head,
            next_set,
            following_set,
            last_start_ms: now.mono_ms,
            transactions_waiting: false,
            early: Early::default(),
            sync: BlockSync::default(),
            peers: BTreeMap::new(),
            head_set: None,
            told_decision_ms: None,
            seen_round: (0, 0),
            behind_since_ms: None,
            syncing_block: None,
            boot_until_ms: None,
            last_synced_ms: None,
        }
    }

    /// Begins: a validator that has signed before first hears how far its peers are (or waits for the listening time),
    /// then reads the log and goes on where it ended.
    pub fn start(&mut self, now: Now) -> Vec<Output> {
        self.env.now = now;
        let alone = self.next_set.set.len() == 1;
        if self.env.may_sign() && self.env.guard_height() > 0 && !alone {
            self.boot_until_ms = Some(now.mono_ms.saturating_add(self.env.config.listen_ms));
        } else {
            self.replay();
        }
        self.finish()
    }

    /// Handles an input.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Output> {
        self.env.now = now;
        match input {
            Input::Proposed { height, round, hash, bytes } => self.on_proposed(height, round, hash, bytes),
            Input::Validated { height, hash, verdict } => self.on_validated(height, hash, verdict),
            Input::Committed { head, next_set, following_set, timing, transactions_waiting } => {
                self.env.config.set_timing(timing);
                self.on_committed(head, next_set, following_set, transactions_waiting);
            }
            Input::SyncRefused { height, reason } => self.on_sync_refused(height, &reason),
            Input::TransactionsWaiting => self.transactions_waiting = true,
            Input::PeerStatus { peer, height } => self.on_peer_status(peer, height),
            Input::PeerGone(peer) => self.on_peer_gone(peer),
            Input::PeerConnected { peer, validator, greet } => self.on_peer_connected(peer, validator, greet),
            Input::Blocks { peer, from, blocks } => {
                if !self.sync.arrived(peer, from, blocks, self.head.height, now.mono_ms) {
                    let reason = "its answer to a block request has gaps".into();
                    self.env.outputs.push(Output::Misbehaved { peer, reason });
                }
            }
            Input::BlocksFailed { peer, from } => self.sync.request_failed(peer, from, now.mono_ms),
            Input::Tick => {}
        }
        self.tick();
        self.finish()
    }

    /// Handles a message from a peer.
    pub fn handle_message(&mut self, message: Message, now: Now) -> VerdictOn {
        self.env.now = now;
        let verdict = self.on_message(message);
        self.tick();
        (verdict, self.finish())
    }

    /// When [`Input::Tick`] is needed at the latest, monotonic milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        [
            self.env.next_timer(),
            self.start_deadline(),
            self.boot_until_ms,
            self.sync.deadline(self.head.height, self.env.now.mono_ms),
            self.behind_since_ms.map(|since| since.saturating_add(heights::BEHIND_MS)),
            match &self.env.signing {
                Signing::Listening { until_ms, quiet_until_ms, .. } => {
                    [*until_ms, *quiet_until_ms].into_iter().filter(|at| *at > self.env.now.mono_ms).min()
                }
                Signing::NoKey | Signing::Ready | Signing::Off(_) => None,
            },
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether this node signs, and if not, why.
    pub fn signing(&self) -> &Signing {
        &self.env.signing
    }

    /// The height and round that the engine works on.
    pub fn position(&self) -> (Height, Round) {
        (self.env.height, self.core.round().as_u32().unwrap_or(0))
    }

    /// What the engine holds for the height that it works on: whole blocks, votes, and messages of the next height. For metrics
    /// and tests of bounds.
    pub fn held(&self) -> Held {
        Held {
            blocks: self.blocks.held(),
            votes: self.env.ballots.len(),
            early: self.early.len(),
            log_bytes: self.env.wal.bytes(),
        }
    }

    /// Whether blocks are being fetched from peers.
    pub fn is_syncing(&self) -> bool {
        self.sync.active()
    }

    /// The greatest height that a peer claims.
    pub fn best_peer_height(&self) -> Height {
        self.sync.best_height(self.env.now.mono_ms)
    }

    /// Feeds the core and whatever follows from it.
    fn feed(&mut self, input: CoreInput<Ctx>) {
        self.env.queue.push_back(input);
        while let Some(input) = self.env.queue.pop_front() {
            let (core, env, blocks) = (&mut self.core, &mut self.env, &mut self.blocks);
            let result: Result<(), malachitebft_core_consensus::Error<Ctx>> = malachitebft_core_consensus::process!(
                input: input,
                state: core,
                metrics: &(),
                with: effect => env.on_effect(effect, blocks)
            );
            if let Err(error) = result {
                self.env.queue.clear();
                if self.env.replaying {
                    self.env.replay_error.get_or_insert(error.to_string());
                    return;
                }
                self.env.outputs.push(Output::Halt(format!("consensus core: {error}")));
                return;
            }
        }
    }

    /// Flushes the log if something that is to leave the node or to be committed follows from it, then lets the outputs
    /// out. What was to be published stays inside when that fails. A vote of somebody else alone needs no flush: at a
    /// hundred validators that would be two hundred a height.
    fn finish(&mut self) -> Vec<Output> {
        if self.env.decided.is_some() && self.phase == Phase::Running {
            self.on_decided();
        }
        if self.env.outputs.iter().any(effects::needs_flush) {
            self.env.flush_needed();
        }
        let mut outputs = std::mem::take(&mut self.env.outputs);
        if matches!(self.env.signing, Signing::Off(_)) {
            self.core.params.enabled = false;
            let address = self.env.address();
            outputs.retain(|output| !effects::is_own_message(output, address));
        }
        outputs
    }
}
