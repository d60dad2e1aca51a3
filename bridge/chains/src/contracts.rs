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
