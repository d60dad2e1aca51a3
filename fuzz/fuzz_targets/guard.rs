//! The signer guard's file.
#![no_main]

use alloy_primitives::Address;
use bttc_engine::parse_guard;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_guard(bytes, Address::ZERO);
    // Whatever is damaged, the newest good record counts: two copies of one record are that record.
    if let Ok((sequence, ..)) = parse_guard(bytes, Address::repeat_byte(7)) {
        assert!(bytes.len() >= 28);
        let _ = sequence;
    }
});
