//! What the server does when its queues are full: subscribers that lag, heavy calls that wait.

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Signature, TxKind};
use bttc_executor::{BuildInput, ExecutedBlock, Executor, TransactionSource, Verdict};
use bttc_genesis::{ChainSpec, GenesisValidator, Preset};
use bttc_pool::{ChainLimits, Pool, PoolConfig};
use bttc_rpc::{HeadEvent, NodeApi, NodeStatus, RpcConfig, RpcContext, RpcServer};
use bttc_state::{MemoryStore, StateStore, StoreOptions};
use bttc_types::{Certificate, RecoveredTransaction, SecretKey, Transaction};
use futures::future::BoxFuture;
use jsonrpsee::core::client::{ClientT, Subscription, SubscriptionClientT};
use jsonrpsee::rpc_params;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast};

struct Alone;

impl NodeApi for Alone {
    fn submit(&self, _: Transaction) -> Result<B256, String> {
        Err("not here".into())
    }
    fn status(&self) -> NodeStatus {
        NodeStatus::default()
    }
    fn peers(&self) -> BoxFuture<'static, Value> {
        Box::pin(async { json!([]) })
    }
}

struct Nothing;

impl TransactionSource for Nothing {
    fn next(&mut self) -> Option<Arc<RecoveredTransaction>> {
        None
    }
    fn refuse(&mut self, _: &Arc<RecoveredTransaction>, _: Verdict) {}
}

struct Served {
    server: RpcServer,
    heads: broadcast::Sender<HeadEvent>,
    pending: broadcast::Sender<Arc<RecoveredTransaction>>,
    block: Arc<ExecutedBlock>,
}

async fn served(heavy: usize) -> Served {
    let address = SecretKey::from_bytes(&[7; 32]).unwrap().address();
    let validator = GenesisValidator { address, owner: address, power: 1_000, bridge: None };
    let spec = ChainSpec::new(Preset::Local, 1_700_000_000, vec![validator]).unwrap();
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
    let executor = Arc::new(Executor::open(Arc::new(store), Arc::new(spec)).unwrap());
    let block = executor
        .build(BuildInput {
            round: 0,
            time_ms: 1_700_000_001_000,
            beneficiary: Address::ZERO,
            last_commit: Certificate::genesis(executor.head_hash().unwrap()),
            out_of_time: &mut || false,
            source: &mut Nothing,
        })
        .unwrap();
    let limits = ChainLimits { chain_id: 1337, gas_cap: 1 << 24, gas_limit: 1 << 24, min_base_fee: 1 };
    let (heads, _) = broadcast::channel(64);
    let (pending, _) = broadcast::channel(4_096);
    let context = RpcContext {
        executor,
        pool: Arc::new(Pool::new(PoolConfig::default(), limits)),
        node: Arc::new(Alone),
        bridge: None,
        config: RpcConfig { listen: "127.0.0.1:0".parse().unwrap(), ..RpcConfig::default() },
        heads: heads.clone(),
        pending: pending.clone(),
        version: "test".into(),
        filters: bttc_rpc::Filters::default(),
        heavy: Arc::new(Semaphore::new(heavy)),
    };
    let server = bttc_rpc::start(context).await.unwrap();
    Served { server, heads, pending, block }
}

impl Served {
    async fn client(&self) -> WsClient {
        let url = format!("ws://{}", self.server.address());
        WsClientBuilder::default().max_buffer_capacity_per_subscription(10_000).build(url).await.unwrap()
    }
}

async fn next(subscription: &mut Subscription<Value>) -> Option<Value> {
    let next = tokio::time::timeout(Duration::from_secs(10), subscription.next()).await;
    next.expect("something comes, or the end").map(Result::unwrap)
}

// One thread: whatever is sent between two awaits finds the subscriber's task asleep.
#[tokio::test]
async fn a_subscriber_that_misses_heads_loses_its_subscription_and_no_other_one() {
    let served = served(1).await;
    let client = served.client().await;
    let mut lagging: Subscription<Value> =
        client.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe").await.unwrap();
    served.heads.send(Arc::clone(&served.block)).unwrap();
    assert!(next(&mut lagging).await.is_some());
    for _ in 0..65 {
        let _ = served.heads.send(Arc::clone(&served.block));
    }
    let mut after = 0;
    while next(&mut lagging).await.is_some() {
        after += 1;
    }
    assert_eq!(after, 0, "rather no subscription than one with holes");
    let mut fresh: Subscription<Value> =
        client.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe").await.unwrap();
    served.heads.send(Arc::clone(&served.block)).unwrap();
    assert!(next(&mut fresh).await.is_some(), "the connection is good");
}

fn transaction(nonce: u64) -> Arc<RecoveredTransaction> {
    let transaction = TxLegacy {
        chain_id: Some(1337),
        nonce,
        gas_price: 1,
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        ..TxLegacy::default()
    };
    let signed = SecretKey::from_bytes(&[3; 32]).unwrap().sign(transaction.signature_hash());
    let signed = signed.as_bytes();
    let signature = Signature::from_bytes_and_parity(&signed[..64], signed[64] == 1);
    Arc::new(RecoveredTransaction::recover(Transaction::from(transaction.into_signed(signature))).unwrap())
}

#[tokio::test]
async fn a_subscriber_that_misses_pending_transactions_goes_on_with_the_later_ones() {
    let served = served(1).await;
    let client = served.client().await;
    let mut hashes: Subscription<Value> =
        client.subscribe("eth_subscribe", rpc_params!["newPendingTransactions"], "eth_unsubscribe").await.unwrap();
    let transactions: Vec<_> = (0..5_000).map(transaction).collect();
    for transaction in &transactions {
        served.pending.send(Arc::clone(transaction)).unwrap();
    }
    let last = json!(transactions.last().unwrap().hash());
    let mut seen = Vec::new();
    loop {
        let hash = next(&mut hashes).await.expect("it stays");
        let done = hash == last;
        seen.push(hash);
        if done {
            break;
        }
    }
    assert!(seen.len() <= 4_096, "{} came", seen.len());
    assert!(!seen.contains(&json!(transactions[0].hash())), "the oldest are skipped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_calls_beyond_the_bound_wait_for_their_turn() {
    let served = served(1).await;
    let client = served.client().await;
    let call = json!({ "to": Address::repeat_byte(9), "data": "0x" });
    let calls = (0..50).map(|_| client.request::<String, _>("eth_call", rpc_params![call.clone(), "latest"]));
    for result in futures::future::join_all(calls).await {
        assert_eq!(result.unwrap(), "0x");
    }
}
