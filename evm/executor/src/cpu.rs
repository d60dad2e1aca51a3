//! CPU time by stage, for metrics.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// CPU time that a block took, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Recovering senders that were not known (summed over threads).
    pub recovery: Duration,
    /// Executing transactions.
    pub execution: Duration,
    /// Computing the state root and the records to write (this thread only).
    pub root: Duration,
    /// Writing to the store.
    pub commit: Duration,
}

/// CPU time used by the calling thread so far.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Runs `work` and adds its CPU time to `total`.
pub(crate) fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = thread_time();
    let result = work();
    *total += thread_time().saturating_sub(start);
    result
}
