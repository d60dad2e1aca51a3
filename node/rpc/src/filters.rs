//! Filters that are polled: `eth_newFilter` and its kin.

use crate::context::RpcContext;
use crate::errors;
use crate::logs::{check_size, collect, logs};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use bttc_types::RecoveredTransaction;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// A filter that is not polled for so long is gone, as in geth.
const EXPIRY: Duration = Duration::from_secs(300);
/// Filters at the same time.
const MAX_FILTERS: usize = 10_000;

/// What a filter looks for, and from which height on it has not been told.
enum Kind {
    Logs { filter: Box<Filter>, next: u64 },
    Blocks { next: u64 },
    Pending { incoming: Receiver<Arc<RecoveredTransaction>> },
}

struct Entry {
    kind: Kind,
    used: Instant,
}

/// All filters. Ids cannot be guessed from one another.
#[derive(Default)]
pub struct Filters {
    state: RandomState,
    entries: Mutex<(u64, HashMap<U256, Entry>)>,
}

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filters").field("count", &self.entries.lock().1.len()).finish_non_exhaustive()
    }
}

impl Filters {
    /// Goes back with a chain that was set back: what comes after this height is new again.
    pub fn set_back(&self, head: u64) {
        for entry in self.entries.lock().1.values_mut() {
            match &mut entry.kind {
                Kind::Logs { next, .. } | Kind::Blocks { next } => *next = (*next).min(head.saturating_add(1)),
                Kind::Pending { .. } => {}
            }
        }
    }

    fn add(&self, kind: Kind) -> Result<U256> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        let (made, list) = &mut *entries;
        if list.len() >= MAX_FILTERS {
            list.retain(|_, entry| now.duration_since(entry.used) < EXPIRY);
        }
        if list.len() >= MAX_FILTERS {
            let data = serde_json::json!({ "limit": MAX_FILTERS });
            return Err(errors::limit("too many filters: uninstall some, or subscribe over WebSocket", data));
        }
        *made += 1;
        let (high, low) = (self.state.hash_one((*made, 0)), self.state.hash_one((*made, 1)));
        let id = (U256::from(high) << 64) | U256::from(low);
        list.insert(id, Entry { kind, used: now });
        Ok(id)
    }

    /// Works on a filter; an error when there is none with this id, or not any more.
    fn with<T>(&self, id: U256, work: impl FnOnce(&mut Kind) -> T) -> Result<T> {
        let mut entries = self.entries.lock();
        let missing = || errors::server("filter not found");
        let entry = entries.1.get_mut(&id).ok_or_else(missing)?;
        if entry.used.elapsed() >= EXPIRY {
            entries.1.remove(&id);
            return Err(missing());
        }
        entry.used = Instant::now();
        Ok(work(&mut entry.kind))
    }

    fn remove(&self, id: U256) -> bool {
        self.entries.lock().1.remove(&id).is_some_and(|entry| entry.used.elapsed() < EXPIRY)
    }
}

/// What is new.
#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Changes {
    Logs(Vec<Log>),
    Hashes(Vec<B256>),
}

/// What is to be read for a poll, outside the lock.
enum Work {
    Logs(Box<Filter>, u64, u64),
    Blocks(u64, u64),
    Done(Vec<B256>),
}

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_method("eth_newFilter", |params, context, _| {
        let filter: Filter = params.one()?;
        check_size(&filter)?;
        if let FilterBlockOption::Range { from_block: Some(from), to_block: Some(to) } = &filter.block_option
            && context.height_of_tag(*from) > context.height_of_tag(*to)
        {
            return Err(errors::invalid_params("invalid block range: fromBlock is after toBlock"));
        }
        let next = context.head_height() + 1;
        context.filters.add(Kind::Logs { filter: Box::new(filter), next })
    })?;
    module.register_method("eth_newBlockFilter", |_, context, _| {
        context.filters.add(Kind::Blocks { next: context.head_height() + 1 })
    })?;
    module.register_method("eth_newPendingTransactionFilter", |_, context, _| {
        context.filters.add(Kind::Pending { incoming: context.pending.subscribe() })
    })?;
    module.register_method("eth_uninstallFilter", |params, context, _| {
        Result::Ok(context.filters.remove(params.one()?))
    })?;
    module.register_async_method("eth_getFilterChanges", |params, context, _| async move {
        let id: U256 = params.one()?;
        context.heavy(move |context| changes(context, id)).await
    })?;
    module.register_async_method("eth_getFilterLogs", |params, context, _| async move {
        let id: U256 = params.one()?;
        context
            .heavy(move |context| {
                let filter = context.filters.with(id, |kind| match kind {
                    Kind::Logs { filter, .. } => Some((**filter).clone()),
                    Kind::Blocks { .. } | Kind::Pending { .. } => None,
                })?;
                let filter = filter.ok_or_else(|| errors::server("filter not found"))?;
                so_far(context, filter)
            })
            .await
    })?;
    Ok(())
}

fn changes(context: &RpcContext, id: U256) -> Result<Changes> {
    let head = context.head_height();
    let span = context.config.max_log_blocks;
    let work = context.filters.with(id, |kind| match kind {
        Kind::Logs { filter, next } => {
            let from = (*next).max(bound(context, filter, true).unwrap_or(0));
            // One query of the allowed size at a time; the next poll goes on.
            let to = head.min(bound(context, filter, false).unwrap_or(head)).min(from.saturating_add(span - 1));
            if from > to {
                return Work::Done(Vec::new());
            }
            *next = to + 1;
            Work::Logs(filter.clone(), from, to)
        }
        Kind::Blocks { next } => {
            let (from, to) = (*next, head.min(next.saturating_add(span - 1)));
            *next = to.max(from.saturating_sub(1)) + 1;
            Work::Blocks(from, to)
        }
        Kind::Pending { incoming } => {
            let mut hashes = Vec::new();
            loop {
                match incoming.try_recv() {
                    Ok(transaction) => hashes.push(transaction.hash()),
                    // Pending transactions are a sample by nature: go on after a gap.
                    Err(TryRecvError::Lagged(_)) => {}
                    Err(TryRecvError::Empty | TryRecvError::Closed) => return Work::Done(hashes),
                }
            }
        }
    })?;
    match work {
        Work::Logs(filter, from, to) => {
            let found = collect(context, &filter, from, to);
            let reached = match &found {
                Ok(found) => found.stopped.as_ref().map(|stop| stop.height),
                Err(_) => Some(from),
            };
            if let Some(reached) = reached {
                // What was not searched is the next poll's. Only the filter's owner polls, so nobody has moved on meanwhile.
                context.filters.with(id, |kind| {
                    if let Kind::Logs { next, .. } = kind {
                        *next = reached;
                    }
                })?;
            }
            found.map(|found| Changes::Logs(found.logs))
        }
        Work::Done(hashes) => Ok(Changes::Hashes(hashes)),
        Work::Blocks(from, to) => {
            let mut hashes = Vec::new();
            for height in from..=to {
                let header = context.executor.store().header(height).map_err(errors::store)?;
                hashes.extend(header.map(|header| header.hash_slow()));
            }
            Ok(Changes::Hashes(hashes))
        }
    }
}

/// The logs of a filter up to the head. Unlike a query a filter may reach beyond: it waits for what comes.
fn so_far(context: &RpcContext, mut filter: Filter) -> Result<Vec<Log>> {
    let head = context.head_height();
    if let FilterBlockOption::Range { from_block, to_block } = &mut filter.block_option {
        let beyond = |tag: &Option<BlockNumberOrTag>| tag.is_some_and(|tag| context.height_of_tag(tag) > head);
        if beyond(from_block) {
            return Ok(Vec::new());
        }
        if beyond(to_block) {
            *to_block = Some(BlockNumberOrTag::Latest);
        }
    }
    logs(context, &filter)
}

/// The first or last height that a filter's numbers allow; tags move with the head and bound nothing.
fn bound(context: &RpcContext, filter: &Filter, first: bool) -> Option<u64> {
    match &filter.block_option {
        FilterBlockOption::Range { from_block, to_block } => {
            let tag = if first { from_block } else { to_block };
            tag.and_then(|tag| match tag {
                BlockNumberOrTag::Number(height) => Some(height),
                _ => None,
            })
        }
        FilterBlockOption::AtBlockHash(hash) => {
            let height = context.executor.store().height_of(*hash).ok().flatten();
            Some(height.unwrap_or(u64::MAX - 1))
        }
    }
}
