//! The built-in sample backend: an orders and an invoices API, a language model's, and operations that are slow, failing and throttled.
//!
//! What it holds is the same after every start, kept in memory, and bounded. `cargo run` puts the shipped policies in front
//! of it; it is an ordinary HTTP/1.1 server, and the gateway reaches it as it reaches any backend.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{Method, Request};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::server::simple;
pub use crate::server::simple::Handle;
use reply::Reply;

mod behaviour;
mod chat;
mod invoices;
mod orders;
mod reply;
#[cfg(test)]
mod tests;

/// Connections at one time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 4_096;

/// Serves until `shutdown` is done; what is in progress then is cut off.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    serve_with(listener, shutdown, Clock::system()).await
}

/// As [`serve`], with the clock that the throttled operation reads.
pub async fn serve_with(listener: TcpListener, shutdown: impl Future<Output = ()>, clock: Clock) -> io::Result<()> {
    let backend = Arc::new(Backend::new(clock));
    let handler = move |request| {
        let backend = Arc::clone(&backend);
        async move { Ok(backend.answer(request).await.into_response()) }
    };
    simple::serve("sample backend", listener, MAX_CONNECTIONS, shutdown, handler).await
}

/// Starts the backend on a free loopback port, on a thread of its own.
pub fn spawn() -> io::Result<(SocketAddr, Handle)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    simple::spawn("sample-backend", address, |listener, stopped| serve(listener, stopped.wait()))
}

/// Starts a backend on a free loopback port that answers every request with what it got.
pub fn spawn_echo() -> io::Result<(SocketAddr, Handle)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    simple::spawn("echo", address, |listener, stopped| async move {
        let handler = |request: Request<Incoming>| async {
            let (head, body) = request.into_parts();
            Ok(behaviour::echo(&head, body).await.into_response())
        };
        simple::serve("echo", listener, MAX_CONNECTIONS, stopped.wait(), handler).await
    })
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
            ["v1", "chat", "completions"] if method == Method::POST => chat::completions(body).await,
            ["v1", "chat", "completions"] => Reply::not_allowed("POST"),
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
