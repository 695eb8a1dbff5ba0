//! Reads the answer of a language model along: what it reports of its tokens, and how much text it is.

use std::io;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

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
    /// As something else.
    Unreadable,
}

impl Form {
    /// What the headers say, whatever the content coding is.
    pub fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
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

/// What a decoder writes into is read.
impl io::Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.read(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
            b"text" | b"arguments" | b"partial_json" | b"thinking" | b"reasoning" | b"reasoning_content"
            | b"refusal" => Name::Text,
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(form: Form, text: &str, size: usize) -> Answer {
        let mut answer = Answer::new(form);
        text.as_bytes().chunks(size).for_each(|piece| answer.read(piece));
        answer
    }

    #[test]
    fn what_an_answer_reports_is_found_however_it_is_cut() {
        struct Case {
            name: &'static str,
            form: Form,
            text: &'static str,
            want: Option<[Option<u64>; 3]>,
        }
        let lines = Form::Events;
        for Case { name, form, text, want } in [
            Case {
                name: "OpenAI, chat",
                form: Form::Json,
                text: r#"{"id":"x","choices":[{"message":{"content":"{\"usage\":{\"prompt_tokens\":999}}"}}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"completion_tokens_details":{"reasoning_tokens":3}}}"#,
                want: Some([Some(9), Some(12), Some(21)]),
            },
            Case {
                name: "OpenAI, embeddings",
                form: Form::Json,
                text: r#"{"data":[{"embedding":[0.1,-0.2e-5]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
                want: Some([Some(8), None, Some(8)]),
            },
            Case {
                name: "OpenAI, responses",
                form: Form::Json,
                text: r#"{"output":[{"content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87,"total_tokens":123}}"#,
                want: Some([Some(36), Some(87), Some(123)]),
            },
            Case {
                name: "Anthropic, whose cached tokens stand beside the others",
                form: Form::Json,
                text: r#"{"content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":25,"cache_creation_input_tokens":100,"cache_read_input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":100},"output_tokens":15}}"#,
                want: Some([Some(128), Some(15), None]),
            },
            Case {
                name: "Gemini, whose thoughts stand beside the candidates",
                form: Form::Json,
                text: r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":7,"thoughtsTokenCount":30,"totalTokenCount":41,"promptTokensDetails":[{"modality":"TEXT","tokenCount":4}]}}"#,
                want: Some([Some(4), Some(37), Some(41)]),
            },
            Case {
                name: "Gemini, an array of answers",
                form: Form::Json,
                text: r#"[{"usageMetadata":{"promptTokenCount":4,"totalTokenCount":5}},{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":9,"totalTokenCount":13}}]"#,
                want: Some([Some(4), Some(9), Some(13)]),
            },
            Case {
                name: "lines of JSON",
                form: Form::Json,
                text: "{\"usage\":null}\n{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n",
                want: Some([Some(1), Some(2), None]),
            },
            Case {
                name: "a stream with every end of a line, comments and other fields",
                form: lines,
                text: ": hello\r\nevent: x\r\ndata: {\"usage\":null}\r\n\r\nid:7\rdata:{\"usage\":\rdata: {\"prompt_tokens\":3,\"completion_tokens\":4}}\r\rdata: [DONE]\n\n",
                want: Some([Some(3), Some(4), None]),
            },
            Case {
                name: "an event that is no JSON is left out",
                form: lines,
                text: "data: {\"usage\":{\"total_tokens\":5]\n\ndata: {\"usage\":{\"prompt_tokens\":6,\"total_tokens\":8}}\n\n",
                want: Some([Some(6), None, Some(8)]),
            },
            Case {
                name: "a usage that is something else's",
                form: Form::Json,
                text: r#"{"choices":[{"usage":{"prompt_tokens":1}}],"error":{"usage":{"total_tokens":7}}}"#,
                want: None,
            },
            Case { name: "no JSON", form: Form::Json, text: "<html>\"usage\":{\"total_tokens\":7}", want: None },
            Case { name: "not read", form: Form::Unreadable, text: r#"{"usage":{"total_tokens":7}}"#, want: None },
        ] {
            for size in 1..=text.len() {
                let usage = read(form, text, size).usage();
                let found = usage.map(|usage| [usage.prompt, usage.completion, usage.total]);
                assert_eq!(found, want, "{name}, in pieces of {size}");
            }
        }
    }

    #[test]
    fn the_text_of_an_answer_is_estimated_once() {
        let four = "Hello there, you all.";
        let want = {
            let mut gauge = Gauge::default();
            gauge.read(four.as_bytes());
            gauge.tokens()
        };
        for (name, form, text) in [
            ("chat", Form::Json, r#"{"choices":[{"message":{"role":"assistant","content":"Hello there, you all."}}]}"#),
            ("completion", Form::Json, r#"{"choices":[{"text":"Hello there, you all.","finish_reason":"stop"}]}"#),
            (
                "Anthropic",
                Form::Json,
                r#"{"id":"msg_1","role":"assistant","content":[{"type":"text","text":"Hello there, you all."}]}"#,
            ),
            (
                "Gemini",
                Form::Json,
                r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello there, you all."}]}}]}"#,
            ),
            (
                "chat, as it comes",
                Form::Events,
                "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"Hello th\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"ere, you all.\"}}]}\n\ndata: [DONE]\n\n",
            ),
            (
                "Anthropic, as it comes",
                Form::Events,
                "data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello there, you all.\"}}\n\n",
            ),
            (
                "responses, as they come, whose last events say all of it again",
                Form::Events,
                "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hello there, you all.\"}\n\ndata: {\"type\":\"response.output_text.done\",\"text\":\"Hello there, you all.\"}\n\ndata: {\"type\":\"response.content_part.done\",\"part\":{\"text\":\"Hello there, you all.\"}}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"content\":[{\"text\":\"Hello there, you all.\"}]}]}}\n\n",
            ),
        ] {
            for size in [1, 7, text.len()] {
                assert_eq!(read(form, text, size).estimate(), want, "{name}, in pieces of {size}");
            }
        }
    }

    #[test]
    fn the_form_is_what_the_headers_say() {
        for (kind, want) in [
            ("application/json", Form::Json),
            ("application/json; charset=utf-8", Form::Json),
            ("application/problem+json", Form::Json),
            ("application/x-ndjson", Form::Json),
            ("Text/Event-Stream;charset=utf-8", Form::Events),
            ("audio/mpeg", Form::Unreadable),
            ("", Form::Unreadable),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(Form::of(&headers), want, "{kind}");
        }
    }
}
