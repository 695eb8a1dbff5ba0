//! A copy of a body, for somebody who wants to keep it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as _;

use super::along::Reader;
use super::{Body, BodyError};

/// Wants a copy of a body.
pub trait Collect: Send + Sync {
    /// Whether it still does. Looked at with each piece.
    fn wants(&self) -> bool;
    /// This is all of it.
    fn complete(&self, body: Bytes);
    /// It is longer than what can be kept.
    fn too_long(&self);
    /// It broke off, or its reader left.
    fn broken(&self);
}

/// Copies a body while it is passed on.
pub struct Copying {
    into: Option<Arc<dyn Collect>>,
    copy: Vec<u8>,
    most: usize,
}

impl Copying {
    /// Copies up to so many bytes of a body.
    pub(super) fn of(body: &Body, into: Arc<dyn Collect>, most: usize) -> Self {
        let announced = body.size_hint().exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        Self { into: Some(into), copy: Vec::with_capacity(announced.min(most)), most }
    }

    fn give_up(&mut self) {
        self.into = None;
        self.copy = Vec::new();
    }
}

impl Reader for Copying {
    fn piece(&mut self, data: &Bytes) {
        let Some(into) = &self.into else { return };
        if !into.wants() {
            self.give_up();
        } else if self.copy.len() + data.len() > self.most {
            into.too_long();
            self.give_up();
        } else {
            self.copy.extend_from_slice(data);
        }
    }

    fn end(&mut self, complete: bool, _: Option<&BodyError>) {
        let Some(into) = self.into.take() else { return };
        let copy = std::mem::take(&mut self.copy);
        if complete {
            into.complete(copy.into());
        } else {
            into.broken();
        }
    }
}

impl fmt::Debug for Copying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copying").field("copied", &self.copy.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Log {
        refuses: AtomicBool,
        ends: Mutex<Vec<String>>,
    }

    impl Collect for Log {
        fn wants(&self) -> bool {
            !self.refuses.load(Ordering::Relaxed)
        }
        fn complete(&self, body: Bytes) {
            self.ends.lock().push(format!("{body:?}"));
        }
        fn too_long(&self) {
            self.ends.lock().push("too long".to_owned());
        }
        fn broken(&self) {
            self.ends.lock().push("broken".to_owned());
        }
    }

    #[tokio::test]
    async fn a_body_is_copied_as_a_whole_or_not_at_all() {
        let text = Bytes::from_static(b"abc");
        for (name, body, most, refuses, read, want) in [
            ("it fits", Body::Full(text.clone()), 3, false, true, &["b\"abc\""][..]),
            ("it does not", Body::Full(text.clone()), 2, false, true, &["too long"]),
            ("its reader leaves", Body::Full(text.clone()), 3, false, false, &["broken"]),
            ("nobody wants it any more", Body::Full(text.clone()), 3, true, true, &[]),
            ("it is empty", Body::Empty, 3, false, false, &["b\"\""]),
        ] {
            let log = Arc::new(Log::default());
            log.refuses.store(refuses, Ordering::Relaxed);
            let body = body.collected(log.clone(), most);
            if read {
                // What is passed on is the same in any case.
                let mut body = body;
                let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), text, "{name}");
            } else {
                drop(body);
            }
            assert_eq!(*log.ends.lock(), want, "{name}");
        }
    }
}
