//! A gateway in this process, with files from memory, a clock moved by hand and a port of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sluicegate::clock::Clock;
use sluicegate::compile::{self, Rehearsal, Shared};
use sluicegate::config::folder::NamedText;
use sluicegate::config::render;
use sluicegate::gateway::handle::Entry;
use sluicegate::server::{Server, Settings};
use tokio::sync::watch;

use super::wire::{Connection, Message};

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    stop: watch::Sender<Option<Duration>>,
    thread: Option<JoinHandle<()>>,
    /// The one of the last request, while the gateway keeps it open.
    connection: Mutex<Option<Connection>>,
    /// Fetches keys in the background; stops last.
    _control: tokio::runtime::Runtime,
}

/// What became of a configuration.
pub(crate) struct Started {
    /// None when the configuration has errors.
    pub(crate) gateway: Option<Gateway>,
    /// Errors and warnings as a person reads them.
    pub(crate) diagnostics: String,
}

impl Gateway {
    /// Compiles and serves a configuration. `folder` is where its relative paths start.
    pub(crate) fn start(files: Vec<NamedText>, folder: Option<&Path>) -> Started {
        Self::start_at(Clock::manual(), files, folder)
    }

    /// As [`Gateway::start`], with a clock that shows what the test needs.
    pub(crate) fn start_at(clock: Clock, files: Vec<NamedText>, folder: Option<&Path>) -> Started {
        Self::start_with(clock, files, folder, None)
    }

    /// As [`Gateway::start`], with an address that stands in for every backend, as `--stand-in` has it.
    pub(crate) fn start_before(stand_in: SocketAddr, files: Vec<NamedText>, folder: Option<&Path>) -> Started {
        let rehearsal = Rehearsal { backend: Some(stand_in), ..Rehearsal::default() };
        Self::start_with(Clock::manual(), files, folder, Some(rehearsal))
    }

    fn start_with(clock: Clock, files: Vec<NamedText>, folder: Option<&Path>, rehearsal: Option<Rehearsal>) -> Started {
        let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Shared::new(clock.clone(), control.handle().clone());
        let shared = Arc::new(Shared { rehearsal, ..shared });
        let loaded = compile::compile(files, folder, &shared);
        let diagnostics = render::text(&loaded.diagnostics, &loaded.sources);
        let Some(gateway) = loaded.gateway else { return Started { gateway: None, diagnostics } };
        if let Some(limits) = loaded.limits {
            limits.commit();
        }
        let entry = Arc::new(Entry::new(Arc::new(gateway)));
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let server = Server::bind(Settings { listen, workers: 1, ..loaded.process.server }).unwrap();
        let address = server.addresses()[0];
        let (stop, stopped) = watch::channel(None);
        let serving = entry.clone();
        let thread = std::thread::spawn(move || {
            server.run(&serving, &stopped).unwrap();
        });
        let thread = Some(thread);
        let gateway =
            Self { address, clock, shared, entry, stop, thread, connection: Mutex::default(), _control: control };
        Started { gateway: Some(gateway), diagnostics }
    }

    /// Puts another configuration in force.
    pub(crate) fn reload(&self, files: Vec<NamedText>) {
        let loaded = compile::compile(files, None, &self.shared);
        let gateway = loaded.gateway.expect("a configuration without errors");
        loaded.limits.expect("the limits of the configuration").commit();
        self.entry.swap(Arc::new(gateway));
    }

    /// The traces that are kept, the newest first.
    pub(crate) fn traces(&self) -> Vec<Arc<sluicegate::trace::Trace>> {
        self.shared.traces.all()
    }

    /// The trace of a request, once it is there: the last bytes of an answer may come before its trace.
    #[track_caller]
    pub(crate) fn trace(&self, id: &str) -> Arc<sluicegate::trace::Trace> {
        let begun = std::time::Instant::now();
        loop {
            if let Some(trace) = self.shared.traces.find(id) {
                return trace;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "there is no trace of {id}");
            std::thread::yield_now();
        }
    }

    /// Whether the metrics have this line.
    pub(crate) fn has_metric(&self, line: &str) -> bool {
        self.shared.metrics.render().lines().any(|found| found == line)
    }

    /// Sends a request and waits for the answer, on the connection of the last one while the gateway keeps that open, so that
    /// an answer with a wrong length spoils the next. `Host` and `Content-Length` are added where they are missing.
    pub(crate) fn send(&self, request: &Message) -> Option<Message> {
        let (method, _) = request.first_line.split_once(' ').expect("a method and a target");
        let version = if request.first_line.ends_with(" HTTP/1.1") { "" } else { " HTTP/1.1" };
        let mut text = format!("{}{version}\r\n", request.first_line);
        if request.field("host").is_none() {
            text += "host: gateway.test\r\n";
        }
        if !request.body.is_empty() && request.field("content-length").is_none() {
            text += &format!("content-length: {}\r\n", request.body.len());
        }
        for (name, value) in &request.fields {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let bytes = [text.as_bytes(), &request.body].concat();
        let ask = |connection: &mut Connection| {
            connection.send(&bytes);
            connection.response(method)
        };
        // Taken in a statement of its own: threads that ask at the same time do not wait for each other.
        let kept = self.connection.lock().unwrap().take();
        let kept = kept.and_then(|mut connection| ask(&mut connection).map(|it| (it, connection)));
        // A server may close an idle connection at any time, and does after a request whose body it did not read.
        let (response, connection) = kept.or_else(|| {
            let mut connection = Connection::open(self.address);
            ask(&mut connection).map(|it| (it, connection))
        })?;
        if response.field("connection") != Some("close") {
            *self.connection.lock().unwrap() = Some(connection);
        }
        Some(response)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(Some(Duration::ZERO));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
