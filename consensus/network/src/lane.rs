//! Lanes: what has priority over what, and how much of it there may be.

use crate::Error;
use bttc_types::{MAX_BLOCK_BYTES, MAX_PARTS, MAX_TRANSACTION_BYTES, MAX_VALIDATORS, PART_BYTES};

/// The lanes in order of priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes.
    Votes = 0,
    /// Proposals and block parts.
    Proposals = 1,
    /// Votes of a whole round, for peers that missed them.
    Certificates = 2,
    /// Proof of misbehaviour.
    Evidence = 3,
    /// Bridge attestations.
    Attestations = 4,
    /// Node to node: heights, addresses.
    Control = 5,
    /// Transactions.
    Transactions = 6,
}

/// Number of lanes.
pub const LANES: usize = 7;

/// Block parts and proposals carry signature, header and proof beside the bytes.
const PART_OVERHEAD: usize = 2 * 1024;

impl Lane {
    /// All lanes, highest priority first.
    pub const ALL: [Self; LANES] = [
        Self::Votes,
        Self::Proposals,
        Self::Certificates,
        Self::Evidence,
        Self::Attestations,
        Self::Control,
        Self::Transactions,
    ];

    /// The lane with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Proposals => "proposals",
            Self::Certificates => "certificates",
            Self::Evidence => "evidence",
            Self::Attestations => "attestations",
            Self::Control => "control",
            Self::Transactions => "transactions",
        }
    }

    /// Largest message. What is announced above this is not read: the peer is disconnected.
    pub const fn max_message(self) -> usize {
        match self {
            Self::Votes => 512,
            Self::Proposals => PART_BYTES + PART_OVERHEAD,
            // Two votes of 160 bytes from each validator.
            Self::Certificates => 2 * MAX_VALIDATORS * 160 + 256,
            Self::Evidence => 2 * 1024,
            Self::Attestations => 8 * 1024,
            Self::Control => 16 * 1024,
            Self::Transactions => MAX_TRANSACTION_BYTES + 64,
        }
    }

    /// Bytes that may wait for one peer. Memory: the sum of all lanes (about 28 MiB) for each peer at most.
    pub const fn queue_bytes(self) -> usize {
        match self {
            Self::Votes | Self::Evidence | Self::Control => 256 * 1024,
            // Two whole blocks.
            Self::Proposals => 2 * MAX_BLOCK_BYTES + 2 * MAX_PARTS as usize * PART_OVERHEAD,
            Self::Certificates | Self::Attestations => 1024 * 1024,
            Self::Transactions => 8 * 1024 * 1024,
        }
    }

    /// Bytes a second that one peer may send, averaged; it may burst to four seconds' worth.
    pub const fn quota_bytes(self) -> u64 {
        match self {
            // 255 validators, 2 votes a height, 10 heights a second, 300 bytes, from each peer that passes them on.
            Self::Votes => 2 * 1024 * 1024,
            // Four full blocks a second.
            Self::Proposals => 4 * (MAX_BLOCK_BYTES as u64 + MAX_BLOCK_BYTES as u64 / 16),
            Self::Certificates | Self::Attestations => 1024 * 1024,
            Self::Evidence | Self::Control => 64 * 1024,
            Self::Transactions => 8 * 1024 * 1024,
        }
    }

    /// Messages a second that one peer may send, averaged.
    pub const fn quota_messages(self) -> u64 {
        match self {
            Self::Votes => 10_000,
            Self::Proposals => 2_000,
            Self::Certificates => 200,
            Self::Evidence | Self::Control => 50,
            Self::Attestations => 1_000,
            // Four validators at full load pass on every transaction.
            Self::Transactions => 40_000,
        }
    }

    /// When a queue is full: whether the oldest message goes (it is superseded by newer ones) or the new one.
    pub const fn drops_oldest(self) -> bool {
        match self {
            Self::Votes | Self::Proposals | Self::Certificates | Self::Control => true,
            Self::Evidence | Self::Attestations | Self::Transactions => false,
        }
    }
}

/// Checks that the limits agree with each other and with those of a block. Called at start.
///
/// # Errors
/// [`Error::Limits`].
pub fn assert_limits() -> Result<(), Error> {
    let check = |ok: bool, what: &str| if ok { Ok(()) } else { Err(Error::Limits(what.to_owned())) };
    check(PART_BYTES * MAX_PARTS as usize >= MAX_BLOCK_BYTES, "a block must fit into its parts")?;
    check(Lane::Proposals.max_message() >= PART_BYTES + 1024, "a part with its proof must fit into a message")?;
    check(
        Lane::Proposals.queue_bytes() >= MAX_PARTS as usize * Lane::Proposals.max_message(),
        "a whole block must fit into a peer's queue",
    )?;
    check(Lane::Transactions.max_message() > MAX_TRANSACTION_BYTES, "a transaction must fit into a message")?;
    check(
        crate::codec::MAX_RESPONSE_BYTES > MAX_BLOCK_BYTES + 64 * 1024,
        "a block with its certificate must fit into a response",
    )?;
    for lane in Lane::ALL {
        check(lane.queue_bytes() >= lane.max_message(), "every message must fit into its queue")?;
        check(
            lane.quota_bytes().saturating_mul(4) >= lane.max_message() as u64,
            "every message must fit into its quota's burst",
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn limits_agree() {
        super::assert_limits().unwrap();
    }
}
