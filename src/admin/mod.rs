//! The admin listener: health, readiness, metrics, the configuration in force and traces, on an address of its own.
//!
//! It lives on the control runtime and never on a worker: a scrape must not delay a request, and a worker that is busy
//! must not look dead.

mod pages;
mod traces;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::compile::Shared;
use crate::gateway::handle::Entry;
use crate::process::status::Status;
use crate::server::Counters;

/// Connections at one time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a head may take, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// After so long a connection is closed behind its answer, so that idlers do not hold all places for ever.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long the last answer may take to be fetched.
const LAST_ANSWER: Duration = Duration::from_secs(30);

/// What the pages show.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    status: Arc<Status>,
    counters: Vec<Arc<Counters>>,
    /// What is in force.
    entry: Arc<Entry>,
    /// Metrics are rendered one scrape at a time.
    rendering: tokio::sync::Mutex<()>,
}

impl State {
    /// The state of a process.
    pub fn new(shared: Arc<Shared>, status: Arc<Status>, counters: Vec<Arc<Counters>>, entry: Arc<Entry>) -> Self {
        Self(Arc::new(Inner { shared, status, counters, entry, rendering: tokio::sync::Mutex::new(()) }))
    }

    /// Whether the configuration in force traces requests.
    fn is_traced(&self) -> bool {
        self.0.entry.current().tracing.is_some()
    }
}

/// A listener that serves until this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Admin {
    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the address and serves on the current runtime.
///
/// # Errors
/// When the address cannot be taken.
pub fn start(address: SocketAddr, state: State) -> io::Result<Admin> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    Ok(Admin { address, task: tokio::spawn(accept(listener, state)) })
}

async fn accept(listener: TcpListener, state: State) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                tokio::spawn(async move {
                    serve(stream, state).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept connections");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, state: State) {
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(pages::answer(&request, &state).await.map(Full::<Bytes>::new)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin: connection ended");
    }
}
