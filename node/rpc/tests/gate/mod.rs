//! What stands before every method: budgets of clients, and errors in the words that Ethereum's tools know.

use super::{context, served};
use bttc_rpc::RpcServer;
use jsonrpsee::core::client::{ClientT, SubscriptionClientT};
use jsonrpsee::rpc_params;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Posts a request as a client behind a proxy would.
async fn post(server: &RpcServer, client: &str, body: &Value) -> Value {
    let body = body.to_string();
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let head = "Host: localhost\r\nContent-Type: application/json\r\nConnection: close";
    let length = body.len();
    let request =
        format!("POST / HTTP/1.1\r\n{head}\r\nX-Forwarded-For: {client}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_used_up_their_budget_is_told_when_to_come_back_and_others_are_served() {
    let (mut context, _) = context(2);
    context.config.client_units_per_second = 1;
    context.config.client_header = Some("x-forwarded-for".into());
    let server = bttc_rpc::start(context).await.unwrap();
    // A bucket holds 500 units, and a call takes ten. A batch is no way around it.
    let call = request("eth_call", json!([{ "to": "0x0909090909090909090909090909090909090909" }, "latest"]));
    let batch = Value::from(vec![call.clone(); 60]);
    let answers = post(&server, "192.0.2.1", &batch).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 60);
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer["result"].is_null()).collect();
    assert!((9..=10).contains(&refused.len()), "{} refused", refused.len());
    for answer in refused {
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
        let wait = answer["error"]["data"]["retryAfterMs"].as_u64().unwrap();
        assert!((1..=10_000).contains(&wait), "{wait}");
    }
    assert_eq!(post(&server, "192.0.2.1", &call).await["error"]["code"], -32005);
    assert_eq!(post(&server, "198.51.100.9, 192.0.2.1", &call).await["error"]["code"], -32005, "who pretends");
    assert_eq!(post(&server, "192.0.2.2", &call).await["result"], "0x");

    // Without a header that is trusted, a client is who connected.
    let (mut context, _) = super::context(2);
    context.config.client_units_per_second = 1;
    let server = bttc_rpc::start(context).await.unwrap();
    post(&server, "192.0.2.1", &batch).await;
    assert_eq!(post(&server, "192.0.2.2", &call).await["error"]["code"], -32005);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_none_is_refused_at_the_start() {
    let (mut context, _) = context(1);
    context.config.client_header = Some("no header".into());
    let error = bttc_rpc::start(context).await.unwrap_err().to_string();
    assert!(error.contains("rpc.client_header"), "{error}");
}

/// Libraries look for these words before they fall back on another method; and bad parameters are told in the message, as geth does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_said_as_ethereums_tools_expect_over_http_and_websocket() {
    let served = served(1).await;
    let unknown = request("eth_noSuchMethod", json!([]));
    let bad = request("eth_getBalance", json!(["0x12"]));
    let batch = json!([unknown, bad]);
    for answers in [post(&served.server, "", &batch).await, {
        let alone = [post(&served.server, "", &unknown).await, post(&served.server, "", &bad).await];
        Value::from(alone.to_vec())
    }] {
        assert_eq!(answers[0]["error"]["code"], -32601);
        assert_eq!(answers[0]["error"]["message"], "the method eth_noSuchMethod does not exist/is not available");
        assert_eq!(answers[1]["error"]["code"], -32602);
        let message = answers[1]["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("invalid params: ") && message.len() > 20, "{message}");
        assert!(answers[1]["error"]["data"].is_null());
    }
    let client = served.client().await;
    let error = client.request::<Value, _>("eth_noSuchMethod", rpc_params![]).await.unwrap_err().to_string();
    assert!(error.contains("the method eth_noSuchMethod does not exist"), "{error}");
    // A name of any length does not come back whole.
    let long = request(&"x".repeat(100_000), json!([]));
    assert!(post(&served.server, "", &long).await.to_string().len() < 300);
}

/// A refused subscription is answered once, with its own reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_subscription_is_answered_once() {
    let served = served(1).await;
    let client = served.client().await;
    for (kind, words) in [(json!("nope"), "subscription in eth namespace"), (json!(5), "invalid")] {
        let refused =
            client.subscribe::<Value, _>("eth_subscribe", rpc_params![kind], "eth_unsubscribe").await.unwrap_err();
        assert!(refused.to_string().to_lowercase().contains(words), "{refused}");
        // A second answer to the same request would end the client's connection.
        assert_eq!(client.request::<String, _>("eth_chainId", rpc_params![]).await.unwrap(), "0x539");
    }
}

/// Whether a connection answers.
async fn answers(stream: &mut tokio::net::TcpStream) -> bool {
    let body = request("eth_chainId", json!([])).to_string();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length";
    if stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await.is_err() {
        return false;
    }
    let mut buffer = [0; 1_024];
    matches!(stream.read(&mut buffer).await, Ok(length) if length > 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_cannot_take_all_connections() {
    let (mut context, _) = context(1);
    context.config.max_connections_per_client = 3;
    let server = bttc_rpc::start(context).await.unwrap();
    let connect = || tokio::net::TcpStream::connect(server.address());
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = connect().await.unwrap();
        assert!(answers(&mut stream).await);
        open.push(stream);
    }
    assert!(!answers(&mut connect().await.unwrap()).await, "a fourth is closed");
    // Where one is closed there is a place again, as soon as the server has noticed.
    open.pop();
    for attempt in 0.. {
        if answers(&mut connect().await.unwrap()).await {
            break;
        }
        assert!(attempt < 500);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(answers(&mut open[0]).await, "those that are open stay");

    // When all places are taken, the next connection waits for one.
    let (mut context, _) = super::context(1);
    context.config.max_connections = 2;
    let server = bttc_rpc::start(context).await.unwrap();
    let connect = || tokio::net::TcpStream::connect(server.address());
    let (mut one, mut other) = (connect().await.unwrap(), connect().await.unwrap());
    assert!(answers(&mut one).await && answers(&mut other).await);
    let mut third = connect().await.unwrap();
    let waiting = tokio::spawn(async move { answers(&mut third).await });
    drop(one);
    assert!(waiting.await.unwrap());
}
