//! Listeners, client connections, and what of HTTP concerns the connection: framing, hosts, hop-by-hop fields, drain.
//!
//! One worker for each core has its own runtime, listeners (`SO_REUSEPORT`) and upstream connections; no task moves between
//! workers and no lock is shared. A request goes `worker` → `serve` → hyper → [`Handler`]; the handler calls
//! [`admission::admit`] first and [`crate::backend::forward`] last.

pub mod admission;
pub mod authority;
pub mod connection;
pub mod counters;
pub mod deadline;
mod head;
pub mod hop_by_hop;
mod serve;
pub mod settings;
pub mod simple;
pub(crate) mod stream;
pub mod tls;
mod watched;
pub(crate) mod worker;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

pub use self::connection::{Connection, TlsInfo};
pub use self::counters::{Counters, Totals};
pub use self::settings::Settings;

use crate::body::Body;

/// Answers requests. The server boxes the future once for each request.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The future is dropped when the client leaves. The request is boxed: it is large, and each
    /// future on its way would hold a copy of it.
    fn handle(
        &self,
        request: Box<Request<Body>>,
        connection: &Connection,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Called on each worker about ten times a second, and once when it ends: to write out what was collected.
    fn tick(&self) {}
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Connections that were open when the drain began and ended by themselves.
    pub drained: usize,
    /// Connections that were still open at the deadline and were closed then.
    pub aborted: usize,
}

/// A server that holds its ports and does not serve yet.
#[derive(Debug)]
pub struct Server {
    settings: Arc<Settings>,
    addresses: Vec<SocketAddr>,
    /// The listeners of each worker.
    listeners: Vec<Vec<TcpListener>>,
    counters: Vec<Arc<Counters>>,
}

impl Server {
    /// Takes the ports.
    ///
    /// # Errors
    /// When an address is in use, not this machine's, or not allowed.
    pub fn bind(settings: Settings) -> io::Result<Self> {
        let workers = match settings.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        // Elsewhere several sockets cannot share a port, or not so that each gets its part.
        let workers = if cfg!(unix) { workers } else { 1 };
        let mut addresses = Vec::new();
        let mut listeners: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        for address in &settings.listen {
            if address.port() != 0 {
                // Sockets that share a port say nothing when another process shares it too; one that does not share, does.
                listener(*address, settings.backlog, false)?;
            }
            let mut address = *address;
            for worker in &mut listeners {
                let listener = listener(address, settings.backlog, true)?;
                address = listener.local_addr()?;
                worker.push(listener);
            }
            addresses.push(address);
        }
        let counters = (0..workers).map(|_| Arc::default()).collect();
        Ok(Self { settings: Arc::new(settings), addresses, listeners, counters })
    }

    /// The addresses in the order of the settings, with the ports that were taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The counters of the workers; [`Totals::of`] adds them up.
    pub fn counters(&self) -> Vec<Arc<Counters>> {
        self.counters.clone()
    }

    /// Serves until `shutdown` holds how long requests in service may still take, or its sender is gone. Blocks.
    ///
    /// Draining closes the listeners and idle connections, marks answers with `Connection: close` or sends GOAWAY, and
    /// lets what is in service finish until the time is over.
    ///
    /// # Errors
    /// When a worker cannot be started.
    pub fn run<H: Handler>(
        self,
        handler: &Arc<H>,
        shutdown: &watch::Receiver<Option<Duration>>,
    ) -> io::Result<Summary> {
        let mut workers = Vec::new();
        for (index, (listeners, counters)) in self.listeners.into_iter().zip(self.counters).enumerate() {
            let (settings, handler, shutdown) = (self.settings.clone(), handler.clone(), shutdown.clone());
            let body = move || {
                counters::adopt(counters);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let shared = Arc::new(serve::Shared::new(handler, settings));
                runtime.block_on(worker::work(index, listeners, shared, shutdown))
            };
            workers.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(body)?);
        }
        let mut total = Summary::default();
        for worker in workers {
            let summary = worker.join().map_err(|_| io::Error::other("a worker panicked"))??;
            total.drained += summary.drained;
            total.aborted += summary.aborted;
        }
        Ok(total)
    }
}

fn listener(address: SocketAddr, backlog: i32, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server takes its port although old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if shared {
        socket.listen(backlog)?;
    }
    Ok(socket.into())
}
