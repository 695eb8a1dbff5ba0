//! The byte stream to a backend, which remembers a short request so that it can be sent again.
//!
//! hyper consumes a request when it writes it. Keeping a copy of the head of every request, only because its pooled
//! connection may turn out to be dead, would cost two allocations and a reference count for each field; keeping the few
//! hundred bytes that were written costs a copy into a buffer that is there already.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::Body;
use crate::server::stream::Stream;

/// Longer requests are not remembered.
const LONGEST: usize = 16 * 1024;

/// What went over a connection since its last request began.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    heard: AtomicBool,
    recording: AtomicBool,
    written: Mutex<Vec<u8>>,
}

impl Wire {
    /// A request begins; `record` when it may be sent again.
    pub(crate) fn begin(&self, record: bool) {
        self.heard.store(false, Ordering::Relaxed);
        self.recording.store(record, Ordering::Relaxed);
        if record {
            self.written.lock().clear();
        }
    }

    /// Whether the backend has sent anything since.
    pub(crate) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// The request that was written, once more; `None` when not all of it is known.
    pub(crate) fn rebuild(&self) -> Option<Request<Body>> {
        self.recording.load(Ordering::Relaxed).then(|| parse(&self.written.lock())).flatten()
    }

    fn record(&self, bytes: &[u8]) {
        let mut written = self.written.lock();
        if written.len() + bytes.len() <= LONGEST {
            written.extend_from_slice(bytes);
        } else {
            self.recording.store(false, Ordering::Relaxed);
        }
    }
}

/// Reads back what hyper wrote: one line for each field, a space after the colon, a length whenever there is a body.
fn parse(bytes: &[u8]) -> Option<Request<Body>> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&bytes[..end]), &bytes[end + 4..]);
    // Field values may be any bytes; such a request is rare enough not to be sent again.
    let mut lines = head.ok()?.split("\r\n");
    let (method, target) = lines.next()?.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target).body(Body::Empty).ok()?;
    let mut length = 0;
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        if name == http::header::CONTENT_LENGTH {
            length = value.parse().ok()?;
        }
        request.headers_mut().append(name, HeaderValue::from_str(value).ok()?);
    }
    if body.len() != length {
        return None;
    }
    *request.body_mut() = Body::from(Bytes::copy_from_slice(body));
    Some(request)
}

/// The byte stream to a backend.
pub(crate) struct Wired {
    stream: Stream,
    wire: Arc<Wire>,
}

impl Wired {
    pub(crate) fn new(stream: Stream, wire: Arc<Wire>) -> Self {
        Self { stream, wire }
    }

    fn record<'a>(&self, result: &Poll<io::Result<usize>>, bufs: impl Iterator<Item = &'a [u8]>) {
        if !self.wire.recording.load(Ordering::Relaxed) {
            return;
        }
        let mut left = match result {
            Poll::Ready(Ok(written)) => *written,
            // Lost, but it is what would have been written.
            Poll::Ready(Err(_)) => usize::MAX,
            Poll::Pending => return,
        };
        for buf in bufs {
            let length = buf.len().min(left);
            left -= length;
            self.wire.record(&buf[..length]);
        }
    }
}

impl AsyncRead for Wired {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.wire.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wired {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.record(&result, std::iter::once(buf));
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.record(&result, bufs.iter().map(|buf| &**buf));
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_whole_requests_only() {
        for (name, bytes, want) in [
            ("no body", "GET /a?b HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\n\r\n", Some("")),
            ("a body", "PUT /a?b HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\ncontent-length: 3\r\n\r\nabc", Some("abc")),
            ("half a body", "PUT /a?b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nab", None),
            ("half a head", "GET /a?b HTTP/1.1\r\nhost: a\r\n", None),
            ("nothing", "", None),
        ] {
            let wire = Wire::default();
            wire.begin(true);
            wire.record(bytes.as_bytes());
            let rebuilt = wire.rebuild();
            let body = rebuilt.as_ref().and_then(|it| it.body().bytes()).map(|it| it.to_vec());
            assert_eq!(body.as_deref(), want.map(str::as_bytes), "{name}");
            if let Some(request) = rebuilt {
                assert_eq!(request.uri(), "/a?b", "{name}");
                assert_eq!(request.headers().get_all("x").iter().collect::<Vec<_>>(), ["1", "2"], "{name}");
            }
        }
    }

    #[test]
    fn forgets_requests_that_are_too_long() {
        let wire = Wire::default();
        wire.begin(true);
        wire.record(b"GET / HTTP/1.1\r\n\r\n");
        assert!(wire.rebuild().is_some());
        wire.record(&vec![b'x'; LONGEST]);
        assert!(wire.rebuild().is_none());
        wire.begin(false);
        assert!(wire.rebuild().is_none());
    }
}
