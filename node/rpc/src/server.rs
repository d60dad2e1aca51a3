//! The server: one port for HTTP and WebSocket.

use crate::budget::Budgets;
use crate::config::NAMESPACES;
use crate::context::RpcContext;
use crate::errors::Error;
use crate::gate::{CALLS_AT_ONCE, Gate};
use crate::listen::{Known, Places, accept};
use http::HeaderName;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::core::middleware::RpcServiceBuilder;
use jsonrpsee::core::traits::IdProvider;
use jsonrpsee::server::middleware::http::HostFilterLayer;
use jsonrpsee::server::{
    BatchRequestConfig, PingConfig, Server, ServerConfig, ServerHandle, serve_with_graceful_shutdown, stop_channel,
};
use jsonrpsee::types::{ErrorObjectOwned, SubscriptionId};
use jsonrpsee::{Methods, RpcModule};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Messages that wait to be written to a WebSocket connection; whoever makes the next one waits.
const MESSAGES_IN_FLIGHT: u32 = 64;

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct RpcServer {
    handle: ServerHandle,
    address: SocketAddr,
}

impl RpcServer {
    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits for requests in flight.
    pub async fn stop(self) {
        if self.handle.stop().is_ok() {
            self.handle.stopped().await;
        }
    }
}

/// Subscription ids as Ethereum's tools expect them: hex strings. They cannot be guessed from one another.
#[derive(Debug, Default)]
struct HexIds {
    state: RandomState,
    next: AtomicU64,
}

impl IdProvider for HexIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (self.state.hash_one((number, 0)), self.state.hash_one((number, 1)));
        format!("0x{high:016x}{low:016x}").into()
    }
}

/// All methods.
fn module(context: RpcContext) -> Result<RpcModule<RpcContext>, RegisterMethodError> {
    let mut module = RpcModule::new(context);
    crate::blocks::register(&mut module)?;
    crate::state::register(&mut module)?;
    crate::send::register(&mut module)?;
    crate::fees::register(&mut module)?;
    crate::logs::register(&mut module)?;
    crate::txpool::register(&mut module)?;
    crate::bttc::register(&mut module)?;
    crate::staking::register(&mut module)?;
    crate::bridge::register(&mut module)?;
    crate::subscriptions::register(&mut module)?;
    crate::watching::register(&mut module)?;
    crate::filters::register(&mut module)?;
    crate::chain::register(&mut module)?;
    crate::simulate::register(&mut module)?;
    crate::debug::register(&mut module)?;
    crate::ranges::register(&mut module)?;
    crate::trace::register(&mut module)?;
    crate::otterscan::register(&mut module)?;
    crate::discover::register(&mut module)?;
    let modules: BTreeMap<String, String> =
        module.method_names().filter_map(|name| Some((name.split_once('_')?.0.to_owned(), "1.0".to_owned()))).collect();
    module.register_method("rpc_modules", move |_, _, _| Ok::<_, ErrorObjectOwned>(modules.clone()))?;
    Ok(module)
}

/// Takes out the methods of namespaces that are not served.
fn restrict(module: &mut RpcModule<RpcContext>, namespaces: &[String]) -> Result<(), Error> {
    if let Some(unknown) = namespaces.iter().find(|name| !NAMESPACES.contains(&name.as_str())) {
        return Err(Error::Config(format!(
            "there is no namespace {unknown:?}: the node knows {}",
            NAMESPACES.join(", ")
        )));
    }
    let served = |name: &str| {
        let space = name.split(['_', '.']).next().unwrap_or(name);
        let space = if space == "erigon" { "ots" } else { space };
        namespaces.iter().any(|namespace| namespace == space)
    };
    let others: Vec<&'static str> = module.method_names().filter(|name| !served(name)).collect();
    for name in others {
        module.remove_method(name);
    }
    Ok(())
}

fn host_filter(hosts: &[String]) -> Result<HostFilterLayer, Error> {
    if hosts.is_empty() {
        return Ok(HostFilterLayer::disable());
    }
    HostFilterLayer::new(hosts.iter().map(String::as_str)).map_err(|error| Error::Config(format!("rpc.hosts: {error}")))
}

fn cors(origins: &[String]) -> Result<Option<CorsLayer>, Error> {
    let allow = if origins.is_empty() {
        return Ok(None);
    } else if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let parsed = origins.iter().map(|origin| {
            origin.parse().map_err(|_| Error::Config(format!("CORS origin {origin:?} is not a header value")))
        });
        AllowOrigin::list(parsed.collect::<Result<Vec<_>, _>>()?)
    };
    Ok(Some(
        CorsLayer::new()
            .allow_origin(allow)
            .allow_methods([http::Method::POST, http::Method::GET])
            .allow_headers([http::header::CONTENT_TYPE]),
    ))
}

/// All methods, for callers without a socket.
///
/// # Errors
/// [`Error::Config`].
pub fn methods(context: RpcContext) -> Result<Methods, Error> {
    Ok(module(context).map_err(|error| Error::Config(error.to_string()))?.into())
}

/// Starts the server.
///
/// # Errors
/// [`Error::Listen`] or [`Error::Config`].
pub async fn start(context: RpcContext) -> Result<RpcServer, Error> {
    start_with(context, Methods::new()).await
}

/// Starts the server with more methods, which go before those of the same name.
///
/// # Errors
/// [`Error::Listen`] or [`Error::Config`].
pub async fn start_with(context: RpcContext, more: Methods) -> Result<RpcServer, Error> {
    let settings = context.config.clone();
    let listen = |error: &dyn std::fmt::Display| Error::Listen {
        address: settings.listen.to_string(),
        reason: error.to_string(),
    };
    let config = ServerConfig::builder()
        .max_request_body_size(settings.max_request_bytes)
        .max_response_body_size(settings.max_response_bytes)
        .max_connections(settings.max_connections)
        .max_subscriptions_per_connection(settings.max_subscriptions)
        .set_batch_request_config(BatchRequestConfig::Limit(settings.max_batch))
        .set_message_buffer_capacity(MESSAGES_IN_FLIGHT)
        .enable_ws_ping(
            PingConfig::new().ping_interval(Duration::from_secs(30)).inactive_limit(Duration::from_secs(90)),
        )
        .set_id_provider(HexIds::default())
        .build();
    let header = settings.client_header.as_deref().map(str::parse::<HeaderName>).transpose();
    let header = header.map_err(|error| Error::Config(format!("rpc.client_header: {error}")))?;
    let middleware =
        tower::ServiceBuilder::new().layer(host_filter(&settings.hosts)?).option_layer(cors(&settings.cors)?);
    let budgets = match settings.client_units_per_second {
        0 => None,
        rate => Some(Arc::new(Budgets::new(rate))),
    };
    let max_response_bytes = settings.max_response_bytes as usize;
    let gate = RpcServiceBuilder::new().layer_fn(move |inner| Gate {
        inner,
        budgets: budgets.clone(),
        max_response_bytes,
        at_once: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
    });
    let builder = Server::builder()
        .set_config(config)
        .set_http_middleware(middleware)
        .set_rpc_middleware(gate)
        .to_service_builder();
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| listen(&error))?;
    let address = listener.local_addr().map_err(|error| listen(&error))?;
    let mut module = module(context).map_err(|error| Error::Config(error.to_string()))?;
    restrict(&mut module, &settings.namespaces)?;
    for name in more.method_names() {
        module.remove_method(name);
    }
    module.merge(more).map_err(|error| Error::Config(error.to_string()))?;
    let methods = Methods::from(module);
    let (stop, handle) = stop_channel();
    let places = Places::new(settings.max_connections, settings.max_connections_per_client);
    tokio::spawn(async move {
        loop {
            let (socket, peer) = tokio::select! {
                accepted = accept(&listener, &places) => accepted,
                () = stop.clone().shutdown() => break,
            };
            let service = builder.clone().build(methods.clone(), stop.clone());
            let service = Known { service, peer: peer.ip(), header: header.clone() };
            let stopped = stop.clone().shutdown();
            tokio::spawn(async move {
                if let Err(error) = serve_with_graceful_shutdown(socket, service, stopped).await {
                    tracing::debug!(%error, %peer, "a connection failed");
                }
            });
        }
    });
    Ok(RpcServer { handle, address })
}
