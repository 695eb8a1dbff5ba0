//! Serves one client connection: TLS, telling HTTP/2 from HTTP/1.1, hyper, and how it ends.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::connection::{Command, Connection, InFlight, Phase, TlsInfo};
use super::counters::count;
use super::head::CHUNKED;
use super::settings::Settings;
use super::stream::Stream;
use super::watched::{PREFACE, Prefix, Watched};
use super::{Handler, deadline};
use crate::body::{Body, BodyError, ClientBody};
use crate::identity::certificate::ClientCertificate;

/// What the connections of a worker have in common.
pub(crate) struct Shared<H> {
    handler: Arc<H>,
    settings: Arc<Settings>,
    http1: hyper::server::conn::http1::Builder,
    http2: hyper::server::conn::http2::Builder<TokioExecutor>,
}

impl<H: Handler> Shared<H> {
    pub(crate) fn new(handler: Arc<H>, settings: Arc<Settings>) -> Self {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        // The sweep watches slow heads: hyper's timer costs a timer write for each request. A small `max_buf_size`
        // would make large bodies slow, so the head alone is limited.
        http1.header_read_timeout(None).max_header_size(settings.head_size);
        if settings.head_fields != 100 {
            http1.max_headers(settings.head_fields);
        }
        let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // Reset floods (CVE-2023-44487) are bounded by h2's own defaults: 20 pending and 1024 local resets.
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.max_streams)
            .max_header_list_size(u32::try_from(settings.head_size).unwrap_or(u32::MAX))
            .max_send_buf_size(64 * 1024)
            .keep_alive_interval(settings.ping_interval);
        Self { handler, settings, http1, http2 }
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    pub(crate) fn handler(&self) -> &H {
        &self.handler
    }
}

// === from hyper to the handler and back ===

struct Dispatch<H> {
    shared: Arc<Shared<H>>,
    connection: Arc<Connection>,
}

type Handled = Pin<Box<dyn Future<Output = Result<Response<Outgoing>, Infallible>> + Send>>;

impl<H: Handler> hyper::service::Service<Request<Incoming>> for Dispatch<H> {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    /// Boxed for each request: hyper keeps room for this future in every connection, idle ones too.
    type Future = Handled;

    fn call(&self, request: Request<Incoming>) -> Handled {
        let body = request.body();
        let announced = if body.is_end_stream() { 0 } else { body.size_hint().exact().unwrap_or(CHUNKED) };
        let guard = InFlight::begin(self.connection.clone(), announced, request.version() == Version::HTTP_10);
        let settings = &self.shared.settings;
        let request = Box::new(request.map(|incoming| match announced {
            0 => Body::Empty,
            _ => Body::Client(Box::new(ClientBody::new(incoming, settings.limits.body, settings.body_timeout))),
        }));
        let shared = self.shared.clone();
        Box::pin(async move {
            let head = request.method() == Method::HEAD;
            let mut response = shared.handler.handle(request, guard.connection()).await;
            state_length(&mut response, head);
            let http2 = guard.connection().is_http2();
            if http2 {
                // Faults that end an HTTP/1.1 connection say so; in HTTP/2 the field is forbidden (RFC 9113 §8.2.2).
                response.headers_mut().remove(http::header::CONNECTION);
            }
            Ok(response.map(|body| Outgoing { body, guard, http2, untaken: false }))
        })
    }
}

/// A step may have put another body, status or method in place. hyper trusts what the head says.
fn state_length(response: &mut Response<Body>, head: bool) {
    let status = response.status();
    let stale = match response.body().bytes() {
        // hyper states the length of what is in memory by itself.
        Some(bytes) if !bytes.is_empty() => true,
        // No body is what follows these in any case, and the field tells of the one that a GET would have got.
        Some(_) => !head && status != StatusCode::NOT_MODIFIED,
        None => false,
    };
    // RFC 9110 §8.6: a 204 says nothing of a length.
    if stale || status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
    }
    // hyper would write `<none>`; the phrase may be empty (RFC 9112 §4).
    if status.canonical_reason().is_none() && response.extensions().get::<ReasonPhrase>().is_none() {
        response.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
}

/// The body of an answer on its way out; the connection is busy until it is dropped.
struct Outgoing {
    body: Body,
    guard: InFlight,
    http2: bool,
    /// Whether hyper has a piece of it and has not asked for the next: the client leaves no window (RFC 9113 §5.2). In
    /// HTTP/1.1 the socket tells that.
    untaken: bool,
}

impl Outgoing {
    fn set_untaken(&mut self, untaken: bool) {
        if self.untaken != untaken {
            self.untaken = untaken;
            self.guard.connection().control().set_untaken(untaken);
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.set_untaken(false);
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if this.http2 {
            this.set_untaken(false);
            this.set_untaken(matches!(frame, Poll::Ready(Some(Ok(_)))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === one connection ===

/// Serves a connection to its end.
pub(crate) async fn serve<H: Handler>(tcp: TcpStream, connection: Arc<Connection>, shared: Arc<Shared<H>>) {
    let (mut stream, mut http2) = (Stream::Plain(tcp), None);
    if let Some(tls) = &shared.settings.tls {
        let Stream::Plain(tcp) = stream else { return };
        // A handshake is timed like a head, from the moment the connection is there.
        connection.control().head_begins();
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
        let handshake = Box::pin(acceptor.accept(tcp));
        let Some(Ok(encrypted)) = unless_closed(&connection, handshake).await else {
            return count(|counters| counters.handshakes_failed.add());
        };
        let session = encrypted.get_ref().1;
        // A resumed session remembers it.
        let certificate = session.peer_certificates().and_then(|chain| {
            let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
            ClientCertificate::from_chain(chain, false).map(Arc::new).ok()
        });
        connection.set_tls(TlsInfo { server_name: session.server_name().map(Into::into), certificate });
        http2 = session.alpn_protocol().map(|protocol| protocol == b"h2");
        stream = Stream::Tls(Box::new(encrypted.into()));
        connection.control().idle();
    }
    let mut prefix = Prefix::default();
    let http2 = match http2 {
        Some(known) => known,
        None => match unless_closed(&connection, sniff(&mut stream, &mut prefix, &connection)).await {
            Some(Ok(Some(http2))) => http2,
            _ => return,
        },
    };
    let io = TokioIo::new(Watched::new(stream, prefix, http2, connection.clone()));
    let dispatch = Dispatch { shared: shared.clone(), connection: connection.clone() };
    if http2 {
        connection.control().set_http2();
        connection.control().idle();
        Box::pin(serve_http2(io, dispatch)).await;
    } else {
        serve_http1(io, dispatch).await;
    }
}

/// Reads until the bytes are, or cannot be, the preface of HTTP/2. `None` when the client has left.
async fn sniff(stream: &mut Stream, prefix: &mut Prefix, connection: &Connection) -> io::Result<Option<bool>> {
    loop {
        let read = stream.read(prefix.unfilled()).await?;
        if read == 0 && prefix.filled().is_empty() {
            return Ok(None);
        }
        if prefix.filled().is_empty() {
            connection.control().head_begins();
        }
        prefix.grow(read);
        if prefix.filled() == PREFACE {
            return Ok(Some(true));
        }
        if read == 0 || !PREFACE.starts_with(prefix.filled()) {
            return Ok(Some(false));
        }
    }
}

/// Runs `future` until the connection is told to end. A drain waits for a client that has begun to send a head.
async fn unless_closed<F: Future>(connection: &Connection, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        let control = connection.control();
        control.listen(cx.waker());
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match (control.command(), control.phase()) {
            (Command::Serve, _) | (Command::Drain, Phase::Head | Phase::Busy) => Poll::Pending,
            _ => Poll::Ready(None),
        }
    })
    .await
}

async fn serve_http1<H: Handler>(io: TokioIo<Watched>, dispatch: Dispatch<H>) {
    let connection = dispatch.connection.clone();
    let shared = dispatch.shared.clone();
    let mut served = shared.http1.serve_connection(io, dispatch).with_upgrades();
    let mut draining = false;
    let ended = poll_fn(|cx| {
        let control = connection.control();
        control.listen(cx.waker());
        match control.command() {
            Command::Serve => {}
            Command::Drain if draining => {}
            Command::Drain => {
                draining = true;
                // First, because what has arrived already is answered.
                if let Poll::Ready(ended) = Pin::new(&mut served).poll(cx) {
                    return Poll::Ready(Some(ended));
                }
                Pin::new(&mut served).graceful_shutdown();
            }
            Command::TimeOut | Command::Close => return Poll::Ready(None),
        }
        Pin::new(&mut served).poll(cx).map(Some)
    })
    .await;
    drop(shared);
    // None after an upgrade: the stream belongs to the tunnel then.
    let Some(parts) = served.into_parts() else { return };
    let stream = parts.io.into_inner();
    let stream = stream.stream();
    let control = connection.control();
    match ended {
        None if control.command() == Command::TimeOut => {
            // RFC 9110 §15.5.9. As much as the socket takes at once: nobody waits for a client that is slow already.
            if let Stream::Plain(tcp) = stream {
                let _ =
                    tcp.try_write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            }
        }
        None => {}
        Some(Ok(())) if control.announced() != 0 && control.command() == Command::Serve => linger(stream).await,
        Some(Ok(())) => {}
        Some(Err(error)) if error.is_parse() => {
            count(|counters| counters.bad_requests.add());
            linger(stream).await;
        }
        Some(Err(_)) if control.is_http10() => {
            // The end of an answer to HTTP/1.0 may be the end of the connection, so an answer that broke off must end
            // the connection in another way than a complete one.
            let _ = stream.tcp().set_zero_linger();
        }
        Some(Err(_)) => {}
    }
}

/// Reads on for a moment after the last answer. A socket that is closed with unread bytes resets the connection, which
/// may take the answer with it (RFC 9112 §9.6).
async fn linger(stream: &Stream) {
    const MOST: usize = 1024 * 1024;
    let Stream::Plain(tcp) = stream else { return };
    if socket2::SockRef::from(tcp).shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let drain = Box::pin(async {
        let mut scratch = vec![0; 8 * 1024];
        let mut left = MOST;
        while left > 0 && tcp.readable().await.is_ok() {
            match tcp.try_read(&mut scratch) {
                Ok(0) => break,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    });
    let _ = deadline::within(Duration::from_secs(2), drain).await;
}

async fn serve_http2<H: Handler>(io: TokioIo<Watched>, dispatch: Dispatch<H>) {
    let connection = dispatch.connection.clone();
    let shared = dispatch.shared.clone();
    let mut served = std::pin::pin!(shared.http2.serve_connection(io, dispatch));
    let mut draining = false;
    let ended = poll_fn(|cx| {
        let control = connection.control();
        control.listen(cx.waker());
        match control.command() {
            Command::Serve => {}
            Command::Drain if draining => {}
            Command::Drain => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
            Command::TimeOut | Command::Close => return Poll::Ready(Ok(())),
        }
        served.as_mut().poll(cx)
    })
    .await;
    if ended.is_err_and(|error| error.is_parse()) {
        count(|counters| counters.bad_requests.add());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Handler for Nothing {
        async fn handle(&self, _: Box<Request<Body>>, _: &Connection) -> Response<Body> {
            Response::default()
        }
    }

    fn size<A, F: Future>(_: impl FnOnce(A, Arc<Connection>, Arc<Shared<Nothing>>) -> F) -> usize {
        size_of::<F>()
    }

    /// What every idle connection keeps besides hyper's buffers.
    #[test]
    fn an_idle_connection_is_small() {
        let task = size(serve::<Nothing>);
        assert!(task <= 2048, "the task of a connection takes {task} bytes");
        assert!(size_of::<Connection>() <= 320, "{}", size_of::<Connection>());
        assert!(size_of::<Body>() <= 48, "{}", size_of::<Body>());
    }
}
