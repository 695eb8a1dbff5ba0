//! The running process: a configuration, its listeners, reload and drain. `run` and `oneshot` both drive this.

mod logging;
mod reload;
pub mod source;
pub mod status;
mod watch;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch as channel};

use crate::admin::{self, Admin};
use crate::compile::Loaded;
use crate::gateway::Gateway;
use crate::gateway::handle::Entry;
use crate::server::tls::ServerTls;
use crate::server::{Server, Summary};
use crate::store::{Store, StoreError};
use crate::telemetry::access_log::SinkError;
use logging::OpenLog;
pub(crate) use reload::chain;
use reload::{Reloader, Signals};
use source::{Source, Stamp};
use status::{Current, Status};

/// How long the last lines of the access log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What the command line says in place of the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The public address.
    pub listen: Option<SocketAddr>,
    /// The admin address.
    pub admin: Option<AdminAddress>,
    /// Whether standard output belongs to somebody else, so that the access log goes to standard error.
    pub keep_stdout_free: bool,
    /// Whether nobody would read the access log.
    pub no_access_log: bool,
}

/// Where the admin listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere.
    Off,
    /// At an address.
    At(SocketAddr),
}

impl std::str::FromStr for AdminAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::At) }
    }
}

/// Why a process could not start, its configuration being valid.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has mistakes; they are in its diagnostics.
    #[error("the configuration is not valid")]
    Configuration,
    /// The public address cannot be taken.
    #[error("cannot listen on {address}: {}", listen_error(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The admin address cannot be taken.
    #[error("cannot listen on {address} for the admin listener: {}", listen_error(source))]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("{}", chain(.0))]
    AccessLog(SinkError),
    /// The file that counts are kept in cannot be had.
    #[error("{0}")]
    Store(StoreError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}

pub(crate) fn listen_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
        io::ErrorKind::PermissionDenied => "not allowed; ports below 1024 need a privilege".to_owned(),
        _ => error.to_string(),
    }
}

/// A process that serves.
pub struct Process {
    entry: Arc<Entry>,
    status: Arc<Status>,
    address: SocketAddr,
    admin: Option<Admin>,
    encrypted: bool,
    signals: Signals,
    store: Option<Store>,
    reloading: tokio::task::JoinHandle<()>,
    fresh: tokio::task::JoinHandle<()>,
    stop: channel::Sender<Option<Duration>>,
    served: oneshot::Receiver<io::Result<Summary>>,
}

impl Process {
    /// Takes the ports and serves. To be called on the runtime that the configuration was compiled for.
    ///
    /// # Errors
    /// When the configuration has mistakes, or when a port, a certificate or the access log cannot be had.
    pub fn start(source: Source, loaded: Loaded, stamp: Stamp, overrides: &Overrides) -> Result<Self, StartError> {
        let shared = source.shared().clone();
        let mut started = loaded.process;
        let mut gateway = loaded.gateway.ok_or(StartError::Configuration)?;
        started.server.tls = started.tls.take().map(|config| Arc::new(ServerTls::new(config)));
        let mut log = OpenLog::new(shared.metrics.access_log_dropped.clone(), overrides);
        gateway.access_log = log.follow(&started, &gateway).map_err(StartError::AccessLog)?;
        let mut settings = started.server.clone();
        if let Some(address) = overrides.listen {
            settings.listen = vec![address];
        }
        let address = settings.listen.first().copied().unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let server = Server::bind(settings).map_err(|source| StartError::Listen { address, source })?;
        let address = server.addresses().first().copied().unwrap_or(address);
        let admin_address = match overrides.admin {
            Some(AdminAddress::Off) => None,
            Some(AdminAddress::At(address)) => Some(address),
            None => started.admin,
        };
        let store = (started.store.clone())
            .map(|settings| Store::start(settings, shared.limits.quotas(), &shared.clock, shared.metrics.store.clone()))
            .transpose()
            .map_err(StartError::Store)?;
        let status = Arc::new(Status::default());
        if let Some(store) = &store {
            status.watch(store.health());
        }
        let generation = gateway.generation;
        let entry = Arc::new(Entry::new(Arc::new(gateway)));
        let admin = admin_address
            .map(|address| {
                let state = admin::State::new(shared.clone(), status.clone(), server.counters(), entry.clone());
                admin::start(address, state).map_err(|source| StartError::Admin { address, source })
            })
            .transpose()?;
        if let Some(admin) = &admin {
            shared.traces.serve_at(admin.address());
        }
        if let Some(limits) = loaded.limits {
            limits.commit();
        }
        let (stop, stopped) = channel::channel(None);
        let (done, served) = oneshot::channel();
        let serving = entry.clone();
        std::thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || done.send(server.run(&serving, &stopped)))
            .map_err(StartError::Thread)?;
        let now = shared.clock.wall();
        shared.metrics.config_loaded(now, &entry.current().certificate_ends);
        let current = Current { generation, loaded_at: now, digest: stamp.text(), view: loaded.view };
        status.loaded(current, Vec::new());
        status.serving();
        let encrypted = started.server.tls.is_some();
        let signals = Signals::default();
        let reloader = Reloader {
            source,
            entry: entry.clone(),
            status: status.clone(),
            log,
            started,
            seen: Some(stamp),
            retired: Vec::new(),
            missing_secrets: Vec::new(),
        };
        // What changed between the load and the first watch is found by looking once more.
        signals.changed.notify_one();
        let changed = signals.changed.clone();
        let fresh = tokio::spawn(async move { shared.vault.keep_fresh(&shared.clock, || changed.notify_one()).await });
        let reloading = tokio::spawn(reloader.run(signals.clone()));
        Ok(Self { entry, status, address, admin, encrypted, signals, store, reloading, fresh, stop, served })
    }

    /// The configuration in force.
    pub fn gateway(&self) -> Arc<Gateway> {
        self.entry.current()
    }

    /// The public address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The public URL, as this machine can call it.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.encrypted { "https" } else { "http" }, reachable(self.address))
    }

    /// The admin listener's URL, as this machine can call it.
    pub fn admin_url(&self) -> Option<String> {
        self.admin.as_ref().map(|admin| format!("http://{}", reachable(admin.address())))
    }

    /// Looks at the files again and opens the access log again, as on SIGHUP.
    pub fn reload(&self) {
        self.signals.hangup.notify_one();
    }

    /// Loads the files again although nothing changed, as a load test wants it.
    pub fn reload_unchanged(&self) {
        self.signals.again.notify_one();
    }

    /// Waits until the server ends, which it does by itself only when it fails.
    pub async fn ended(&mut self) -> io::Error {
        match (&mut self.served).await {
            Ok(Ok(_)) => io::Error::other("the server ended"),
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("the server panicked"),
        }
    }

    /// Says not ready, waits for load balancers to notice, closes the listener, and lets requests finish.
    ///
    /// # Errors
    /// When the server failed instead.
    pub async fn drain(self, delay: bool) -> io::Result<Summary> {
        self.reloading.abort();
        self.fresh.abort();
        let gateway = self.gateway();
        let settings = &gateway.settings;
        self.status.draining();
        if delay && !settings.drain_delay.is_zero() {
            tracing::info!(delay = ?settings.drain_delay, "not ready any more; still accepting");
            tokio::time::sleep(settings.drain_delay).await;
        }
        self.stop.send_replace(Some(settings.drain_deadline));
        let summary = self.served.await.unwrap_or_else(|_| Err(io::Error::other("the server panicked")))?;
        if let Some(store) = self.store {
            // Waits for the disk; nobody is served any more.
            let _ = tokio::task::spawn_blocking(|| store.finish()).await;
        }
        if let Some(log) = &gateway.access_log
            && !log.finish(LAST_LINES)
        {
            tracing::warn!("the last lines of the access log could not be written in time");
        }
        Ok(summary)
    }
}

/// The address to call: one that means every address is not one that can be called.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
