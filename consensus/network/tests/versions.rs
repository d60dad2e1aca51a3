//! Nodes of other versions are refused by name.

mod harness;

use bttc_network::{Keypair, NetworkConfig, PROTOCOL_VERSION};
use futures::StreamExt;
use harness::{Service, Stranger, exchange, hello, is_closed, until};
use libp2p::swarm::SwarmEvent;
use libp2p::{StreamProtocol, SwarmBuilder, identify, noise, tcp, yamux};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps what is logged as warnings and errors.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn contains(&self, text: &str) -> bool {
        self.0.lock().unwrap().contains(text)
    }
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut Line(&mut text));
        text.push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What a node of version 1 answers.
#[derive(libp2p::swarm::NetworkBehaviour)]
struct Old {
    stream: libp2p_stream::Behaviour,
    identify: identify::Behaviour,
}

/// A node of version 1 that dials, again and again as nodes do, and what it is told of the other side.
fn old_node(address: &bttc_network::Multiaddr) -> (tokio::task::JoinHandle<()>, Arc<Mutex<Vec<String>>>) {
    let mut swarm = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Old {
            stream: libp2p_stream::Behaviour::new(),
            identify: identify::Behaviour::new(identify::Config::new("/bttc/1".into(), key.public())),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let mut streams = swarm.behaviour().stream.new_control().accept(StreamProtocol::new("/bttc/gossip/1")).unwrap();
    swarm.dial(address.clone()).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (tell, address) = (Arc::clone(&told), address.clone());
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                event = swarm.select_next_some() => match event {
                    SwarmEvent::Behaviour(OldEvent::Identify(identify::Event::Received { info, .. })) => {
                        tell.lock().unwrap().push(info.protocol_version);
                    }
                    // It may have been refused before our answer was read.
                    SwarmEvent::ConnectionClosed { .. } => {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        swarm.dial(address.clone()).unwrap();
                    }
                    _ => {}
                },
                _ = streams.next() => {}
            }
        }
    });
    (task, told)
}

// One thread, so that the subscriber of this thread hears the service.
#[tokio::test]
async fn a_node_of_version_1_is_refused_by_name() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let victim = Service::new(NetworkConfig::default());
    let (task, told) = old_node(&victim.address().await);
    until("it is refused", async || log.contains("it speaks another version")).await;
    assert!(log.contains("theirs=\"/bttc/1\" ours=\"/bttc/2\""), "{}", log.0.lock().unwrap());
    until("it is told, too", async || told.lock().unwrap().iter().any(|version| version == "/bttc/2")).await;
    assert_eq!(victim.sessions().await, 0);
    task.abort();
}

#[tokio::test]
async fn a_hello_of_another_version_is_refused_by_name_on_both_sides() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let victim = Service::new(NetworkConfig::default());
    let address = victim.address().await;
    let mut stranger = Stranger::new(&address, victim.id());
    let mut stream = stranger.open().await.expect("a stream");
    let theirs = exchange(&mut stream, &hello(PROTOCOL_VERSION + 1)).await.expect("our side is told, too");
    assert_eq!(bttc_network::Hello::decode_exact(&theirs).map(|hello| hello.version), Ok(PROTOCOL_VERSION));
    assert!(is_closed(&mut stream).await);
    until("it is refused", async || log.contains("protocol version is 3, ours is 2")).await;
    assert_eq!(victim.sessions().await, 0);
}
