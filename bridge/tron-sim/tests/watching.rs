//! A gateway on the simulator, read through endpoints that leave out, change, invent, hang, and change what was final.

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_sol_types::{SolCall, SolConstructor};
use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::State;
use axum::http::Uri;
use bttc_bridge_types::{
    BridgeMember, BridgeSet, Checkpoint, Command, Dest, GatewayCommand, GatewayId, NATIVE_COIN, Tree, Withdrawal,
    first_accumulator, pack_signatures,
};
use bttc_root_chains::contracts::{EvmGateway, GatewayProxy, TronGateway, TronSettings, submit_checkpoint};
use bttc_root_chains::{
    BlockRef, ChainKind, ContractCall, Endpoint, Error, Progress, Quorum, QuorumConfig, RootChain, TronClient,
};
use bttc_tron_sim::{Server, SimConfig, serve};
use bttc_types::SecretKey;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const CHAIN: u64 = 728_126_428;

fn key(index: u8) -> SecretKey {
    SecretKey::from_bytes(&keccak256([index]).0).unwrap()
}

/// What a lying endpoint does to an answer.
type Lie = Arc<Mutex<Option<Box<dyn Fn(&str, Value) -> Value + Send>>>>;

struct Proxy {
    address: SocketAddr,
    lie: Lie,
    hang: Arc<Mutex<bool>>,
}

impl Proxy {
    async fn start(upstream: SocketAddr) -> Self {
        let (lie, hang): (Lie, Arc<Mutex<bool>>) = Default::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = (upstream, Arc::clone(&lie), Arc::clone(&hang));
        async fn pass(
            State((upstream, lie, hang)): State<(SocketAddr, Lie, Arc<Mutex<bool>>)>,
            uri: Uri,
            body: Body,
        ) -> String {
            if *hang.lock() {
                std::future::pending::<()>().await;
            }
            let endpoint =
                Endpoint::new(&format!("http://{upstream}").parse().unwrap(), Duration::from_secs(5)).unwrap();
            let request: Value = serde_json::from_slice(&body).unwrap_or_default();
            let answer = endpoint.post(uri.path(), &request).await.unwrap_or_default();
            let method = request.get("method").and_then(Value::as_str).unwrap_or(uri.path()).to_owned();
            match lie.lock().as_ref() {
                Some(lie) => lie(&method, answer).to_string(),
                None => answer.to_string(),
            }
        }
        let app = Router::new().fallback(pass).with_state(state);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, lie, hang }
    }

    fn lies(&self, lie: impl Fn(&str, Value) -> Value + Send + 'static) {
        *self.lie.lock() = Some(Box::new(lie));
    }
}

struct World {
    server: Server,
    client: TronClient,
    gateway: Address,
    set: BridgeSet,
    bridge: B256,
}

impl World {
    /// A chain with a gateway that takes the chain's coin.
    async fn new() -> Self {
        let funded = (0..4).map(|index| (key(index).address(), 1_000_000_000_000_000)).collect();
        let config = SimConfig { block_time_ms: 40, solid_lag: 2, funded, ..SimConfig::default() };
        let server = serve(config, "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let endpoint =
            Endpoint::new(&format!("http://{}", server.address).parse().unwrap(), Duration::from_secs(5)).unwrap();
        let bridge = keccak256("bridge");
        let members = (10..14).map(|index| BridgeMember { key: key(index).address(), power: 10 }).collect();
        let set = BridgeSet::new(1, members).unwrap();
        let mut world = Self { server, client: TronClient::new(endpoint), gateway: Address::ZERO, set, bridge };
        let settings = TronSettings {
            bridgeId: bridge,
            minSigners: 1,
            minRotation: 0,
            overlap: 120,
            expiry: 3_600,
            largeDelay: 5,
            bucketWindow: 60,
            upgradeDelay: 10,
            recoveryDelay: 10,
            pauseSeconds: 30,
            pauseRest: 60,
        };
        let arguments = TronGateway::constructorCall { settings, batchVerifier: Address::with_last_byte(9) };
        let implementation = world.deploy(&TronGateway::BYTECODE, arguments.abi_encode()).await;
        let begin = EvmGateway::initializeCall {
            firstSet: world.set.encode().into(),
            setTimestamp: world.now(),
            firstPausers: vec![],
            signers: vec![key(0).address()],
            threshold: U256::from(1),
        };
        let arguments = GatewayProxy::constructorCall { implementation, initialization: begin.abi_encode().into() };
        world.gateway = world.deploy(&GatewayProxy::BYTECODE, arguments.abi_encode()).await;
        let command = Command::MapToken { token: NATIVE_COIN, minimum: U256::from(1), floor: U256::from(1u64 << 50) };
        let order = GatewayCommand { at: world.at(), command_nonce: 1, command };
        let call = EvmGateway::executeCall {
            commandNonce: 1,
            kind: command.kind(),
            payload: command.payload(),
            set: world.set.encode().into(),
            signatures: world.sign(order.digest(bridge)),
        };
        world.call(0, &call).await.unwrap();
        world
    }

    fn now(&self) -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    }

    fn at(&self) -> GatewayId {
        GatewayId { root_chain_id: CHAIN, gateway: self.gateway }
    }

    fn sign(&self, digest: B256) -> Bytes {
        let list: Vec<_> =
            (10..13).map(|index| (self.set.index_of(key(index).address()).unwrap(), key(index).sign(digest))).collect();
        pack_signatures(&list).into()
    }

    async fn transact(&self, call: ContractCall) -> Result<Option<Address>, String> {
        let transaction = self.client.prepare(&call, &key(0), 30_000, 15_000_000_000).await.unwrap();
        self.client.broadcast(&transaction).await.map_err(|error| error.to_string())?;
        // The same bytes again are no second transaction.
        self.client.broadcast(&transaction).await.unwrap();
        for _ in 0..200 {
            if let Some(info) = self.client.transaction(transaction.id()).await.unwrap() {
                return if info.result == "SUCCESS" { Ok(info.contract) } else { Err(info.result) };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not in a block");
    }

    async fn deploy(&self, code: &Bytes, arguments: Vec<u8>) -> Address {
        let mut bytecode = code.to_vec();
        bytecode.extend(arguments);
        let owner = key(0).address();
        let call = ContractCall::Create { owner, bytecode: bytecode.into(), call_value: 0, name: "test".into() };
        self.transact(call).await.unwrap().unwrap()
    }

    async fn call<C: SolCall>(&self, value: u64, call: &C) -> Result<(), String> {
        let (owner, contract) = (key(0).address(), self.gateway);
        let data = call.abi_encode().into();
        self.transact(ContractCall::Trigger { owner, contract, call_value: value, data }).await.map(|_| ())
    }

    async fn deposit(&self, amount: u64) {
        self.call(amount, &EvmGateway::depositNativeCall { recipient: Address::repeat_byte(0xaa) }).await.unwrap();
    }

    /// Waits until what is in the head's block is solid.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }

    fn start(&self) -> Progress {
        Progress {
            block: BlockRef { height: 0, hash: B256::ZERO },
            nonce: 0,
            acc: first_accumulator(self.bridge, self.at()),
        }
    }

    async fn quorum(&self, addresses: &[SocketAddr], quorum: usize) -> Quorum {
        Quorum::new(QuorumConfig {
            name: "tron".into(),
            kind: ChainKind::Tron,
            chain_id: CHAIN,
            endpoints: addresses.iter().map(|address| format!("http://{address}").parse().unwrap()).collect(),
            quorum,
            extra_depth: 0,
            timeout: Duration::from_millis(700),
        })
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deposits_are_read_once_and_in_order() {
    let world = World::new().await;
    for amount in [5, 6, 7] {
        world.deposit(amount).await;
    }
    world.settle().await;
    let mut quorum = world.quorum(&[world.server.address], 1).await;
    quorum.identify().await.unwrap();
    let mut progress = world.start();
    let (found, state) = quorum.read_deposits(world.bridge, world.at(), &mut progress).await.unwrap();
    let amounts: Vec<U256> = found.iter().map(|log| log.deposit.amount).collect();
    assert_eq!(amounts, [5, 6, 7].map(U256::from));
    assert_eq!((progress.nonce, state.deposits, state.commands), (3, 3, 1));
    assert_eq!(progress.acc, state.acc);
    let (again, _) = quorum.read_deposits(world.bridge, world.at(), &mut progress).await.unwrap();
    assert!(again.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_left_out_changed_or_invented_are_found_by_one_endpoint_alone() {
    let world = World::new().await;
    world.deposit(5).await;
    world.deposit(6).await;
    world.settle().await;
    let proxy = Proxy::start(world.server.address).await;
    let mut quorum = world.quorum(&[proxy.address], 1).await;
    let mut check = async |lie: fn(&mut Vec<Value>)| {
        proxy.lies(move |method, mut answer| {
            if method == "eth_getLogs"
                && let Some(list) = answer.get_mut("result").and_then(Value::as_array_mut)
            {
                lie(list);
            }
            answer
        });
        let mut progress = world.start();
        let result = quorum.read_deposits(world.bridge, world.at(), &mut progress).await;
        assert!(matches!(&result, Err(error) if error.is_alarm()), "{result:?}");
        assert_eq!(progress, world.start(), "nothing is taken over");
    };
    // The last one, so that no gap shows: the gateway's own count does.
    check(|list| {
        list.pop();
    })
    .await;
    check(|list| {
        list.remove(0);
    })
    .await;
    check(|list| {
        let data = list[1]["data"].as_str().unwrap().replace("0000000000000006", "0000000000000060");
        list[1]["data"] = json!(data);
    })
    .await;
    check(|list| {
        let mut invented = list[1].clone();
        invented["topics"][1] = json!(B256::with_last_byte(3));
        list.push(invented);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_disagree_stop_the_reading_and_silent_ones_only_delay_it() {
    let world = World::new().await;
    world.deposit(5).await;
    world.settle().await;
    let (honest, other) = (Proxy::start(world.server.address).await, Proxy::start(world.server.address).await);
    let third = Proxy::start(world.server.address).await;
    let mut quorum = world.quorum(&[honest.address, other.address, third.address], 2).await;
    // One hangs: two of three are enough.
    *third.hang.lock() = true;
    let mut progress = world.start();
    let (found, _) = quorum.read_deposits(world.bridge, world.at(), &mut progress).await.unwrap();
    assert_eq!(found.len(), 1);
    // Two hang: nothing is read, and nobody is alarmed.
    *other.hang.lock() = true;
    let result = quorum.read_deposits(world.bridge, world.at(), &mut progress).await;
    assert!(matches!(&result, Err(error) if !error.is_alarm()), "{result:?}");
    // One of three says something else: that alone is an alarm.
    *other.hang.lock() = false;
    *third.hang.lock() = false;
    third.lies(|method, mut answer| {
        if method == "eth_getLogs" {
            answer["result"] = json!([]);
        }
        answer
    });
    let mut progress = world.start();
    let result = quorum.read_deposits(world.bridge, world.at(), &mut progress).await;
    assert!(matches!(result, Err(Error::Disagree { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalized_block_that_becomes_another_one_is_an_alarm() {
    let world = World::new().await;
    world.deposit(5).await;
    world.settle().await;
    let proxy = Proxy::start(world.server.address).await;
    let mut quorum = world.quorum(&[proxy.address], 1).await;
    let mut progress = world.start();
    quorum.read_deposits(world.bridge, world.at(), &mut progress).await.unwrap();
    let before = hex::encode(progress.block.hash);
    let mut forged = progress.block.hash;
    forged[31] ^= 1;
    let forged = hex::encode(forged);
    proxy.lies(move |_, answer| serde_json::from_str(&answer.to_string().replace(&before, &forged)).unwrap());
    let result = quorum.read_deposits(world.bridge, world.at(), &mut progress).await;
    assert!(matches!(result, Err(Error::FinalityChanged { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chain_and_other_errors_have_names() {
    let world = World::new().await;
    let proxy = Proxy::start(world.server.address).await;
    let mut config = world.quorum(&[proxy.address], 1).await.config().clone();
    config.chain_id = 1;
    let result = Quorum::new(config).unwrap().identify().await;
    assert!(matches!(result, Err(Error::WrongChain { expected: 1, got: CHAIN, .. })), "{result:?}");
    // What java-tron says with status 200.
    let client = TronClient::new(
        Endpoint::new(&format!("http://{}", proxy.address).parse().unwrap(), Duration::from_secs(2)).unwrap(),
    );
    proxy.lies(|_, _| json!({ "Error": "class java.lang.IllegalAccessException : lack of computing resources" }));
    assert!(matches!(client.solid_head().await, Err(Error::Busy { .. })));
    proxy.lies(|_, _| json!({ "blockID": "00", "block_header": {} }));
    assert!(matches!(client.solid_head().await, Err(Error::Malformed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_solid_blocks_are_read_and_a_changed_head_harms_nothing() {
    let world = World::new().await;
    world.settle().await;
    world.server.chain.lock().set_solid_lag(1_000_000);
    world.deposit(5).await;
    let mut quorum = world.quorum(&[world.server.address], 1).await;
    let mut progress = world.start();
    let (found, state) = quorum.read_deposits(world.bridge, world.at(), &mut progress).await.unwrap();
    assert_eq!((found.len(), state.deposits), (0, 0), "the deposit is not solid");
    world.server.chain.lock().reorganise(3);
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.server.chain.lock().set_solid_lag(1);
    world.settle().await;
    let (found, _) = quorum.read_deposits(world.bridge, world.at(), &mut progress).await.unwrap();
    assert_eq!(found.len(), 1, "it came again in another block, and counts once");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_and_claims_work_on_trons_machine_and_replays_do_not() {
    let world = World::new().await;
    world.deposit(1_000_000).await;
    let recipient = Address::repeat_byte(0xbb);
    let withdrawal = |gateway: Address, amount: u64| Withdrawal {
        at: GatewayId { root_chain_id: CHAIN, gateway },
        tree_id: 1,
        index: 0,
        token: NATIVE_COIN,
        sender: Address::repeat_byte(0xaa),
        recipient,
        amount: U256::from(amount),
        relayer_fee: U256::ZERO,
    };
    let own = withdrawal(world.gateway, 400);
    let leaves = [own.leaf(world.bridge)];
    let mut tree = Tree::default();
    tree.append(leaves[0]).unwrap();
    let hash = world.set.hash(world.bridge);
    let make = |seq: u64, gateway: Address| Checkpoint {
        seq,
        last_block: 20 * seq,
        last_block_hash: B256::repeat_byte(1),
        timestamp: world.now(),
        dests: vec![Dest {
            at: GatewayId { root_chain_id: CHAIN, gateway },
            tree_id: 1,
            withdrawal_root: tree.root(),
            count: 1,
        }],
        set_hash: hash,
        next_set_hash: hash,
    };
    let submit = |checkpoint: &Checkpoint, signatures: Bytes| {
        submit_checkpoint(checkpoint, world.set.encode().into(), signatures)
    };
    let claim = |withdrawal: &Withdrawal| EvmGateway::claimCall {
        treeId: 1,
        index: 0,
        token: withdrawal.token,
        sender: withdrawal.sender,
        recipient: withdrawal.recipient,
        amount: withdrawal.amount,
        relayerFee: withdrawal.relayer_fee,
        proof: Tree::prove(&leaves, 0).unwrap(),
    };
    // A checkpoint for another gateway brings this one no root.
    let foreign = make(1, Address::repeat_byte(0xee));
    world.call(0, &submit(&foreign, world.sign(foreign.digest(world.bridge)))).await.unwrap();
    assert_eq!(world.call(0, &claim(&own)).await, Err("REVERT".into()));
    let good = make(2, world.gateway);
    let signatures = world.sign(good.digest(world.bridge));
    let mut bad = signatures.to_vec();
    bad[40] ^= 1;
    assert_eq!(world.call(0, &submit(&good, bad.into())).await, Err("REVERT".into()));
    world.call(0, &submit(&good, signatures.clone())).await.unwrap();
    assert_eq!(world.call(0, &submit(&good, signatures)).await, Err("REVERT".into()), "twice");
    assert_eq!(world.call(0, &claim(&withdrawal(world.gateway, 401))).await, Err("REVERT".into()));
    world.call(0, &claim(&own)).await.unwrap();
    assert_eq!(world.client.balance(recipient).await.unwrap(), U256::from(400));
    assert_eq!(world.call(0, &claim(&own)).await, Err("REVERT".into()), "twice");
    let chain = RootChain::Tron(TronClient::new(
        Endpoint::new(&format!("http://{}", world.server.address).parse().unwrap(), Duration::from_secs(5)).unwrap(),
    ));
    world.settle().await;
    assert_eq!(chain.gateway(world.gateway).await.unwrap().last_seq, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_refuses_what_a_node_would_and_keeps_its_chain() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path().join("blocks"));
    let owner = key(0).address();
    let config = SimConfig { block_time_ms: 20, funded: vec![(owner, 1_000_000_000)], state, ..SimConfig::default() };
    let to = Address::repeat_byte(7);
    let head;
    {
        let server = serve(config.clone(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let client = TronClient::new(
            Endpoint::new(&format!("http://{}", server.address).parse().unwrap(), Duration::from_secs(5)).unwrap(),
        );
        let pay = |amount| ContractCall::Transfer { owner, to, amount };
        let mut good = client.prepare(&pay(5), &key(0), 30_000, 0).await.unwrap();
        client.broadcast(&good).await.unwrap();
        good.sign(&key(1));
        let refused = |result: Result<(), Error>, code: &str| {
            assert!(matches!(&result, Err(Error::Refused { message, .. }) if message.starts_with(code)), "{result:?}");
        };
        let strange = client.prepare(&pay(6), &key(1), 30_000, 0).await.unwrap();
        refused(client.broadcast(&strange).await, "SIGERROR");
        refused(client.broadcast(&client.prepare(&pay(1 << 40), &key(0), 30_000, 0).await.unwrap()).await, "CONTRACT");
        let late = client.prepare(&pay(6), &key(0), 90_000_000, 0).await.unwrap();
        refused(client.broadcast(&late).await, "TRANSACTION_EXPIRATION_ERROR");
        let mut lost = client.prepare(&pay(6), &key(0), 30_000, 0).await.unwrap();
        lost.raw_data.as_mut().unwrap().ref_block_hash = vec![9; 8];
        lost.sign(&key(0));
        refused(client.broadcast(&lost).await, "TAPOS_ERROR");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(client.balance(to).await.unwrap(), U256::from(5));
        head = client.solid_head().await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let server = serve(config, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let client = TronClient::new(
        Endpoint::new(&format!("http://{}", server.address).parse().unwrap(), Duration::from_secs(5)).unwrap(),
    );
    assert_eq!(client.solid_block_id(head.height).await.unwrap(), head.hash);
    assert_eq!(client.balance(to).await.unwrap(), U256::from(5));
}
