//! Consensus messages and hellos of peers.
#![no_main]

use bttc_engine::{Message, decode_blocks, encode_blocks};
use bttc_network::Hello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()).ok(), Some(message));
    }
    if let Ok(blocks) = decode_blocks(bytes) {
        assert_eq!(decode_blocks(&encode_blocks(&blocks)).ok(), Some(blocks));
    }
    if let Ok(hello) = Hello::decode_exact(bytes) {
        assert_eq!(Hello::decode_exact(&alloy_rlp::encode(&hello)).ok(), Some(hello.clone()));
        let _ = hello.check(&hello);
    }
});
