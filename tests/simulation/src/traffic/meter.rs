//! Counted work, so that a seed costs the same on every machine.

use crate::config::Costs;
use crate::node::Node;

/// Counters at a moment.
pub(super) struct Meter {
    recoveries: u64,
    rotation_steps: u64,
    syncs: u64,
    written: u64,
}

impl Meter {
    /// Reads them.
    pub(super) fn read(node: &Node) -> Self {
        let disk = node.disk.counts();
        Self {
            recoveries: bttc_types::recoveries(),
            rotation_steps: bttc_types::rotation_steps(),
            syncs: disk.syncs,
            written: disk.written,
        }
    }

    /// Nanoseconds for what was counted since then.
    pub(super) fn until(&self, later: &Self, costs: &Costs) -> u64 {
        later.recoveries.wrapping_sub(self.recoveries) * costs.recovery
            + later.rotation_steps.wrapping_sub(self.rotation_steps) * costs.rotation_step
            + (later.syncs - self.syncs) * costs.sync
            + (later.written - self.written) * costs.written_byte
    }
}
