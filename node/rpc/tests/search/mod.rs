//! The search index against a look at every block, and Otterscan's pages against the chain that they were made from.

use super::{Alone, served_context};
use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Signature, TxKind, U256};
use bttc_executor::{BuildInput, Executor, SearchIndexer, TransactionSource, Verdict};
use bttc_genesis::{ChainSpec, DEV_KEYS, GenesisValidator, Preset};
use bttc_rpc::RpcContext;
use bttc_state::{MemoryStore, StateStore, StoreOptions};
use bttc_types::{Certificate, RecoveredTransaction, SecretKey, Transaction};
use jsonrpsee::Methods;
use serde_json::{Value, json};
use std::sync::Arc;

/// `LOG2` without data, its topics from the call's first two words.
const EMITTER: [u8; 9] = [0x60, 0x20, 0x35, 0x5f, 0x35, 0x5f, 0x5f, 0xa2, 0x00];
const EMITTERS: [Address; 3] = [Address::repeat_byte(0xe1), Address::repeat_byte(0xe2), Address::repeat_byte(0xe3)];
/// Calls the address in its first word with 1 wei.
const FORWARDER: [u8; 13] = [0x5f, 0x5f, 0x5f, 0x5f, 0x60, 1, 0x5f, 0x35, 0x61, 0xff, 0xff, 0xf1, 0x00];
pub(crate) const FORWARDER_AT: Address = Address::repeat_byte(0xf0);
/// Sets the slot in its first word to its second.
const SETTER: [u8; 7] = [0x60, 0x20, 0x35, 0x5f, 0x35, 0x55, 0x00];
pub(crate) const SETTER_AT: Address = Address::repeat_byte(0x5e);

struct Queue(Vec<Arc<RecoveredTransaction>>);

impl TransactionSource for Queue {
    fn next(&mut self) -> Option<Arc<RecoveredTransaction>> {
        self.0.pop()
    }
    fn refuse(&mut self, transaction: &Arc<RecoveredTransaction>, verdict: Verdict) {
        panic!("{transaction:?} was refused: {verdict:?}");
    }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn topic(number: u64) -> B256 {
    B256::from(U256::from(number))
}

/// A chain of one validator in memory.
pub(crate) struct Chain {
    pub(crate) executor: Arc<Executor>,
    validator: SecretKey,
    last: Certificate,
    nonce: u64,
}

impl Chain {
    pub(crate) fn new() -> Self {
        let validator = SecretKey::from_bytes(&[7; 32]).unwrap();
        let address = validator.address();
        let entry = GenesisValidator { address, owner: address, power: 1_000, bridge: None };
        let mut spec = ChainSpec::new(Preset::Local, 1_700_000_000, vec![entry]).unwrap();
        for (address, code) in EMITTERS.into_iter().map(|at| (at, EMITTER.to_vec())) {
            spec.genesis.alloc.entry(address).or_default().code = Some(code.into());
        }
        spec.genesis.alloc.entry(SETTER_AT).or_default().code = Some(SETTER.to_vec().into());
        let forwarder = spec.genesis.alloc.entry(FORWARDER_AT).or_default();
        (forwarder.code, forwarder.balance) = (Some(FORWARDER.to_vec().into()), U256::from(1_000));
        let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
        let executor = Arc::new(Executor::open(Arc::new(store), Arc::new(spec)).unwrap());
        let last = Certificate::genesis(executor.head_hash().unwrap());
        Self { executor, validator, last, nonce: 0 }
    }

    /// A signed call of the first development account.
    pub(crate) fn call(&mut self, to: TxKind, data: Vec<u8>) -> Arc<RecoveredTransaction> {
        let transaction = TxLegacy {
            chain_id: Some(1337),
            nonce: self.nonce,
            gas_price: 1_000_000_000_000,
            gas_limit: 100_000,
            to,
            input: data.into(),
            ..TxLegacy::default()
        };
        self.nonce += 1;
        let signed = SecretKey::from_bytes(&DEV_KEYS[0].1.0).unwrap().sign(transaction.signature_hash());
        let signed = signed.as_bytes();
        let signature = Signature::from_bytes_and_parity(&signed[..64], signed[64] == 1);
        Arc::new(RecoveredTransaction::recover(Transaction::from(transaction.into_signed(signature))).unwrap())
    }

    /// Makes a block final.
    pub(crate) fn commit(&mut self, mut transactions: Vec<Arc<RecoveredTransaction>>) {
        transactions.reverse();
        let input = BuildInput {
            round: 0,
            time_ms: 0,
            beneficiary: Address::repeat_byte(0xbe),
            last_commit: self.last.clone(),
            out_of_time: &mut || false,
            source: &mut Queue(transactions),
        };
        let block = self.executor.build(input).unwrap();
        let (height, block_hash) = (block.block.header.number, block.hash);
        let mut certificate = Certificate { height, round: 0, block_hash, signatures: vec![] };
        let digest = self.executor.domain().vote_digest(&certificate.vote(self.validator.address()));
        certificate.insert(0, self.validator.sign(digest));
        self.executor.commit(&block, &certificate, false).unwrap();
        self.last = certificate;
    }

    pub(crate) fn context(&self) -> RpcContext {
        served_context(Arc::clone(&self.executor), Arc::new(Alone), 2)
    }
}

pub(crate) async fn ask(methods: &Methods, method: &str, params: Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let (answer, _) = methods.raw_json_request(&request, 1).await.unwrap();
    serde_json::from_str(answer.get()).unwrap()
}

/// What a log query must give, from every block's receipts.
async fn logs_of_all(methods: &Methods, last: u64) -> Vec<Value> {
    let mut all = Vec::new();
    for height in 0..=last {
        let receipts = ask(methods, "eth_getBlockReceipts", json!([format!("0x{height:x}")])).await;
        let receipts = receipts["result"].as_array().unwrap().clone();
        all.extend(receipts.iter().flat_map(|receipt| receipt["logs"].as_array().unwrap().clone()));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_queries_find_with_the_index_what_a_look_at_every_block_finds() {
    const BLOCKS: u64 = 600;
    let mut chain = Chain::new();
    let mut random = Random(11);
    for _ in 0..BLOCKS {
        let calls = (0..random.below(3)).map(|_| {
            let emitter = EMITTERS[random.below(3) as usize];
            let topics = [topic(random.below(4)), topic(random.below(40))];
            chain.call(emitter.into(), topics.concat())
        });
        let calls: Vec<_> = calls.collect();
        chain.commit(calls);
    }
    let methods = bttc_rpc::methods(chain.context()).unwrap();
    let all = logs_of_all(&methods, BLOCKS).await;
    let store = chain.executor.store();
    // Some blocks have more names than that, others fewer.
    let mut indexer = SearchIndexer::bounded(Arc::clone(store), 6).unwrap();
    for round in 0..3 {
        // Without the index, with the sections that are full, and after a restart.
        if round == 1 {
            while indexer.advance(64).unwrap() {}
        } else if round == 2 {
            indexer = SearchIndexer::new(Arc::clone(store)).unwrap();
            while indexer.advance(1_000).unwrap() {}
        }
        assert_eq!(store.searchable().unwrap(), if round == 0 { 0..0 } else { 0..2 });
        for _ in 0..40 {
            let from = random.below(BLOCKS);
            let to = from + random.below(BLOCKS - from + 1);
            let address = (random.below(3) > 0).then(|| EMITTERS[random.below(3) as usize]);
            let first = (random.below(3) > 0).then(|| vec![topic(random.below(5)), topic(random.below(5))]);
            let second = (random.below(2) > 0).then(|| topic(random.below(41)));
            let mut filter = json!({ "fromBlock": format!("0x{from:x}"), "toBlock": format!("0x{to:x}"), "topics": [first, second] });
            if let Some(address) = address {
                filter["address"] = json!(address);
            }
            let wanted = all.iter().filter(|log| {
                let height = u64::from_str_radix(&log["blockNumber"].as_str().unwrap()[2..], 16).unwrap();
                let is = |value: &Value, wanted: B256| *value == json!(wanted);
                (from..=to).contains(&height)
                    && address.is_none_or(|address| log["address"] == json!(address))
                    && first.as_ref().is_none_or(|any| any.iter().any(|one| is(&log["topics"][0], *one)))
                    && second.is_none_or(|one| is(&log["topics"][1], one))
            });
            let wanted: Vec<&Value> = wanted.collect();
            let answer = ask(&methods, "eth_getLogs", json!([filter])).await;
            let found: Vec<&Value> = answer["result"].as_array().unwrap().iter().collect();
            assert_eq!(found, wanted, "round {round}, {filter}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_reads_too_much_says_how_far_it_came_and_a_polled_filter_goes_on_there() {
    let mut chain = Chain::new();
    let mut context = chain.context();
    (context.config.max_log_reads, context.config.max_logs) = (1_000, 5);
    let methods = bttc_rpc::methods(context).unwrap();
    let filter = ask(&methods, "eth_newFilter", json!([{ "address": EMITTERS[0] }])).await;
    for _ in 0..6 {
        let calls = (0..2).map(|number| chain.call(EMITTERS[0].into(), [topic(number), topic(1)].concat())).collect();
        chain.commit(calls);
    }
    let range = |from: &str, to: &str| json!([{ "fromBlock": from, "toBlock": to, "address": EMITTERS[0] }]);
    let refused = ask(&methods, "eth_getLogs", range("0x1", "0x6")).await;
    assert_eq!(refused["error"]["code"], -32_005);
    assert_eq!(refused["error"]["data"]["to"], "0x2", "{refused}");
    let to = refused["error"]["data"]["to"].as_str().unwrap();
    assert_eq!(ask(&methods, "eth_getLogs", range("0x1", to)).await["result"].as_array().unwrap().len(), 4);
    let mut polled = 0;
    for expected in [4, 4, 4, 0] {
        let changes = ask(&methods, "eth_getFilterChanges", json!([filter["result"]])).await;
        let changes = changes["result"].as_array().unwrap().len();
        assert_eq!(changes, expected);
        polled += changes;
    }
    assert_eq!(polled, 12, "each log is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explorer_finds_what_an_account_took_part_in() {
    let mut chain = Chain::new();
    let receiver = Address::repeat_byte(0x44);
    let sender = DEV_KEYS[0].0;
    let mut inner = Vec::new();
    for height in 1..=300u64 {
        let mut calls = vec![chain.call(EMITTERS[1].into(), [topic(1), topic(2)].concat())];
        if height % 60 == 0 {
            let call = chain.call(FORWARDER_AT.into(), receiver.into_word().to_vec());
            inner.push(call.hash());
            calls.push(call);
        }
        if height == 200 {
            // Deploys the code `fe`.
            calls.push(chain.call(TxKind::Create, vec![0x60, 0xfe, 0x5f, 0x53, 0x60, 0x01, 0x5f, 0xf3]));
        }
        chain.commit(calls);
    }
    let mut indexer = SearchIndexer::new(Arc::clone(chain.executor.store())).unwrap();
    while indexer.advance(1_000).unwrap() {}
    let methods = bttc_rpc::methods(chain.context()).unwrap();
    let result = |answer: Value| {
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].clone()
    };
    inner.reverse();
    let hashes =
        |page: &Value| -> Vec<Value> { page["txs"].as_array().unwrap().iter().map(|tx| tx["hash"].clone()).collect() };
    // Pages of two, newest first, then the other way.
    let (mut block, mut seen) = (0, Vec::new());
    for page_number in 0.. {
        let page = result(ask(&methods, "ots_searchTransactionsBefore", json!([receiver, block, 2])).await);
        assert_eq!(page["firstPage"], page_number == 0);
        assert_eq!(page["receipts"].as_array().unwrap().len(), page["txs"].as_array().unwrap().len());
        seen.extend(hashes(&page));
        if page["lastPage"] == true {
            break;
        }
        let last = page["txs"].as_array().unwrap().last().unwrap()["blockNumber"].as_str().unwrap().to_owned();
        block = u64::from_str_radix(&last[2..], 16).unwrap();
    }
    assert_eq!(seen, inner.iter().map(|hash| json!(hash)).collect::<Vec<_>>());
    let page = result(ask(&methods, "ots_searchTransactionsAfter", json!([receiver, 0, 2])).await);
    assert_eq!(hashes(&page), [json!(inner[3]), json!(inner[4])]);
    assert_eq!((&page["firstPage"], &page["lastPage"]), (&json!(false), &json!(true)));
    let page = result(ask(&methods, "ots_searchTransactionsAfter", json!([receiver, 180, 10])).await);
    assert_eq!(hashes(&page), [json!(inner[0]), json!(inner[1])]);

    let operations = result(ask(&methods, "ots_getInternalOperations", json!([inner[0]])).await);
    assert_eq!(operations, json!([{ "type": 0, "from": FORWARDER_AT, "to": receiver, "value": "0x1" }]));
    let trace = result(ask(&methods, "ots_traceTransaction", json!([inner[0]])).await);
    assert_eq!(trace[1]["depth"], 1);
    let created = result(ask(&methods, "ots_getTransactionBySenderAndNonce", json!([sender, 203])).await);
    let receipt = result(ask(&methods, "eth_getTransactionReceipt", json!([created])).await);
    assert_eq!(receipt["blockNumber"], "0xc8");
    let creator = result(ask(&methods, "ots_getContractCreator", json!([receipt["contractAddress"]])).await);
    assert_eq!(creator, json!({ "hash": created, "creator": sender }));
    assert_eq!(result(ask(&methods, "ots_hasCode", json!([receipt["contractAddress"], "0xc7"])).await), false);
    assert_eq!(result(ask(&methods, "ots_hasCode", json!([receipt["contractAddress"], "latest"])).await), true);
    let page = result(ask(&methods, "ots_getBlockTransactions", json!([200, 0, "0x1"])).await);
    assert_eq!(page["fullblock"]["transactions"][0]["hash"], created);
    assert_eq!(page["receipts"].as_array().unwrap().len(), 1);
    let details = result(ask(&methods, "ots_getBlockDetails", json!([200])).await);
    assert_eq!(details["block"]["transactionCount"], 2);
    let all = result(ask(&methods, "eth_getBlockReceipts", json!(["0xc8"])).await);
    let number = |value: &Value| U256::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
    let fees = all.as_array().unwrap().iter().map(|one| number(&one["gasUsed"]) * number(&one["effectiveGasPrice"]));
    assert_eq!(number(&details["totalFees"]), fees.sum::<U256>());
}
