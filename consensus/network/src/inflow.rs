//! What comes of one peer: how fast its frames are read, how many of its messages wait to be judged, and the tickets of
//! those that wait.

use crate::handle::Command;
use crate::lane::Lane;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Messages of a peer that wait for the engine's verdict. When they are so many, nothing more of it is read.
const UNJUDGED: usize = 64;
/// Votes of the bridge that wait for theirs, as many as a peer may be greeted with. Further ones are dropped: consensus,
/// which shares the stream, must not wait for the bridge, and they are told again.
const UNJUDGED_ATTESTATIONS: usize = 512;

/// Frames a second of all lanes but that of transactions: as many as the lanes together may carry that are new.
const FRAMES: u64 = Lane::Votes.quota_messages()
    + Lane::Proposals.quota_messages()
    + Lane::Certificates.quota_messages()
    + Lane::Evidence.quota_messages()
    + Lane::Attestations.quota_messages()
    + Lane::Control.quota_messages();
/// Frames of transactions a second, apart: they are many, and cheap.
const TRANSACTIONS: u64 = Lane::Transactions.quota_messages();
/// How much of a rate may come at once: more than an honest peer ever says in one go.
const BURST: Duration = Duration::from_millis(500);

/// When the next frames of a peer are due. What comes too soon waits on the stream; nobody else does.
#[derive(Debug)]
struct Pace {
    frames: Instant,
    transactions: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { frames: now, transactions: now }
    }

    /// Counts a frame. Returns how long it has to wait.
    fn take(&mut self, lane: Lane, now: Instant) -> Duration {
        let (due, rate) = match lane {
            Lane::Transactions => (&mut self.transactions, TRANSACTIONS),
            Lane::Votes
            | Lane::Proposals
            | Lane::Certificates
            | Lane::Evidence
            | Lane::Attestations
            | Lane::Control => (&mut self.frames, FRAMES),
        };
        *due = (*due).max(now) + Duration::from_nanos(1_000_000_000 / rate);
        due.saturating_duration_since(now + BURST)
    }
}

/// The way in of one peer, shared by its sessions and by what came of them.
#[derive(Debug)]
pub(crate) struct Inflow {
    pace: Mutex<Pace>,
    consensus: Arc<Semaphore>,
    attestations: Arc<Semaphore>,
    void: AtomicBool,
}

impl Default for Inflow {
    fn default() -> Self {
        Self {
            pace: Mutex::new(Pace::new(Instant::now())),
            consensus: Arc::new(Semaphore::new(UNJUDGED)),
            attestations: Arc::new(Semaphore::new(UNJUDGED_ATTESTATIONS)),
            void: AtomicBool::new(false),
        }
    }
}

impl Inflow {
    /// Lets a frame in as soon as it is its turn and there is a place for it; none when it is to be dropped.
    pub(crate) async fn enter(self: &Arc<Self>, lane: Lane) -> Option<Place> {
        let wait = self.pace.lock().take(lane, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let permit = match lane {
            Lane::Votes | Lane::Proposals | Lane::Certificates | Lane::Evidence => {
                Some(Arc::clone(&self.consensus).acquire_owned().await.ok()?)
            }
            Lane::Attestations => Some(Arc::clone(&self.attestations).try_acquire_owned().ok()?),
            // Nobody judges the one, and of the others a bounded queue keeps what waits.
            Lane::Control | Lane::Transactions => None,
        };
        Some(Place { inflow: Arc::clone(self), _permit: permit })
    }

    /// Nothing more is read of the peer, and what waits of it is not worth a look.
    pub(crate) fn void(&self) {
        self.void.store(true, Ordering::Release);
        // Whoever waits for a place is woken.
        self.consensus.close();
    }

    /// Whether [`Self::void`] was called.
    pub(crate) fn is_void(&self) -> bool {
        self.void.load(Ordering::Acquire)
    }
}

/// A place among the frames of a peer that wait; it is free again when the value goes.
#[derive(Debug)]
pub(crate) struct Place {
    inflow: Arc<Inflow>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// What a verdict is given for, see [`crate::NetworkHandle::verdict`]. Until then its message counts among the few of its
/// sender that may wait. A message whose ticket is dropped counts as ignored: should it come again, it is delivered again.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    open: bool,
    place: Place,
    /// Weak, so that messages that wait do not keep the network running.
    commands: WeakUnboundedSender<Command>,
}

impl Ticket {
    /// The ticket of a message with this number, which has this place.
    pub(crate) fn new(number: u64, place: Place, commands: WeakUnboundedSender<Command>) -> Self {
        Self { number, open: true, place, commands }
    }

    /// Whether its sender has been banned since the message came: whoever has many of them may drop it unread. Few are judged,
    /// because some may be what the peer passed on of others.
    pub fn is_void(&self) -> bool {
        self.place.inflow.is_void()
    }

    /// The sender is banned, and with this message all others that it sent are void.
    pub(crate) fn void_sender(&self) {
        self.place.inflow.void();
    }

    /// The message's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Frees the place without a further word. Returns the message's number.
    pub(crate) fn close(mut self) -> u64 {
        self.open = false;
        self.number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open
            && let Some(commands) = self.commands.upgrade()
        {
            let _ = commands.send(Command::Unjudged(self.number));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tokio::sync::mpsc;

    /// The ticket of a message for whose verdict nobody waits.
    pub(crate) fn ticket(number: u64) -> Ticket {
        let place = Place { inflow: Arc::new(Inflow::default()), _permit: None };
        Ticket::new(number, place, mpsc::unbounded_channel().0.downgrade())
    }

    #[test]
    fn frames_beyond_the_burst_wait_for_their_time() {
        let start = Instant::now();
        for (lane, rate) in [(Lane::Votes, FRAMES), (Lane::Control, FRAMES), (Lane::Transactions, TRANSACTIONS)] {
            let mut pace = Pace::new(start);
            let burst = (0..rate).take_while(|_| pace.take(lane, start).is_zero()).count() as u64;
            assert!(burst.abs_diff(rate / 2) <= 1, "{burst} at once of {rate} a second");
            // Who waits each time as it should is read at the rate, from now on and for ever.
            let mut now = start;
            for _ in 0..3 * rate {
                now += pace.take(lane, now);
            }
            let taken = now.duration_since(start).as_millis();
            assert!((2_990..=3_010).contains(&taken), "{} frames in {taken} ms", 3 * rate);
            // A rest saves up no more than the burst.
            now += Duration::from_secs(60);
            let burst = (0..rate).take_while(|_| pace.take(lane, now).is_zero()).count() as u64;
            assert!(burst.abs_diff(rate / 2) <= 1, "{burst} at once after a rest");
        }
    }

    #[test]
    fn a_flood_of_transactions_costs_votes_no_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        while pace.take(Lane::Transactions, start).is_zero() {}
        assert!(pace.take(Lane::Votes, start).is_zero());
    }

    #[tokio::test]
    async fn what_waits_of_a_peer_is_bounded_and_a_dropped_ticket_makes_room() {
        let (commands, mut unjudged) = mpsc::unbounded_channel();
        let inflow = Arc::new(Inflow::default());
        let mut held = Vec::new();
        for (number, lane) in
            [Lane::Votes, Lane::Proposals, Lane::Certificates, Lane::Evidence].iter().cycle().enumerate()
        {
            let entering = inflow.enter(*lane);
            let Ok(place) = tokio::time::timeout(Duration::from_millis(100), entering).await else { break };
            held.push(Ticket::new(number as u64, place.unwrap(), commands.downgrade()));
        }
        assert_eq!(held.len(), UNJUDGED, "all four lanes together");
        for lane in [Lane::Control, Lane::Transactions] {
            assert!(inflow.enter(lane).await.is_some(), "{} does not wait for the engine", lane.name());
        }
        let waiting = tokio::spawn({
            let inflow = Arc::clone(&inflow);
            async move { inflow.enter(Lane::Votes).await.is_some() }
        });
        drop(held.pop());
        let entered = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        assert!(entered.is_ok_and(|entered| entered.unwrap()), "a dropped ticket makes room");
        assert!(matches!(unjudged.try_recv(), Ok(Command::Unjudged(63))), "and the network hears of it");
        assert_eq!(held.pop().map(Ticket::close), Some(62));
        assert!(unjudged.try_recv().is_err(), "what was judged needs no further word");
    }

    #[tokio::test]
    async fn votes_of_the_bridge_hold_nothing_up() {
        let inflow = Arc::new(Inflow::default());
        let mut held = Vec::new();
        while let Some(place) = inflow.enter(Lane::Attestations).await {
            held.push(place);
        }
        assert_eq!(held.len(), UNJUDGED_ATTESTATIONS);
        assert!(inflow.enter(Lane::Votes).await.is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_place_with_a_banned_peer() {
        let inflow = Arc::new(Inflow::default());
        let mut held = Vec::new();
        for _ in 0..UNJUDGED {
            held.push(inflow.enter(Lane::Votes).await.unwrap());
        }
        let waiting = tokio::spawn({
            let inflow = Arc::clone(&inflow);
            async move { inflow.enter(Lane::Votes).await.is_none() }
        });
        tokio::task::yield_now().await;
        inflow.void();
        let left = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        assert!(left.is_ok_and(|left| left.unwrap()) && inflow.is_void());
    }

    #[test]
    fn tickets_do_not_keep_the_network_running() {
        let (commands, mut received) = mpsc::unbounded_channel();
        let place = Place { inflow: Arc::new(Inflow::default()), _permit: None };
        let _ticket = Ticket::new(1, place, commands.downgrade());
        drop(commands);
        assert!(matches!(received.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    }
}
