//! Somebody elsewhere who reads a body along.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::BodyError;
use super::along::Reader;

/// Reads a body along.
pub trait Tap: Send + Sync {
    /// The next piece.
    fn piece(&self, data: &[u8]);
    /// There is no more: it was all of it, or it broke off, or its reader left. Called once.
    fn end(&self, complete: bool);
}

/// A [`Tap`] until it was told of the end.
pub struct Tapping(Option<Arc<dyn Tap>>);

impl Tapping {
    pub(super) fn new(tap: Arc<dyn Tap>) -> Self {
        Self(Some(tap))
    }
}

impl Reader for Tapping {
    fn piece(&mut self, data: &Bytes) {
        if let Some(tap) = &self.0 {
            tap.piece(data);
        }
    }

    fn end(&mut self, complete: bool, _: Option<&BodyError>) {
        if let Some(tap) = self.0.take() {
            tap.end(complete);
        }
    }
}

impl fmt::Debug for Tapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tapping").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::body::Body;

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
