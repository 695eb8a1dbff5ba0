//! One request over one connection.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

use super::request::Endpoint;
use super::{Done, Hub, Target, answer};
use crate::loadtest::record::{Answer, Attempt};
use crate::server::stream::Stream;

/// What sends requests over a connection.
pub(super) type Sender = http1::SendRequest<Full<Bytes>>;

/// The most bytes of an answer that are read; what is longer ends the connection.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;

/// Sends a request, over a new connection when there is none, and tells the hub what came of it.
pub(super) async fn exchange(
    hub: Rc<Hub>,
    error: Rc<RefCell<Option<String>>>,
    line: u64,
    sender: Option<Sender>,
    attempt: Attempt,
    handled: u64,
) {
    let mut times = [handled, hub.now(), 0, 0];
    let mut received = Answer::default();
    let timed = tokio::time::timeout(hub.timeout, attend(&hub, sender, &attempt, &mut times, &mut received)).await;
    let sender = match timed {
        Ok(Ok(sender)) => sender,
        failed => {
            let why = match failed {
                Ok(Err(failure)) => failure.to_string(),
                _ => format!("no answer within {:?}", hub.timeout),
            };
            error.borrow_mut().get_or_insert(why);
            // Half an answer is none.
            received = Answer::default();
            None
        }
    };
    let now = hub.now();
    times = times.map(|time| if time == 0 { now } else { time });
    hub.finish(Done { attempt, times, answer: received, line, sender });
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no answer: {}", deepest(.0))]
    Http(#[from] hyper::Error),
    #[error("the answer is longer than 64 MiB")]
    Long,
}

/// hyper says what it did, and its source why that failed.
fn deepest(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Sends the request and reads the whole answer; ends with the connection, if it can be used again.
async fn attend(
    hub: &Hub,
    sender: Option<Sender>,
    attempt: &Attempt,
    times: &mut [u64; 4],
    received: &mut Answer,
) -> Result<Option<Sender>, Failure> {
    let mut request = hub.target.request(attempt);
    let mut kept = sender;
    let (mut sender, response) = loop {
        let fresh = kept.is_none();
        let mut sender = match kept.take() {
            Some(sender) => sender,
            None => connect(&hub.target, attempt).await.map_err(Failure::Connect)?,
        };
        times[1] = hub.now();
        match sender.try_send_request(request).await {
            Ok(response) => break (sender, response),
            // The server closed a connection at rest just before: nothing was sent.
            Err(mut failed) => match failed.take_message() {
                Some(unsent) if !fresh => request = unsent,
                _ => return Err(Failure::Http(failed.into_error())),
            },
        }
    };
    times[2] = hub.now();
    let (head, body) = response.into_parts();
    *received = answer::read(head.status.as_u16(), &head.headers, &hub.target.names, hub.target.wall());
    drain(body).await?;
    times[3] = hub.now();
    Ok(sender.ready().await.is_ok().then_some(sender))
}

async fn drain(mut body: Incoming) -> Result<(), Failure> {
    let mut length = 0_u64;
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        length += frame?.data_ref().map_or(0, |data| data.len() as u64);
        if length > LONGEST_ANSWER {
            return Err(Failure::Long);
        }
    }
    Ok(())
}

/// Connects to a gateway and hangs up.
pub(super) async fn reach(endpoint: &Endpoint) -> io::Result<()> {
    open(endpoint, None).await.map(drop)
}

async fn connect(target: &Target, attempt: &Attempt) -> io::Result<Sender> {
    let stream = open(target.endpoint(attempt), target.source(attempt)).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // Whoever waits for an answer learns of the failure too.
        let _ = connection.await;
    });
    Ok(sender)
}

async fn open(endpoint: &Endpoint, source: Option<IpAddr>) -> io::Result<Stream> {
    let tcp = match source {
        None => TcpStream::connect(endpoint.address).await?,
        Some(source) => {
            let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.bind(SocketAddr::new(source, 0))?;
            socket.connect(endpoint.address).await?
        }
    };
    tcp.set_nodelay(true)?;
    let Some((config, name)) = &endpoint.tls else { return Ok(Stream::Plain(tcp)) };
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name.clone(), tcp).await?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// A request as it is sent.
pub(super) type Outgoing = Request<Full<Bytes>>;
