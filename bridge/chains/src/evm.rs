//! Ethereum's JSON-RPC, as far as a bridge needs it.

use crate::chain::BlockRef;
use crate::{Endpoint, Error};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::Log;
use serde::Deserialize;
use serde_json::{Value, json};

/// A client of one endpoint.
#[derive(Debug)]
pub struct EvmClient {
    endpoint: Endpoint,
    /// Blocks that must lie above one although it is finalized.
    extra_depth: u64,
}

/// A header, as far as it is read.
#[derive(Deserialize)]
struct Head {
    number: U64,
    hash: B256,
}

/// What a transaction may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// Most for a unit of gas, wei.
    pub max_fee: u128,
    /// Of it for the proposer, wei.
    pub tip: u128,
}

/// A receipt, as far as it is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// 1 for success.
    pub status: U64,
    /// Its block.
    pub block_number: U64,
    /// Gas used.
    pub gas_used: U64,
    /// A contract that was made.
    pub contract_address: Option<Address>,
}

impl EvmClient {
    /// A client over an endpoint.
    pub fn new(endpoint: Endpoint, extra_depth: u64) -> Self {
        Self { endpoint, extra_depth }
    }

    /// The endpoint's name.
    pub fn name(&self) -> &str {
        self.endpoint.name()
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, Error> {
        self.endpoint.call("", method, params).await
    }

    /// The chain's id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn chain_id(&self) -> Result<u64, Error> {
        Ok(self.ask::<U64>("eth_chainId", json!([])).await?.to())
    }

    async fn head(&self, block: Value) -> Result<BlockRef, Error> {
        let head: Option<Head> = self.ask("eth_getBlockByNumber", json!([block, false])).await?;
        let head = head.ok_or_else(|| Error::Malformed {
            endpoint: self.name().to_owned(),
            reason: format!("it has no block {block}"),
        })?;
        Ok(BlockRef { height: head.number.to(), hash: head.hash })
    }

    /// The latest block that is final, and so much deeper as the configuration asks. Never `safe`, and never a number of
    /// confirmations in place of it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn finalized(&self) -> Result<BlockRef, Error> {
        let head = self.head(json!("finalized")).await?;
        if self.extra_depth == 0 {
            return Ok(head);
        }
        self.head(json!(U64::from(head.height.saturating_sub(self.extra_depth)))).await
    }

    /// The hash of a block.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn block_hash(&self, height: u64) -> Result<B256, Error> {
        let head = self.head(json!(U64::from(height))).await?;
        if head.height == height {
            Ok(head.hash)
        } else {
            Err(Error::Malformed { endpoint: self.name().to_owned(), reason: format!("not block {height}") })
        }
    }

    /// Logs of a contract with this first topic.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn logs(&self, contract: Address, topic: B256, from: u64, to: u64) -> Result<Vec<Log>, Error> {
        let filter = json!({
            "address": contract, "topics": [topic], "fromBlock": U64::from(from), "toBlock": U64::from(to),
        });
        self.ask("eth_getLogs", json!([filter])).await
    }

    /// Calls a contract.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn call(&self, to: Address, input: Bytes, block: &str) -> Result<Bytes, Error> {
        self.ask("eth_call", json!([{ "to": to, "input": input }, block])).await
    }

    /// Calls a contract as somebody, on the latest block.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn call_as(&self, from: Address, to: Address, input: &Bytes) -> Result<Bytes, Error> {
        self.ask("eth_call", json!([{ "from": from, "to": to, "input": input }, "latest"])).await
    }

    /// An account's coins at the head.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn balance(&self, account: Address) -> Result<U256, Error> {
        self.ask("eth_getBalance", json!([account, "latest"])).await
    }

    /// Transactions of an account that are in blocks (`latest`), or also waiting (`pending`), or final (`finalized`).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn nonce(&self, account: Address, block: &str) -> Result<u64, Error> {
        Ok(self.ask::<U64>("eth_getTransactionCount", json!([account, block])).await?.to())
    }

    /// Gas of a transaction.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn estimate(&self, from: Address, to: Option<Address>, value: U256, input: &Bytes) -> Result<u64, Error> {
        let mut request = json!({ "from": from, "input": input, "value": value });
        if let (Some(to), Some(object)) = (to, request.as_object_mut()) {
            object.insert("to".into(), json!(to));
        }
        Ok(self.ask::<U64>("eth_estimateGas", json!([request])).await?.to())
    }

    /// What a transaction should offer now: twice the base fee and a tip, or on chains without a base fee the gas price.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fees(&self, least_tip: u128) -> Result<Fees, Error> {
        let price: U256 = self.ask("eth_gasPrice", json!([])).await?;
        let block: Value = self.ask("eth_getBlockByNumber", json!(["latest", false])).await?;
        let base = block
            .get("baseFeePerGas")
            .and_then(|fee| serde_json::from_value::<U256>(fee.clone()).ok())
            .unwrap_or_default();
        let (price, base): (u128, u128) = (price.saturating_to(), base.saturating_to());
        let tip = price.saturating_sub(base).max(least_tip);
        Ok(Fees { max_fee: base.saturating_mul(2).saturating_add(tip), tip })
    }

    /// Sends a signed transaction.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn send(&self, raw: &Bytes) -> Result<B256, Error> {
        self.ask("eth_sendRawTransaction", json!([raw])).await
    }

    /// The receipt of a transaction that is in a block.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, Error> {
        self.ask("eth_getTransactionReceipt", json!([hash])).await
    }
}
