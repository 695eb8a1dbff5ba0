//! Reads the answer of a language model along: what it reports of its tokens, and how much text it is.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::names::{Name, Way};
use super::{Gauge, Usage};
use crate::json::{Reader, Visit};

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As JSON: one document, or one on each line.
    Json,
    /// As server-sent events whose data is JSON.
    Events,
    /// As something else, or compressed.
    Unreadable,
}

impl Form {
    /// What the headers say.
    pub fn of(headers: &HeaderMap) -> Self {
        let plain = headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding == "identity");
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).filter(|_| plain).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        let (_, subtype) = essence.split_once('/').unwrap_or_default();
        let is = |name: &str| subtype.eq_ignore_ascii_case(name);
        if is("event-stream") {
            Self::Events
        } else if is("json") || is("x-ndjson") || is("jsonl") || subtype.to_ascii_lowercase().ends_with("+json") {
            Self::Json
        } else {
            Self::Unreadable
        }
    }
}

/// An answer that is read along.
#[derive(Debug)]
pub struct Answer {
    form: Form,
    reader: Reader,
    found: Found,
    line: Line,
}

/// Where in a stream of events the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// At the start of a line, with so much of [`DATA`] read.
    Start(usize),
    /// In the data.
    Data,
    /// In a line of something else.
    Other,
}

const DATA: &[u8] = b"data:";

impl Answer {
    /// One that comes in this form.
    pub fn new(form: Form) -> Self {
        Self { form, reader: Reader::default(), found: Found::default(), line: Line::Start(0) }
    }

    /// Reads the next piece.
    pub fn read(&mut self, bytes: &[u8]) {
        match self.form {
            Form::Json => self.reader.read(bytes, &mut self.found),
            Form::Events => self.events(bytes),
            Form::Unreadable => {}
        }
    }

    /// Reads the lines of a stream of events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
    fn events(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            match self.line {
                Line::Start(_) if matches!(byte, b'\n' | b'\r') => {
                    // An empty line ends an event. Its data may have stood on several lines.
                    self.reader.end(&mut self.found);
                    self.found.way.reset();
                    self.line = Line::Start(0);
                    rest = &rest[1..];
                }
                Line::Start(read) if DATA.get(read) == Some(&byte) => {
                    self.line = if read + 1 == DATA.len() { Line::Data } else { Line::Start(read + 1) };
                    rest = &rest[1..];
                }
                Line::Start(_) => self.line = Line::Other,
                Line::Data | Line::Other => {
                    let end = memchr::memchr2(b'\n', b'\r', rest);
                    let (line, behind) = rest.split_at(end.unwrap_or(rest.len()));
                    if self.line == Line::Data {
                        self.reader.read(line, &mut self.found);
                    }
                    rest = behind;
                    if end.is_some() {
                        // CR and LF of one line's end are not an empty line.
                        let both = rest.starts_with(b"\r\n");
                        rest = &rest[if both { 2 } else { 1 }..];
                        self.line = Line::Start(0);
                    }
                }
            }
        }
    }

    /// What it has reported so far.
    pub fn usage(&self) -> Option<Usage> {
        self.found.usage()
    }

    /// How many tokens its text is by estimate, so far.
    pub fn estimate(&self) -> u64 {
        self.found.text.tokens()
    }
}

/// What has been found.
#[derive(Debug, Default)]
struct Found {
    way: Way,
    text: Gauge,
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    /// Of the prompt: what Anthropic counts beside it.
    cached: [u64; 2],
    /// What Gemini counts beside the completion and beside the prompt.
    thoughts: u64,
    tool_use: u64,
    /// Which of the two numbers of the cache comes.
    written: bool,
}

impl Found {
    fn usage(&self) -> Option<Usage> {
        let prompt = self.prompt.map(|prompt| {
            let cached = self.cached[0].saturating_add(self.cached[1]);
            prompt.saturating_add(cached).saturating_add(self.tool_use)
        });
        let completion = self.completion.map(|completion| completion.saturating_add(self.thoughts));
        let known = prompt.is_some() || completion.is_some() || self.total.is_some();
        known.then_some(Usage { prompt, completion, total: self.total })
    }
}

impl Visit for Found {
    fn enter(&mut self, array: bool) {
        self.way.enter(array);
    }

    fn leave(&mut self) {
        self.way.leave();
    }

    fn name(&mut self, name: &[u8]) {
        self.written = name == b"cache_creation_input_tokens";
        self.way.name(match name {
            b"usage" | b"usageMetadata" => Name::Usage,
            b"response" => Name::Response,
            b"message" => Name::Message,
            b"prompt_tokens" | b"input_tokens" | b"promptTokenCount" | b"inputTokens" => Name::Input,
            b"completion_tokens" | b"output_tokens" | b"candidatesTokenCount" | b"outputTokens" => Name::Output,
            b"total_tokens" | b"totalTokenCount" | b"totalTokens" => Name::Total,
            b"cache_creation_input_tokens" | b"cache_read_input_tokens" => Name::Cache,
            b"thoughtsTokenCount" => Name::Thoughts,
            b"toolUsePromptTokenCount" => Name::ToolUse,
            b"choices" | b"candidates" | b"content" | b"output" | b"delta" => match self.way.names() {
                // The outermost tell answers and events that repeat them apart.
                [_] => Name::Root,
                _ => Name::Text,
            },
            b"text" | b"arguments" | b"partial_json" | b"thinking" | b"reasoning" | b"reasoning_content" | b"refusal" => {
                Name::Text
            }
            _ => Name::None,
        });
    }

    fn text(&mut self) -> bool {
        // Pieces of one text come in event after event, so that they are not told apart.
        match self.way.names() {
            // OpenAI's responses: `{"type":"response.output_text.delta","delta":"…"}`.
            [Name::Root] => true,
            [Name::Root, ..] => {
                let last = self.way.names().iter().rev().find(|name| **name != Name::Item);
                last == Some(&Name::Text)
            }
            _ => false,
        }
    }

    fn piece(&mut self, bytes: &[u8]) {
        self.text.read(bytes);
    }

    fn escaped(&mut self, unit: u16) {
        self.text.unit(unit);
    }

    fn number(&mut self, value: u64) {
        let ([Name::Usage, field] | [Name::Response | Name::Message, Name::Usage, field]) = self.way.names() else {
            return;
        };
        match field {
            Name::Input => self.prompt = Some(value),
            Name::Output => self.completion = Some(value),
            Name::Total => self.total = Some(value),
            Name::Cache => self.cached[usize::from(self.written)] = value,
            Name::Thoughts => self.thoughts = value,
            Name::ToolUse => self.tool_use = value,
            _ => {}
        }
    }

    fn word(&mut self, _: u8) {}
}
