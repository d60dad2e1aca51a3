//! An account on a root chain, for commands: one transaction after the other, each waited for.

use crate::bridge::chain_settings;
use crate::wallet::sign;
use alloy_consensus::TxEip1559;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, SolInterface};
use bttc_root_chains::contracts::EvmGateway;
use bttc_root_chains::{
    ChainKind, ContractCall, Endpoint, Error as ChainError, EvmClient, RootChain, TronClient, from_base58, to_base58,
};
use bttc_types::SecretKey;
use eyre::{Context, bail, eyre};
use std::time::{Duration, Instant};

/// How long a transaction may take into a block.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most that a deployment may burn on TRON, sun.
const DEPLOY_LIMIT: u64 = 15_000_000_000;

/// A root chain and a key.
pub(crate) struct RootWallet {
    pub(crate) name: String,
    pub(crate) chain: RootChain,
    pub(crate) chain_id: u64,
    key: SecretKey,
}

/// A transaction in a block.
pub(crate) struct Done {
    pub(crate) hash: B256,
    pub(crate) contract: Option<Address>,
}

impl RootWallet {
    /// Connects to `NAME evm|tron CHAIN_ID URL`.
    pub(crate) async fn connect(line: &str, key: SecretKey) -> eyre::Result<Self> {
        let settings = chain_settings(line)?.quorum;
        let address = settings.endpoints.first().ok_or_else(|| eyre!("no endpoint"))?;
        let endpoint = Endpoint::new(address, settings.timeout)?;
        let chain = match settings.kind {
            ChainKind::Evm => RootChain::Evm(EvmClient::new(endpoint, 0)),
            ChainKind::Tron => RootChain::Tron(TronClient::new(endpoint)),
        };
        let got = chain.chain_id().await?;
        if got != settings.chain_id {
            bail!("{} is of the chain {got}, not of {}", chain.name(), settings.chain_id);
        }
        Ok(Self { name: settings.name, chain, chain_id: settings.chain_id, key })
    }

    pub(crate) fn address(&self) -> Address {
        self.key.address()
    }

    pub(crate) const fn is_tron(&self) -> bool {
        matches!(self.chain, RootChain::Tron(_))
    }

    /// An account as people of that chain write it.
    pub(crate) fn shown(&self, address: Address) -> String {
        if self.is_tron() { to_base58(address) } else { address.to_string() }
    }

    /// Deploys a contract.
    pub(crate) async fn deploy(&self, name: &str, code: Bytes) -> eyre::Result<Address> {
        let done = self.transact(None, 0, code, name).await.wrap_err_with(|| format!("cannot deploy {name}"))?;
        done.contract.ok_or_else(|| eyre!("the deployment of {name} made no contract"))
    }

    /// Calls a contract.
    pub(crate) async fn call<C: SolCall>(&self, to: Address, value: u64, call: &C) -> eyre::Result<Done> {
        self.transact(Some(to), value, call.abi_encode().into(), C::SIGNATURE).await
    }

    /// Reads a contract at the head.
    pub(crate) async fn look<C: SolCall>(&self, to: Address, call: &C) -> eyre::Result<C::Return> {
        let input = Bytes::from(call.abi_encode());
        let output = match &self.chain {
            RootChain::Evm(client) => client.call(to, input, "latest").await?,
            RootChain::Tron(client) => {
                let outcome = client.simulate(self.address(), to, &input, 0).await?;
                if !outcome.success {
                    bail!(refusal(&outcome.output));
                }
                outcome.output
            }
        };
        Ok(C::abi_decode_returns(&output)?)
    }

    async fn transact(&self, to: Option<Address>, value: u64, data: Bytes, name: &str) -> eyre::Result<Done> {
        match &self.chain {
            RootChain::Evm(client) => self.transact_evm(client, to, U256::from(value), data).await,
            RootChain::Tron(client) => self.transact_tron(client, to, value, data, name).await,
        }
    }

    async fn transact_evm(
        &self,
        client: &EvmClient,
        to: Option<Address>,
        value: U256,
        data: Bytes,
    ) -> eyre::Result<Done> {
        let gas = client.estimate(self.address(), to, value, &data).await.map_err(explain)?;
        let fees = client.fees(1_000_000).await?;
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: client.nonce(self.address(), "pending").await?,
            gas_limit: gas.saturating_mul(6) / 5,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip,
            to: to.map_or(TxKind::Create, TxKind::Call),
            value,
            access_list: Default::default(),
            input: data,
        };
        let raw = Bytes::from(sign(transaction, &self.key).encoded_2718());
        let hash = client.send(&raw).await?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(receipt) = client.receipt(hash).await? {
                if receipt.status.is_zero() {
                    bail!("transaction {hash} failed in block {}", receipt.block_number);
                }
                return Ok(Done { hash, contract: receipt.contract_address });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("{hash} is in no block after {} s: look for it before you send again", PATIENCE.as_secs())
    }

    async fn transact_tron(
        &self,
        client: &TronClient,
        to: Option<Address>,
        value: u64,
        data: Bytes,
        name: &str,
    ) -> eyre::Result<Done> {
        let owner = self.address();
        let (price, most) = client.prices().await?;
        let (call, limit) = match to {
            Some(contract) => {
                let outcome = client.simulate(owner, contract, &data, value).await?;
                if !outcome.success {
                    bail!(refusal(&outcome.output));
                }
                let limit = outcome.energy.saturating_mul(price).saturating_mul(13) / 10;
                (ContractCall::Trigger { owner, contract, call_value: value, data }, limit)
            }
            None => {
                (ContractCall::Create { owner, bytecode: data, call_value: value, name: name.to_owned() }, DEPLOY_LIMIT)
            }
        };
        let transaction = client.prepare(&call, &self.key, 60_000, limit.min(most)).await?;
        client.broadcast(&transaction).await?;
        let hash = transaction.id();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(info) = client.transaction(hash).await? {
                if info.result != "SUCCESS" {
                    bail!("transaction {hash} failed: {}", info.result);
                }
                return Ok(Done { hash, contract: info.contract });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("{hash} is in no block after {} s: look for it before you send again", PATIENCE.as_secs())
    }
}

/// An account that was typed, of whatever chain.
pub(crate) fn account(text: &str) -> eyre::Result<Address> {
    from_base58(text).map_err(|_| eyre!("{text:?} is no account: write 0x… or T…"))
}

/// Revert data in words.
fn refusal(data: &[u8]) -> String {
    match EvmGateway::EvmGatewayErrors::abi_decode(data) {
        Ok(error) => {
            let text = format!("{error:?}");
            let inner = text.split_once('(').map_or(text.clone(), |(_, inner)| inner.trim_end_matches(')').to_owned());
            format!("the gateway refuses: {inner}")
        }
        Err(_) => match <alloy_sol_types::Revert as alloy_sol_types::SolError>::abi_decode(data) {
            Ok(revert) => format!("refused: {}", revert.reason.escape_debug()),
            Err(_) => format!("refused with {}", alloy_primitives::hex::encode_prefixed(data)),
        },
    }
}

fn explain(error: ChainError) -> eyre::Report {
    match &error {
        ChainError::Refused { data: Some(data), .. } if !data.is_empty() => eyre!(refusal(data)),
        _ => eyre!(error),
    }
}
