//! Token limits in front of a model that answers in streams: what is passed on when, and what is counted of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Instant;

use super::support::gateway::Gateway;
use super::support::wire::{Connection, Message, PATIENCE};
use super::{files, start};

const CHAT: &str = r#"{"stream":true,"messages":[{"role":"user","content":"Say hello."}]}"#;

/// A model that sends each piece of its answer when the test says so.
struct Model {
    address: SocketAddr,
    pieces: mpsc::Sender<Option<String>>,
}

impl Model {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (pieces, told) = mpsc::channel::<Option<String>>();
        // It ends with the test, whose end of the channel it waits for.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut connection = Connection::on(stream);
                if connection.request().is_none() {
                    continue;
                }
                connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
                while let Some(piece) = told.recv().ok().flatten() {
                    connection.send(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
                }
                connection.send(b"0\r\n\r\n");
            }
        });
        Self { address, pieces }
    }

    fn says(&self, data: &str) {
        self.pieces.send(Some(format!("data: {data}\n\n"))).unwrap();
    }

    fn ends(&self) {
        self.pieces.send(None).unwrap();
    }
}

/// A request whose answer is yet to come.
fn ask(gateway: &Gateway, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = CHAT.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: gateway.test\r\nx-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{CHAT}"
    )
    .unwrap();
    stream
}

/// Reads until this has come.
#[track_caller]
fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut chunk = [0; 1024];
    while !text.contains(end) {
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "no more came after {text:?}");
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    text
}

/// How many tokens of 1000 a key has left, as a request shows that costs nothing more: one to a model that is away.
#[track_caller]
fn left(gateway: &Gateway, key: &str) -> u64 {
    let fields = vec![("x-key".to_owned(), key.to_owned()), ("x-away".to_owned(), "1".to_owned())];
    let answer =
        gateway.send(&Message { first_line: "GET /".to_owned(), fields, body: Vec::new() }).expect("an answer");
    let told = answer.field("ratelimit").unwrap_or_else(|| panic!("{answer:?}"));
    told.split(";r=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap()
}

/// One key's 1,000 tokens a minute; requests with `x-away` are answered by the gateway itself.
fn gateway(model: SocketAddr, more: &str) -> Gateway {
    start(files(
        model,
        "",
        &format!(
            "[[inbound]]\npolicy = \"llm-token-limit\"\ncounter-key = \"@headers('x-key')\"\ntokens-per-minute = 1000\n{more}\n\
             [[inbound]]\npolicy = \"choose\"\n[[inbound.when]]\ncondition = \"@equals(headers('x-away'), '1')\"\n\
             [[inbound.when.policies]]\npolicy = \"mock-response\"\n"
        ),
    ))
}

#[test]
fn a_stream_is_passed_on_as_it_comes_and_counted_when_it_ends() {
    let model = Model::start();
    let gateway = gateway(model.address, "");
    let mut caller = ask(&gateway, "a");
    model.says(r#"{"choices":[{"delta":{"content":"Hel"}}],"usage":null}"#);
    // The model has not said more, so that nothing can have been held back.
    read_to(&mut caller, "Hel");
    assert_eq!(left(&gateway, "a"), 1000, "nothing is counted yet");
    model.says(r#"{"choices":[{"delta":{"content":"lo"}}],"usage":null}"#);
    model.says(r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":390,"total_tokens":400}}"#);
    model.says("[DONE]");
    model.ends();
    read_to(&mut caller, "\r\n0\r\n\r\n");
    assert_eq!(left(&gateway, "a"), 600);
    for line in [
        "sluicegate_llm_tokens_total{api=\"all\",kind=\"completion\"} 390",
        "sluicegate_llm_tokens_total{api=\"all\",kind=\"prompt\"} 10",
    ] {
        assert!(gateway.has_metric(line), "{line}");
    }
}

#[test]
fn who_leaves_in_the_middle_has_used_what_came_until_then() {
    let model = Model::start();
    let gateway = gateway(model.address, "");
    let mut caller = ask(&gateway, "a");
    model.says(r#"{"choices":[{"delta":{"content":"one two three four five"}}]}"#);
    read_to(&mut caller, "five");
    drop(caller);
    let began = Instant::now();
    // 10 of the prompt and 5 of the completion, by estimate. The gateway finds out when it has more to pass on.
    while left(&gateway, "a") == 1000 {
        model.says(r#"{"choices":[{"delta":{"content":""}}]}"#);
        assert!(began.elapsed() < PATIENCE, "what has come is never counted");
    }
    assert_eq!(left(&gateway, "a"), 985);
}

#[test]
fn who_leaves_before_the_answer_has_used_the_prompt() {
    let model = Model::start();
    let gateway = gateway(model.address, "estimate-prompt-tokens = true");
    let caller = ask(&gateway, "a");
    let began = Instant::now();
    while left(&gateway, "a") == 1000 {
        assert!(began.elapsed() < PATIENCE, "the prompt is never counted");
    }
    assert_eq!(left(&gateway, "a"), 990, "counted beforehand");
    drop(caller);
    assert_eq!(left(&gateway, "a"), 990, "and not given back");
    model.ends();
}

/// With as many tokens counted ahead as a request uses, 64 callers at once use exactly the limit.
#[test]
fn what_is_counted_ahead_is_never_exceeded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut connection = Connection::on(stream);
                while connection.request().is_some() {
                    let body = r#"{"usage":{"prompt_tokens":5,"completion_tokens":45,"total_tokens":50}}"#;
                    let length = body.len();
                    connection.send(
                        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
                            .as_bytes(),
                    );
                }
            });
        }
    });
    let gateway = gateway(address, "reserve = 50");
    let admitted: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let calls = (0..3).map(|_| {
                        let mut connection = Connection::on(ask(&gateway, "a"));
                        connection.response("POST").expect("an answer").first_line.contains(" 200 ")
                    });
                    calls.filter(|admitted| *admitted).count()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(admitted, 20, "of 192, each of which uses 50 of 1000");
}
