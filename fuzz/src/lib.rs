//! What several fuzz targets need: a small chain in memory.
#![forbid(unsafe_code)]

use alloy_primitives::{Address, B256};
use bttc_executor::{BuildInput, Executor, TransactionSource, Verdict};
use bttc_genesis::{ChainSpec, GenesisValidator, Preset};
use bttc_pool::{ChainLimits, Pool, PoolConfig};
use bttc_rpc::{NodeApi, NodeStatus, RpcConfig, RpcContext};
use bttc_state::{MemoryStore, StateStore, StoreOptions};
use bttc_types::{Certificate, RecoveredTransaction, SecretKey, Transaction, block_time_ms};
use futures::future::BoxFuture;
use std::sync::Arc;

/// The only validator's key.
pub fn key() -> SecretKey {
    SecretKey::from_bytes(&[7; 32]).expect("a valid key")
}

/// A local chain of one validator.
pub fn spec() -> ChainSpec {
    let address = key().address();
    let validator = GenesisValidator { address, owner: address, power: 1_000, bridge: None };
    ChainSpec::new(Preset::Local, 1_700_000_000, vec![validator]).expect("a valid specification")
}

struct Nothing;

impl TransactionSource for Nothing {
    fn next(&mut self) -> Option<Arc<RecoveredTransaction>> {
        None
    }

    fn refuse(&mut self, _: &Arc<RecoveredTransaction>, _: Verdict) {}
}

/// A chain of a few empty blocks.
pub fn executor() -> Arc<Executor> {
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).expect("memory opens");
    let executor = Executor::open(Arc::new(store), Arc::new(spec())).expect("the genesis block is built");
    for height in 1..=3 {
        let parent = executor.head_header().expect("a head");
        let last_commit = match height {
            1 => Certificate::genesis(executor.head_hash().expect("a head")),
            _ => executor.store().certificate(height - 1).expect("memory reads").expect("it is there"),
        };
        let built = executor
            .build(BuildInput {
                round: 0,
                time_ms: block_time_ms(&parent) + 1_000,
                beneficiary: Address::ZERO,
                last_commit,
                out_of_time: &mut || false,
                source: &mut Nothing,
            })
            .expect("an empty block is built");
        let vote = bttc_types::Vote {
            kind: bttc_types::VoteKind::Precommit,
            height,
            round: 0,
            block_hash: Some(built.hash),
            validator: key().address(),
        };
        let signature = key().sign(executor.domain().vote_digest(&vote));
        let certificate =
            Certificate { height, round: 0, block_hash: built.hash, signatures: vec![(0, signature).into()] };
        executor.commit(&built, &certificate, true).expect("memory writes");
    }
    Arc::new(executor)
}

struct Alone;

impl NodeApi for Alone {
    fn submit(&self, _: Transaction) -> Result<B256, String> {
        Err("not here".into())
    }

    fn status(&self) -> NodeStatus {
        NodeStatus::default()
    }

    fn peers(&self) -> BoxFuture<'static, serde_json::Value> {
        Box::pin(async { serde_json::json!([]) })
    }
}

/// What RPC methods work on.
pub fn rpc_context() -> RpcContext {
    let executor = executor();
    let limits = ChainLimits {
        chain_id: executor.spec().chain_id(),
        gas_cap: 16_777_216,
        gas_limit: 16_777_216,
        min_base_fee: executor.spec().bttc.params.min_base_fee,
    };
    RpcContext {
        executor,
        pool: Arc::new(Pool::new(PoolConfig::default(), limits)),
        node: Arc::new(Alone),
        // Calls of a fuzzer should end soon.
        bridge: None,
        config: RpcConfig { gas_cap: 1_000_000, ..RpcConfig::default() },
        heads: tokio::sync::broadcast::channel(8).0,
        pending: tokio::sync::broadcast::channel(8).0,
        version: "fuzz".into(),
        blocks: Arc::default(),
        filters: Arc::default(),
        heavy: Arc::new(tokio::sync::Semaphore::new(4)),
        slow: Arc::new(tokio::sync::Semaphore::new(4)),
    }
}

/// Methods with parameters.
pub const METHODS: &[&str] = &[
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBlockReceipts",
    "eth_getBlockTransactionCountByNumber",
    "eth_getTransactionByHash",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionReceipt",
    "eth_getUncleCountByBlockNumber",
    "eth_getBalance",
    "eth_getCode",
    "eth_getStorageAt",
    "eth_getTransactionCount",
    "eth_getProof",
    "eth_call",
    "eth_estimateGas",
    "eth_createAccessList",
    "eth_sendRawTransaction",
    "eth_feeHistory",
    "eth_getLogs",
    "txpool_contentFrom",
    "bttc_block",
    "bttc_certificate",
    "bttc_delegations",
    "bttc_epoch",
    "bttc_events",
    "bttc_params",
    "bttc_proposal",
    "bttc_setChange",
    "bttc_validator",
    "bttc_validators",
    "bttc_status",
    "web3_sha3",
    "eth_newFilter",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_uninstallFilter",
    "eth_simulateV1",
    "eth_getStorageValues",
    "eth_getHeaderByNumber",
    "eth_getHeaderByHash",
    "debug_traceTransaction",
    "debug_traceBlockByNumber",
    "debug_traceBlockByHash",
    "debug_traceCall",
    "debug_getRawHeader",
    "debug_getRawBlock",
    "debug_getRawReceipts",
    "debug_getRawTransaction",
    "trace_transaction",
    "trace_get",
    "trace_block",
    "trace_filter",
    "trace_replayTransaction",
    "trace_replayBlockTransactions",
    "trace_call",
    "trace_callMany",
    "trace_rawTransaction",
    "bttc_bridgeSet",
    "bttc_checkpoint",
    "bttc_depositCertificate",
    "bttc_depositStatus",
    "bttc_gatewayCommand",
    "bttc_withdrawalProof",
];
