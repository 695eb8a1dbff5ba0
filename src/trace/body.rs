//! Bodies in a trace: the first bytes of those that are text, and what else is known of them.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body::Body as _;
use parking_lot::Mutex;

use super::mask::Learned;
use crate::body::{Body, Tap};
use crate::telemetry::Redactor;

/// So much of a body is shown.
const MOST: usize = 16 * 1024;
/// So much more is kept until the secrets are taken out, so that none is cut in two.
const SPARE: usize = 8 * 1024;

/// A body as it is shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// There is none.
    #[default]
    Empty,
    /// Text.
    Text {
        /// Its beginning.
        text: String,
        /// The length of all of it, in bytes.
        length: u64,
        /// Whether there is more of it than is shown.
        cut: bool,
    },
    /// It is not shown.
    Hidden {
        /// Its length, as far as it is known.
        length: Option<u64>,
        /// Why not.
        why: &'static str,
    },
}

impl Shown {
    /// A body in memory, of a message with these headers.
    pub(super) fn of(bytes: &[u8], headers: &HeaderMap, redactor: &Redactor, learned: &mut Learned) -> Self {
        Self::of_beginning(bytes, bytes.len() as u64, headers, redactor, learned)
    }

    /// A body of which no more than the beginning may be known.
    fn of_beginning(
        bytes: &[u8],
        length: u64,
        headers: &HeaderMap,
        redactor: &Redactor,
        learned: &mut Learned,
    ) -> Self {
        if length == 0 {
            return Self::Empty;
        }
        let is_plain = |coding: &http::HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if !headers.get(CONTENT_ENCODING).is_none_or(is_plain) {
            return Self::Hidden { length: Some(length), why: "compressed" };
        }
        let bytes = &bytes[..bytes.len().min(MOST + SPARE)];
        let cut = (bytes.len() as u64) < length;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // Half a character at the cut.
            Err(error) if cut && error.error_len().is_none() => {
                std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return Self::Hidden { length: Some(length), why: "not text" },
        };
        if text.contains('\0') {
            return Self::Hidden { length: Some(length), why: "not text" };
        }
        let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        let is_form = kind.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded");
        Self::Text { text: learned.body(redactor, is_form, text), length, cut }
    }

    /// The body of a message, when it is in memory; a stream is left alone.
    pub(super) fn of_message(body: &Body, headers: &HeaderMap, redactor: &Redactor, learned: &mut Learned) -> Self {
        match body.bytes() {
            Some(bytes) => Self::of(bytes, headers, redactor, learned),
            None => Self::Hidden { length: body.size_hint().exact(), why: "a stream" },
        }
    }

    pub(super) fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Text { text, .. } => Some(text),
            Self::Empty | Self::Hidden { .. } => None,
        }
    }

    /// Cuts the text to what is shown, now that the secrets are taken out. `longest` is the length of the longest of them.
    pub(super) fn finish(&mut self, longest: usize) {
        let Self::Text { text, cut, .. } = self else { return };
        // The end of a text that was cut may hold the beginning of a secret.
        let sure = if *cut { text.len().saturating_sub(longest) } else { text.len() };
        let most = sure.min(MOST);
        if most < text.len() {
            *cut = true;
            text.truncate(text.floor_char_boundary(most));
            text.shrink_to_fit();
        }
    }

    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.len(),
            Self::Empty | Self::Hidden { .. } => 0,
        }
    }
}

/// The beginning of a body that streams, copied while it passes.
#[derive(Debug)]
pub(super) struct Passing {
    /// Of the message that it belongs to.
    headers: HeaderMap,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    beginning: Vec<u8>,
    length: u64,
    complete: bool,
}

impl Passing {
    /// Reads a body along; one that is in memory already is not touched.
    pub(super) fn tap(body: &mut Body, headers: &HeaderMap) -> Option<Arc<Self>> {
        if body.bytes().is_some() || body.is_end_stream() {
            return None;
        }
        let mut own = HeaderMap::new();
        for name in [CONTENT_ENCODING, CONTENT_TYPE] {
            own.extend(headers.get(&name).map(|value| (name, value.clone())));
        }
        let passing = Arc::new(Self { headers: own, seen: Mutex::default() });
        *body = std::mem::take(body).tapped(passing.clone());
        Some(passing)
    }

    /// What has passed so far.
    pub(super) fn shown(&self, redactor: &Redactor, learned: &mut Learned) -> Shown {
        let seen = self.seen.lock();
        if seen.length == 0 && !seen.complete {
            return Shown::Hidden { length: None, why: "a stream that was not read" };
        }
        Shown::of_beginning(&seen.beginning, seen.length, &self.headers, redactor, learned)
    }
}

impl Tap for Passing {
    fn piece(&self, data: &[u8]) {
        let mut seen = self.seen.lock();
        seen.length += data.len() as u64;
        let room = (MOST + SPARE).saturating_sub(seen.beginning.len());
        seen.beginning.extend_from_slice(&data[..data.len().min(room)]);
    }

    fn end(&self, complete: bool) {
        self.seen.lock().complete = complete;
    }
}

/// A body as it is before or after a step.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Bytes(Bytes),
    Stream,
}

impl Known {
    pub(super) fn of(body: &Body) -> Self {
        body.bytes().map_or(Self::Stream, |bytes| Self::Bytes(bytes.clone()))
    }
}
