//! Connections: accepts them, and tells each request who its client is.

use crate::budget::Client;
use http::{HeaderName, Request};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

/// Rest after a connection could not be accepted: without free file descriptors the next one cannot be, either.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The next connection and whose it is.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                // Answers are small and wanted at once. A socket that is closed already says so when it is served.
                let _ = socket.set_nodelay(true);
                return (socket, peer);
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
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
