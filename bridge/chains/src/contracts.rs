//! The gateway contracts as Rust types, from the committed artifacts.
#![allow(missing_docs, clippy::too_many_arguments, clippy::pub_underscore_fields, clippy::exhaustive_enums)]

alloy_sol_types::sol!(
    #[sol(all_derives)]
    EvmGateway,
    "../contracts/artifacts/EvmGateway.json"
);
mod tron {
    alloy_sol_types::sol!(TronGateway, "../contracts/artifacts/TronGateway.json");
}
pub use tron::IGateway::Settings as TronSettings;
pub use tron::TronGateway;
alloy_sol_types::sol!(GatewayProxy, "../contracts/artifacts/GatewayProxy.json");
alloy_sol_types::sol!(PlainToken, "../contracts/artifacts/PlainToken.json");
alloy_sol_types::sol!(NoReturnToken, "../contracts/artifacts/NoReturnToken.json");
alloy_sol_types::sol!(FalseReturnToken, "../contracts/artifacts/FalseReturnToken.json");
alloy_sol_types::sol!(FeeToken, "../contracts/artifacts/FeeToken.json");
alloy_sol_types::sol!(BlacklistToken, "../contracts/artifacts/BlacklistToken.json");

/// The call by which a checkpoint is submitted with its set's encoding and packed signatures.
pub fn submit_checkpoint(
    checkpoint: &bttc_bridge_types::Checkpoint,
    set: alloy_primitives::Bytes,
    signatures: alloy_primitives::Bytes,
) -> EvmGateway::submitCheckpointCall {
    let dests = checkpoint.dests.iter().map(|dest| IGateway::Dest {
        rootChainId: dest.at.root_chain_id,
        gateway: dest.at.gateway,
        treeId: dest.tree_id,
        withdrawalRoot: dest.withdrawal_root,
        count: dest.count,
    });
    EvmGateway::submitCheckpointCall {
        dests: dests.collect(),
        cp: IGateway::Checkpoint {
            seq: checkpoint.seq,
            lastBlock: checkpoint.last_block,
            lastBlockHash: checkpoint.last_block_hash,
            timestamp: checkpoint.timestamp,
            setHash: checkpoint.set_hash,
            nextSetHash: checkpoint.next_set_hash,
        },
        set,
        signatures,
    }
}
