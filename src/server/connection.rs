//! One client connection: what a handler may know about it, and what the sweep needs to judge it.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use super::admission::Limits;
use super::counters::count;
use super::deadline::coarse_now;
use super::head::{Framing, UNKNOWN};
use super::settings::Settings;
use crate::identity::certificate::ClientCertificate;

/// What TLS said about a client.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// The host name that the client asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// The certificate that the client has shown.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    tls: OnceLock<TlsInfo>,
    settings: Arc<Settings>,
    cache: OnceLock<Box<dyn Any + Send + Sync>>,
    control: Control,
}

impl Connection {
    pub(crate) fn new(id: u64, peer: SocketAddr, local: SocketAddr, settings: Arc<Settings>) -> Self {
        let control = Control::default();
        control.since.store(coarse_now(), Ordering::Relaxed);
        Self { id, peer, local, tls: OnceLock::new(), settings, cache: OnceLock::new(), control }
    }

    /// A number that no other connection of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The address of the client, or of the proxy in front.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The address that the client connected to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.get().is_some()
    }

    /// What TLS said about the client, on an encrypted connection.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.get()
    }

    /// Whether the connection speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.control.http2.load(Ordering::Relaxed)
    }

    /// A value that is made once for the connection. `None` when a value of another type was made first.
    pub fn cached<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.cache.get_or_init(|| Box::new(make())).downcast_ref()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    pub(crate) fn set_tls(&self, info: TlsInfo) {
        let _ = self.tls.set(info);
    }

    /// What the head of the request in service looked like.
    pub(crate) fn framing(&self) -> Framing {
        Framing::from_u8(self.control.current.load(Ordering::Relaxed))
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    #[cfg(test)]
    pub(crate) fn for_tests(framing: Framing) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Self::new(1, address, address, Arc::default());
        connection.control.current.store(framing as u8, Ordering::Relaxed);
        connection
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Waiting for a request.
    Idle = 0,
    /// Some of a head has come.
    Head = 1,
    /// A request is being served.
    Busy = 2,
}

/// What the sweep or the drain wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Command {
    Serve = 0,
    /// Finish what is being served and take nothing more.
    Drain = 1,
    /// Say that the head came too slowly, and close.
    TimeOut = 2,
    /// Close now.
    Close = 3,
}

/// The part of a connection that its stream, its service and the sweep share.
///
/// They all run on one thread; the fields are atomic because tower wants futures that could move, and cost no more than
/// plain ones.
#[derive(Debug)]
pub(crate) struct Control {
    phase: AtomicU8,
    /// When the phase began, on the worker's coarse clock.
    since: AtomicU64,
    /// When a write began to wait for the client; zero for never.
    stalled: AtomicU64,
    /// How many answers of an HTTP/2 connection wait for the client's window, and when one of them last went on.
    untaken: AtomicU32,
    taken: AtomicU64,
    command: AtomicU8,
    /// Whether the client has ever sent a byte.
    spoken: AtomicBool,
    in_flight: AtomicU32,
    /// The framing of the head that is being read, and of the request in service.
    next: AtomicU8,
    current: AtomicU8,
    announced: AtomicU64,
    http2: AtomicBool,
    http10: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            untaken: AtomicU32::new(0),
            taken: AtomicU64::new(0),
            command: AtomicU8::new(Command::Serve as u8),
            spoken: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            next: AtomicU8::new(Framing::Unseen as u8),
            current: AtomicU8::new(Framing::Unseen as u8),
            announced: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            http10: AtomicBool::new(false),
            waker: OnceLock::new(),
        }
    }
}

impl Control {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(coarse_now(), Ordering::Relaxed);
    }

    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    pub(crate) fn idle(&self) {
        self.enter(Phase::Idle);
    }

    pub(crate) fn head_begins(&self) {
        self.spoken.store(true, Ordering::Relaxed);
        self.enter(Phase::Head);
    }

    /// Whether the client has ever sent a byte.
    pub(crate) fn has_spoken(&self) -> bool {
        self.spoken.load(Ordering::Relaxed)
    }

    pub(crate) fn set_framing(&self, framing: Framing) {
        self.next.store(framing as u8, Ordering::Relaxed);
    }

    /// The length of the body of the last request.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }

    /// A request with a body of this length goes into service.
    pub(crate) fn request_begins(&self, announced: u64, http10: bool) {
        let framing = self.next.swap(Framing::Unseen as u8, Ordering::Relaxed);
        self.current.store(framing, Ordering::Relaxed);
        let seen = framing != Framing::Unseen as u8;
        self.announced.store(if seen { announced } else { UNKNOWN }, Ordering::Relaxed);
        self.http10.store(http10, Ordering::Relaxed);
        self.in_flight.store(self.in_flight.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.phase.store(Phase::Busy as u8, Ordering::Relaxed);
    }

    /// A request has been answered or given up.
    pub(crate) fn request_ends(&self) {
        let left = self.in_flight.load(Ordering::Relaxed).saturating_sub(1);
        self.in_flight.store(left, Ordering::Relaxed);
        if left == 0 {
            self.enter(Phase::Idle);
        }
    }

    pub(crate) fn set_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_http10(&self) -> bool {
        self.http10.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(if stalled { coarse_now() } else { 0 }, Ordering::Relaxed);
    }

    /// An answer begins to wait for the client's window, or goes on.
    pub(crate) fn set_untaken(&self, untaken: bool) {
        let count = self.untaken.load(Ordering::Relaxed);
        self.untaken.store(if untaken { count + 1 } else { count.saturating_sub(1) }, Ordering::Relaxed);
        self.taken.store(coarse_now(), Ordering::Relaxed);
    }

    /// Since when the client has not taken what is written.
    pub(crate) fn stalled(&self) -> Option<u64> {
        if self.untaken.load(Ordering::Relaxed) > 0 {
            return Some(self.taken.load(Ordering::Relaxed));
        }
        Some(self.stalled.load(Ordering::Relaxed)).filter(|since| *since != 0)
    }

    pub(crate) fn command(&self) -> Command {
        match self.command.load(Ordering::Relaxed) {
            0 => Command::Serve,
            1 => Command::Drain,
            2 => Command::TimeOut,
            _ => Command::Close,
        }
    }

    /// Gives a command, unless a stronger one was given, and wakes the connection to follow it.
    pub(crate) fn give(&self, command: Command) {
        if self.command() < command {
            self.command.store(command as u8, Ordering::Relaxed);
            if let Some(waker) = self.waker.get() {
                waker.wake_by_ref();
            }
        }
    }

    /// Keeps the waker of the connection's task, which stays the same for its whole life.
    pub(crate) fn listen(&self, waker: &Waker) {
        if self.waker.get().is_none() {
            let _ = self.waker.set(waker.clone());
        }
    }
}

/// Marks a connection as busy for as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Connection>);

impl InFlight {
    pub(crate) fn begin(connection: Arc<Connection>, announced: u64, http10: bool) -> Self {
        connection.control.request_begins(announced, http10);
        count(|counters| {
            counters.requests.add();
            counters.in_flight.add();
        });
        Self(connection)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.control.request_ends();
        count(|counters| counters.in_flight.sub());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_one_value_of_one_type() {
        let connection = Connection::for_tests(Framing::Clear);
        assert_eq!(connection.cached(|| 1_u32), Some(&1));
        assert_eq!(connection.cached(|| 2_u32), Some(&1));
        assert_eq!(connection.cached(|| "other"), None);
    }

    #[test]
    fn commands_only_grow_stronger() {
        let control = Control::default();
        for (given, want) in
            [(Command::Drain, Command::Drain), (Command::Close, Command::Close), (Command::Drain, Command::Close)]
        {
            control.give(given);
            assert_eq!(control.command(), want);
        }
    }
}
