//! Root chains: reading what is final on Ethereum, BNB Chain and TRON, and sending to them.
//!
//! An [`Endpoint`] is one RPC address with a budget of time and bytes. [`EvmClient`] and [`TronClient`] speak the two kinds
//! of protocols over one endpoint; [`RootChain`] is either. A [`Quorum`] asks several of them and believes only what enough
//! of them say alike.
#![forbid(unsafe_code)]

mod address;
mod chain;
pub mod contracts;
mod endpoint;
mod error;
mod evm;
mod quorum;
mod tron;

pub use address::{EndpointAddress, redact};
pub use chain::{BlockRef, ChainKind, DepositLog, GatewayState, RootChain};
pub use endpoint::Endpoint;
pub use error::Error;
pub use evm::{EvmClient, Fees, Receipt};
pub use quorum::{Progress, Quorum, QuorumConfig};
pub use tron::{
    Contract, ContractCall, TransactionInfo, TronClient, TronTransaction, constant, from_base58, to_base58,
    tron_address,
};
