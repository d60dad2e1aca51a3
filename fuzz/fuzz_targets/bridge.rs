//! What bridge members and relayers send: votes, sets, packed signatures, commands. What decodes has one encoding.
#![no_main]

use alloy_primitives::B256;
use bttc_bridge_types::{BridgeSet, BridgeVote, Command, pack_signatures, unpack_signatures};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(vote) = BridgeVote::decode(bytes) {
        assert_eq!(vote.encode(), bytes);
        let _ = vote.signer(B256::ZERO);
    }
    if let Ok(set) = BridgeSet::decode(bytes) {
        assert_eq!(set.encode(), bytes);
        let _ = set.verify(B256::ZERO, bytes, 1);
    }
    if let Ok(signatures) = unpack_signatures(bytes) {
        assert_eq!(pack_signatures(&signatures), bytes);
    }
    if let Some((kind, payload)) = bytes.split_first()
        && let Some(command) = Command::from_parts(*kind, payload)
    {
        assert_eq!(command.payload().as_ref(), payload);
    }
});
