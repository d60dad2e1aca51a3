//! The ledger's calls and events, as far as a relayer needs them.
#![allow(missing_docs, clippy::too_many_arguments, clippy::pub_underscore_fields, clippy::exhaustive_enums)]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

alloy_sol_types::sol!(#![sol(all_derives)] "../../evm/modules/interfaces/IBridge.sol");
