//! `bttc-bench`: measures networks of real processes from outside. `scripts/bench e2e` builds and runs it.

use alloy_primitives::B256;
use bttc_bench::load::{self, Answer, Plan, Sent, Terms, Transfer};
use bttc_bench::network::Network;
use bttc_bench::process::usage;
use bttc_bench::report::{Blocks, NodeUsage, Quantiles, Report};
use bttc_bench::tally::{check, latencies};
use bttc_bench::watch::{Seen, Watch, quantity};
use clap::Parser;
use eyre::{Context, bail, ensure, eyre};
use jsonrpsee::core::client::ClientT;
use jsonrpsee::http_client::HttpClient;
use jsonrpsee::rpc_params;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// BTT of each sender: fees for more transactions than a run can have.
const FUNDS: u64 = 100_000;
/// Pause between the signal to start and the first transaction that is due.
const LEAD: Duration = Duration::from_millis(200);
/// How long the end of a run waits without one more transaction being final.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures networks of real processes.
#[derive(Debug, Parser)]
#[command(name = "bttc-bench")]
enum Command {
    /// Transfers, signed in advance, at a fixed rate against validators on this machine: latency to finality, throughput, cost.
    E2e(E2e),
}

#[derive(Debug, clap::Args)]
struct E2e {
    /// Transactions a second, whether or not the network keeps up.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// For how many seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Validators.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10))]
    validators: u32,
    /// Accounts that send; each takes its turn.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_500))]
    senders: u32,
    /// Requests to one node at the same time, each on a connection of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    connections: u32,
    /// A chain parameter as NAME=VALUE, instead of the preset `local`'s; may be given many times.
    #[arg(long = "param")]
    params: Vec<String>,
    /// Also write the result to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The node's binary.
    #[arg(long, env = "BTTC_BIN", default_value = "target/release/bttc")]
    bttc: PathBuf,
    /// The script that makes networks.
    #[arg(long, default_value = "scripts/devnet")]
    devnet: PathBuf,
    /// How the binary was built, for the result.
    #[arg(long, default_value = "unknown")]
    profile: String,
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let Command::E2e(args) = Command::parse();
    let run = e2e(&args);
    // The network ends with the future that owns it.
    let report = tokio::select! {
        report = run => report?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    println!("{report}");
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .wrap_err_with(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn e2e(args: &E2e) -> eyre::Result<Report> {
    let senders = load::senders(args.senders as usize);
    let mut genesis = load::genesis_flags(&senders, FUNDS);
    genesis.extend(args.params.iter().flat_map(|text| ["--param".to_owned(), text.clone()]));
    let bttc = args.bttc.canonicalize().wrap_err_with(|| format!("{} is not there", args.bttc.display()))?;
    eprintln!("starting {} validators", args.validators);
    let network = Network::start(&args.devnet, &bttc, args.validators as usize, &genesis)?;
    let clients: Vec<HttpClient> =
        network.nodes.iter().map(|node| load::client(&node.rpc)).collect::<Result<_, _>>()?;
    let first = clients.first().ok_or_else(|| eyre!("no node"))?;

    let count = args.rate as usize * args.seconds as usize;
    eprintln!("signing {count} transactions");
    let transfers = Arc::new(load::sign_all(&senders, count, terms(first).await?));

    let pids: Vec<u32> = network.nodes.iter().map(|node| node.pid).collect();
    let own = std::process::id();
    let cpu = |pid: u32| usage(pid).map(|usage| usage.cpu_seconds).map_err(|error| eyre!(error));
    let before = pids.iter().map(|pid| cpu(*pid)).collect::<eyre::Result<Vec<_>>>()?;
    let own_before = cpu(own)?;
    let node = network.nodes.first().ok_or_else(|| eyre!("no node"))?;
    let watch = Watch::start(&node.ws).await.map_err(|error| eyre!(error))?;
    let plan = Plan {
        nodes: network.nodes.iter().map(|node| node.rpc.clone()).collect(),
        rate: args.rate,
        connections: args.connections as usize,
    };
    eprintln!("sending {} a second for {} s", args.rate, args.seconds);
    let start = Instant::now() + LEAD;
    let sent = load::send(Arc::clone(&transfers), &plan, start, Arc::new(AtomicBool::new(false))).await?;
    let seen = settle(&transfers, &sent, &plan, &watch).await?;
    let tally = check(&transfers, &sent, &seen, true)
        .map_err(|error| eyre!("the run is wrong:\n{error}\n{}", network.logs()))?;
    agree(&clients, &seen).await?;

    let end = transfers.iter().filter_map(|transfer| seen.finality(&transfer.hash)).max().unwrap_or(start);
    let last_due = sent.last().map_or(start, |sent| sent.due);
    let acceptances: Vec<Duration> = sent
        .iter()
        .filter(|sent| sent.answer == Answer::Accepted)
        .filter_map(|sent| Some(sent.answered?.saturating_duration_since(sent.due)))
        .collect();
    let usages = network.nodes.iter().zip(before).map(|(node, before)| {
        let now = usage(node.pid).map_err(|error| eyre!(error))?;
        let cpu_seconds = ((now.cpu_seconds - before) * 100.0).round() / 100.0;
        Ok(NodeUsage { name: node.name.clone(), cpu_seconds, peak_memory_bytes: now.peak_memory_bytes })
    });
    let version: String = first.request("web3_clientVersion", rpc_params![]).await?;
    let mut report = Report {
        schema: 1,
        node: version,
        profile: args.profile.clone(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        validators: network.nodes.len(),
        senders: senders.len(),
        rate: args.rate,
        seconds: args.seconds,
        submitted: 0,
        accepted: 0,
        refused: 0,
        unanswered: 0,
        included: 0,
        reasons: Default::default(),
        throughput: tally.included as f64 / end.saturating_duration_since(start).as_secs_f64().max(0.001),
        latency_ms: Quantiles::of(&latencies(&transfers, &sent, &seen, |_| true)),
        acceptance_ms: Quantiles::of(&acceptances),
        blocks: Blocks::between(&seen.blocks, start, last_due),
        nodes: usages.collect::<eyre::Result<_>>()?,
        driver_cpu_seconds: cpu(own)? - own_before,
    };
    report.throughput = (report.throughput * 10.0).round() / 10.0;
    report.count(tally);
    Ok(report)
}

/// What the network asks of transactions. The fee cap leaves room for a base fee that rises for as long as a run lasts.
async fn terms(client: &HttpClient) -> eyre::Result<Terms> {
    let chain_id: Value = client.request("eth_chainId", rpc_params![]).await?;
    let block: Value = client.request("eth_getBlockByNumber", rpc_params!["latest", false]).await?;
    let base_fee = quantity(&block["baseFeePerGas"]).map_err(|error| eyre!(error))?;
    let chain_id = quantity(&chain_id).map_err(|error| eyre!(error))?;
    Ok(Terms { chain_id, fee_cap: u128::from(base_fee.max(1)) * 1_000 })
}

/// Waits until every accepted transaction is in a block, or no further one comes.
async fn settle(transfers: &[Transfer], sent: &[Sent], plan: &Plan, watch: &Watch) -> eyre::Result<Seen> {
    let accepted: Vec<B256> = transfers
        .iter()
        .zip(sent)
        .filter(|(_, sent)| sent.answer == Answer::Accepted)
        .map(|(transfer, _)| transfer.hash)
        .collect();
    ensure!(!accepted.is_empty(), "no transaction was accepted; the first answer: {:?}", sent.first());
    let open = sent.iter().filter(|sent| sent.answer != Answer::Accepted).count();
    let taken = load::close_gaps(transfers, sent, &plan.nodes).await?;
    if taken < open {
        eprintln!("{} transactions were refused and are refused still", open - taken);
    }
    // What is missing after that is told by the check.
    watch.until_final(&accepted, PATIENCE).await;
    Ok(watch.seen())
}

/// Checks that all nodes have the last block that was seen.
async fn agree(clients: &[HttpClient], seen: &Seen) -> eyre::Result<()> {
    let Some(last) = seen.blocks.last() else { bail!("no block was seen") };
    let deadline = Instant::now() + PATIENCE;
    for client in clients {
        loop {
            let number = format!("0x{:x}", last.number);
            let block: Value = client.request("eth_getBlockByNumber", rpc_params![number, false]).await?;
            if let Some(hash) = block["hash"].as_str() {
                ensure!(hash == last.hash.to_string(), "two blocks at height {}: {hash}, {}", last.number, last.hash);
                break;
            }
            ensure!(Instant::now() < deadline, "a node has no block {} yet", last.number);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}
