//! Notes what happens in one exchange while it runs.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, Uri, Version};
use parking_lot::Mutex;

use super::Tracing;
use super::body::{Passing, Shown};
use super::change::{Change, Snapshot};
use super::mask::Learned;
use super::model::{Call, Callee, Data, Entry, Failure, Head, Note, Outcome, Step};
use crate::backend::{Endpoint, Watch};
use crate::body::Body;
use crate::pipeline::{Exchange, Fault, Flow, Origin};
use crate::telemetry::Redactor;

/// The header by which callers ask for the trace of a request, as in Azure API Management.
const ASK: &str = "ocp-apim-trace";
/// The most entries of a trace.
const MOST_ENTRIES: usize = 2_000;
/// The most bodies that are read along in one exchange; of others a trace has no more than the length.
const MOST_PASSING: usize = 64;
/// About the most memory that the texts of a trace take, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// What is known of an exchange so far. Only steps that run while traces are on have one.
#[derive(Debug)]
pub struct Recorder {
    pub(super) tracing: Arc<Tracing>,
    /// Whether the caller asks for it.
    asked: bool,
    pub(super) record: Mutex<Record>,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    /// The caller's request; its URL has no scheme and host yet.
    pub(super) request: Head,
    pub(super) entries: Vec<Entry>,
    pub(super) left_out: usize,
    pub(super) answer: Head,
    pub(super) missed: Option<String>,
    pub(super) learned: Learned,
    pub(super) passing: Vec<(Whose, Arc<Passing>)>,
    /// The layers that a request is in, the innermost last.
    layers: Vec<OpenLayer>,
    weight: usize,
}

/// Whose body passes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    /// The caller's request's.
    Request,
    /// The one that the call of this entry brought.
    Call(usize),
    /// The final answer's.
    Answer,
}

#[derive(Debug)]
struct OpenLayer {
    origin: Arc<Origin>,
    entry: usize,
    before: Snapshot,
    first: Option<Snapshot>,
    passed: u32,
    answer: Option<Snapshot>,
}

/// An entry that was begun, and what was before it.
#[derive(Debug)]
pub(super) struct Begun {
    entry: usize,
    before: Snapshot,
}

impl Record {
    /// Adds an entry, unless there is no room for it.
    pub(super) fn add(
        &mut self,
        exchange: &Exchange,
        source: &'static str,
        origin: &Arc<Origin>,
        data: Data,
    ) -> Option<usize> {
        if self.entries.len() >= MOST_ENTRIES || self.weight >= MOST_BYTES || self.learned.is_full() {
            self.left_out += 1;
            return None;
        }
        let at = exchange.gateway.clock.now().since(exchange.started);
        let section = if origin.section.is_empty() { "inbound" } else { origin.section };
        let written = !origin.place.is_empty();
        let origin = written.then(|| origin.clone());
        self.entries.push(Entry { section, source, origin, at, elapsed: None, data });
        Some(self.entries.len() - 1)
    }

    /// So much more memory is taken by texts.
    pub(super) fn weight(&mut self, more: usize) {
        self.weight += more;
    }

    fn step(&mut self, entry: usize) -> Option<&mut Step> {
        match &mut self.entries.get_mut(entry)?.data {
            Data::Step(step) => Some(step),
            _ => None,
        }
    }

    fn call(&mut self, entry: usize) -> Option<&mut Call> {
        match &mut self.entries.get_mut(entry)?.data {
            Data::Call(call) => Some(call),
            _ => None,
        }
    }

    /// Notes that an entry has come to its end.
    fn close(&mut self, exchange: &Exchange, entry: usize) {
        let now = exchange.gateway.clock.now().since(exchange.started);
        if let Some(entry) = self.entries.get_mut(entry) {
            entry.elapsed = Some(now.saturating_sub(entry.at));
        }
    }

    /// Whether an entry behind this one is of a step inside its step.
    fn holds_others(&self, entry: usize) -> bool {
        let Some(own) = self.entries.get(entry).and_then(|own| own.origin.as_ref()) else { return false };
        let is_inside = |origin: &Origin| {
            let rest = origin.path.strip_prefix(&own.path);
            rest.is_some_and(|rest| rest.starts_with('/')) && origin.section == own.section
        };
        self.entries[entry + 1..].iter().filter_map(|other| other.origin.as_deref()).any(is_inside)
    }

    pub(super) fn head(&mut self, redactor: &Redactor, headers: &HeaderMap, body: &Body) -> Head {
        let learned = &mut self.learned;
        let shown =
            headers.iter().map(|(name, value)| (name.to_string(), learned.header(redactor, name, value))).collect();
        Head { headers: shown, body: Shown::of_message(body, headers, redactor, learned), ..Head::default() }
    }

    fn answer(&mut self, redactor: &Redactor, response: &Response<Body>) -> Head {
        let head = self.head(redactor, response.headers(), response.body());
        Head { status: response.status().as_u16(), ..head }
    }
}

impl Failure {
    fn of(fault: &Fault) -> Self {
        let message = fault.to_string();
        let message = message.strip_prefix(fault.reason).and_then(|text| text.strip_prefix(": ")).unwrap_or(&message);
        Self { reason: fault.reason, status: Some(fault.status.as_u16()), message: message.to_owned() }
    }
}

impl Recorder {
    /// Begins with the caller's request as it arrived. A body that streams is read along from here.
    pub(crate) fn begin_exchange(tracing: &Arc<Tracing>, request: &mut Request<Body>) -> Box<Self> {
        let mut record = Record::default();
        let asked = request.headers().get(ASK).is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(b"true"));
        let mut head = record.head(&tracing.redactor, request.headers(), request.body());
        head.method = request.method().to_string();
        let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        head.url = record.learned.url(&tracing.redactor, target);
        if request.version() == Version::HTTP_2 && !request.headers().contains_key(http::header::HOST) {
            let authority = request.uri().authority().map(|authority| (":authority".to_owned(), authority.to_string()));
            head.headers.splice(0..0, authority);
        }
        record.request = head;
        let (parts, body) = (request.headers().clone(), request.body_mut());
        record.passing.extend(Passing::tap(body, &parts).map(|passing| (Whose::Request, passing)));
        Box::new(Self { tracing: tracing.clone(), asked, record: Mutex::new(record) })
    }

    /// Whether the caller asks for the trace.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.asked
    }

    /// Where a trace is, when the admin listener is this machine's own.
    pub(crate) fn local_url(&self, id: &str) -> Option<String> {
        self.tracing.traces.local_url(id)
    }

    /// Hides a secret that a step has come to know, wherever it stands in the trace.
    pub(crate) fn hide(&self, secret: &[u8]) {
        self.record.lock().learned.learn(&String::from_utf8_lossy(secret));
    }

    /// Why no operation takes the request.
    pub(crate) fn missed(&self, why: String) {
        self.record.lock().missed = Some(why);
    }

    /// Something worth telling, from a policy.
    pub(crate) fn note(&self, exchange: &Exchange, origin: &Arc<Origin>, note: Note) {
        let mut record = self.record.lock();
        record.weight += note.text.len();
        let entry = record.add(exchange, origin.policy, origin, Data::Note(note));
        if let Some(entry) = entry {
            record.close(exchange, entry);
        }
    }

    /// The same in a few words.
    pub(crate) fn tell(&self, exchange: &Exchange, origin: &Arc<Origin>, text: impl Into<String>) {
        self.note(exchange, origin, Note { text: text.into(), ..Note::default() });
    }

    /// An error became the answer, and on-error comes next.
    pub(crate) fn failed(&self, exchange: &Exchange, fault: &Fault) {
        let mut record = self.record.lock();
        let origin = Arc::new(Origin { section: "on-error", ..Origin::default() });
        let source = if fault.source.is_empty() { "pipeline" } else { fault.source };
        if let Some(entry) = record.add(exchange, source, &origin, Data::Failed(Failure::of(fault))) {
            record.close(exchange, entry);
        }
    }

    // === steps ===

    pub(super) fn begin(&self, exchange: &Exchange, origin: &Arc<Origin>, before: Snapshot) -> Option<Begun> {
        let entry = self.record.lock().add(exchange, origin.policy, origin, Data::Step(Box::default()))?;
        Some(Begun { entry, before })
    }

    pub(super) fn end(
        &self,
        exchange: &Exchange,
        begun: Option<Begun>,
        after: &Snapshot,
        result: &Result<Flow, Fault>,
    ) {
        let Some(Begun { entry, before }) = begun else { return };
        let redactor = &self.tracing.redactor;
        let mut record = self.record.lock();
        let holds_others = record.holds_others(entry);
        let change = if holds_others { Change::default() } else { before.until(after, redactor, &mut record.learned) };
        let outcome = match result {
            Ok(Flow::Next) => Outcome::Next,
            Ok(Flow::Respond(_)) if holds_others => Outcome::Next,
            Ok(Flow::Respond(response)) => Outcome::Answered(record.answer(redactor, response)),
            Err(_) if holds_others => Outcome::FailedInside,
            Err(fault) => Outcome::Failed(Failure::of(fault)),
        };
        record.weight += change.weight();
        record.close(exchange, entry);
        if let Some(step) = record.step(entry) {
            (step.change, step.holds_others, step.outcome) = (change, holds_others, outcome);
        }
    }

    // === layers ===

    pub(super) fn enter(&self, exchange: &Exchange, origin: &Arc<Origin>, before: Snapshot) -> Option<usize> {
        let mut record = self.record.lock();
        let step = Step { passed: Some(0), ..Step::default() };
        let entry = record.add(exchange, origin.policy, origin, Data::Step(Box::new(step)))?;
        record.layers.push(OpenLayer { origin: origin.clone(), entry, before, first: None, passed: 0, answer: None });
        Some(entry)
    }

    /// A layer lets a request pass.
    pub(super) fn pass(&self, exchange: &Exchange, origin: &Arc<Origin>, now: Snapshot) {
        let redactor = &self.tracing.redactor;
        let mut guard = self.record.lock();
        let record = &mut *guard;
        let Some(layer) = record.layers.iter_mut().rfind(|layer| Arc::ptr_eq(&layer.origin, origin)) else { return };
        layer.passed += 1;
        layer.answer = None;
        let (entry, number) = (layer.entry, layer.passed);
        let mut change = layer.first.as_ref().unwrap_or(&layer.before).until(&now, redactor, &mut record.learned);
        let is_first = layer.first.is_none();
        if is_first {
            layer.first = Some(now);
            if record.holds_others(entry) {
                change = Change::default();
            }
        }
        record.weight += change.weight();
        if let Some(step) = record.step(entry) {
            step.passed = Some(number);
            if is_first {
                step.change = change;
                return;
            }
        }
        if let Some(again) = record.add(exchange, origin.policy, origin, Data::Again { number, change }) {
            record.close(exchange, again);
        }
    }

    /// An answer comes back to a layer.
    pub(super) fn come_back(&self, origin: &Arc<Origin>, answer: Snapshot) {
        let mut record = self.record.lock();
        if let Some(layer) = record.layers.iter_mut().rfind(|layer| Arc::ptr_eq(&layer.origin, origin)) {
            layer.answer = Some(answer);
        }
    }

    pub(super) fn leave(
        &self,
        exchange: &Exchange,
        entry: usize,
        after: Option<Snapshot>,
        result: &Result<Response<Body>, Fault>,
    ) {
        let redactor = &self.tracing.redactor;
        let mut guard = self.record.lock();
        let record = &mut *guard;
        let Some(at) = record.layers.iter().rposition(|layer| layer.entry == entry) else { return };
        let layer = record.layers.remove(at);
        let back = layer.answer.zip(after).map(|(before, after)| before.until(&after, redactor, &mut record.learned));
        let holds_others = record.holds_others(entry);
        let outcome = match result {
            Ok(response) if layer.passed == 0 => Outcome::Answered(record.answer(redactor, response)),
            Ok(_) => Outcome::Next,
            Err(fault) if fault.origin.as_ref().is_none_or(|own| Arc::ptr_eq(own, &layer.origin)) => {
                Outcome::Failed(Failure::of(fault))
            }
            Err(_) => Outcome::FailedInside,
        };
        record.weight += back.as_ref().map_or(0, Change::weight);
        record.close(exchange, entry);
        if let Some(step) = record.step(entry) {
            step.holds_others = holds_others;
            step.back = back.unwrap_or_default();
            step.outcome = outcome;
        }
    }

    // === calls ===

    /// A backend is about to be called.
    pub(crate) fn call<'a>(
        &'a self,
        exchange: &'a Exchange,
        origin: &Arc<Origin>,
        backend: &str,
        endpoint: &'a Endpoint,
    ) -> Calling<'a> {
        let mut record = self.record.lock();
        let is_same = |entry: &&Entry| {
            entry.source == origin.policy
                && matches!(&entry.data, Data::Call(call) if matches!(call.callee, Callee::Backend))
                && entry.origin.as_ref().is_none_or(|own| Arc::ptr_eq(own, origin))
        };
        let number = record.entries.iter().filter(is_same).count() as u32 + 1;
        let call = Call { name: backend.to_owned(), number, ..Call::default() };
        let entry = record.add(exchange, origin.policy, origin, Data::Call(Box::new(call)));
        Calling { recorder: self, exchange, endpoint, entry }
    }

    /// The answer is what the caller gets.
    pub(crate) fn answered(&self, response: &mut Response<Body>) {
        let mut record = self.record.lock();
        record.answer = record.answer(&self.tracing.redactor, response);
        let (headers, body) = (response.headers().clone(), response.body_mut());
        let passing = Passing::tap(body, &headers).map(|passing| (Whose::Answer, passing));
        record.passing.extend(passing);
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Calling<'a> {
    recorder: &'a Recorder,
    exchange: &'a Exchange,
    endpoint: &'a Endpoint,
    entry: Option<usize>,
}

impl Watch for Calling<'_> {
    fn sent(&self, request: &Request<Body>) {
        let Some(entry) = self.entry else { return };
        let redactor = &self.recorder.tracing.redactor;
        let mut record = self.recorder.record.lock();
        if let Some(call) = record.call(entry)
            && call.sent > 0
        {
            call.sent += 1;
            return;
        }
        let mut head = record.head(redactor, request.headers(), request.body());
        head.method = request.method().to_string();
        head.url = record.learned.url(redactor, &on_the_wire(self.endpoint, request.uri()));
        if let Shown::Hidden { why, .. } = &mut head.body {
            // What streams is the caller's: policies write into memory.
            *why = "passed on as it arrived";
        }
        // hyper states the length of what is in memory.
        if let Some(bytes) = request.body().bytes()
            && !bytes.is_empty()
        {
            head.headers.push(("content-length".to_owned(), bytes.len().to_string()));
        }
        record.weight += head.weight();
        if let Some(call) = record.call(entry) {
            (call.request, call.sent) = (head, 1);
        }
    }
}

/// The URL of a request to an endpoint, its base path included.
fn on_the_wire(endpoint: &Endpoint, uri: &Uri) -> String {
    format!("{}{uri}", endpoint.origin())
}

impl Calling<'_> {
    /// The call is over. The body of its answer is read along.
    pub(crate) fn end(&self, result: &mut Result<Response<Body>, Fault>) {
        let Some(entry) = self.entry else { return };
        let mut record = self.recorder.record.lock();
        match result {
            Ok(response) => {
                let answer = record.answer(&self.recorder.tracing.redactor, response);
                record.weight += answer.weight();
                if let Some(call) = record.call(entry) {
                    call.answer = Some(answer);
                }
                if record.passing.len() < MOST_PASSING {
                    let (headers, body) = (response.headers().clone(), response.body_mut());
                    let passing = Passing::tap(body, &headers).map(|passing| (Whose::Call(entry), passing));
                    record.passing.extend(passing);
                }
            }
            Err(fault) => {
                let failure = Failure::of(fault);
                if let Some(call) = record.call(entry) {
                    call.failure = Some(failure);
                }
            }
        }
        record.close(self.exchange, entry);
    }
}
