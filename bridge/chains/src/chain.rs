//! What is read of any root chain.

use crate::contracts::EvmGateway;
use crate::{Error, EvmClient, TronClient};
use alloy_primitives::{Address, B256, Bytes, LogData, U256};
use alloy_sol_types::{SolCall, SolEvent};
use bttc_bridge_types::Deposit;
use serde::{Deserialize, Serialize};

/// The two kinds of protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// Ethereum's JSON-RPC.
    Evm,
    /// TRON's HTTP API.
    Tron,
}

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its height.
    pub height: u64,
    /// Its hash; on TRON the block's id.
    pub hash: B256,
}

/// A deposit as it stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DepositLog {
    /// The deposit.
    pub deposit: Deposit,
    /// The running hash that the gateway emitted.
    pub acc: B256,
    /// The transaction.
    pub transaction: B256,
    /// Its block.
    pub block: BlockRef,
}

/// Where a gateway stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayState {
    /// Deposits so far.
    pub deposits: u64,
    /// Their running hash.
    pub acc: B256,
    /// Commands carried out.
    pub commands: u64,
    /// Number of the last checkpoint.
    pub last_seq: u64,
    /// Hash of the set in force.
    pub set_hash: B256,
    /// Until when that set speaks, seconds.
    pub expires_at: u64,
    /// When that set came into force there, seconds.
    pub activated_at: u64,
    /// It was shown two certificates that contradict each other.
    pub frozen: bool,
    /// Until when it is paused, seconds.
    pub paused_until: u64,
}

/// A root chain behind one endpoint.
#[derive(Debug)]
pub enum RootChain {
    /// Ethereum or BNB Chain.
    Evm(EvmClient),
    /// TRON.
    Tron(TronClient),
}

impl RootChain {
    /// The endpoint's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Evm(client) => client.name(),
            Self::Tron(client) => client.name(),
        }
    }

    /// The chain's id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn chain_id(&self) -> Result<u64, Error> {
        match self {
            Self::Evm(client) => client.chain_id().await,
            Self::Tron(client) => client.chain_id().await,
        }
    }

    /// The latest block that is final.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn finalized(&self) -> Result<BlockRef, Error> {
        match self {
            Self::Evm(client) => client.finalized().await,
            Self::Tron(client) => client.solid_head().await,
        }
    }

    /// The hash of a block.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn block_hash(&self, height: u64) -> Result<B256, Error> {
        match self {
            Self::Evm(client) => client.block_hash(height).await,
            Self::Tron(client) => client.solid_block_id(height).await,
        }
    }

    /// A gateway's deposits in a range of blocks, in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn deposits(&self, gateway: Address, from: u64, to: u64) -> Result<Vec<DepositLog>, Error> {
        let logs = match self {
            Self::Evm(client) => client.logs(gateway, EvmGateway::Deposit::SIGNATURE_HASH, from, to).await?,
            Self::Tron(client) => client.logs(gateway, EvmGateway::Deposit::SIGNATURE_HASH, from, to).await?,
        };
        let malformed = |reason: &str| Error::Malformed { endpoint: self.name().to_owned(), reason: reason.to_owned() };
        let mut deposits = Vec::with_capacity(logs.len());
        for log in logs {
            let (Some(height), Some(hash), Some(transaction)) =
                (log.block_number, log.block_hash, log.transaction_hash)
            else {
                return Err(malformed("a log without its place"));
            };
            if log.removed || log.address() != gateway || !(from..=to).contains(&height) {
                return Err(malformed("a log that was not asked for"));
            }
            let data = LogData::new_unchecked(log.topics().to_vec(), log.data().data.clone());
            let event = EvmGateway::Deposit::decode_log_data(&data).map_err(|_| malformed("not a deposit"))?;
            let deposit = Deposit {
                nonce: event.nonce,
                token: event.token,
                sender: event.sender,
                recipient: event.recipient,
                amount: event.amount,
            };
            deposits.push(DepositLog { deposit, acc: event.acc, transaction, block: BlockRef { height, hash } });
        }
        Ok(deposits)
    }

    /// Calls a contract at the latest final state.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn view<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return, Error> {
        let input = Bytes::from(call.abi_encode());
        let output = match self {
            Self::Evm(client) => client.call(to, input, "finalized").await?,
            Self::Tron(client) => client.constant_solid(to, &input).await?,
        };
        C::abi_decode_returns(&output).map_err(|error| Error::Malformed {
            endpoint: self.name().to_owned(),
            reason: format!("{} gave no answer of {}: {error}", to, C::SIGNATURE),
        })
    }

    /// Where a gateway stands in the latest final state.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn gateway(&self, gateway: Address) -> Result<GatewayState, Error> {
        // The calls may fall into different blocks; the number comes first, so that the hash is of it or a later one.
        let counters = self.view(gateway, &EvmGateway::countersCall {}).await?;
        let acc = self.view(gateway, &EvmGateway::depositAccCall {}).await?;
        let again = self.view(gateway, &EvmGateway::countersCall {}).await?;
        if again.depositCount != counters.depositCount {
            let reason = "a deposit became final in between".to_owned();
            return Err(Error::Busy { endpoint: self.name().to_owned(), reason });
        }
        let progress = self.view(gateway, &EvmGateway::progressCall {}).await?;
        let status = self.view(gateway, &EvmGateway::statusCall {}).await?;
        let set_hash = self.view(gateway, &EvmGateway::setHashCall {}).await?;
        Ok(GatewayState {
            deposits: counters.depositCount,
            acc,
            commands: counters.commandNonce,
            last_seq: progress.lastSeq,
            set_hash,
            expires_at: status.setExpiresAt,
            activated_at: progress.setActivatedAt,
            frozen: status.frozen,
            paused_until: status.pausedUntil,
        })
    }

    /// An account's coins.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn balance(&self, account: Address) -> Result<U256, Error> {
        match self {
            Self::Evm(client) => client.balance(account).await,
            Self::Tron(client) => client.balance(account).await,
        }
    }
}
