//! A deadline for the whole of an answer: its head, and its body to the last byte.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::Deadline;
use crate::clock::{Clock, Nanos};

/// Answers with an error when the response head takes longer than a duration, and breaks a body off that takes longer.
#[derive(Clone, Debug)]
pub struct TotalLayer<F, H> {
    duration: Duration,
    clock: Clock,
    error: F,
    hold: H,
}

impl<F, H> TotalLayer<F, H> {
    /// A deadline; `error` makes the error from the duration, and `hold` ties a body to what is left of it: [`DueBody`], usually.
    pub fn new(duration: Duration, clock: Clock, error: F, hold: H) -> Self {
        Self { duration, clock, error, hold }
    }
}

impl<S, F: Clone, H: Clone> Layer<S> for TotalLayer<F, H> {
    type Service = Total<S, F, H>;

    fn layer(&self, inner: S) -> Self::Service {
        Total { inner, settings: self.clone() }
    }
}

/// The service of a [`TotalLayer`].
#[derive(Clone, Debug)]
pub struct Total<S, F, H> {
    inner: S,
    settings: TotalLayer<F, H>,
}

impl<S, F, H, B, R> Service<Request<B>> for Total<S, F, H>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    F: Fn(Duration) -> S::Error + Clone + Send + 'static,
    H: Fn(R, Due) -> R + Clone + Send + 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    // Boxed, because the wait of a clock has no name.
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let TotalLayer { duration, clock, error, hold } = self.settings.clone();
        Deadline::narrow(request.extensions_mut(), Instant::now() + duration);
        let due = Due { at: clock.now() + duration, clock };
        let inner = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                biased;
                result = inner => result.map(|response| response.map(|body| hold(body, due))),
                () = due.wait() => Err(error(duration)),
            }
        })
    }
}

/// When an answer has to be at its end.
#[derive(Clone, Debug)]
pub struct Due {
    at: Nanos,
    clock: Clock,
}

impl Due {
    async fn wait(&self) {
        self.clock.sleep_until(self.at).await;
    }

    fn is_over(&self) -> bool {
        self.clock.now() >= self.at
    }
}

/// A body that breaks off when it is not at its end in time. What it comes from is let go at that moment.
pub struct DueBody<B: Body> {
    body: Option<B>,
    due: Due,
    wait: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    late: fn() -> B::Error,
}

impl<B: Body> DueBody<B> {
    /// Ties a body to its deadline; `late` makes the error.
    pub fn new(body: B, due: Due, late: fn() -> B::Error) -> Self {
        let own = due.clone();
        Self { body: Some(body), due, wait: Box::pin(async move { own.wait().await }), late }
    }

    /// The body itself, while there is time.
    pub fn get_ref(&self) -> Option<&B> {
        self.body.as_ref()
    }
}

impl<B: Body> fmt::Debug for DueBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DueBody").field("due", &self.due).finish_non_exhaustive()
    }
}

impl<B: Body + Unpin> Body for DueBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // A body that always has something at hand is late all the same.
        let late = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if !this.due.is_over() => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Ok(_))) => true,
            Poll::Ready(end) => return Poll::Ready(end),
            Poll::Pending => this.wait.as_mut().poll(cx).is_ready(),
        };
        if !late {
            return Poll::Pending;
        }
        this.body = None;
        Poll::Ready(Some(Err((this.late)())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use std::collections::VecDeque;
    use std::sync::Arc;
    use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
    use tower_test::mock;

    const SECOND: Duration = Duration::from_secs(1);

    /// A body that gives what it has, and then nothing. It holds something, to see that it is let go.
    struct Slow(VecDeque<&'static str>, #[expect(dead_code, reason = "is counted")] Arc<()>);

    impl Body for Slow {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.0.pop_front() {
                Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
                None => Poll::Pending,
            }
        }
    }

    #[tokio::test]
    async fn a_head_that_is_late_is_an_error() {
        let clock = Clock::manual();
        let late = |after: Duration| tower::BoxError::from(format!("nothing in {after:?}"));
        let layer = TotalLayer::new(SECOND, clock.clone(), late, |body, _: Due| body);
        let (mut service, mut handle) = mock::spawn_layer::<Request<()>, Response<&'static str>, _>(layer);
        handle.allow(10);
        for (name, wait, want) in [("in time", SECOND / 2, true), ("late", SECOND, false)] {
            assert_ready_ok!(service.poll_ready());
            let mut answer = task::spawn(service.call(Request::new(())));
            assert_pending!(answer.poll(), "{name}");
            let (request, respond) = handle.next_request().await.unwrap();
            assert!(request.extensions().get::<Deadline>().is_some(), "{name}: layers inside know");
            clock.advance(wait);
            if want {
                respond.send_response(Response::new("ok"));
                assert_ready_ok!(answer.poll(), "{name}");
            } else {
                assert_eq!(assert_ready_err!(answer.poll()).to_string(), "nothing in 1s", "{name}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_late_breaks_off() {
        for (name, pieces, wait, want) in [
            ("a pause within the time", vec!["a"], SECOND / 2, Vec::from(["a", "pending"])),
            ("a pause beyond it", vec!["a"], SECOND, Vec::from(["a", "late", "end"])),
            ("a body that is never at a loss", vec!["a", "b", "c"], SECOND, Vec::from(["a", "late", "end"])),
        ] {
            let (clock, held) = (Clock::manual(), Arc::new(()));
            let due = Due { at: clock.now() + SECOND, clock: clock.clone() };
            let body = DueBody::new(Slow(pieces.into(), held.clone()), due, || "late");
            let mut body = task::spawn(body);
            let mut seen = Vec::new();
            for turn in 0..3 {
                let frame = body.enter(|cx, body| body.poll_frame(cx));
                match frame {
                    Poll::Pending => {
                        seen.push("pending");
                        break;
                    }
                    Poll::Ready(None) => seen.push("end"),
                    Poll::Ready(Some(Ok(_))) => seen.push("a"),
                    Poll::Ready(Some(Err(error))) => seen.push(error),
                }
                if turn == 0 {
                    clock.advance(wait);
                }
            }
            assert_eq!(seen, want, "{name}");
            assert_eq!(Arc::strong_count(&held) == 1, want.contains(&"late"), "{name}: what it came from is let go");
        }
    }

    #[tokio::test]
    async fn a_waiting_body_is_woken() {
        let clock = Clock::manual();
        let due = Due { at: clock.now() + SECOND, clock: clock.clone() };
        let mut body = task::spawn(DueBody::new(Slow(VecDeque::new(), Arc::new(())), due, || "late"));
        assert!(body.enter(|cx, body| body.poll_frame(cx)).is_pending());
        clock.advance(SECOND);
        assert!(body.is_woken());
        let frame = assert_ready!(body.enter(|cx, body| body.poll_frame(cx)));
        assert_eq!(frame.unwrap().unwrap_err(), "late");
    }

    #[tokio::test]
    async fn a_body_that_ends_in_time_is_whole() {
        let due = |clock: &Clock| Due { at: clock.now() + SECOND, clock: clock.clone() };
        let clock = Clock::manual();
        let body = http_body_util::Full::new(Bytes::from_static(b"abc"));
        let mut body = DueBody::new(body, due(&clock), || unreachable!("it is in time"));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert!(body.frame().await.is_none());
    }
}
