//! Floods, short.

use crate::{NODES, first_seed, run};
use bttc_simulation::{Config, Flood};

#[test]
fn a_flood_neither_slows_heights_nor_parts_honest_nodes() {
    let _guard = NODES.lock();
    for flood in Flood::ALL {
        let report = run(Config::flooded(first_seed(), 4, *flood, 3));
        assert!(report.violations.is_empty(), "{flood}: {:?}", report.violations);
        assert!(report.longest_us > 0, "{flood}: no height was measured");
        assert!(report.height > 5, "{flood}: height {}", report.height);
    }
}

#[test]
fn the_same_seed_gives_the_same_flood() {
    let _guard = NODES.lock();
    let runs = [1, 1, 2].map(|seed| run(Config::flooded(seed, 4, Flood::SelfEvidence, 2)));
    assert_eq!(runs[0].trace, runs[1].trace);
    assert_ne!(runs[0].trace, runs[2].trace);
}
