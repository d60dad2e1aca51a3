//! The one place where the node reads clocks.

use bttc_engine::Now;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: OnceLock<Instant> = OnceLock::new();

/// The time now.
pub(crate) fn now() -> Now {
    let start = START.get_or_init(Instant::now);
    let mono = start.elapsed().as_millis();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Now {
        // From 1 on, so that a deadline in the past can be told from none.
        mono_ms: u64::try_from(mono).unwrap_or(u64::MAX).saturating_add(1),
        wall_ms: u64::try_from(wall).unwrap_or(u64::MAX),
    }
}
