//! The body of a message: nothing, bytes in memory, or a stream.

mod along;
pub mod coding;
mod collected;
mod decoding;
mod tapped;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

pub use self::along::{Along, Reader};
pub use self::collected::{Collect, Copying};
pub use self::decoding::Decoder;
pub use self::tapped::{Tap, Tapping};
use crate::backend::Answer;
use crate::json::{Document, JsonError};
use crate::layer::retry::Replay;
use crate::layer::{Due, DueBody, PermitBody};
use crate::limit::Permit;
use crate::server::deadline::{Deadline, coarse_now};

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the gateway or a step accepts.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit: u64,
    },
    /// No byte came for too long.
    #[error("the body stalled")]
    Stalled,
    /// It was not at its end when the time for all of it was over.
    #[error("the body was not at its end in time")]
    Late,
    /// The connection or the framing broke.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The body of a request or a response.
#[derive(Debug, Default)]
pub enum Body {
    /// No body at all.
    #[default]
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// All of it, in memory, as JSON that policies edit. It is written when somebody wants its bytes.
    Document(Box<Edited>),
    /// As it comes from a connection.
    Incoming(Incoming),
    /// A client's, as it comes, with a limit on its length and on its pauses.
    Client(Box<ClientBody>),
    /// A backend's, as it comes. Boxed: bodies are moved often, and every connection to a backend keeps room for dozens of
    /// requests with theirs.
    Upstream(Box<Answer>),
    /// Another one whose end somebody wants to know.
    Observed(Box<Along<Tally>>),
    /// Another one that holds a place in a concurrency limit until its end.
    Held(Box<PermitBody<Body>>),
    /// Another one that has to be at its end in time.
    Due(Box<DueBody<Body>>),
    /// Another one that is copied while it is passed on.
    Collected(Box<Along<Copying>>),
    /// Another one that somebody reads along.
    Tapped(Box<Along<Tapping>>),
}

impl Body {
    /// The bytes, when they are all in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        static NONE: Bytes = Bytes::new();
        match self {
            Self::Empty => Some(&NONE),
            Self::Full(bytes) => Some(bytes),
            Self::Document(edited) => Some(edited.bytes()),
            Self::Observed(observed) => observed.get_ref().bytes(),
            Self::Held(held) => held.get_ref().bytes(),
            Self::Collected(collected) => collected.get_ref().bytes(),
            Self::Tapped(tapped) => tapped.get_ref().bytes(),
            // Only what comes from a connection is timed.
            Self::Due(_) | Self::Incoming(_) | Self::Client(_) | Self::Upstream(_) => None,
        }
    }

    /// The JSON in it, to be edited; none when the body is empty. Successive edits work on one document, which is written once.
    ///
    /// # Errors
    /// When the bytes are not JSON, or not in memory. The body is then as it was.
    pub fn edit_json(&mut self) -> Result<Option<&mut Document>, JsonError> {
        match self {
            Self::Observed(observed) => return observed.get_mut().edit_json(),
            Self::Held(held) => return held.get_mut().edit_json(),
            Self::Full(bytes) if !bytes.is_empty() => {
                let document = Document::parse(bytes)?;
                *self = Self::json(document);
            }
            _ => {}
        }
        match self {
            Self::Document(edited) => {
                edited.written = OnceLock::new();
                Ok(Some(&mut edited.document))
            }
            _ => Ok(None),
        }
    }

    /// A body of JSON, which is written when somebody wants its bytes.
    pub fn json(document: Document) -> Self {
        Self::Document(Box::new(Edited { document, written: OnceLock::new() }))
    }

    /// A second body of the same bytes, when they are all in memory. It is not observed.
    pub fn try_clone(&self) -> Option<Self> {
        self.bytes().cloned().map(Self::from)
    }

    /// The same body, which gives the permit back when it has been passed on, has broken or is dropped.
    #[must_use]
    pub fn holding(self, permit: Permit) -> Self {
        Self::Held(Box::new(PermitBody::new(self, permit)))
    }

    /// Reads the body to its end into memory.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] as soon as it is known to be longer than `limit`, and what the stream itself reports.
    pub async fn buffer(self, limit: u64) -> Result<Bytes, BodyError> {
        let mut body = match self {
            Self::Empty => return Ok(Bytes::new()),
            Self::Full(bytes) if bytes.len() as u64 <= limit => return Ok(bytes),
            Self::Document(edited) if edited.bytes().len() as u64 <= limit => return Ok(edited.bytes().clone()),
            body => body,
        };
        let hint = body.size_hint();
        if hint.lower() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Ok(data) = frame?.into_data() else { continue };
            if (first.len() + rest.len() + data.len()) as u64 > limit {
                return Err(BodyError::TooLarge { limit });
            }
            // Short bodies come in one piece and are handed on without a copy.
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                // The announced length is worth believing only up to a point.
                let announced = usize::try_from(hint.exact().unwrap_or(0)).unwrap_or(0).min(1 << 20);
                rest.reserve(announced.max(first.len() + data.len()));
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }

    /// The same body, which is copied while it is passed on, up to so many bytes.
    #[must_use]
    pub fn collected(self, into: Arc<dyn Collect>, most: usize) -> Self {
        let reader = Copying::of(&self, into, most);
        Self::Collected(Box::new(Along::new(self, reader)))
    }

    /// The same body, which `tap` reads along while it is passed on.
    #[must_use]
    pub fn tapped(self, tap: Arc<dyn Tap>) -> Self {
        Self::Tapped(Box::new(Along::new(self, Tapping::new(tap))))
    }

    /// The same body, which breaks off when it is not at its end in time. What is in memory already is.
    #[must_use]
    pub fn due(self, due: Due) -> Self {
        if self.is_end_stream() || self.bytes().is_some() {
            return self;
        }
        Self::Due(Box::new(DueBody::new(self, due, || BodyError::Late)))
    }

    /// How far a client's body has been read, also after it was moved away.
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Client(client) => Some(client.progress.clone()),
            Self::Observed(observed) => observed.get_ref().progress(),
            Self::Held(held) => held.get_ref().progress(),
            Self::Collected(collected) => collected.get_ref().progress(),
            Self::Tapped(tapped) => tapped.get_ref().progress(),
            Self::Due(due) => due.get_ref().and_then(Self::progress),
            Self::Empty | Self::Full(_) | Self::Document(_) | Self::Incoming(_) | Self::Upstream(_) => None,
        }
    }

    /// The same body, which tells `finish` once how it ended.
    #[must_use]
    pub fn observe(self, finish: Arc<dyn Finish>) -> Self {
        let mut body = self;
        if let Self::Upstream(answer) = &mut body
            && answer.observe(&finish)
        {
            return body;
        }
        Self::Observed(Box::new(Along::new(body, Tally::new(finish))))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl Replay for Body {
    fn try_clone(&self) -> Option<Self> {
        self.try_clone()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Document(edited) => {
                let bytes = edited.bytes().clone();
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(incoming) => {
                Pin::new(incoming).poll_frame(cx).map_err(|error| BodyError::Broken(error.into()))
            }
            Self::Client(client) => Pin::new(&mut **client).poll_frame(cx),
            Self::Upstream(answer) => Pin::new(&mut **answer).poll_frame(cx),
            Self::Observed(observed) => Pin::new(&mut **observed).poll_frame(cx),
            Self::Held(held) => Pin::new(&mut **held).poll_frame(cx),
            Self::Due(due) => Pin::new(&mut **due).poll_frame(cx),
            Self::Collected(collected) => Pin::new(&mut **collected).poll_frame(cx),
            Self::Tapped(tapped) => Pin::new(&mut **tapped).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            // A document is never empty.
            Self::Document(_) => false,
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Client(client) => client.incoming.is_end_stream(),
            Self::Upstream(answer) => answer.is_end_stream(),
            Self::Observed(observed) => observed.is_end_stream(),
            Self::Held(held) => held.is_end_stream(),
            Self::Due(due) => due.is_end_stream(),
            Self::Collected(collected) => collected.is_end_stream(),
            Self::Tapped(tapped) => tapped.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Document(edited) => SizeHint::with_exact(edited.bytes().len() as u64),
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Client(client) => client.incoming.size_hint(),
            Self::Upstream(answer) => answer.size_hint(),
            Self::Observed(observed) => observed.size_hint(),
            Self::Held(held) => held.size_hint(),
            Self::Due(due) => due.size_hint(),
            Self::Collected(collected) => collected.size_hint(),
            Self::Tapped(tapped) => tapped.size_hint(),
        }
    }
}

/// JSON that policies edit.
#[derive(Debug)]
pub struct Edited {
    document: Document,
    written: OnceLock<Bytes>,
}

impl Edited {
    fn bytes(&self) -> &Bytes {
        self.written.get_or_init(|| self.document.write())
    }
}

// === the client's body ===

/// A client's body as it comes. Trailers are dropped, as RFC 9110 §6.5.1 allows: nothing downstream can check them.
#[derive(Debug)]
pub struct ClientBody {
    incoming: Incoming,
    left: u64,
    limit: u64,
    idle: Duration,
    deadline: Option<Deadline>,
    waiting: bool,
    progress: Arc<Progress>,
}

/// How far a client's body has been read, seen from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// On the worker's coarse clock.
    last: AtomicU64,
    bytes: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    /// When a piece was last read, in milliseconds of the worker's coarse clock; zero for never.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// How many bytes have been read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether that was all of it.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl ClientBody {
    pub(crate) fn new(incoming: Incoming, limit: Option<u64>, idle: Duration) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        let progress = Arc::default();
        Self { incoming, left: limit, limit, idle, deadline: None, waiting: false, progress }
    }

    fn stalled(&mut self, cx: &Context<'_>) -> bool {
        let deadline = self.deadline.get_or_insert_with(|| Deadline::after(self.idle));
        if !self.waiting {
            self.waiting = true;
            deadline.reset(self.idle);
        }
        deadline.poll_expired(cx)
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            return if this.stalled(cx) { Poll::Ready(Some(Err(BodyError::Stalled))) } else { Poll::Pending };
        };
        this.waiting = false;
        let frame = match frame {
            Some(Ok(frame)) if frame.is_data() => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Broken(error.into())))),
            Some(Ok(_)) | None => {
                this.progress.ended.store(true, Ordering::Relaxed);
                return Poll::Ready(None);
            }
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        if length > this.left {
            this.left = 0;
            return Poll::Ready(Some(Err(BodyError::TooLarge { limit: this.limit })));
        }
        this.left -= length;
        this.progress.bytes.store(this.limit - this.left, Ordering::Relaxed);
        this.progress.last.store(coarse_now(), Ordering::Relaxed);
        if this.incoming.is_end_stream() {
            this.progress.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

// === the end of a body ===

/// How a body ended.
#[derive(Debug)]
pub struct End<'a> {
    /// The bytes that were passed on.
    pub bytes: u64,
    /// Whether that was all of it.
    pub complete: bool,
    /// What broke it, when something did. A body that is neither complete nor broken was dropped by its reader.
    pub error: Option<&'a BodyError>,
}

/// Is told how a body ended: for the access log and the metrics.
pub trait Finish: Send + Sync {
    /// Called once, when the body has been passed on, has broken, or is dropped.
    fn finish(&self, end: End<'_>);
}

/// Counts a body and reports its end once.
pub struct Tally {
    finish: Option<Arc<dyn Finish>>,
    bytes: u64,
}

impl Tally {
    pub(crate) fn new(finish: Arc<dyn Finish>) -> Self {
        Self { finish: Some(finish), bytes: 0 }
    }

    pub(crate) fn data(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(crate) fn end(&mut self, complete: bool, error: Option<&BodyError>) {
        if let Some(finish) = self.finish.take() {
            finish.finish(End { bytes: self.bytes, complete, error });
        }
    }
}

impl Reader for Tally {
    fn piece(&mut self, data: &Bytes) {
        self.data(data.len());
    }

    fn end(&mut self, complete: bool, error: Option<&BodyError>) {
        Self::end(self, complete, error);
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<(u64, bool, bool)>>);

    impl Finish for Log {
        fn finish(&self, end: End<'_>) {
            self.0.lock().unwrap().push((end.bytes, end.complete, end.error.is_some()));
        }
    }

    #[tokio::test]
    async fn buffers_up_to_the_limit() {
        for (limit, want) in [(3, true), (2, false)] {
            let got = Body::from(Bytes::from_static(b"abc")).buffer(limit).await;
            assert_eq!(got.is_ok(), want, "{limit}");
            if let Err(error) = got {
                assert!(matches!(error, BodyError::TooLarge { limit: 2 }), "{error:?}");
            }
        }
        assert_eq!(Body::Empty.buffer(0).await.unwrap(), Bytes::new());
    }

    #[tokio::test]
    async fn tells_the_end_once() {
        for (name, body, read, want) in [
            ("read", Body::Full(Bytes::from_static(b"abc")), true, (3, true, false)),
            ("dropped unread", Body::Full(Bytes::from_static(b"abc")), false, (0, false, false)),
            ("empty and never polled", Body::Empty, false, (0, true, false)),
        ] {
            let log = Arc::new(Log::default());
            let body = body.observe(log.clone());
            if read {
                body.buffer(10).await.unwrap();
            } else {
                drop(body);
            }
            assert_eq!(*log.0.lock().unwrap(), [want], "{name}");
        }
    }

    #[test]
    fn only_bytes_in_memory_can_be_had_twice() {
        let body = Body::Full(Bytes::from_static(b"abc"));
        assert_eq!(body.try_clone().and_then(|it| it.bytes().cloned()), Some(Bytes::from_static(b"abc")));
        assert!(Body::Empty.try_clone().is_some());
    }
}
