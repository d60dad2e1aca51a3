//! Watching one node's blocks: when each came, and which transactions it holds.

use alloy_primitives::B256;
use jsonrpsee::core::client::{ClientT, Subscription, SubscriptionClientT};
use jsonrpsee::rpc_params;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// A block.
#[derive(Clone, Copy, Debug)]
pub struct SeenBlock {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// When the node told of it.
    pub at: Instant,
    /// Transactions in it.
    pub transactions: usize,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The blocks, ascending, none left out.
    pub blocks: Vec<SeenBlock>,
    /// Each transaction, and the positions in `blocks` of the blocks that hold it.
    pub transactions: HashMap<B256, Vec<usize>>,
}

impl Seen {
    /// When a transaction was first seen in a block.
    pub fn finality(&self, hash: &B256) -> Option<Instant> {
        let position = self.transactions.get(hash)?.first()?;
        self.blocks.get(*position).map(|block| block.at)
    }
}

/// A running watch; it ends with the value.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Watches a node (its WebSocket address) from the block after its present head on. Returns when the subscription stands.
    ///
    /// # Errors
    /// The node cannot be reached or refuses.
    pub async fn start(node: &str) -> Result<Self, String> {
        let (client, heads) = subscribe(node).await?;
        let head = client.request("eth_blockNumber", rpc_params![]).await.map_err(|error| error.to_string())?;
        let next = quantity(&head)? + 1;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(follow(node.to_owned(), client, heads, next, Arc::clone(&seen)));
        Ok(Self { seen, task })
    }

    /// What was seen up to now.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// Looks at what was seen up to now without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock())
    }

    /// Waits until all these are in blocks; false when there were `patience` without one more of them.
    pub async fn until_final(&self, wanted: &[B256], patience: Duration) -> bool {
        let (mut missing, mut progress) = (usize::MAX, Instant::now());
        loop {
            let now = self.look(|seen| wanted.iter().filter(|hash| !seen.transactions.contains_key(*hash)).count());
            if now == 0 {
                return true;
            }
            if now < missing {
                (missing, progress) = (now, Instant::now());
            } else if progress.elapsed() > patience {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn subscribe(node: &str) -> Result<(WsClient, Subscription<Value>), String> {
    let words = |error: jsonrpsee::core::client::Error| format!("{node}: {error}");
    let client =
        WsClientBuilder::default().request_timeout(Duration::from_secs(30)).build(node).await.map_err(words)?;
    let heads = client.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe").await.map_err(words)?;
    Ok((client, heads))
}

/// Follows until it is aborted. A subscription that ends is made anew; what came meanwhile is read then.
async fn follow(
    node: String,
    mut client: WsClient,
    mut heads: Subscription<Value>,
    mut next: u64,
    seen: Arc<Mutex<Seen>>,
) {
    loop {
        while let Some(Ok(head)) = heads.next().await {
            let at = Instant::now();
            let Ok(number) = quantity(&head["number"]) else { break };
            if catch_up(&client, &mut next, number, at, &seen).await.is_err() {
                break;
            }
        }
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let Ok(again) = subscribe(&node).await else { continue };
            (client, heads) = again;
            let head = client.request::<Value, _>("eth_blockNumber", rpc_params![]).await;
            let Some(number) = head.ok().and_then(|head| quantity(&head).ok()) else { continue };
            if catch_up(&client, &mut next, number, Instant::now(), &seen).await.is_ok() {
                break;
            }
        }
    }
}

/// Reads the blocks from `next` up to `number`.
async fn catch_up(
    client: &WsClient,
    next: &mut u64,
    number: u64,
    at: Instant,
    seen: &Mutex<Seen>,
) -> Result<(), String> {
    while *next <= number {
        let block: Value = client
            .request("eth_getBlockByNumber", rpc_params![format!("0x{next:x}"), false])
            .await
            .map_err(|error| error.to_string())?;
        let hash = block["hash"].as_str().and_then(|hash| hash.parse().ok()).ok_or("a block without a hash")?;
        let transactions: Vec<B256> =
            serde_json::from_value(block["transactions"].clone()).map_err(|error| error.to_string())?;
        let mut seen = seen.lock();
        let position = seen.blocks.len();
        seen.blocks.push(SeenBlock { number: *next, hash, at, transactions: transactions.len() });
        for transaction in transactions {
            seen.transactions.entry(transaction).or_default().push(position);
        }
        *next += 1;
    }
    Ok(())
}

/// A number as the RPC writes it.
///
/// # Errors
/// It is none.
pub fn quantity(value: &Value) -> Result<u64, String> {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
    text.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or_else(|| format!("{value} is no number"))
}
