//! The `txpool` namespace.

use crate::context::RpcContext;
use crate::convert::{RpcTransaction, pending_transaction};
use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use alloy_rpc_types_txpool::{TxpoolContent, TxpoolContentFrom, TxpoolInspect, TxpoolInspectSummary, TxpoolStatus};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

pub(crate) fn register(module: &mut RpcModule<RpcContext>) -> std::result::Result<(), RegisterMethodError> {
    module.register_method("txpool_status", |_, context, _| {
        let status = context.pool.status();
        Result::Ok(TxpoolStatus { pending: status.pending as u64, queued: status.queued as u64 })
    })?;
    module.register_method("txpool_content", |_, context, _| {
        let mut content = TxpoolContent::<RpcTransaction>::default();
        for entry in context.pool.content(None) {
            let side = if entry.pending { &mut content.pending } else { &mut content.queued };
            let sender = side.entry(entry.transaction.sender()).or_default();
            sender.insert(entry.transaction.nonce().to_string(), pending_transaction(&entry.transaction));
        }
        Result::Ok(content)
    })?;
    module.register_method("txpool_contentFrom", |params, context, _| {
        let sender: Address = params.one()?;
        let mut content = TxpoolContentFrom::<RpcTransaction>::default();
        for entry in context.pool.content(Some(sender)) {
            let side = if entry.pending { &mut content.pending } else { &mut content.queued };
            side.insert(entry.transaction.nonce().to_string(), pending_transaction(&entry.transaction));
        }
        Result::Ok(content)
    })?;
    module.register_method("txpool_inspect", |_, context, _| {
        let mut content = TxpoolInspect::default();
        for entry in context.pool.content(None) {
            let transaction = entry.transaction.transaction();
            let side = if entry.pending { &mut content.pending } else { &mut content.queued };
            let summary = TxpoolInspectSummary {
                to: transaction.to(),
                value: transaction.value(),
                gas: transaction.gas_limit(),
                gas_price: transaction.max_fee_per_gas(),
            };
            side.entry(entry.transaction.sender()).or_default().insert(entry.transaction.nonce().to_string(), summary);
        }
        Result::Ok(content)
    })?;
    Ok(())
}
