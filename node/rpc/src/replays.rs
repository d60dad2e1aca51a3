//! What `debug` and `trace` share: blocks run again, calls run under an inspector, and what both may cost.

use crate::context::RpcContext;
use crate::errors;
use alloy_consensus::Header;
use alloy_eips::BlockId;
use alloy_primitives::B256;
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{BlockOverrides, TransactionInfo};
use bttc_executor::replay::{KnownBlock, Replay, environment_of};
use bttc_executor::simulate::CallContext;
use bttc_executor::watchdog::Budget;
use bttc_state::StateView;
use jsonrpsee::types::ErrorObjectOwned;
use revm::context::TxEnv;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Sets a flag when the request that holds it is dropped: its client has left.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl RpcContext {
    /// [`RpcContext::slow`] for work that ends early when the client leaves or its budget is used up.
    pub(crate) async fn budgeted<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, Budget) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let _guard = Abandon(Arc::clone(&abandoned));
        let (timeout, steps) = (self.config.trace_timeout_ms, self.config.max_trace_steps);
        self.slow(move |context| {
            let deadline = Instant::now() + Duration::from_millis(timeout);
            work(context, Budget { deadline, steps, abandoned })
        })
        .await
    }

    /// Runs a block of the store again: `work` gets the state before its first transaction.
    pub(crate) fn replayed<T>(
        &self,
        height: u64,
        work: impl FnOnce(&mut Replay<'_>, &KnownBlock) -> Result<T>,
    ) -> Result<T> {
        let parent = height.checked_sub(1).ok_or_else(|| errors::server("genesis is not traceable"))?;
        let known = self.executor.known_block(height).map_err(errors::executor)?;
        let known = known.ok_or_else(|| errors::server(format!("block {height} is not kept")))?;
        let result = self.executor.store().view(Some(parent), |view| {
            let mut replay = self.executor.replay(view, &known).map_err(errors::executor)?;
            work(&mut replay, &known)
        });
        result.map_err(errors::store)?
    }

    /// Where a mined transaction is: height and place in its block.
    pub(crate) fn place_of(&self, hash: B256) -> Result<Option<(u64, usize)>> {
        let found = self.executor.store().transaction_location(hash).map_err(errors::store)?;
        Ok(found.map(|found| (found.height, found.index as usize)))
    }

    /// What calls on a block's state run on.
    pub(crate) fn calls_on<'a>(
        &'a self,
        view: &'a StateView<'_>,
        header: &'a Header,
        overrides: (Option<StateOverride>, Option<BlockOverrides>),
    ) -> CallContext<'a> {
        CallContext {
            state: view,
            header,
            spec: self.executor.spec(),
            env: self.executor.env_of(header, 0),
            code_cache: self.executor.code_cache(),
            state_overrides: overrides.0,
            block_overrides: overrides.1,
            gas_cap: self.config.gas_cap,
        }
    }

    /// Runs calls on the state after a block.
    pub(crate) fn on_block<T>(
        &self,
        block: Option<BlockId>,
        overrides: (Option<StateOverride>, Option<BlockOverrides>),
        work: impl FnOnce(&CallContext<'_>) -> Result<T>,
    ) -> Result<T> {
        let height = self.height_of(block)?;
        let store = self.executor.store();
        let header = store.header(height).map_err(errors::store)?;
        let header = header.ok_or_else(|| errors::server("header not found"))?;
        let result = store.view(Some(height), |view| work(&self.calls_on(view, &header, overrides)));
        result.map_err(errors::store)?
    }

    /// Runs calls as the block after the head would. It comes in a later second than the head, in which contracts such as price oracles
    /// write slots that they leave alone in the same: a wallet's exact estimate has to hold then. And what is locked until now is open.
    pub(crate) fn on_next_block<T>(
        &self,
        overrides: (Option<StateOverride>, Option<BlockOverrides>),
        work: impl FnOnce(&CallContext<'_>) -> Result<T>,
    ) -> Result<T> {
        let result = self.executor.store().view(None, |view| {
            let header = view.header(view.height()).map_err(errors::store)?;
            let header = header.ok_or_else(|| errors::server("header not found"))?;
            let timestamp = self.node.next_timestamp().unwrap_or_else(|| {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                now.max(header.timestamp.saturating_add(1))
            });
            let header = self.executor.header_after(&header, timestamp).map_err(errors::executor)?;
            work(&self.calls_on(view, &header, overrides))
        });
        result.map_err(errors::store)?
    }
}

/// A block's transactions in the EVM's form, with what identifies each.
pub(crate) fn transactions(known: &KnownBlock) -> impl Iterator<Item = (TxEnv, TransactionInfo)> + '_ {
    let header = &known.block.header;
    known.block.transactions.iter().zip(&known.senders).enumerate().map(|(index, (transaction, sender))| {
        let info = TransactionInfo {
            hash: Some(*transaction.tx_hash()),
            index: Some(index as u64),
            block_hash: Some(known.hash),
            block_number: Some(header.number),
            base_fee: header.base_fee_per_gas,
            ..TransactionInfo::default()
        };
        (environment_of(transaction, *sender), info)
    })
}

/// Runs the transactions before one, and gives that one.
pub(crate) fn walk_to(replay: &mut Replay<'_>, known: &KnownBlock, index: usize) -> Result<(TxEnv, TransactionInfo)> {
    for (at, (transaction, info)) in transactions(known).enumerate() {
        if at == index {
            return Ok((transaction, info));
        }
        replay.skip(transaction).map_err(errors::call)?;
    }
    Err(errors::server("the block has no such transaction"))
}
