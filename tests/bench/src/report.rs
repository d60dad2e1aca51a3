//! What a run says at its end, for people and for programs.

use crate::tally::{Tally, quantile};
use crate::watch::SeenBlock;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Quantiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Quantiles {
    /// Of these.
    pub fn of(values: &[Duration]) -> Self {
        let of = |share| (quantile(values, share).as_secs_f64() * 10_000.0).round() / 10.0;
        Self { p50: of(0.5), p90: of(0.9), p99: of(0.99), max: of(1.0) }
    }
}

/// Blocks of a stretch of time.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocks {
    /// How many.
    pub count: usize,
    /// Those without transactions.
    pub empty: usize,
    /// Most transactions in one.
    pub max_transactions: usize,
    /// Time from one to the next, milliseconds.
    pub interval_ms: Quantiles,
}

impl Blocks {
    /// Those of `blocks` that came from `from` up to `to`.
    pub fn between(blocks: &[SeenBlock], from: Instant, to: Instant) -> Self {
        let within: Vec<&SeenBlock> = blocks.iter().filter(|block| block.at >= from && block.at <= to).collect();
        let intervals: Vec<Duration> =
            within.windows(2).map(|pair| pair[1].at.saturating_duration_since(pair[0].at)).collect();
        Self {
            count: within.len(),
            empty: within.iter().filter(|block| block.transactions == 0).count(),
            max_transactions: within.iter().map(|block| block.transactions).max().unwrap_or(0),
            interval_ms: Quantiles::of(&intervals),
        }
    }
}

/// What a node's process used while the run lasted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeUsage {
    /// Its name.
    pub name: String,
    /// CPU seconds from the first transaction until all were final.
    pub cpu_seconds: f64,
    /// Most memory since it started, bytes.
    pub peak_memory_bytes: u64,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// What was run: program and version, as a node says.
    pub node: String,
    /// How it was built.
    pub profile: String,
    /// Cores of the machine, on which all processes run.
    pub cores: usize,
    /// Validators.
    pub validators: usize,
    /// Accounts that send.
    pub senders: usize,
    /// Transactions a second that were due.
    pub rate: u32,
    /// For how many seconds.
    pub seconds: u32,
    /// Transactions sent.
    pub submitted: usize,
    /// Taken.
    pub accepted: usize,
    /// Refused.
    pub refused: usize,
    /// Not answered.
    pub unanswered: usize,
    /// Final.
    pub included: usize,
    /// Reasons of refusals, and how often each was given.
    pub reasons: std::collections::BTreeMap<String, usize>,
    /// Final transactions a second, from the first that was due until the last was final.
    pub throughput: f64,
    /// From when a transaction was due until its block was told, milliseconds.
    pub latency_ms: Quantiles,
    /// From when a transaction was due until the node had taken it, milliseconds.
    pub acceptance_ms: Quantiles,
    /// Blocks while transactions were sent.
    pub blocks: Blocks,
    /// The nodes.
    pub nodes: Vec<NodeUsage>,
    /// CPU seconds of the driver itself, on the same cores.
    pub driver_cpu_seconds: f64,
}

impl Report {
    /// Takes over the counts.
    pub fn count(&mut self, tally: Tally) {
        self.submitted = tally.submitted;
        self.accepted = tally.accepted;
        self.refused = tally.refused;
        self.unanswered = tally.unknown;
        self.included = tally.included;
        self.reasons = tally.reasons;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ({}), {} validators on {} cores, {} senders, {} transactions a second for {} s",
            self.node, self.profile, self.validators, self.cores, self.senders, self.rate, self.seconds
        )?;
        writeln!(
            f,
            "submitted {}  accepted {}  refused {}  unanswered {}  included {}  throughput {:.1}/s",
            self.submitted, self.accepted, self.refused, self.unanswered, self.included, self.throughput
        )?;
        for (reason, count) in &self.reasons {
            writeln!(f, "  {count} times: {reason}")?;
        }
        writeln!(f, "{:24}{:>9}{:>9}{:>9}{:>9}", "milliseconds", "p50", "p90", "p99", "max")?;
        for (name, values) in [
            ("until accepted", self.acceptance_ms),
            ("until final", self.latency_ms),
            ("block to block", self.blocks.interval_ms),
        ] {
            writeln!(f, "{name:24}{:>9}{:>9}{:>9}{:>9}", values.p50, values.p90, values.p99, values.max)?;
        }
        let blocks = &self.blocks;
        writeln!(
            f,
            "{} blocks, {} empty, at most {} transactions",
            blocks.count, blocks.empty, blocks.max_transactions
        )?;
        writeln!(f, "{:24}{:>9}{:>11}", "process", "CPU s", "peak MiB")?;
        for node in &self.nodes {
            let mib = node.peak_memory_bytes as f64 / f64::from(1u32 << 20);
            writeln!(f, "{:24}{:>9.1}{mib:>11.0}", node.name, node.cpu_seconds)?;
        }
        write!(f, "{:24}{:>9.1}", "driver", self.driver_cpu_seconds)
    }
}
