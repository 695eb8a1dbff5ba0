//! A language model's API as OpenAI has it, for trying limits of tokens out: it says what it is told to say.

use http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::reply::{Reply, read_object};
use crate::llm::Prompt;

/// The longest completion.
const MAX_WORDS: u64 = 10_000;

/// `POST /v1/chat/completions`: as many words as `max_tokens` says, each of them one token; as a stream of events with
/// `"stream": true`, whose usage comes with `"stream_options": {"include_usage": true}`.
pub(super) async fn completions(body: Incoming) -> Reply {
    match read_object(body).await.and_then(answer) {
        Ok(reply) | Err(reply) => reply,
    }
}

fn answer(request: Map<String, Value>) -> Result<Reply, Reply> {
    let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
    let words = match request.get("max_tokens").or(request.get("max_completion_tokens")) {
        None => 12,
        Some(words) => words
            .as_u64()
            .filter(|words| (1..=MAX_WORDS).contains(words))
            .ok_or_else(|| Reply::bad_request(&format!("`max_tokens` is a number from 1 to {MAX_WORDS}")))?,
    };
    if request.get("messages").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(Reply::bad_request("`messages` is missing"));
    }
    let stream = flag(request.get("stream"));
    let reported = flag(request.get("stream_options").and_then(|options| options.get("include_usage")));
    let model = request.get("model").and_then(Value::as_str).unwrap_or("sample").to_owned();
    let prompt = {
        let mut prompt = Prompt::default();
        prompt.read(Value::Object(request).to_string().as_bytes());
        prompt.tokens()
    };
    let usage = json!({ "prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words });
    if !stream {
        let content = vec!["word"; usize::try_from(words).unwrap_or(0)].join(" ");
        let message = json!({ "role": "assistant", "content": content });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        let answer = json!({ "object": "chat.completion", "model": model, "choices": [choice], "usage": usage });
        return Ok(Reply::ok(&answer));
    }
    let event = |choices: Value, usage: Option<&Value>| {
        let mut event = json!({ "object": "chat.completion.chunk", "model": model, "choices": choices });
        if let Some(usage) = usage {
            event["usage"] = usage.clone();
        }
        format!("data: {event}\n\n")
    };
    let word = event(json!([{ "index": 0, "delta": { "content": " word" } }]), None);
    let mut events = word.repeat(usize::try_from(words).unwrap_or(0));
    events += &event(json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]), None);
    if reported {
        events += &event(json!([]), Some(&usage));
    }
    events += "data: [DONE]\n\n";
    Ok(Reply::text(StatusCode::OK, HeaderValue::from_static("text/event-stream"), events)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache")))
}
