//! The application's thread: serves the engine's requests, one after the other, and tells others of new heads.

use crate::clock;
use crate::metrics::Metrics;
use crate::shell::EngineEvent;
use crate::snapshots::Snapshots;
use bttc_node::{Answer, Application, Committed, Request};
use bttc_rpc::HeadEvent;
use bttc_types::{RecoveredTransaction, block_time_ms};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc};

/// The thread's belongings.
pub(crate) struct ApplicationThread {
    pub(crate) application: Application,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heads: broadcast::Sender<HeadEvent>,
    pub(crate) pending: broadcast::Sender<Arc<RecoveredTransaction>>,
    pub(crate) engine: mpsc::Sender<EngineEvent>,
    pub(crate) build_budget: Duration,
    pub(crate) snapshots: Arc<Snapshots>,
}

impl ApplicationThread {
    /// Serves requests until the engine is gone.
    pub(crate) fn run(self, mut requests: mpsc::UnboundedReceiver<(Request, Instant)>) {
        while let Some((request, since)) = requests.blocking_recv() {
            crate::failure::point("application");
            self.metrics.lock_wait.inc_by(since.elapsed().as_secs_f64());
            let start = Instant::now();
            let served = self.application.serve(request, &mut || start.elapsed() >= self.build_budget);
            if let Some(committed) = served.committed {
                let height = committed.executed.block.header.number;
                self.tell(committed);
                self.snapshots.after_commit(height);
            }
            let event = match served.answer {
                None => continue,
                Some(Answer::Input(input)) => EngineEvent::Input(input),
                Some(Answer::Halt(reason)) => EngineEvent::Halt(reason),
            };
            if self.engine.blocking_send(event).is_err() {
                return;
            }
        }
    }

    fn tell(&self, committed: Committed) {
        let Committed { executed, times, since_parent_ms, round, promoted } = committed;
        self.metrics.committed(&executed, &times, Duration::from_millis(since_parent_ms));
        self.metrics.pool_transactions.set(i64::try_from(self.application.pool.len()).unwrap_or(i64::MAX));
        let header = &executed.block.header;
        tracing::info!(
            height = header.number,
            round,
            transactions = executed.transactions.len(),
            gas = header.gas_used,
            hash = %executed.hash,
            behind_ms = clock::now().wall_ms.saturating_sub(block_time_ms(header)),
            "block"
        );
        // Nobody may listen.
        let _ = self.heads.send(executed);
        for transaction in promoted {
            let _ = self.pending.send(transaction);
        }
    }
}
