//! The access log: one line for each request, written into a buffer of the worker's own and out in one piece.
//!
//! A line costs no lock, no allocation and no system call; see `benches/access_log.rs`. The worker's buffer goes out when
//! it holds 16 KiB, when [`AccessLog::flush`] is called (the worker's ticker does so every 100 ms or so, and the drain),
//! and when the thread ends. See [`sink`] for what happens when it cannot go out.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};
use prometheus::IntCounter;

use super::finding::Finding;
use super::redact::Redactor;
use sink::Sink;

mod encode;
mod sink;
mod stamp;
#[cfg(test)]
mod tests;

pub use sink::{SinkError, Target};

/// The size at which a worker's buffer goes out.
const FLUSH_AT: usize = 16 * 1024;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object for each line. Absent facts are left out.
    #[default]
    Json,
    /// For people: time, status, method, path and duration first.
    Human,
}

/// What is logged of the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Query {
    /// All of it, with the values of parameters that look secret replaced by `***`.
    #[default]
    Redacted,
    /// Nothing.
    Dropped,
}

/// What the log is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How a line looks.
    pub format: Format,
    /// Where lines go.
    pub target: Target,
    /// What is logged of the query.
    pub query: Query,
    /// What counts as a secret.
    pub redactor: Redactor,
}

/// The facts of one exchange, borrowed from wherever they are.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the request's head arrived.
    pub time: SystemTime,
    /// The request id that the answer carries.
    pub request_id: &'a str,
    /// The trace id of the W3C trace context, when there is one.
    pub trace_id: Option<&'a str>,
    /// What the caller calls the request (`x-ms-client-request-id`), where its API looks at that.
    pub client_request_id: Option<&'a str>,
    /// The client's address, behind trusted proxies the real one.
    pub client: IpAddr,
    /// The version the client spoke.
    pub protocol: Version,
    /// The method as received.
    pub method: &'a Method,
    /// The host the client asked for.
    pub host: Option<&'a str>,
    /// The path as received.
    pub path: &'a str,
    /// The query as received; it is redacted here.
    pub query: Option<&'a str>,
    /// The API, when one matched.
    pub api: Option<&'a str>,
    /// The operation, when one matched.
    pub operation: Option<&'a str>,
    /// The status of the answer.
    pub status: StatusCode,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were sent.
    pub bytes_out: u64,
    /// From the request's head to the last byte of the answer.
    pub duration: Duration,
    /// The last attempt to reach a backend, when there was one.
    pub upstream: Option<Upstream<'a>>,
    /// What came of a look into the cache of answers, when there was one.
    pub cache: Option<&'a str>,
    /// The id of the subscription that the key belongs to.
    pub subscription: Option<&'a str>,
    /// The name of the consumer.
    pub consumer: Option<&'a str>,
    /// The error that decided the answer, when there was one.
    pub error: Option<Failure<'a>>,
    /// What was found that is not as the API's definition says.
    pub validation: &'a [Finding],
    /// The `User-Agent` header; it need not be UTF-8.
    pub user_agent: Option<&'a [u8]>,
    /// The client went away before the answer was complete.
    pub aborted: bool,
    /// The backend broke off its answer after its head was sent on.
    pub truncated: bool,
}

/// The last attempt to reach a backend.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The backend's name.
    pub backend: &'a str,
    /// The endpoint's host and port.
    pub endpoint: &'a str,
    /// The status it answered with; none when it did not answer.
    pub status: Option<StatusCode>,
    /// From the start of the first attempt to the head of the last answer.
    pub duration: Duration,
    /// How many attempts there were.
    pub attempts: u32,
}

/// The error that decided the answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failure<'a> {
    /// The policy or the part of the gateway that failed.
    pub source: &'a str,
    /// The stable code.
    pub reason: &'a str,
    /// Where in the configuration: the policy's name.
    pub policy: &'a str,
    /// Where in the configuration: the section.
    pub section: &'a str,
    /// Where in the configuration: the scope.
    pub scope: &'a str,
    /// The full message.
    pub message: &'a str,
    /// What was behind it: which check failed, what was expected and what was found.
    pub cause: Option<&'a (dyn std::error::Error + Send + Sync + 'static)>,
}

/// The access log. One for a process; every worker calls [`AccessLog::write`].
#[derive(Debug)]
pub struct AccessLog {
    format: Format,
    query: Query,
    redactor: Redactor,
    sink: Arc<Sink>,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
}

/// What a worker has not sent out yet.
struct Buffer {
    /// Where the bytes go. A reload may have changed the log since they were written.
    sink: Option<Arc<Sink>>,
    bytes: Vec<u8>,
    stamp: stamp::Stamp,
}

impl Buffer {
    const fn new() -> Self {
        Self { sink: None, bytes: Vec::new(), stamp: stamp::Stamp::new() }
    }

    fn attach(&mut self, sink: &Arc<Sink>) {
        if !self.sink.as_ref().is_some_and(|own| Arc::ptr_eq(own, sink)) {
            self.flush();
            self.sink = Some(Arc::clone(sink));
            self.bytes.reserve(FLUSH_AT + FLUSH_AT / 4);
        }
    }

    fn flush(&mut self) {
        if let Some(sink) = &self.sink
            && !self.bytes.is_empty()
        {
            sink.send(&mut self.bytes);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.flush();
    }
}

impl AccessLog {
    /// Opens the log. `dropped` counts lines that could not be written.
    pub fn new(options: Options, dropped: IntCounter) -> Result<Self, SinkError> {
        let sink = Sink::open(&options.target, dropped)?;
        Ok(Self { format: options.format, query: options.query, redactor: options.redactor, sink: Arc::new(sink) })
    }

    /// A log into any writer, on a thread of its own; `options.target` is not looked at. For tests and embedding.
    pub fn to_writer(
        options: Options,
        writer: Box<dyn std::io::Write + Send>,
        dropped: IntCounter,
    ) -> Result<Self, SinkError> {
        let sink = Sink::queued(writer, dropped)?;
        Ok(Self { format: options.format, query: options.query, redactor: options.redactor, sink: Arc::new(sink) })
    }

    /// Writes one line into this thread's buffer.
    pub fn write(&self, line: &Line<'_>) {
        // The only way to fail is a thread that is already being taken down.
        let _ = BUFFER.try_with(|buffer| {
            let mut buffer = buffer.borrow_mut();
            buffer.attach(&self.sink);
            let Buffer { bytes, stamp, .. } = &mut *buffer;
            let time = stamp.text(line.time);
            match self.format {
                Format::Json => encode::json(bytes, line, time, self),
                Format::Human => encode::human(bytes, line, time, self),
            }
            if bytes.len() >= FLUSH_AT {
                buffer.flush();
            }
        });
    }

    /// Sends out what this thread has written. Other threads' buffers are theirs to flush.
    pub fn flush(&self) {
        let _ = BUFFER.try_with(|buffer| buffer.borrow_mut().flush());
    }

    /// Opens the file again, after it was moved away by a log rotation. The standard streams are left alone. On an error
    /// the old file stays in use.
    pub fn reopen(&self) -> Result<(), SinkError> {
        self.sink.reopen()
    }

    /// Flushes this thread's buffer and waits until all that was sent out is written, but no longer than `wait`. False
    /// when time ran out. Call it last, when the workers have ended.
    pub fn finish(&self, wait: Duration) -> bool {
        self.flush();
        self.sink.finish(wait)
    }
}
