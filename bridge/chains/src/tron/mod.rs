//! TRON: addresses, transactions, and a client of its HTTP API.

mod address;
mod client;
mod message;

pub use address::{from_base58, to_base58, tron_address};
pub use client::{TransactionInfo, TronClient, constant};
pub use message::{Contract, ContractCall, TronTransaction};
