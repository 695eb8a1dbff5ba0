//! The built-in sample backend: an orders and an invoices API, and operations that are slow, failing and throttled.
//!
//! What it holds is the same after every start, kept in memory, and bounded. `cargo run` puts the shipped policies in front
//! of it; it is an ordinary HTTP/1.1 server, and the gateway reaches it as it reaches any backend.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::clock::Clock;
use reply::Reply;

mod behaviour;
mod invoices;
mod orders;
mod reply;
#[cfg(test)]
mod tests;

/// Connections at one time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 4_096;

/// How long a client may take to send a head, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Serves until `shutdown` is done; what is in progress then is cut off.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    serve_with(listener, shutdown, Clock::system()).await
}

/// As [`serve`], with the clock that the throttled operation reads.
pub async fn serve_with(listener: TcpListener, shutdown: impl Future<Output = ()>, clock: Clock) -> io::Result<()> {
    let backend = Arc::new(Backend::new(clock));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let full = connections.len() >= MAX_CONNECTIONS;
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, _)) => {
                    // Without it, a small answer waits for the client's delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let backend = Arc::clone(&backend);
                    connections.spawn(async move {
                        let service = service_fn(|request| {
                            let backend = &backend;
                            async move { Ok::<_, Infallible>(backend.answer(request).await.into_response()) }
                        });
                        let served = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEAD_TIMEOUT)
                            .serve_connection(TokioIo::new(stream), service);
                        if let Err(error) = served.await {
                            tracing::debug!(%error, "sample backend: connection ended");
                        }
                    });
                }
                // Out of descriptors, most likely: others may be given back soon.
                Err(error) => {
                    tracing::warn!(%error, "sample backend: cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// Starts the backend on a free loopback port, on a thread of its own.
pub fn spawn() -> io::Result<(SocketAddr, Handle)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("sample-backend".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            serve(TcpListener::from_std(listener)?, async {
                // A handle that is gone stops the backend too.
                let _ = stopped.await;
            })
            .await
        });
        if let Err(error) = served {
            tracing::error!(%error, "sample backend: stopped");
        }
    })?;
    Ok((address, Handle { stop: Some(stop), thread: Some(thread) }))
}

/// Keeps a backend that was started with [`spawn`]; it stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// What all connections share.
struct Backend {
    clock: Clock,
    orders: Mutex<orders::Orders>,
    flaky: Mutex<behaviour::Flaky>,
    throttle: Mutex<behaviour::Throttle>,
}

impl Backend {
    fn new(clock: Clock) -> Self {
        Self { clock, orders: Mutex::default(), flaky: Mutex::default(), throttle: Mutex::default() }
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let segments: Vec<&str> = head.uri.path().split('/').skip(1).collect();
        // hyper leaves the body out of an answer to HEAD, and keeps its length (RFC 9110 §9.3.2).
        let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
        match segments.as_slice() {
            ["v1", "orders", rest @ ..] => orders::answer(&self.orders, method, rest, &head, body).await,
            ["v1", "invoices", rest @ ..] => invoices::answer(method, rest, &head),
            ["v1", "echo", ..] => behaviour::echo(&head, body).await,
            ["v1", "slow"] if method == Method::GET => behaviour::slow(head.uri.query()).await,
            ["v1", "flaky"] if method == Method::GET => self.flaky.lock().answer(),
            ["v1", "failing"] if method == Method::GET => behaviour::failing(),
            ["v1", "throttled"] if method == Method::GET => self.throttle.lock().answer(self.clock.now()),
            ["v1", "bytes", count] if method == Method::GET => behaviour::bytes(count),
            ["v1", "upload"] if method == Method::POST => behaviour::upload(body).await,
            ["v1", "upload"] => Reply::not_allowed("POST"),
            ["v1", "slow" | "flaky" | "failing" | "throttled"] | ["v1", "bytes", _] => Reply::not_allowed("GET, HEAD"),
            _ => Reply::not_found("there is nothing at this path"),
        }
    }
}
