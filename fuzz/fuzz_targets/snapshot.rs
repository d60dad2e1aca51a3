//! Pieces of a snapshot: whatever comes, nothing wrong is kept; and requests for pieces are answered without a panic.
#![no_main]

use bttc_fuzz::executor;
use bttc_node::{check_tail, decode_contents, decode_tail};
use bttc_state::MemoryStore;
use bttc_state::snapshot::{Import, decode_pieces, serve};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static EXECUTOR: LazyLock<Arc<bttc_executor::Executor>> = LazyLock::new(executor);

fuzz_target!(|bytes: &[u8]| {
    let store = EXECUTOR.store();
    if let Ok(pieces) = decode_pieces(&mut &bytes[..]) {
        let _ = serve(store.kv().as_ref(), &pieces).expect("memory reads");
    }
    if let Ok(contents) = decode_contents(bytes) {
        let head = store.head().expect("a head");
        let kv = Arc::new(MemoryStore::new());
        let mut import = Import::open(kv.clone(), head).expect("memory opens");
        let pieces = import.next_pieces(4);
        let writes = kv.writes();
        if import.accept(&pieces, contents).is_err() {
            assert_eq!(kv.writes(), writes);
        }
    }
    if let Ok(tail) = decode_tail(bytes) {
        let _ = check_tail(&EXECUTOR.head_header().expect("a head"), tail);
    }
});
