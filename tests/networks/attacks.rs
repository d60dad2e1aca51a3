//! What a stranger may try against nodes: each attack runs until it is dropped, and says what it found.

use crate::acts;
use crate::stranger::Victim;
use alloy_primitives::B256;
use bttc_network::PeerId;
use bttc_types::SigningDomain;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use tokio::task::JoinSet;

/// The attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Messages that are rejected, three to a stream, then another stream.
    Rejected,
    /// Fifty streams a second, each with a hello.
    Reopened,
    /// Evidence signed by keys of nobody, as much as the lane allows.
    Evidence,
    /// Connections after the encryption's handshake that say nothing more.
    Silent,
    /// TCP connections that do not even begin the handshake.
    HalfOpen,
    /// Block requests whose answers are not read.
    Unread,
    /// Validly signed transactions of accounts that have nothing.
    Unpayable,
    /// Transactions of rich accounts that wait for one that never comes.
    Gapped,
    /// A hundred identities from one address, one after the other.
    Identities,
    /// Addresses of nobody.
    Addresses,
    /// Bytes that are no messages.
    Malformed,
    /// Votes of nobody for heights to come.
    FutureVotes,
}

impl Attack {
    pub(crate) const ALL: [Self; 12] = [
        Self::Rejected,
        Self::Reopened,
        Self::Evidence,
        Self::Silent,
        Self::HalfOpen,
        Self::Unread,
        Self::Unpayable,
        Self::Gapped,
        Self::Identities,
        Self::Addresses,
        Self::Malformed,
        Self::FutureVotes,
    ];

    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Sessions that one identity may get before it is banned: rejected messages cost 25 of 100 points, three are sent in each, and until the
/// verdicts are there it may open three streams at once and one in two seconds.
const SESSIONS_BEFORE_BAN: usize = 6;
/// Sessions a second that one identity may get by opening streams again.
const SESSIONS_PER_SECOND: usize = 1;
/// Greetings that [`IDENTITIES`] new identities from one address may cost a node.
const GREETINGS: usize = 32;
/// Identities of [`Attack::Identities`].
pub(crate) const IDENTITIES: usize = 100;
/// Silent connections to each node: more than twice the peers that it takes.
pub(crate) const SILENT: usize = 140;
/// Half-open connections to each node: more than it keeps.
pub(crate) const HALF_OPEN: usize = 100;

/// What attacks need to know, and what was prepared for them.
pub(crate) struct Ground {
    pub(crate) victims: Vec<Victim>,
    pub(crate) domain: SigningDomain,
    /// The height of the head.
    pub(crate) head: Arc<AtomicU64>,
    /// Transactions that nobody pays for.
    pub(crate) unpayable: Vec<Vec<u8>>,
    /// How many bytes of them a second, over all victims.
    pub(crate) unpayable_bytes: usize,
    /// Transactions behind gaps.
    pub(crate) gapped: Vec<Vec<u8>>,
    /// Heights of large blocks: the first of sixteen.
    pub(crate) large_blocks: u64,
    /// When a transaction of our own load was handed to its node. What came to a session and is older was not news: it is a greeting.
    pub(crate) handed: Handed,
}

/// When a transaction was handed to its node, if it is one of ours.
pub(crate) type Handed = Arc<dyn Fn(&B256) -> Option<Instant> + Send + Sync>;

/// What an attack counts.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Messages, streams or connections that went out.
    pub(crate) sent: usize,
    /// Connections and hellos that were refused.
    pub(crate) refused: usize,
    /// Greetings that came.
    pub(crate) greetings: usize,
    /// Identities tried.
    pub(crate) identities: usize,
    /// Most connections held at a time, by victim.
    pub(crate) held: HashMap<String, usize>,
    /// Sessions by victim and identity.
    pub(crate) sessions: HashMap<(String, PeerId), usize>,
}

pub(crate) type Shared = Arc<Mutex<Notes>>;

/// A running attack; it ends with the value.
pub(crate) struct Raid {
    attack: Attack,
    victims: usize,
    began: Instant,
    notes: Shared,
    _tasks: JoinSet<()>,
}

impl Raid {
    /// Whether it has done what it cannot do without; most need nothing but time.
    pub(crate) fn is_under_way(&self) -> bool {
        let notes = self.notes.lock();
        match self.attack {
            Attack::Identities => notes.identities >= IDENTITIES,
            // Whoever asks again has lost some: the places are taken.
            Attack::Silent => notes.sent >= self.victims * (SILENT + 10),
            _ => true,
        }
    }

    /// What it counted.
    pub(crate) fn summary(&self) -> String {
        let notes = self.notes.lock();
        let sessions = notes.sessions.values().max().copied().unwrap_or(0);
        format!(
            "{} sent, {} refused, at most {sessions} sessions of an identity, {} greetings, held {:?}",
            notes.sent, notes.refused, notes.greetings, notes.held
        )
    }

    /// What a node let happen that it must not.
    pub(crate) fn violations(&self) -> Vec<String> {
        let seconds = self.began.elapsed().as_secs() as usize;
        let notes = self.notes.lock();
        let sessions = notes.sessions.values().max().copied().unwrap_or(0);
        let mut wrong = Vec::new();
        let mut bound = |what: &str, got: usize, limit: usize| {
            if got > limit {
                wrong.push(format!("{what}: {got}, at most {limit} in {seconds} s"));
            }
        };
        match self.attack {
            Attack::Rejected => {
                bound("sessions of one identity that sends what is rejected", sessions, SESSIONS_BEFORE_BAN)
            }
            Attack::Reopened => {
                bound("sessions of one identity", sessions, 2 + seconds * SESSIONS_PER_SECOND);
                bound("greetings of one identity at each node", notes.greetings, (2 + seconds) * notes.sessions.len());
            }
            Attack::Identities => bound("greetings of a hundred identities", notes.greetings, GREETINGS),
            Attack::Evidence
            | Attack::Silent
            | Attack::HalfOpen
            | Attack::Unread
            | Attack::Unpayable
            | Attack::Gapped
            | Attack::Addresses
            | Attack::Malformed
            | Attack::FutureVotes => {}
        }
        if notes.sent == 0 {
            wrong.push("the attack did nothing".into());
        }
        wrong
    }
}

/// Begins an attack on these victims.
pub(crate) fn launch(attack: Attack, ground: &Arc<Ground>, victims: &[Victim]) -> Raid {
    let notes = Shared::default();
    let mut tasks = JoinSet::new();
    for (index, victim) in victims.iter().enumerate() {
        let (ground, notes) = (Arc::clone(ground), Arc::clone(&notes));
        let share = (index, victims.len());
        let one = move || (victim.clone(), Arc::clone(&ground), Arc::clone(&notes));
        match attack {
            Attack::Rejected => drop(tasks.spawn(acts::rejected(one()))),
            Attack::Reopened => drop(tasks.spawn(acts::reopened(one()))),
            Attack::Evidence => (0..4).for_each(|_| drop(tasks.spawn(acts::evidence(one())))),
            Attack::Silent => drop(tasks.spawn(acts::silent(one()))),
            Attack::HalfOpen => drop(tasks.spawn(acts::half_open(one()))),
            Attack::Unread => (0..4).for_each(|_| drop(tasks.spawn(acts::unread(one())))),
            Attack::Unpayable => drop(tasks.spawn(acts::unpayable(one(), share.1))),
            Attack::Gapped => drop(tasks.spawn(acts::gapped(one(), share))),
            Attack::Identities => (0..4).for_each(|_| drop(tasks.spawn(acts::identities(one())))),
            Attack::Addresses => drop(tasks.spawn(acts::addresses(one()))),
            Attack::Malformed => drop(tasks.spawn(acts::malformed(one()))),
            Attack::FutureVotes => drop(tasks.spawn(acts::future_votes(one()))),
        }
    }
    Raid { attack, victims: victims.len(), began: Instant::now(), notes, _tasks: tasks }
}
