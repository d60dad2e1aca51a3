//! Connections: accepts as many as there are places, ends those that do not move, and tells each request who its client is.

use crate::budget::Client;
use http::{HeaderName, Request};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tower::Service;

/// Rest after a connection could not be accepted: without free file descriptors the next one cannot be, either.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection on which nothing moves for so long is closed. Longer than clients keep theirs for the next request: one that is closed just
/// when a request is under way is an error for its user. A WebSocket's pings move it.
const IDLE: Duration = Duration::from_secs(120);

/// A connection whose reader takes nothing of what is written for so long is closed, whatever it sends.
const UNREAD: Duration = Duration::from_secs(60);

/// Places for connections, of all clients and of each.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// Most of one client; 0 for any number.
    per_client: u32,
    clients: Arc<Mutex<HashMap<Client, u32>>>,
}

impl Places {
    pub(crate) fn new(all: u32, per_client: u32) -> Self {
        Self { all: Arc::new(Semaphore::new(all as usize)), per_client, clients: Arc::default() }
    }

    /// A place of a client; none when it has as many as it may.
    fn of(&self, client: Client, permit: OwnedSemaphorePermit) -> Option<Place> {
        let mut clients = self.clients.lock();
        let count = clients.entry(client).or_default();
        if self.per_client > 0 && *count >= self.per_client {
            return None;
        }
        *count += 1;
        Some(Place { client, clients: Arc::clone(&self.clients), _permit: permit })
    }
}

/// A connection's place, free again when it is dropped.
struct Place {
    client: Client,
    clients: Arc<Mutex<HashMap<Client, u32>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.clients.lock();
        match clients.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(clients.remove(&self.client)),
        }
    }
}

/// The next connection and whose it is. While all places are taken, further connections wait outside.
pub(crate) async fn accept(listener: &TcpListener, places: &Places) -> (Socket, SocketAddr) {
    loop {
        let Ok(permit) = Arc::clone(&places.all).acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((socket, peer)) => {
                // Answers are small and wanted at once. A socket that is closed already says so when it is served.
                let _ = socket.set_nodelay(true);
                if let Some(place) = places.of(peer.ip().into(), permit) {
                    return (Socket::new(socket, place), peer);
                }
                tracing::debug!(%peer, "a client has too many connections");
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A socket that fails when nothing moves for long.
pub(crate) struct Socket {
    socket: TcpStream,
    idle: Pin<Box<Sleep>>,
    /// Runs while something waits to be written.
    unread: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Socket {
    fn new(socket: TcpStream, place: Place) -> Self {
        Self { socket, idle: Box::pin(tokio::time::sleep(IDLE)), unread: None, _place: place }
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE);
    }

    /// What a write has come to.
    fn written<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.unread = None;
            self.moved();
            return result;
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD)));
        unread.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_read(context, buffer);
        if result.is_ready() {
            self.moved();
            return result;
        }
        self.idle.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(context, pieces);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// A connection's service, which learns with each request who its client is.
#[derive(Clone, Debug)]
pub(crate) struct Known<S> {
    pub(crate) service: S,
    /// Who connected.
    pub(crate) peer: IpAddr,
    /// Where a proxy before this server writes who connected to it.
    pub(crate) header: Option<HeaderName>,
}

impl<S> Known<S> {
    fn client<B>(&self, request: &Request<B>) -> Client {
        // Proxies append to what they were sent, so that the last entry is the one that the nearest of them wrote.
        let named = self.header.as_ref().and_then(|header| {
            let value = request.headers().get_all(header).iter().next_back()?.to_str().ok()?;
            value.rsplit(',').next()?.trim().parse::<IpAddr>().ok()
        });
        named.unwrap_or(self.peer).into()
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Known<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let client = self.client(&request);
        request.extensions_mut().insert(client);
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time runs on by itself while nothing moves.
    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_moves_ends_and_one_that_is_not_read_sooner() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = Places::new(4, 0);
        let mut silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut socket, _) = accept(&listener, &places).await;
        silent.write_all(b"x").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'x');
        let start = Instant::now();
        assert_eq!(socket.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!((IDLE..IDLE * 2).contains(&start.elapsed()));

        // The other side takes nothing, but goes on to send.
        let unread = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = accept(&listener, &places).await;
        let (mut read, mut write) = tokio::io::split(socket);
        let (_kept, mut sending) = unread.into_split();
        tokio::spawn(async move {
            while sending.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        tokio::spawn(async move { while read.read_u8().await.is_ok() {} });
        let piece = vec![0; 1 << 20];
        let failed = loop {
            if let Err(error) = write.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        assert_eq!(places.all.available_permits(), 2, "both sockets are still held here");
    }

    #[test]
    fn a_client_is_who_connected_or_who_the_proxy_says() {
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        let request = |values: &[&str]| {
            let mut request = Request::builder();
            for value in values {
                request = request.header("x-forwarded-for", *value);
            }
            request.body(()).unwrap()
        };
        let of = |text: &str| Client::from(text.parse::<IpAddr>().unwrap());
        let direct = Known { service: (), peer, header: None };
        assert_eq!(direct.client(&request(&["192.0.2.1"])), of("127.0.0.1"), "anybody can write a header");
        let behind = Known { header: Some(HeaderName::from_static("x-forwarded-for")), ..direct };
        assert_eq!(behind.client(&request(&["192.0.2.1"])), of("192.0.2.1"));
        assert_eq!(behind.client(&request(&["198.51.100.7, 192.0.2.1"])), of("192.0.2.1"), "the proxy's is the last");
        assert_eq!(behind.client(&request(&["198.51.100.7", "192.0.2.1"])), of("192.0.2.1"));
        assert_eq!(behind.client(&request(&["unknown"])), of("127.0.0.1"));
        assert_eq!(behind.client(&request(&[])), of("127.0.0.1"));
    }
}
