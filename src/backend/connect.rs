//! Opens connections to backends: names, addresses, TCP, TLS.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Endpoint;
use super::pool::{Lease, Permit};
use super::wire::{Wire, Wired};
use crate::server::counters::count;
use crate::server::stream::Stream;

/// How long a looked-up address is used again. Short, because the system's resolver does not tell the record's own.
const NAME_LIFETIME: Duration = Duration::from_secs(5);

/// The most names that a worker remembers.
const NAMES: usize = 1024;

/// The most bytes of an answer's head.
const ANSWER_HEAD: usize = 64 * 1024;

/// Why no connection was made. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the backend's name cannot be looked up")]
    Name(#[source] io::Error),
    #[error("the backend did not accept the connection")]
    Refused(#[source] io::Error),
    #[error("the TLS handshake with the backend failed")]
    Tls(#[source] io::Error),
    #[error("connecting to the backend took too long")]
    TimedOut,
    #[error("the connection to the backend failed")]
    Http(#[source] hyper::Error),
}

struct Name {
    addresses: Arc<[SocketAddr]>,
    until: Instant,
}

thread_local! {
    static RESOLVED: RefCell<HashMap<(Box<str>, u16), Name>> = RefCell::new(HashMap::new());
}

/// Opens a connection within `timeout`, looking up, connecting and the TLS handshake together.
pub(crate) async fn connect(endpoint: &Endpoint, permit: Permit, timeout: Duration) -> Result<Lease, ConnectError> {
    // tokio's own timer: connecting is rare, and worth the precision.
    let opened = tokio::time::timeout(timeout, open(endpoint, timeout)).await;
    let stream = opened.unwrap_or(Err(ConnectError::TimedOut)).inspect_err(|_| {
        count(|counters| counters.upstream_connect_errors.add());
    })?;
    let wire = Arc::<Wire>::default();
    let io = TokioIo::new(Wired::new(stream, wire.clone()));
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_header_size(ANSWER_HEAD);
    let (sender, connection) = builder.handshake(io).await.map_err(ConnectError::Http)?;
    count(|counters| {
        counters.upstream_opened.add();
        counters.upstream_open.add();
    });
    tokio::spawn(async move {
        let _permit = permit;
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = &error as &dyn StdError, "a connection to a backend ended");
        }
        count(|counters| counters.upstream_open.sub());
    });
    Ok(Lease { sender, wire, reused: false })
}

async fn open(endpoint: &Endpoint, timeout: Duration) -> Result<Stream, ConnectError> {
    let tcp = match endpoint.address {
        Some(address) => TcpStream::connect(address).await.map_err(ConnectError::Refused)?,
        None => connect_any(&resolve(endpoint).await.map_err(ConnectError::Name)?, timeout).await?,
    };
    let _ = tcp.set_nodelay(true);
    let Some(tls) = &endpoint.tls else { return Ok(Stream::Plain(tcp)) };
    let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
    let stream = Box::pin(connector.connect(tls.name.clone(), tcp)).await.map_err(ConnectError::Tls)?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// Tries one address after the other, giving each but the last half of the time that is left, so that one which swallows
/// packets does not use up all of it.
async fn connect_any(addresses: &[SocketAddr], timeout: Duration) -> Result<TcpStream, ConnectError> {
    let started = Instant::now();
    let mut last = ConnectError::Name(io::Error::new(io::ErrorKind::NotFound, "no address"));
    for (at, address) in addresses.iter().enumerate() {
        let left = timeout.saturating_sub(started.elapsed());
        let share = if at + 1 == addresses.len() { left } else { left / 2 };
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = ConnectError::Refused(error),
            Err(_) => last = ConnectError::TimedOut,
        }
    }
    Err(last)
}

async fn resolve(endpoint: &Endpoint) -> io::Result<Arc<[SocketAddr]>> {
    let key = (endpoint.host.clone(), endpoint.port);
    let now = Instant::now();
    let known = RESOLVED
        .with_borrow(|names| names.get(&key).filter(|name| name.until > now).map(|name| name.addresses.clone()));
    if let Some(addresses) = known {
        return Ok(addresses);
    }
    let addresses: Arc<[SocketAddr]> = tokio::net::lookup_host((&*key.0, key.1)).await?.collect();
    RESOLVED.with_borrow_mut(|names| {
        if names.len() >= NAMES {
            names.retain(|_, name| name.until > now);
        }
        if names.len() < NAMES {
            names.insert(key, Name { addresses: addresses.clone(), until: Instant::now() + NAME_LIFETIME });
        }
    });
    Ok(addresses)
}
