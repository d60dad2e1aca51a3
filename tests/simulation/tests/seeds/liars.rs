//! Liars that do one thing each.

use crate::{NODES, assert_good, first_seed, run};
use bttc_simulation::config::STEADY_TARGET_MS;
use bttc_simulation::{Config, Fault, FaultSet};

/// Every kind of lie fires where liars do nothing else, and breaks nothing.
#[test]
fn no_violation_under_any_one_lie() {
    let _guard = NODES.lock();
    for fault in Fault::BYZANTINE {
        // Seeds differ in who lies, and whether anybody does.
        let fired = (first_seed()..first_seed() + 6).find(|seed| {
            let report = run(Config::new(*seed, 7, 12, FaultSet::only(*fault)));
            assert_good(&report, 7, *seed);
            report.faults.of(*fault) > 0
        });
        // What needs two liars in neighbouring rounds, a round that fails or somebody far behind may take longer.
        let rare = [Fault::OneHashTwoRounds, Fault::Amnesia, Fault::LyingSync, Fault::ReSignedSync].contains(fault);
        assert!(fired.is_some() || rare, "{fault} never fired");
    }
}

/// A validator that is 200 ms further away than the others signs every block, whatever votes come early.
#[test]
fn early_votes_neither_hurry_heights_nor_cost_signers() {
    let _guard = NODES.lock();
    let mut fired = 0;
    for seed in first_seed()..first_seed() + 4 {
        let faults = FaultSet::only(Fault::EarlyVotes);
        let report = run(Config { target_block_time_ms: STEADY_TARGET_MS, ..Config::new(seed, 4, 30, faults) });
        assert_good(&report, 4, seed);
        fired += report.faults.of(Fault::EarlyVotes);
    }
    assert!(fired > 20, "{fired} early votes");
}
