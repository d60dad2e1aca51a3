//! Keeps the search index behind the head, on threads that nobody waits for.

use bttc_executor::SearchIndexer;
use bttc_rpc::HeadEvent;
use bttc_state::StateStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Blocks that are read in one go.
const STEP: u64 = 64;
/// Pause between two goes while the index is far behind, and after a failure: the chain goes first.
const PAUSE: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_secs(10);

/// Reads blocks as they come.
pub(crate) async fn follow(store: Arc<StateStore>, mut heads: Receiver<HeadEvent>) {
    loop {
        if let Err(error) = catch_up(&store, &mut heads).await {
            tracing::warn!(%error, "the search index cannot be written; log searches read headers instead");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn catch_up(store: &Arc<StateStore>, heads: &mut Receiver<HeadEvent>) -> eyre::Result<()> {
    let mut indexer = SearchIndexer::new(Arc::clone(store))?;
    loop {
        let (back, more) = tokio::task::spawn_blocking(move || {
            let more = indexer.advance(STEP);
            (indexer, more)
        })
        .await?;
        indexer = back;
        if more? {
            tokio::time::sleep(PAUSE).await;
        } else if let Err(RecvError::Closed) = heads.recv().await {
            return Ok(());
        }
    }
}
