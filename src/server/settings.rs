//! What a server can be told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::admission::Limits;
use super::tls::ServerTls;

/// How a server listens and what it puts up with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The addresses to listen on. Port 0 takes a free port, the same for all workers.
    pub listen: Vec<SocketAddr>,
    /// Worker threads, each with its own listeners, runtime and upstream connections. Zero is one for each core.
    pub workers: usize,
    /// TLS for all addresses; cleartext without.
    pub tls: Option<Arc<ServerTls>>,
    /// What a request may be at most.
    pub limits: Limits,
    /// The longest request head in bytes; `431` beyond.
    pub head_size: usize,
    /// The most header fields of a request; `431` beyond. Any other number than 100 costs hyper an allocation for each
    /// request.
    pub head_fields: usize,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long a head, or a TLS handshake, may take from its first byte.
    pub head_timeout: Duration,
    /// How long a request body may pause.
    pub body_timeout: Duration,
    /// How long a client may leave an answer untaken.
    pub send_timeout: Duration,
    /// The most connections of one worker. One more is accepted and closed at once: the client learns it immediately, and
    /// none waits in the queue of a worker that is full while another has room.
    pub max_connections: usize,
    /// The length of the kernel's queue of connections that wait to be accepted.
    pub backlog: i32,
    /// The most requests at a time on one HTTP/2 connection.
    pub max_streams: u32,
    /// How often an HTTP/2 connection is pinged, so that dead ones are found. The answer may take 20 s.
    pub ping_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            workers: 0,
            tls: None,
            limits: Limits::default(),
            head_size: 32 * 1024,
            head_fields: 100,
            keep_alive: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            max_connections: 16 * 1024,
            backlog: 4096,
            max_streams: 128,
            ping_interval: Duration::from_secs(60),
        }
    }
}
