//! Every deliberate fault of the node is caught.

use crate::{NODES, run};
use bttc_simulation::config::STEADY_TARGET_MS;
use bttc_simulation::{Config, FaultSet};
use bttc_types::{Mutant, set_mutant};

/// The run in which a mutant is looked for: what breaks only when a liar does one thing is met more often when liars do
/// nothing else.
fn hunt(mutant: Mutant, seed: u64) -> Config {
    let four_or_seven = 4 + (seed as usize % 2) * 3;
    let faults = |list: &str| FaultSet::parse(list).unwrap();
    let config = |faults: FaultSet| Config::new(seed, four_or_seven, 60, faults);
    match mutant {
        Mutant::SyncContiguity | Mutant::CertificateUnchecked => config(faults("crash,partition,lying-sync")),
        Mutant::RoundUnchecked => config(faults("huge-round")),
        // Two liars that propose in rounds that follow each other.
        Mutant::TimeOncePerBlock => Config::new(seed, 7, 60, faults("one-hash-two-rounds")),
        Mutant::FloodsPassedOn => config(faults("self-evidence")),
        Mutant::StandingPerSession => config(faults("reopened-streams")),
        Mutant::EarlyStart => Config { target_block_time_ms: STEADY_TARGET_MS, ..config(faults("early-votes")) },
        Mutant::ZeroHashTaken => config(faults("zero-hash")),
        _ => config(FaultSet::all()),
    }
}

/// Every deliberate fault of the node is caught within 50 seeds, and what catches it is the fault: the first run that
/// does is good without it.
#[test]
fn mutants_are_caught() {
    let _guard = NODES.lock();
    let only = std::env::var("BTTC_SIM_MUTANT").ok();
    for (mutant, name) in Mutant::ALL {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        set_mutant(Some(mutant));
        let found = (1..=50)
            .find_map(|seed| run(hunt(mutant, seed)).violations.first().cloned().map(|violation| (seed, violation)));
        set_mutant(None);
        let (seed, violation) = found.unwrap_or_else(|| panic!("mutant {name} survived 50 seeds"));
        println!("{name}: seed {seed}, {violation}");
        let without = run(hunt(mutant, seed));
        assert!(without.violations.is_empty(), "{name}: seed {seed} fails without it: {:?}", without.violations);
    }
}
