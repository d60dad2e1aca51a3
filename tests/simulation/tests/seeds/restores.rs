//! Disks and databases that are older than they should be, and clocks that are apart.

use crate::{NODES, assert_good, first_seed, run};
use bttc_simulation::{Config, Fault, FaultCounts, FaultSet, World};

/// A backup of a validator's whole disk is restored, guard and log and chain together, while the others went on: its own
/// signatures in the blocks it fetches tell it, and it follows without signing.
#[test]
fn a_restored_old_disk_signs_nothing() {
    let _guard = NODES.lock();
    bttc_types::remember_recoveries(1 << 16);
    let victim = 2;
    let mut world = World::new(Config::new(5, 4, 40, FaultSet::none()));
    while world.committed(victim) < 5 {
        assert!(world.step());
    }
    let backup = world.node(victim).disk.copy();
    while world.committed(victim) < 15 {
        assert!(world.step());
    }
    world.restore(victim, backup);
    while !world.is_over() && world.step() {}
    let signing = world.node(victim).running.as_ref().expect("it runs").engine.signing().clone();
    assert!(
        matches!(&signing, bttc_engine::Signing::Off(reason) if reason.contains("guard does not know")),
        "{signing:?}"
    );
    let report = world.finish();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert!(report.height >= 40, "the restored node follows");
}

/// An older, an empty or another node's database below a guard and a log that are as they were: the node fetches what it lacks,
/// and signs nothing that its lock forbids.
fn replaced_databases(seeds: u64) {
    let faults = FaultSet::parse("older-database,emptied-database,replaced-database,crash,partition").unwrap();
    let mut counts = FaultCounts::default();
    for seed in first_seed()..first_seed() + seeds {
        let report = run(Config::new(seed, 4, 60, faults.clone()));
        assert_good(&report, 4, seed);
        counts.add(&report.faults);
    }
    for fault in Fault::RESTORES {
        assert!(counts.of(*fault) > 0, "{fault} never fired");
    }
}

#[test]
fn a_replaced_database_signs_nothing_against_its_lock() {
    let _guard = NODES.lock();
    replaced_databases(5);
}

#[test]
#[ignore = "two hundred seeds: scripts/simulate runs it"]
fn two_hundred_replaced_databases() {
    let _guard = NODES.lock();
    replaced_databases(200);
}

/// Two of four clocks are off by ten seconds, in either direction, for some time; then they are right again, and the height
/// ends.
#[test]
fn a_height_ends_once_two_of_four_clocks_are_healed() {
    let _guard = NODES.lock();
    bttc_types::remember_recoveries(1 << 16);
    for off_ms in [10_000, -10_000] {
        let mut world = World::new(Config::new(5, 4, 30, FaultSet::none()));
        while world.least_height() < 5 {
            assert!(world.step());
        }
        let since = world.virtual_us();
        world.set_clock(1, off_ms);
        world.set_clock(2, off_ms);
        while world.virtual_us() < since + 15_000_000 {
            assert!(world.step());
        }
        world.set_clock(1, 0);
        world.set_clock(2, 0);
        while !world.is_over() && world.step() {}
        let report = world.finish();
        assert!(report.violations.is_empty(), "clocks {off_ms} ms off: {:?}", report.violations);
        assert!(report.height >= 30);
    }
}
