//! Yamux with a bound on what a peer makes us hold.
//!
//! A stream's window grows with what was read within two round trips, and how long one takes is what the peer says by
//! answering late: without a bound of ours the windows of one connection grow to 1 GiB.

use crate::holdings::{Counted, Holdings};
use futures::{AsyncRead, AsyncWrite, ready};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready as at_once};
use std::io;
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use yamux::{Config, Connection, ConnectionError, Mode};

/// Streams that are over are forgotten a moment later: so many times those that may be open may be known.
const SLACK: usize = 4;

/// Makes connections into [`Muxer`]s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multiplexer {
    /// Streams of one connection, both directions. One more is refused, and too many of those end the connection.
    pub(crate) streams: usize,
    /// Bytes that one connection may hold unread: 256 KiB for each stream at least, which is where every window begins.
    pub(crate) held: usize,
}

impl Multiplexer {
    fn start<C: AsyncRead + AsyncWrite + Unpin>(self, io: C, mode: Mode) -> Muxer<C> {
        let mut config = Config::default();
        config.set_max_num_streams(self.streams);
        config.set_max_connection_receive_window(Some(self.held));
        let holdings = Holdings::new(self.held, SLACK * self.streams);
        let connection = Connection::new(Counted::new(io, holdings.clone()), config, mode);
        Muxer { connection, holdings, arrived: VecDeque::new(), waker: None }
    }
}

impl UpgradeInfo for Multiplexer {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Multiplexer {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        at_once(Ok(self.start(io, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Multiplexer {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        at_once(Ok(self.start(io, Mode::Client)))
    }
}

/// A multiplexed connection.
#[derive(Debug)]
pub(crate) struct Muxer<C> {
    connection: Connection<Counted<C>>,
    holdings: Holdings,
    /// Streams that came while nobody asked for one: yamux moves only when it is asked. There are never more than yamux
    /// lets a connection have.
    arrived: VecDeque<Stream>,
    /// Who waits for one.
    waker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let next = ready!(self.connection.poll_next_inbound(cx));
        let stream = next.unwrap_or(Err(ConnectionError::Closed)).map_err(in_io)?;
        Poll::Ready(Ok(Stream { inner: stream, holdings: self.holdings.clone() }))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        if let Some(stream) = self.arrived.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.poll_connection(cx);
        if next.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let stream = ready!(self.connection.poll_new_outbound(cx)).map_err(in_io)?;
        self.holdings.opened(stream.id().val());
        Poll::Ready(Ok(Stream { inner: stream, holdings: self.holdings.clone() }))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_close(cx).map_err(in_io)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let stream = ready!(self.poll_connection(cx))?;
        self.arrived.push_back(stream);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        // Others have their turn before the next one.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn in_io(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// A stream of a [`Muxer`].
#[derive(Debug)]
pub(crate) struct Stream {
    inner: yamux::Stream,
    holdings: Holdings,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.holdings.gave_up(self.inner.id().val());
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.holdings.read(self.inner.id().val(), read);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
