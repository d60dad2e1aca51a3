//! TCP with noise and yamux, made so that closing a connection ends.

use crate::Error;
use futures::FutureExt;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::{PeerId, Transport, identity, noise, tcp, yamux};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a peer may take part in the closing of its connection. One that reads nothing would hold its place for ever.
const CLOSING: Duration = Duration::from_secs(5);

/// Streams of one connection, both directions: one for gossip, a few for requests, and those of identify and ping, twice
/// that because the multiplexer gives a connection up when there is one more. What a peer can make us hold without our
/// reading it is a window of 256 KiB for each.
pub(crate) const STREAMS: usize = 48;

/// The transport.
///
/// # Errors
/// [`Error::Setup`].
pub(crate) fn tcp(key: &identity::Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Error> {
    let noise = noise::Config::new(key).map_err(|error| Error::Setup(error.to_string()))?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS);
    Ok(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
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
mod tests {
    use super::*;
    use libp2p::core::muxing::StreamMuxerExt;

    /// A connection to a peer that reads nothing any more.
    struct Stuck;

    impl StreamMuxer for Stuck {
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

    #[tokio::test]
    async fn a_connection_closes_though_its_peer_reads_nothing() {
        let muxer = TimelyClose::new(StreamMuxerBox::new(Stuck), Duration::from_millis(50));
        let closed = tokio::time::timeout(Duration::from_secs(10), muxer.close()).await.expect("it ends");
        assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
