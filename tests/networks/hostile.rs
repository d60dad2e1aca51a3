//! Strangers attack validators and the sentry before them while users' transactions flow. Whatever they do: every accepted
//! transaction is final exactly once and about as fast as without them, honest nodes stay connected with each other, and memory
//! stays where it is.

use crate::attacks::{self, Attack, Ground, Raid};
use crate::form::{Accounts, Form};
use crate::harness::{call, until};
use crate::stranger::Victim;
use crate::town::Town;
use alloy_primitives::B256;
use bttc_bench::load::{self, Answer, Sender, Sent, Terms, Transfer};
use bttc_bench::process::usage;
use bttc_bench::tally;
use bttc_bench::watch::Watch;
use bttc_types::SigningDomain;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A stretch of time.
struct Window {
    name: String,
    from: Instant,
    to: Instant,
}

/// A transaction that must be taken by this node.
async fn submit(town: &Town, index: usize, bytes: &[u8]) {
    let raw = alloy_primitives::hex::encode_prefixed(bytes);
    call(&town.cluster.members[index].client(), "eth_sendRawTransaction", json!([raw])).await;
}

/// Puts large transactions into blocks; the height before the first.
async fn large_blocks(town: &Town, sender: &Sender, terms: Terms) -> u64 {
    const COUNT: u64 = 12;
    let client = town.cluster.members[0].client();
    let before = crate::harness::height(&client).await;
    let mut last = B256::ZERO;
    for nonce in 0..COUNT {
        let (hash, bytes) = load::sign(sender, nonce, vec![0; 120_000], 2_000_000, terms);
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
    let terms = form.terms();
    // The sentry is the last one, and takes strangers.
    let sentry = town.cluster.members.last().unwrap();
    let asked = Victim::ask(&sentry.name, &sentry.multiaddress(), terms.chain_id, genesis).await;
    let victims =
        town.cluster.members.iter().map(|member| asked.beside(&member.name, &member.multiaddress())).collect();
    // They wait for as long as the network runs.
    let mut markers = HashMap::new();
    for nonce in 1..=8 {
        let (hash, bytes) = load::sign(&accounts.marker, nonce, Vec::new(), 21_000, terms);
        submit(town, 0, &bytes).await;
        markers.insert(hash, Instant::now());
    }
    let dear = Terms { fee_cap: 1_000 * terms.fee_cap, ..terms };
    let gapped = accounts
        .gapped
        .iter()
        .flat_map(|sender| (1..=form.gapped.1).map(|nonce| load::sign(sender, nonce, Vec::new(), 21_000, dear).1))
        .collect();
    let unpayable = accounts
        .poor
        .iter()
        .flat_map(|sender| (0..16).map(|nonce| load::sign(sender, nonce, vec![1; 8 << 10], 500_000, terms).1))
        .collect();
    let head = Arc::new(AtomicU64::new(0));
    let ground = Ground {
        victims,
        domain: SigningDomain::new(terms.chain_id, genesis),
        head: Arc::clone(&head),
        unpayable,
        unpayable_bytes: form.unpayable_bytes,
        gapped,
        large_blocks: large_blocks(town, &accounts.large, terms).await,
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
            Attack::Silent => *index != form.restarted(),
            Attack::Identities => victim.name == "sentry",
            _ => true,
        })
        .map(|(_, victim)| victim.clone())
        .collect();
    let cpu = (town.cpu_seconds(), usage(std::process::id()).map_or(0.0, |usage| usage.cpu_seconds));
    let raid: Raid = attacks::launch(attack, ground, &victims);
    tokio::time::sleep(form.attack).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !raid.is_under_way() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let window = Window { name: attack.name(), from, to: Instant::now() };
    let spent = town.cpu_seconds() - cpu.0;
    let own = usage(std::process::id()).map_or(0.0, |usage| usage.cpu_seconds) - cpu.1;
    let mut wrong = Vec::new();
    if restarts {
        // A validator that is away makes heights take longer by itself: not those of this window, nor of the next.
        tokio::time::sleep(form.settle).await;
        wrong.extend(town.restart().await);
        tokio::time::sleep(form.settle).await;
    }
    if !raid.is_under_way() {
        wrong.push("the attack did not come to what it is about".into());
    }
    let after = town.look().await;
    wrong.extend(raid.violations());
    eprintln!(
        "{}: {}; CPU {spent:.1} s of the nodes, {own:.1} s of strangers and users",
        attack.name(),
        raid.summary()
    );
    drop(raid);
    wrong.extend(town.compare(&before, &after, growth, restarts));
    (window, wrong)
}

/// Says for each window how fast transactions were final, and what is wrong.
fn judge(form: &Form, windows: &[Window], transfers: &[Transfer], sent: &[Sent], watch: &Watch) -> Vec<String> {
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
            limit = 2 * p99.max(form.floor);
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
    let transfers = Arc::new(load::sign_all(&accounts.users, count, form.terms()));
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
    wrong.extend(judge(&form, &windows, &transfers, &sent, &watch));
    follower.abort();
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
