//! What can go wrong, and how often it did.

use std::fmt;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $($(#[doc = $doc])+ $name,)+ }

        impl Fault {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name on the command line and in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

faults! {
    /// A message is lost.
    Loss = "loss",
    /// A message arrives twice.
    Duplication = "duplication",
    /// A message is overtaken by later ones.
    Reordering = "reordering",
    /// All links of a node are slow for a while.
    Slowness = "slowness",
    /// The network falls into two parts for a while.
    Partition = "partition",
    /// A node dies at a moment of its choosing between two effects: writes, syncs, sends.
    Crash = "crash",
    /// A crash leaves part of the log's unsynced tail, or garbage of its length.
    TornWrite = "torn-write",
    /// A crash loses synced-later data: everything written since the last sync.
    LostWrites = "lost-writes",
    /// A sync fails once; what it should have kept may be gone.
    FailedSync = "failed-sync",
    /// Writes fail for a while.
    FullDisk = "full-disk",
    /// A byte of the log's synced part flips while the node is down.
    LogDamage = "log-damage",
    /// The log is gone when the node starts again.
    LogLoss = "log-loss",
    /// A node's wall clock jumps.
    ClockSkew = "clock-skew",
    /// The validator set changes at an epoch's boundary.
    SetChange = "set-change",
    /// A proposer proposes two blocks to two halves of the network.
    DoubleProposal = "double-proposal",
    /// A validator votes twice in one step.
    DoubleVote = "double-vote",
    /// A validator forgets its lock and votes for whatever is proposed.
    Amnesia = "amnesia",
    /// A proposer holds back parts of its block.
    WithheldParts = "withheld-parts",
    /// A proposer announces parts that are no block.
    GarbageParts = "garbage-parts",
    /// A validator's votes come late.
    LateVotes = "late-votes",
    /// A validator sends votes for many rounds and blocks.
    VoteFlood = "vote-flood",
    /// A validator sends messages for heights that nobody works on.
    HeightFlood = "height-flood",
    /// A peer claims heights it does not have and answers block requests with rubbish.
    LyingSync = "lying-sync",
    /// Two nodes run with one key.
    Twin = "twin",
    /// A peer sends old messages again.
    StaleReplay = "stale-replay",
    /// A proposer's block carries a time far off.
    UntimelyProposal = "untimely-proposal",
    /// A peer accuses an honest validator with made-up evidence.
    ForgedEvidence = "forged-evidence",
    /// A validator proposes when it is not its turn.
    Usurpation = "usurpation",
    /// A validator sends votes with one field changed, signed again.
    ReSignedVote = "re-signed-vote",
    /// A validator sends proposals with one field changed, signed again.
    ReSignedProposal = "re-signed-proposal",
    /// A validator sends block parts with one field changed, announced and signed again.
    ReSignedPart = "re-signed-part",
    /// A proposer changes one field of its block, hashes it again and proposes that.
    ReSignedBlock = "re-signed-block",
    /// A validator sends round certificates with one field changed, its own votes in them signed again.
    ReSignedCertificate = "re-signed-certificate",
    /// A validator sends evidence with one field changed, its own messages in it signed again.
    ReSignedEvidence = "re-signed-evidence",
    /// A validator sends good evidence against itself, dozens of pieces a second.
    SelfEvidence = "self-evidence",
    /// A peer claims heights from nothing to the greatest number.
    LyingStatus = "lying-status",
    /// A peer answers block requests with one field changed, its own signatures made again.
    ReSignedSync = "re-signed-sync",
    /// A validator votes for nil in round 10 of the next height as soon as a height begins.
    EarlyVotes = "early-votes",
    /// A validator votes for the hash of zeros, and lets its own rounds fail.
    ZeroHash = "zero-hash",
    /// Liars propose one block an hour ahead of time in two rounds, or one block at two heights.
    OneHashTwoRounds = "one-hash-two-rounds",
    /// A proposer cuts its block into parts in two ways.
    TwoCuts = "two-cuts",
    /// A proposer's block names a round that is far away.
    HugeRound = "huge-round",
    /// A validator proposes two blocks for each of the next two rounds that are its own, before they begin.
    FutureRounds = "future-rounds",
    /// A peer sends what is rejected and opens its stream again before it is banned, many times a second.
    ReopenedStreams = "reopened-streams",
    /// A node starts on an older copy of its database, below its guard and its log.
    OlderDatabase = "older-database",
    /// A node starts on an empty database, below its guard and its log.
    EmptiedDatabase = "emptied-database",
    /// A node starts on the database of another honest node, below its guard and its log.
    ReplacedDatabase = "replaced-database",
    /// Half of the wall clocks are off by ten seconds.
    ClocksApart = "clocks-apart",
}

impl Fault {
    /// Faults of a validator that breaks the protocol, except twins, which run honest code.
    pub const BYZANTINE: &'static [Self] = &[
        Self::DoubleProposal,
        Self::DoubleVote,
        Self::Amnesia,
        Self::WithheldParts,
        Self::GarbageParts,
        Self::LateVotes,
        Self::VoteFlood,
        Self::HeightFlood,
        Self::LyingSync,
        Self::StaleReplay,
        Self::UntimelyProposal,
        Self::ForgedEvidence,
        Self::Usurpation,
        Self::ReSignedVote,
        Self::ReSignedProposal,
        Self::ReSignedPart,
        Self::ReSignedBlock,
        Self::ReSignedCertificate,
        Self::ReSignedEvidence,
        Self::SelfEvidence,
        Self::LyingStatus,
        Self::ReSignedSync,
        Self::EarlyVotes,
        Self::ZeroHash,
        Self::OneHashTwoRounds,
        Self::TwoCuts,
        Self::HugeRound,
        Self::FutureRounds,
        Self::ReopenedStreams,
    ];

    /// Databases that are replaced while a node is down; its guard and its log stay.
    pub const RESTORES: &'static [Self] = &[Self::OlderDatabase, Self::EmptiedDatabase, Self::ReplacedDatabase];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kinds that are on in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSet(Vec<Fault>);

impl FaultSet {
    /// Every kind.
    pub fn all() -> Self {
        Self(Fault::ALL.to_vec())
    }

    /// One kind.
    pub fn only(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// No kind.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// `all`, `none` or names separated by commas.
    ///
    /// # Errors
    /// The name that is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::all()),
            "none" => Ok(Self::none()),
            list => list
                .split(',')
                .map(|name| {
                    Fault::ALL.iter().find(|fault| fault.name() == name).copied().ok_or_else(|| {
                        format!(
                            "unknown fault {name:?}; known: all, none, {}",
                            Fault::ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ")
                        )
                    })
                })
                .collect::<Result<_, _>>()
                .map(Self),
        }
    }

    /// Whether a kind is on.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// The kinds among these that are on.
    pub fn among(&self, kinds: &[Fault]) -> Vec<Fault> {
        kinds.iter().copied().filter(|kind| self.has(*kind)).collect()
    }
}

impl fmt::Display for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|fault| fault.name()).collect();
        match names.len() {
            0 => f.write_str("none"),
            all if all == Fault::ALL.len() => f.write_str("all"),
            _ => f.write_str(&names.join(",")),
        }
    }
}

/// How often each kind fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl Default for FaultCounts {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl FaultCounts {
    /// One more.
    pub fn count(&mut self, fault: Fault) {
        if let Some(count) = self.0.get_mut(fault as usize) {
            *count += 1;
        }
    }

    /// How often it fired.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(fault as usize).copied().unwrap_or(0)
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}
