//! Strangers attack four validators and the sentry before them while users' transactions flow. Whatever they do: every accepted
//! transaction is final exactly once and about as fast as without them, honest nodes stay connected with each other, and memory
//! stays where it is.
//!
//! `BTTC_HOSTILE_SECONDS` (and `BTTC_HOSTILE_RATE`, transactions a second) chooses the long form, `BTTC_HOSTILE_ATTACKS` names the
//! attacks, separated by commas, and `BTTC_HOSTILE_SEED` their order.

use crate::attacks::{self, Attack, Ground, Raid};
use crate::cluster::{Cluster, Plan};
use crate::harness::{call, until};
use crate::stranger::Victim;
use alloy_primitives::B256;
use bttc_bench::load::{self, Answer, Sender, Sent, Terms, Transfer};
use bttc_bench::process::usage;
use bttc_bench::tally;
use bttc_bench::watch::Watch;
use bttc_types::SigningDomain;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const VALIDATORS: usize = 4;
/// The validator that is started anew in the middle of an attack. Users do not send to it.
const RESTARTED: usize = VALIDATORS - 1;
/// Minimum fee of `local` networks is a gwei; this leaves room for full blocks.
const TERMS: Terms = Terms { chain_id: 1337, fee_cap: 100_000_000_000 };
/// Below this a p99 of finality is not told from the noise of a machine on which all nodes and the strangers share two cores.
const FLOOR: Duration = Duration::from_secs(1);
/// By how much the memory of a node may be more after an attack than before, beyond what it grew by without one.
const MEMORY_GROWTH: u64 = 64 << 20;
/// How long a validator that starts anew may take until it has all its peers.
const RETURN: Duration = Duration::from_secs(30);

/// How much of everything.
struct Form {
    attack: Duration,
    baseline: Duration,
    rate: u32,
    senders: usize,
    /// Accounts, and transactions of each, behind a gap.
    gapped: (usize, u64),
    /// Places of the pools; the default when none.
    pool: Option<usize>,
    unpayable_bytes: usize,
    attacks: Vec<Attack>,
}

impl Form {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seed = number("BTTC_HOSTILE_SEED").unwrap_or(1);
        let mut attacks = Attack::ALL.to_vec();
        if let Ok(names) = std::env::var("BTTC_HOSTILE_ATTACKS") {
            let names: Vec<&str> = names.split(',').collect();
            attacks.retain(|attack| names.contains(&attack.name().as_str()));
            assert_eq!(attacks.len(), names.len(), "the attacks are {:?}", Attack::ALL.map(Attack::name));
        }
        attacks.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
        eprintln!("seed {seed}, attacks {}", attacks.iter().map(|attack| attack.name()).collect::<Vec<_>>().join(","));
        match number("BTTC_HOSTILE_SECONDS") {
            Some(seconds) => Self {
                attack: Duration::from_secs(seconds),
                baseline: Duration::from_secs(seconds),
                rate: number("BTTC_HOSTILE_RATE").unwrap_or(500) as u32,
                senders: 1_000,
                gapped: (32, 4_095),
                pool: None,
                unpayable_bytes: 10 << 20,
                attacks,
            },
            None => Self {
                attack: Duration::from_millis(1_500),
                baseline: Duration::from_secs(5),
                rate: 40,
                senders: 200,
                gapped: (2, 1_500),
                pool: Some(2_000),
                unpayable_bytes: 1 << 20,
                attacks,
            },
        }
    }

    /// How long transactions can be sent for: longer than the run should take.
    fn longest(&self) -> Duration {
        let attacks = (self.attack + Duration::from_secs(5)) * self.attacks.len() as u32;
        self.baseline + attacks + 2 * RETURN
    }
}

/// The accounts of a run.
struct Accounts {
    users: Vec<Sender>,
    /// They send what waits behind a gap.
    gapped: Vec<Sender>,
    /// Its transactions wait behind a gap from the beginning.
    marker: Sender,
    /// Sends large transactions.
    large: Sender,
    /// They have nothing.
    poor: Vec<Sender>,
    genesis: Vec<String>,
}

impl Accounts {
    fn new(form: &Form) -> Self {
        let mut funded = load::senders(form.senders + form.gapped.0 + 2 + 16);
        let poor = funded.split_off(funded.len() - 16);
        let genesis = load::genesis_flags(&funded, 1_000_000);
        let large = funded.pop().unwrap();
        let marker = funded.pop().unwrap();
        let gapped = funded.split_off(form.senders);
        Self { users: funded, gapped, marker, large, poor, genesis }
    }
}

/// What a node was like at one time.
struct Look {
    /// Those of the honest nodes that it is connected with.
    peers: BTreeSet<String>,
    memory: u64,
    log: usize,
}

/// A stretch of time.
struct Window {
    name: String,
    from: Instant,
    to: Instant,
}

/// Four validators and a sentry, each connected with each.
struct Town {
    cluster: Cluster,
    /// Identity and name of every node.
    honest: BTreeMap<String, String>,
}

impl Town {
    async fn start(accounts: &Accounts, form: &Form) -> Self {
        let flags: Vec<&str> =
            accounts.genesis.iter().map(String::as_str).chain(["--param", "targetBlockTimeMs=500"]).collect();
        let pool = form.pool.map(|places| places.to_string());
        let settings: Vec<(&str, &str)> =
            pool.iter().map(|places| ("BTTC_POOL_MAX_TRANSACTIONS", places.as_str())).collect();
        let plan = Plan { validators: VALIDATORS, genesis: &flags, settings: &settings, ..Plan::default() };
        let mut cluster = Cluster::new(&plan);
        let validators: Vec<String> = cluster.members.iter().map(|member| member.multiaddress()).collect();
        cluster.add("sentry", &validators, &[("BTTC_NODE_ROLE", "sentry")]);
        let all: Vec<String> = cluster.members.iter().map(|member| member.multiaddress()).collect();
        for index in 0..VALIDATORS {
            let others: Vec<String> =
                all.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, peer)| peer.clone()).collect();
            cluster.members[index].set("BTTC_P2P_PERSISTENT_PEERS", &others.join(","));
        }
        cluster.start_all();
        let honest = cluster.members.iter().map(|member| (member.peer_id.clone(), member.name.clone())).collect();
        let town = Self { cluster, honest };
        until("blocks, and everybody knows everybody", 60, async || town.is_whole().await).await;
        town
    }

    async fn is_whole(&self) -> bool {
        for index in 0..self.cluster.members.len() {
            let height = crate::joining::client_height(&self.cluster.members[index].client()).await;
            if height.is_none_or(|height| height < 3) || self.peers(index).await.len() != VALIDATORS {
                return false;
            }
        }
        true
    }

    /// The honest peers of a node; none when it does not answer.
    async fn peers(&self, index: usize) -> BTreeSet<String> {
        use jsonrpsee::core::client::ClientT;
        let client = self.cluster.members[index].client();
        let list: Result<serde_json::Value, _> = client.request("bttc_peers", jsonrpsee::rpc_params![]).await;
        let list = list.ok().and_then(|list| list.as_array().cloned()).unwrap_or_default();
        let ids = list.iter().filter_map(|peer| peer["id"].as_str());
        ids.filter_map(|id| self.honest.get(id).cloned()).collect()
    }

    async fn look(&self) -> Vec<Look> {
        let mut looks = Vec::new();
        for (index, member) in self.cluster.members.iter().enumerate() {
            let peers = self.peers(index).await;
            let memory = usage(member.pid()).unwrap().memory_bytes;
            looks.push(Look { peers, memory, log: member.log().len() });
        }
        looks
    }

    /// RPC addresses of the nodes that users send to.
    fn rpcs(&self) -> Vec<String> {
        let members = self.cluster.members.iter().enumerate();
        members.filter(|(index, _)| *index != RESTARTED).map(|(_, member)| member.rpc.clone()).collect()
    }

    /// What has changed that must not. The node that was started anew has lost its connections and its memory.
    fn compare(&self, before: &[Look], after: &[Look], growth: u64, restarted: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let skipped = restarted.then(|| self.cluster.members[RESTARTED].name.as_str());
        for ((member, before), after) in self.cluster.members.iter().zip(before).zip(after) {
            let name = &member.name;
            if after.peers.len() < VALIDATORS {
                wrong.push(format!("{name} is connected with {:?} only", after.peers));
            }
            if skipped == Some(name) {
                continue;
            }
            let grown = after.memory.saturating_sub(before.memory);
            if grown > MEMORY_GROWTH + growth {
                wrong.push(format!("{name} has grown by {} MiB", grown >> 20));
            }
            let log = member.log();
            let fresh = log.get(before.log..).unwrap_or_default();
            for (id, peer) in self.honest.iter().filter(|(_, peer)| skipped != Some(peer)) {
                let lines: Vec<&str> =
                    fresh.lines().filter(|line| line.contains(id) && line.contains("disconnected")).collect();
                if let Some(line) = lines.first() {
                    wrong.push(format!("{name} lost {peer} {} times: {line}", lines.len()));
                }
            }
        }
        wrong
    }

    /// Kills a validator and starts it again; what is wrong if it does not come back in time.
    async fn restart(&mut self) -> Option<String> {
        let member = &mut self.cluster.members[RESTARTED];
        member.kill();
        // Strangers are quicker: they take the places that it leaves.
        tokio::time::sleep(Duration::from_secs(1)).await;
        member.start();
        let began = Instant::now();
        while began.elapsed() < RETURN {
            if self.peers(RESTARTED).await.len() == VALIDATORS {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let peers = self.peers(RESTARTED).await;
        Some(format!("the validator that was started anew has {peers:?} after {} s", RETURN.as_secs()))
    }
}

/// A transaction that must be taken by this node.
async fn submit(town: &Town, index: usize, bytes: &[u8]) {
    let raw = alloy_primitives::hex::encode_prefixed(bytes);
    call(&town.cluster.members[index].client(), "eth_sendRawTransaction", json!([raw])).await;
}

/// Puts large transactions into blocks; the height before the first.
async fn large_blocks(town: &Town, sender: &Sender) -> u64 {
    const COUNT: u64 = 12;
    let client = town.cluster.members[0].client();
    let before = crate::harness::height(&client).await;
    let mut last = B256::ZERO;
    for nonce in 0..COUNT {
        let (hash, bytes) = load::sign(sender, nonce, vec![0; 120_000], 2_000_000, TERMS);
        submit(town, 0, &bytes).await;
        last = hash;
    }
    until("large transactions are final", 30, async || {
        !call(&client, "eth_getTransactionReceipt", json!([last])).await.is_null()
    })
    .await;
    before + 1
}

/// When each transaction of users is handed to its node.
struct Handed {
    positions: HashMap<B256, usize>,
    rate: u32,
    lead: Arc<OnceLock<Instant>>,
}

impl Handed {
    fn at(&self, hash: &B256) -> Option<Instant> {
        let position = *self.positions.get(hash)?;
        Some(*self.lead.get()? + Duration::from_secs_f64(position as f64 / f64::from(self.rate)))
    }
}

/// Makes what the attacks need.
async fn prepare(town: &Town, accounts: &Accounts, form: &Form, users: Handed) -> (Ground, Arc<AtomicU64>) {
    let genesis = town.cluster.members[0].genesis_hash();
    let mut victims = Vec::new();
    for member in &town.cluster.members {
        victims.push(Victim::ask(&member.name, &member.multiaddress(), TERMS.chain_id, genesis).await);
    }
    // They wait for as long as the network runs.
    let mut markers = HashMap::new();
    for nonce in 1..=8 {
        let (hash, bytes) = load::sign(&accounts.marker, nonce, Vec::new(), 21_000, TERMS);
        submit(town, 0, &bytes).await;
        markers.insert(hash, Instant::now());
    }
    let dear = Terms { fee_cap: 1_000 * TERMS.fee_cap, ..TERMS };
    let gapped = accounts
        .gapped
        .iter()
        .flat_map(|sender| (1..=form.gapped.1).map(|nonce| load::sign(sender, nonce, Vec::new(), 21_000, dear).1))
        .collect();
    let unpayable = accounts
        .poor
        .iter()
        .flat_map(|sender| (0..16).map(|nonce| load::sign(sender, nonce, vec![1; 8 << 10], 500_000, TERMS).1))
        .collect();
    let head = Arc::new(AtomicU64::new(0));
    let ground = Ground {
        victims,
        domain: SigningDomain::new(TERMS.chain_id, genesis),
        head: Arc::clone(&head),
        unpayable,
        unpayable_bytes: form.unpayable_bytes,
        gapped,
        large_blocks: large_blocks(town, &accounts.large).await,
        handed: Arc::new(move |hash| markers.get(hash).copied().or_else(|| users.at(hash))),
    };
    (ground, head)
}

/// Runs one attack: when it was, and what is wrong afterwards.
async fn suffer(
    town: &mut Town,
    attack: Attack,
    ground: &Arc<Ground>,
    form: &Form,
    growth: u64,
) -> (Window, Vec<String>) {
    let from = Instant::now();
    let before = town.look().await;
    // The one that starts anew must find its peers' places taken, not its own.
    let restarts = attack == Attack::Silent;
    let victims: Vec<Victim> = ground
        .victims
        .iter()
        .enumerate()
        .filter(|(index, victim)| match attack {
            Attack::Silent => *index != RESTARTED,
            Attack::Identities => victim.name == "sentry",
            _ => true,
        })
        .map(|(_, victim)| victim.clone())
        .collect();
    let raid: Raid = attacks::launch(attack, ground, &victims);
    tokio::time::sleep(form.attack).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !raid.is_under_way() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A validator that is away makes heights take longer by itself.
    let window = Window { name: attack.name(), from, to: Instant::now() };
    let mut wrong = if restarts { Vec::from_iter(town.restart().await) } else { Vec::new() };
    let after = town.look().await;
    wrong.extend(raid.violations());
    eprintln!("{}: {}", attack.name(), raid.summary());
    drop(raid);
    wrong.extend(town.compare(&before, &after, growth, restarts));
    (window, wrong)
}

/// Says for each window how fast transactions were final, and what is wrong.
fn judge(windows: &[Window], transfers: &[Transfer], sent: &[Sent], watch: &Watch) -> Vec<String> {
    let seen = watch.seen();
    let p99_of = |window: &Window| {
        let within = |sent: &Sent| sent.due >= window.from && sent.due < window.to;
        let values = tally::latencies(transfers, sent, &seen, within);
        let refused = sent
            .iter()
            .filter(|sent| within(sent))
            .find(|sent| matches!(sent.answer, Answer::Refused(_) | Answer::Unknown(_)));
        (values.len(), tally::quantile(&values, 0.5), tally::quantile(&values, 0.99), refused.cloned())
    };
    let mut wrong = Vec::new();
    let mut limit = Duration::MAX;
    for (index, window) in windows.iter().enumerate() {
        let (count, p50, p99, refused) = p99_of(window);
        eprintln!(
            "{:12} {count:6} transactions  p50 {:5} ms  p99 {:5} ms",
            window.name,
            p50.as_millis(),
            p99.as_millis()
        );
        if index == 0 {
            limit = 2 * p99.max(FLOOR);
        }
        if p99 > limit {
            wrong.push(format!("{}: p99 of finality is {p99:?}, at most {limit:?}", window.name));
        }
        if let Some(refused) = refused {
            wrong.push(format!("{}: a user's transaction was not taken: {:?}", window.name, refused.answer));
        }
    }
    wrong
}

/// Waits for every accepted transaction and checks that each is final exactly once.
async fn settle(transfers: &[Transfer], sent: &[Sent], nodes: &[String], watch: &Watch) -> Vec<String> {
    load::close_gaps(transfers, sent, nodes).await.unwrap();
    let accepted = transfers.iter().zip(sent).filter(|(_, sent)| sent.answer == Answer::Accepted);
    let accepted: Vec<B256> = accepted.map(|(transfer, _)| transfer.hash).collect();
    watch.until_final(&accepted, Duration::from_secs(20)).await;
    match tally::check(transfers, sent, &watch.seen(), true) {
        Ok(tally) => {
            eprintln!("{} accepted, {} refused, {} in blocks", tally.accepted, tally.refused, tally.included);
            Vec::new()
        }
        Err(wrong) => vec![wrong],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_strangers_change_nothing() {
    let form = Form::from_environment();
    let accounts = Accounts::new(&form);
    let count = (form.longest().as_secs() * u64::from(form.rate)) as usize;
    let transfers = Arc::new(load::sign_all(&accounts.users, count, TERMS));
    let mut town = Town::start(&accounts, &form).await;

    let begin = Arc::new(OnceLock::new());
    let positions = transfers.iter().enumerate().map(|(index, transfer)| (transfer.hash, index)).collect();
    let users = Handed { positions, rate: form.rate, lead: Arc::clone(&begin) };
    let (ground, head) = prepare(&town, &accounts, &form, users).await;
    let ground = Arc::new(ground);

    let watch = Arc::new(Watch::start(&town.cluster.members[0].rpc.replacen("http", "ws", 1)).await.unwrap());
    let following = Arc::clone(&watch);
    let follower = tokio::spawn(async move {
        loop {
            let height = following.look(|seen| seen.blocks.last().map_or(0, |block| block.number));
            head.store(height, Ordering::Release);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let lead = *begin.get_or_init(|| Instant::now() + Duration::from_millis(200));
    let plan = load::Plan { nodes: town.rpcs(), rate: form.rate, connections: 4 };
    let sender = {
        let (transfers, plan, stop) = (Arc::clone(&transfers), plan.clone(), Arc::clone(&stop));
        tokio::spawn(async move { load::send(transfers, &plan, lead, stop).await.unwrap() })
    };

    let mut windows = Vec::new();
    let calm = town.look().await;
    let from = Instant::now();
    tokio::time::sleep(form.baseline).await;
    windows.push(Window { name: "calm".into(), from, to: Instant::now() });
    let later = town.look().await;
    let growth = calm.iter().zip(&later).map(|(a, b)| b.memory.saturating_sub(a.memory)).max().unwrap_or(0);
    let mut wrong = Vec::new();
    for attack in &form.attacks {
        let (window, found) = suffer(&mut town, *attack, &ground, &form, growth).await;
        windows.push(window);
        wrong.extend(found.into_iter().map(|text| format!("{}: {text}", attack.name())));
        // Whoever was started anew or lost is back before the next.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    stop.store(true, Ordering::Release);
    let sent = sender.await.unwrap();
    assert!(sent.last().is_some_and(|last| last.answer == Answer::Unsent), "transactions were sent until the end");
    wrong.extend(settle(&transfers, &sent, &plan.nodes, &watch).await);
    wrong.extend(judge(&windows, &transfers, &sent, &watch));
    follower.abort();
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
