//! Operations that show how a backend can behave: slow, flaky, failing, throttled, large, and an echo.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::reply::{Reply, next_piece, number, read};
use crate::clock::Nanos;

/// The longest wait of the slow operation: more than the 120 s after which a connector gives up.
const MAX_SLOW_MS: u64 = 150_000;
/// The longest run of bytes.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// `GET /v1/slow?ms=1500`: answers after so many milliseconds.
pub(super) async fn slow(query: Option<&str>) -> Reply {
    match number(query, "ms", 1_500) {
        Err(reply) => reply,
        Ok(ms) if ms > MAX_SLOW_MS => Reply::bad_request(&format!("`ms` is at most {MAX_SLOW_MS}")),
        Ok(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Reply::ok(&json!({ "waitedMs": ms }))
        }
    }
}

/// `GET /v1/flaky`: of three calls in turn the first two fail.
#[derive(Default)]
pub(super) struct Flaky {
    calls: u64,
}

impl Flaky {
    pub(super) fn answer(&mut self) -> Reply {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Reply::ok(&json!({ "call": self.calls }));
        }
        Reply::error(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", "two of three calls fail; try again")
    }
}

/// `GET /v1/failing`: fails.
pub(super) fn failing() -> Reply {
    Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "Failed", "this operation always fails")
}

/// `GET /v1/throttled`: five calls in ten seconds, counted from the first.
#[derive(Default)]
pub(super) struct Throttle {
    from: Nanos,
    calls: u32,
}

impl Throttle {
    const CALLS: u32 = 5;
    const PERIOD: Duration = Duration::from_secs(10);

    pub(super) fn answer(&mut self, now: Nanos) -> Reply {
        let since = now.since(self.from);
        if self.calls == 0 || since >= Self::PERIOD {
            *self = Self { from: now, calls: 0 };
        } else if self.calls >= Self::CALLS {
            // Rounded up, so that a client that waits exactly that long is served.
            let wait = (Self::PERIOD - since).as_nanos().div_ceil(1_000_000_000);
            let wait = HeaderValue::from(u64::try_from(wait).unwrap_or(u64::MAX));
            return Reply::error(StatusCode::TOO_MANY_REQUESTS, "Throttled", "five calls in ten seconds are served")
                .header(header::RETRY_AFTER, wait);
        }
        self.calls += 1;
        Reply::ok(&json!({ "call": self.calls, "of": Self::CALLS }))
    }
}

/// `GET /v1/bytes/{n}`: n bytes, streamed.
pub(super) fn bytes(count: &str) -> Reply {
    match count.parse() {
        Ok(count) if count <= MAX_BYTES => Reply::run_of_bytes(count),
        _ => Reply::bad_request(&format!("the number of bytes is 0 to {MAX_BYTES}")),
    }
}

/// `POST /v1/upload`: counts what is sent and keeps nothing.
pub(super) async fn upload(mut body: Incoming) -> Reply {
    let mut count = 0;
    loop {
        match next_piece(&mut body).await {
            Ok(Some(piece)) => count += piece.len() as u64,
            Ok(None) => return Reply::ok(&json!({ "bytes": count })),
            Err(reply) => return reply,
        }
    }
}

/// The longest body that is echoed, in MiB.
const MAX_ECHO: usize = 16;

/// `ANY /v1/echo`: what came, as it came. A header sent more than once is a list; a body that is not text is base64.
pub(super) async fn echo(head: &Parts, body: Incoming) -> Reply {
    let body = match read(body, MAX_ECHO).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let mut headers = Map::new();
    for name in head.headers.keys() {
        let mut values: Vec<Value> =
            head.headers.get_all(name).iter().map(|value| Value::from(text(value.as_bytes()))).collect();
        let value = if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
        headers.insert(name.as_str().to_owned(), value);
    }
    let mut echo = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": headers,
    });
    match String::from_utf8(body) {
        Ok(text) => echo["body"] = Value::String(text),
        Err(error) => {
            echo["body"] = Value::String(STANDARD.encode(error.into_bytes()));
            echo["bodyEncoding"] = Value::from("base64");
        }
    }
    Reply::ok(&echo)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
