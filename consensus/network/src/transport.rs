//! TCP with noise and yamux, made so that closing a connection ends.

use crate::Error;
use crate::multiplexer::Multiplexer;
use futures::FutureExt;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::{PeerId, Transport, identity, noise, tcp};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a peer may take part in the closing of its connection. One that reads nothing would hold its place for ever.
const CLOSING: Duration = Duration::from_secs(5);

/// Streams of one connection, both directions: one for gossip, a few for requests, and those of identify and ping, twice
/// that because the multiplexer gives a connection up when there is one more.
pub(crate) const STREAMS: usize = 48;

/// Bytes of one connection that we hold though we did not read them: the window of 256 KiB with which every stream begins,
/// and 4 MiB by which those may grow that are read fast.
pub(crate) const HELD: usize = STREAMS * 256 * 1024 + (4 << 20);

/// The transport.
///
/// # Errors
/// [`Error::Setup`].
pub(crate) fn tcp(key: &identity::Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Error> {
    let noise = noise::Config::new(key).map_err(|error| Error::Setup(error.to_string()))?;
    Ok(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Multiplexer { streams: STREAMS, held: HELD })
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(TimelyClose::new(StreamMuxerBox::new(muxer), CLOSING))))
        .boxed())
}

/// A connection whose closing takes no longer than `limit`.
struct TimelyClose {
    inner: StreamMuxerBox,
    limit: Duration,
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl TimelyClose {
    fn new(inner: StreamMuxerBox, limit: Duration) -> Self {
        Self { inner, limit, deadline: None }
    }
}

impl StreamMuxer for TimelyClose {
    type Substream = SubstreamBox;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        Pin::new(&mut self.inner).poll_inbound(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        Pin::new(&mut self.inner).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = Pin::new(&mut self.inner).poll_close(cx) {
            return Poll::Ready(result);
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        deadline.poll_unpin(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests;
