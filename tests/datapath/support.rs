//! A gateway that only forwards, a scripted backend and a client, all on real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use sluicegate::backend::{Deadlines, Endpoint, EndpointSettings, forward};
use sluicegate::body::Body;
use sluicegate::pipeline::Fault;
use sluicegate::server::admission::admit;
use sluicegate::server::{Connection, Handler, Server, Settings, Summary, Totals};
use tokio::sync::watch;

/// Long enough that only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

struct Forwarder {
    endpoint: Arc<Endpoint>,
    deadlines: Deadlines,
}

impl Forwarder {
    async fn serve(&self, mut request: Box<Request<Body>>, connection: &Connection) -> Result<Response<Body>, Fault> {
        admit(&mut request, connection)?;
        forward(&self.endpoint, request, &self.deadlines, None).await
    }
}

impl Handler for Forwarder {
    async fn handle(&self, request: Box<Request<Body>>, connection: &Connection) -> Response<Body> {
        self.serve(request, connection).await.unwrap_or_else(|fault| {
            let mut response = Response::new(Body::from(Bytes::from(fault.message.clone().into_owned())));
            *response.status_mut() = fault.status;
            response.headers_mut().extend(fault.headers.iter().cloned());
            response
        })
    }
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    counters: Vec<Arc<sluicegate::server::Counters>>,
    stop: watch::Sender<Option<Duration>>,
    thread: Option<JoinHandle<Summary>>,
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) settings: Settings,
    pub(crate) endpoint: EndpointSettings,
    pub(crate) deadlines: Deadlines,
}

impl Gateway {
    pub(crate) fn new(backend: SocketAddr) -> Self {
        Self::with(backend, Options::default())
    }

    pub(crate) fn with(backend: SocketAddr, options: Options) -> Self {
        Self::at(&format!("http://{backend}"), options)
    }

    pub(crate) fn at(url: &str, options: Options) -> Self {
        let settings = Settings { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], workers: 1, ..options.settings };
        let server = Server::bind(settings).unwrap();
        let (address, counters) = (server.addresses()[0], server.counters());
        let endpoint = Arc::new(Endpoint::new(&url.parse().unwrap(), options.endpoint).unwrap());
        let handler = Arc::new(Forwarder { endpoint, deadlines: options.deadlines });
        let (stop, stopped) = watch::channel(None);
        let thread = std::thread::spawn(move || server.run(&handler, &stopped).unwrap());
        Self { address, counters, stop, thread: Some(thread) }
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals::of(&self.counters)
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(self.address)
    }

    /// Sends bytes on a connection of their own and reads until it is closed.
    pub(crate) fn raw(&self, bytes: &str) -> String {
        let mut client = self.connect();
        client.send(bytes);
        client.rest()
    }

    pub(crate) fn begin_drain(&self, patience: Duration) {
        self.stop.send_replace(Some(patience));
    }

    pub(crate) fn wait(mut self) -> Summary {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(Some(Duration::ZERO));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One message as it was on the wire.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) first_line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A connection, from either side.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    /// Everything until the other side closes; an error ends it too.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the other side has closed the connection, as far as reading tells.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0))
    }

    pub(crate) fn head(&mut self) -> Option<Message> {
        let mut message = Message::default();
        let mut line = String::new();
        if self.0.read_line(&mut line).ok()? == 0 {
            return None;
        }
        message.first_line = line.trim_end().to_owned();
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            let Some((name, value)) = line.split_once(':') else { return Some(message) };
            message.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// A whole message; `None` when the other side closes before its end.
    pub(crate) fn message(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        if message.field("transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                self.0.read_line(&mut line).ok()?;
                let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
                let mut chunk = vec![0; length + 2];
                self.0.read_exact(&mut chunk).ok()?;
                message.body.extend_from_slice(&chunk[..length]);
                if length == 0 {
                    break;
                }
            }
        } else if let Some(length) = message.field("content-length") {
            message.body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut message.body).ok()?;
        }
        Some(message)
    }
}

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    /// Runs `script` on a thread for each connection, with the number of the connection, from 0.
    pub(crate) fn new(script: impl Fn(&mut Client, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (script, counted) = (Arc::new(script), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let script = script.clone();
                let number = counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || script(&mut Client::on(stream.unwrap()), number));
            }
        });
        Self { address, connections }
    }

    /// Answers each request with the same bytes.
    pub(crate) fn answering(answer: &'static str) -> Self {
        Self::new(move |client, _| {
            while client.message().is_some() {
                client.send(answer);
            }
        })
    }

    /// Answers each request with what it looked like: the first line, the fields, an empty line, the body.
    pub(crate) fn echo() -> Self {
        Self::new(|client, _| {
            while let Some(message) = client.message() {
                let mut text = message.first_line.clone();
                for (name, value) in &message.fields {
                    text += &format!("\n{name}: {value}");
                }
                text += &format!("\n\n{}", message.text());
                let head_only = message.first_line.starts_with("HEAD ");
                client.send(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
                    text.len(),
                    if head_only { "" } else { &text }
                ));
            }
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
