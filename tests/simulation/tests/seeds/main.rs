//! Seeded runs under all faults, runs that must fail, mutants that must be caught, and a crash at every effect of a
//! height. One test at a time may have a mutant on, so all of them are in one test function each that takes the lock.

mod floods;
mod liars;
mod mutants;
mod restores;

use bttc_simulation::disk::Moment;
use bttc_simulation::{Config, Fault, FaultSet, Report, World};
use parking_lot::Mutex;

/// Mutants are the whole process's: whoever runs nodes holds this.
static NODES: Mutex<()> = Mutex::new(());

fn run(config: Config) -> Report {
    World::new(config).run()
}

/// The first seed: from the environment, so that a failure can be repeated and each night can draw others.
fn first_seed() -> u64 {
    std::env::var("BTTC_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn assert_good(report: &Report, nodes: usize, seed: u64) {
    assert!(
        report.violations.is_empty(),
        "seed {seed}, {nodes} nodes: {}; replay: cargo run --release --bin bttc-sim -- --seed {seed} --nodes {nodes} \
         --heights 60",
        report.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    );
}

#[test]
fn no_violation_under_all_faults() {
    let _guard = NODES.lock();
    let mut counts = bttc_simulation::FaultCounts::default();
    let (mut tombstoned, mut jailings) = (0, 0);
    for (nodes, seeds) in [(4, 4), (7, 2), (10, 1)] {
        for seed in first_seed()..first_seed() + seeds {
            let report = run(Config::new(seed, nodes, 60, FaultSet::all()));
            assert_good(&report, nodes, seed);
            counts.add(&report.faults);
            tombstoned += report.tombstoned;
            jailings += report.jailings;
        }
    }
    assert!(tombstoned > 0, "no liar was slashed");
    println!("{tombstoned} validators slashed for signing twice, {jailings} jailed for downtime");
    for fault in [Fault::Crash, Fault::Partition, Fault::Loss, Fault::FullDisk, Fault::FailedSync] {
        assert!(counts.of(fault) > 0, "{fault} never fired");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let _guard = NODES.lock();
    let runs = [7, 7, 8].map(|seed| run(Config::new(seed, 7, 12, FaultSet::all())));
    assert_eq!(runs[0].trace, runs[1].trace);
    assert_ne!(runs[0].trace, runs[2].trace);
}

/// With a third or more of the power lying, safety or progress must break, and the checker must say which.
#[test]
fn a_quorum_of_liars_is_seen() {
    let _guard = NODES.lock();
    for (percent, faults) in [(55, "double-proposal,double-vote"), (70, "double-proposal,double-vote")] {
        let faults = FaultSet::parse(faults).unwrap();
        let found = (1..=20).find_map(|seed| {
            let mut config = Config::new(seed, 7, 60, faults.clone());
            config.byzantine_percent = Some(percent);
            run(config).violations.first().cloned()
        });
        let violation = found.unwrap_or_else(|| panic!("{percent} % of liars went unnoticed"));
        assert!(["agreement", "progress", "valid certificate"].contains(&violation.property), "{violation}");
    }
}

/// One node dies at every effect of a height, before it, in it and after it, and comes back.
#[test]
fn a_crash_at_every_effect_of_a_height() {
    let _guard = NODES.lock();
    let victim = 1;
    let config = || Config::new(11, 4, 8, FaultSet::none());
    // The height under test is 4: count the victim's effects in it.
    let effects = |world: &World| world.node(victim).disk.counts().effects;
    let mut world = World::new(config());
    bttc_types::remember_recoveries(1 << 16);
    while world.committed(victim) < 3 {
        assert!(world.step());
    }
    let first = effects(&world);
    while world.committed(victim) < 4 {
        assert!(world.step());
    }
    let count = effects(&world) - first;
    assert!(count >= 10, "a height has {count} effects");
    for effect in 0..count {
        for moment in [Moment::Before, Moment::Middle, Moment::After] {
            let mut world = World::new(config());
            while effects(&world) < first {
                assert!(world.step());
            }
            world.node(victim).disk.crash_after(effect, moment);
            while !world.is_over() && world.step() {}
            let starts = world.node(victim).incarnation;
            let report = world.finish();
            assert!(starts > 1, "the node never died");
            assert!(report.violations.is_empty(), "effect {effect}, {moment:?}: {:?}", report.violations);
            assert!(report.height >= 8);
        }
    }
}

/// A follower that was away for hundreds or thousands of blocks, in which the validator set changed again and again, gets them from peers
/// of which some lie about blocks and heights and one is slow, while the chain goes on under load.
fn catch_up(nodes: usize, behind: u64) {
    let mut config = Config::new(3, nodes, behind + 60, FaultSet::parse("lying-sync,set-change").unwrap());
    config.transactions_per_second = 20.0;
    let away = 0;
    config.follower = Some(away);
    bttc_types::remember_recoveries(1 << 16);
    let mut world = World::new(config);
    let honest: Vec<usize> = (1..nodes).filter(|index| !world.node(*index).liar).collect();
    assert!(honest.len() + 1 < nodes, "somebody lies");
    let (slow, observer) = (honest[0], honest[1]);
    while world.committed(away) < 3 {
        assert!(world.step());
    }
    world.hold(away);
    world.slow_down(slow, 400_000);
    while world.committed(observer) < behind && !world.is_over() {
        assert!(world.step());
    }
    assert!(!world.is_over(), "{:?}", world.finish().violations);
    let (since, head) = (world.virtual_us(), world.committed(observer));
    world.release();
    while world.committed(away) < head {
        assert!(world.step());
    }
    let seconds = (world.virtual_us() - since) / 1_000_000;
    eprintln!("{} blocks behind, caught up in {seconds} virtual seconds", head - 3);
    while !world.is_over() && world.step() {}
    let report = world.finish();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert!(report.height >= behind + 60);
    assert!(report.faults.of(Fault::LyingSync) > 10, "peers lied {} times", report.faults.of(Fault::LyingSync));
    // The set changes with nearly every epoch, and each certificate is checked against the one of its height.
    let changes = report.faults.of(Fault::SetChange);
    assert!(changes >= 50, "the set changed {changes} times");
}

#[test]
fn a_node_far_behind_catches_up_under_load_from_liars_and_the_slow() {
    let _guard = NODES.lock();
    catch_up(7, 700);
}

#[test]
#[ignore = "five thousand blocks: scripts/simulate runs it"]
fn a_node_five_thousand_blocks_behind_catches_up() {
    let _guard = NODES.lock();
    catch_up(7, 5_000);
}
