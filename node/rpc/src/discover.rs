//! `rpc.discover`: every method with its parameters, as an OpenRPC document, and the same as a page of the documentation.
//!
//! One table serves both; a test compares it with what is registered.

use crate::context::RpcContext;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use std::fmt::Write;

/// Name, parameters (`name:type`, optional ones with `?`), result's type, what it gives.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const METHODS: &[Row] = &[
    ("eth_accounts", "", "array", "No accounts: this node holds no users' keys."),
    ("eth_baseFee", "", "quantity", "Base fee of the next block, wei."),
    ("eth_blobBaseFee", "", "quantity", "Price of blob gas in the next block: 1 on this chain, which has no blobs."),
    ("eth_blockNumber", "", "quantity", "Height of the head, which is final."),
    ("eth_call", "call:object block?:block stateOverrides?:object blockOverrides?:object", "bytes", "Runs a call without consequences."),
    ("eth_capabilities", "", "object", "From which block on this node has state, blocks, receipts and proofs."),
    ("eth_chainId", "", "quantity", "Chain id."),
    ("eth_config", "", "object", "Forks, precompiles and system contracts (EIP-7910)."),
    ("eth_createAccessList", "call:object block?:block stateOverrides?:object blockOverrides?:object", "object", "What a call touches, and its gas with that list."),
    ("eth_estimateGas", "call:object block?:block stateOverrides?:object blockOverrides?:object", "quantity", "Gas limit with which a transaction succeeds."),
    ("eth_feeHistory", "blocks:quantity newest:block percentiles?:array", "object", "Base fees, fullness and tips of past blocks."),
    ("eth_gasPrice", "", "quantity", "Price with which a transaction is included soon, wei."),
    ("eth_getBalance", "account:address block?:block", "quantity", "Coins of an account, wei."),
    ("eth_getBlockByHash", "hash:hash whole?:boolean", "object", "A block, with whole transactions or their hashes."),
    ("eth_getBlockByNumber", "block:block whole?:boolean", "object", "A block, with whole transactions or their hashes."),
    ("eth_getBlockReceipts", "block:block", "array", "All receipts of a block."),
    ("eth_getBlockTransactionCountByHash", "hash:hash", "quantity", "Transactions of a block."),
    ("eth_getBlockTransactionCountByNumber", "block:block", "quantity", "Transactions of a block."),
    ("eth_getCode", "account:address block?:block", "bytes", "Code of an account."),
    ("eth_getFilterChanges", "filter:quantity", "array", "What is new since the last poll."),
    ("eth_getFilterLogs", "filter:quantity", "array", "All logs that a filter matches."),
    ("eth_getHeaderByHash", "hash:hash", "object", "A header."),
    ("eth_getHeaderByNumber", "block:block", "object", "A header."),
    ("eth_getLogs", "filter:object", "array", "Logs by block range or hash, addresses and topics."),
    ("eth_getProof", "account:address slots:array block?:block", "object", "An account and slots with their Merkle proofs, within the proof window."),
    ("eth_getRawTransactionByHash", "hash:hash", "bytes", "A transaction as it was sent."),
    ("eth_getStorageAt", "account:address slot:bytes block?:block", "hash", "A slot."),
    ("eth_getStorageValues", "slots:object block?:block", "object", "Slots of several accounts, at most 1,024."),
    ("eth_getTransactionByBlockHashAndIndex", "hash:hash index:quantity", "object", "A transaction by its place."),
    ("eth_getTransactionByBlockNumberAndIndex", "block:block index:quantity", "object", "A transaction by its place."),
    ("eth_getTransactionByHash", "hash:hash", "object", "A transaction in a block or in the pool."),
    ("eth_getTransactionCount", "account:address block?:block", "quantity", "Next nonce; with `pending` after those in the pool."),
    ("eth_getTransactionReceipt", "hash:hash", "object", "Receipt of a transaction in a block."),
    ("eth_getTransactionReceiptsByBlock", "block:block", "array", "As `eth_getBlockReceipts`, for tools of the original chain."),
    ("eth_getUncleByBlockHashAndIndex", "hash:hash index:quantity", "object", "Nothing: this chain has no uncles."),
    ("eth_getUncleByBlockNumberAndIndex", "block:block index:quantity", "object", "Nothing: this chain has no uncles."),
    ("eth_getUncleCountByBlockHash", "hash:hash", "quantity", "0: this chain has no uncles."),
    ("eth_getUncleCountByBlockNumber", "block:block", "quantity", "0: this chain has no uncles."),
    ("eth_maxPriorityFeePerGas", "", "quantity", "Tip with which a transaction is included soon, wei; 0 as long as blocks have room."),
    ("eth_newBlockFilter", "", "quantity", "Makes a filter of new blocks; it ends when it is not polled for five minutes."),
    ("eth_newFilter", "filter:object", "quantity", "Makes a filter of new logs."),
    ("eth_newPendingTransactionFilter", "", "quantity", "Makes a filter of new pending transactions."),
    ("eth_protocolVersion", "", "string", "Version of Ethereum's wire protocol at this state of the rules."),
    ("eth_sendRawTransaction", "transaction:bytes", "hash", "Takes a signed transaction."),
    ("eth_sendRawTransactionSync", "transaction:bytes timeout?:quantity", "object", "Takes a signed transaction and waits for its receipt (EIP-7966)."),
    ("eth_simulateV1", "payload:object block?:block", "array", "Runs blocks of calls that nobody proposed, one after the other."),
    ("eth_subscribe", "kind:string options?:object", "string", "Subscribes: `newHeads`, `logs`, `transactionReceipts`, `newPendingTransactions`, `syncing`. WebSocket only."),
    ("eth_syncing", "", "object", "False, or how far the node has come."),
    ("eth_uninstallFilter", "filter:quantity", "boolean", "Removes a filter."),
    ("eth_unsubscribe", "subscription:string", "boolean", "Ends a subscription."),
    ("net_listening", "", "boolean", "Whether the node takes connections."),
    ("net_peerCount", "", "quantity", "Connected peers."),
    ("net_version", "", "string", "Chain id in decimal."),
    ("web3_clientVersion", "", "string", "Program and version."),
    ("web3_sha3", "bytes:bytes", "hash", "Keccak-256."),
    ("rpc_modules", "", "object", "Namespaces and their versions."),
    ("rpc.discover", "", "object", "This document."),
    ("txpool_content", "", "object", "All pending and queued transactions."),
    ("txpool_contentFrom", "account:address", "object", "Pending and queued transactions of an account."),
    ("txpool_inspect", "", "object", "The pool in short."),
    ("txpool_status", "", "object", "How many transactions are pending and queued."),
    ("debug_accountRange", "block:block start:bytes most:quantity noCode?:boolean noStorage?:boolean incomplete?:boolean", "object", "Accounts by the hashes of their addresses, at most 256."),
    ("debug_getBadBlocks", "", "array", "None: what is final is never bad."),
    ("debug_getRawBlock", "block:block", "bytes", "A block in Ethereum's encoding."),
    ("debug_getRawHeader", "block:block", "bytes", "A header's RLP."),
    ("debug_getRawReceipts", "block:block", "array", "A block's receipts in their canonical encoding."),
    ("debug_getRawTransaction", "hash:hash", "bytes", "A transaction as it was sent."),
    ("debug_storageRangeAt", "block:block index:quantity account:address start:bytes most:quantity", "object", "Slots of an account before a transaction of a block, by their hashes."),
    ("debug_traceBlockByHash", "hash:hash options?:object", "array", "Traces a block's transactions; see `debug_traceTransaction`."),
    ("debug_traceBlockByNumber", "block:block options?:object", "array", "Traces a block's transactions; see `debug_traceTransaction`."),
    ("debug_traceCall", "call:object block?:block options?:object", "object", "Traces a call, with overrides."),
    ("debug_traceTransaction", "hash:hash options?:object", "object", "Runs a transaction again: struct logs, or `callTracer`, `prestateTracer`, `4byteTracer`, `flatCallTracer`, `muxTracer`, `noopTracer`."),
    ("trace_block", "block:block", "array", "Calls of a block in Parity's form."),
    ("trace_call", "call:object types:array block?:block stateOverrides?:object blockOverrides?:object", "object", "Traces a call: `trace`, `stateDiff`, `vmTrace`."),
    ("trace_callMany", "calls:array block?:block", "array", "Traces calls that see one another, at most 100."),
    ("trace_filter", "filter:object", "array", "Calls by block range, sender and recipient."),
    ("trace_get", "hash:hash path:array", "object", "One call of a transaction."),
    ("trace_rawTransaction", "transaction:bytes types:array block?:block", "object", "Traces a signed transaction without sending it."),
    ("trace_replayBlockTransactions", "block:block types:array", "array", "Traces a block's transactions."),
    ("trace_replayTransaction", "hash:hash types:array", "object", "Traces a transaction."),
    ("trace_transaction", "hash:hash", "array", "Calls of a transaction in Parity's form."),
    ("erigon_getHeaderByNumber", "block:block", "object", "A header, for Otterscan; served with `ots`."),
    ("ots_getApiLevel", "", "quantity", "Version of Otterscan's interface."),
    ("ots_getBlockDetails", "block:block", "object", "A block without its transactions, and what they paid."),
    ("ots_getBlockDetailsByHash", "hash:hash", "object", "A block without its transactions, and what they paid."),
    ("ots_getBlockTransactions", "block:block page:quantity size:quantity", "object", "A page of a block's transactions."),
    ("ots_getContractCreator", "account:address", "object", "Who created a contract, and in which transaction; within the kept state."),
    ("ots_getInternalOperations", "hash:hash", "array", "Transfers, creations and destructions inside a transaction."),
    ("ots_getTransactionBySenderAndNonce", "account:address nonce:quantity", "hash", "A transaction by its sender and nonce; within the kept state."),
    ("ots_getTransactionError", "hash:hash", "bytes", "What a transaction reverted with."),
    ("ots_hasCode", "account:address block?:block", "boolean", "Whether an account is a contract."),
    ("ots_searchTransactionsAfter", "account:address block:quantity size:quantity", "object", "A page of an account's transactions after a block."),
    ("ots_searchTransactionsBefore", "account:address block:quantity size:quantity", "object", "A page of an account's transactions before a block."),
    ("ots_traceTransaction", "hash:hash", "array", "Calls of a transaction, flat."),
    ("bttc_block", "block?:block", "object", "A block's bytes and the certificate that it carries for its parent."),
    ("bttc_certificate", "block?:block", "object", "The certificate that decided a block, with its signers."),
    ("bttc_delegations", "account:address block?:block", "array", "Delegations with their rewards, and stake on its way out."),
    ("bttc_epoch", "block?:block", "object", "Number, first and last block of an epoch."),
    ("bttc_events", "block?:block", "array", "What a block's hooks did outside any transaction."),
    ("bttc_params", "block?:block", "object", "Parameters of the chain by name."),
    ("bttc_peers", "", "array", "Connected peers."),
    ("bttc_proposal", "number:quantity", "object", "A proposal."),
    ("bttc_proposals", "", "array", "The latest 100 proposals."),
    ("bttc_setChange", "epoch:quantity", "object", "Proof of an epoch's validator set, for light clients."),
    ("bttc_status", "", "object", "Version, head, consensus, peers, and whether this node signs."),
    ("bttc_subscribe", "kind:string", "string", "Subscribes: `finalized`, `attestations`, `checkpoints`. WebSocket only."),
    ("bttc_transactionStatus", "hash:hash", "object", "`pending`, `queued`, `included`, `dropped` with the reason, or `unknown`."),
    ("bttc_unsubscribe", "subscription:string", "boolean", "Ends a subscription."),
    ("bttc_validator", "account:address block?:block", "object", "A validator by owner or key."),
    ("bttc_validators", "block?:block", "object", "The set that signs a height."),
    ("bttc_bridgeSet", "id:quantity", "bytes", "A bridge set in its encoding."),
    ("bttc_bridgeState", "", "object", "Sets in force and waiting, checkpoints, whether halted, who stands accused."),
    ("bttc_checkpoint", "number:quantity", "object", "A checkpoint, its set, and its certificate once there is one."),
    ("bttc_depositCertificate", "rootChain:quantity gateway:address", "object", "Deposits that can be applied, with their certificate."),
    ("bttc_depositStatus", "rootChain:quantity gateway:address deposit:quantity", "object", "`unknown`, `waiting`, `credited` or `parked`."),
    ("bttc_gatewayCommand", "rootChain:quantity gateway:address command:quantity", "object", "A command to a gateway, with its certificate."),
    ("bttc_rootChains", "", "array", "Gateways with their tokens, and how this node watches them."),
    ("bttc_withdrawalProof", "rootChain:quantity gateway:address tree:quantity index:quantity checkpoint?:quantity", "object", "A withdrawal's leaf with its siblings."),
];

/// JSON schema of a type of the table.
fn schema(kind: &str) -> Value {
    match kind {
        "quantity" => json!({ "type": "string", "pattern": "^0x(0|[1-9a-f][0-9a-f]*)$" }),
        "bytes" => json!({ "type": "string", "pattern": "^0x[0-9a-fA-F]*$" }),
        "hash" => json!({ "type": "string", "pattern": "^0x[0-9a-fA-F]{64}$" }),
        "address" => json!({ "type": "string", "pattern": "^0x[0-9a-fA-F]{40}$" }),
        "block" => json!({
            "description": "height, `latest`, `finalized`, `safe`, `pending` or `earliest`, hash, or object of EIP-1898",
            "type": ["string", "object"],
        }),
        other => json!({ "type": other }),
    }
}

/// A parameter: name, whether it must be there, type.
fn parameters(text: &'static str) -> impl Iterator<Item = (&'static str, bool, &'static str)> {
    text.split_whitespace().filter_map(|entry| {
        let (name, kind) = entry.split_once(':')?;
        Some(name.strip_suffix('?').map_or((name, true, kind), |name| (name, false, kind)))
    })
}

/// Names of all methods in the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|(name, ..)| *name)
}

fn document(version: &str) -> Value {
    let methods: Vec<Value> = METHODS
        .iter()
        .map(|(name, text, result, summary)| {
            let params: Vec<Value> = parameters(text)
                .map(|(name, required, kind)| json!({ "name": name, "required": required, "schema": schema(kind) }))
                .collect();
            json!({
                "name": name, "summary": summary, "paramStructure": "by-position", "params": params,
                "result": { "name": "result", "schema": schema(result) },
            })
        })
        .collect();
    json!({ "openrpc": "1.3.2", "info": { "title": "bttc", "version": version }, "methods": methods })
}

/// The table as a page of the documentation.
pub fn markdown() -> String {
    let mut page = String::from(
        "# JSON-RPC\n\nHTTP and WebSocket on one port. Written by the program itself (`BTTC_WRITE_DOCS=1 cargo test -p bttc-rpc`); \
         `rpc.discover` gives the same\nas an OpenRPC document. What Ethereum defines behaves as there; `latest`, `safe`, `finalized` \
         and `pending` name the head, which is final.\n\nErrors: geth's texts under -32000; a revert is code 3 with its data; a limit is \
         -32005 with the limit and what would work; state that\nis not kept any more is 4444 with what is kept. Limits are settings of \
         `[rpc]`.\n\nUnits: what a call takes out of its client's budget (`client_units_per_second`; no budget where that is 0, \
         1,000 with `public`). What is not used\nis kept for ten seconds; who has used up theirs is told after how many \
         milliseconds to come back.\n",
    );
    let mut space = "";
    for (name, text, result, summary) in METHODS {
        let prefix = name.split(['_', '.']).next().unwrap_or(name);
        if prefix != space {
            let _ =
                write!(page, "\n## {prefix}\n\n| method | parameters | result | units | |\n|---|---|---|---|---|\n");
            space = prefix;
        }
        let list: Vec<String> = parameters(text)
            .map(|(name, required, kind)| format!("{name}{}: {kind}", if required { "" } else { "?" }))
            .collect();
        let units = crate::budget::weight(name);
        let _ = writeln!(page, "| `{name}` | {} | {result} | {units} | {summary} |", list.join(", "));
    }
    page
}

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> Result<(), RegisterMethodError> {
    module.register_method("rpc.discover", |_, context, _| Ok::<_, ErrorObjectOwned>(document(&context.version)))?;
    Ok(())
}
