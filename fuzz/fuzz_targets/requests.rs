//! Requests between peers, and their answers; what a light client is given.
#![no_main]

use bttc_genesis::LightClient;
use bttc_node::{PeerRequest, decode_contents, decode_offers, decode_set_changes, decode_tail};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static LIGHT: LazyLock<LightClient> = LazyLock::new(|| {
    let executor = bttc_fuzz::executor();
    let genesis = executor.store().genesis_hash().expect("memory reads").expect("it is there");
    LightClient::new(executor.spec(), genesis).expect("a valid specification")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = PeerRequest::decode(bytes) {
        assert_eq!(PeerRequest::decode(&request.encode()).ok(), Some(request));
    }
    let _ = decode_offers(bytes);
    let _ = decode_contents(bytes);
    let _ = decode_tail(bytes);
    for change in decode_set_changes(bytes).unwrap_or_default() {
        // The fuzzer has no key: it cannot prove anything.
        assert!(LIGHT.clone().apply(&change).is_err());
    }
});
