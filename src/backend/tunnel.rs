//! Passes bytes both ways between a client and a backend that have agreed on WebSocket (RFC 6455).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pool::Lease;
use crate::server::deadline::refreshed_now;
use crate::server::worker::Tunnel;

/// Joins both sides, once hyper has let go of them, until one closes or nothing has passed for `idle`.
pub(crate) fn open(client: OnUpgrade, backend: OnUpgrade, lease: Lease, idle: Duration) {
    let counted = Tunnel::open();
    tokio::spawn(async move {
        let _counted = counted;
        let (Ok(client), Ok(backend)) = tokio::join!(client, backend) else { return };
        // hyper closes a connection whose sender is gone, so the lease lives until the stream was taken out.
        drop(lease);
        run(client, backend, idle).await;
    });
}

async fn run(client: Upgraded, backend: Upgraded, idle: Duration) {
    let passed = Arc::new(AtomicU64::new(refreshed_now()));
    let mut client = Noticed { io: TokioIo::new(client), passed: passed.clone() };
    let mut backend = Noticed { io: TokioIo::new(backend), passed: passed.clone() };
    let mut copying = std::pin::pin!(tokio::io::copy_bidirectional(&mut client, &mut backend));
    let look = (idle / 4).clamp(Duration::from_millis(10), Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = &mut copying => return,
            () = tokio::time::sleep(look) => {
                let quiet = refreshed_now().saturating_sub(passed.load(Ordering::Relaxed));
                if u128::from(quiet) > idle.as_millis() {
                    return;
                }
            }
        }
    }
}

/// Notes when bytes were last read.
struct Noticed {
    io: TokioIo<Upgraded>,
    passed: Arc<AtomicU64>,
}

impl AsyncRead for Noticed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        if result.is_ready() {
            this.passed.store(refreshed_now(), Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for Noticed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
