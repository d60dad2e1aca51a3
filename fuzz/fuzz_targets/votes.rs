//! Votes, proposals, evidence: decoding is the inverse of encoding, and checking signatures never panics.
#![no_main]

use alloy_primitives::B256;
use alloy_rlp::{Decodable, Encodable};
use bttc_types::{Evidence, SignedProposal, SignedVote, SigningDomain};
use libfuzzer_sys::fuzz_target;

fn inverse<T: Decodable + Encodable + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let value = T::decode(&mut &bytes[..]).ok()?;
    assert_eq!(T::decode(&mut alloy_rlp::encode(&value).as_slice()).as_ref(), Ok(&value));
    Some(value)
}

fuzz_target!(|bytes: &[u8]| {
    let domain = SigningDomain::new(1337, B256::ZERO);
    if let Some(vote) = inverse::<SignedVote>(bytes) {
        let _ = vote.verify(&domain);
    }
    if let Some(proposal) = inverse::<SignedProposal>(bytes) {
        let _ = proposal.verify(&domain);
    }
    if let Some(evidence) = inverse::<Evidence>(bytes) {
        let _ = evidence.verify(&domain);
    }
});
