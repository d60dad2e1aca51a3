//! Genesis files: what is accepted writes back and reads again as the same, and its sets can be computed.
#![no_main]

use bttc_genesis::ChainSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(spec) = ChainSpec::from_json(text) {
        let again = ChainSpec::from_json(&spec.to_json().expect("it is valid")).expect("it is valid");
        assert_eq!(again.bttc, spec.bttc);
        let _ = spec.genesis_set().expect("a valid specification has a set");
    }
});
