//! Deliberate faults of a node, to show that the simulation sees them. Without the feature `mutants`, which no product
//! build has, [`Mutant::active`] is constantly false and the compiler removes every use.

/// A rule that a mutated node breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mutant {
    /// The write-ahead log is not flushed before messages go out.
    FlushSkipped = 1,
    /// The signer's guard allows everything.
    GuardOff = 2,
    /// A locked validator prevotes for another block.
    LockRule = 3,
    /// A quorum counts validators and not their power.
    QuorumByCount = 4,
    /// Certificates of synced blocks are not verified.
    CertificateUnchecked = 5,
    /// Proposals of anybody in the set are taken.
    ProposerUnchecked = 6,
    /// Synced ranges need not be contiguous.
    SyncContiguity = 7,
    /// A block's records are written in two batches.
    CommitAtomicity = 8,
    /// A height's validator set is looked up one epoch late.
    SetOffByOneEpoch = 9,
    /// Evidence is passed on and acted on unverified.
    EvidenceUnchecked = 10,
    /// The round that a block names is not compared with the round of its proposal, and is not bounded.
    RoundUnchecked = 11,
    /// A proposal's time is judged once for each block, not once for each proposal.
    TimeOncePerBlock = 12,
    /// Every valid piece of evidence and every conflicting vote is passed on, and relays pay for what they pass on.
    FloodsPassedOn = 13,
    /// A peer's standing belongs to its session and not to its identity.
    StandingPerSession = 14,
    /// Any message of the next height starts it at once.
    EarlyStart = 15,
    /// A vote for the zero hash counts as a vote for a block, and stands for nil in certificates.
    ZeroHashTaken = 16,
}

impl Mutant {
    /// All of them with their names.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::FlushSkipped, "flush-skipped"),
        (Self::GuardOff, "guard-off"),
        (Self::LockRule, "lock-rule"),
        (Self::QuorumByCount, "quorum-by-count"),
        (Self::CertificateUnchecked, "certificate-unchecked"),
        (Self::ProposerUnchecked, "proposer-unchecked"),
        (Self::SyncContiguity, "sync-contiguity"),
        (Self::CommitAtomicity, "commit-atomicity"),
        (Self::SetOffByOneEpoch, "set-off-by-one-epoch"),
        (Self::EvidenceUnchecked, "evidence-unchecked"),
        (Self::RoundUnchecked, "round-unchecked"),
        (Self::TimeOncePerBlock, "time-once-per-block"),
        (Self::FloodsPassedOn, "floods-passed-on"),
        (Self::StandingPerSession, "standing-per-session"),
        (Self::EarlyStart, "early-start"),
        (Self::ZeroHashTaken, "zero-hash-taken"),
    ];

    /// Whether this fault is on.
    #[cfg(not(feature = "mutants"))]
    pub const fn active(self) -> bool {
        false
    }

    /// Whether this fault is on.
    #[cfg(feature = "mutants")]
    pub fn active(self) -> bool {
        ACTIVE.load(std::sync::atomic::Ordering::Relaxed) == self as u8
    }
}

#[cfg(feature = "mutants")]
static ACTIVE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Turns one fault on for the whole process, or all off.
#[cfg(feature = "mutants")]
pub fn set_mutant(mutant: Option<Mutant>) {
    ACTIVE.store(mutant.map_or(0, |mutant| mutant as u8), std::sync::atomic::Ordering::Relaxed);
}
