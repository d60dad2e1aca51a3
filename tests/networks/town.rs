//! Honest nodes that strangers attack: what they are like before and after.

use crate::cluster::{Cluster, Plan};
use crate::form::{Accounts, Form};
use crate::harness::until;
use bttc_bench::process::usage;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// By how much the memory of a node may be more after an attack than before, beyond what it grew by without one.
const MEMORY_GROWTH: u64 = 64 << 20;
/// How long a validator that starts anew may take until it has all its peers.
pub(crate) const RETURN: Duration = Duration::from_secs(30);

/// What a node was like at one time.
pub(crate) struct Look {
    /// Those of the honest nodes that it is connected with.
    peers: BTreeSet<String>,
    pub(crate) memory: u64,
    log: usize,
}

/// Validators and a sentry, each connected with each.
pub(crate) struct Town {
    pub(crate) cluster: Cluster,
    /// Identity and name of every node.
    honest: BTreeMap<String, String>,
    /// The validator that is started anew.
    restarted: usize,
}

impl Town {
    pub(crate) async fn start(accounts: &Accounts, form: &Form) -> Self {
        let flags: Vec<&str> =
            accounts.genesis.iter().map(String::as_str).chain(form.genesis().iter().copied()).collect();
        let pool = form.pool.map(|places| places.to_string());
        let settings: Vec<(&str, &str)> =
            pool.iter().map(|places| ("BTTC_POOL_MAX_TRANSACTIONS", places.as_str())).collect();
        let (preset, validators) = (Some(form.preset), form.validators);
        let plan = Plan { preset, validators, genesis: &flags, settings: &settings, ..Plan::default() };
        let mut cluster = Cluster::new(&plan);
        let addresses: Vec<String> = cluster.members.iter().map(|member| member.multiaddress()).collect();
        cluster.add("sentry", &addresses, &[("BTTC_NODE_ROLE", "sentry")]);
        let all: Vec<String> = cluster.members.iter().map(|member| member.multiaddress()).collect();
        for index in 0..form.validators {
            let others: Vec<String> =
                all.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, peer)| peer.clone()).collect();
            cluster.members[index].set("BTTC_P2P_PERSISTENT_PEERS", &others.join(","));
        }
        cluster.start_all();
        let honest = cluster.members.iter().map(|member| (member.peer_id.clone(), member.name.clone())).collect();
        let town = Self { cluster, honest, restarted: form.restarted() };
        until("blocks, and everybody knows everybody", 90, async || town.is_whole().await).await;
        town
    }

    /// How many honest peers a node has when it has all.
    fn others(&self) -> usize {
        self.honest.len() - 1
    }

    async fn is_whole(&self) -> bool {
        for index in 0..self.cluster.members.len() {
            let height = crate::joining::client_height(&self.cluster.members[index].client()).await;
            if height.is_none_or(|height| height < 3) || self.peers(index).await.len() != self.others() {
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

    pub(crate) async fn look(&self) -> Vec<Look> {
        let mut looks = Vec::new();
        for (index, member) in self.cluster.members.iter().enumerate() {
            let peers = self.peers(index).await;
            let memory = usage(member.pid()).unwrap().memory_bytes;
            looks.push(Look { peers, memory, log: member.log().len() });
        }
        looks
    }

    /// CPU seconds of all nodes since they were started.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.cluster.members.iter().filter_map(|member| usage(member.pid()).ok()).map(|usage| usage.cpu_seconds).sum()
    }

    /// RPC addresses of the nodes that users send to.
    pub(crate) fn rpcs(&self) -> Vec<String> {
        let members = self.cluster.members.iter().enumerate();
        members.filter(|(index, _)| *index != self.restarted).map(|(_, member)| member.rpc.clone()).collect()
    }

    /// What has changed that must not. The node that was started anew has lost its connections and its memory.
    pub(crate) fn compare(&self, before: &[Look], after: &[Look], growth: u64, restarted: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let skipped = restarted.then(|| self.cluster.members[self.restarted].name.as_str());
        for ((member, before), after) in self.cluster.members.iter().zip(before).zip(after) {
            let name = &member.name;
            if after.peers.len() < self.others() {
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
    pub(crate) async fn restart(&mut self) -> Option<String> {
        let member = &mut self.cluster.members[self.restarted];
        member.kill();
        // Strangers are quicker: they take the places that it leaves.
        tokio::time::sleep(Duration::from_secs(1)).await;
        member.start();
        let began = Instant::now();
        while began.elapsed() < RETURN {
            if self.peers(self.restarted).await.len() == self.others() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let peers = self.peers(self.restarted).await;
        Some(format!("the validator that was started anew has {peers:?} after {} s", RETURN.as_secs()))
    }
}
