//! Parts of blocks: inclusion is checked without a panic, and a part that is included comes back whole.
#![no_main]

use alloy_rlp::Decodable;
use bttc_types::{Part, PartSetBuilder, split_into_parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(part) = Part::decode(&mut &bytes[..]) {
        if part.verify_inclusion().is_ok()
            && let Ok(mut builder) = PartSetBuilder::new(part.header)
        {
            builder.insert(part.index, part.bytes.clone());
            assert!(builder.contains(part.index));
            let _ = builder.assemble();
        }
        assert_eq!(Part::decode(&mut alloy_rlp::encode(&part).as_slice()), Ok(part));
    }
    if let Ok((header, parts)) = split_into_parts(bytes) {
        let mut builder = PartSetBuilder::new(header).expect("our own header");
        for (index, part) in parts.into_iter().enumerate() {
            builder.insert(index as u32, part.0);
        }
        assert_eq!(builder.assemble().as_deref(), Some(bytes));
    }
});
