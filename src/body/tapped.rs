//! A body that somebody reads along while it is passed on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Body, BodyError};

/// Reads a body along.
pub trait Tap: Send + Sync {
    /// The next piece.
    fn piece(&self, data: &[u8]);
    /// There is no more: it was all of it, or it broke off, or its reader left. Called once.
    fn end(&self, complete: bool);
}

/// A body that somebody reads along.
pub struct Tapped {
    body: Body,
    tap: Option<Arc<dyn Tap>>,
}

impl Tapped {
    pub(super) fn new(body: Body, tap: Arc<dyn Tap>) -> Self {
        Self { body, tap: Some(tap) }
    }

    /// The body itself.
    pub(super) fn get_ref(&self) -> &Body {
        &self.body
    }

    fn end(&mut self, complete: bool) {
        if let Some(tap) = self.tap.take() {
            tap.end(complete);
        }
    }
}

impl HttpBody for Tapped {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(tap), Some(data)) = (&this.tap, frame.data_ref()) {
                    tap.piece(data);
                }
                // A server does not poll again once the announced length has been passed on.
                if this.body.is_end_stream() {
                    this.end(true);
                }
            }
            Some(Err(_)) => this.end(false),
            None => this.end(true),
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

impl Drop for Tapped {
    fn drop(&mut self) {
        self.end(self.body.is_end_stream());
    }
}

impl std::fmt::Debug for Tapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tapped").field("body", &self.body).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Tap for Log {
        fn piece(&self, data: &[u8]) {
            self.0.lock().push(String::from_utf8_lossy(data).into_owned());
        }
        fn end(&self, complete: bool) {
            self.0.lock().push(complete.to_string());
        }
    }

    #[tokio::test]
    async fn it_is_read_once_and_its_end_is_told_once() {
        let text = Bytes::from_static(b"abc");
        for (name, body, read, want) in [
            ("read", Body::Full(text.clone()), true, &["abc", "true"][..]),
            ("dropped unread", Body::Full(text.clone()), false, &["false"]),
            ("empty", Body::Empty, false, &["true"]),
        ] {
            let log = Arc::new(Log::default());
            let body = body.tapped(log.clone());
            if read {
                assert_eq!(body.buffer(10).await.unwrap(), text, "{name}");
            } else {
                drop(body);
            }
            assert_eq!(*log.0.lock(), want, "{name}");
        }
    }
}
