//! A backend that answers each request by a script, and tells of it; and a gateway in front of it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::support::gateway::Gateway;
use crate::support::wire::{Connection, Message, PATIENCE};

/// What a backend does about a request.
pub(crate) enum Act {
    /// Answers 200 with this body.
    Answer(String),
    /// Answers with this status and nothing else.
    Status(&'static str),
    /// Sends this, as it is.
    Send(&'static str),
    /// Sends this, as it is, and then nothing until the gateway gives up.
    Begin(&'static str),
}

pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    heard: Receiver<Heard>,
}

/// What a backend tells.
pub(crate) enum Heard {
    /// A request came, and what it does about it is done.
    Request(Message),
    /// The gateway closed a connection on which it waited.
    Closed,
}

impl Scripted {
    /// Starts a backend; `script` gets the target of a request and its number, from 0.
    pub(crate) fn start(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = channel();
        let script = Arc::new((script, std::sync::atomic::AtomicUsize::new(0)));
        // All threads end with the process; a test has nothing to wait for in them.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, tell) = (script.clone(), tell.clone());
                std::thread::spawn(move || {
                    serve(
                        Connection::on(stream),
                        &|target| {
                            let number = script.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            script.0(target, number)
                        },
                        &tell,
                    );
                });
            }
        });
        Self { address, heard }
    }

    /// The next thing that the backend tells.
    #[track_caller]
    pub(crate) fn next(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("something that the backend tells")
    }

    /// The target of the next request.
    #[track_caller]
    pub(crate) fn target(&self) -> String {
        match self.next() {
            Heard::Request(message) => message.first_line.split(' ').nth(1).unwrap().to_owned(),
            Heard::Closed => panic!("a connection was closed"),
        }
    }

    /// The requests that have come and nobody has asked for.
    pub(crate) fn rest(&self) -> Vec<Message> {
        let requests = self.heard.try_iter().filter_map(|heard| match heard {
            Heard::Request(message) => Some(message),
            Heard::Closed => None,
        });
        requests.collect()
    }
}

fn serve(mut connection: Connection, script: &dyn Fn(&str) -> Act, tell: &Sender<Heard>) {
    while let Some(request) = connection.request() {
        let target = request.first_line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (text, waits) = match script(&target) {
            Act::Answer(body) => (
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                ),
                false,
            ),
            Act::Status(status) => (format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"), false),
            Act::Send(text) => (text.to_owned(), false),
            Act::Begin(text) => (text.to_owned(), true),
        };
        if waits {
            // Who hears of it knows that the answer has begun.
            connection.send(text.as_bytes());
            let _ = tell.send(Heard::Request(request));
            connection.wait_for_close();
            let _ = tell.send(Heard::Closed);
            return;
        }
        // Who has the answer finds the request.
        let _ = tell.send(Heard::Request(request));
        connection.send(text.as_bytes());
    }
}

/// A gateway with these files; `{{backend}}` is the backend's URL.
pub(crate) fn gateway(backend: &Scripted, files: &[(&str, &str)]) -> Gateway {
    let url = format!("http://{}", backend.address);
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.replace("{{backend}}", &url)));
    let started = Gateway::start(files.collect(), None);
    started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics))
}

pub(crate) fn get(target: &str) -> Message {
    Message { first_line: format!("GET {target}"), ..Message::default() }
}

pub(crate) fn status(message: &Message) -> &str {
    message.first_line.split(' ').nth(1).unwrap_or_default()
}

pub(crate) fn body(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}
