//! Prometheus metrics. Each has a line in `docs/metrics.md`.

use bttc_executor::{ExecutedBlock, StageTimes, thread_time};
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};
use std::time::Duration;

/// All metrics.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) height: IntGauge,
    pub(crate) round: IntGauge,
    pub(crate) rounds: IntCounter,
    pub(crate) peers: IntGauge,
    pub(crate) best_peer_height: IntGauge,
    pub(crate) signing: IntGauge,
    pub(crate) syncing: IntGauge,
    pub(crate) pool_transactions: IntGauge,
    pub(crate) transactions: IntCounter,
    pub(crate) gas: IntCounter,
    pub(crate) block_bytes: IntCounter,
    pub(crate) stage_seconds: CounterVec,
    pub(crate) block_interval: Histogram,
    pub(crate) messages: IntCounterVec,
    pub(crate) evidence: IntCounter,
    pub(crate) evidence_reported: IntCounter,
    pub(crate) invalid_blocks: IntCounter,
    pub(crate) untimely: IntCounter,
    pub(crate) free_disk: Gauge,
    pub(crate) lock_wait: Counter,
    pub(crate) bridge_height: IntGaugeVec,
    pub(crate) bridge_deposits: IntGaugeVec,
    pub(crate) bridge_alarm: IntGaugeVec,
    pub(crate) bridge_failures: IntCounterVec,
    pub(crate) bridge_signed: IntCounter,
    log_lines_lost: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> eyre::Result<Self> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| -> eyre::Result<IntGauge> {
            let metric = IntGauge::new(format!("bttc_{name}"), help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counter = |name: &str, help: &str| -> eyre::Result<IntCounter> {
            let metric = IntCounter::new(format!("bttc_{name}"), help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let stage_seconds = CounterVec::new(
            Opts::new(
                "bttc_stage_cpu_seconds_total",
                "CPU seconds by stage of a block: recovery of senders, execution, state root, commit",
            ),
            &["stage"],
        )?;
        registry.register(Box::new(stage_seconds.clone()))?;
        let block_interval = Histogram::with_opts(
            HistogramOpts::new("bttc_block_interval_seconds", "Header time between a block and its parent")
                .buckets(vec![0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0]),
        )?;
        registry.register(Box::new(block_interval.clone()))?;
        let messages = IntCounterVec::new(
            Opts::new("bttc_messages_total", "Messages from peers by lane and verdict"),
            &["lane", "verdict"],
        )?;
        registry.register(Box::new(messages.clone()))?;
        let free_disk = Gauge::new("bttc_free_disk_bytes", "Bytes free where the data directory is")?;
        registry.register(Box::new(free_disk.clone()))?;
        let lock_wait = Counter::new(
            "bttc_application_wait_seconds_total",
            "Time that requests of the engine waited for the application",
        )?;
        registry.register(Box::new(lock_wait.clone()))?;
        let by_chain = |name: &str, help: &str| -> eyre::Result<IntGaugeVec> {
            let metric = IntGaugeVec::new(Opts::new(format!("bttc_bridge_{name}"), help), &["chain"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let bridge_failures = IntCounterVec::new(
            Opts::new("bttc_bridge_failures_total", "Looks at a root chain that failed"),
            &["chain"],
        )?;
        registry.register(Box::new(bridge_failures.clone()))?;
        Ok(Self {
            bridge_height: by_chain("root_height", "Final block of a root chain up to which it was read")?,
            bridge_deposits: by_chain("deposits", "Deposits seen at a gateway")?,
            bridge_alarm: by_chain("alarm", "1 while a root chain needs an operator")?,
            bridge_failures,
            bridge_signed: counter("bridge_signed_total", "Bridge signatures that this node made")?,
            log_lines_lost: counter("log_lines_lost_total", "Log lines that could not be written")?,
            height: gauge("height", "Height of the head")?,
            round: gauge("round", "Round that consensus is in")?,
            rounds: counter("rounds_total", "Rounds started, the first of each height included")?,
            peers: gauge("peers", "Connected peers")?,
            best_peer_height: gauge("best_peer_height", "Greatest height that a peer claims")?,
            signing: gauge("signing", "1 when this node signs if it is in the set, 0 when it does not")?,
            syncing: gauge("syncing", "1 while blocks are fetched from peers")?,
            pool_transactions: gauge("pool_transactions", "Transactions in the pool")?,
            transactions: counter("transactions_total", "Transactions in committed blocks")?,
            gas: counter("gas_total", "Gas used by committed blocks")?,
            block_bytes: counter("block_bytes_total", "Bytes of committed blocks")?,
            evidence: counter("evidence_total", "Proofs of misbehaviour found or received")?,
            evidence_reported: counter("evidence_reported_total", "Evidence transactions that this node sent")?,
            invalid_blocks: counter("invalid_blocks_total", "Proposed blocks found invalid")?,
            untimely: counter("untimely_proposals_total", "First proposals outside their time window")?,
            stage_seconds,
            block_interval,
            messages,
            free_disk,
            lock_wait,
            registry,
        })
    }

    /// Counts a committed block.
    pub(crate) fn committed(&self, executed: &ExecutedBlock, times: &StageTimes, since_parent: Duration) {
        self.block_interval.observe(since_parent.as_secs_f64());
        self.height.set(i64::try_from(executed.block.header.number).unwrap_or(i64::MAX));
        self.transactions.inc_by(executed.transactions.len() as u64);
        self.gas.inc_by(executed.block.header.gas_used);
        self.block_bytes.inc_by(executed.encoded.len() as u64);
        for (stage, time) in [
            ("recovery", times.recovery),
            ("execution", times.execution),
            ("root", times.root),
            ("commit", times.commit),
        ] {
            self.stage_seconds.with_label_values(&[stage]).inc_by(time.as_secs_f64());
        }
    }

    /// Counts the CPU time of recovering a sender outside of blocks, on the thread that does it.
    pub(crate) fn recovery<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = thread_time();
        let result = work();
        let spent = thread_time().saturating_sub(start);
        self.stage_seconds.with_label_values(&["recovery"]).inc_by(spent.as_secs_f64());
        result
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn render(&self) -> eyre::Result<Vec<u8>> {
        self.log_lines_lost.inc_by(crate::logging::lost_since());
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        Ok(buffer)
    }
}
