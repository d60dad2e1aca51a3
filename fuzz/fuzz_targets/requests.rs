//! Requests between peers, and their answers.
#![no_main]

use bttc_node::{PeerRequest, decode_contents, decode_offers, decode_tail};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = PeerRequest::decode(bytes) {
        assert_eq!(PeerRequest::decode(&request.encode()).ok(), Some(request));
    }
    let _ = decode_offers(bytes);
    let _ = decode_contents(bytes);
    let _ = decode_tail(bytes);
});
