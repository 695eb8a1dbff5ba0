//! One worker: a thread with its own runtime, listeners, connections and upstream pool.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{Command, Connection, Control, Phase};
use super::counters::count;
use super::deadline::{coarse_now, refreshed_now};
use super::serve::{Shared, serve};
use super::settings::Settings;
use super::{Handler, Summary};

thread_local! {
    static CONNECTIONS: RefCell<Slab<Arc<Connection>>> = const { RefCell::new(Slab::new()) };
    static TUNNELS: Cell<usize> = const { Cell::new(0) };
}

/// A connection's place in the worker's list.
struct Registered(usize);

impl Registered {
    fn new(connection: Arc<Connection>) -> Self {
        count(|counters| {
            counters.accepted.add();
            counters.open.add();
        });
        Self(CONNECTIONS.with_borrow_mut(|all| all.insert(connection)))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _ = CONNECTIONS.try_with(|all| all.borrow_mut().try_remove(self.0));
        count(|counters| counters.open.sub());
    }
}

/// Counts an upgraded connection, which hyper has let go of, so that a drain waits for it.
pub(crate) struct Tunnel(());

impl Tunnel {
    pub(crate) fn open() -> Self {
        TUNNELS.set(TUNNELS.get() + 1);
        Self(())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = TUNNELS.try_with(|tunnels| tunnels.set(tunnels.get().saturating_sub(1)));
    }
}

fn open() -> usize {
    CONNECTIONS.with_borrow(Slab::len) + TUNNELS.get()
}

/// Runs a worker until it is drained.
pub(crate) async fn work<H: Handler>(
    index: usize,
    listeners: Vec<std::net::TcpListener>,
    shared: Arc<Shared<H>>,
    mut shutdown: watch::Receiver<Option<Duration>>,
) -> io::Result<Summary> {
    refreshed_now();
    let mut accepting = Vec::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        let first = ((index as u64) << 48) | ((accepting.len() as u64) << 40);
        accepting.push(tokio::spawn(accept(listener, first, shared.clone(), shutdown.clone())));
    }
    let sweeping = tokio::spawn(sweep_on(shared.settings().clone()));
    let ticking = tokio::spawn(tick_on(shared.clone()));
    // Whoever holds the other end may also just let go of it.
    let patience = shutdown.wait_for(Option::is_some).await.ok().and_then(|patience| *patience).unwrap_or_default();
    for task in accepting {
        let _ = task.await;
    }
    let summary = drain(patience).await;
    sweeping.abort();
    ticking.abort();
    shared.handler().tick();
    crate::backend::clear();
    Ok(summary)
}

/// Lets requests in service finish for `patience`, and counts how it went.
async fn drain(patience: Duration) -> Summary {
    const LOOK: Duration = Duration::from_millis(10);
    /// How long a new connection may take to its first byte, in milliseconds.
    const FIRST_WORD: u64 = 250;
    let before = open();
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        // Repeated, for what was accepted in the last moment: whoever has just connected is about to say something.
        let now = refreshed_now();
        let silent = |control: &Control| !control.has_spoken() && now.saturating_sub(control.since()) < FIRST_WORD;
        CONNECTIONS.with_borrow(|all| {
            let controls = all.iter().map(|(_, connection)| connection.control());
            controls.filter(|control| !silent(control)).for_each(|control| control.give(Command::Drain));
        });
        if open() == 0 || tokio::time::Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let aborted = open();
    Summary { drained: before.saturating_sub(aborted), aborted }
}

async fn accept<H: Handler>(
    listener: TcpListener,
    first: u64,
    shared: Arc<Shared<H>>,
    mut shutdown: watch::Receiver<Option<Duration>>,
) {
    let mut id = first;
    let mut take = |stream, peer| {
        if CONNECTIONS.with_borrow(Slab::len) >= shared.settings().max_connections {
            return count(|counters| counters.refused.add());
        }
        id += 1;
        // The connection is stamped with it.
        refreshed_now();
        start(stream, peer, id, &shared);
    };
    let mut ending = std::pin::pin!(shutdown.wait_for(Option::is_some));
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = &mut ending => break,
        };
        match accepted {
            Ok((stream, peer)) => take(stream, peer),
            // The connection was gone before it was taken; the listener is fine.
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                count(|counters| counters.accept_errors.add());
                tracing::warn!(%error, "cannot accept connections");
                // No file descriptors, mostly: trying again at once would spin until one is closed.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // To its client, a connection in the kernel's queue is open, and closing the listener would reset it. With the
    // shortest queue there is, at most one connection can slip in between the last look and the closing.
    let Ok(listener) = listener.into_std() else { return };
    let _ = socket2::SockRef::from(&listener).listen(0);
    while let Ok((stream, peer)) = listener.accept() {
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            take(stream, peer);
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn start<H: Handler>(stream: TcpStream, peer: SocketAddr, id: u64, shared: &Arc<Shared<H>>) {
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().unwrap_or(peer);
    let connection = Arc::new(Connection::new(id, peer, local, shared.settings().clone()));
    let registered = Registered::new(connection.clone());
    let shared = shared.clone();
    tokio::spawn(async move {
        let _registered = registered;
        serve(stream, connection, shared).await;
    });
}

/// How often connections are looked at: often enough for the shortest time allowed, and at most twice a second.
fn period(settings: &Settings) -> Duration {
    let shortest = settings.keep_alive.min(settings.head_timeout).min(settings.send_timeout);
    (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(500))
}

async fn sweep_on(settings: Arc<Settings>) {
    let period = period(&settings);
    loop {
        tokio::time::sleep(period).await;
        refreshed_now();
        sweep(&settings, period);
        crate::backend::sweep();
    }
}

async fn tick_on<H: Handler>(shared: Arc<Shared<H>>) {
    const TICK: Duration = Duration::from_millis(100);
    loop {
        tokio::time::sleep(TICK).await;
        shared.handler().tick();
    }
}

fn sweep(settings: &Settings, period: Duration) {
    let now = coarse_now();
    // The clock that stamped the connection was up to one period behind, hence one more: never early.
    let passed = |since: u64, allowed: Duration| u128::from(now.saturating_sub(since)) > (allowed + period).as_millis();
    CONNECTIONS.with_borrow(|all| {
        for (_, connection) in all {
            let control = connection.control();
            if control.stalled().is_some_and(|since| passed(since, settings.send_timeout)) {
                count(|counters| counters.closed_stalled.add());
                control.give(Command::Close);
                continue;
            }
            match (control.phase(), control.command()) {
                (Phase::Idle, Command::Serve) if passed(control.since(), settings.keep_alive) => {
                    count(|counters| counters.closed_idle.add());
                    control.give(Command::Drain);
                }
                // Told to end and doing nothing: a client of HTTP/2 that does not answer GOAWAY.
                (Phase::Idle, Command::Drain)
                    if passed(control.since(), settings.keep_alive + settings.head_timeout) =>
                {
                    control.give(Command::Close);
                }
                (Phase::Head, Command::Serve | Command::Drain) if passed(control.since(), settings.head_timeout) => {
                    count(|counters| counters.closed_slow_head.add());
                    control.give(Command::TimeOut);
                }
                _ => {}
            }
        }
    });
}
