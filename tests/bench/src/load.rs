//! Transfers that are signed in advance, and sending them at a fixed rate.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, TxKind, U256, hex, keccak256};
use bttc_types::SecretKey;
use jsonrpsee::core::client::{ClientT, Error as ClientError};
use jsonrpsee::core::params::BatchRequestBuilder;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use jsonrpsee::rpc_params;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Transactions that are due are sent together this often.
const TICK: Duration = Duration::from_millis(10);

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An account that sends.
#[derive(Debug)]
pub struct Sender {
    key: SecretKey,
    /// Its address, to be funded in the genesis file.
    pub address: Address,
}

/// Accounts that are the same in every run.
pub fn senders(count: usize) -> Vec<Sender> {
    (0..count as u64)
        .map(|index| {
            let seed = keccak256([b"bttc-bench sender".as_slice(), &index.to_be_bytes()].concat());
            let key = SecretKey::from_bytes(&seed.0).expect("a hash is a key but for one in 2^128");
            Sender { address: key.address(), key }
        })
        .collect()
}

/// Arguments of `bttc genesis new` that give each sender `amount` BTT.
pub fn genesis_flags(senders: &[Sender], amount: u64) -> Vec<String> {
    senders.iter().flat_map(|sender| ["--fund".to_owned(), format!("{}={amount}", sender.address)]).collect()
}

/// What all transactions of a run have in common.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Chain id.
    pub chain_id: u64,
    /// Fee cap, wei for a unit of gas.
    pub fee_cap: u128,
}

/// A signed transfer.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Its hash.
    pub hash: B256,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Which sender's it is.
    pub sender: usize,
}

/// Signs the transaction of one sender.
pub fn sign(sender: &Sender, nonce: u64, input: Vec<u8>, gas_limit: u64, terms: Terms) -> (B256, Vec<u8>) {
    let transaction = TxEip1559 {
        chain_id: terms.chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas: terms.fee_cap,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(Address::repeat_byte(0x5a)),
        value: U256::from(1),
        input: input.into(),
        ..TxEip1559::default()
    };
    let signed = sender.key.sign(transaction.signature_hash());
    let bytes = signed.as_bytes();
    let signature = Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1);
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    (*envelope.tx_hash(), envelope.encoded_2718())
}

/// Signs plain transfers, each sender's turn after the other, on all cores.
pub fn sign_all(senders: &[Sender], count: usize, terms: Terms) -> Vec<Transfer> {
    let one = |index: usize| {
        let sender = index % senders.len();
        let (hash, bytes) = sign(&senders[sender], (index / senders.len()) as u64, Vec::new(), 21_000, terms);
        Transfer { hash, bytes, sender }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .step_by(share)
            .map(|first| scope.spawn(move || (first..count.min(first + share)).map(one).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("signing does not panic")).collect()
    })
}

/// What a node said to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was not sent.
    Unsent,
    /// It was taken.
    Accepted,
    /// It was not taken, and why.
    Refused(String),
    /// No answer came: it may have been taken or not.
    Unknown(String),
}

/// When a transaction was due, and what became of it at the node that it was sent to.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When it was due: a node or a connection that is late does not make this later.
    pub due: Instant,
    /// The node's answer.
    pub answer: Answer,
    /// When the answer came, if one came.
    pub answered: Option<Instant>,
}

/// How transactions are sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// RPC addresses of the nodes; a sender's transactions all go to one of them.
    pub nodes: Vec<String>,
    /// Transactions a second.
    pub rate: u32,
    /// Requests to one node at the same time, each on a connection of its own.
    pub connections: usize,
}

/// A client with keep-alive connections.
///
/// # Errors
/// An address that is none.
pub fn client(node: &str) -> Result<HttpClient, ClientError> {
    HttpClientBuilder::default().request_timeout(PATIENCE).build(node)
}

/// Sends transactions in their order at the plan's rate from `start` on, whether or not the nodes keep up, until all are sent or
/// `stop` is set. Returns what became of each when every answer is there.
///
/// # Errors
/// An address that is none.
pub async fn send(
    transfers: Arc<Vec<Transfer>>,
    plan: &Plan,
    start: Instant,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Sent>, ClientError> {
    let nodes: Vec<(HttpClient, Arc<Semaphore>)> = plan
        .nodes
        .iter()
        .map(|node| Ok((client(node)?, Arc::new(Semaphore::new(plan.connections)))))
        .collect::<Result<_, ClientError>>()?;
    let due = |index: usize| start + Duration::from_secs_f64(index as f64 / f64::from(plan.rate.max(1)));
    let mut sent: Vec<Sent> =
        (0..transfers.len()).map(|index| Sent { due: due(index), answer: Answer::Unsent, answered: None }).collect();
    let mut batches = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut next = 0;
    while next < transfers.len() && !stop.load(Ordering::Acquire) {
        ticks.tick().await;
        let now = Instant::now();
        let mut shares: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        while next < transfers.len() && due(next) <= now {
            shares[transfers[next].sender % nodes.len()].push(next);
            next += 1;
        }
        for ((node, places), share) in nodes.iter().zip(shares).filter(|(_, share)| !share.is_empty()) {
            let (node, places, transfers) = (node.clone(), Arc::clone(places), Arc::clone(&transfers));
            batches.spawn(async move {
                let _place = places.acquire_owned().await.expect("nobody closes it");
                let answers = send_batch(&node, share.iter().map(|index| transfers[*index].bytes.as_slice())).await;
                (share, answers, Instant::now())
            });
        }
    }
    while let Some(done) = batches.join_next().await {
        let (share, answers, at) = done.expect("sending does not panic");
        for (index, answer) in share.into_iter().zip(answers) {
            sent[index].answered = (!matches!(answer, Answer::Unknown(_))).then_some(at);
            sent[index].answer = answer;
        }
    }
    Ok(sent)
}

async fn send_batch<'a>(node: &HttpClient, transactions: impl Iterator<Item = &'a [u8]>) -> Vec<Answer> {
    let mut batch = BatchRequestBuilder::new();
    let mut count = 0;
    for bytes in transactions {
        batch
            .insert("eth_sendRawTransaction", rpc_params![hex::encode_prefixed(bytes)])
            .expect("a string can be a parameter");
        count += 1;
    }
    match node.batch_request::<B256>(batch).await {
        Ok(answers) => answers
            .into_iter()
            .map(|answer| match answer {
                Ok(_) => Answer::Accepted,
                Err(error) => Answer::Refused(error.message().to_owned()),
            })
            .collect(),
        Err(error) => vec![Answer::Unknown(error.to_string()); count],
    }
}

/// Sends again what was refused or not answered, so that no later transaction of its sender waits behind a gap. Returns how many of
/// those the nodes have now, because they took them or had them.
///
/// # Errors
/// An address that is none.
pub async fn close_gaps(transfers: &[Transfer], sent: &[Sent], nodes: &[String]) -> Result<usize, ClientError> {
    const TRIES: usize = 100;
    let clients: Vec<HttpClient> = nodes.iter().map(|node| client(node)).collect::<Result<_, _>>()?;
    let mut taken = 0;
    for (transfer, _) in
        transfers.iter().zip(sent).filter(|(_, sent)| matches!(sent.answer, Answer::Refused(_) | Answer::Unknown(_)))
    {
        let node = &clients[transfer.sender % clients.len()];
        for _ in 0..TRIES {
            let answer: Result<B256, _> =
                node.request("eth_sendRawTransaction", rpc_params![hex::encode_prefixed(&transfer.bytes)]).await;
            let known = match &answer {
                Ok(_) => true,
                Err(error) => {
                    let text = error.to_string();
                    text.contains("already known") || text.contains("nonce too low")
                }
            };
            if known {
                taken += 1;
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(taken)
}
