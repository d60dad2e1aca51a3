//! Limits of the pool, each with the attack it stops.

/// Limits. A flood of valid transactions costs its sender fees only when they are included, so memory must be
/// bounded by number and bytes, per sender and in total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Transactions of one sender. 4,096 lets an exchange or a load test queue minutes of work.
    pub max_per_sender: usize,
    /// Bytes of one sender: without it one sender could hold 4,096 x 128 KiB = 512 MiB.
    pub max_bytes_per_sender: usize,
    /// Transactions in total.
    pub max_transactions: usize,
    /// Bytes in total.
    pub max_bytes: usize,
    /// First pending transactions of each sender that are worth their place by what they offer. In a full pool those
    /// beyond go before any first one, whatever they offer: an account that is emptied ends all its transactions at
    /// once and unpaid, so that otherwise few accounts could take everybody's place for nothing.
    pub first_per_sender: usize,
    /// Queued transactions of one sender. They may never become executable, so they pay for no place; 64 is more than
    /// what the network puts out of order.
    pub max_queued_per_sender: usize,
    /// Share of transactions and of bytes that queued ones may have in all, percent.
    pub queued_percent: usize,
    /// Share of transactions and of bytes that is kept for local ones, percent. More than this would let whoever uses a
    /// public node push out everybody else's for the lowest price.
    pub local_percent: usize,
    /// By how much a replacement must raise both fee cap and tip, percent.
    pub replacement_percent: u128,
    /// How long a pending transaction is kept, milliseconds.
    pub pending_lifetime_ms: u64,
    /// How long a queued transaction is kept, milliseconds.
    pub queued_lifetime_ms: u64,
    /// Reasons of dropped transactions that are remembered.
    pub remembered_drops: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_per_sender: 4_096,
            max_bytes_per_sender: 8 << 20,
            max_transactions: 100_000,
            max_bytes: 256 << 20,
            first_per_sender: 64,
            max_queued_per_sender: 64,
            queued_percent: 10,
            local_percent: 10,
            replacement_percent: 10,
            pending_lifetime_ms: 3 * 3_600_000,
            queued_lifetime_ms: 30 * 60_000,
            remembered_drops: 20_000,
        }
    }
}

impl PoolConfig {
    /// Transactions and bytes that queued ones may have in all.
    pub(crate) fn queued_share(&self) -> Share {
        Share::of(self, self.queued_percent)
    }

    /// Transactions and bytes that are kept for local ones.
    pub(crate) fn local_share(&self) -> Share {
        Share::of(self, self.local_percent)
    }
}

/// A part of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Transactions.
    pub(crate) count: usize,
    /// Bytes.
    pub(crate) bytes: usize,
}

impl Share {
    fn of(config: &PoolConfig, percent: usize) -> Self {
        let part = |whole: usize| whole.saturating_mul(percent).div_ceil(100);
        Self { count: part(config.max_transactions), bytes: part(config.max_bytes) }
    }

    /// How much of this share something takes, counted in transactions of the average size that the share has room for:
    /// by its number or by its bytes, whichever is more.
    pub(crate) fn weight(&self, count: usize, bytes: usize) -> usize {
        let by_bytes = (bytes as u128).saturating_mul(self.count as u128) / self.bytes.max(1) as u128;
        count.max(usize::try_from(by_bytes).unwrap_or(usize::MAX))
    }
}
