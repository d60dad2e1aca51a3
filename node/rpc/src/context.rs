//! What the methods work on.

use crate::bridge::BridgeApi;
use crate::config::RpcConfig;
use crate::errors;
use alloy_primitives::{Address, B256};
use bttc_executor::{ExecutedBlock, Executor};
use bttc_pool::Pool;
use bttc_types::{RecoveredTransaction, Transaction};
use futures::future::BoxFuture;
use jsonrpsee::types::ErrorObjectOwned;
use std::sync::Arc;
use tokio::sync::{Semaphore, broadcast};

/// A new head, for subscribers.
pub type HeadEvent = Arc<ExecutedBlock>;

/// What the node says about itself.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    /// Height that consensus works on.
    pub height: u64,
    /// Its round.
    pub round: u32,
    /// Whether blocks are being fetched.
    pub syncing: bool,
    /// Greatest height that a peer claims.
    pub best_peer_height: u64,
    /// Height at which this run started.
    pub start_height: u64,
    /// Number of peers.
    pub peers: usize,
    /// Address of the consensus key, if there is one.
    pub validator: Option<Address>,
    /// Whether it signs, in words.
    pub signing: String,
}

/// The rest of the node, as RPC sees it.
pub trait NodeApi: Send + Sync + 'static {
    /// Takes a transaction from a user: sender, pool, journal, gossip. Recovering the sender takes CPU time: not for
    /// threads that serve many.
    ///
    /// # Errors
    /// Why it is not accepted, in words for the user.
    fn submit(&self, transaction: Transaction) -> Result<B256, String>;

    /// Seconds of the next block, where that is known; otherwise it is about now.
    fn next_timestamp(&self) -> Option<u64> {
        None
    }

    /// The node's state.
    fn status(&self) -> NodeStatus;

    /// The connected peers, ready to be shown.
    fn peers(&self) -> BoxFuture<'static, serde_json::Value>;
}

/// Everything that a method can reach.
pub struct RpcContext {
    /// Chain, state, calls.
    pub executor: Arc<Executor>,
    /// Waiting transactions.
    pub pool: Arc<Pool>,
    /// The node.
    pub node: Arc<dyn NodeApi>,
    /// What the node knows of the bridge; nothing when it takes no part.
    pub bridge: Option<Arc<dyn BridgeApi>>,
    /// Limits.
    pub config: RpcConfig,
    /// New heads.
    pub heads: broadcast::Sender<HeadEvent>,
    /// New pending transactions.
    pub pending: broadcast::Sender<Arc<RecoveredTransaction>>,
    /// Program and version, for `web3_clientVersion`.
    pub version: String,
    /// Blocks that were asked for lately.
    pub blocks: Arc<crate::BlockCache>,
    /// Filters that are polled.
    pub filters: Arc<crate::Filters>,
    /// Bounds calls, proofs and log searches.
    pub heavy: Arc<Semaphore>,
    /// Bounds traces and simulations, which may take seconds.
    pub slow: Arc<Semaphore>,
}

impl RpcContext {
    /// Runs blocking work on a thread of its own, when one is free.
    pub(crate) async fn heavy<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ErrorObjectOwned> + Send + 'static,
    ) -> Result<T, ErrorObjectOwned> {
        self.on_a_thread(&self.heavy, work).await
    }

    /// [`RpcContext::heavy`] for what may take seconds.
    pub(crate) async fn slow<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ErrorObjectOwned> + Send + 'static,
    ) -> Result<T, ErrorObjectOwned> {
        self.on_a_thread(&self.slow, work).await
    }

    async fn on_a_thread<T: Send + 'static>(
        self: &Arc<Self>,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&Self) -> Result<T, ErrorObjectOwned> + Send + 'static,
    ) -> Result<T, ErrorObjectOwned> {
        let permit = Arc::clone(places).acquire_owned().await.map_err(errors::internal)?;
        let context = Arc::clone(self);
        let result = tokio::task::spawn_blocking(move || {
            let result = work(&context);
            drop(permit);
            result
        });
        result.await.map_err(errors::internal)?
    }
}
