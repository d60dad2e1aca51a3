//! Joining by a snapshot, pure: whom to ask for what, whom to believe, when to begin anew.
//!
//! Peers offer snapshots; an offer counts when its header is certified. The newest is loaded from all who offer it, each
//! piece checked against the header's state root when it comes. When too little of it comes, another is begun: offers cost
//! nothing, pieces do, so whoever offers without giving holds nobody up.

use crate::requests::{Offer, PeerRequest, Tail, decode_contents, decode_offers, decode_tail};
use crate::snapshots::{CheckedTail, check_tail};
use alloy_consensus::Header;
use bttc_state::snapshot::{Import, MAX_PIECES, Piece, Progress, Refusal};
use bttc_state::{Error, Head};
use bttc_types::Certificate;
use std::collections::{BTreeMap, BTreeSet};

/// How long a peer may take for an answer.
const ANSWER_MS: u64 = 20_000;
/// How long offers are waited for after the first.
const OFFERS_MS: u64 = 2_000;
/// How often a peer is asked for its offers.
const ASK_AGAIN_MS: u64 = 5_000;
/// How long nothing of the pivot comes before another is taken.
const ABANDON_MS: u64 = 30_000;
/// In each such time so many bytes of the pivot come, or another is taken: a piece now and then is not enough.
const PACE_MS: u64 = 120_000;
/// At first ...
const PACE_BYTES: u64 = 256 << 10;
/// ... twice as many each time, while another is offered, up to these, which a slow line carries.
const MOST_PACE_BYTES: u64 = 4 << 20;
/// Requests to one source at a time: one is on its way while the other is worked on.
const WINDOW: usize = 2;
/// How long a source rests after its first failure; doubled with each further one.
const REST_MS: u64 = 500;
/// Failures in a row after which a source's offers are forgotten until it makes them again.
const MAX_FAILURES: u32 = 4;

/// Whether a header and its certificate belong to the chain.
pub trait Trust: Send {
    /// The epoch whose set change must be learnt next, before this header can be judged; nothing when it can be.
    fn wants(&self, header: &Header) -> Option<u64>;

    /// Whether a snapshot's header is certified.
    ///
    /// # Errors
    /// Why not, in words.
    fn verify(&self, header: &Header, certificate: &Certificate) -> Result<(), String>;

    /// Takes a peer's answer to a request for set changes from an epoch on. Gives how many there were.
    ///
    /// # Errors
    /// What does not hold, in words: the peer lied.
    fn learn(&mut self, from: u64, bytes: &[u8]) -> Result<usize, String>;
}

/// What is to be done.
#[derive(Debug)]
pub enum SyncAction {
    /// Send a request; the answer comes back with the tag.
    Ask {
        /// To whom.
        peer: u64,
        /// The request's number.
        tag: u64,
        /// The request.
        request: PeerRequest,
    },
    /// A peer has lied.
    Blame {
        /// Who.
        peer: u64,
        /// How.
        reason: String,
    },
    /// Open a store for this pivot (an empty one, unless one was begun for the same), and call [`StateSync::opened`].
    Open(Head),
    /// Everything is here: end the import with these.
    Finish(Box<Finished>),
}

/// A complete snapshot.
#[derive(Debug)]
pub struct Finished {
    /// The import, complete.
    pub import: Import,
    /// The pivot's header and certificate.
    pub offer: Offer,
    /// Its block and what came before it.
    pub tail: CheckedTail,
}

#[derive(Debug, Default)]
struct Source {
    offers: BTreeSet<(u64, [u8; 32])>,
    in_flight: usize,
    failures: u32,
    rests_until: u64,
    ask_offers_at: u64,
    /// Epoch from which this peer is to give set changes: it offers something later.
    wanted_changes: Option<u64>,
}

#[derive(Debug)]
enum Asked {
    Offers,
    SetChanges(u64),
    Pieces(Vec<Piece>),
    Tail,
}

#[derive(Debug)]
struct InFlight {
    peer: u64,
    asked: Asked,
    deadline: u64,
}

/// The state of joining.
pub struct StateSync {
    trust: Box<dyn Trust>,
    sources: BTreeMap<u64, Source>,
    offers: BTreeMap<(u64, [u8; 32]), Offer>,
    in_flight: BTreeMap<u64, InFlight>,
    next_tag: u64,
    /// A pivot that was begun before this process started.
    resume: Option<Head>,
    first_offer_at: Option<u64>,
    pivot: Option<Offer>,
    import: Option<Import>,
    pace: Pace,
    /// How many pivots each peer has offered that were given up, also of peers that are gone.
    given_up: BTreeMap<u64, u32>,
}

/// Peers of which is remembered what was given up.
const MAX_GIVEN_UP: usize = 16_384;

/// How fast the pivot comes.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// When something of it came last, or it was chosen.
    moved_at: u64,
    /// Since when bytes are counted.
    since: u64,
    bytes: u64,
    /// How many there must be at its end.
    least: u64,
}

impl Pace {
    fn new(now: u64) -> Self {
        Self { moved_at: now, since: now, bytes: 0, least: PACE_BYTES }
    }

    fn came(&mut self, bytes: usize, now: u64) {
        self.moved_at = now;
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Whether it comes too slowly to be worth waiting for, if there is another.
    fn is_too_slow(&mut self, now: u64) -> bool {
        if now.saturating_sub(self.since) >= PACE_MS {
            if self.bytes < self.least {
                return true;
            }
            let least = self.least.saturating_mul(2).min(MOST_PACE_BYTES);
            (self.since, self.bytes, self.least) = (now, 0, least);
        }
        now.saturating_sub(self.moved_at) > ABANDON_MS
    }
}

impl std::fmt::Debug for StateSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateSync").field("pivot", &self.pivot).field("import", &self.import).finish_non_exhaustive()
    }
}

fn key_of(offer: &Offer) -> (u64, [u8; 32]) {
    (offer.header.number, offer.header.hash_slow().0)
}

fn head_of(offer: &Offer) -> Head {
    Head { height: offer.header.number, hash: offer.header.hash_slow(), state_root: offer.header.state_root }
}

impl StateSync {
    /// Nothing is known yet. `resume`: the pivot of an import that was begun before.
    pub fn new(trust: Box<dyn Trust>, resume: Option<Head>) -> Self {
        Self {
            trust,
            sources: BTreeMap::new(),
            offers: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_tag: 1,
            resume,
            first_offer_at: None,
            pivot: None,
            import: None,
            pace: Pace::default(),
            given_up: BTreeMap::new(),
        }
    }

    /// How far it is: the pivot's height, and of it how much is here.
    pub fn progress(&self) -> Option<(u64, Progress)> {
        self.pivot
            .as_ref()
            .map(|pivot| (pivot.header.number, self.import.as_ref().map(Import::progress).unwrap_or_default()))
    }

    /// Whether a peer has offered a snapshot that counts.
    pub fn is_offered(&self) -> bool {
        !self.offers.is_empty()
    }

    /// A peer is there.
    pub fn connected(&mut self, peer: u64) {
        self.sources.entry(peer).or_default();
    }

    /// A peer is gone.
    pub fn gone(&mut self, peer: u64) {
        self.sources.remove(&peer);
        let lost: Vec<u64> =
            self.in_flight.iter().filter(|(_, flight)| flight.peer == peer).map(|(tag, _)| *tag).collect();
        for tag in lost {
            if let Some(flight) = self.in_flight.remove(&tag) {
                self.give_back(&flight.asked);
            }
        }
    }

    /// The store for the pivot is open.
    pub fn opened(&mut self, import: Import) {
        self.import = Some(import);
    }

    /// An answer, or that there is none.
    ///
    /// # Errors
    /// This node's store.
    pub fn answered(&mut self, tag: u64, result: Result<Vec<u8>, String>, now: u64) -> Result<Vec<SyncAction>, Error> {
        let Some(flight) = self.in_flight.remove(&tag) else { return Ok(Vec::new()) };
        if let Some(source) = self.sources.get_mut(&flight.peer) {
            source.in_flight = source.in_flight.saturating_sub(1);
        }
        let Ok(bytes) = result else {
            self.give_back(&flight.asked);
            self.failed(flight.peer, now);
            return Ok(Vec::new());
        };
        let lie = match flight.asked {
            Asked::Offers => self.on_offers(flight.peer, &bytes, now),
            Asked::SetChanges(from) => self.on_set_changes(flight.peer, from, &bytes, now),
            Asked::Pieces(pieces) => self.on_pieces(flight.peer, &pieces, &bytes, now)?,
            Asked::Tail => match self.on_tail(flight.peer, &bytes, now) {
                Ok(actions) => return Ok(actions),
                Err(lie) => Err(lie),
            },
        };
        let Err(reason) = lie else { return Ok(Vec::new()) };
        // Nothing that this peer says counts again in this connection.
        self.gone(flight.peer);
        Ok(vec![SyncAction::Blame { peer: flight.peer, reason }])
    }

    fn on_offers(&mut self, peer: u64, bytes: &[u8], now: u64) -> Result<(), String> {
        let offers = decode_offers(bytes)?;
        let mut keys = BTreeSet::new();
        for offer in offers {
            let key = key_of(&offer);
            if let Some(epoch) = self.trust.wants(&offer.header) {
                // Whoever offers it must show the way to it; then it is asked again.
                if let Some(source) = self.sources.get_mut(&peer) {
                    source.wanted_changes = Some(epoch);
                }
                continue;
            }
            if self.offers.get(&key) != Some(&offer) {
                self.trust
                    .verify(&offer.header, &offer.certificate)
                    .map_err(|reason| format!("it offers a snapshot that is not certified: {reason}"))?;
            }
            keys.insert(key);
            self.offers.entry(key).or_insert(offer);
        }
        if !keys.is_empty() {
            self.first_offer_at.get_or_insert(now);
        }
        let pivot = self.pivot.as_ref().map(key_of);
        if let Some(source) = self.sources.get_mut(&peer) {
            // Peers name their newest snapshots only. The pivot is theirs until they give no pieces of it any more.
            keys.extend(pivot.filter(|pivot| source.offers.contains(pivot)));
            source.offers = keys;
        }
        let offered: BTreeSet<_> = self.sources.values().flat_map(|source| &source.offers).copied().collect();
        self.offers.retain(|key, _| offered.contains(key));
        Ok(())
    }

    fn on_set_changes(&mut self, peer: u64, from: u64, bytes: &[u8], now: u64) -> Result<(), String> {
        let learnt = self.trust.learn(from, bytes).map_err(|reason| format!("its set changes: {reason}"))?;
        if learnt == 0 {
            self.failed(peer, now);
        } else if let Some(source) = self.sources.get_mut(&peer) {
            source.ask_offers_at = now;
        }
        Ok(())
    }

    fn on_pieces(&mut self, peer: u64, pieces: &[Piece], bytes: &[u8], now: u64) -> Result<Result<(), String>, Error> {
        let Some(import) = &mut self.import else { return Ok(Ok(())) };
        let contents = match decode_contents(bytes) {
            Ok(contents) => contents,
            Err(reason) => {
                import.give_back(pieces);
                return Ok(Err(reason));
            }
        };
        let nothing = contents.is_empty();
        match import.accept(pieces, contents) {
            Err(Refusal::Wrong(reason)) => return Ok(Err(reason)),
            Err(Refusal::Store(error)) => return Err(error),
            Ok(()) => {}
        }
        if nothing {
            // It has dropped the snapshot, or is busy.
            self.failed(peer, now);
        } else {
            self.pace.came(bytes.len(), now);
            if let Some(source) = self.sources.get_mut(&peer) {
                source.failures = 0;
            }
        }
        Ok(Ok(()))
    }

    fn on_tail(&mut self, peer: u64, bytes: &[u8], now: u64) -> Result<Vec<SyncAction>, String> {
        let Some(pivot) = &self.pivot else { return Ok(Vec::new()) };
        let tail: Tail = decode_tail(bytes)?;
        if tail.block.is_empty() {
            self.failed(peer, now);
            return Ok(Vec::new());
        }
        let tail = check_tail(&pivot.header, tail)?;
        Ok(match (self.import.take(), self.pivot.clone()) {
            (Some(import), Some(offer)) => vec![SyncAction::Finish(Box::new(Finished { import, offer, tail }))],
            _ => Vec::new(),
        })
    }

    fn give_back(&mut self, asked: &Asked) {
        if let (Asked::Pieces(pieces), Some(import)) = (asked, &mut self.import) {
            import.give_back(pieces);
        }
    }

    fn failed(&mut self, peer: u64, now: u64) {
        let pivot = self.pivot.as_ref().map(key_of);
        let Some(source) = self.sources.get_mut(&peer) else { return };
        source.rests_until = now.saturating_add(REST_MS << source.failures.min(6));
        source.failures += 1;
        if source.failures >= MAX_FAILURES {
            source.failures = 0;
            let offers = std::mem::take(&mut source.offers);
            if pivot.is_some_and(|pivot| offers.contains(&pivot)) {
                self.count_given_up(peer);
            }
        }
    }

    /// A peer's offer came to nothing.
    fn count_given_up(&mut self, peer: u64) {
        let count = self.given_up.entry(peer).or_default();
        *count = count.saturating_add(1);
        if self.given_up.len() > MAX_GIVEN_UP {
            self.given_up.pop_first();
        }
    }

    /// What is to be done now.
    pub fn tick(&mut self, now: u64) -> Vec<SyncAction> {
        let late: Vec<u64> =
            self.in_flight.iter().filter(|(_, flight)| flight.deadline <= now).map(|(tag, _)| *tag).collect();
        for tag in late {
            if let Some(flight) = self.in_flight.remove(&tag) {
                self.give_back(&flight.asked);
                if let Some(source) = self.sources.get_mut(&flight.peer) {
                    source.in_flight = source.in_flight.saturating_sub(1);
                }
                self.failed(flight.peer, now);
            }
        }
        let mut actions = Vec::new();
        self.ask_for_offers(now, &mut actions);
        match &self.pivot {
            None => self.choose(now, &mut actions),
            Some(pivot) => {
                let key = key_of(pivot);
                if self.offers.keys().any(|other| *other != key) && self.pace.is_too_slow(now) {
                    self.abandon(key);
                    self.choose(now, &mut actions);
                    return actions;
                }
                self.ask_for_parts(key, now, &mut actions);
            }
        }
        actions
    }

    fn ask(&mut self, peer: u64, asked: Asked, request: PeerRequest, now: u64, actions: &mut Vec<SyncAction>) {
        let tag = self.next_tag;
        self.next_tag += 1;
        if let Some(source) = self.sources.get_mut(&peer) {
            source.in_flight += 1;
        }
        self.in_flight.insert(tag, InFlight { peer, asked, deadline: now.saturating_add(ANSWER_MS) });
        actions.push(SyncAction::Ask { peer, tag, request });
    }

    fn ask_for_offers(&mut self, now: u64, actions: &mut Vec<SyncAction>) {
        let due: Vec<u64> =
            self.sources.iter().filter(|(_, source)| source.ask_offers_at <= now).map(|(peer, _)| *peer).collect();
        for peer in due {
            if let Some(source) = self.sources.get_mut(&peer) {
                source.ask_offers_at = now.saturating_add(ASK_AGAIN_MS);
            }
            self.ask(peer, Asked::Offers, PeerRequest::Offers, now, actions);
        }
        let wanted: Vec<(u64, u64)> = self
            .sources
            .iter_mut()
            .filter(|(_, source)| source.rests_until <= now)
            .filter_map(|(peer, source)| source.wanted_changes.take().map(|epoch| (*peer, epoch)))
            .collect();
        for (peer, epoch) in wanted {
            self.ask(peer, Asked::SetChanges(epoch), PeerRequest::SetChanges(epoch), now, actions);
        }
    }

    /// The pivot: the one that was begun, if it is offered, or else the newest, once others had time to offer theirs. After one was
    /// given up, the newest of the source that has offered the fewest of such, and of these the one that has been here longest: so
    /// each has its turn, whoever comes later and however many they are.
    fn choose(&mut self, now: u64, actions: &mut Vec<SyncAction>) {
        let resumed = self.resume.and_then(|head| self.offers.get(&(head.height, head.hash.0)));
        let waited = self.first_offer_at.is_some_and(|first| now.saturating_sub(first) >= OFFERS_MS);
        let next = if self.given_up.is_empty() {
            self.offers.keys().next_back()
        } else {
            let turn = |peer: &u64| (self.given_up.get(peer).copied().unwrap_or(0), *peer);
            let sources = self.sources.iter().filter(|(_, source)| !source.offers.is_empty());
            sources.min_by_key(|(peer, _)| turn(peer)).and_then(|(_, source)| source.offers.last())
        };
        let next = next.filter(|_| waited).and_then(|key| self.offers.get(key));
        if let Some(offer) = resumed.or(next) {
            actions.push(SyncAction::Open(head_of(offer)));
            self.pivot = Some(offer.clone());
            self.pace = Pace::new(now);
        }
    }

    /// Gives the pivot up. Whoever offers it has had a turn.
    fn abandon(&mut self, pivot: (u64, [u8; 32])) {
        let offering: Vec<u64> = self
            .sources
            .iter_mut()
            .filter_map(|(peer, source)| source.offers.remove(&pivot).then_some(*peer))
            .collect();
        offering.into_iter().for_each(|peer| self.count_given_up(peer));
        self.offers.remove(&pivot);
        self.resume = None;
        self.pivot = None;
        self.import = None;
        self.in_flight.retain(|_, flight| matches!(flight.asked, Asked::Offers | Asked::SetChanges(_)));
        let mut in_flight: BTreeMap<u64, usize> = BTreeMap::new();
        for flight in self.in_flight.values() {
            *in_flight.entry(flight.peer).or_default() += 1;
        }
        for (peer, source) in &mut self.sources {
            source.in_flight = in_flight.get(peer).copied().unwrap_or(0);
        }
    }

    fn ask_for_parts(&mut self, pivot: (u64, [u8; 32]), now: u64, actions: &mut Vec<SyncAction>) {
        if self.import.is_none() {
            return;
        }
        let free: Vec<(u64, usize)> = self
            .sources
            .iter()
            .filter(|(_, source)| source.offers.contains(&pivot) && source.rests_until <= now)
            .map(|(peer, source)| (*peer, WINDOW.saturating_sub(source.in_flight)))
            .collect();
        let slots: usize = free.iter().map(|(_, slots)| slots).sum();
        // First one request to each, then the second.
        for turn in 0..WINDOW {
            for (peer, _) in free.iter().filter(|(_, slots)| *slots > turn) {
                let Some(import) = &mut self.import else { return };
                if import.is_complete() {
                    let waiting = self.in_flight.values().any(|flight| matches!(flight.asked, Asked::Tail));
                    if !waiting {
                        self.ask(*peer, Asked::Tail, PeerRequest::Tail(pivot.0), now, actions);
                    }
                    return;
                }
                // The few pieces of the beginning are spread over all sources.
                let share = import.wanted().div_ceil(slots.max(1)).clamp(1, MAX_PIECES);
                let pieces = import.next_pieces(share);
                if pieces.is_empty() {
                    return;
                }
                let request = PeerRequest::Pieces(pivot.0, pieces.clone());
                self.ask(*peer, Asked::Pieces(pieces), request, now, actions);
            }
        }
    }
}
