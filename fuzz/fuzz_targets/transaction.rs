//! Raw transactions from users and peers: one encoding each, and recovery never panics.
#![no_main]

use bttc_types::{RecoveredTransaction, decode_transaction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(transaction) = decode_transaction(bytes)
        && let Ok(recovered) = RecoveredTransaction::recover(transaction)
    {
        assert_eq!(&recovered.encoded()[..], bytes, "one encoding");
    }
});
