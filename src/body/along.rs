//! A body that somebody reads along while it is passed on.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Body, BodyError};

/// Reads a body along.
pub trait Reader {
    /// The next piece.
    fn piece(&mut self, data: &Bytes);
    /// There is no more: it was all of it, or it broke off, or whoever it is passed on to left. Only the first call counts.
    fn end(&mut self, complete: bool, error: Option<&BodyError>);
}

/// A body that somebody reads along.
#[derive(Debug)]
pub struct Along<R: Reader + fmt::Debug> {
    body: Body,
    reader: R,
}

impl<R: Reader + fmt::Debug> Along<R> {
    pub(super) fn new(body: Body, reader: R) -> Self {
        Self { body, reader }
    }

    /// The body itself.
    pub(super) fn get_ref(&self) -> &Body {
        &self.body
    }

    /// The body itself.
    pub(super) fn get_mut(&mut self) -> &mut Body {
        &mut self.body
    }
}

impl<R: Reader + fmt::Debug + Unpin> HttpBody for Along<R> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, reader } = self.get_mut();
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    reader.piece(data);
                }
                // A server does not poll again once the announced length has been passed on.
                if body.is_end_stream() {
                    reader.end(true, None);
                }
            }
            Some(Err(error)) => reader.end(false, Some(error)),
            None => reader.end(true, None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<R: Reader + fmt::Debug> Drop for Along<R> {
    fn drop(&mut self) {
        self.reader.end(self.body.is_end_stream(), None);
    }
}
