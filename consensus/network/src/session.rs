//! One peer's stream: hello, then frames in both directions.

use crate::Error;
use crate::codec::{MAX_HELLO_BYTES, read_body, read_frame, write_body, write_frame};
use crate::hello::Hello;
use crate::inflow::{Inflow, Place};
use crate::lane::Lane;
use crate::outbox::Outbox;
use crate::router::PeerId64;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the exchange of hellos may take.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one write may take. A peer that does not read for so long is disconnected: it would only see stale votes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Frames between two flushes: at most 4 MiB, so that the timeout is about the peer and not about our load.
const BATCH: usize = 63;

/// What a session reports.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// A frame came.
    Frame { from: SessionKey, lane: Lane, bytes: Vec<u8>, place: Place },
    /// It is over.
    Ended { from: SessionKey, error: Option<Error> },
}

/// A stream's name: a peer opens several, one after another, and what comes of an old one is not of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionKey {
    pub(crate) peer: PeerId64,
    pub(crate) session: u64,
}

/// Exchanges hellos on a new stream.
pub(crate) async fn exchange_hello(stream: &mut Stream, ours: &Hello) -> Result<Hello, Error> {
    let exchange = async {
        let broken = |error: std::io::Error| Error::Connection(error.to_string());
        write_body(stream, &alloy_rlp::encode(ours)).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let bytes = read_body(stream, MAX_HELLO_BYTES).await.map_err(broken)?;
        Hello::decode_exact(&bytes)
    };
    match tokio::time::timeout(HELLO_TIMEOUT, exchange).await {
        Ok(result) => result,
        Err(_) => Err(Error::Connection("no hello in time".into())),
    }
}

/// Runs a session until the stream ends, the outbox is closed or the inflow is void. Frames are read as fast as the inflow
/// lets them in, so that a peer that says too much waits, and nobody else.
pub(crate) fn spawn(
    from: SessionKey,
    peer: PeerId,
    stream: Stream,
    inflow: Arc<Inflow>,
    outbox: Arc<Outbox>,
    events: mpsc::Sender<SessionEvent>,
) {
    let (mut reader, mut writer) = stream.split();
    let writing = Arc::clone(&outbox);
    let write = async move {
        while let Some(first) = writing.next().await {
            let mut next = Some(first);
            let batch = async {
                // Some of what waits goes out together, the highest lane first each time; not all of it, because under
                // load there is always more.
                for _ in 0..BATCH {
                    let Some((lane, bytes)) = next.take() else { break };
                    write_frame(&mut writer, lane, &bytes).await?;
                    next = writing.try_next();
                }
                if let Some((lane, bytes)) = next.take() {
                    write_frame(&mut writer, lane, &bytes).await?;
                }
                writer.flush().await
            };
            match tokio::time::timeout(WRITE_TIMEOUT, batch).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Some(Error::Connection(error.to_string())),
                Err(_) => return Some(Error::Connection("the peer does not read".into())),
            }
        }
        let _ = writer.close().await;
        None
    };
    let reading = events.clone();
    let read = async move {
        while !inflow.is_void() {
            let (lane, bytes) = match read_frame(&mut reader).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => return Some(error),
            };
            let Some(place) = inflow.enter(lane).await else { continue };
            if reading.send(SessionEvent::Frame { from, lane, bytes, place }).await.is_err() {
                return None;
            }
        }
        None
    };
    tokio::spawn(async move {
        let error = tokio::select! {
            error = write => error,
            error = read => error,
        };
        outbox.close();
        tracing::debug!(%peer, session = from.session, ?error, "session ended");
        let _ = events.send(SessionEvent::Ended { from, error }).await;
    });
}
