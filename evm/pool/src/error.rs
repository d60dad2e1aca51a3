//! Why a transaction is not accepted. The words are those that Ethereum's tools look for.

use alloy_primitives::{Address, U256};

/// Why a transaction is not accepted, or why the journal failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is in the pool.
    #[error("already known")]
    AlreadyKnown,
    /// Its nonce was used.
    #[error("nonce too low: next nonce {next}, tx nonce {got}")]
    NonceTooLow {
        /// Next nonce of the sender.
        next: u64,
        /// The transaction's nonce.
        got: u64,
    },
    /// Its nonce is so far ahead that it could not be executed within the sender's limit.
    #[error("nonce too high: next nonce {next}, tx nonce {got}, at most {limit} transactions of a sender are kept")]
    NonceTooHigh {
        /// Next nonce of the sender.
        next: u64,
        /// The transaction's nonce.
        got: u64,
        /// The limit.
        limit: usize,
    },
    /// Another transaction with this nonce is in the pool and pays about as much.
    #[error("replacement transaction underpriced: fee cap must be at least {fee_cap} and tip at least {tip}")]
    ReplacementUnderpriced {
        /// Least fee cap that would replace it.
        fee_cap: u128,
        /// Least tip that would replace it.
        tip: u128,
    },
    /// Its fee cap is below the chain's minimum base fee, so that it could never be included.
    #[error("transaction underpriced: max fee per gas less than block base fee: have {got}, want at least {minimum}")]
    Underpriced {
        /// Its fee cap.
        got: u128,
        /// The chain's minimum.
        minimum: u64,
    },
    /// The pool is full of transactions that pay more.
    #[error("txpool is full: max fee per gas must exceed {minimum}")]
    Full {
        /// What the cheapest transaction in the pool pays.
        minimum: u128,
    },
    /// There is no room for it unless more transactions make way than one may push out.
    #[error("txpool is full: more than {limit} transactions would have to make way for this one")]
    TooManyVictims {
        /// How many may make way for it.
        limit: usize,
    },
    /// It cannot be executed before an earlier one of its sender, and the share of the pool for such is full.
    #[error("txpool is full: too many transactions wait for an earlier nonce of their sender")]
    QueuedFull,
    /// The sender has its share of the pool.
    #[error("account {sender} has reached its limit of {limit} {what} in the pool")]
    SenderLimit {
        /// The sender.
        sender: Address,
        /// The limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// The sender's code is delegated (EIP-7702), or a transaction in the pool is about to delegate it, and the sender
    /// has another transaction in the pool.
    #[error("in-flight transaction limit reached for delegated accounts: {0} may have one transaction at a time")]
    InFlightLimit(Address),
    /// It delegates an account that has more than one transaction in the pool.
    #[error("authority already reserved: {0} has more than one transaction in the pool")]
    AuthorityReserved(Address),
    /// The sender cannot pay for it and what must be executed before it; or, for a queued one, not even for it alone.
    #[error("insufficient funds for gas * price + value: balance {balance}, cost {cost}")]
    InsufficientFunds {
        /// What the sender has.
        balance: U256,
        /// What is needed.
        cost: U256,
    },
    /// Its gas limit does not pay for its own size.
    #[error("intrinsic gas too low: gas {got}, minimum needed {needed}")]
    IntrinsicGas {
        /// Its gas limit.
        got: u64,
        /// What is needed.
        needed: u64,
    },
    /// Its gas limit exceeds what any transaction may have, for ever.
    #[error("transaction gas limit too high (cap: {cap}, tx: {got})")]
    GasCap {
        /// Its gas limit.
        got: u64,
        /// The most.
        cap: u64,
    },
    /// Its gas limit exceeds that of a block, which governance may change.
    #[error("transaction gas limit too high (cap: {limit}, tx: {got})")]
    GasLimit {
        /// Its gas limit.
        got: u64,
        /// A block's.
        limit: u64,
    },
    /// Its tip exceeds its fee cap.
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFeeCap,
    /// It is signed for another chain.
    #[error("invalid chain id: transaction has {got}, this chain is {expected}")]
    ChainId {
        /// Its chain id.
        got: u64,
        /// This chain's.
        expected: u64,
    },
    /// It carries blobs.
    #[error("transaction type not supported: transactions with blobs (type 3) do not exist on this chain")]
    Blobs,
    /// Its init code is too long (EIP-3860).
    #[error("max initcode size exceeded: code size {got}, limit {limit}")]
    InitCode {
        /// Its size.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// A type 4 transaction without authorizations.
    #[error("a set-code transaction needs at least one authorization")]
    NoAuthorizations,
    /// The sender is a contract (EIP-3607).
    #[error("sender not an eoa: {0}")]
    SenderIsContract(Address),
    /// The bytes are not a transaction, or its signature is bad.
    #[error(transparent)]
    Malformed(#[from] bttc_types::Error),
    /// The journal's file failed.
    #[error("the transaction journal {path}: {reason}")]
    Journal {
        /// Its path.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The sender's account could not be read.
    #[error("the sender's account could not be read: {0}")]
    State(String),
}
