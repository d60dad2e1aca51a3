//! `bttc-sim`: runs a simulated network and says what happened.

use bttc_simulation::performance::{Load, finality, measure};
use bttc_simulation::{Config, Costs, Fault, FaultCounts, FaultSet, Flood, Report, World};
use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;

/// Runs whole nodes in one process under virtual time. The same seed gives the same run.
#[derive(Debug, Parser)]
#[command(name = "bttc-sim")]
struct Arguments {
    /// Seed of the run, or of the first of several.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs, with consecutive seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Number of nodes.
    #[arg(long, default_value_t = 4)]
    nodes: usize,
    /// Heights that every honest node has to commit.
    #[arg(long, default_value_t = 100)]
    heights: u64,
    /// `all`, `none` or names separated by commas.
    #[arg(long, default_value = "all")]
    faults: String,
    /// Voting power in per cent that breaks the protocol; a third or more must end in a violation.
    #[arg(long)]
    byzantine_percent: Option<u64>,
    /// Break a rule of the node itself (needs a build with `--features mutants`).
    #[arg(long)]
    mutant: Option<String>,
    /// Print the name of every kind of fault, one a line, and nothing else.
    #[arg(long)]
    list_faults: bool,
    /// Flood the network with each of these instead: `all` or names separated by commas.
    #[arg(long, value_name = "FLOODS")]
    floods: Option<String>,
    /// How long each flood lasts, virtual seconds.
    #[arg(long, default_value_t = 10)]
    flood_seconds: u64,
    /// With --performance: bits a second that each node can send.
    #[arg(long, value_delimiter = ',', requires = "performance")]
    bandwidth: Vec<u64>,
    /// With --performance: bytes of a block.
    #[arg(long, value_delimiter = ',', requires = "performance")]
    block_bytes: Vec<usize>,
    /// Measure this machine's CPU costs, then simulated finality for these numbers of validators, and nothing else.
    #[arg(long, value_delimiter = ',', value_name = "VALIDATORS")]
    performance: Vec<usize>,
}

fn main() -> ExitCode {
    let level = std::env::var("BTTC_LOG").unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(good) => ExitCode::from(u8::from(!good)),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    if arguments.list_faults {
        for fault in Fault::ALL {
            println!("{fault}");
        }
        for flood in Flood::ALL {
            println!("{flood}");
        }
        return Ok(true);
    }
    if !arguments.performance.is_empty() {
        return performance(arguments);
    }
    if arguments.nodes == 0 || arguments.nodes > 255 {
        return Err("--nodes must be 1 to 255".into());
    }
    if arguments.byzantine_percent.is_some_and(|percent| percent > 90) {
        return Err("--byzantine-percent must be at most 90".into());
    }
    if let Some(names) = &arguments.floods {
        set_mutant(arguments.mutant.as_deref())?;
        return Ok(floods(arguments, &Flood::parse(names)?));
    }
    let faults = FaultSet::parse(&arguments.faults)?;
    set_mutant(arguments.mutant.as_deref())?;
    let mut failed = Vec::new();
    let mut totals = (FaultCounts::default(), 0u64);
    let mut slashes = (0usize, 0u64);
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds.max(1)) {
        let mut config = Config::new(seed, arguments.nodes, arguments.heights, faults.clone());
        config.byzantine_percent = arguments.byzantine_percent;
        let start = Instant::now();
        let report = World::new(config).run();
        print_report(&report, arguments, seed, start.elapsed().as_secs_f64(), &faults);
        totals.0.add(&report.faults);
        totals.1 += report.height;
        slashes = (slashes.0 + report.tombstoned, slashes.1 + report.jailings);
        if !report.violations.is_empty() {
            failed.push(seed);
        }
    }
    if arguments.seeds > 1 {
        println!("{} seeds, {} heights; failed: {failed:?}", arguments.seeds, totals.1);
        println!("faults fired in all: {}", fired(&totals.0, &faults));
        println!("slashed in all: {} for signing twice, {} for downtime", slashes.0, slashes.1);
        println!("{} of {} runs are good", arguments.seeds - failed.len() as u64, arguments.seeds);
    }
    Ok(failed.is_empty())
}

/// Runs each flood with each seed.
fn floods(arguments: &Arguments, floods: &[Flood]) -> bool {
    let mut good = true;
    for flood in floods {
        for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds.max(1)) {
            let start = Instant::now();
            let report = World::new(Config::flooded(seed, arguments.nodes, *flood, arguments.flood_seconds)).run();
            println!(
                "{flood}: seed {seed}, {} nodes, height {}, longest {} ms, {} kB waited at most, {} messages, trace {}, {:.1} s",
                arguments.nodes,
                report.height,
                report.longest_us / 1_000,
                report.waiting / 1_000,
                report.messages,
                report.trace,
                start.elapsed().as_secs_f64()
            );
            for violation in &report.violations {
                println!("violated: {violation}");
            }
            if !report.violations.is_empty() {
                good = false;
                println!(
                    "FAILED: {flood}; replay with: cargo run --release --bin bttc-sim -- --seed {seed} --nodes {} --floods \
                     {flood} --flood-seconds {}",
                    arguments.nodes, arguments.flood_seconds
                );
            }
        }
    }
    good
}

fn performance(arguments: &Arguments) -> Result<bool, String> {
    let costs = measure()?;
    println!(
        "charged: {} ns a signature, {} ns a byte, {} ns a transaction, {} us a block, {} ms a flush; one core a node",
        costs.recovery,
        costs.byte,
        costs.transaction,
        costs.block / 1_000,
        costs.sync / 1_000_000
    );
    println!("Mbit/s  block kB  validators  floor ms  median ms  p99 ms  median/floor  transactions a block  heights");
    let optional = |list: &[u64]| if list.is_empty() { vec![None] } else { list.iter().copied().map(Some).collect() };
    let sizes: Vec<u64> = arguments.block_bytes.iter().map(|bytes| *bytes as u64).collect();
    let mut good = true;
    for bandwidth in optional(&arguments.bandwidth) {
        for block_bytes in optional(&sizes) {
            let load = Load { block_bytes: block_bytes.map(|bytes| bytes as usize), bandwidth };
            for nodes in &arguments.performance {
                if !(4..=255).contains(nodes) {
                    return Err("--performance takes numbers from 4 to 255".into());
                }
                good &= print_finality(*nodes, arguments.heights, costs, load);
            }
        }
    }
    Ok(good)
}

fn print_finality(nodes: usize, heights: u64, costs: Costs, load: Load) -> bool {
    let result = finality(nodes, heights, costs, load);
    let or_none = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    println!(
        "{:>6} {:>9} {:>11} {:>9.0} {:>10.0} {:>7.0} {:>13.2} {:>21.0} {:>8}",
        or_none(load.bandwidth.map(|bits| bits / 1_000_000)),
        or_none(load.block_bytes.map(|bytes| bytes as u64 / 1_000)),
        result.nodes,
        result.floor_ms,
        result.median_ms,
        result.p99_ms,
        result.median_ms / result.floor_ms,
        result.transactions,
        result.heights
    );
    result.violations == 0
}

#[cfg(feature = "mutants")]
fn set_mutant(name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    let found = bttc_types::Mutant::ALL.iter().find(|(_, known)| *known == name);
    let (mutant, _) = found.ok_or_else(|| format!("unknown mutant {name:?}: {:?}", bttc_types::Mutant::ALL))?;
    bttc_types::set_mutant(Some(*mutant));
    Ok(())
}

#[cfg(not(feature = "mutants"))]
fn set_mutant(name: Option<&str>) -> Result<(), String> {
    match name {
        None => Ok(()),
        Some(_) => Err("this build has no mutants: build it with `--features mutants`".into()),
    }
}

/// How often each kind fired, in words.
fn fired(counts: &FaultCounts, faults: &FaultSet) -> String {
    let on = Fault::ALL.iter().filter(|fault| faults.has(**fault));
    let words: Vec<String> = on.map(|fault| format!("{fault} {}", counts.of(*fault))).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn print_report(report: &Report, arguments: &Arguments, seed: u64, seconds: f64, faults: &FaultSet) {
    let virtual_seconds = report.virtual_us as f64 / 1e6;
    let percentile = |share: f64| {
        let index = (report.finality_us.len() as f64 * share) as usize;
        report.finality_us.get(index.min(report.finality_us.len().saturating_sub(1))).map_or(0.0, |us| *us as f64 / 1e3)
    };
    println!("seed {seed}, {} nodes, height {}, faults {faults}", arguments.nodes, report.height);
    println!(
        "{:.1} heights per second of computing, {:.2} per second of virtual time ({virtual_seconds:.1} s)",
        report.height as f64 / seconds,
        report.height as f64 / virtual_seconds
    );
    println!("finality ms: p50 {:.0}, p90 {:.0}, p99 {:.0}", percentile(0.5), percentile(0.9), percentile(0.99));
    println!(
        "{} messages, {} effects on disks, {} transactions, {} further rounds, {} proofs of misbehaviour",
        report.messages, report.effects, report.transactions, report.extra_rounds, report.evidence
    );
    println!("{} validators slashed for signing twice, {} jailed for downtime", report.tombstoned, report.jailings);
    println!("faults fired: {}", fired(&report.faults, faults));
    println!("trace hash {}", report.trace);
    println!("violations: {}", report.violations.len());
    for violation in &report.violations {
        println!("violated: {violation}");
    }
    if report.violations.is_empty() {
        println!("ok: seed {seed}, {} heights in {seconds:.1} s", report.height);
    } else {
        let percent = arguments.byzantine_percent.map_or(String::new(), |p| format!(" --byzantine-percent {p}"));
        let mutant = arguments.mutant.as_ref().map_or(String::new(), |name| format!(" --mutant {name}"));
        println!(
            "FAILED: seed {seed}; replay with: cargo run --release --bin bttc-sim -- --seed {seed} --nodes {} --heights \
             {} --faults {faults}{percent}{mutant}",
            arguments.nodes, arguments.heights
        );
    }
}
