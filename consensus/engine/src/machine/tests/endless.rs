//! A height that does not end stays within bounds of memory and log, and a restart works.

use super::*;

#[test]
fn thousands_of_rounds_without_a_decision() {
    let mut network = Network::new(4, 0);
    network.run(500);
    // Every application finds every block invalid, so everybody votes and nobody agrees.
    network.refuses = true;
    let height = network.head(0).height + 1;
    let position = |network: &Network| network.nodes[0].engine.as_ref().map(Engine::position).unwrap();
    let start = network.now.mono_ms;
    while position(&network).1 < 2_000 && network.now.mono_ms - start < 4_000_000 {
        network.run(1_000);
    }
    let (at, round) = position(&network);
    assert!(at >= height && round >= 2_000, "height {at}, round {round}");
    let per_round = (network.now.mono_ms - start) / u64::from(round);
    assert!(per_round >= 500, "{per_round} ms a round: they run as fast as messages can");
    for node in &network.nodes {
        let held = node.engine.as_ref().unwrap().held();
        assert!(held.blocks <= 20, "{held:?}");
        assert!(held.votes <= 4 * 2 * 120, "{held:?}");
        // Votes, proposals and timeouts of 2,000 rounds, and no blocks.
        assert!(held.log_bytes < 2_000 * 3_000, "{held:?}");
    }
    for index in 0..4 {
        network.kill(index);
    }
    network.inbox.clear();
    network.work.clear();
    network.refuses = false;
    for index in 0..4 {
        network.boot(index);
    }
    let restart = network.now.mono_ms;
    while network.heights().iter().any(|reached| *reached <= height) && network.now.mono_ms - restart < 300_000 {
        network.run(500);
    }
    assert!(network.heights().iter().all(|reached| *reached > height), "{:?}", network.heights());
}

/// The log is written anew without blocks that are not kept any more, and what is left is played as before.
#[test]
fn blocks_of_old_rounds_leave_the_log() {
    let mut network = Network::new(4, 0);
    network.block_bytes = 100_000;
    network.run(500);
    // Valid blocks that nobody may vote for: they come from the future.
    network.ahead_ms = 3_600_000;
    let height = network.head(0).height + 1;
    let mut longest = 0;
    while network.nodes[0].engine.as_ref().unwrap().position().1 < 60 {
        network.run(1_000);
        longest = longest.max(network.nodes[0].engine.as_ref().unwrap().held().log_bytes);
    }
    assert!(longest < 30 * 100_000, "{longest} bytes for 60 rounds with a block of 100 kB each");
    for index in 0..4 {
        network.kill(index);
    }
    network.inbox.clear();
    network.work.clear();
    network.ahead_ms = 0;
    for index in 0..4 {
        network.boot(index);
    }
    let restart = network.now.mono_ms;
    while network.heights().iter().any(|reached| *reached <= height) && network.now.mono_ms - restart < 300_000 {
        network.run(500);
    }
    assert!(network.heights().iter().all(|reached| *reached > height), "{:?}", network.heights());
}
