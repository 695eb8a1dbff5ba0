//! A small HTTP/1.1 server for what is built in beside the gateway: the sample backend and the local issuer.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long a client may take to send a head, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// The connection is closed without an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub struct Hangup;

/// Serves until `shutdown` is done; what is in progress then is cut off. At most `connections` are open at one time; more
/// wait in the listener's queue.
///
/// # Errors
/// None now: a listener that fails is tried again.
pub async fn serve<H, F, B>(
    name: &'static str,
    listener: TcpListener,
    connections: usize,
    shutdown: impl Future<Output = ()>,
    handler: H,
) -> io::Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, Hangup>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut open = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let full = open.len() >= connections;
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_) = open.join_next(), if !open.is_empty() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, _)) => {
                    // Without it, a small answer waits for the client's delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let handler = handler.clone();
                    open.spawn(async move {
                        let served = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEAD_TIMEOUT)
                            .serve_connection(TokioIo::new(stream), service_fn(handler));
                        if let Err(error) = served.await {
                            tracing::debug!(%error, "{name}: connection ended");
                        }
                    });
                }
                // Out of descriptors, most likely: others may be given back soon.
                Err(error) => {
                    tracing::warn!(%error, "{name}: cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// Starts a server at an address, on a thread of its own, and tells the address that was taken.
///
/// # Errors
/// When the address cannot be had, or the thread not be started.
pub fn spawn<S, F>(name: &'static str, address: SocketAddr, server: S) -> io::Result<(SocketAddr, Handle)>
where
    S: FnOnce(TcpListener, Stopped) -> F + Send + 'static,
    F: Future<Output = io::Result<()>>,
{
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let served = runtime.block_on(async { server(TcpListener::from_std(listener)?, Stopped(stopped)).await });
        if let Err(error) = served {
            tracing::error!(%error, "{name}: stopped");
        }
    })?;
    Ok((address, Handle { stop: Some(stop), thread: Some(thread) }))
}

/// Tells a server that was started with [`spawn`] to stop.
#[derive(Debug)]
pub struct Stopped(oneshot::Receiver<()>);

impl Stopped {
    /// Waits for the end of the handle.
    pub async fn wait(self) {
        // A handle that is gone stops the server too.
        let _ = self.0.await;
    }
}

/// Keeps a server that was started with [`spawn`]; it stops when this is dropped.
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
