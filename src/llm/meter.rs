//! What one exchange with a language model consumes, read from its messages while they pass.

use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;

use super::{Answer, Form, Prompt, Usage};
use crate::body::{Body, Decoder, Tap};

/// So much is read of an answer that is compressed, without its compression: what follows counts by what was read so far.
const MOST_DECODED: u64 = 64 << 20;

/// The meter of one exchange.
#[derive(Debug, Default)]
pub struct Meter {
    prompt: Mutex<Prompt>,
    answer: Mutex<Option<Metered>>,
    /// What tries before the last one have consumed.
    earlier: Mutex<Consumed>,
}

#[derive(Debug)]
struct Metered {
    answer: Decoder<Answer>,
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

    fn and(self, more: Self) -> Self {
        Self {
            prompt: self.prompt.saturating_add(more.prompt),
            completion: self.completion.saturating_add(more.completion),
        }
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

    /// The same answer's body, which is read along; what is in it where it is compressed with one of `gzip`, `deflate` and `br`.
    #[must_use]
    pub fn response(self: &Arc<Self>, body: Body, headers: &HeaderMap) -> Body {
        let form = Form::of(headers);
        let decoder = Decoder::new(headers, Answer::new(form), MOST_DECODED);
        let is_readable = form != Form::Unreadable && decoder.is_some();
        // What cannot be read reports nothing.
        let mut answer = decoder.unwrap_or_else(|| Decoder::plain(Answer::new(Form::Unreadable)));
        let bytes = body.bytes();
        if let Some(bytes) = bytes {
            answer.read(bytes);
        }
        let complete = bytes.is_some();
        *self.answer.lock() = Some(Metered { answer, complete });
        if complete || !is_readable { body } else { body.tapped(Arc::new(OfAnswer(self.clone()))) }
    }

    /// The estimate of the prompt, as far as it has been read.
    pub fn prompt(&self) -> u64 {
        self.prompt.lock().tokens()
    }

    /// The request is sent again, and its answer, which may have been a `success`, is not passed on. It counts as far as it has been
    /// read; one that has not has consumed the prompt at least, unless it was an error.
    pub fn again(&self, success: bool) {
        let read = self.answer.lock().take();
        let consumed = match &read {
            Some(answer) => self.reported(answer, success),
            None if success => Consumed { prompt: self.prompt(), completion: 0 },
            None => Consumed::default(),
        };
        let mut earlier = self.earlier.lock();
        *earlier = earlier.and(consumed);
    }

    /// What has been consumed when nobody waits for the answer any more: the prompt is on its way.
    pub fn abandoned(&self) -> Consumed {
        self.earlier.lock().and(Consumed { prompt: self.prompt(), completion: 0 })
    }

    /// What all tries have consumed, as far as can be told: what the answer reports, and estimates in the place of what it does not.
    /// An answer that reports nothing consumes nothing where it is an error.
    pub fn consumed(&self, success: bool) -> Consumed {
        let answer = self.answer.lock();
        let last = answer.as_ref().map_or_else(Consumed::default, |answer| self.reported(answer, success));
        self.earlier.lock().and(last)
    }

    fn reported(&self, Metered { answer: decoder, complete }: &Metered, success: bool) -> Consumed {
        let answer = decoder.get_ref();
        match answer.usage() {
            None if success => Consumed { prompt: self.prompt(), completion: answer.estimate() },
            None => Consumed::default(),
            Some(usage) => {
                let mut consumed = complete_usage(usage, || self.prompt());
                if !*complete || decoder.is_broken() {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn both_numbers_are_known_from_any_of_the_three() {
        for (name, [prompt, completion, total], want) in [
            ("all", [Some(9), Some(12), Some(21)], (9, 12)),
            ("a total of more than both", [Some(9), Some(12), Some(30)], (9, 21)),
            ("without a total", [Some(9), Some(12), None], (9, 12)),
            ("the prompt", [Some(9), None, Some(9)], (9, 0)),
            ("the total and the completion", [None, Some(12), Some(21)], (9, 12)),
            ("the total, and 5 by estimate", [None, None, Some(21)], (5, 16)),
            ("the completion, and 5 by estimate", [None, Some(12), None], (5, 12)),
        ] {
            let consumed = complete_usage(Usage { prompt, completion, total }, || 5);
            assert_eq!((consumed.prompt, consumed.completion), want, "{name}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_counts_what_came() {
        let meter = Arc::new(Meter::default());
        let request = Bytes::from_static(br#"{"prompt":"Say hello."}"#);
        let request = meter.request(Body::Full(request));
        assert!(matches!(request, Body::Full(_)), "what is in memory is read at once");
        assert_eq!(meter.prompt(), 3);
        assert_eq!(meter.consumed(true), Consumed::default(), "nothing is consumed before there is an answer");

        let mut events = Decoder::plain(Answer::new(Form::Events));
        events.read(b"data: {\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n");
        events.read(b"data: {\"delta\":{\"text\":\"one two three four five\"}}\n\n");
        *meter.answer.lock() = Some(Metered { answer: events, complete: false });
        assert_eq!(meter.consumed(true), Consumed { prompt: 7, completion: 5 });
        let answer = OfAnswer(meter.clone());
        answer.piece(b"data: {\"usage\":{\"output_tokens\":4}}\n\n");
        answer.end(true);
        assert_eq!(meter.consumed(true), Consumed { prompt: 7, completion: 4 }, "the last report holds");
        meter.again(true);
        assert_eq!(
            meter.abandoned(),
            Consumed { prompt: 10, completion: 4 },
            "the first try, and the prompt of the second"
        );
        meter.again(false);
        assert_eq!(meter.consumed(true), Consumed { prompt: 7, completion: 4 }, "an error that nobody read");
        meter.again(true);
        assert_eq!(meter.consumed(true), Consumed { prompt: 10, completion: 4 }, "a good answer that nobody read");
    }
}
