//! What one exchange with a language model consumes, read from its messages while they pass.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Answer, Form, Prompt, Usage};
use crate::body::{Body, Tap};

/// The meter of one exchange.
#[derive(Debug, Default)]
pub struct Meter {
    prompt: Mutex<Prompt>,
    answer: Mutex<Option<Metered>>,
}

#[derive(Debug)]
struct Metered {
    answer: Answer,
    complete: bool,
}

/// What an exchange has consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the completion.
    pub completion: u64,
}

impl Consumed {
    /// All tokens.
    pub fn total(&self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }
}

impl Meter {
    /// The same request's body, which is read along: at once where it is in memory, else while it is passed on.
    #[must_use]
    pub fn request(self: &Arc<Self>, body: Body) -> Body {
        match body.bytes() {
            Some(bytes) => {
                self.prompt.lock().read(bytes);
                body
            }
            None => body.tapped(Arc::new(OfRequest(self.clone()))),
        }
    }

    /// The same answer's body, which is read along.
    #[must_use]
    pub fn response(self: &Arc<Self>, body: Body, form: Form) -> Body {
        let mut answer = Answer::new(form);
        let bytes = body.bytes();
        if let Some(bytes) = bytes {
            answer.read(bytes);
        }
        let complete = bytes.is_some();
        *self.answer.lock() = Some(Metered { answer, complete });
        if complete || form == Form::Unreadable { body } else { body.tapped(Arc::new(OfAnswer(self.clone()))) }
    }

    /// The estimate of the prompt, as far as it has been read.
    pub fn prompt(&self) -> u64 {
        self.prompt.lock().tokens()
    }

    /// What has been consumed, as far as can be told: what the answer reports, and estimates in the place of what it does not. An
    /// answer that reports nothing consumes nothing where it is an error.
    pub fn consumed(&self, success: bool) -> Consumed {
        let answer = self.answer.lock();
        let Some(Metered { answer, complete }) = &*answer else { return Consumed::default() };
        match answer.usage() {
            None if success => Consumed { prompt: self.prompt(), completion: answer.estimate() },
            None => Consumed::default(),
            Some(usage) => {
                let mut consumed = complete_usage(usage, || self.prompt());
                if !complete {
                    // What was reported first is not the last word.
                    consumed.completion = consumed.completion.max(answer.estimate());
                }
                consumed
            }
        }
    }
}

/// Both numbers, where not all of the three are reported.
fn complete_usage(usage: Usage, estimate: impl FnOnce() -> u64) -> Consumed {
    let Usage { prompt, completion, total } = usage;
    let prompt = prompt.unwrap_or_else(|| match (total, completion) {
        (Some(total), Some(completion)) => total.saturating_sub(completion),
        (Some(total), None) => estimate().min(total),
        (None, _) => estimate(),
    });
    // Some count more than both in the total, as what a model thinks.
    let rest = total.map_or(0, |total| total.saturating_sub(prompt));
    Consumed { prompt, completion: completion.unwrap_or(0).max(rest) }
}

struct OfRequest(Arc<Meter>);

impl Tap for OfRequest {
    fn piece(&self, data: &[u8]) {
        self.0.prompt.lock().read(data);
    }

    fn end(&self, _: bool) {}
}

struct OfAnswer(Arc<Meter>);

impl Tap for OfAnswer {
    fn piece(&self, data: &[u8]) {
        if let Some(metered) = &mut *self.0.answer.lock() {
            metered.answer.read(data);
        }
    }

    fn end(&self, complete: bool) {
        if let Some(metered) = &mut *self.0.answer.lock() {
            metered.complete = complete;
        }
    }
}
