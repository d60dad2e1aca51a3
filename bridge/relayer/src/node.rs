//! What the relayer asks a BTTC node.

use crate::Error;
use crate::abi::IBridge;
use crate::store::WithdrawalRecord;
use alloy_primitives::{Address, B256, Bytes, LogData, U64, U256, address};
use alloy_sol_types::SolEvent;
use bttc_bridge_types::{Checkpoint, Deposit, Dest, GatewayId, Withdrawal};
use bttc_root_chains::{Endpoint, EndpointAddress, EvmClient};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// The bridge's ledger.
pub(crate) const LEDGER: Address = address!("0000000000000000000000000000000000001001");

/// Blocks of one query for logs.
const LOG_BLOCKS: u64 = 5_000;

/// A client of a BTTC node.
#[derive(Debug)]
pub struct NodeClient {
    /// Its Ethereum side.
    pub evm: EvmClient,
    endpoint: Endpoint,
}

/// A gateway as the ledger shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayView {
    pub(crate) name: String,
    pub(crate) root_chain_id: U64,
    pub(crate) gateway: Address,
    pub(crate) deposit_nonce: U64,
    pub(crate) withdrawals: U64,
    pub(crate) commands: U64,
    pub(crate) tokens: Vec<TokenView>,
    #[serde(default)]
    pub(crate) watched: Value,
}

/// A token of a gateway as the ledger shows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TokenView {
    pub(crate) root: Address,
    pub(crate) symbol: String,
    pub(crate) locked: U256,
}

impl GatewayView {
    pub(crate) fn at(&self) -> GatewayId {
        GatewayId { root_chain_id: self.root_chain_id.to(), gateway: self.gateway }
    }
}

/// The bridge's state.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BridgeState {
    pub(crate) bridge_id: B256,
    pub(crate) checkpoints: U64,
    pub(crate) halted: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DestView {
    root_chain_id: U64,
    gateway: Address,
    tree_id: U64,
    withdrawal_root: B256,
    count: U64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckpointView {
    seq: U64,
    last_block: U64,
    last_block_hash: B256,
    timestamp: U64,
    dests: Vec<DestView>,
    set_hash: B256,
    next_set_hash: B256,
    set: Option<Bytes>,
    signatures: Option<Bytes>,
}

/// A checkpoint with its certificate, if it has one.
#[derive(Clone, Debug)]
pub(crate) struct SignedCheckpoint {
    pub(crate) checkpoint: Checkpoint,
    /// The set's encoding and the packed signatures.
    pub(crate) certificate: Option<(Bytes, Bytes)>,
}

/// Deposits with their certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DepositsView {
    to_nonce: U64,
    deposits: Vec<DepositView>,
    signatures: Bytes,
}

#[derive(Clone, Debug, Deserialize)]
struct DepositView {
    nonce: U64,
    token: Address,
    sender: Address,
    recipient: Address,
    amount: U256,
}

/// Deposits that can be applied.
#[derive(Clone, Debug)]
pub(crate) struct SignedDeposits {
    pub(crate) to_nonce: u64,
    pub(crate) deposits: Vec<Deposit>,
    pub(crate) signatures: Bytes,
}

/// A command with its certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommandView {
    pub(crate) kind: U64,
    pub(crate) payload: Bytes,
    pub(crate) set: Option<Bytes>,
    pub(crate) signatures: Option<Bytes>,
}

#[derive(Clone, Debug, Deserialize)]
struct ProofView {
    proof: Vec<B256>,
}

impl NodeClient {
    /// A client of a node's JSON-RPC.
    ///
    /// # Errors
    /// [`Error::Chain`].
    pub fn new(node: &EndpointAddress, timeout: Duration) -> Result<Self, Error> {
        Ok(Self { evm: EvmClient::new(Endpoint::new(node, timeout)?, 0), endpoint: Endpoint::new(node, timeout)? })
    }

    async fn ask<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, Error> {
        Ok(self.endpoint.call("", method, params).await?)
    }

    pub(crate) async fn gateways(&self) -> Result<Vec<GatewayView>, Error> {
        self.ask("bttc_rootChains", json!([])).await
    }

    pub(crate) async fn state(&self) -> Result<BridgeState, Error> {
        self.ask("bttc_bridgeState", json!([])).await
    }

    pub(crate) async fn deposits(&self, at: GatewayId) -> Result<Option<SignedDeposits>, Error> {
        let params = json!([U64::from(at.root_chain_id), at.gateway]);
        let found: Option<DepositsView> = self.ask("bttc_depositCertificate", params).await?;
        Ok(found.map(|found| SignedDeposits {
            to_nonce: found.to_nonce.to(),
            deposits: found
                .deposits
                .into_iter()
                .map(|entry| Deposit {
                    nonce: entry.nonce.to(),
                    token: entry.token,
                    sender: entry.sender,
                    recipient: entry.recipient,
                    amount: entry.amount,
                })
                .collect(),
            signatures: found.signatures,
        }))
    }

    pub(crate) async fn checkpoint(&self, seq: u64) -> Result<Option<SignedCheckpoint>, Error> {
        let found: Option<CheckpointView> = self.ask("bttc_checkpoint", json!([U64::from(seq)])).await?;
        Ok(found.map(|found| {
            let dests = found
                .dests
                .iter()
                .map(|dest| Dest {
                    at: GatewayId { root_chain_id: dest.root_chain_id.to(), gateway: dest.gateway },
                    tree_id: dest.tree_id.to(),
                    withdrawal_root: dest.withdrawal_root,
                    count: dest.count.to(),
                })
                .collect();
            let checkpoint = Checkpoint {
                seq: found.seq.to(),
                last_block: found.last_block.to(),
                last_block_hash: found.last_block_hash,
                timestamp: found.timestamp.to(),
                dests,
                set_hash: found.set_hash,
                next_set_hash: found.next_set_hash,
            };
            SignedCheckpoint { checkpoint, certificate: found.set.zip(found.signatures) }
        }))
    }

    pub(crate) async fn command(&self, at: GatewayId, nonce: u64) -> Result<Option<CommandView>, Error> {
        let params = json!([U64::from(at.root_chain_id), at.gateway, U64::from(nonce)]);
        self.ask("bttc_gatewayCommand", params).await
    }

    /// The siblings of a withdrawal in the tree of a checkpoint; nothing when it holds no such leaf.
    pub(crate) async fn proof(&self, withdrawal: &Withdrawal, seq: u64) -> Result<Option<[B256; 32]>, Error> {
        let at = withdrawal.at;
        let (tree, index) = (U64::from(withdrawal.tree_id), U64::from(withdrawal.index));
        let params = json!([U64::from(at.root_chain_id), at.gateway, tree, index, U64::from(seq)]);
        let found: Option<ProofView> = self.ask("bttc_withdrawalProof", params).await?;
        let Some(found) = found else { return Ok(None) };
        let proof = <[B256; 32]>::try_from(found.proof);
        proof.map(Some).map_err(|_| Error::Node("a proof has 32 siblings".into()))
    }

    /// Withdrawals since a block, and the block up to which the logs were read.
    pub(crate) async fn withdrawals(&self, after: u64) -> Result<(Vec<WithdrawalRecord>, u64), Error> {
        let head = self.evm.finalized().await?.height;
        if head <= after {
            return Ok((Vec::new(), after));
        }
        let to = head.min(after + LOG_BLOCKS);
        let logs = self.evm.logs(LEDGER, IBridge::Withdrawn::SIGNATURE_HASH, after + 1, to).await?;
        let mut list = Vec::new();
        for log in logs {
            let data = LogData::new_unchecked(log.topics().to_vec(), log.data().data.clone());
            let event = IBridge::Withdrawn::decode_log_data(&data)
                .map_err(|error| Error::Node(format!("a withdrawal's log: {error}")))?;
            list.push(WithdrawalRecord {
                withdrawal: Withdrawal {
                    at: GatewayId { root_chain_id: event.rootChainId, gateway: event.gateway },
                    tree_id: event.treeId,
                    index: event.index,
                    token: event.token,
                    sender: event.sender,
                    recipient: event.recipient,
                    amount: event.amount,
                    relayer_fee: event.relayerFee,
                },
                transaction: log.transaction_hash.unwrap_or_default(),
                settled: false,
            });
        }
        Ok((list, to))
    }
}
