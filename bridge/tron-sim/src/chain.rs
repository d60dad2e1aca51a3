//! Blocks, what is solid, and transactions on their way in.

use crate::Error;
use crate::journal::{Journal, Line};
use crate::vm::{self, Message, Outcome, Surroundings};
use alloy_primitives::{Address, B256, Bytes, Log, U256, hex};
use bttc_root_chains::{ContractCall, TronTransaction};
use revm::database::InMemoryDB;
use revm::state::AccountInfo;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// Longest time ahead that a transaction may expire, milliseconds.
const MAX_EXPIRATION_MS: i64 = 86_400_000;
/// Heights back that a transaction may build on.
const TAPOS: u64 = 65_536;
/// Largest transaction, bytes.
const MAX_TRANSACTION: usize = 500 * 1024;
/// Sun for a byte.
const BANDWIDTH_PRICE: u64 = 1_000;
/// Energy of a call that changes nothing.
pub(crate) const CONSTANT_ENERGY: u64 = 100_000_000;

/// How a simulator behaves.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The last four bytes of the genesis block's id.
    pub chain_id: u32,
    /// Milliseconds between blocks.
    pub block_time_ms: u64,
    /// Blocks that must lie above a solid one.
    pub solid_lag: u64,
    /// Sun for a unit of energy.
    pub energy_price: u64,
    /// Largest limit of a transaction, sun.
    pub max_fee_limit: u64,
    /// Accounts with sun from the beginning.
    pub funded: Vec<(Address, u64)>,
    /// Where blocks are kept; nowhere when there is none.
    pub state: Option<PathBuf>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            chain_id: 728_126_428,
            block_time_ms: 1_000,
            solid_lag: 2,
            energy_price: 100,
            max_fee_limit: 15_000_000_000,
            funded: Vec::new(),
            state: None,
        }
    }
}

/// Why a transaction is not taken: java-tron's code, and words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// `SIGERROR`, `TAPOS_ERROR`, ...
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub(crate) struct Included {
    pub(crate) transaction: TronTransaction,
    pub(crate) id: B256,
    pub(crate) outcome: Outcome,
    pub(crate) is_contract: bool,
    pub(crate) net_fee: u64,
    pub(crate) energy_fee: u64,
    pub(crate) contract: Option<Address>,
}

/// A block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) id: B256,
    pub(crate) parent: B256,
    pub(crate) root: B256,
    pub(crate) timestamp: u64,
    pub(crate) salt: u64,
    pub(crate) transactions: Vec<Included>,
}

/// The chain.
#[derive(Debug)]
pub struct Chain {
    pub(crate) config: SimConfig,
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Where each transaction is.
    pub(crate) places: HashMap<B256, (u64, usize)>,
    /// States after the blocks that are not solid, and after the latest solid one.
    states: BTreeMap<u64, Arc<InMemoryDB>>,
    pending: Vec<TronTransaction>,
    journal: Option<Journal>,
    pub(crate) stalled: bool,
    salt: u64,
    solid_floor: u64,
}

fn genesis_id(chain_id: u32) -> B256 {
    let mut id = B256::from_slice(&Sha256::digest(b"bttc-tron-sim"));
    id[..8].fill(0);
    id[28..].copy_from_slice(&chain_id.to_be_bytes());
    id
}

impl Chain {
    /// A chain with its genesis block, or as it was kept.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open(config: SimConfig, now_ms: u64) -> Result<Self, Error> {
        let mut state = InMemoryDB::default();
        for (address, sun) in &config.funded {
            let info = AccountInfo { balance: U256::from(*sun), ..AccountInfo::default() };
            state.insert_account_info(*address, info);
        }
        let (journal, lines) = match &config.state {
            Some(path) => {
                let (journal, lines) = Journal::open(path)?;
                (Some(journal), lines)
            }
            None => (None, Vec::new()),
        };
        let start = lines.first().map_or(now_ms, |line| line.timestamp.saturating_sub(config.block_time_ms));
        let genesis = Block {
            number: 0,
            id: genesis_id(config.chain_id),
            parent: B256::ZERO,
            root: B256::ZERO,
            timestamp: start,
            salt: 0,
            transactions: Vec::new(),
        };
        let mut chain = Self {
            config,
            blocks: vec![Arc::new(genesis)],
            places: HashMap::new(),
            states: BTreeMap::from([(0, Arc::new(state))]),
            pending: Vec::new(),
            journal: None,
            stalled: false,
            salt: 0,
            solid_floor: 0,
        };
        for line in lines {
            for text in &line.transactions {
                if let Some(transaction) = hex::decode(text).ok().and_then(|bytes| TronTransaction::read(&bytes).ok()) {
                    chain.pending.push(transaction);
                }
            }
            chain.salt = line.salt;
            chain.seal(line.timestamp);
        }
        chain.journal = journal;
        Ok(chain)
    }

    /// The latest block.
    pub(crate) fn head(&self) -> &Arc<Block> {
        &self.blocks[self.blocks.len() - 1]
    }

    /// Height of the latest solid block.
    pub(crate) fn solid(&self) -> u64 {
        self.head().number.saturating_sub(self.config.solid_lag).max(self.solid_floor)
    }

    /// Changes how many blocks must lie above a solid one. What was solid stays so.
    pub fn set_solid_lag(&mut self, lag: u64) {
        self.solid_floor = self.solid();
        self.config.solid_lag = lag;
    }

    pub(crate) fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn find(&self, id: B256) -> Option<(&Arc<Block>, &Included)> {
        let (number, index) = self.places.get(&id)?;
        let block = self.block(*number)?;
        Some((block, block.transactions.get(*index)?))
    }

    /// The state after a block that is the head or solid.
    pub(crate) fn state(&self, solid: bool) -> Arc<InMemoryDB> {
        let number = if solid { self.solid() } else { self.head().number };
        // States of older blocks are dropped; the nearest at or below is that of the block.
        let found = self.states.range(..=number).next_back().or_else(|| self.states.iter().next());
        found.map(|(_, state)| Arc::clone(state)).unwrap_or_default()
    }

    /// An account's sun.
    pub(crate) fn balance(&self, address: Address, solid: bool) -> u64 {
        balance_of(&self.state(solid), address)
    }

    /// Tries a message without keeping what it does.
    pub(crate) fn try_call(&self, solid: bool, mut message: Message) -> Result<Outcome, String> {
        let mut state = InMemoryDB::clone(&self.state(solid));
        let number = if solid { self.solid() } else { self.head().number };
        let timestamp = self.block(number).map_or(0, |block| block.timestamp);
        message.energy_limit = message.energy_limit.min(CONSTANT_ENERGY);
        vm::run(&mut state, self.around(number, timestamp), &message)
    }

    fn around(&self, number: u64, timestamp: u64) -> Surroundings {
        Surroundings { chain_id: u64::from(self.config.chain_id), number, timestamp, price: self.config.energy_price }
    }

    /// Takes a transaction in.
    ///
    /// # Errors
    /// [`Refusal`], as java-tron would.
    pub fn broadcast(&mut self, transaction: TronTransaction) -> Result<B256, Refusal> {
        let refuse = |code, message: &str| Err(Refusal { code, message: message.to_owned() });
        let id = transaction.id();
        let Some(raw) = &transaction.raw_data else {
            return refuse("OTHER_ERROR", "no raw data");
        };
        if transaction.bytes().len() > MAX_TRANSACTION {
            return refuse("TOO_BIG_TRANSACTION_ERROR", "the transaction is too big");
        }
        if self.places.contains_key(&id) || self.pending.iter().any(|other| other.id() == id) {
            return refuse("DUP_TRANSACTION_ERROR", "Dup transaction.");
        }
        let Some(call) = transaction.call() else {
            return refuse("CONTRACT_VALIDATE_ERROR", "Contract validate error : not a supported contract");
        };
        if transaction.signer() != Some(call.owner()) {
            return refuse("SIGERROR", "Validate signature error: the signer is not the owner");
        }
        let head = self.head().timestamp as i64;
        if raw.expiration <= head || raw.expiration > head + MAX_EXPIRATION_MS {
            return refuse("TRANSACTION_EXPIRATION_ERROR", "Transaction expired");
        }
        if !self.is_on_chain(&raw.ref_block_bytes, &raw.ref_block_hash) {
            return refuse("TAPOS_ERROR", "Tapos check error");
        }
        if u64::try_from(raw.fee_limit).is_ok_and(|limit| limit > self.config.max_fee_limit) || raw.fee_limit < 0 {
            return refuse("CONTRACT_VALIDATE_ERROR", "Contract validate error : feeLimit must be >= 0 and <= maximum");
        }
        let net_fee = transaction.bytes().len() as u64 * BANDWIDTH_PRICE;
        let value = match &call {
            ContractCall::Transfer { amount, .. } => *amount,
            ContractCall::Trigger { call_value, .. } | ContractCall::Create { call_value, .. } => *call_value,
        };
        let balance = self.balance(call.owner(), false);
        if balance < net_fee {
            return refuse("BANDWITH_ERROR", "Account resource insufficient error.");
        }
        if balance - net_fee < value {
            return refuse("CONTRACT_VALIDATE_ERROR", "Contract validate error : balance is not sufficient.");
        }
        if let ContractCall::Trigger { contract, .. } = &call
            && !self.is_contract(*contract)
        {
            return refuse(
                "CONTRACT_VALIDATE_ERROR",
                "Contract validate error : No contract or not a valid smart contract",
            );
        }
        self.pending.push(transaction);
        Ok(id)
    }

    /// Whether an account has code.
    pub(crate) fn is_contract(&self, address: Address) -> bool {
        let state = self.state(false);
        state.cache.accounts.get(&address).is_some_and(|account| !account.info.is_empty_code_hash())
    }

    fn is_on_chain(&self, bytes: &[u8], hash: &[u8]) -> bool {
        let head = self.head().number;
        let [a, b] = bytes else { return false };
        let low = u64::from(u16::from_be_bytes([*a, *b]));
        let mut number = (head & !0xffff) | low;
        if number > head {
            let Some(earlier) = number.checked_sub(TAPOS) else { return false };
            number = earlier;
        }
        self.block(number).is_some_and(|block| block.id[8..16] == *hash)
    }

    /// Makes the next block out of what waits.
    pub fn mine(&mut self, now_ms: u64) {
        let timestamp = now_ms.max(self.head().timestamp + 1);
        self.salt += 1;
        self.seal(timestamp);
        let block = Arc::clone(self.head());
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.append(&line(&block))
        {
            tracing::error!(%error, "a block could not be kept");
        }
    }

    fn seal(&mut self, timestamp: u64) {
        let parent = Arc::clone(self.head());
        let number = parent.number + 1;
        let mut included: Vec<Included> = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            let mut state = InMemoryDB::clone(&self.state(false));
            for transaction in pending {
                let expired = transaction.raw_data.as_ref().is_none_or(|raw| raw.expiration <= timestamp as i64);
                if expired {
                    continue;
                }
                match self.execute(&mut state, number, timestamp, transaction) {
                    Ok(done) => included.push(done),
                    Err(error) => tracing::warn!(%error, "a transaction is dropped"),
                }
            }
            self.states.insert(number, Arc::new(state));
        }
        let mut root = Sha256::new();
        for entry in &included {
            root.update(entry.id);
        }
        let root = B256::from_slice(&root.finalize());
        let mut header = Sha256::new();
        header.update(number.to_be_bytes());
        header.update(parent.id);
        header.update(timestamp.to_be_bytes());
        header.update(self.salt.to_be_bytes());
        header.update(root);
        let mut id = B256::from_slice(&header.finalize());
        id[..8].copy_from_slice(&number.to_be_bytes());
        for (index, entry) in included.iter().enumerate() {
            self.places.insert(entry.id, (number, index));
        }
        let block = Block { number, id, parent: parent.id, root, timestamp, salt: self.salt, transactions: included };
        self.blocks.push(Arc::new(block));
        // The state of the latest solid block must stay, older ones go.
        let solid = self.solid();
        if let Some(keep) = self.states.range(..=solid).next_back().map(|(number, _)| *number) {
            self.states.retain(|number, _| *number >= keep);
        }
    }

    fn execute(
        &self,
        state: &mut InMemoryDB,
        number: u64,
        timestamp: u64,
        transaction: TronTransaction,
    ) -> Result<Included, String> {
        let id = transaction.id();
        let call = transaction.call().ok_or("not a supported contract")?;
        let owner = call.owner();
        let net_fee = transaction.bytes().len() as u64 * BANDWIDTH_PRICE;
        let balance = balance_of(state, owner).checked_sub(net_fee).ok_or("not enough for bandwidth")?;
        let price = self.config.energy_price.max(1);
        let limit = transaction.raw_data.as_ref().and_then(|raw| u64::try_from(raw.fee_limit).ok()).unwrap_or(0);
        let (to, value, data) = match &call {
            ContractCall::Transfer { to, amount, .. } => {
                // A payment runs no code.
                let left = balance.checked_sub(*amount).ok_or("not enough")?;
                set_balance(state, owner, left);
                let sum = balance_of(state, *to) + amount;
                set_balance(state, *to, sum);
                let outcome =
                    Outcome { result: "SUCCESS", energy: 0, output: Bytes::new(), logs: Vec::new(), contract: None };
                let (is_contract, energy_fee, contract) = (false, 0, None);
                return Ok(Included { transaction, id, outcome, is_contract, net_fee, energy_fee, contract });
            }
            ContractCall::Trigger { contract, call_value, data, .. } => (Some(*contract), *call_value, data.clone()),
            ContractCall::Create { bytecode, call_value, .. } => (None, *call_value, bytecode.clone()),
        };
        let energy_limit = limit.min(balance.saturating_sub(value)) / price;
        set_balance(state, owner, balance);
        let message = Message { caller: owner, to, value, data, energy_limit, id };
        let outcome = vm::run(state, self.around(number, timestamp), &message)?;
        let energy_fee = outcome.energy * price;
        let left = balance_of(state, owner).saturating_sub(energy_fee);
        set_balance(state, owner, left);
        let contract = to.or(outcome.contract);
        Ok(Included { transaction, id, outcome, is_contract: true, net_fee, energy_fee, contract })
    }

    /// Drops the last blocks, not below what is solid; their transactions wait again, and the next blocks are others.
    pub fn reorganise(&mut self, depth: u64) {
        let depth = depth.min(self.head().number - self.solid());
        for _ in 0..depth {
            let Some(block) = self.blocks.pop() else { break };
            self.states.remove(&block.number);
            for entry in block.transactions.iter().rev() {
                self.places.remove(&entry.id);
                self.pending.insert(0, entry.transaction.clone());
            }
        }
        self.salt += 1_000;
        let lines: Vec<Line> = self.blocks.iter().skip(1).map(|block| line(block)).collect();
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.rewrite(&lines)
        {
            tracing::error!(%error, "the blocks could not be kept");
        }
    }

    /// Logs of a range of blocks, with their places.
    pub(crate) fn logs(&self, from: u64, to: u64) -> impl Iterator<Item = (&Block, usize, usize, B256, &Log)> {
        let range = self.blocks.iter().skip(from as usize).take((to.saturating_sub(from) + 1) as usize);
        range.flat_map(|block| {
            let mut count = 0;
            block.transactions.iter().enumerate().flat_map(move |(index, entry)| {
                let start = count;
                count += entry.outcome.logs.len();
                let logs = entry.outcome.logs.iter().enumerate();
                logs.map(move |(position, log)| (block.as_ref(), index, start + position, entry.id, log))
            })
        })
    }
}

fn line(block: &Block) -> Line {
    Line {
        timestamp: block.timestamp,
        salt: block.salt,
        transactions: block.transactions.iter().map(|entry| hex::encode(entry.transaction.bytes())).collect(),
    }
}

fn balance_of(state: &InMemoryDB, address: Address) -> u64 {
    state.cache.accounts.get(&address).map_or(0, |account| account.info.balance.saturating_to())
}

fn set_balance(state: &mut InMemoryDB, address: Address, sun: u64) {
    let mut info = state.cache.accounts.get(&address).map(|account| account.info.clone()).unwrap_or_default();
    info.balance = U256::from(sun);
    state.insert_account_info(address, info);
}
