//! What a trace holds. Everything in it is text without secrets, ready to be shown.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::body::Shown;
use super::change::Change;
use super::mask::Scrubber;
use crate::pipeline::Origin;

/// One exchange, as it went.
#[derive(Debug, Default)]
pub struct Trace {
    /// The request id.
    pub id: String,
    /// When the request arrived.
    pub time: Option<SystemTime>,
    /// To the last byte of the answer.
    pub duration: Duration,
    /// The caller's request as it arrived.
    pub request: Head,
    /// Where it belongs.
    pub matched: Matched,
    /// Who sent it.
    pub caller: Caller,
    /// What happened, in that order.
    pub entries: Vec<Entry>,
    /// How much more happened than a trace holds.
    pub left_out: usize,
    /// What the caller got.
    pub answer: Head,
    /// How that ended, when not well.
    pub ended: Option<&'static str>,
    /// About the memory that it takes, in bytes.
    pub size: usize,
}

/// A message: a request or an answer.
#[derive(Debug, Default)]
pub struct Head {
    /// The method of a request.
    pub method: String,
    /// The URL of a request.
    pub url: String,
    /// The status of an answer; 0 for a request.
    pub status: u16,
    /// The headers, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it is known.
    pub body: Shown,
}

/// The API and the operation of a request, or why there is none.
#[derive(Debug, Default)]
pub struct Matched {
    /// The API's name.
    pub api: Option<String>,
    /// The operation's name.
    pub operation: Option<String>,
    /// The operation as it is written: `GET /{id}`.
    pub template: Option<String>,
    /// The values of the template's variables.
    pub parameters: Vec<(String, String)>,
    /// The product that the call is made under.
    pub product: Option<String>,
    /// Why there is no operation.
    pub missed: Option<String>,
}

/// Who sent a request.
#[derive(Debug, Default)]
pub struct Caller {
    /// The client's address.
    pub address: String,
    /// The id of the subscription.
    pub subscription: Option<String>,
    /// The name of the consumer.
    pub consumer: Option<String>,
    /// The name of the connection.
    pub connection: Option<String>,
}

/// Something that happened.
#[derive(Debug)]
pub struct Entry {
    /// The section of the pipeline.
    pub section: &'static str,
    /// The policy, or the part of the gateway.
    pub source: &'static str,
    /// Where the policy was written.
    pub origin: Option<Arc<Origin>>,
    /// When it began, from the beginning of the exchange.
    pub at: Duration,
    /// How long it took; none when it did not come to an end.
    pub elapsed: Option<Duration>,
    /// What happened.
    pub data: Data,
}

/// What happened.
#[derive(Debug)]
pub enum Data {
    /// A step ran.
    Step(Box<Step>),
    /// A layer let a request pass once more.
    Again {
        /// How often it has now.
        number: u32,
        /// How that request differs from the first one.
        change: Change,
    },
    /// A backend was called.
    Call(Box<Call>),
    /// Something worth telling.
    Note(Note),
    /// Something failed, and on-error takes over.
    Failed(Failure),
}

/// A step as it ran.
#[derive(Debug, Default)]
pub struct Step {
    /// What it changed of the message; for a layer, before it let the message pass.
    pub change: Change,
    /// Whether steps inside it have entries of their own, which tell what changed.
    pub holds_others: bool,
    /// How often a layer let the request pass; none for a step that is no layer.
    pub passed: Option<u32>,
    /// What a layer changed of the answer on its way back.
    pub back: Change,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a step ended.
#[derive(Debug, Default)]
pub enum Outcome {
    /// It did not: it was cut off.
    #[default]
    CutOff,
    /// The next step ran.
    Next,
    /// It answered the request itself.
    Answered(Head),
    /// It failed.
    Failed(Failure),
    /// A step inside it failed, or a step behind a layer.
    FailedInside,
}

/// An error.
#[derive(Debug)]
pub struct Failure {
    /// The stable code.
    pub reason: &'static str,
    /// The status of the answer, before on-error; none where the error alone answers nobody.
    pub status: Option<u16>,
    /// The message with its causes.
    pub message: String,
}

/// Whom a call is for.
#[derive(Debug, Default)]
pub enum Callee {
    /// A backend.
    #[default]
    Backend,
    /// A source of tokens.
    TokenSource {
        /// How long the request waited for it; none when the token was fetched before, with nobody waiting.
        waited: Option<Duration>,
    },
}

/// A call of a backend or of a source of tokens, as it was really sent.
#[derive(Debug, Default)]
pub struct Call {
    /// Whom it is for.
    pub callee: Callee,
    /// The name of the backend or the source.
    pub name: String,
    /// Which call of the exchange it is for its policy.
    pub number: u32,
    /// The request on the wire.
    pub request: Head,
    /// How often it was written to a connection: a pooled one may turn out to be dead.
    pub sent: u32,
    /// The answer.
    pub answer: Option<Head>,
    /// Why there is none.
    pub failure: Option<Failure>,
}

/// Something worth telling: of the gateway itself, or of a `trace` policy.
#[derive(Debug, Default)]
pub struct Note {
    /// How grave it is, where somebody says so.
    pub severity: Option<&'static str>,
    /// Who says it, where that is not the policy's name.
    pub by: Option<String>,
    /// What is told.
    pub text: String,
    /// Names and values besides.
    pub metadata: Vec<(String, String)>,
}

/// A list of texts, each visited once.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&mut String);

impl Trace {
    /// Takes the secrets out of all texts, and notes how large it is.
    pub(super) fn scrub(&mut self, scrubber: &Scrubber<'_>) {
        let mut size = size_of::<Self>() + self.id.len();
        let mut text = |text: &mut String| {
            scrubber.scrub(text);
            size += text.len() + size_of::<String>();
        };
        self.request.texts(&mut text);
        self.answer.texts(&mut text);
        let (matched, caller) = (&mut self.matched, &mut self.caller);
        // Names of the configuration stay as they are: they are what the reader knows.
        matched.missed.iter_mut().chain(matched.parameters.iter_mut().map(|(_, value)| value)).for_each(&mut text);
        text(&mut caller.address);
        for entry in &mut self.entries {
            entry.texts(&mut text);
        }
        size += self.entries.len() * size_of::<Entry>();
        let longest = scrubber.longest();
        self.request.body.finish(longest);
        self.answer.body.finish(longest);
        for entry in &mut self.entries {
            entry.finish(longest);
        }
        self.size = size;
    }
}

impl Head {
    fn texts(&mut self, visit: Visit<'_>) {
        visit(&mut self.method);
        visit(&mut self.url);
        for (name, value) in &mut self.headers {
            visit(name);
            visit(value);
        }
        self.body.text_mut().into_iter().for_each(visit);
    }

    /// About the memory that its texts take.
    pub(super) fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.url.len() + headers + self.body.weight()
    }
}

impl Entry {
    fn texts(&mut self, visit: Visit<'_>) {
        match &mut self.data {
            Data::Step(step) => {
                step.change.texts(visit);
                step.back.texts(visit);
                match &mut step.outcome {
                    Outcome::Answered(answer) => answer.texts(visit),
                    Outcome::Failed(failure) => visit(&mut failure.message),
                    Outcome::CutOff | Outcome::Next | Outcome::FailedInside => {}
                }
            }
            Data::Again { change, .. } => change.texts(visit),
            Data::Call(call) => {
                // The URL, of a backend that was chosen while the request ran.
                visit(&mut call.name);
                call.request.texts(visit);
                if let Some(answer) = &mut call.answer {
                    answer.texts(visit);
                }
                if let Some(failure) = &mut call.failure {
                    visit(&mut failure.message);
                }
            }
            Data::Note(note) => {
                note.by.iter_mut().for_each(&mut *visit);
                visit(&mut note.text);
                for (name, value) in &mut note.metadata {
                    visit(name);
                    visit(value);
                }
            }
            Data::Failed(failure) => visit(&mut failure.message),
        }
    }

    /// Cuts bodies to what is shown.
    fn finish(&mut self, longest: usize) {
        match &mut self.data {
            Data::Step(step) => {
                step.change.finish(longest);
                step.back.finish(longest);
                if let Outcome::Answered(answer) = &mut step.outcome {
                    answer.body.finish(longest);
                }
            }
            Data::Again { change, .. } => change.finish(longest),
            Data::Call(call) => {
                call.request.body.finish(longest);
                call.answer.iter_mut().for_each(|answer| answer.body.finish(longest));
            }
            Data::Note(_) | Data::Failed(_) => {}
        }
    }
}
