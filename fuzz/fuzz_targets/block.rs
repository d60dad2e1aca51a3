//! Blocks as they are gossiped: what decodes as authentic has one encoding, and its hash is found without decoding.
#![no_main]

use bttc_types::{Block, authentic_block_hash, block_hash_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = block_hash_of(bytes);
    if let Ok(hash) = authentic_block_hash(bytes) {
        let block = Block::decode(bytes).expect("it is authentic");
        assert_eq!(block.encode(), bytes);
        assert_eq!(block.hash(), hash);
        assert_eq!(block_hash_of(bytes).ok(), Some(hash));
    }
    if let Ok(block) = Block::decode(bytes) {
        assert_eq!(Block::decode(&block.encode()).expect("our own encoding decodes"), block);
    }
});
