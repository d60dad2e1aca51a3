//! Parameters of JSON-RPC methods: every answer is well-formed, and none is an internal error.
#![no_main]

use bttc_fuzz::{METHODS, rpc_context};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Server {
    runtime: tokio::runtime::Runtime,
    methods: jsonrpsee::Methods,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let methods = bttc_rpc::methods(rpc_context()).expect("the methods have different names");
    Server { runtime, methods }
});

fuzz_target!(|bytes: &[u8]| {
    let Some((method, params)) = bytes.split_first() else { return };
    let Ok(params) = std::str::from_utf8(params) else { return };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    if serde_json::from_str::<serde::de::IgnoredAny>(params).is_err() {
        return;
    }
    let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let answer = SERVER.runtime.block_on(SERVER.methods.raw_json_request(&request, 1));
    let Ok((answer, _)) = answer else { return };
    let answer: serde_json::Value = serde_json::from_str(answer.get()).expect("an answer is JSON");
    assert_ne!(answer["error"]["code"], serde_json::json!(-32603), "{request}: {answer}");
    assert_ne!(answer["error"]["code"], serde_json::json!(-32601), "{method} exists");
});
