//! What the messages of language models' APIs say of tokens: what an answer reports, and estimates where none does.
//!
//! A [`Meter`] reads one exchange along while its bodies are passed on, in a fixed space of about half a kilobyte: the request as a
//! [`Prompt`], the answer as an [`Answer`], whether it comes as JSON, as lines of JSON or as a stream of server-sent events. Read are
//! the messages of OpenAI (chat completions, completions, responses, embeddings), Azure OpenAI and Azure AI Model Inference, Anthropic,
//! Google Gemini, and what speaks like one of them.
//!
//! An estimate is one by [`Gauge`], whose weights were fitted to the tokens of OpenAI's `o200k_base`; no vocabulary is loaded.

mod answer;
mod gauge;
mod meter;
mod names;
mod prompt;

pub use answer::{Answer, Form};
pub use gauge::Gauge;
pub use meter::{Consumed, Meter};
pub use prompt::Prompt;

/// What an answer reports of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, those that a cache knew among them.
    pub prompt: Option<u64>,
    /// Tokens of the completion, those of its reasoning among them.
    pub completion: Option<u64>,
    /// Both.
    pub total: Option<u64>,
}
