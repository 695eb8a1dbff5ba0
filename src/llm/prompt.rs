//! Reads a request to a language model along and estimates the tokens of its prompt.

use super::Gauge;
use super::names::{Name, Way};
use crate::json::{Reader, Visit};

/// What a message costs beside its text: its role, and what stands around it. OpenAI's own count
/// (<https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken>).
const MESSAGE: u64 = 4;

/// What begins the reply, where there are messages.
const REPLY: u64 = 3;

/// An image, a sound or a file. Azure API Management counts an image as this too, the most that one takes.
const MEDIUM: u64 = 1_200;

/// A request that is read along.
#[derive(Debug, Default)]
pub struct Prompt {
    reader: Reader,
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    way: Way,
    text: Gauge,
    messages: u64,
}

impl Prompt {
    /// Reads the next piece.
    pub fn read(&mut self, bytes: &[u8]) {
        self.reader.read(bytes, &mut self.found);
    }

    /// The estimate, as far as it has been read.
    pub fn tokens(&self) -> u64 {
        let Found { text, messages, .. } = &self.found;
        let around = messages.saturating_mul(MESSAGE).saturating_add(if *messages > 0 { REPLY } else { 0 });
        text.tokens().saturating_add(around)
    }
}

impl Found {
    /// Whether a value here is part of the prompt: below a member that holds it, and in nothing that is data.
    fn counts(&self) -> bool {
        match self.way.names() {
            [Name::Root, below @ ..] => !below.iter().any(|name| matches!(name, Name::Data | Name::Image)),
            [Name::Tools, ..] => true,
            _ => false,
        }
    }
}

impl Visit for Found {
    fn enter(&mut self, array: bool) {
        if !array && self.way.names() == [Name::Root, Name::Item] {
            self.messages += 1;
        }
        self.way.enter(array);
    }

    fn leave(&mut self) {
        self.way.leave();
    }

    fn name(&mut self, name: &[u8]) {
        let place = match self.way.names() {
            [_] => match name {
                b"messages" | b"prompt" | b"suffix" | b"input" | b"instructions" | b"system" | b"contents"
                | b"systemInstruction" | b"system_instruction" | b"content" | b"query" | b"documents" | b"texts" => {
                    Name::Root
                }
                b"tools" | b"functions" | b"response_format" | b"text" | b"output_config" => Name::Tools,
                _ => Name::None,
            },
            [Name::Tools, ..] => {
                // The names of a function and of its parameters are sent to the model too.
                self.text.separate();
                self.text.read(name);
                Name::Text
            }
            [Name::Root, ..] => match name {
                b"image_url" | b"source" | b"inlineData" | b"inline_data" | b"fileData" | b"file_data" | b"input_audio"
                | b"file" => {
                    if self.counts() {
                        self.text.add(MEDIUM);
                    }
                    Name::Image
                }
                b"role" | b"type" | b"id" | b"call_id" | b"tool_call_id" | b"tool_use_id" | b"status" | b"detail"
                | b"data" | b"url" | b"media_type" | b"mime_type" | b"mimeType" | b"signature" | b"thoughtSignature"
                | b"encrypted_content" | b"cache_control" | b"title" => Name::Data,
                _ => Name::Text,
            },
            _ => Name::None,
        };
        self.way.name(place);
    }

    fn text(&mut self) -> bool {
        let counts = self.counts();
        if counts {
            self.text.separate();
        }
        counts
    }

    fn piece(&mut self, bytes: &[u8]) {
        self.text.read(bytes);
    }

    fn escaped(&mut self, unit: u16) {
        self.text.unit(unit);
    }

    fn number(&mut self, _: u64) {
        // A prompt of tokens: `[1, 2]` or `[[1, 2]]`.
        if matches!(self.way.names(), [Name::Root, Name::Item] | [Name::Root, Name::Item, Name::Item]) {
            self.text.add(1);
        }
    }

    fn word(&mut self, _: u8) {}
}
