//! TRON's HTTP API, as far as a bridge needs it. What is attested is read from `/walletsolidity`, which knows solid blocks
//! only; transactions are built and signed here, never taken from a node.

use crate::chain::BlockRef;
use crate::endpoint::WORDS;
use crate::tron::{ContractCall, TronTransaction, tron_address};
use crate::{Endpoint, Error};
use alloy_primitives::{Address, B256, Bytes, U64, U256, hex};
use alloy_rpc_types_eth::Log;
use bttc_types::SecretKey;
use serde_json::{Value, json};

/// java-tron's own bound of a query for logs, blocks.
const MAX_LOG_BLOCKS: u64 = 5_000;

/// A client of one endpoint.
#[derive(Debug)]
pub struct TronClient {
    endpoint: Endpoint,
}

/// What became of a transaction in a solid block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionInfo {
    /// Its block.
    pub height: u64,
    /// `SUCCESS`, `REVERT`, `OUT_OF_ENERGY`, ...
    pub result: String,
    /// Energy used.
    pub energy: u64,
    /// Sun paid.
    pub fee: u64,
    /// A contract that was made.
    pub contract: Option<Address>,
}

/// What a call that changes nothing gave.
pub mod constant {
    use alloy_primitives::Bytes;

    /// Output and cost.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Outcome {
        /// Whether it went through.
        pub success: bool,
        /// Its output, or its revert data.
        pub output: Bytes,
        /// Energy it would use.
        pub energy: u64,
    }
}

impl TronClient {
    /// A client over an endpoint: the node's address without a path.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// The endpoint's name.
    pub fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::Malformed { endpoint: self.name().to_owned(), reason: reason.into() }
    }

    /// Posts to the HTTP API. Errors come with status 200.
    async fn post(&self, path: &str, body: Value) -> Result<Value, Error> {
        let answer = self.endpoint.post(path, &body).await?;
        if let Some(reason) = answer.get("Error").and_then(Value::as_str) {
            let (endpoint, reason) = (self.name().to_owned(), self.endpoint.words(reason, WORDS));
            if reason.contains("lack of computing resources") {
                return Err(Error::Busy { endpoint, reason });
            }
            return Err(Error::Refused { endpoint, code: 0, message: reason, data: None });
        }
        Ok(answer)
    }

    /// The chain's id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn chain_id(&self) -> Result<u64, Error> {
        let id: U256 = self.endpoint.call("/jsonrpc", "eth_chainId", json!([])).await?;
        // It may come as the whole 32 bytes of the genesis block's id.
        Ok((id & U256::from(0xffff_ffffu64)).to())
    }

    fn block_ref(&self, block: &Value) -> Result<BlockRef, Error> {
        let id: B256 = block
            .get("blockID")
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| self.malformed("a block without an id"))?;
        let height = block
            .pointer("/block_header/raw_data/number")
            // Protocol buffers leave a zero out.
            .map_or(Some(0), Value::as_u64)
            .ok_or_else(|| self.malformed("a block without a height"))?;
        // The id begins with the height.
        if id[..8] != height.to_be_bytes() {
            return Err(self.malformed(format!("block {height} has the id {id}")));
        }
        Ok(BlockRef { height, hash: id })
    }

    /// The latest solid block.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn solid_head(&self) -> Result<BlockRef, Error> {
        let block = self.post("/walletsolidity/getnowblock", json!({})).await?;
        self.block_ref(&block)
    }

    /// The latest solid block with its time, milliseconds.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn solid_time(&self) -> Result<(BlockRef, u64), Error> {
        let block = self.post("/walletsolidity/getnowblock", json!({})).await?;
        let time = block.pointer("/block_header/raw_data/timestamp").and_then(Value::as_u64);
        Ok((self.block_ref(&block)?, time.ok_or_else(|| self.malformed("a block without a time"))?))
    }

    /// Time of the head, milliseconds: what a transaction's expiration is compared with.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn head_time(&self) -> Result<u64, Error> {
        let block = self.post("/wallet/getnowblock", json!({})).await?;
        let time = block.pointer("/block_header/raw_data/timestamp").and_then(Value::as_u64);
        time.ok_or_else(|| self.malformed("a block without a time"))
    }

    /// The id of a solid block.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn solid_block_id(&self, height: u64) -> Result<B256, Error> {
        let block = self.post("/walletsolidity/getblockbynum", json!({ "num": height })).await?;
        let found = self.block_ref(&block)?;
        if found.height == height { Ok(found.hash) } else { Err(self.malformed(format!("not block {height}"))) }
    }

    /// Logs of a contract with this first topic. The caller asks for solid blocks only.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn logs(&self, contract: Address, topic: B256, from: u64, to: u64) -> Result<Vec<Log>, Error> {
        if to.saturating_sub(from) >= MAX_LOG_BLOCKS {
            let message = format!("more than {MAX_LOG_BLOCKS} blocks");
            return Err(Error::TooMuch { endpoint: self.name().to_owned(), message });
        }
        let filter = json!({
            "address": contract, "topics": [topic], "fromBlock": U64::from(from), "toBlock": U64::from(to),
        });
        self.endpoint.call("/jsonrpc", "eth_getLogs", json!([filter])).await
    }

    async fn constant_at(
        &self,
        path: &str,
        owner: Address,
        contract: Address,
        data: &Bytes,
        value: u64,
    ) -> Result<constant::Outcome, Error> {
        let hex41 = |address: Address| hex::encode(tron_address(address));
        let body = json!({
            "owner_address": hex41(owner), "contract_address": hex41(contract), "data": hex::encode(data),
            "call_value": value,
        });
        let answer = self.post(path, body).await?;
        let result = answer.get("result").cloned().unwrap_or_default();
        if result.get("result").and_then(Value::as_bool) != Some(true) {
            let code = result.get("code").and_then(Value::as_str).unwrap_or("no result");
            let words = result.get("message").and_then(Value::as_str).unwrap_or("");
            let words =
                hex::decode(words).map_or(words.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
            let message = self.endpoint.words(&format!("{code}: {words}"), WORDS);
            return Err(Error::Refused { endpoint: self.name().to_owned(), code: 0, message, data: None });
        }
        let output = answer.pointer("/constant_result/0").and_then(Value::as_str).unwrap_or("");
        let output: Bytes = hex::decode(output).map_err(|_| self.malformed("output is not hex"))?.into();
        let energy = answer.get("energy_used").and_then(Value::as_u64).unwrap_or(0);
        let failed = answer.pointer("/transaction/ret/0/ret").and_then(Value::as_str) == Some("FAILED");
        Ok(constant::Outcome { success: !failed, output, energy })
    }

    /// Calls a contract in the latest solid state.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with the data when it reverts.
    pub async fn constant_solid(&self, contract: Address, data: &Bytes) -> Result<Bytes, Error> {
        let path = "/walletsolidity/triggerconstantcontract";
        let outcome = self.constant_at(path, Address::ZERO, contract, data, 0).await?;
        if outcome.success {
            return Ok(outcome.output);
        }
        let message = "execution reverted".to_owned();
        Err(Error::Refused { endpoint: self.name().to_owned(), code: 3, message, data: Some(outcome.output) })
    }

    /// Tries a call at the head.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn simulate(
        &self,
        owner: Address,
        contract: Address,
        data: &Bytes,
        value: u64,
    ) -> Result<constant::Outcome, Error> {
        self.constant_at("/wallet/triggerconstantcontract", owner, contract, data, value).await
    }

    /// An account's coins at the head, sun.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn balance(&self, account: Address) -> Result<U256, Error> {
        let body = json!({ "address": hex::encode(tron_address(account)) });
        let answer = self.post("/wallet/getaccount", body).await?;
        Ok(U256::from(answer.get("balance").and_then(Value::as_u64).unwrap_or(0)))
    }

    /// Sun for a unit of energy, and the largest limit of a transaction.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn prices(&self) -> Result<(u64, u64), Error> {
        let answer = self.post("/wallet/getchainparameters", json!({})).await?;
        let find = |name: &str| {
            let list = answer.get("chainParameter")?.as_array()?;
            let entry = list.iter().find(|entry| entry.get("key").and_then(Value::as_str) == Some(name))?;
            entry.get("value").and_then(Value::as_u64)
        };
        let energy = find("getEnergyFee").ok_or_else(|| self.malformed("no price of energy"))?;
        Ok((energy, find("getMaxFeeLimit").unwrap_or(15_000_000_000)))
    }

    /// Builds and signs a transaction on top of the latest solid block, so that no change of the head can undo its ground.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn prepare(
        &self,
        call: &ContractCall,
        key: &SecretKey,
        lifetime_ms: u64,
        fee_limit: u64,
    ) -> Result<TronTransaction, Error> {
        let (block, _) = self.solid_time().await?;
        let now = self.head_time().await?;
        let place = (block.height, block.hash);
        let mut transaction = TronTransaction::build(call, place, now.saturating_add(lifetime_ms), now, fee_limit);
        transaction.sign(key);
        Ok(transaction)
    }

    /// Sends a transaction. One that is known already is as good as sent.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn broadcast(&self, transaction: &TronTransaction) -> Result<(), Error> {
        let body = json!({ "transaction": hex::encode(transaction.bytes()) });
        let answer = self.post("/wallet/broadcasthex", body).await?;
        let code = answer.get("code").and_then(Value::as_str).unwrap_or("");
        if answer.get("result").and_then(Value::as_bool) == Some(true) || code == "DUP_TRANSACTION_ERROR" {
            return Ok(());
        }
        let words = answer.get("message").and_then(Value::as_str).unwrap_or("");
        let endpoint = self.name().to_owned();
        if code == "SERVER_BUSY" {
            return Err(Error::Busy { endpoint, reason: self.endpoint.words(words, WORDS) });
        }
        let message = self.endpoint.words(&format!("{code}: {words}"), WORDS);
        Err(Error::Refused { endpoint, code: 0, message, data: None })
    }

    async fn info(&self, path: &str, id: B256) -> Result<Option<TransactionInfo>, Error> {
        let answer = self.post(path, json!({ "value": hex::encode(id) })).await?;
        if answer.get("id").is_none() {
            return Ok(None);
        }
        let number = |pointer: &str| answer.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let contract = answer.get("contract_address").and_then(Value::as_str);
        Ok(Some(TransactionInfo {
            height: number("/blockNumber"),
            // A payment has no result: it is in a block only when it went through.
            result: answer.pointer("/receipt/result").and_then(Value::as_str).unwrap_or("SUCCESS").to_owned(),
            energy: number("/receipt/energy_usage_total"),
            fee: number("/fee"),
            contract: contract.and_then(|text| crate::tron::from_base58(text).ok()),
        }))
    }

    /// What became of a transaction, at the head.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn transaction(&self, id: B256) -> Result<Option<TransactionInfo>, Error> {
        self.info("/wallet/gettransactioninfobyid", id).await
    }

    /// What became of a transaction, in solid blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn solid_transaction(&self, id: B256) -> Result<Option<TransactionInfo>, Error> {
        self.info("/walletsolidity/gettransactioninfobyid", id).await
    }
}
