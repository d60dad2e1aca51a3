//! Certificates: canonical, and verified against a set without a panic.
#![no_main]

use bttc_fuzz::key;
use bttc_types::{Certificate, SigningDomain, Validator, ValidatorSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificate) = Certificate::decode_exact(bytes) {
        assert_eq!(alloy_rlp::encode(&certificate), bytes, "one encoding");
        let address = key().address();
        let set = ValidatorSet::new(vec![Validator { address, owner: address, power: 1 }]).expect("a valid set");
        let domain = SigningDomain::new(1337, alloy_primitives::B256::ZERO);
        let _ = certificate.verify(&set, &domain);
    }
});
