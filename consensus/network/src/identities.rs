//! Who peers are to us: each identity has one number and one standing, whatever streams and connections come and go.

use crate::lane::{LANES, Lane};
use crate::router::PeerId64;
use crate::standing::{Bucket, Quota, Rate, Score};
use libp2p::PeerId;
use lru::LruCache;
use std::collections::HashMap;
use std::num::NonZeroUsize;

/// How often a peer may open the gossip stream: a node that starts anew comes back with its first dial.
pub(crate) const STREAMS: Rate = Rate { interval_ms: 2_000, burst: 3 };

/// How often a peer is sent what it may have missed.
pub(crate) const GREETINGS: Rate = Rate { interval_ms: 5_000, burst: 1 };

/// What we know of an identity. About 400 bytes.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) id: PeerId,
    /// Never banned, never forgotten.
    pub(crate) protected: bool,
    pub(crate) score: Score,
    pub(crate) quotas: [Quota; LANES],
    pub(crate) streams: Bucket,
    pub(crate) greetings: Bucket,
}

impl Standing {
    fn new(id: PeerId, now_ms: u64) -> Self {
        Self {
            id,
            protected: false,
            score: Score::default(),
            quotas: Lane::ALL.map(|lane| Quota::new(lane, now_ms)),
            streams: Bucket::full(STREAMS, now_ms),
            greetings: Bucket::full(GREETINGS, now_ms),
        }
    }
}

/// The identities. Those that are not connected are kept until there are too many of them; connected and protected ones
/// are never forgotten.
#[derive(Debug)]
pub(crate) struct Identities {
    numbers: HashMap<PeerId, PeerId64>,
    standings: HashMap<PeerId64, Standing>,
    gone: LruCache<PeerId64, ()>,
    next: PeerId64,
}

impl Identities {
    /// Nobody yet; `remembered` of those that are not connected are kept.
    pub(crate) fn new(remembered: usize) -> Self {
        let remembered = NonZeroUsize::new(remembered).unwrap_or(NonZeroUsize::MIN);
        Self { numbers: HashMap::new(), standings: HashMap::new(), gone: LruCache::new(remembered), next: 1 }
    }

    /// The number of an identity, the same as long as it is remembered.
    pub(crate) fn number_of(&mut self, id: &PeerId, now_ms: u64) -> PeerId64 {
        if let Some(number) = self.numbers.get(id) {
            // Who is spoken of is not the first to be forgotten.
            self.gone.promote(number);
            return *number;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.numbers.insert(*id, number);
        self.standings.insert(number, Standing::new(*id, now_ms));
        self.retire(number);
        number
    }

    /// An identity is never banned and never forgotten.
    pub(crate) fn protect(&mut self, id: &PeerId, now_ms: u64) {
        let number = self.number_of(id, now_ms);
        self.gone.pop(&number);
        if let Some(standing) = self.standings.get_mut(&number) {
            standing.protected = true;
        }
    }

    /// An identity is connected, under this number.
    pub(crate) fn enter(&mut self, number: PeerId64, id: PeerId, protected: bool, now_ms: u64) {
        let known = self.numbers.insert(id, number).and_then(|before| {
            self.gone.pop(&before);
            self.standings.remove(&before)
        });
        self.next = self.next.max(number.saturating_add(1));
        let standing = known.unwrap_or_else(|| Standing::new(id, now_ms));
        let protected = protected || standing.protected;
        self.standings.insert(number, Standing { protected, ..standing });
    }

    /// An identity is connected no more.
    pub(crate) fn leave(&mut self, number: PeerId64) {
        if self.standings.get(&number).is_some_and(|standing| !standing.protected) {
            self.retire(number);
        }
    }

    /// Begins anew with an identity.
    pub(crate) fn forgive(&mut self, number: PeerId64, now_ms: u64) {
        if let Some(standing) = self.standings.get_mut(&number) {
            *standing = Standing { protected: standing.protected, ..Standing::new(standing.id, now_ms) };
        }
    }

    fn retire(&mut self, number: PeerId64) {
        if let Some((oldest, ())) = self.gone.push(number, ())
            && oldest != number
            && let Some(standing) = self.standings.remove(&oldest)
        {
            self.numbers.remove(&standing.id);
        }
    }

    pub(crate) fn get(&self, number: PeerId64) -> Option<&Standing> {
        self.standings.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: PeerId64) -> Option<&mut Standing> {
        self.standings.get_mut(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::Identities;
    use libp2p::PeerId;

    #[test]
    fn numbers_stay_and_the_oldest_of_those_that_went_are_forgotten() {
        let mut identities = Identities::new(100);
        let (connected, protected) = (PeerId::random(), PeerId::random());
        let enter = |identities: &mut Identities, id, guard| {
            let number = identities.number_of(&id, 0);
            identities.enter(number, id, guard, 0);
            number
        };
        let first = enter(&mut identities, connected, false);
        let second = enter(&mut identities, protected, true);
        identities.leave(second);
        let strangers: Vec<(PeerId, u64)> = (0..1_000)
            .map(|_| {
                let id = PeerId::random();
                let number = enter(&mut identities, id, false);
                identities.leave(number);
                (id, number)
            })
            .collect();
        assert_eq!(identities.standings.len(), 102);
        assert_eq!(identities.numbers.len(), 102);
        assert_eq!(identities.number_of(&connected, 1), first);
        assert_eq!(identities.number_of(&protected, 1), second);
        let (id, number) = strangers[999];
        assert_eq!(identities.number_of(&id, 1), number);
        let (id, number) = strangers[0];
        assert_ne!(identities.number_of(&id, 1), number, "a number is never given to another identity");
    }
}
