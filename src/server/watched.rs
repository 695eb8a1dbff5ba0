//! The client's byte stream as hyper sees it: the bytes read ahead are given back, and the connection's state is kept.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, Phase};
use super::head::HeadWatch;
use super::stream::Stream;

/// The connection preface of HTTP/2 (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection, read to tell HTTP/2 from HTTP/1.1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prefix {
    bytes: [u8; PREFACE.len()],
    start: u8,
    end: u8,
}

impl Prefix {
    pub(crate) fn unfilled(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.end)..]
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }

    pub(crate) fn grow(&mut self, by: usize) {
        self.end += u8::try_from(by).unwrap_or(0);
    }
}

pub(crate) struct Watched {
    stream: Stream,
    prefix: Prefix,
    /// Only for HTTP/1.1: HTTP/2 frames its messages itself.
    head: Option<HeadWatch>,
    stalled: bool,
    connection: Arc<Connection>,
}

impl Watched {
    pub(crate) fn new(stream: Stream, prefix: Prefix, http2: bool, connection: Arc<Connection>) -> Self {
        let head = (!http2).then(HeadWatch::default);
        Self { stream, prefix, head, stalled: false, connection }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// A write that cannot go on starts the clock on a client that does not read.
    fn wrote<T>(&mut self, result: Poll<T>) -> Poll<T> {
        if result.is_pending() != self.stalled {
            self.stalled = result.is_pending();
            self.connection.control().set_stalled(self.stalled);
        }
        result
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.prefix.filled().is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let length = this.prefix.filled().len().min(buf.remaining());
            buf.put_slice(&this.prefix.filled()[..length]);
            this.prefix.start += u8::try_from(length).unwrap_or(0);
            // With what follows: a first read of a few bytes would make hyper double its buffer for good.
            if buf.remaining() > 0
                && let Poll::Ready(Err(error)) = Pin::new(&mut this.stream).poll_read(cx, buf)
            {
                return Poll::Ready(Err(error));
            }
        }
        let bytes = &buf.filled()[before..];
        if let Some(head) = &mut this.head
            && !bytes.is_empty()
        {
            let control = this.connection.control();
            match control.phase() {
                Phase::Idle => {
                    control.head_begins();
                    control.set_framing(head.begin(bytes, control.announced()));
                }
                Phase::Head => control.set_framing(head.see(bytes)),
                Phase::Busy => head.body(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.wrote(result)
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
