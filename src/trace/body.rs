//! Bodies in a trace: the first bytes of those that are text, and what else is known of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

use super::mask::Learned;
use super::places::cut_to;
use crate::body::{Body, Tap, coding};
use crate::telemetry::Redactor;

/// So much of a body is shown.
pub(super) const MOST: usize = 16 * 1024;
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
        /// The compression that it came in, and that is taken off; the length is that on the wire.
        coding: Option<String>,
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
        let decoded;
        let (bytes, cut, coding) = if coding::is_coded(headers) {
            let Some(beginning) = coding::beginning(headers, bytes, MOST + SPARE) else {
                return Self::Hidden { length: Some(length), why: "in a compression that is not read" };
            };
            if beginning.bytes.is_empty() {
                return Self::Hidden { length: Some(length), why: "not in the compression that its headers name" };
            }
            decoded = beginning;
            (&*decoded.bytes, !decoded.complete, Some(decoded.coding.clone()))
        } else {
            let bytes = &bytes[..bytes.len().min(MOST + SPARE)];
            (bytes, (bytes.len() as u64) < length, None)
        };
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
        Self::Text { text: learned.body(redactor, is_form, text), length, cut, coding }
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
        cut_to(text, cut, MOST, longest);
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
            own.extend(headers.get_all(&name).iter().map(|value| (name.clone(), value.clone())));
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

/// The longest that a body is waited for that goes no further.
const LOOK: Duration = Duration::from_millis(100);

/// Reads the beginning of a body that goes no further, so that whoever reads it along sees it. Only for exchanges that are traced.
pub(crate) async fn look_at(body: &mut Body) {
    let read = async {
        let mut left = MOST + SPARE;
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    };
    // What does not come in time is not shown.
    drop(tokio::time::timeout(LOOK, read).await);
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::trace::mask::{Scrubber, Secrets};

    /// The text that is shown of a body, and whether it was cut.
    fn shown(body: &str) -> (String, bool) {
        let secrets = Secrets::new([("hush-hush-hush", Cow::Borrowed("***"))]);
        let scrubber = Scrubber::new(&secrets, &[]);
        let mut shown = Shown::of(body.as_bytes(), &HeaderMap::new(), &Redactor::default(), &mut Learned::default());
        shown.text_mut().into_iter().for_each(|text| scrubber.scrub(text));
        shown.finish(scrubber.longest());
        match shown {
            Shown::Text { text, cut, .. } => (text, cut),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_secret_is_cut_in_two() {
        // Wherever it stands at the ends of what is kept and of what is shown.
        for end in [MOST, MOST + SPARE] {
            for offset in 0..20 {
                let body = format!("{}hush-hush-hush{}", "x".repeat(end - offset), "y".repeat(SPARE * 2));
                let (text, cut) = shown(&body);
                assert!(cut && text.len() <= MOST, "{end} {offset}: {}", text.len());
                assert!(!text.contains("hu"), "{end} {offset}: {}", &text[text.len() - 30..]);
            }
        }
        // A text of secrets alone shrinks, so that its end comes into view.
        let (text, cut) = shown(&"hush-hush-hush".repeat(4_000));
        assert!(cut && text.chars().all(|it| it == '*'), "{}", &text[text.len() - 30..]);
        assert_eq!(shown("hush-hush-hush!"), ("***!".to_owned(), false));
    }

    #[test]
    fn what_is_no_text_is_not_shown() {
        let mut headers = HeaderMap::new();
        let check = |bytes: &[u8], headers: &HeaderMap| {
            Shown::of(bytes, headers, &Redactor::default(), &mut Learned::default())
        };
        assert_eq!(check(b"", &headers), Shown::Empty);
        assert_eq!(check(b"\xff\xfe", &headers), Shown::Hidden { length: Some(2), why: "not text" });
        assert_eq!(check(b"a\0b", &headers), Shown::Hidden { length: Some(3), why: "not text" });
        for (coding, why) in
            [("gzip", "not in the compression that its headers name"), ("zstd", "in a compression that is not read")]
        {
            headers.insert(CONTENT_ENCODING, http::HeaderValue::from_static(coding));
            assert_eq!(check(b"abc", &headers), Shown::Hidden { length: Some(3), why }, "{coding}");
        }
        // Half a character at the cut is left out.
        let long = "\u{20ac}".repeat(MOST);
        let (text, cut) = shown(&long);
        assert!(cut && text.chars().all(|it| it == '\u{20ac}'));
    }
}
