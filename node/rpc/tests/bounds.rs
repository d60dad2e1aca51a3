//! What the server does when its queues are full: subscribers that lag, heavy calls that wait. Also that all of it is described.

mod gate;
mod hostile;
mod ranges;
mod search;

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
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

fn context(heavy: usize) -> (RpcContext, Arc<ExecutedBlock>) {
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
    (served_context(executor, Arc::new(Alone), heavy), block)
}

/// What methods work on, for a chain without a network.
fn served_context(executor: Arc<Executor>, node: Arc<dyn NodeApi>, heavy: usize) -> RpcContext {
    let limits = ChainLimits { chain_id: 1337, gas_cap: 1 << 24, gas_limit: 1 << 24, min_base_fee: 1 };
    let (heads, _) = broadcast::channel(64);
    let (pending, _) = broadcast::channel(4_096);
    RpcContext {
        executor,
        pool: Arc::new(Pool::new(PoolConfig::default(), limits)),
        node,
        bridge: None,
        config: RpcConfig { listen: "127.0.0.1:0".parse().unwrap(), ..RpcConfig::default() },
        heads,
        pending,
        version: "test".into(),
        blocks: Arc::default(),
        filters: Arc::default(),
        heavy: Arc::new(Semaphore::new(heavy)),
        slow: Arc::new(Semaphore::new(1)),
    }
}

async fn served(heavy: usize) -> Served {
    let (context, block) = context(heavy);
    let (heads, pending) = (context.heads.clone(), context.pending.clone());
    Served { server: bttc_rpc::start(context).await.unwrap(), heads, pending, block }
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

/// Every method is described, and nothing else is; the page of the documentation is that of the program.
#[tokio::test]
async fn every_method_is_described() {
    let methods = bttc_rpc::methods(context(1).0).unwrap();
    let document: Value = methods.call("rpc.discover", rpc_params![]).await.unwrap();
    let described: BTreeSet<&str> =
        document["methods"].as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap()).collect();
    assert_eq!(described.len(), bttc_rpc::discover::names().count(), "a method is described twice");
    let registered: BTreeSet<&str> = methods.method_names().collect();
    let differ: Vec<_> = registered.symmetric_difference(&described).collect();
    assert!(differ.is_empty(), "described or registered alone: {differ:?}");

    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rpc.md");
    let page = bttc_rpc::discover::markdown();
    if std::env::var("BTTC_WRITE_DOCS").is_ok() {
        std::fs::write(&file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), page, "BTTC_WRITE_DOCS=1 writes docs/rpc.md anew");
}

/// A request with a foreign `Host`, and one for a namespace that is not served.
#[tokio::test]
async fn foreign_hosts_and_closed_namespaces_are_refused() {
    let (mut context, _) = context(1);
    context.config.hosts = vec!["node.example:*".into()];
    context.config.namespaces = vec!["eth".into(), "rpc".into()];
    let server = bttc_rpc::start(context).await.unwrap();
    let ask = |host: &'static str, method: &'static str| {
        let address = server.address();
        async move {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[]}}"#);
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let head = "Content-Type: application/json\r\nConnection: close";
            let length = body.len();
            let request =
                format!("POST / HTTP/1.1\r\nHost: {host}\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    };
    assert!(ask("node.example:8545", "eth_chainId").await.contains(r#""result":"0x539""#));
    assert!(ask("evil.example:8545", "eth_chainId").await.starts_with("HTTP/1.1 403"));
    assert!(ask("node.example", "debug_getBadBlocks").await.contains("-32601"));
    let (mut other, _) = self::context(1);
    other.config.namespaces = vec!["personal".into()];
    assert!(bttc_rpc::start(other).await.unwrap_err().to_string().contains("personal"));
}
