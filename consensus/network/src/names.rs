//! Where the peers are that the operator gives by name: they come from there, too.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often names are looked up.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long one name may take.
const LOOKUP: Duration = Duration::from_secs(10);
/// Addresses taken of one name.
const ADDRESSES: usize = 16;

/// The name with which an address begins. One that stands for whole addresses (`dnsaddr`) is none.
pub(crate) fn name_of(address: &Multiaddr) -> Option<String> {
    match address.iter().next()? {
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some(name.into_owned()),
        _ => None,
    }
}

/// Looks names up, now and from time to time, until nobody wants to know any more. A name that cannot be looked up keeps the
/// addresses that it had.
pub(crate) fn look_up(names: HashSet<String>) -> mpsc::Receiver<HashSet<IpAddr>> {
    let (sender, receiver) = mpsc::channel(1);
    if !names.is_empty() {
        tokio::spawn(keep_looking(names, sender));
    }
    receiver
}

async fn keep_looking(names: HashSet<String>, sender: mpsc::Sender<HashSet<IpAddr>>) {
    let mut known: HashMap<&str, Vec<IpAddr>> = HashMap::new();
    loop {
        for name in &names {
            match addresses_of(name).await {
                Ok(addresses) => {
                    known.insert(name, addresses);
                }
                Err(error) => tracing::debug!(name, %error, "a peer's name cannot be looked up"),
            }
        }
        if sender.send(known.values().flatten().copied().collect()).await.is_err() {
            return;
        }
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn addresses_of(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((name, 0))).await??;
    Ok(found.take(ADDRESSES).map(|address| address.ip().to_canonical()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let named: Multiaddr = "/dns4/localhost/tcp/1".parse().unwrap();
        let name = name_of(&named).unwrap();
        assert_eq!(name_of(&"/ip4/127.0.0.1/tcp/1".parse().unwrap()), None);
        let mut found = look_up(HashSet::from([name]));
        let found = tokio::time::timeout(Duration::from_secs(20), found.recv()).await.unwrap().unwrap();
        assert!(found.contains(&IpAddr::from([127, 0, 0, 1])) || found.contains(&"::1".parse().unwrap()), "{found:?}");
    }
}
