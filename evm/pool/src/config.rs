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
    /// By how much a replacement must raise both fee cap and tip, percent.
    pub replacement_percent: u128,
    /// How long a pending transaction is kept, milliseconds.
    pub pending_lifetime_ms: u64,
    /// How long a transaction behind a gap is kept, milliseconds.
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
            replacement_percent: 10,
            pending_lifetime_ms: 3 * 3_600_000,
            queued_lifetime_ms: 30 * 60_000,
            remembered_drops: 20_000,
        }
    }
}
