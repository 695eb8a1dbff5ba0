//! A backend that records what it receives and answers as the request asks it to.
//!
//! | request header | effect |
//! |---|---|
//! | `x-test-status: 503, 200` | the status, one for each time it is called; the last one stays |
//! | `x-test-body: text` | the body of the answer, in place of `ok` |
//! | `x-test-header: name: value` | a header of the answer, in place of a default one; may be repeated |
//! | `x-test-event: text` | an event of the answer, in place of a body; may be repeated, and makes it a stream of events |
//! | `x-test-encoding: gzip` | the body of the answer is compressed, and says so; any other name is only said |
//! | `x-test-close: 1` | closes the connection without an answer, so many times |
//! | `x-test-hang: 1` | does not answer until the gateway gives up, so many times |
//!
//! It is a token endpoint as well, because a request for a token has no such headers:
//!
//! | request target | answer |
//! |---|---|
//! | `/test-token/NAME` | the access token `NAME`, good for an hour |
//! | `/test-refusal/CODE` | 400 with this error code |
//! | `/test-claims` | 400 with `interaction_required` and a claims challenge |

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::wire::{Connection, Message};

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Message>>>,
    told: Arc<Mutex<Option<Told>>>,
}

/// What a backend answers with when a test says so, whatever the request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// 0 closes the connection without an answer.
    pub(crate) status: u16,
    /// Besides the length.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Message>>> = Arc::default();
        let log = received.clone();
        let told: Arc<Mutex<Option<Told>>> = Arc::default();
        let words = told.clone();
        // Both kinds of thread end with the process; a test has nothing to wait for in them.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, words) = (log.clone(), words.clone());
                std::thread::spawn(move || serve(Connection::on(stream), &log, &words));
            }
        });
        Self { address, received, told }
    }

    /// Answers every request with this from now on.
    pub(crate) fn tell(&self, told: Told) {
        *self.told.lock().unwrap() = Some(told);
    }

    /// What has come since the last time, in order.
    pub(crate) fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

fn serve(mut connection: Connection, log: &Mutex<Vec<Message>>, told: &Mutex<Option<Told>>) {
    while let Some(request) = connection.request() {
        let before = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        if let Some(told) = told.lock().unwrap().clone() {
            if told.status == 0 {
                return;
            }
            connection.send(&told.bytes(request.first_line.starts_with("HEAD ")));
            continue;
        }
        let times = |name: &str| request.field(name).map_or(0, |times| times.parse().unwrap());
        if before < times("x-test-close") {
            return;
        }
        if before < times("x-test-hang") {
            return connection.wait_for_close();
        }
        connection.send(&answer(&request, before));
    }
}

impl Told {
    fn bytes(&self, is_head: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(&self.status.to_string()));
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {}\r\n\r\n", self.body.len());
        [text.as_bytes(), if is_head { &[] } else { &self.body }].concat()
    }
}

fn answer(request: &Message, before: usize) -> Vec<u8> {
    if let Some(answer) = token_answer(request) {
        return answer.into_bytes();
    }
    let statuses: Vec<&str> = request.field("x-test-status").unwrap_or("200").split(',').map(str::trim).collect();
    let status = statuses.get(before).or(statuses.last()).unwrap();
    let events: String = request.fields_of("x-test-event").map(|data| format!("data: {data}\n\n")).collect();
    let body = if events.is_empty() { request.field("x-test-body").unwrap_or("ok") } else { &events };
    let encoding = request.field("x-test-encoding");
    let body = if encoding == Some("gzip") { gzip(body.as_bytes()) } else { body.as_bytes().to_vec() };
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    let mut fields: Vec<(&str, &str)> =
        request.fields_of("x-test-header").filter_map(|field| field.split_once(": ")).collect();
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        fields.push(("content-type", if events.is_empty() { "text/plain" } else { "text/event-stream" }));
    }
    fields.extend(encoding.map(|encoding| ("content-encoding", encoding)));
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    if matches!(*status, "204" | "304") {
        return (text + "\r\n").into_bytes();
    }
    text += &format!("content-length: {}\r\n\r\n", body.len());
    let body = if request.first_line.starts_with("HEAD ") { &[] } else { &*body };
    [text.as_bytes(), body].concat()
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn reason(status: &str) -> &'static str {
    let status: http::StatusCode = status.parse().unwrap();
    status.canonical_reason().unwrap_or("")
}

fn token_answer(request: &Message) -> Option<String> {
    let target = request.first_line.split(' ').nth(1)?.strip_prefix("/test-")?;
    let path = target.split('?').next()?;
    let (status, body) = match path.split_once('/').unwrap_or((path, "")) {
        ("token", name) => {
            ("200 OK", format!(r#"{{"access_token":"{name}","token_type":"Bearer","expires_in":3600}}"#))
        }
        ("refusal", code) => ("400 Bad Request", format!(r#"{{"error":"{code}","error_description":"told so"}}"#)),
        ("claims", _) => {
            let claims = r#"{\"access_token\":{\"acrs\":{\"value\":\"c1\"}}}"#;
            ("400 Bad Request", format!(r#"{{"error":"interaction_required","claims":"{claims}"}}"#))
        }
        _ => return None,
    };
    let kind = "content-type: application/json";
    Some(format!("HTTP/1.1 {status}\r\n{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}
