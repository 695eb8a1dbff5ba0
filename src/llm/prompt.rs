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

/// Whether a value here is part of the prompt: below a member that holds it, and in nothing that is data.
fn counts(names: &[Name]) -> bool {
    match names {
        [Name::Root, below @ ..] => !below.contains(&Name::Data),
        [Name::Tools, ..] => true,
        _ => false,
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
                b"messages"
                | b"prompt"
                | b"suffix"
                | b"input"
                | b"instructions"
                | b"system"
                | b"contents"
                | b"systemInstruction"
                | b"system_instruction"
                | b"content"
                | b"query"
                | b"documents"
                | b"texts" => Name::Root,
                b"tools" | b"functions" | b"response_format" | b"text" | b"output_config" => Name::Tools,
                _ => Name::None,
            },
            [Name::Tools, ..] => {
                // The names of a function and of its parameters are sent to the model too.
                self.text.separate();
                self.text.read(name);
                Name::Text
            }
            // The innermost is still that of the member before.
            [outer @ .., _] if outer.first() == Some(&Name::Root) => match name {
                b"image_url" | b"source" | b"inlineData" | b"inline_data" | b"fileData" | b"file_data"
                | b"input_audio" | b"file" => {
                    if counts(outer) {
                        self.text.add(MEDIUM);
                    }
                    Name::Data
                }
                b"role" | b"type" | b"id" | b"call_id" | b"tool_call_id" | b"tool_use_id" | b"status" | b"detail"
                | b"data" | b"url" | b"media_type" | b"mime_type" | b"mimeType" | b"signature"
                | b"thoughtSignature" | b"encrypted_content" | b"cache_control" | b"title" => Name::Data,
                _ => Name::Text,
            },
            _ => Name::None,
        };
        self.way.name(place);
    }

    fn text(&mut self) -> bool {
        let counts = counts(self.way.names());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, size: usize) -> u64 {
        let mut prompt = Prompt::default();
        text.as_bytes().chunks(size).for_each(|piece| prompt.read(piece));
        prompt.tokens()
    }

    #[test]
    fn a_prompt_is_its_texts_and_what_stands_around_them() {
        // `Say hello.` is 3 tokens.
        struct Case {
            name: &'static str,
            text: &'static str,
            want: u64,
        }
        let (one, around) = (3, MESSAGE + REPLY);
        for Case { name, text, want } in [
            Case {
                name: "chat",
                text: r#"{"model":"gpt","messages":[{"role":"user","content":"Say hello."}],"temperature":0.5}"#,
                want: one + around,
            },
            Case {
                name: "parts",
                text: r#"{"messages":[{"role":"user","content":[{"type":"text","text":"Say hello."}]}]}"#,
                want: one + around,
            },
            Case {
                name: "two messages and a prompt of the system's",
                text: r#"{"system":"Say hello.","messages":[{"content":"Say hello."},{"content":""}]}"#,
                want: 2 * one - 1 + 2 * MESSAGE + REPLY,
            },
            Case { name: "a completion", text: r#"{"prompt":"Say hello.","stop":["Say hello."]}"#, want: one },
            Case { name: "embeddings", text: r#"{"input":["Say hello.","Say hello."]}"#, want: 2 * one - 1 },
            Case { name: "tokens", text: r#"{"input":[[1,2,3],[4]],"dimensions":256}"#, want: 4 },
            Case { name: "responses", text: r#"{"input":"Say hello.","max_output_tokens":9}"#, want: one },
            Case {
                name: "Gemini",
                text: r#"{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}],"generationConfig":{"stopSequences":["x y z"]}}"#,
                want: one + around,
            },
            Case {
                name: "an image, whose data is not text",
                text: r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]}]}"#,
                want: MEDIUM + around,
            },
            Case {
                name: "Anthropic's image and Gemini's",
                text: r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"AAAA"}}]}],"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}]}"#,
                want: 2 * MEDIUM + 2 * MESSAGE + REPLY,
            },
            Case { name: "no JSON", text: "prompt=Say+hello.", want: 0 },
            Case { name: "nothing", text: "", want: 0 },
        ] {
            for size in 1..=text.len().max(1) {
                assert_eq!(tokens(text, size), want, "{name}, in pieces of {size}");
            }
        }
    }

    #[test]
    fn tools_are_told_to_the_model() {
        let tools = |name: &str| {
            tokens(
                &format!(r#"{{"messages":[],"tools":[{{"type":"function","function":{{"name":"{name}"}}}}]}}"#),
                usize::MAX,
            )
        };
        assert!(tools("get_the_weather_of_a_city") > tools("get") && tools("get") > 0);
    }

    #[test]
    fn escapes_are_what_they_stand_for() {
        let plain = tokens(r#"{"prompt":"世界, 世界"}"#, 5);
        assert_eq!(tokens(r#"{"prompt":"\u4e16\u754c, \u4e16\u754c"}"#, 5), plain);
    }
}
