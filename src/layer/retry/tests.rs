//! Tests of the retry layer against a scripted upstream, on paused time.

use std::collections::VecDeque;
use std::sync::Mutex;

use http::header::RETRY_AFTER;
use http::{Method, Request};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_test::mock;

use super::*;
use crate::layer::Deadline;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Unsent,
    Reset,
    TimedOut,
}

/// A request body; `None` is a stream.
#[derive(Debug, PartialEq, Eq)]
struct Text(Option<&'static str>);

impl Replay for Text {
    fn try_clone(&self) -> Option<Self> {
        self.0.map(|text| Self(Some(text)))
    }
}

#[derive(Clone, Default)]
struct Usual {
    seen: Arc<Mutex<Vec<(u32, Stop)>>>,
    waits: Arc<Mutex<Vec<Duration>>>,
}

impl<R> Retryable<R, Failure> for Usual {
    type Exchange = ();
    fn exchange(&self, _: &Extensions) {}
    fn response(&self, (): &(), _: u32, response: &mut Response<R>) -> Result<Verdict, Failure> {
        Ok(usual_verdict(response.status(), response.headers(), &Clock::manual()))
    }
    fn error(&self, (): &(), _: u32, _: &mut Failure) -> Result<Verdict, Failure> {
        Ok(Verdict::Retry { after: None })
    }
    fn unsent(&self, error: &Failure) -> bool {
        *error == Failure::Unsent
    }
    fn timed_out(&self, _: Duration) -> Failure {
        Failure::TimedOut
    }
    fn retrying(&self, (): &(), _: u32, wait: Duration) {
        self.waits.lock().unwrap().push(wait);
    }
    fn finished(&self, (): &(), attempts: u32, stop: Stop) {
        self.seen.lock().unwrap().push((attempts, stop));
    }
}

/// What the upstream does with one attempt: a status and seconds of `Retry-After`, or a failure.
type Act = Result<(u16, Option<u64>), Failure>;

fn settings() -> Settings {
    Settings {
        backoff: Backoff::FullJitter { base: Duration::from_secs(2), max: Duration::from_secs(10) },
        random: Arc::new(|| 0.5),
        ..Settings::default()
    }
}

fn request(method: Method) -> Request<Text> {
    Request::builder().method(method).uri("/x").header("x", "1").body(Text(Some("body"))).unwrap()
}

/// Sends `request` to an upstream that plays `script`; gives the status or failure and what the layer reported.
async fn play(
    settings: Settings,
    request: Request<Text>,
    script: &[Act],
) -> (Result<u16, Failure>, u32, Stop, Vec<u64>) {
    let script = Arc::new(Mutex::new(VecDeque::from(script.to_vec())));
    let upstream = service_fn({
        let script = Arc::clone(&script);
        move |request: Request<Text>| {
            assert_eq!((request.uri().path(), &request.headers()["x"]), ("/x", &"1".parse().unwrap()), "same head");
            let act = script.lock().unwrap().pop_front().expect("the script has no further attempt");
            async move {
                let (status, after) = act?;
                let mut response = Response::builder().status(status);
                if let Some(after) = after {
                    response = response.header(RETRY_AFTER, after);
                }
                Ok(response.body(()).unwrap())
            }
        }
    });
    let usual = Usual::default();
    let outcome = RetryLayer::new(settings, usual.clone()).layer(upstream).oneshot(request).await;
    assert!(script.lock().unwrap().is_empty(), "attempts left over");
    let seen = usual.seen.lock().unwrap().clone();
    let [(attempts, stop)] = seen[..] else { panic!("finished once, not {seen:?}") };
    if let Ok(response) = &outcome {
        let want = (attempts > 1).then_some(Attempts(attempts));
        assert_eq!(response.extensions().get::<Attempts>().copied(), want);
    }
    let waits = usual.waits.lock().unwrap().iter().map(|wait| wait.as_millis() as u64).collect();
    (outcome.map(|response| response.status().as_u16()), attempts, stop, waits)
}

#[tokio::test(start_paused = true)]
async fn repeats_what_is_worth_it_and_safe() {
    struct Case {
        name: &'static str,
        method: Method,
        script: &'static [Act],
        want: (Result<u16, Failure>, u32, Stop, &'static [u64]),
    }
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    for Case { name, method, script, want } in [
        Case { name: "success", method: GET, script: &[Ok((200, None))], want: (Ok(200), 1, Stop::Done, &[]) },
        Case { name: "client error", method: GET, script: &[Ok((404, None))], want: (Ok(404), 1, Stop::Done, &[]) },
        Case {
            name: "recovers",
            method: GET,
            script: &[Ok((503, None)), Err(Failure::Reset), Ok((200, None))],
            want: (Ok(200), 3, Stop::Done, &[1000, 2000]),
        },
        Case {
            name: "the last response when retries run out",
            method: GET,
            script: &[Ok((502, None)), Ok((503, None)), Ok((504, None))],
            want: (Ok(504), 3, Stop::Exhausted, &[1000, 2000]),
        },
        Case {
            name: "the last error when retries run out",
            method: Method::DELETE,
            script: &[Ok((502, None)), Ok((503, None)), Err(Failure::Reset)],
            want: (Err(Failure::Reset), 3, Stop::Exhausted, &[1000, 2000]),
        },
        Case { name: "429 alone", method: GET, script: &[Ok((429, None))], want: (Ok(429), 1, Stop::Done, &[]) },
        Case {
            name: "429 with Retry-After",
            method: GET,
            script: &[Ok((429, Some(7))), Ok((200, None))],
            want: (Ok(200), 2, Stop::Done, &[7000]),
        },
        Case {
            name: "Retry-After above the longest wait",
            method: GET,
            script: &[Ok((503, Some(31)))],
            want: (Ok(503), 1, Stop::NoTime, &[]),
        },
        Case { name: "post answered", method: POST, script: &[Ok((503, None))], want: (Ok(503), 1, Stop::Unsafe, &[]) },
        Case {
            name: "post reset",
            method: POST,
            script: &[Err(Failure::Reset)],
            want: (Err(Failure::Reset), 1, Stop::Unsafe, &[]),
        },
        Case {
            name: "post never sent, then answered",
            method: POST,
            script: &[Err(Failure::Unsent), Ok((503, None))],
            want: (Ok(503), 2, Stop::Unsafe, &[1000]),
        },
    ] {
        let (outcome, attempts, stop, waits) = play(settings(), request(method), script).await;
        assert_eq!((outcome, attempts, stop, &waits[..]), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_repeated_when_someone_vouches_for_it() {
    let script = [Ok((503, None)), Ok((200, None))];
    let mut keyed = request(Method::POST);
    keyed.headers_mut().insert("idempotency-key", "1".parse().unwrap());
    assert_eq!(play(settings(), keyed, &script).await.0, Ok(200));
    let any = Settings { any_method: true, ..settings() };
    assert_eq!(play(any, request(Method::POST), &script).await.0, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_sent_once() {
    let mut streamed = request(Method::PUT);
    streamed.body_mut().0 = None;
    let (outcome, attempts, stop, _) = play(settings(), streamed, &[Ok((503, None))]).await;
    assert_eq!((outcome, attempts, stop), (Ok(503), 1, Stop::Streamed));
}

#[tokio::test(start_paused = true)]
async fn the_first_retry_may_be_fast() {
    let fast = Settings { first_fast: true, ..settings() };
    let script = [Ok((503, None)), Ok((503, None)), Ok((200, None))];
    assert_eq!(play(fast, request(Method::GET), &script).await.3, [0, 2000]);
}

#[tokio::test(start_paused = true)]
async fn the_budget_refuses_with_the_last_response() {
    let budget = Arc::new(Budget::new(0.5, 0, Clock::manual()));
    let thrifty = Settings { budget: Some(budget), ..settings() };
    let first = play(thrifty.clone(), request(Method::GET), &[Ok((503, None))]).await;
    assert_eq!((first.0, first.2), (Ok(503), Stop::NoBudget), "one request earns half a retry");
    let second = play(thrifty.clone(), request(Method::GET), &[Ok((503, None)), Ok((200, None))]).await;
    assert_eq!((second.0, second.2), (Ok(200), Stop::Done), "two earn one");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_misses_the_deadline_is_not_begun() {
    for (after, want) in [(9, Ok(200)), (10, Ok(503)), (11, Ok(503))] {
        let script = [Ok((503, Some(after))), Ok((200, None))];
        let script = if want == Ok(200) { &script[..] } else { &script[..1] };
        let mut request = request(Method::GET);
        request.extensions_mut().insert(Deadline(Instant::now() + Duration::from_secs(10)));
        assert_eq!(play(settings(), request, script).await.0, want, "Retry-After {after} in 10 s");
    }
}

#[tokio::test(start_paused = true)]
async fn each_try_is_timed_and_a_slow_one_repeated() {
    let upstream = service_fn(|request: Request<Text>| async move {
        assert_eq!(request.body(), &Text(Some("body")), "the whole body each time");
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, Failure>(Response::new(()))
    });
    let timed = Settings { per_try: Some(Duration::from_secs(5)), ..settings() };
    let usual = Usual::default();
    let began = Instant::now();
    let outcome = RetryLayer::new(timed, usual.clone()).layer(upstream).oneshot(request(Method::GET)).await;
    assert_eq!(outcome.unwrap_err(), Failure::TimedOut);
    assert_eq!(began.elapsed(), Duration::from_secs(5 + 1 + 5 + 2 + 5));
    assert_eq!(*usual.seen.lock().unwrap(), [(3, Stop::Exhausted)]);
}

/// The policy for tower's mock, whose errors are boxed.
struct Never;

impl Retryable<(), tower::BoxError> for Never {
    type Exchange = ();
    fn exchange(&self, _: &Extensions) {}
    fn response(&self, (): &(), _: u32, response: &mut Response<()>) -> Result<Verdict, tower::BoxError> {
        Ok(usual_verdict(response.status(), response.headers(), &Clock::manual()))
    }
    fn error(&self, (): &(), _: u32, _: &mut tower::BoxError) -> Result<Verdict, tower::BoxError> {
        Ok(Verdict::Done)
    }
    fn unsent(&self, _: &tower::BoxError) -> bool {
        false
    }
    fn timed_out(&self, _: Duration) -> tower::BoxError {
        "timed out".into()
    }
}

#[tokio::test(start_paused = true)]
async fn backpressure_is_respected_and_a_caller_that_leaves_ends_it() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<Text>, Response<()>, _>(RetryLayer::new(settings(), Never));
    handle.allow(1);
    tokio_test::assert_ready_ok!(service.poll_ready());
    let mut call = tokio_test::task::spawn(service.call(request(Method::GET)));
    tokio_test::assert_pending!(call.poll());
    let (_, respond) = handle.next_request().await.unwrap();
    respond.send_response(Response::builder().status(503).body(()).unwrap());
    tokio_test::assert_pending!(call.poll(), "waits for the backoff");
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio_test::assert_pending!(call.poll(), "the service is not ready for the retry");
    drop(call);
    drop(service);
    handle.allow(1);
    assert!(handle.next_request().await.is_none(), "nothing is sent for a caller that left");
}
