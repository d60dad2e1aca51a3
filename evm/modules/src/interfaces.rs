//! The Solidity interfaces as Rust types.
#![allow(missing_docs, clippy::too_many_arguments, clippy::pub_underscore_fields, clippy::exhaustive_enums)]
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

alloy_sol_types::sol!(#![sol(abi, all_derives)] "interfaces/IStaking.sol");
alloy_sol_types::sol!(#![sol(abi, all_derives)] "interfaces/IRewards.sol");
alloy_sol_types::sol!(#![sol(abi, all_derives)] "interfaces/IGovernance.sol");
alloy_sol_types::sol!(#![sol(abi, all_derives)] "interfaces/IBtt.sol");
alloy_sol_types::sol!(#![sol(abi, all_derives)] "interfaces/IBridge.sol");
alloy_sol_types::sol!(#![sol(abi, all_derives)] "interfaces/IWrapped.sol");
