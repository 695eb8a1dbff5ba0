//! `run`: serves a configuration until it is told to stop.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use include_dir::{Dir, include_dir};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit;
use super::output::complain;
use crate::clock::Clock;
use crate::compile::{Loaded, Origin, Rehearsal, Shared};
use crate::config::render;
use crate::config::spec::LogFormat;
use crate::gateway::{Gateway, Operation};
use crate::process::source::{Source, Stamp};
use crate::process::{AdminAddress, Overrides, Process, StartError};
use crate::sample;
use crate::telemetry::process_log;
use crate::trace::{DEFAULT_KEPT, Traces};

/// The folder that is served when none is named.
const DEFAULT_FOLDER: &str = "policies";
/// The shipped folder, for a program that was copied without it.
static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/policies");
/// The key that the shipped folder grants, which is written in its comments.
const DEMO_KEY: &str = "contoso-demo-key";

/// Serve a folder.
///
/// The folder is watched, and a change is live at once; a mistake leaves the configuration before it in force. SIGTERM and
/// SIGINT let requests finish, SIGHUP reloads and opens the access log again.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  sluicegate run
  sluicegate run /etc/sluicegate --listen 0.0.0.0:8080
  sluicegate run gateway --stand-in echo
  sluicegate run gateway --trace")]
pub struct Run {
    /// The folder that holds gateway.toml; `policies` when it is there, else the example that is part of the program.
    folder: Option<PathBuf>,
    #[command(flatten)]
    listeners: Listeners,
}

impl Run {
    /// Runs the command.
    pub fn run(self) -> u8 {
        serve(origin(self.folder), self.listeners).unwrap_or_else(|code| code)
    }
}

/// A signal that comes again so soon is the same one: timeout(1) and terminals send it to the process and to its group.
const SAME_SIGNAL: Duration = Duration::from_millis(250);

/// Where to listen, whom to call and what to show, in place of what the configuration says.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Listeners {
    /// The public address, in place of the configured one; port 0 takes a free port.
    #[arg(long, value_name = "ADDRESS", value_parser = address::<SocketAddr>)]
    listen: Option<SocketAddr>,
    /// The admin address, in place of the configured one; `off` turns it off.
    #[arg(long, value_name = "ADDRESS", value_parser = address::<AdminAddress>)]
    admin: Option<AdminAddress>,
    /// Where the requests to all backends go, in place of the configured ones: an address, which is asked without TLS and finds the
    /// host that is meant in `Host`, or `echo` for one that answers with what it got, with a body of up to 16 MiB.
    #[arg(long, value_name = "ADDRESS|echo", value_parser = stand_in)]
    pub(super) stand_in: Option<StandIn>,
    /// Keep a trace of each of the last requests, with what every policy did to it, also when the configuration keeps none.
    #[arg(long)]
    pub(super) trace: bool,
}

/// What is called in place of all backends.
#[derive(Clone, Copy, Debug)]
pub(super) enum StandIn {
    /// A backend of this process that answers with what it got.
    Echo,
    /// Another one.
    At(SocketAddr),
}

fn stand_in(text: &str) -> Result<StandIn, String> {
    if text == "echo" {
        Ok(StandIn::Echo)
    } else {
        address(text).map(StandIn::At).map_err(|error| format!("{error}, or `echo`"))
    }
}

impl StandIn {
    fn start(self) -> Result<Rehearsal, u8> {
        let (address, server) = match self {
            Self::At(address) => (address, None),
            Self::Echo => match sample::spawn_echo() {
                Ok((address, handle)) => (address, Some(Arc::new(handle))),
                Err(error) => {
                    complain(&format!("error: the echo cannot start: {error}\n"));
                    return Err(exit::FAILED);
                }
            },
        };
        let what = if server.is_some() { "an echo, which answers with what it got" } else { "a stand-in" };
        complain(&format!("note: no backend is called; every request goes to {what}, at {address}\n"));
        Ok(Rehearsal { backend: Some(address), server, guests: Vec::new() })
    }
}

/// What the parser of addresses says by itself does not help who wrote a port or a name.
pub(super) fn address<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected an IP address and a port, as in `127.0.0.1:8080` or `[::1]:8080`".to_owned())
}

impl Listeners {
    pub(super) fn overrides(self, keep_stdout_free: bool) -> Overrides {
        Overrides { listen: self.listen, admin: self.admin, keep_stdout_free, no_access_log: false }
    }
}

/// A configuration that was loaded and may be started.
pub(super) struct Prepared {
    source: Source,
    loaded: Loaded,
    stamp: Stamp,
}

/// Signals that a command waits for.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Terminate,
    Interrupt,
    Reload,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves. To be called on a runtime.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// The runtime of everything that is not a request, and the signals.
pub(super) fn control() -> Result<(Runtime, Signals), u8> {
    let started = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let signals = runtime.block_on(async { Signals::listen() })?;
        Ok((runtime, signals))
    });
    started.map_err(|error| {
        complain(&format!("error: the runtime cannot start: {error}\n"));
        exit::FAILED
    })
}

/// Loads a folder, prints its mistakes, and sets up the process log.
pub(super) fn prepare(origin: Origin, listeners: Listeners, runtime: &Runtime) -> Result<Prepared, u8> {
    let rehearsal = listeners.stand_in.map(StandIn::start).transpose()?;
    let traces = Arc::new(Traces::at_least(if listeners.trace { DEFAULT_KEPT } else { 0 }));
    let shared = Arc::new(Shared { rehearsal, traces, ..Shared::new(Clock::system(), runtime.handle().clone()) });
    let mut source = Source::new(origin, shared);
    let style = render::Style::of(std::io::stderr().is_terminal());
    let Some((loaded, stamp)) = source.load() else {
        complain("error: the files of the configuration keep changing while they are read\n");
        return Err(exit::FAILED);
    };
    complain(&render::styled(&loaded.diagnostics, &loaded.sources, style));
    if loaded.lacks_only_secrets() {
        // Not a mistake: whoever supervises the process may start it again.
        complain("error: the configuration is valid, but the key vault does not give its secrets\n");
        return Err(exit::FAILED);
    }
    if loaded.gateway.is_none() {
        let errors = loaded.diagnostics.errors();
        complain(&format!("{errors} error{} in the configuration\n", if errors == 1 { "" } else { "s" }));
        return Err(exit::CONFIGURATION);
    }
    let format = match loaded.process.log_format {
        LogFormat::Human => process_log::Format::Human,
        LogFormat::Json => process_log::Format::Json,
    };
    // A second log in one process is refused, which an embedder that has set up its own does not mind.
    let _ = process_log::init(format, loaded.process.log_level.as_str());
    Ok(Prepared { source, loaded, stamp })
}

/// Starts what was prepared.
pub(super) fn start(prepared: Prepared, overrides: &Overrides) -> Result<Process, u8> {
    let Prepared { source, loaded, stamp } = prepared;
    Process::start(source, loaded, stamp, overrides).map_err(|error| {
        complain(&format!("error: {error}\n"));
        match error {
            StartError::Configuration => exit::CONFIGURATION,
            _ => exit::FAILED,
        }
    })
}

/// Where the configuration is when the command line does not say.
fn origin(folder: Option<PathBuf>) -> Origin {
    match folder {
        Some(folder) => Origin::Folder(folder),
        None if Path::new(DEFAULT_FOLDER).join("gateway.toml").is_file() => Origin::Folder(DEFAULT_FOLDER.into()),
        None => Origin::Embedded(
            SHIPPED
                .files()
                .filter_map(|file| {
                    let name = file.path().to_str().filter(|name| name.ends_with(".toml"))?;
                    Some((name.to_owned(), file.contents_utf8()?.to_owned()))
                })
                .collect(),
        ),
    }
}

fn serve(origin: Origin, listeners: Listeners) -> Result<u8, u8> {
    let (runtime, mut signals) = control()?;
    let what = match origin.folder() {
        Some(folder) => format!("`{}`", folder.display()),
        None => "the shipped example; name a folder to serve your own".to_owned(),
    };
    let prepared = prepare(origin, listeners, &runtime)?;
    let human = prepared.loaded.process.log_format == LogFormat::Human;
    runtime.block_on(async {
        let mut process = start(prepared, &listeners.overrides(false))?;
        if human {
            complain(&banner(&process, &what));
        } else {
            let admin = process.admin_url();
            tracing::info!(url = process.url(), admin, configuration = what, "serving");
        }
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Reload => process.reload(),
                    Asked::Terminate | Asked::Interrupt => break,
                },
                error = process.ended() => {
                    complain(&format!("error: {error}\n"));
                    return Err(exit::FAILED);
                }
            }
        }
        drain(process, &mut signals, true).await
    })
}

/// Stops a process in good order; a second signal stops it at once.
pub(super) async fn drain(process: Process, signals: &mut Signals, delay: bool) -> Result<u8, u8> {
    let first = tokio::time::Instant::now();
    let second = async { while signals.next().await == Asked::Reload || first.elapsed() < SAME_SIGNAL {} };
    tokio::select! {
        ended = process.drain(delay) => match ended {
            Ok(summary) => {
                let (drained, aborted) = (summary.drained, summary.aborted);
                tracing::info!(drained, aborted, "stopped: {drained} connections ended, {aborted} were cut off");
                Ok(exit::OK)
            }
            Err(error) => {
                complain(&format!("error: {error}\n"));
                Err(exit::FAILED)
            }
        },
        () = second => {
            complain("stopped at once by a second signal\n");
            Err(exit::FAILED)
        }
    }
}

/// What a person wants to know after the start.
fn banner(process: &Process, what: &str) -> String {
    let gateway = process.gateway();
    let mut out = String::new();
    let _ = writeln!(out, "Sluicegate {} serves {what}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "  gateway  {}", process.url());
    let admin = process.admin_url();
    let _ = writeln!(out, "  admin    {}", admin.as_deref().unwrap_or("off"));
    if gateway.tracing.is_some() {
        let _ = match &admin {
            Some(admin) => writeln!(out, "  traces   {admin}/traces"),
            None => writeln!(out, "  traces   kept, and not to be read: the admin listener is off"),
        };
    }
    const MOST: usize = 20;
    let width = gateway.apis.iter().take(MOST).map(|api| api.name.chars().count()).max().unwrap_or_default();
    for api in gateway.apis.iter().take(MOST) {
        let count = gateway.operations.iter().filter(|operation| Arc::ptr_eq(&operation.api, api)).count();
        let key = if api.subscription_required { ", needs a key" } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        let _ = writeln!(out, "  api      {:width$}  {}  ({count} operation{plural}{key})", api.name, api.path);
    }
    if gateway.apis.len() > MOST {
        let _ = writeln!(out, "  and {} more", gateway.apis.len() - MOST);
    }
    let calls = calls(&gateway);
    if !calls.is_empty() {
        let _ = writeln!(out, "Try:");
    }
    let demo = gateway.keys.lookup(DEMO_KEY.as_bytes()).is_some();
    for operation in calls {
        let api = &operation.api;
        let key = match (api.subscription_required, demo) {
            (false, _) => String::new(),
            (true, true) => format!("-H '{}: {DEMO_KEY}' ", api.key_header),
            (true, false) => format!("-H '{}: YOUR-KEY' ", api.key_header),
        };
        let base = api.path.trim_end_matches('/');
        let rest = operation.template.as_str();
        let rest = if rest == "/" && !base.is_empty() { "" } else { rest };
        let _ = writeln!(out, "  curl -i {key}{}{base}{rest}", process.url());
    }
    out
}

/// Three operations that can be called as they are: the first of each API, then the second of each, and so on.
fn calls(gateway: &Gateway) -> Vec<&Operation> {
    const CALLS: usize = 3;
    let callable = |operation: &&Operation| {
        operation.method.as_ref().is_none_or(|method| *method == Method::GET)
            && operation.template.names().is_empty()
            && !operation.template.as_str().contains(['?', '*'])
            && operation.open_pipeline().token_checks.is_empty()
    };
    let mut per_api: Vec<_> = gateway
        .apis
        .iter()
        .filter(|api| api.found_by_path)
        .map(|api| {
            let own = gateway.operations.iter().filter(|operation| Arc::ptr_eq(&operation.api, api));
            own.map(|operation| &**operation).filter(callable)
        })
        .collect();
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for operations in &mut per_api {
            found.extend(operations.next());
            if found.len() == CALLS {
                return found;
            }
        }
        if found.len() == before {
            return found;
        }
    }
}
