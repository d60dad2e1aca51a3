//! Connections to peers that read nothing, and from such as say what they like below the multiplexer.

use super::*;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::Multiaddr;
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerExt;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::task::JoinHandle;

/// A connection as it is below the multiplexer; as a multiplexed one it does nothing: its peer is stuck.
struct Raw<C>(C);

impl<C: Unpin> StreamMuxer for Raw<C> {
    type Substream = futures::io::Cursor<Vec<u8>>;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Poll::Pending
    }

    fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Poll::Pending
    }
}

/// Agrees on yamux and leaves the connection as it is.
#[derive(Clone, Copy)]
struct AsItIs;

impl UpgradeInfo for AsItIs {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: Unpin> InboundConnectionUpgrade<C> for AsItIs {
    type Output = Raw<C>;
    type Error = Infallible;
    type Future = Ready<Result<Raw<C>, Infallible>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Raw(io)))
    }
}

impl<C: Unpin> OutboundConnectionUpgrade<C> for AsItIs {
    type Output = Raw<C>;
    type Error = Infallible;
    type Future = Ready<Result<Raw<C>, Infallible>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Raw(io)))
    }
}

#[tokio::test]
async fn a_connection_closes_though_its_peer_reads_nothing() {
    let muxer = TimelyClose::new(StreamMuxerBox::new(Raw(())), Duration::from_millis(50));
    let closed = tokio::time::timeout(Duration::from_secs(10), muxer.close()).await.expect("it ends");
    assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

/// A node's end of a connection: the first stream is read up to a limit that may be raised, the others not at all.
struct Victim {
    read: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Victim {
    fn new(accept: impl Future<Output = StreamMuxerBox> + Send + 'static) -> Self {
        let (read, limit) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let over = Arc::new(AtomicBool::new(false));
        let (counter, bound, end) = (Arc::clone(&read), Arc::clone(&limit), Arc::clone(&over));
        let task = tokio::spawn(async move {
            let mut muxer = accept.await;
            let mut streams: Vec<SubstreamBox> = Vec::new();
            let mut buffer = vec![0; 64 * 1024];
            let turn = poll_fn(|cx| {
                if let Poll::Ready(Err(_)) = muxer.poll_unpin(cx) {
                    return Poll::Ready(());
                }
                while let Poll::Ready(Ok(stream)) = muxer.poll_inbound_unpin(cx) {
                    streams.push(stream);
                }
                if let Some(stream) = streams.first_mut() {
                    while counter.load(Ordering::SeqCst) < bound.load(Ordering::SeqCst)
                        && let Poll::Ready(Ok(count)) = Pin::new(&mut *stream).poll_read(cx, &mut buffer)
                    {
                        counter.fetch_add(count, Ordering::SeqCst);
                    }
                }
                // The limit is raised by somebody who wakes nobody.
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            turn.await;
            end.store(true, Ordering::SeqCst);
        });
        Self { read, limit, over, task }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection through the transport, raw on the stranger's side.
async fn connected() -> (Victim, impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let mut ours = tcp(&identity::Keypair::generate_ed25519()).unwrap();
    ours.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address: Multiaddr = loop {
        if let TransportEvent::NewAddress { listen_addr, .. } = ours.select_next_some().await {
            break listen_addr;
        }
    };
    let key = identity::Keypair::generate_ed25519();
    let mut theirs = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(AsItIs);
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let dial = theirs.dial(address, options).unwrap();
    let (taken, accepted) = tokio::sync::oneshot::channel();
    let victim = Victim::new(async { accepted.await.unwrap() });
    // The last that is agreed on is agreed on when the stranger speaks first.
    tokio::spawn(async move {
        loop {
            if let TransportEvent::Incoming { upgrade, .. } = ours.select_next_some().await {
                let _ = taken.send(upgrade.await.unwrap().1);
                break;
            }
        }
    });
    let (_, Raw(io)) = dial.await.unwrap();
    (victim, io)
}

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const OPENS: u16 = 1;
const ANSWERS: u16 = 2;

fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

/// Reads what the node says: what it lets the first stream send, and the first ping, which is answered late.
async fn listen(
    mut reader: impl AsyncRead + Unpin,
    credit: Arc<AtomicUsize>,
    ping: tokio::sync::oneshot::Sender<u32>,
) -> io::Result<()> {
    let mut ping = Some(ping);
    loop {
        let mut bytes = [0; 12];
        reader.read_exact(&mut bytes).await?;
        let length = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        match bytes[1] {
            WINDOW_UPDATE if bytes[7] == 1 => {
                credit.fetch_add(length as usize, Ordering::SeqCst);
            }
            PING if bytes[3] == OPENS as u8 => {
                let _ = ping.take().map(|ping| ping.send(length));
            }
            DATA => {
                let mut body = vec![0; length as usize];
                reader.read_exact(&mut body).await?;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_that_it_is_far_away_is_not_let_send_what_it_likes() {
    const READ: usize = 24 << 20;
    let (victim, io) = connected().await;
    let (reader, mut writer) = io.split();
    let credit = Arc::new(AtomicUsize::new(256 * 1024));
    let (pinged, ping) = tokio::sync::oneshot::channel();
    let listener = tokio::spawn(listen(reader, Arc::clone(&credit), pinged));
    writer.write_all(&header(WINDOW_UPDATE, OPENS, 1, 0)).await.unwrap();
    writer.flush().await.unwrap();
    let ping = tokio::time::timeout(Duration::from_secs(10), ping).await.expect("it measures").unwrap();
    // Whatever is read within twenty seconds is read within two round trips then.
    tokio::time::sleep(Duration::from_secs(10)).await;
    writer.write_all(&header(PING, ANSWERS, 0, ping)).await.unwrap();
    victim.limit.store(READ, Ordering::SeqCst);
    let mut sent = 0;
    let mut idle = 0;
    // Until it is let send nothing more for a while.
    while idle < 100 && !victim.over.load(Ordering::SeqCst) {
        let next = credit.load(Ordering::SeqCst).min(64 * 1024);
        if next == 0 {
            idle += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        idle = 0;
        credit.fetch_sub(next, Ordering::SeqCst);
        writer.write_all(&header(DATA, 0, 1, next as u32)).await.unwrap();
        writer.write_all(&vec![0; next]).await.unwrap();
        writer.flush().await.unwrap();
        sent += next;
    }
    let read = victim.read.load(Ordering::SeqCst);
    assert!(!victim.over.load(Ordering::SeqCst) && read >= READ, "{read} bytes are read");
    let more = sent - read;
    assert!(more <= 5 << 20, "{more} bytes beyond what is read");
    listener.abort();
}

/// Whether the other side took it. Nobody wakes a writer whose connection ends while another task reads from it.
async fn taken(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    let write = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    tokio::time::timeout(Duration::from_secs(5), write).await.is_ok_and(|written| written.is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_full_of_the_smallest_frames_end_the_connection() {
    let (victim, io) = connected().await;
    let (reader, mut writer) = io.split();
    let (pinged, _ping) = tokio::sync::oneshot::channel();
    let listener = tokio::spawn(listen(reader, Arc::default(), pinged));
    let mut sent = 0;
    'streams: for stream in (1..80).step_by(2) {
        let _ = taken(&mut writer, &header(WINDOW_UPDATE, OPENS, stream, 0)).await;
        let mut frame = header(DATA, 0, stream, 1);
        frame.push(7);
        // A window.
        for _ in 0..256 {
            if victim.over.load(Ordering::SeqCst) || !taken(&mut writer, &frame.repeat(1_024)).await {
                break 'streams;
            }
            sent += 1_024;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(victim.over.load(Ordering::SeqCst), "{sent} frames are held");
    // What is on its way is not held.
    assert!(sent < 1_000_000, "{sent} frames");
    listener.abort();
}
