//! The development chain: one validator without an engine. Whoever has something to be mined mines it, one after the other, and
//! certifies the block at once; in memory the chain can be set back and its state changed by hand.

use crate::clock;
use alloy_consensus::{Header, SignableTransaction, TypedTransaction};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy_rpc_types_eth::TransactionRequest;
use bttc_engine::Input;
use bttc_executor::Executor;
use bttc_executor::simulate::{CallContext, TRANSACTION_GAS_CAP};
use bttc_genesis::DEV_KEYS;
use bttc_node::{Answer, Application, HeadAccounts, Request};
use bttc_pool::{AccountLookup, AccountState, Pool};
use bttc_rpc::{BlockCache, Filters, HeadEvent, NodeApi, NodeStatus};
use bttc_state::{Account, AccountChange, MemorySnapshot, MemoryStore, StateDiff, StateRead};
use bttc_types::{Certificate, RecoveredTransaction, SecretKey, Transaction, decode_transaction};
use eyre::{bail, eyre};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Blocks of one request.
const MAX_BLOCKS: u64 = 100_000;
/// Snapshots that are kept.
const MAX_SNAPSHOTS: usize = 1_000;

/// How blocks come about, and what was set by hand.
#[derive(Default)]
struct Mining {
    automine: bool,
    /// What is added to the clock, milliseconds.
    ahead_ms: u64,
    /// Time of the next block, seconds.
    next_timestamp: Option<u64>,
    beneficiary: Address,
    impersonated: BTreeSet<Address>,
    impersonate_all: bool,
    snapshots: BTreeMap<u64, Saved>,
    next_snapshot: u64,
}

/// What `evm_revert` goes back to.
struct Saved {
    tables: MemorySnapshot,
    ahead_ms: u64,
}

/// The chain.
pub(crate) struct DevChain {
    pub(crate) executor: Arc<Executor>,
    pub(crate) pool: Arc<Pool>,
    /// The tables when they are in memory; only then can the chain be set back.
    tables: Option<Arc<MemoryStore>>,
    key: SecretKey,
    pub(crate) blocks: Arc<BlockCache>,
    pub(crate) filters: Arc<Filters>,
    /// Tells one run from another.
    pub(crate) instance: B256,
    heads: broadcast::Sender<HeadEvent>,
    pending: broadcast::Sender<Arc<RecoveredTransaction>>,
    /// Milliseconds between blocks; 0: none by time.
    pub(crate) interval: watch::Sender<u64>,
    mining: Mutex<Mining>,
}

/// Impersonated accounts may have code.
struct AnySender(HeadAccounts);

impl AccountLookup for AnySender {
    fn account(&self, address: Address) -> Result<AccountState, String> {
        self.0.account(address).map(|account| AccountState { contract: false, ..account })
    }
}

impl DevChain {
    /// A chain on an opened store.
    pub(crate) fn new(
        executor: Arc<Executor>,
        pool: Arc<Pool>,
        tables: Option<Arc<MemoryStore>>,
        key: SecretKey,
        heads: broadcast::Sender<HeadEvent>,
        pending: broadcast::Sender<Arc<RecoveredTransaction>>,
        interval_ms: u64,
    ) -> Self {
        let mining = Mining { automine: interval_ms == 0, beneficiary: key.address(), ..Mining::default() };
        let interval = watch::channel(interval_ms).0;
        let mining = Mutex::new(mining);
        let instance = keccak256(format!("{} {}", clock::now().wall_ms, std::process::id()));
        let (blocks, filters) = (Arc::default(), Arc::default());
        Self { executor, pool, tables, key, blocks, filters, instance, heads, pending, interval, mining }
    }

    fn accounts(&self) -> AnySender {
        AnySender(HeadAccounts(Arc::clone(&self.executor)))
    }

    fn add(&self, transaction: RecoveredTransaction) -> eyre::Result<B256> {
        let transaction = Arc::new(transaction);
        let added = self.pool.add(Arc::clone(&transaction), true, clock::now().mono_ms, &self.accounts())?;
        for transaction in Some(transaction).filter(|_| added.pending).into_iter().chain(added.promoted) {
            let _ = self.pending.send(transaction);
        }
        let mut mining = self.mining.lock();
        if mining.automine {
            self.mine_waiting(&mut mining)?;
        }
        Ok(added.hash)
    }

    /// Blocks until nothing executable waits.
    fn mine_waiting(&self, mining: &mut Mining) -> eyre::Result<()> {
        for _ in 0..MAX_BLOCKS {
            if !self.pool.has_executable(self.executor.next_base_fee()?) {
                break;
            }
            if self.mine_block(mining)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Makes one block final; gives the number of its transactions.
    fn mine_block(&self, mining: &mut Mining) -> eyre::Result<usize> {
        let executor = &self.executor;
        let parent = executor.head_header()?;
        let clock_ms = clock::now().wall_ms.saturating_add(mining.ahead_ms);
        let time_ms = match mining.next_timestamp.take() {
            // Later blocks go on from there.
            Some(seconds) => {
                let time_ms = seconds.saturating_mul(1_000);
                mining.ahead_ms = time_ms.saturating_sub(clock::now().wall_ms);
                time_ms
            }
            None => clock_ms,
        };
        let last_commit = match executor.store().certificate(parent.number)? {
            Some(certificate) => certificate,
            None => Certificate::genesis(executor.head_hash()?),
        };
        let height = parent.number + 1;
        let beneficiary = mining.beneficiary;
        let application = Application { executor: Arc::clone(executor), pool: Arc::clone(&self.pool), beneficiary };
        let served = application.serve(Request::Propose { height, round: 0, last_commit, time_ms }, &mut || false);
        let Some(Answer::Input(Input::Proposed { hash, bytes, .. })) = served.answer else {
            bail!("no block could be built: {:?}", served.answer);
        };
        let mut certificate = Certificate { height, round: 0, block_hash: hash, signatures: Vec::new() };
        let digest = executor.domain().vote_digest(&certificate.vote(self.key.address()));
        certificate.insert(0, self.key.sign(digest));
        let durable = self.tables.is_none();
        let served =
            application.serve(Request::Commit { hash, bytes, certificate, durable, synced: false }, &mut || false);
        match (served.committed, served.answer) {
            (Some(committed), _) => {
                let count = committed.executed.transactions.len();
                let _ = self.heads.send(committed.executed);
                for transaction in committed.promoted {
                    let _ = self.pending.send(transaction);
                }
                Ok(count)
            }
            (None, answer) => bail!("the block could not be committed: {answer:?}"),
        }
    }

    /// Mines blocks, the first at `timestamp`, the others `interval` seconds after one another.
    pub(crate) fn mine(&self, blocks: u64, timestamp: Option<u64>, interval: Option<u64>) -> eyre::Result<()> {
        if blocks > MAX_BLOCKS {
            bail!("{blocks} blocks, at most {MAX_BLOCKS} at once");
        }
        let mut mining = self.mining.lock();
        if let Some(timestamp) = timestamp {
            self.set_next(&mut mining, timestamp)?;
        }
        for number in 0..blocks {
            if let Some(interval) = interval.filter(|interval| *interval > 0 && number > 0) {
                let next = self.executor.head_header()?.timestamp.saturating_add(interval);
                self.set_next(&mut mining, next)?;
            }
            self.mine_block(&mut mining)?;
        }
        Ok(())
    }

    fn set_next(&self, mining: &mut Mining, timestamp: u64) -> eyre::Result<()> {
        let head = self.executor.head_header()?;
        // Several blocks may have the same second; their milliseconds rise.
        if timestamp < head.timestamp {
            bail!("timestamp {timestamp} is before the head's {}", head.timestamp);
        }
        mining.next_timestamp = Some(timestamp);
        Ok(())
    }

    /// Time of the next block, seconds: as it was set, or by the clock, and then in a later second than the head.
    fn next_seconds(&self, head: &Header) -> u64 {
        let mining = self.mining.lock();
        let by_clock = clock::now().wall_ms.saturating_add(mining.ahead_ms) / 1_000;
        mining.next_timestamp.unwrap_or(by_clock.max(head.timestamp.saturating_add(1)))
    }

    /// Sets the next block's time, seconds.
    pub(crate) fn set_next_timestamp(&self, timestamp: u64) -> eyre::Result<()> {
        self.set_next(&mut self.mining.lock(), timestamp)
    }

    /// Lets the clock run ahead by so many seconds more; gives by how many it does.
    pub(crate) fn increase_time(&self, seconds: u64) -> u64 {
        let mut mining = self.mining.lock();
        mining.ahead_ms = mining.ahead_ms.saturating_add(seconds.saturating_mul(1_000));
        mining.ahead_ms / 1_000
    }

    /// Whether each transaction is mined as it comes.
    pub(crate) fn automine(&self) -> bool {
        self.mining.lock().automine
    }

    /// Switches automatic mining; what waits is mined when it goes on.
    pub(crate) fn set_automine(&self, on: bool) -> eyre::Result<()> {
        let mut mining = self.mining.lock();
        mining.automine = on;
        if on { self.mine_waiting(&mut mining) } else { Ok(()) }
    }

    pub(crate) fn set_beneficiary(&self, beneficiary: Address) {
        self.mining.lock().beneficiary = beneficiary;
    }

    pub(crate) fn impersonate(&self, account: Address, on: bool) -> bool {
        let mut mining = self.mining.lock();
        if on { mining.impersonated.insert(account) } else { mining.impersonated.remove(&account) }
    }

    pub(crate) fn impersonate_all(&self, on: bool) {
        self.mining.lock().impersonate_all = on;
    }

    fn tables(&self) -> eyre::Result<&Arc<MemoryStore>> {
        let kept =
            "a chain that is kept in a home cannot be set back or changed by hand: start `bttc dev` without --home";
        self.tables.as_ref().ok_or_else(|| eyre!(kept))
    }

    /// Remembers the chain as it is.
    pub(crate) fn snapshot(&self) -> eyre::Result<u64> {
        let mut mining = self.mining.lock();
        let saved = Saved { tables: self.tables()?.save(), ahead_ms: mining.ahead_ms };
        mining.next_snapshot += 1;
        let id = mining.next_snapshot;
        mining.snapshots.insert(id, saved);
        while mining.snapshots.len() > MAX_SNAPSHOTS {
            mining.snapshots.pop_first();
        }
        Ok(id)
    }

    /// Goes back to a snapshot, which is used up with all later ones. False: there is none.
    pub(crate) fn revert(&self, id: u64) -> eyre::Result<bool> {
        let mut mining = self.mining.lock();
        let Some(saved) = mining.snapshots.get(&id) else { return Ok(false) };
        self.tables()?.restore(&saved.tables);
        (mining.ahead_ms, mining.next_timestamp) = (saved.ahead_ms, None);
        mining.snapshots.split_off(&id);
        self.executor.reload()?;
        self.pool.clear();
        self.blocks.clear();
        self.filters.set_back(self.executor.head_header()?.number);
        Ok(true)
    }

    /// Changes an account of the head's state.
    pub(crate) fn change(&self, address: Address, change: impl FnOnce(&mut Edit)) -> eyre::Result<()> {
        // The lock keeps blocks away.
        let _mining = self.mining.lock();
        self.tables()?;
        let account = self.executor.store().view(None, |view| view.account(address))??;
        let mut edit = Edit { account: account.unwrap_or_default(), code: None, storage: BTreeMap::new() };
        change(&mut edit);
        let mut diff = StateDiff::default();
        if let Some(code) = edit.code {
            edit.account.code_hash = keccak256(&code);
            diff.code.insert(edit.account.code_hash, code);
        }
        let change = AccountChange { account: Some(edit.account), wiped: false, storage: edit.storage };
        diff.accounts.insert(address, change);
        self.executor.amend(&diff)?;
        // What waits of this account is judged anew with its next transaction.
        Ok(())
    }

    /// Sends a transaction of an account whose key the node knows, or that is impersonated.
    pub(crate) fn send(&self, request: TransactionRequest) -> eyre::Result<B256> {
        self.add(self.signed(request)?)
    }

    /// Completes and signs a transaction without sending it.
    pub(crate) fn signed(&self, request: TransactionRequest) -> eyre::Result<RecoveredTransaction> {
        let from = request.from.ok_or_else(|| eyre!("`from` is missing"))?;
        let key = DEV_KEYS.iter().find(|(address, _)| *address == from).map(|(_, key)| key);
        let known = key.is_some() || {
            let mining = self.mining.lock();
            mining.impersonate_all || mining.impersonated.contains(&from)
        };
        if !known {
            bail!("unknown account {from}: impersonate it first");
        }
        let typed = self.fill(request, from)?;
        let transaction = match key {
            Some(key) => {
                let signed = SecretKey::from_bytes(&key.0)?.sign(typed.signature_hash());
                let signed = signed.as_bytes();
                let (rs, parity) = signed.split_at(64);
                signed_with(typed, Signature::from_bytes_and_parity(rs, parity == [1]))?
            }
            // Nobody's signature; the account in it keeps the hashes of different senders apart.
            None => signed_with(typed, Signature::new(U256::from_be_slice(from.as_slice()), U256::ONE, false))?,
        };
        Ok(RecoveredTransaction::with_sender(transaction, from))
    }

    /// Completes a transaction as a wallet would.
    fn fill(&self, mut request: TransactionRequest, from: Address) -> eyre::Result<TypedTransaction> {
        let base_fee = u128::from(self.executor.next_base_fee()?);
        let mined = self.accounts().account(from).map_err(|reason| eyre!(reason))?.nonce;
        let nonce = self.pool.next_nonce(&from).unwrap_or(mined).max(mined);
        request.nonce.get_or_insert(nonce);
        request.chain_id.get_or_insert(self.executor.spec().chain_id());
        request.to.get_or_insert(TxKind::Create);
        if request.gas_price.is_none() {
            let tip = *request.max_priority_fee_per_gas.get_or_insert(0);
            request.max_fee_per_gas.get_or_insert(base_fee.saturating_mul(2).saturating_add(tip));
        }
        if request.gas.is_none() {
            let head = self.executor.head_header()?;
            let timestamp = self.next_seconds(&head);
            let header = self.executor.header_after(&head, timestamp)?;
            let estimate = self.executor.store().view(None, |view| {
                let calls = CallContext {
                    state: view,
                    header: &header,
                    spec: self.executor.spec(),
                    env: self.executor.env_of(&header, 0),
                    code_cache: self.executor.code_cache(),
                    state_overrides: None,
                    block_overrides: None,
                    gas_cap: TRANSACTION_GAS_CAP,
                };
                calls.estimate_gas(request.clone())
            })?;
            request.gas = Some(estimate?);
        }
        request.build_typed_tx().map_err(|request| eyre!("the transaction is not complete: {request:?}"))
    }

    /// Signs a text as wallets do (EIP-191).
    pub(crate) fn sign(&self, account: Address, message: &Bytes) -> eyre::Result<Bytes> {
        self.sign_hash(account, alloy_primitives::eip191_hash_message(message))
    }

    /// Signs what [`DevChain::sign`] or EIP-712 makes of something.
    pub(crate) fn sign_hash(&self, account: Address, hash: B256) -> eyre::Result<Bytes> {
        let key = DEV_KEYS.iter().find(|(address, _)| *address == account);
        let (_, key) = key.ok_or_else(|| eyre!("unknown account {account}"))?;
        let signature = SecretKey::from_bytes(&key.0)?.sign(hash);
        let mut bytes = signature.as_bytes().to_vec();
        if let Some(parity) = bytes.last_mut() {
            *parity += 27;
        }
        Ok(bytes.into())
    }
}

/// An account that is changed by hand.
pub(crate) struct Edit {
    pub(crate) account: Account,
    pub(crate) code: Option<Bytes>,
    pub(crate) storage: BTreeMap<U256, U256>,
}

fn signed_with(typed: TypedTransaction, signature: Signature) -> eyre::Result<Transaction> {
    let envelope: alloy_consensus::TxEnvelope = typed.into_signed(signature).into();
    Ok(decode_transaction(&envelope.encoded_2718())?)
}

impl NodeApi for DevChain {
    fn submit(&self, transaction: Transaction) -> Result<B256, String> {
        let recovered =
            RecoveredTransaction::recover(transaction).map_err(|_| "invalid sender: bad signature".to_owned())?;
        self.add(recovered).map_err(|error| error.to_string())
    }

    fn next_timestamp(&self) -> Option<u64> {
        Some(self.next_seconds(&self.executor.head_header().ok()?))
    }

    fn status(&self) -> NodeStatus {
        let height = self.executor.store().head().map_or(0, |head| head.height);
        NodeStatus {
            height: height + 1,
            validator: Some(self.key.address()),
            signing: "signs".into(),
            ..NodeStatus::default()
        }
    }

    fn peers(&self) -> BoxFuture<'static, serde_json::Value> {
        Box::pin(async { serde_json::json!([]) })
    }
}
