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
}

impl Mutant {
    /// All of them with their names.
    pub const ALL: [(Self, &'static str); 10] = [
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
